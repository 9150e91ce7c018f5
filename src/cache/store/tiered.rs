//! The cache's door: RAM over disk, under the purge rules.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::report::*;
use crate::cache::Settings;
use crate::cache::entry::{Entry, EntryHead, VaryKey};
use crate::cache::key::{Digest, KeyParts, Secret, StoredKey};
use crate::cache::purge::{Criterion, PurgeError, PurgeReport};
use crate::cache::spool::{Spool, SpooledBody};
use crate::clock::{Clock, Timestamp};

/// All that is stored for one key.
#[derive(Debug)]
pub struct Resource {
    /// The key's digest.
    pub digest: Digest,
    /// Its variants, newest response first; never empty.
    pub variants: Vec<Arc<Entry>>,
}

/// A response to be stored; its body is in a [`SpooledBody`].
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it answers.
    pub key: StoredKey,
    /// Which variant it is.
    pub vary: VaryKey,
    /// Status, fields, freshness.
    pub head: EntryHead,
    /// Names by which it can be purged.
    pub tags: Vec<Box<str>>,
    /// The route that stores it.
    pub route: Box<str>,
    /// [`Cache::sequence`] as it was when the fetch began.
    pub sequence: u64,
    /// Until when it is worth keeping.
    pub keep_until: Timestamp,
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// In RAM and on its way to disk.
    Stored,
    /// In RAM only: no disk tier, or too many writes are waiting.
    MemoryOnly,
    /// A purge came between the fetch and now.
    Purged,
    /// Larger than RAM holds, with no disk to take it; or the body is not whole.
    TooLarge,
}

/// A head that replaces a stored one after validation (RFC 9111 4.3.4).
#[derive(Clone, Debug)]
pub struct Freshened {
    /// The merged head.
    pub head: EntryHead,
    /// Until when the entry is worth keeping now.
    pub keep_until: Timestamp,
    /// [`Cache::sequence`] as it was when the validation began.
    pub sequence: u64,
}

/// Why the cache cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("store directory {path}: {source}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a stored body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The file is gone: its entry was removed meanwhile.
    #[error("the stored body is gone")]
    Gone,
    /// A checksum did not hold; the entry has been removed.
    #[error("the stored body is damaged")]
    Corrupt,
    /// The system could not read it.
    #[error("the stored body cannot be read: {0}")]
    Io(#[source] std::io::Error),
}

/// The cache of an instance: entries in RAM and on disk, under purge rules.
#[derive(Debug)]
pub struct Cache {}

/// A stored body as it streams: slices of at most 64 KiB, each verified before it leaves.
#[derive(Debug)]
pub struct BodyReader {}

impl BodyReader {
    /// The next slice; `None` at the end of the range. An error ends it.
    pub fn poll_next(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, BodyError>>> {
        todo!()
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        todo!()
    }
}

impl Cache {
    /// Starts with what RAM holds (nothing), and opens `dir` behind; without `dir`, or with a disk limit of zero,
    /// RAM is all there is. Returns at once. Purges that were answered before hold from the start.
    pub fn open(_settings: Settings, _dir: Option<PathBuf>, _clock: Clock) -> Result<Arc<Self>, OpenError> {
        todo!()
    }

    /// A cache in RAM alone.
    pub fn in_memory(_settings: Settings, _clock: Clock) -> Arc<Self> {
        todo!()
    }

    /// The secret with which field values are hashed in keys and variants.
    pub fn secret(&self) -> &Secret {
        todo!()
    }

    /// New limits, after a reload. They hold from now on; what is over them goes in the background.
    pub fn reconfigure(&self, _settings: Settings) {
        todo!()
    }

    /// How the disk tier stands.
    pub fn state(&self) -> State {
        todo!()
    }

    /// Waits until opening has come to an end, and says how.
    pub async fn wait_open(&self) -> State {
        todo!()
    }

    /// What the directory's owner should know, oldest first; bounded.
    pub fn findings(&self) -> Vec<Finding> {
        todo!()
    }

    /// What was set aside and not yet salvaged.
    pub fn quarantines(&self) -> Vec<Quarantine> {
        todo!()
    }

    /// What is stored for a key, purge rules applied. Never another key's entry: the whole key is compared.
    pub fn lookup(&self, _key: &KeyParts<'_>, _digest: Digest) -> Option<Arc<Resource>> {
        todo!()
    }

    /// The purge sequence; to be taken before a fetch begins and handed to [`Cache::insert`].
    pub fn sequence(&self) -> u64 {
        todo!()
    }

    /// Begins to collect a body that streams through; `expected` is its length where the head tells.
    pub fn spool(self: &Arc<Self>, _expected: Option<u64>) -> Spool {
        todo!()
    }

    /// Stores a response: in RAM at once, on disk behind.
    pub fn insert(&self, _entry: NewEntry, _body: SpooledBody) -> Inserted {
        todo!()
    }

    /// Replaces the head of a stored variant in both tiers. `None` when it is gone or was purged meanwhile.
    pub fn freshen(&self, _digest: Digest, _vary: &VaryKey, _with: Freshened) -> Option<Arc<Entry>> {
        todo!()
    }

    /// Removes one variant.
    pub fn remove(&self, _digest: Digest, _vary: &VaryKey) {
        todo!()
    }

    /// Opens an entry's body from byte `range.start` to `range.end`; the first slice has been read and verified
    /// when this returns, so that a head need not be sent for a body that is gone.
    pub async fn read_body(
        self: &Arc<Self>,
        _entry: &Arc<Entry>,
        _range: Range<u64>,
    ) -> Result<BodyReader, BodyError> {
        todo!()
    }

    /// Purges: holds on every worker from now on and, once answered, across `kill -9`. `soft` marks stale instead.
    pub async fn purge(&self, _criterion: Criterion, _soft: bool) -> Result<PurgeReport, PurgeError> {
        todo!()
    }

    /// Purges without waiting for the journal: what an unsafe method invalidates (RFC 9111 4.4).
    pub fn invalidate(&self, _criterion: Criterion) {
        todo!()
    }

    /// What a purge would take, with a sample of at most `limit` (10 000 at most).
    pub async fn victims(self: &Arc<Self>, _criterion: Criterion, _limit: usize) -> Victims {
        todo!()
    }

    /// One page of the entries.
    pub async fn list(self: &Arc<Self>, _query: ListQuery) -> Page {
        todo!()
    }

    /// All variants stored under a digest, newest first, whatever their key.
    pub async fn show(self: &Arc<Self>, _digest: Digest) -> Vec<Summary> {
        todo!()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Writes what waits, flushes and lets go of the directory. RAM goes on answering.
    pub async fn close(&self) {
        todo!()
    }
}
