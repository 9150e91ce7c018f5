//! How many tunnels there are, and what has become of those before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::Reason;

/// All tunnels of an instance.
#[derive(Debug, Default)]
pub struct Tunnels {
    open: AtomicUsize,
    to_client: AtomicU64,
    to_upstream: AtomicU64,
    ended: [AtomicU64; Reason::ALL.len()],
}

impl Tunnels {
    /// A place for one more; `None`: there are as many as there may be.
    pub fn admit(self: &Arc<Self>, most: Option<usize>) -> Option<Place> {
        let most = most.unwrap_or(usize::MAX);
        let more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Place(self.clone()))
    }

    /// Open now, those that are about to be included.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Bytes so far to clients, and to upstreams.
    pub fn moved(&self) -> (u64, u64) {
        (self.to_client.load(Relaxed), self.to_upstream.load(Relaxed))
    }

    /// Ended so far, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().map(|reason| (reason, self.ended[reason as usize].load(Relaxed)))
    }
}

/// A place for a tunnel, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Tunnels>);

impl Place {
    pub(super) fn moved(&self, to_client: u64, to_upstream: u64) {
        self.0.to_client.fetch_add(to_client, Relaxed);
        self.0.to_upstream.fetch_add(to_upstream, Relaxed);
    }

    pub(super) fn ended(&self, reason: Reason) {
        self.0.ended[reason as usize].fetch_add(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
