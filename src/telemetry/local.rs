//! What each thread has for itself: its metric cells and its outbox.
//!
//! A thread takes a seat when it first reports something and leaves it, counts and all, when it ends; the next
//! new thread takes it over. So nothing is lost, and there are never more seats than threads at one time.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::account::Account;
use super::batch::{Batch, weight};
use super::metrics::ThreadCells;

/// Events that one outbox holds; more are dropped.
const MAX_EVENTS: usize = 8192;
/// Events for which the collector comes.
const MANY_EVENTS: usize = 512;
/// Bytes of events that one outbox holds; more are dropped.
const MAX_BYTES: usize = 8 << 20;

/// One seat.
#[derive(Debug)]
pub(super) struct Local {
    /// Its place among the seats.
    pub(super) place: u32,
    taken: AtomicBool,
    pub(super) cells: ThreadCells,
    outbox: Mutex<Outbox>,
}

/// Events on their way to the collector. Locked by its thread and, for the time of a swap, by the collector.
#[derive(Debug, Default)]
struct Outbox {
    batch: Batch,
    dropped: u64,
}

impl Local {
    /// Puts an event into the outbox, or drops it if that is full. Tells whether the collector should come.
    pub(super) fn post(&self, account: &Account<'_>) -> bool {
        let weight = weight(account);
        let mut outbox = self.outbox.lock();
        if outbox.batch.len() >= MAX_EVENTS || outbox.batch.weight() + weight > MAX_BYTES {
            outbox.dropped += 1;
            return true;
        }
        outbox.batch.push(account);
        outbox.has_many()
    }

    /// Whether the collector should come.
    pub(super) fn waits(&self, eager: bool) -> bool {
        let outbox = self.outbox.lock();
        outbox.has_many() || (eager && !outbox.batch.is_empty())
    }

    /// Exchanges the outbox for `empty`, if there is anything in it. Returns how many were dropped in all.
    pub(super) fn take(&self, empty: &mut Batch) -> u64 {
        let mut outbox = self.outbox.lock();
        if !outbox.batch.is_empty() {
            std::mem::swap(&mut outbox.batch, empty);
        }
        outbox.dropped
    }
}

impl Outbox {
    fn has_many(&self) -> bool {
        self.batch.len() >= MANY_EVENTS || self.batch.weight() >= MAX_BYTES / 2
    }
}

/// The seats of one [`super::Telemetry`].
#[derive(Debug)]
pub(super) struct Seats {
    instance: u64,
    all: Mutex<Vec<Arc<Local>>>,
}

/// A thread's hold on its seat in one instance.
struct Seat {
    instance: u64,
    local: Arc<Local>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Release: whoever takes the seat next goes on from the counts that this thread left.
        self.local.taken.store(false, Ordering::Release);
    }
}

thread_local! {
    /// One per instance that this thread has reported to; more than one only in tests.
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

impl Seats {
    pub(super) fn new() -> Self {
        static INSTANCES: AtomicU64 = AtomicU64::new(0);
        Self { instance: INSTANCES.fetch_add(1, Ordering::Relaxed), all: Mutex::default() }
    }

    /// Runs `report` with this thread's seat. Does nothing while the thread is being torn down.
    pub(super) fn with<R>(&self, report: impl FnOnce(&Local) -> R) -> Option<R> {
        SEATS
            .try_with(|seats| {
                if let Ok(seats) = seats.try_borrow()
                    && let Some(seat) = seats.iter().find(|seat| seat.instance == self.instance)
                {
                    return Some(report(&seat.local));
                }
                let mut seats = seats.try_borrow_mut().ok()?;
                // Seats of instances that are gone are held by nobody else.
                seats.retain(|seat| Arc::strong_count(&seat.local) > 1);
                let local = self.sit_down();
                let result = report(&local);
                seats.push(Seat { instance: self.instance, local });
                Some(result)
            })
            .ok()
            .flatten()
    }

    fn sit_down(&self) -> Arc<Local> {
        let mut all = self.all.lock();
        let free = all.iter().find(|local| {
            local.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        });
        if let Some(local) = free {
            return local.clone();
        }
        let local = Arc::new(Local {
            place: all.len().try_into().unwrap_or(u32::MAX),
            taken: AtomicBool::new(true),
            cells: ThreadCells::new(),
            outbox: Mutex::default(),
        });
        all.push(local.clone());
        local
    }

    /// Every seat, also those that nobody sits on.
    pub(super) fn all(&self) -> Vec<Arc<Local>> {
        self.all.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_come_and_go_share_seats() {
        let seats = Arc::new(Seats::new());
        for _ in 0..20 {
            let seats = seats.clone();
            std::thread::spawn(move || seats.with(|local| local.cells.connection_opened()))
                .join()
                .unwrap()
                .unwrap();
        }
        assert_eq!(seats.all().len(), 1);
    }

    #[test]
    fn instances_in_one_thread_do_not_mix() {
        let (first, second) = (Seats::new(), Seats::new());
        let at = |seats: &Seats| seats.with(|local| std::ptr::from_ref(local) as usize);
        assert_ne!(at(&first), at(&second));
        assert_eq!(at(&first), at(&first));
        drop(first);
        let third = Seats::new();
        at(&third);
        SEATS.with(|seats| assert!(seats.borrow().iter().all(|seat| Arc::strong_count(&seat.local) == 2)));
    }
}
