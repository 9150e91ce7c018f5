//! How often what is stored was hit within its present life: one counter per entry in a table of fixed size, without
//! locks. Entries that fall on one counter take it from each other, so that each looks colder than it is, never hotter.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::key::Digest;
use crate::clock::Timestamp;

/// Counters; 512 KiB, taken when a route that fetches ahead is first hit.
const COUNTERS: usize = 65_536;

/// The half of a counter that counts; the other half says whose it is.
const COUNT: u64 = u32::MAX as u64;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Heat {
    counters: OnceLock<Box<[AtomicU64]>>,
}

impl Heat {
    /// Counts a hit of the reply that arrived at `born`; the hits of its life so far.
    pub(super) fn hit(&self, digest: Digest, born: Timestamp) -> u32 {
        let (counter, owner) = self.counter(digest, born);
        let seen = counter.load(Ordering::Relaxed);
        let hits = if seen & !COUNT == owner { (seen & COUNT).saturating_add(1).min(COUNT) } else { 1 };
        // A hit that is lost to another thread's makes it look a little colder.
        counter.store(owner | hits, Ordering::Relaxed);
        u32::try_from(hits).unwrap_or(u32::MAX)
    }

    /// Begins to count anew, so that a refresh that fails is not asked for at every hit.
    pub(super) fn cool(&self, digest: Digest, born: Timestamp) {
        let (counter, owner) = self.counter(digest, born);
        counter.store(owner, Ordering::Relaxed);
    }

    /// A reply that was fetched anew begins cold: when it arrived is part of whose counter it is.
    fn counter(&self, digest: Digest, born: Timestamp) -> (&AtomicU64, u64) {
        let [a, b, c, d, e, f, g, h, ..] = digest.0;
        let life =
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ born.millis().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let counters = self.counters.get_or_init(|| (0..COUNTERS).map(|_| AtomicU64::new(0)).collect());
        (&counters[life as usize % COUNTERS], life & !COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_for_one_life() {
        let heat = Heat::default();
        let digest = Digest([7; 16]);
        let hits = |born| (0..3).map(|_| heat.hit(digest, born)).collect::<Vec<_>>();
        let (first, second) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        assert_eq!(hits(first), [1, 2, 3]);
        assert_eq!(hits(second), [1, 2, 3]);
        heat.cool(digest, second);
        assert_eq!(hits(second), [1, 2, 3]);
    }

    #[test]
    fn others_do_not_make_an_entry_hot() {
        let heat = Heat::default();
        for n in 0..=255 {
            assert_eq!(heat.hit(Digest([n; 16]), Timestamp::from_secs(1)), 1, "{n}");
        }
    }
}
