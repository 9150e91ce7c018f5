//! What the cache asks of a disk tier, so that another engine can stand in sled's place.

use super::EntryId;
use crate::cache::entry::Entry;
use crate::cache::key::Digest;
use crate::cache::purge::Criterion;
use crate::clock::Timestamp;

/// A tier that lasts.
///
/// Reads may come from any thread and must be quick enough to run inline; writes come from one thread, in an order
/// that the store keeps: what survives a crash is a prefix of it. An entry that cannot be read is left out, never
/// replaced by another.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// All variants under a digest, in no order.
    fn get(&self, digest: Digest) -> Result<Vec<Entry>, StoreError>;

    /// Whether there is such an entry.
    fn contains(&self, id: EntryId) -> Result<bool, StoreError>;

    /// Writes an entry over what stood there. Its body is small ([`StoreError::TooLarge`] otherwise) or a file.
    fn put(&self, id: EntryId, entry: &Entry) -> Result<(), StoreError>;

    /// Removes an entry and its hold on its body file; says whether there was one.
    fn remove(&self, id: EntryId) -> Result<bool, StoreError>;

    /// A part of the walk over everything that a criterion might take, by an index where there is one; the
    /// caller tests each. `after` is where the part before ended.
    fn candidates(
        &self,
        criterion: &Criterion,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError>;

    /// The entries that are to be kept the shortest, soonest first; among equals in the order of their digests.
    fn soonest_expiring(&self, limit: usize) -> Result<Vec<(Timestamp, EntryId)>, StoreError>;

    /// What it holds. Counters, never a walk.
    fn usage(&self) -> Usage;

    /// Makes all that was written so far survive a crash.
    fn flush(&self) -> Result<(), StoreError>;

    /// Removes a body file if no entry names it.
    fn release(&self, body: &[u8; 32]) -> Result<(), StoreError>;

    /// A part of removing what a crash left behind (bodies without an entry and the like). Returns where to go on.
    fn tidy(&self, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError>;

    /// Flushes, and notes what makes the next opening quick. The last call.
    fn seal(&self) -> Result<(), StoreError>;
}

/// A part of a walk.
#[derive(Debug, Default)]
pub struct Walk {
    /// The entries, in the walk's order.
    pub entries: Vec<(EntryId, Entry)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries.
    pub entries: u64,
    /// Live bytes, with what the engine itself takes for them.
    pub bytes: u64,
    /// Body files without an entry that were removed since it was opened.
    pub orphans: u64,
    /// Records that could not be read since it was opened.
    pub corrupt: u64,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused: no space, no permission, a failing disk.
    #[error("{0}")]
    Io(#[source] std::io::Error),
    /// The engine's own files are damaged here.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// The entry does not fit a record.
    #[error("too large for a record")]
    TooLarge,
}
