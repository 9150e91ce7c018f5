//! Heads that came before, to the byte, and what is known of each: what is popular is asked for again and again, and the
//! heads of those who ask are often alike.

/// Heads that are known at most; a power of two.
const PLACES: usize = 128;

/// Longer heads are not.
const MAX_LENGTH: usize = 2 << 10;

/// A few heads: each has one place that it may stand in, by its hash, and gets it when it comes twice with none between that
/// is read for the same place. So heads that never come again cost a look and a number.
#[derive(Debug)]
pub struct Heads<T> {
    places: Vec<Place<T>>,
}

#[derive(Debug)]
struct Place<T> {
    /// The hash of what was learnt for it last.
    last: u64,
    known: Option<Box<(Vec<u8>, T)>>,
}

impl<T> Default for Heads<T> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T> Heads<T> {
    /// None is known.
    pub const fn new() -> Self {
        Self { places: Vec::new() }
    }

    /// What is known of this head.
    pub fn find(&mut self, head: &[u8]) -> Option<&mut T> {
        if self.places.is_empty() || head.len() > MAX_LENGTH {
            return None;
        }
        let (known, of) = &mut **self.places[place(hash(head))].known.as_mut()?;
        (known == head).then_some(of)
    }

    /// This head has come; what `of` makes of it is known the next time, if anything, and if it came before.
    pub fn learn(&mut self, head: &[u8], of: impl FnOnce() -> Option<T>) {
        if head.len() > MAX_LENGTH {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || Place { last: 0, known: None });
        }
        let hash = hash(head);
        let place = &mut self.places[place(hash)];
        if std::mem::replace(&mut place.last, hash) == hash
            && let Some(of) = of()
        {
            place.known = Some(Box::new((head.to_vec(), of)));
        }
    }
}

const fn place(hash: u64) -> usize {
    (hash >> 32) as usize % PLACES
}

/// Quick, and no more: whoever finds heads that share a place has them read each time, as others are.
fn hash(head: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let fold = |sum: u64, low: u64, high: u64| {
        let product = u128::from(sum ^ low ^ ODD) * u128::from(high ^ ODD.rotate_left(32));
        (product as u64) ^ (product >> 64) as u64
    };
    let (pieces, rest) = head.as_chunks::<16>();
    let sum =
        pieces.iter().fold(head.len() as u64, |sum, piece| fold(sum, word(&piece[..8]), word(&piece[8..])));
    match head.last_chunk::<16>() {
        // The rest, and something of what came before it.
        Some(last) => fold(sum, word(&last[..8]), word(&last[8..])),
        None => rest.iter().fold(sum, |sum, byte| fold(sum, u64::from(*byte), 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_known_and_nothing_else_is() {
        let mut heads = Heads::new();
        let text = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        for number in 0..4 * PLACES {
            let head = text(number);
            assert_eq!(heads.find(head.as_bytes()), None);
            heads.learn(head.as_bytes(), || unreachable!("it came once"));
            assert_eq!(heads.find(head.as_bytes()), None);
            heads.learn(head.as_bytes(), || Some(number));
            assert_eq!(heads.find(head.as_bytes()), Some(&mut number.clone()));
        }
        let known = (0..4 * PLACES).filter(|number| heads.find(text(*number).as_bytes()).is_some());
        assert!(known.count() > PLACES / 2, "they spread");
        let long = vec![b'a'; MAX_LENGTH + 1];
        (0..3).for_each(|_| heads.learn(&long, || Some(0)));
        assert_eq!(heads.find(&long), None);
    }

    #[test]
    fn every_byte_and_the_length_count() {
        for length in 0..70 {
            let head = vec![b'a'; length];
            assert_ne!(hash(&head), hash(&vec![b'a'; length + 1]));
            for at in 0..length {
                let mut other = head.clone();
                other[at] ^= 1;
                assert_ne!(hash(&head), hash(&other), "{at} of {length}");
            }
        }
    }
}
