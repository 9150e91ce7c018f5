//! What waits for the writer thread, and what lookups may see of it meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::EntryId;
use super::files::Pin;
use super::inspection::Examine;
use super::memory::Resource;
use crate::cache::entry::{Entry, EntryHead};
use crate::cache::key::Digest;

/// Writes that may wait.
const MAX_WAITING: usize = 4096;
/// Bytes of RAM that waiting writes may hold on to.
const MAX_BYTES: u64 = 64 << 20;
const SHARDS: usize = 64;

/// What the writer thread is asked to do.
#[derive(Debug)]
pub(super) enum Op {
    /// An entry's write; its place in the queue was taken with [`Waiting::enter`].
    Write(Write, u64),
    /// Purge rules or limits have changed.
    Wake,
    /// A body could not be written: there may be too little free space.
    Unwritten,
    /// The disk tier failed under a reader.
    Failed,
    /// Be sure of what an inspection found.
    Examine(Box<Examine>),
    /// Forget the purge rules whose removal is finished, and say how many.
    Forget { dry_run: bool, reply: std::sync::mpsc::Sender<u64> },
    /// Open what was closed on purpose.
    Open,
    /// Write what waits, flush, let go.
    Close(oneshot::Sender<()>),
}

/// A write of one entry.
#[derive(Debug)]
pub(super) enum Write {
    /// Store it; `file` holds its body if that is not inline.
    Put { id: EntryId, entry: Arc<Entry>, file: Option<Pin> },
    /// Give the stored response that has the head `old` a new head.
    Freshen { id: EntryId, entry: Arc<Entry>, old: Box<EntryHead> },
    /// Remove it; where `body` is said, only if that is its body.
    Remove { id: EntryId, body: Option<[u8; 32]> },
}

impl Write {
    pub(super) const fn id(&self) -> EntryId {
        match self {
            Self::Put { id, .. } | Self::Freshen { id, .. } | Self::Remove { id, .. } => *id,
        }
    }
}

/// Keys with writes under way, and what will stand there when they are done.
#[derive(Debug)]
pub(super) struct Waiting {
    shards: Box<[Mutex<HashMap<Digest, Pending>>]>,
    count: AtomicUsize,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Pending {
    /// `None`: nothing will be left of it.
    resource: Option<Arc<Resource>>,
    writes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Waiting {
    /// Whether another write may wait.
    pub(super) fn has_room(&self) -> bool {
        self.count.load(Relaxed) < MAX_WAITING && self.bytes.load(Relaxed) < MAX_BYTES
    }

    /// Takes a place; says what to hand to [`Waiting::leave`].
    pub(super) fn enter(&self, digest: Digest, resource: Option<Arc<Resource>>) -> u64 {
        let weight = resource.as_ref().map_or(0, |resource| resource.weight());
        self.count.fetch_add(1, Relaxed);
        self.bytes.fetch_add(weight, Relaxed);
        let mut shard = self.shard(digest).lock();
        let pending = shard.entry(digest).or_insert(Pending { resource: None, writes: 0 });
        pending.writes += 1;
        pending.resource = resource;
        weight
    }

    /// A write is done.
    pub(super) fn leave(&self, digest: Digest, weight: u64) {
        {
            let mut shard = self.shard(digest).lock();
            if let Some(pending) = shard.get_mut(&digest) {
                pending.writes -= 1;
                if pending.writes == 0 {
                    shard.remove(&digest);
                }
            }
        }
        self.count.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(weight, Relaxed);
    }

    /// What will stand under a key: `None` where nothing waits for it.
    pub(super) fn get(&self, digest: Digest) -> Option<Option<Arc<Resource>>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        self.shard(digest).lock().get(&digest).map(|pending| pending.resource.clone())
    }

    /// The keys of what waits now.
    pub(super) fn digests(&self) -> HashSet<Digest> {
        if self.count.load(Relaxed) == 0 {
            return HashSet::new();
        }
        self.shards.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.count.load(Relaxed) as u64
    }

    fn shard(&self, digest: Digest) -> &Mutex<HashMap<Digest, Pending>> {
        &self.shards[usize::from(digest.0[2]) % SHARDS]
    }
}
