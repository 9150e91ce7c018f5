//! Which keys were asked for of late, once at least: two Bloom filters, of which one fills and the other is the one
//! that filled before it.
//!
//! However many keys come once, they fill filters that are thrown away, and the counts of what is asked for again
//! ([`Frequency`](super::frequency::Frequency)) never hear of them. Sixteen bits a key, so that one in four hundred is
//! taken for known; two keys per stored entry and filter, so eight bytes an entry for both (32 MiB at most).

use crate::cache::key::Digest;

/// Bits of a filter for each key that it takes.
const BITS_PER_KEY: u64 = 16;
/// Keys that a filter takes for each stored entry.
const KEYS_PER_ENTRY: u64 = 2;
/// Stored entries below which a filter gets no smaller.
const MIN_ENTRIES: u64 = 1 << 10;
/// Words of 64 bits beyond which a filter does not grow: then it fills sooner.
const MAX_WORDS: u64 = 1 << 21;
const HASHES: u64 = 4;

/// Keys that came by.
#[derive(Debug)]
pub(super) struct Door {
    filling: Filter,
    filled: Filter,
    /// What the next filter is sized for.
    entries: u64,
}

#[derive(Debug, Default)]
struct Filter {
    words: Vec<u64>,
    keys: u64,
}

impl Default for Door {
    fn default() -> Self {
        Self { filling: Filter::sized(0), filled: Filter::default(), entries: 0 }
    }
}

impl Door {
    /// Whether the key came by of late.
    pub(super) fn knows(&self, digest: Digest) -> bool {
        self.filling.has(digest) || self.filled.has(digest)
    }

    /// Notes that the key comes by; says whether it did before.
    pub(super) fn pass(&mut self, digest: Digest) -> bool {
        if self.filling.has(digest) {
            return true;
        }
        if self.filling.is_full() {
            // A new one costs no more than zeroing the old: the system hands out zeroed memory.
            self.filled = std::mem::replace(&mut self.filling, Filter::sized(self.entries));
        }
        self.filling.add(digest);
        self.filled.has(digest)
    }

    /// Has the next filter sized for so many entries.
    pub(super) const fn fit(&mut self, entries: u64) {
        self.entries = entries;
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        (self.filling.words.len() + self.filled.words.len()) * 8
    }
}

impl Filter {
    fn sized(entries: u64) -> Self {
        let bits = entries.max(MIN_ENTRIES).saturating_mul(KEYS_PER_ENTRY * BITS_PER_KEY);
        Self { words: vec![0; (bits / 64).min(MAX_WORDS) as usize], keys: 0 }
    }

    const fn is_full(&self) -> bool {
        self.keys * BITS_PER_KEY >= self.words.len() as u64 * 64
    }

    fn has(&self, digest: Digest) -> bool {
        !self.words.is_empty()
            && self.places(digest).into_iter().all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn add(&mut self, digest: Digest) {
        for (word, bit) in self.places(digest) {
            self.words[word] |= bit;
        }
        self.keys += 1;
    }

    /// A digest is as good as random: its halves make as many hashes as are wanted.
    fn places(&self, digest: Digest) -> [(usize, u64); HASHES as usize] {
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest.0[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (first, step) = (half(0), half(8) | 1);
        let bits = self.words.len() as u128 * 64;
        std::array::from_fn(|number| {
            let hash = first.wrapping_add(step.wrapping_mul(number as u64));
            let bit = ((u128::from(hash) * bits) >> 64) as usize;
            (bit / 64, 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..16]);
        Digest(bytes)
    }

    #[test]
    fn it_knows_what_came_of_late_and_little_else() {
        let mut door = Door::default();
        door.fit(10_000);
        let known = (0..100_000).filter(|number| door.pass(digest(*number))).count();
        assert!(known < 1_000, "{known} of 100,000 that come once seem to come again");
        assert!((80_000..100_000).all(|number| door.knows(digest(number))), "as many as a filter takes");
        let known = (200_000..300_000).filter(|number| door.knows(digest(*number))).count();
        assert!(known < 1_000, "{known} of 100,000 that never came seem known");
        assert!(
            (0..20_000).filter(|number| door.knows(digest(*number))).count() < 200,
            "the rest is forgotten"
        );
    }

    #[test]
    fn it_takes_eight_bytes_an_entry_and_is_bounded() {
        let mut door = Door::default();
        for (entries, bytes) in [(0, 8 << 10), (100_000, 800_000), (1 << 40, 32 << 20)] {
            door.fit(entries);
            door.filled = Filter::sized(door.entries);
            door.filling = Filter::sized(door.entries);
            assert_eq!(door.bytes(), bytes);
        }
    }
}
