//! Connections kept for the next request: idle ones per worker, the cap over all of them.
//!
//! A worker takes the connection it used last, else makes a new one while the cap allows, else takes over one that
//! sits idle on another worker, else waits in line. What is given back goes to the first in line, whichever worker
//! it stands on. Locks are per worker and uncontended until the cap is reached.
//!
//! A connection that carries several requests at once stays here while they use it ([`Shared`]); another is made when it
//! is full. Who comes while one is being made waits for that, as long as it is likely to have room for all who wait.

mod permit;
mod wait;

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::error::Failure;
pub(crate) use permit::Permit;
use wait::Queue;

/// A connection as the pool sees it.
pub(crate) trait Pooled: Send + Sized + 'static {
    /// Whether a request can be sent on it right now.
    fn is_usable(&mut self) -> bool;

    /// Ready when it is over although nobody uses it: its peer has closed it, for one.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The worker that drives it.
    fn home(&self) -> Worker;

    /// What carries several requests at once, of which this may be one.
    type Shared: Shared<Self>;

    /// What is kept of it for the next request when nobody looks for waiters.
    fn keepable(self) -> Option<Self>;
}

/// A connection for several requests at once, as the pool sees it.
pub(crate) trait Shared<C>: Send + 'static {
    /// A place on it.
    fn join(&self) -> Option<C>;

    /// Whether it takes no more requests, now and from now on.
    fn is_over(&self) -> bool;

    /// Requests on it.
    fn streams(&self) -> usize;

    /// How long it has had none; `None` while it has.
    fn idle_for(&self, now: Instant) -> Option<Duration>;

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

/// Requests that are thought to have room on a connection whose peer has not said so yet (RFC 9113 6.5.2 advises no less).
const LIKELY_ROOM: usize = 100;

/// Whether connections carry several requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Never.
    Alone,
    /// That turns out when one is made; until then it is thought so.
    Unknown,
    /// They do.
    Shared,
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
    /// Whether connections are shared, as far as is known: a [`Sharing`].
    sharing: AtomicU8,
    /// Connections being made, and requests that each is likely to have room for.
    dialling: AtomicUsize,
    room: AtomicUsize,
    queue: Queue<C>,
    retired: AtomicBool,
}

/// What one worker keeps idle; alone on its cache line.
#[repr(align(64))]
struct Shard<C: Pooled> {
    kept: Mutex<Kept<C>>,
    dialling: AtomicUsize,
}

struct Kept<C: Pooled> {
    /// Oldest first; the newest is taken first, so that the surplus ages out.
    idle: VecDeque<(Instant, C)>,
    /// Oldest first, which is filled first: what is not needed any more falls idle at the end.
    shared: Vec<C::Shared>,
    sweeping: bool,
    /// Who is woken when an idle one ends: the sweep.
    watcher: Waker,
}

impl<C: Pooled> Shard<C> {
    fn new() -> Self {
        let (idle, shared, watcher) = (VecDeque::new(), Vec::new(), Waker::noop().clone());
        let kept = Kept { idle, shared, sweeping: false, watcher };
        Self { kept: Mutex::new(kept), dialling: AtomicUsize::new(0) }
    }

    /// A place on a connection that carries several requests.
    fn join(&self) -> Option<C> {
        let mut kept = self.kept.lock();
        let found = kept.shared.iter().find_map(Shared::join);
        if found.is_none() {
            kept.shared.retain(|shared| !shared.is_over());
        }
        found
    }
}

