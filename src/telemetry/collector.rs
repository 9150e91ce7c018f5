//! Takes events from the outboxes to the ring, to followers and to the access log.
//!
//! One thread does so when there is someone to tell, or when an outbox holds many; whoever reads the ring does
//! so first, and therefore misses nothing. For the ring alone no event is looked at: it stays where its thread has it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::access_log::Writer;
use super::account::Account;
use super::batch::{Batch, clipped};
use super::event::Finished;
use super::local::Seats;
use super::ring::{Follower, Remembered, Ring};

/// After a round, the collector lets events gather for so long instead of being woken for each.
const GATHER: Duration = Duration::from_millis(10);
/// Events that a follower may be behind.
const FOLLOW_BEHIND: usize = 1024;
/// Batches without events that wait to be used by a thread.
const MAX_SPARE: usize = 2;

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
    ring: Ring,
    followers: Option<broadcast::Sender<Arc<Finished>>>,
    log: Option<Arc<Writer>>,
    spare: Spare,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        let core = Core {
            ring: Ring::new(limit),
            followers: Some(broadcast::channel(FOLLOW_BEHIND).0),
            log: None,
            spare: Spare::default(),
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
    pub(super) fn post(&self, local: &super::local::Local, account: &Account<'_>) {
        let demand = self.demand.load(Ordering::Relaxed);
        if demand == OFF {
            return;
        }
        let many = local.post(account);
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
        for local in &self.seats.all() {
            let mut batch = core.spare.of(local.place);
            dropped += local.take(&mut batch);
            moved += batch.len();
            core.keep(batch, local.place);
        }
        // A follower may have left.
        self.demand.store(core.demand(), Ordering::SeqCst);
        (dropped, moved)
    }

    /// What the ring has; read outside of the lock.
    pub(super) fn recent(&self) -> Remembered {
        self.collect();
        self.core.lock().ring.remembered()
    }

    /// Hears of what comes; and what came before.
    pub(super) fn follow(&self) -> (Remembered, Follower) {
        // What finished before is not news.
        self.collect();
        let core = self.core.lock();
        let follower = match &core.followers {
            Some(followers) => Follower::new(followers.subscribe()),
            None => Follower::new(broadcast::channel(1).1),
        };
        let remembered = core.ring.remembered();
        self.demand.store(core.demand(), Ordering::SeqCst);
        drop(core);
        self.wake();
        (remembered, follower)
    }

    /// Applies a new size of the ring and another log.
    pub(super) fn reconfigure(&self, limit: usize, log: Option<Arc<Writer>>) {
        self.collect();
        let mut core = self.core.lock();
        core.ring.set_limit(limit);
        core.log = log;
        core.spare = Spare::default();
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
        match (self.log.is_some() || followed, self.ring.limit()) {
            (true, _) => EAGER,
            (false, 0) => OFF,
            (false, _) => LAZY,
        }
    }

    fn keep(&mut self, batch: Batch, place: u32) {
        if batch.is_empty() {
            return self.spare.keep(place, batch);
        }
        if let Some(log) = &self.log {
            log.submit(&batch);
        }
        if let Some(followers) = self.followers.as_ref().filter(|followers| followers.receiver_count() > 0) {
            for account in batch.from(0) {
                // Fails when the last one has just left.
                let _ = followers.send(Arc::new(clipped(&account, |account| account.to_finished())));
            }
        }
        let spare = &mut self.spare;
        self.ring.keep(batch, place, |place, batch| spare.keep(place, batch));
    }
}

/// What the ring has let go of, by the places of those who wrote to it: they go on there.
#[derive(Debug, Default)]
struct Spare(Vec<Vec<Batch>>);

impl Spare {
    fn of(&mut self, place: u32) -> Batch {
        self.0.get_mut(place as usize).and_then(Vec::pop).unwrap_or_default()
    }

    fn keep(&mut self, place: u32, batch: Batch) {
        let place = place as usize;
        if self.0.len() <= place {
            self.0.resize_with(place + 1, Vec::new);
        }
        if self.0[place].len() < MAX_SPARE {
            self.0[place].push(batch);
        }
    }
}
