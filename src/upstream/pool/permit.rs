//! Leave to have one connection more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Pool, Pooled, Sharing, Worker};

/// A place under the cap, held for as long as the connection is open.
pub(crate) struct Permit<C: Pooled> {
    pool: Option<Arc<Pool<C>>>,
    /// The worker that makes the connection, until it is made.
    dialling: Option<Worker>,
}

impl<C: Pooled> std::fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("dialling", &self.dialling).finish_non_exhaustive()
    }
}

impl<C: Pooled> Permit<C> {
    pub(super) fn acquire(pool: &Arc<Pool<C>>) -> Option<Self> {
        let max = pool.max_connections.load(Ordering::Relaxed);
        let more = |open: usize| (open < max).then_some(open + 1);
        pool.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        let worker = Worker::current();
        pool.dialling.fetch_add(1, Ordering::SeqCst);
        pool.shard(worker).dialling.fetch_add(1, Ordering::SeqCst);
        Some(Self { pool: Some(Arc::clone(pool)), dialling: Some(worker) })
    }

    /// The connection is made, and serves one request at a time.
    pub(crate) fn alone(&mut self) {
        // One that was made aside says nothing of the others.
        if self.dialling.is_some() {
            self.made(Sharing::Alone);
        }
    }

    /// The connection is for one exchange, whatever the others are: nobody is to wait for it.
    pub(crate) fn aside(&mut self) {
        let Some(pool) = &self.pool else { return };
        if let Some(worker) = self.dialling.take() {
            pool.dialled(worker);
            pool.freed();
        }
    }

    /// The connection is made, or its peer has changed its mind: it has room for so many requests.
    pub(crate) fn shared_by(&mut self, places: usize) {
        if let Some(pool) = &self.pool {
            pool.room.store(places.max(1), Ordering::Relaxed);
        }
        self.made(Sharing::Shared);
        if let Some(pool) = &self.pool {
            pool.freed();
        }
    }

    fn made(&mut self, sharing: Sharing) {
        let Some(pool) = &self.pool else { return };
        let before = pool.sharing.swap(sharing as u8, Ordering::Relaxed);
        if let Some(worker) = self.dialling.take() {
            pool.dialled(worker);
        }
        if before != sharing as u8 {
            // Who waits for a place on it must have a connection of its own after all.
            pool.freed();
        }
    }

    pub(super) fn release_quietly(mut self) {
        if let Some(pool) = self.pool.take() {
            self.give_up(&pool);
        }
    }

    fn give_up(&mut self, pool: &Pool<C>) {
        if let Some(worker) = self.dialling.take() {
            pool.dialled(worker);
        }
        pool.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<C: Pooled> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            self.give_up(&pool);
            pool.freed();
        }
    }
}