impl<C: Pooled> Pool<C> {
    pub(crate) fn new(limits: Limits, sharing: Sharing) -> Arc<Self> {
        let workers = std::thread::available_parallelism().map_or(4, usize::from);
        let shards = (0..workers.next_power_of_two().clamp(16, 64)).map(|_| Shard::new()).collect();
        let pool = Self {
            shards,
            max_connections: AtomicUsize::new(0),
            max_pending: AtomicUsize::new(0),
            keepalive_ms: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            sharing: AtomicU8::new(sharing as u8),
            dialling: AtomicUsize::new(0),
            room: AtomicUsize::new(LIKELY_ROOM),
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

    /// What [`checkout`](Self::checkout) would give at once: the idle connection that this worker used last.
    pub(crate) fn at_hand(&self, now: Instant) -> Option<C> {
        self.pop(self.shard(Worker::current()), now, Duration::MAX)
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
        if self.is_shared() {
            // That one of them was not used for a while says little: its end would have been told.
            if let Some(conn) = own.join() {
                return Ok(Checkout::Reuse(conn));
            }
            let coming = own.dialling.load(Ordering::SeqCst) > 0;
            if coming && self.queue.waiting() < self.coming() {
                return wait::wait(self, until).await;
            }
        }
        if let Some(ready) = self.take_any(now) {
            return Ok(ready);
        }
        wait::wait(self, until).await
    }

    /// As [`checkout`](Self::checkout), for an exchange that nobody else may be beside.
    pub(crate) async fn checkout_aside(
        self: &Arc<Self>,
        now: Instant,
        until: Instant,
    ) -> Result<Checkout<C>, Failure> {
        let checkout = match self.take_any(now) {
            Some(ready) => ready,
            None => wait::wait(self, until).await?,
        };
        Ok(match checkout {
            Checkout::Dial(mut permit) => {
                permit.aside();
                Checkout::Dial(permit)
            }
            reuse => reuse,
        })
    }

    /// Keeps a connection that carries several requests, for as long as it is used.
    pub(crate) fn share(self: &Arc<Self>, shared: C::Shared) {
        if self.retired.load(Ordering::Acquire) || self.keepalive().is_zero() {
            return;
        }
        let index = shared.home().0 % self.shards.len();
        let mut kept = self.shards[index].kept.lock();
        kept.shared.push(shared);
        let sweep = !std::mem::replace(&mut kept.sweeping, true);
        drop(kept);
        if sweep {
            self.start_sweep(index);
        }
    }

    /// There is room where there was none.
    pub(crate) fn freed(self: &Arc<Self>) {
        if self.queue.has_waiters() {
            self.serve_waiters();
        }
    }

    /// A connection could not be made: who waits for it tries for itself, at once, and finds out the same or better.
    pub(crate) fn dial_failed(self: &Arc<Self>) {
        if self.queue.has_waiters() {
            self.serve(|_| self.take_any(Instant::now()).or_else(|| self.join_any()));
        }
    }

    fn is_shared(&self) -> bool {
        self.sharing.load(Ordering::Relaxed) != Sharing::Alone as u8
    }

    /// Requests for which the connections that are being made are likely to have room.
    fn coming(&self) -> usize {
        self.dialling.load(Ordering::SeqCst).saturating_mul(self.room.load(Ordering::Relaxed))
    }

    /// Keeps a connection for the next request; closes it when it is over, or the pool is not used any more.
    pub(crate) fn put(self: &Arc<Self>, conn: C) {
        self.put_at(conn, Instant::now());
    }

    /// The same, for who knows what time it is.
    pub(crate) fn put_at(self: &Arc<Self>, mut conn: C, now: Instant) {
        if self.retired.load(Ordering::Acquire) || self.keepalive().is_zero() {
            return;
        }
        let index = conn.home().0 % self.shards.len();
        let mut kept = self.shards[index].kept.lock();
        if conn.poll_end(&mut Context::from_waker(&kept.watcher)).is_ready() {
            // What is dropped may look for waiters, and for connections here.
            drop(kept);
            return;
        }
        kept.idle.push_back((now, conn));
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
            let mut kept = shard.kept.lock();
            let over = (std::mem::take(&mut kept.idle), std::mem::take(&mut kept.shared));
            drop(kept);
            drop(over);
        }
    }

    /// Connections open or being made.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that wait for a request.
    pub(crate) fn idle(&self) -> usize {
        let idle = |shard: &Shard<C>| {
            let kept = shard.kept.lock();
            kept.idle.len()
                + kept.shared.iter().filter(|shared| !shared.is_over() && shared.streams() == 0).count()
        };
        self.shards.iter().map(idle).sum()
    }

    /// Connections that carry several requests at once, and the requests on them.
    pub(crate) fn shared(&self) -> (usize, usize) {
        let mut sum = (0, 0);
        for shard in &self.shards {
            let kept = shard.kept.lock();
            let live = kept.shared.iter().filter(|shared| !shared.is_over());
            sum = live.fold(sum, |(count, streams), shared| (count + 1, streams + shared.streams()));
        }
        sum
    }

    /// Requests that wait for a connection.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn dialled(&self, worker: Worker) {
        self.dialling.fetch_sub(1, Ordering::SeqCst);
        self.shard(worker).dialling.fetch_sub(1, Ordering::SeqCst);
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
            let mut kept = shard.kept.lock();
            let (since, conn) = kept.idle.back_mut()?;
            let rested = now.saturating_duration_since(*since);
            let is_good = rested <= keepalive && conn.is_usable();
            if is_good && rested > unused {
                return None;
            }
            let (_, conn) = kept.idle.pop_back()?;
            // What is dropped may look for waiters, and for connections here.
            drop(kept);
            if is_good {
                return Some(conn);
            }
        }
    }

    /// Leave to connect while the cap allows, else a connection idle anywhere.
    fn take_any(self: &Arc<Self>, now: Instant) -> Option<Checkout<C>> {
        if let Some(permit) = Permit::acquire(self) {
            return Some(Checkout::Dial(permit));
        }
        self.shards
            .iter()
            .find_map(|shard| self.pop(shard, now, Duration::MAX))
            .map(Checkout::Reuse)
            .or_else(|| self.join_any())
    }

    /// A place on a connection of whichever worker.
    fn join_any(&self) -> Option<Checkout<C>> {
        if !self.is_shared() {
            return None;
        }
        self.shards.iter().find_map(Shard::join).map(Checkout::Reuse)
    }

    /// For who waits: room on what there is comes first, and a connection is made only when those that are being made are
    /// not likely to suffice.
    fn take_for_waiter(self: &Arc<Self>, standing: usize) -> Option<Checkout<C>> {
        let now = Instant::now();
        if !self.is_shared() {
            return self.take_any(now);
        }
        if let Some(ready) = self.join_any() {
            return Some(ready);
        }
        if standing > self.coming() {
            return self.take_any(now);
        }
        None
    }

    /// Hands what is free to who waits, first come first served.
    fn serve_waiters(self: &Arc<Self>) {
        // Whoever frees something looks for waiters after this fence, whoever waits looks for something free after
        // its own: one of the two sees the other.
        fence(Ordering::SeqCst);
        self.serve(|standing| self.take_for_waiter(standing));
    }

    fn serve(&self, take: impl Fn(usize) -> Option<Checkout<C>>) {
        while let Some((waiter, ready)) = self.queue.next(&take) {
            if let Err(unwanted) = waiter.send(ready) {
                self.give_back(unwanted);
            }
        }
    }

    /// Puts back what a waiter did not take, without looking for waiters (the caller does).
    fn give_back(&self, unwanted: Checkout<C>) {
        match unwanted {
            Checkout::Reuse(conn) => {
                let home = conn.home();
                if let Some(conn) = conn.keepable() {
                    let mut kept = self.shard(home).kept.lock();
                    kept.idle.push_back((Instant::now(), conn));
                    // It may have ended meanwhile.
                    kept.watcher.wake_by_ref();
                }
            }
            Checkout::Dial(permit) => permit.release_quietly(),
        }
    }

    fn start_sweep(self: &Arc<Self>, index: usize) {
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(sweep(Sweeping { pool: Arc::downgrade(self), index, live: true }));
            }
            Err(_) => self.shards[index].kept.lock().sweeping = false,
        }
    }

    /// Closes what is idle for too long, and what has ended; the time until the next look, `None` when nothing is left.
    fn sweep(&self, index: usize, now: Instant, cx: &mut Context<'_>) -> Option<Duration> {
        let keepalive = self.keepalive();
        let mut kept = self.shards[index].kept.lock();
        if !kept.watcher.will_wake(cx.waker()) {
            kept.watcher = cx.waker().clone();
        }
        let mut expired = Vec::new();
        let mut at = 0;
        while let Some((since, conn)) = kept.idle.get_mut(at) {
            if conn.poll_end(cx).is_pending() && now.saturating_duration_since(*since) < keepalive {
                at += 1;
            } else {
                expired.extend(kept.idle.remove(at));
            }
        }
        let unused = |shared: &C::Shared| shared.idle_for(now).unwrap_or_default();
        let gone = kept.shared.extract_if(.., |shared| shared.is_over() || unused(shared) >= keepalive);
        let gone: Vec<_> = gone.collect();
        let longest = kept.shared.iter().map(unused).max().map(|unused| now - unused);
        let oldest = kept.idle.front().map(|(since, _)| *since).into_iter().chain(longest).min();
        kept.sweeping = oldest.is_some();
        drop(kept);
        drop((expired, gone));
        let due = (oldest? + keepalive).saturating_duration_since(now);
        // Coarse: one look closes all that expire close together.
        Some(due.max(Duration::from_secs(1).min(keepalive / 4)))
    }
}

/// Runs while a worker keeps idle connections, and only then: woken when the oldest of them is due, or one of them ends.
async fn sweep<C: Pooled>(mut sweeping: Sweeping<C>) {
    let mut due = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let pool = sweeping.pool.upgrade();
            let pause = pool.and_then(|pool| pool.sweep(sweeping.index, Instant::now(), cx));
            let Some(pause) = pause else { return Poll::Ready(()) };
            due.as_mut().reset(tokio::time::Instant::now() + pause);
            ready!(due.as_mut().poll(cx));
        }
    })
    .await;
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
            pool.shards[self.index].kept.lock().sweeping = false;
        }
    }
}

#[cfg(test)]
mod tests;
