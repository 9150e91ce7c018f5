//! Connections kept for the next request: idle ones per worker, the cap over all of them.
//!
//! A worker takes the connection it used last, else makes a new one while the cap allows, else takes over one that
//! sits idle on another worker, else waits in line. What is given back goes to the first in line, whichever worker
//! it stands on. Locks are per worker and uncontended until the cap is reached.

mod wait;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::error::Failure;
use wait::Queue;

/// A connection as the pool sees it.
pub(crate) trait Pooled: Send + 'static {
    /// Whether a request can be sent on it right now.
    fn is_usable(&self) -> bool;

    /// The worker that drives it.
    fn home(&self) -> Worker;
}

/// A worker thread, numbered when it first asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worker(usize);

impl Worker {
    /// The thread that runs this.
    pub(crate) fn current() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
        }
        Self(INDEX.with(|index| {
            index.get().unwrap_or_else(|| {
                let next = NEXT.fetch_add(1, Ordering::Relaxed);
                index.set(Some(next));
                next
            })
        }))
    }
}

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections, idle ones and those being made included.
    pub(crate) max_connections: usize,
    /// Requests in line.
    pub(crate) max_pending: usize,
    /// How long an unused connection is kept.
    pub(crate) keepalive: Duration,
}

/// What a request gets.
pub(crate) enum Checkout<C: Pooled> {
    /// A connection that served before.
    Reuse(C),
    /// Leave to make a connection.
    Dial(Permit<C>),
}

/// The connections to one endpoint.
pub(crate) struct Pool<C: Pooled> {
    shards: Box<[Shard<C>]>,
    max_connections: AtomicUsize,
    max_pending: AtomicUsize,
    keepalive_ms: AtomicU64,
    open: AtomicUsize,
    queue: Queue<C>,
    retired: AtomicBool,
}

/// What one worker keeps idle; alone on its cache line.
#[repr(align(64))]
struct Shard<C>(Mutex<Kept<C>>);

struct Kept<C> {
    /// Oldest first; the newest is taken first, so that the surplus ages out.
    idle: VecDeque<(Instant, C)>,
    sweeping: bool,
}

