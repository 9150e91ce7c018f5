//! Positions instead of names: a name gets its slot when the config is built, so that counting never
//! compares strings.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::OnceLock;

use parking_lot::Mutex;

/// Nothing: no route, no upstream.
pub(super) const NONE: u32 = 0;
/// What came after the table was full.
pub(super) const OTHER: u32 = 1;
const FIRST: u32 = 2;

/// Slots by name. A name keeps its slot as long as the instance lives, so that counters survive reloads.
#[derive(Debug)]
pub(super) struct Names<K> {
    limit: usize,
    slots: Mutex<HashMap<K, u32>>,
}

impl<K: Hash + Eq + Clone> Names<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, slots: Mutex::default() }
    }

    pub(super) fn slot(&self, name: K) -> u32 {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(&name) {
            return *slot;
        }
        if slots.len() >= self.limit {
            return OTHER;
        }
        let slot = u32::try_from(slots.len()).map_or(OTHER, |taken| taken + FIRST);
        slots.insert(name, slot);
        slot
    }

    /// Every name with its slot, in no order.
    pub(super) fn list(&self) -> Vec<(K, u32)> {
        self.slots.lock().iter().map(|(name, slot)| (name.clone(), *slot)).collect()
    }
}

const CHUNK: usize = 64;

type Chunk<T> = Box<[OnceLock<Box<T>>; CHUNK]>;

/// A table by slot whose rows are made when they are first written.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
}

impl<T: Default> Slots<T> {
    pub(super) fn new(names: usize) -> Self {
        let rows = names + FIRST as usize;
        Self { chunks: (0..rows.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// The row of a slot, for its writer.
    pub(super) fn get(&self, slot: u32) -> &T {
        let known = self.chunks.get(slot as usize / CHUNK);
        let (chunk, at) = match known {
            Some(chunk) => (chunk, slot as usize % CHUNK),
            None => (&self.chunks[0], OTHER as usize),
        };
        let rows = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        rows[at].get_or_init(Box::default)
    }

    /// The row of a slot, if anything was ever counted there.
    pub(super) fn peek(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?.get()?[slot as usize % CHUNK].get().map(|row| &**row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_slots_and_the_table_is_bounded() {
        let names = Names::new(3);
        let first = names.slot("a");
        assert_eq!(first, FIRST);
        assert_eq!(names.slot("b"), FIRST + 1);
        assert_eq!(names.slot("a"), first);
        names.slot("c");
        assert_eq!(names.slot("d"), OTHER);
        assert_eq!(names.slot("c"), FIRST + 2);
        assert_eq!(names.list().len(), 3);
    }

    #[test]
    fn rows_appear_when_written_and_strange_slots_land_in_other() {
        let slots: Slots<std::sync::atomic::AtomicU64> = Slots::new(100);
        assert!(slots.peek(5).is_none());
        slots.get(5);
        assert!(slots.peek(5).is_some());
        slots.get(u32::MAX);
        assert!(slots.peek(OTHER).is_some());
        assert!(slots.peek(u32::MAX).is_none());
    }
}
