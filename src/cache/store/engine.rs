//! What the cache asks of a disk tier, so that another engine can stand in sled's place.

use super::EntryId;
use crate::cache::entry::{Entry, FileBody};
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, Subject};
use crate::clock::Timestamp;

/// A tier that lasts.
///
/// Reads may come from any thread and must be quick enough to run inline; writes come from one thread, in an order
/// that the store keeps: what survives a crash is a prefix of it. An entry that cannot be read is left out, never
/// replaced by another.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// All variants under a digest, in no order.
    fn get(&self, digest: Digest) -> Result<Vec<Entry>, StoreError>;

    /// Whether there is any variant under a digest.
    fn has(&self, digest: Digest) -> Result<bool, StoreError> {
        Ok(!self.get(digest)?.is_empty())
    }

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

    /// A part of the walk over everything whose URL, and digest, are `wanted`; what is not known of an entry before it is
    /// read (tags, route, when it came) is left empty there. The caller tests each entry; those whose URL
    /// cannot be told may be among them unasked. `limit` is how many are looked at.
    fn candidates_by_url(
        &self,
        wanted: &dyn Fn(&Subject<'_>) -> bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError>;

    /// The entries that are to be kept the shortest, soonest first; among equals in the order of their digests.
    fn soonest_expiring(&self, limit: usize) -> Result<Vec<(Timestamp, EntryId)>, StoreError>;

    /// What it holds. Counters, never a walk.
    fn usage(&self) -> Usage;

    /// What each route's entries take, by the route's name. Counters, never a walk.
    fn routes(&self) -> Vec<(Box<str>, RouteUsage)>;

    /// What one route's entries take.
    fn route_usage(&self, route: &str) -> RouteUsage;

    /// Makes all that was written so far survive a crash.
    fn flush(&self) -> Result<(), StoreError>;

    /// Removes a body file if no entry names it.
    fn release(&self, body: &[u8; 32]) -> Result<(), StoreError>;

    /// A part of removing what a crash left behind (bodies without an entry and the like). Returns where to go on.
    fn tidy(&self, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError>;

    /// A part of looking at everything that it keeps, entries first, then what finds them, then body files (whose
    /// content is not read here). May run beside writes: what it takes for wrong may just be changing, and is
    /// certain only when [`Store::is_fault`] says so.
    fn inspect(&self, now: Timestamp, after: Option<&[u8]>, limit: usize) -> Result<Inspected, StoreError>;

    /// Whether it is so. Only on the thread that writes is that certain.
    fn is_fault(&self, now: Timestamp, fault: &Fault) -> Result<bool, StoreError>;

    /// Puts it right, by removal where nothing else can be done; says how many bytes that freed.
    fn mend(&self, fault: &Fault) -> Result<u64, StoreError>;

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

/// A part of an inspection.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Entries that were looked at.
    pub entries: u64,
    /// Their bytes, and those of what else was looked at.
    pub bytes: u64,
    /// Whose bodies are in files.
    pub bodies: Vec<(EntryId, FileBody)>,
    /// What seems wrong, or of no more use.
    pub faults: Vec<Fault>,
    /// Where to go on; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Something that a store should not keep as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// With which entry, where that is known.
    pub id: Option<EntryId>,
    /// With which body.
    pub body: Option<[u8; 32]>,
    /// Where, in the engine's own terms.
    pub place: Vec<u8>,
}

/// What can be wrong in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// A record's checksum or structure does not hold.
    Record,
    /// A part of the index that cannot be read at all.
    Unreadable,
    /// The body's file is gone.
    BodyMissing,
    /// A checksum of the body does not hold.
    BodyDamaged,
    /// An entry that purges or eviction would not find.
    RowMissing,
    /// A row of an index without its entry.
    StrayRow,
    /// A part of a large head without its entry.
    StrayChunk,
    /// A body file without an entry.
    StrayBody,
    /// An entry past the time that it is kept: of no more use, and no damage.
    Expired,
}

impl FaultKind {
    /// One stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Unreadable => "unreadable",
            Self::BodyMissing => "body-missing",
            Self::BodyDamaged => "body-damaged",
            Self::RowMissing => "row-missing",
            Self::StrayRow => "stray-row",
            Self::StrayChunk => "stray-chunk",
            Self::StrayBody => "stray-body",
            Self::Expired => "expired",
        }
    }

    /// Whether it takes a reply that was stored from whoever asks: the origin is asked again.
    pub const fn loses_entry(self) -> bool {
        matches!(self, Self::Record | Self::BodyMissing | Self::BodyDamaged | Self::Expired)
    }
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

/// What a route's entries take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteUsage {
    /// Entries.
    pub entries: u64,
    /// Bytes, as [`Usage`] counts them, but a body once for each entry that has it.
    pub bytes: u64,
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