impl<C: Pooled> Pool<C> {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let workers = std::thread::available_parallelism().map_or(4, usize::from);
        let shards = (0..workers.next_power_of_two().clamp(16, 64))
            .map(|_| Shard(Mutex::new(Kept { idle: VecDeque::new(), sweeping: false })))
            .collect();
        let pool = Self {
            shards,
            max_connections: AtomicUsize::new(0),
            max_pending: AtomicUsize::new(0),
            keepalive_ms: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            queue: Queue::default(),
            retired: AtomicBool::new(false),
        };
        pool.store_limits(limits);
        Arc::new(pool)
    }

    /// New bounds, as a reload brings them. A lower cap holds for new connections; none is cut.
    pub(crate) fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.store_limits(limits);
        self.serve_waiters();
    }

    fn store_limits(&self, limits: Limits) {
        self.max_connections.store(limits.max_connections.max(1), Ordering::Relaxed);
        self.max_pending.store(limits.max_pending, Ordering::Relaxed);
        let keepalive = u64::try_from(limits.keepalive.as_millis()).unwrap_or(u64::MAX);
        self.keepalive_ms.store(keepalive, Ordering::Relaxed);
    }

    /// A connection, or leave to make one, by `until`. One that was not used for longer than `unused` is left to others
    /// where the cap allows a new one; zero always asks for a new one.
    pub(crate) async fn checkout(
        self: &Arc<Self>,
        unused: Duration,
        now: Instant,
        until: Instant,
    ) -> Result<Checkout<C>, Failure> {
        let own = self.shard(Worker::current());
        if !unused.is_zero()
            && let Some(conn) = self.pop(own, now, unused)
        {
            return Ok(Checkout::Reuse(conn));
        }
        if let Some(ready) = self.take_any(now) {
            return Ok(ready);
        }
        wait::wait(self, until).await
    }

    /// Keeps a connection for the next request; closes it when the pool is not used any more.
    pub(crate) fn put(self: &Arc<Self>, conn: C) {
        if self.retired.load(Ordering::Acquire) || self.keepalive().is_zero() {
            return;
        }
        let index = conn.home().0 % self.shards.len();
        let mut kept = self.shards[index].0.lock();
        kept.idle.push_back((Instant::now(), conn));
        let sweep = !std::mem::replace(&mut kept.sweeping, true);
        drop(kept);
        if sweep {
            self.start_sweep(index);
        }
        if self.queue.has_waiters() {
            self.serve_waiters();
        }
    }

    /// Closes what is idle, now and from now on.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for shard in &self.shards {
            let idle = std::mem::take(&mut shard.0.lock().idle);
            drop(idle);
        }
    }

    /// Connections open or being made.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that wait for a request.
    pub(crate) fn idle(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.0.lock().idle.iter().filter(|(_, c)| c.is_usable()).count())
            .sum()
    }

    /// Requests that wait for a connection.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms.load(Ordering::Relaxed))
    }

    fn shard(&self, worker: Worker) -> &Shard<C> {
        &self.shards[worker.0 % self.shards.len()]
    }

    /// Takes the connection used last, if it is not unused for too long; those that died or grew too old meanwhile are
    /// dropped on the way.
    fn pop(&self, shard: &Shard<C>, now: Instant, unused: Duration) -> Option<C> {
        let keepalive = self.keepalive();
        loop {
            let mut kept = shard.0.lock();
            let rested = now.saturating_duration_since(kept.idle.back()?.0);
            if rested > unused && rested <= keepalive && kept.idle.back()?.1.is_usable() {
                return None;
            }
            let (_, conn) = kept.idle.pop_back()?;
            // What is dropped may look for waiters, and for connections here.
            drop(kept);
            if conn.is_usable() && rested <= keepalive {
                return Some(conn);
            }
        }
    }

    /// Leave to connect while the cap allows, else a connection idle anywhere.
    fn take_any(self: &Arc<Self>, now: Instant) -> Option<Checkout<C>> {
        if let Some(permit) = Permit::acquire(self) {
            return Some(Checkout::Dial(permit));
        }
        self.shards.iter().find_map(|shard| self.pop(shard, now, Duration::MAX)).map(Checkout::Reuse)
    }

    /// Hands what is free to who waits, first come first served.
    fn serve_waiters(self: &Arc<Self>) {
        // Whoever frees something looks for waiters after this fence, whoever waits looks for something free after
        // its own: one of the two sees the other.
        fence(Ordering::SeqCst);
        while let Some((waiter, ready)) = self.queue.next(|| self.take_any(Instant::now())) {
            if let Err(unwanted) = waiter.send(ready) {
                self.give_back(unwanted);
            }
        }
    }

    /// Puts back what a waiter did not take, without looking for waiters (the caller does).
    fn give_back(&self, unwanted: Checkout<C>) {
        match unwanted {
            Checkout::Reuse(conn) => {
                self.shard(conn.home()).0.lock().idle.push_back((Instant::now(), conn));
            }
            Checkout::Dial(permit) => permit.release_quietly(),
        }
    }

    fn start_sweep(self: &Arc<Self>, index: usize) {
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(sweep(Sweeping { pool: Arc::downgrade(self), index, live: true }));
            }
            Err(_) => self.shards[index].0.lock().sweeping = false,
        }
    }

    /// Closes what is idle for too long; the time until the next look, `None` when nothing is left.
    fn sweep(&self, index: usize, now: Instant) -> Option<Duration> {
        let keepalive = self.keepalive();
        let mut expired = Vec::new();
        let mut kept = self.shards[index].0.lock();
        while let Some((since, conn)) = kept.idle.front() {
            if conn.is_usable() && now.saturating_duration_since(*since) < keepalive {
                break;
            }
            expired.extend(kept.idle.pop_front());
        }
        let oldest = kept.idle.front().map(|(since, _)| *since);
        kept.sweeping = oldest.is_some();
        drop(kept);
        drop(expired);
        let due = (oldest? + keepalive).saturating_duration_since(now);
        // Coarse: one look closes all that expire close together.
        Some(due.max(Duration::from_secs(1).min(keepalive / 4)))
    }
}

/// A place under the cap, held for as long as the connection is open.
pub(crate) struct Permit<C: Pooled> {
    pool: Option<Arc<Pool<C>>>,
}

impl<C: Pooled> Permit<C> {
    fn acquire(pool: &Arc<Pool<C>>) -> Option<Self> {
        let max = pool.max_connections.load(Ordering::Relaxed);
        let more = |open: usize| (open < max).then_some(open + 1);
        pool.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Self { pool: Some(Arc::clone(pool)) })
    }

    fn release_quietly(mut self) {
        if let Some(pool) = self.pool.take() {
            pool.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl<C: Pooled> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.open.fetch_sub(1, Ordering::SeqCst);
            if pool.queue.has_waiters() {
                pool.serve_waiters();
            }
        }
    }
}

/// Runs while a worker keeps idle connections, and only then.
async fn sweep<C: Pooled>(mut sweeping: Sweeping<C>) {
    let mut pause = sweeping.pool.upgrade().map(|pool| pool.keepalive());
    while let Some(wait) = pause {
        tokio::time::sleep(wait).await;
        pause = sweeping.pool.upgrade().and_then(|pool| pool.sweep(sweeping.index, Instant::now()));
    }
    sweeping.live = false;
}

/// Lets the next connection start a new sweep where this one was cut off by the end of its worker.
struct Sweeping<C: Pooled> {
    pool: Weak<Pool<C>>,
    index: usize,
    live: bool,
}

impl<C: Pooled> Drop for Sweeping<C> {
    fn drop(&mut self) {
        if self.live
            && let Some(pool) = self.pool.upgrade()
        {
            pool.shards[self.index].0.lock().sweeping = false;
        }
    }
}

#[cfg(test)]
mod tests;
