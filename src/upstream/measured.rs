//! A door for `benches/`: what a request pays in the pool, without a connection that would have to be driven.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::pool::{Checkout, Limits, Pool, Pooled, Shared, Sharing, Worker};

/// Stands for a connection.
struct Idle(Worker);

/// None of these carries several requests.
enum Never {}

impl Pooled for Idle {
    fn is_usable(&mut self) -> bool {
        true
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn home(&self) -> Worker {
        self.0
    }

    type Shared = Never;

    fn keepable(self) -> Option<Self> {
        Some(self)
    }
}

impl Shared<Idle> for Never {
    fn join(&self) -> Option<Idle> {
        match *self {}
    }

    fn is_over(&self) -> bool {
        match *self {}
    }

    fn streams(&self) -> usize {
        match *self {}
    }

    fn idle_for(&self, _: Instant) -> Option<Duration> {
        match *self {}
    }

    fn home(&self) -> Worker {
        match *self {}
    }
}

/// A pool with connections that sit idle on this thread.
pub struct IdlePool(Arc<Pool<Idle>>);

impl IdlePool {
    /// With that many.
    pub fn new(connections: usize) -> Self {
        let keepalive = Duration::from_secs(60);
        let limits = Limits { max_connections: connections, max_pending: 0, keepalive };
        let pool = Pool::new(limits, Sharing::Alone);
        (0..connections).for_each(|_| pool.put(Idle(Worker::current())));
        Self(pool)
    }

    /// Takes one and gives it back; whether there was one.
    pub fn take_and_give_back(&self) -> bool {
        let now = Instant::now();
        let checkout = self.0.checkout(Duration::MAX, now, now).now_or_never();
        match checkout {
            Some(Ok(Checkout::Reuse(connection))) => {
                self.0.put(connection);
                true
            }
            _ => false,
        }
    }
}
