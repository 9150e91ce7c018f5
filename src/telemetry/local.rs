//! What each thread has for itself: its metric cells and its outbox.
//!
//! A thread takes a seat when it first reports something and leaves it, counts and all, when it ends; the next
//! new thread takes it over. So nothing is lost, and there are never more seats than threads at one time.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::caching::ReplyFields;
use super::event::Finished;
use super::metrics::ThreadCells;

/// Events that one outbox holds; more are dropped.
const MAX_EVENTS: usize = 8192;
/// Events for which the collector comes.
const MANY_EVENTS: usize = 512;
/// Events that wait to be freed.
const MAX_SPENT: usize = 512;
/// Bytes of events that one outbox holds; more are dropped.
const MAX_BYTES: usize = 8 << 20;
/// Bytes of a target that ring and followers keep.
pub(super) const CLIP: usize = 2048;

/// An event, and what the collector would have to look at it for: to do so from another core costs its thread the whole
/// event, and then ours.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) event: Arc<Finished>,
    /// See [`size_of`].
    pub(super) size: u32,
    /// Whether a text in it is longer than ring and followers keep.
    pub(super) is_long: bool,
}

impl Posted {
    pub(super) fn new(event: Arc<Finished>) -> Self {
        let size = size_of(&event).try_into().unwrap_or(u32::MAX);
        let is_long = event.target.len() > CLIP || event.host.len() > CLIP;
        Self { event, size, is_long }
    }
}

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
    events: Vec<Posted>,
    bytes: usize,
    dropped: u64,
    /// Events that nobody keeps any more. Who allocated them is quick to free them, and then to allocate the next.
    spent: Vec<Arc<Finished>>,
}

impl Local {
    /// Puts an event into the outbox, or drops it if that is full. Tells whether the collector should come.
    pub(super) fn post(&self, event: Arc<Finished>) -> bool {
        let posted = Posted::new(event);
        let size = posted.size as usize;
        let mut outbox = self.outbox.lock();
        let spent = outbox.spent.pop();
        if outbox.events.len() >= MAX_EVENTS || outbox.bytes + size > MAX_BYTES {
            outbox.dropped += 1;
            drop(outbox);
            return true;
        }
        outbox.events.push(posted);
        outbox.bytes += size;
        let has_many = outbox.has_many();
        drop(outbox);
        drop(spent);
        has_many
    }

    /// Gives back events of this seat's that nobody keeps any more; `spent` is empty afterwards.
    pub(super) fn give_back(&self, spent: &mut Vec<Arc<Finished>>) {
        if spent.is_empty() {
            return;
        }
        let mut outbox = self.outbox.lock();
        let room = MAX_SPENT.saturating_sub(outbox.spent.len()).min(spent.len());
        outbox.spent.extend(spent.drain(..room));
        drop(outbox);
        spent.clear();
    }

    /// Whether the collector should come.
    pub(super) fn waits(&self, eager: bool) -> bool {
        let outbox = self.outbox.lock();
        outbox.has_many() || (eager && !outbox.events.is_empty())
    }

    /// Exchanges the outbox for `empty`. Returns how many were dropped in all.
    pub(super) fn take(&self, empty: &mut Vec<Posted>) -> u64 {
        let mut outbox = self.outbox.lock();
        std::mem::swap(&mut outbox.events, empty);
        outbox.bytes = 0;
        outbox.dropped
    }
}

impl Outbox {
    fn has_many(&self) -> bool {
        self.events.len() >= MANY_EVENTS || self.bytes >= MAX_BYTES / 2
    }
}

/// About how much memory an event holds, in bytes.
pub(super) fn size_of(event: &Finished) -> usize {
    let id = match &event.id {
        super::event::RequestId::Own(_) => 0,
        super::event::RequestId::Given(id) => id.len(),
    };
    let reply = event.reply.as_ref().map_or(0, ReplyFields::heap);
    std::mem::size_of::<Finished>() + event.host.len() + event.target.len() + id + reply
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
