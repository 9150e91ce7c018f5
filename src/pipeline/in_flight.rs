//! Counts exchanges in flight without a cell that all workers write to.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// More cells than workers, usually; workers beyond share one.
const CELLS: usize = 64;

/// A cell on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicI64);

/// The count, a cell for each thread.
#[derive(Debug)]
pub(super) struct InFlight {
    cells: Box<[Cell]>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { cells: (0..CELLS).map(|_| Cell::default()).collect() }
    }
}

impl InFlight {
    /// Counts one more for as long as the result is held.
    pub(super) fn count(&self) -> Counted<'_> {
        let cell = &self.cells[own_cell()].0;
        cell.fetch_add(1, Ordering::Relaxed);
        Counted(cell)
    }

    /// Counts one more until [`left`](Self::left).
    pub(super) fn come(&self) {
        self.cells[own_cell()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// See [`come`](Self::come).
    pub(super) fn left(&self) {
        self.cells[own_cell()].0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        let total: i64 = self.cells.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum();
        u64::try_from(total).unwrap_or(0)
    }
}

/// One that is counted, until dropped.
pub(super) struct Counted<'a>(&'a AtomicI64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn own_cell() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static CELL: usize = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS;
    }
    CELL.try_with(|cell| *cell).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_over_all_threads() {
        let in_flight = InFlight::default();
        let own = in_flight.count();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _theirs = in_flight.count();
                assert_eq!(in_flight.total(), 2);
            });
        });
        assert_eq!(in_flight.total(), 1);
        drop(own);
        assert_eq!(in_flight.total(), 0);
    }
}
