//! Takes events from the outboxes to the ring, to followers and to the access log.
//!
//! One thread does so when there is someone to tell, or when an outbox holds many; whoever reads the ring does
//! so first, and therefore misses nothing. For the ring alone no event is looked at: it stays where its thread has it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::access_log::Writer;
use super::event::Finished;
use super::local::{CLIP, Posted, Seats, size_of};
use super::ring::{Follower, Query};

/// After a round, the collector lets events gather for so long instead of being woken for each.
const GATHER: Duration = Duration::from_millis(10);
/// Events that a follower may be behind.
const FOLLOW_BEHIND: usize = 1024;
/// Bytes that the ring holds at most, whatever its number.
const RING_BYTES: usize = 64 << 20;

/// Nobody wants events.
const OFF: u8 = 0;
/// Only the ring wants them: it can be filled later.
const LAZY: u8 = 1;
/// Someone waits for them.
const EAGER: u8 = 2;

/// What threads that report and the collector share.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) seats: Seats,
    demand: AtomicU8,
    asleep: AtomicBool,
    closing: AtomicBool,
    thread: OnceLock<Thread>,
    core: Mutex<Core>,
}

/// Locked by the collector and by those who read; never by a thread that reports.
#[derive(Debug)]
struct Core {
    ring: VecDeque<Kept>,
    bytes: usize,
    limit: usize,
    followers: Option<broadcast::Sender<Arc<Finished>>>,
    log: Option<Arc<Writer>>,
    spare: Vec<Posted>,
    /// What the ring has let go of, by the places of those who made it.
    spent: Vec<Vec<Arc<Finished>>>,
}

/// An event in the ring.
#[derive(Debug)]
struct Kept {
    event: Arc<Finished>,
    size: u32,
    /// The place of the seat that it came from.
    place: u32,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        let core = Core {
            ring: VecDeque::new(),
            bytes: 0,
            limit,
            followers: Some(broadcast::channel(FOLLOW_BEHIND).0),
            log: None,
            spare: Vec::new(),
            spent: Vec::new(),
        };
        let demand = AtomicU8::new(core.demand());
        Self {
            seats: Seats::new(),
            demand,
            asleep: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            thread: OnceLock::new(),
            core: Mutex::new(core),
        }
    }

    /// Takes an event; the only thing that a reporting thread calls.
    pub(super) fn post(&self, local: &super::local::Local, event: Arc<Finished>) {
        let demand = self.demand.load(Ordering::Relaxed);
        if demand == OFF {
            return;
        }
        let many = local.post(event);
        // The outbox's lock orders this against `sleep`: either it saw the event, or we see it asleep.
        if (many || demand == EAGER) && self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// The collector's thread.
    pub(super) fn run(&self) {
        self.thread.get_or_init(std::thread::current);
        while !self.closing.load(Ordering::Acquire) {
            let moved = self.collect().1;
            if moved > 0 && self.demand.load(Ordering::Relaxed) == EAGER {
                std::thread::park_timeout(GATHER);
            } else {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        let eager = self.demand.load(Ordering::SeqCst) == EAGER;
        let waiting = self.seats.all().iter().any(|local| local.waits(eager));
        if waiting || self.closing.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            return;
        }
        while self.asleep.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }

    /// Empties all outboxes. Returns the events that were ever dropped there, and how many came now.
    pub(super) fn collect(&self) -> (u64, usize) {
        let mut core = self.core.lock();
        let (mut dropped, mut moved) = (0, 0);
        let seats = self.seats.all();
        for local in &seats {
            let mut events = std::mem::take(&mut core.spare);
            dropped += local.take(&mut events);
            moved += events.len();
            if let Some(log) = &core.log {
                log.submit(events.iter().map(|posted| &posted.event));
            }
            events.drain(..).for_each(|posted| core.keep(posted, local.place));
            core.spare = events;
        }
        for local in seats {
            if let Some(spent) = core.spent.get_mut(local.place as usize) {
                local.give_back(spent);
            }
        }
        // A follower may have left.
        self.demand.store(core.demand(), Ordering::SeqCst);
        (dropped, moved)
    }

    /// Events from the ring, oldest first.
    pub(super) fn recent(&self, query: &Query) -> Vec<Arc<Finished>> {
        self.collect();
        let mut found: Vec<_> = self.core.lock().ring.iter().map(|kept| kept.event.clone()).collect();
        // Filtered outside the lock. Threads are drained one after the other, so order by time here.
        found.retain(|event| query.takes(event));
        found.sort_by_key(|event| event.at);
        let surplus = query.limit.map_or(0, |limit| found.len().saturating_sub(limit));
        found.drain(..surplus);
        found
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Finished>> {
        self.collect();
        let core = self.core.lock();
        core.ring.iter().rev().map(|kept| &kept.event).find(|event| event.id.is(id)).cloned()
    }

    pub(super) fn follow(&self) -> Follower {
        // What finished before is not news.
        self.collect();
        let core = self.core.lock();
        let follower = match &core.followers {
            Some(followers) => Follower::new(followers.subscribe()),
            None => Follower::new(broadcast::channel(1).1),
        };
        self.demand.store(core.demand(), Ordering::SeqCst);
        drop(core);
        self.wake();
        follower
    }

    /// Applies a new size of the ring and another log.
    pub(super) fn reconfigure(&self, limit: usize, log: Option<Arc<Writer>>) {
        self.collect();
        let mut core = self.core.lock();
        core.limit = limit;
        core.log = log;
        core.trim();
        core.spent.clear();
        self.demand.store(core.demand(), Ordering::SeqCst);
        drop(core);
        self.wake();
    }

    /// How many events outboxes have dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.collect().0
    }

    /// Moves what is left, and lets followers and the thread end. What is reported later is not kept.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.collect();
        let mut core = self.core.lock();
        core.followers = None;
        core.log = None;
        self.demand.store(core.demand(), Ordering::SeqCst);
        drop(core);
        self.wake();
    }
}

impl Core {
    fn demand(&self) -> u8 {
        let followed = self.followers.as_ref().is_some_and(|followers| followers.receiver_count() > 0);
        match (self.log.is_some() || followed, self.limit) {
            (true, _) => EAGER,
            (false, 0) => OFF,
            (false, _) => LAZY,
        }
    }

    fn keep(&mut self, posted: Posted, place: u32) {
        let Posted { mut event, mut size, is_long } = posted;
        if is_long {
            event = clipped(event);
            size = size_of(&event).try_into().unwrap_or(u32::MAX);
        }
        if let Some(followers) = self.followers.as_ref().filter(|followers| followers.receiver_count() > 0) {
            // Fails when the last one has just left.
            let _ = followers.send(event.clone());
        }
        self.bytes += size as usize;
        self.ring.push_back(Kept { event, size, place });
        self.trim();
    }

    fn trim(&mut self) {
        while self.ring.len() > self.limit || self.bytes > RING_BYTES {
            let Some(Kept { event, size, place }) = self.ring.pop_front() else { return };
            self.bytes -= size as usize;
            let place = place as usize;
            if self.spent.len() <= place {
                self.spent.resize_with(place + 1, Vec::new);
            }
            self.spent[place].push(event);
        }
    }
}

/// The event with texts that are not longer than [`CLIP`]; a cut one ends in `…`.
fn clipped(event: Arc<Finished>) -> Arc<Finished> {
    let mut event = Arc::unwrap_or_clone(event);
    event.target = clip(&event.target).into();
    event.host = clip(&event.host).into();
    Arc::new(event)
}

fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= CLIP {
        return Cow::Borrowed(text);
    }
    let mut end = CLIP;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}
