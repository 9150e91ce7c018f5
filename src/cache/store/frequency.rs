//! How often keys are asked for, approximately: what eviction goes by, and what a full disk takes.
//!
//! A count-min sketch of four-bit counters behind a [`Door`]: a key's first request is only noted there, and what is
//! asked for again is counted here. So a crawl of keys that come once neither fills the counters nor ages them. The
//! sketch knows keys that are not stored, so that one which comes back soon after it had to go is not taken for new;
//! and it forgets: when enough has been counted every counter is halved, so that what was hot last week makes room. It
//! grows with the number of entries and takes two to four bytes for each (32 MiB at most), the door eight. Nothing of
//! it stands on the way of a hit: a resource in RAM counts its own (see [`Resource`](super::Resource)), and they are
//! added up when it leaves RAM or is looked at by eviction.

use parking_lot::Mutex;

use super::door::Door;
use crate::cache::key::Digest;

/// The most that one resource counts, and one counter holds.
pub(super) const MAX_COUNT: u8 = 15;
/// Sixteen counters each.
const MIN_WORDS: usize = 1 << 8;
const MAX_WORDS: usize = 1 << 22;
/// Entries per word beyond which the sketch is doubled.
const ENTRIES_PER_WORD: u64 = 4;
/// Counted requests per entry after which all counters are halved: fewer, and what is hot is forgotten; more, and what
/// was hot is kept for too long (measured with the traces of `trace`).
const AGE_AFTER: u64 = 8;
const ROWS: usize = 4;

/// Approximate counts of requests by key.
#[derive(Debug, Default)]
pub(super) struct Frequency(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    door: Door,
    sketch: Sketch,
}

#[derive(Debug)]
struct Sketch {
    /// A power of two of them.
    words: Vec<u64>,
    counted: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { words: vec![0; MIN_WORDS], counted: 0 }
    }
}

impl Frequency {
    /// Counts `times` requests; says whether there were any before, of late.
    pub(super) fn add(&self, digest: Digest, times: u8) -> bool {
        if times == 0 {
            return self.knows(digest);
        }
        let mut counts = self.0.lock();
        let known = counts.door.pass(digest);
        counts.sketch.add(digest, times - u8::from(!known));
        known
    }

    /// Whether the key was asked for of late.
    pub(super) fn knows(&self, digest: Digest) -> bool {
        self.0.lock().door.knows(digest)
    }

    /// How often the key was asked for, as far as is remembered; rather too often than too rarely.
    pub(super) fn estimate(&self, digest: Digest) -> u8 {
        let counts = self.0.lock();
        (counts.sketch.estimate(digest) + u8::from(counts.door.knows(digest))).min(MAX_COUNT)
    }

    /// Fits everything to the number of entries, and ages the counts when it is time. For the writer thread, now and then.
    pub(super) fn fit(&self, entries: u64) {
        let mut counts = self.0.lock();
        counts.door.fit(entries);
        let sketch = &mut counts.sketch;
        sketch.grow(entries);
        if sketch.counted > AGE_AFTER * entries.max(MIN_WORDS as u64 * ENTRIES_PER_WORD) {
            sketch.halve();
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.0.lock().sketch.words.len() * 8
    }
}

impl Sketch {
    fn add(&mut self, digest: Digest, times: u8) {
        if times == 0 {
            return;
        }
        let target = self.estimate(digest).saturating_add(times).min(MAX_COUNT);
        // Only what is below: a counter that others share is not raised for nothing.
        for (word, shift) in self.places(digest) {
            if count(self.words[word], shift) < target {
                self.words[word] = self.words[word] & !(15 << shift) | u64::from(target) << shift;
            }
        }
        self.counted += u64::from(times);
    }

    fn estimate(&self, digest: Digest) -> u8 {
        self.places(digest).into_iter().map(|(word, shift)| count(self.words[word], shift)).min().unwrap_or(0)
    }

    /// A digest is as good as random: each row takes four bytes of it.
    fn places(&self, digest: Digest) -> [(usize, u32); ROWS] {
        std::array::from_fn(|row| {
            let at = row * 4;
            let bits =
                u32::from_be_bytes([digest.0[at], digest.0[at + 1], digest.0[at + 2], digest.0[at + 3]]);
            ((bits >> 4) as usize & (self.words.len() - 1), (bits & 15) * 4)
        })
    }

    /// Doubled, every counter stands where either of the two that it now is will be looked for.
    fn grow(&mut self, entries: u64) {
        while entries > self.words.len() as u64 * ENTRIES_PER_WORD && self.words.len() < MAX_WORDS {
            self.words.extend_from_within(..);
        }
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = *word >> 1 & 0x7777_7777_7777_7777;
        }
        self.counted /= 2;
    }
}

fn count(word: u64, shift: u32) -> u8 {
    (word >> shift & 15) as u8
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
    fn what_is_asked_for_more_often_counts_more_also_when_the_sketch_grew() {
        let frequency = Frequency::default();
        for round in 0..6 {
            for number in 0..1_000 {
                frequency.add(digest(number), 1);
            }
            frequency.add(digest(7), 1);
            frequency.fit(4_000 << round);
        }
        assert_eq!(frequency.estimate(digest(7)), 12);
        let right = (100..1_000).filter(|number| frequency.estimate(digest(*number)) == 6).count();
        assert!(right > 800, "{right}");
        assert_eq!(frequency.estimate(digest(5_000_000)), 0);
    }

    #[test]
    fn counts_are_forgotten_by_halves() {
        let frequency = Frequency::default();
        frequency.add(digest(1), MAX_COUNT);
        frequency.add(digest(1), MAX_COUNT);
        assert_eq!(frequency.estimate(digest(1)), MAX_COUNT);
        let enough = AGE_AFTER * MIN_WORDS as u64 * ENTRIES_PER_WORD;
        (0..10 * enough).for_each(|number| assert!(!frequency.add(digest(number + 10), 1) || number > 1_000));
        frequency.fit(1);
        let estimate = frequency.estimate(digest(1));
        assert!(estimate >= MAX_COUNT - 1, "what comes once ages nothing: {estimate}");
        for _ in 0..enough {
            frequency.add(digest(2), 1);
        }
        frequency.fit(1);
        assert!((7..=8).contains(&frequency.estimate(digest(1))));
    }

    #[test]
    fn ten_million_entries_take_at_most_four_bytes_each() {
        let frequency = Frequency::default();
        frequency.fit(10_000_000);
        assert!(frequency.bytes() <= 40_000_000, "{}", frequency.bytes());
    }
}
