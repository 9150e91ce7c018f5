//! The line of requests that wait for a connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Checkout, Pool, Pooled};
use crate::upstream::error::Failure;

type Waiter<C> = oneshot::Sender<Checkout<C>>;

/// First come, first served, whichever worker it stands on.
pub(super) struct Queue<C: Pooled> {
    waiting: AtomicUsize,
    line: Mutex<Line<C>>,
}

struct Line<C: Pooled> {
    next_ticket: u64,
    waiters: VecDeque<(u64, Waiter<C>)>,
}

impl<C: Pooled> Default for Queue<C> {
    fn default() -> Self {
        let line = Line { next_ticket: 0, waiters: VecDeque::new() };
        Self { waiting: AtomicUsize::new(0), line: Mutex::new(line) }
    }
}

impl<C: Pooled> Queue<C> {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Asked after something became free; ordered against a waiter that looks after it has joined.
    pub(super) fn has_waiters(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting() > 0
    }

    /// The first in line together with what `take` finds for it, told how many stand there; takes nothing while nobody
    /// does.
    pub(super) fn next(
        &self,
        take: impl FnOnce(usize) -> Option<Checkout<C>>,
    ) -> Option<(Waiter<C>, Checkout<C>)> {
        let mut line = self.line.lock();
        if line.waiters.is_empty() {
            return None;
        }
        let ready = take(line.waiters.len())?;
        let (_, waiter) = line.waiters.pop_front()?;
        Some((waiter, ready))
    }

    fn join(&self, max: usize) -> Option<(u64, oneshot::Receiver<Checkout<C>>)> {
        let more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        let (sender, receiver) = oneshot::channel();
        let mut line = self.line.lock();
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.waiters.push_back((ticket, sender));
        Some((ticket, receiver))
    }

    fn leave(&self, ticket: u64) {
        let mut line = self.line.lock();
        let place = line.waiters.iter().position(|(other, _)| *other == ticket);
        let left = place.and_then(|place| line.waiters.remove(place));
        drop(line);
        drop(left);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits in line until `until`.
pub(super) async fn wait<C: Pooled>(pool: &Arc<Pool<C>>, until: Instant) -> Result<Checkout<C>, Failure> {
    let max = pool.max_pending.load(Ordering::Relaxed);
    let (ticket, receiver) = pool.queue.join(max).ok_or(Failure::QueueFull)?;
    let _place = Place { pool, ticket };
    // Something may have become free before we stood in line.
    pool.serve_waiters();
    match tokio::time::timeout_at(until.into(), receiver).await {
        Ok(Ok(checkout)) => Ok(checkout),
        Ok(Err(_)) | Err(_) => Err(Failure::QueueTimeout),
    }
}

/// Leaves the line however the wait ends.
struct Place<'a, C: Pooled> {
    pool: &'a Arc<Pool<C>>,
    ticket: u64,
}

impl<C: Pooled> Drop for Place<'_, C> {
    fn drop(&mut self) {
        self.pool.queue.leave(self.ticket);
    }
}
