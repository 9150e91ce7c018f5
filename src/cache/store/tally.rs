//! A count that every hit adds to: a cell for each of some threads, so that no two of them write to the same memory.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// More than that, and some share a cell.
const CELLS: usize = 32;

/// Two lines of the processor's cache, which may be fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// See above.
#[derive(Debug)]
pub(super) struct Tally(Box<[Cell]>);

thread_local! {
    /// Where this thread counts.
    static PLACE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Relaxed) % CELLS
    };
}

impl Default for Tally {
    fn default() -> Self {
        Self((0..CELLS).map(|_| Cell::default()).collect())
    }
}

impl Tally {
    pub(super) fn add(&self, n: u64) -> u64 {
        PLACE.with(|place| self.0[*place].0.fetch_add(n, Relaxed))
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_is_summed() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for n in 0..2 * CELLS as u64 {
                let tally = &tally;
                scope.spawn(move || tally.add(n));
            }
        });
        let each = 2 * CELLS as u64;
        assert_eq!(tally.sum(), each * (each - 1) / 2);
    }
}
