//! Collects a body while it streams, so that any number of readers can follow it and it can be stored at its end.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

/// The writing end: what the upstream sends goes in here.
///
/// Dropped before [`Spool::finish`] it aborts: readers fail after the bytes that are there.
#[derive(Debug)]
pub struct Spool {}

/// Makes readers; holding it keeps nothing waiting.
#[derive(Clone, Debug)]
pub struct SpoolHandle {
    _shared: Arc<()>,
}

/// One reader, at its own pace.
#[derive(Debug)]
pub struct SpoolReader {}

/// A whole body, ready to be stored. Dropped unstored it leaves nothing behind.
#[derive(Debug)]
pub struct SpooledBody {}

/// Why a reader cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The body broke off at its source.
    #[error("the body broke off")]
    Aborted,
    /// The bytes at this place are no longer there (nothing keeps what everyone has read), or cannot be read back.
    #[error("the beginning of the body is gone")]
    Gone,
}

impl Spool {
    /// Adds bytes; waits while too many are on their way to the disk.
    pub async fn append(&mut self, _bytes: Bytes) {
        todo!()
    }

    /// Waits until more is wanted: the fastest reader is near the head, and nobody needs more than may be held.
    /// Returns at once when there is no reader.
    pub async fn demand(&self) {
        todo!()
    }

    /// Bytes appended so far.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the body can still be stored when it is whole.
    pub fn is_storable(&self) -> bool {
        todo!()
    }

    /// Makes readers.
    pub fn handle(&self) -> SpoolHandle {
        todo!()
    }

    /// Gives up storing; readers go on, and what they all have read is let go of.
    pub fn discard(&mut self) {
        todo!()
    }

    /// The body is whole. Readers end with it at once; returns when it is ready to be stored.
    pub async fn finish(self, _trailers: Option<HeaderMap>) -> SpooledBody {
        todo!()
    }
}

impl SpoolHandle {
    /// A reader from byte `from` on.
    pub fn reader(&self, _from: u64) -> Result<SpoolReader, SpoolError> {
        todo!()
    }

    /// Readers that are reading.
    pub fn readers(&self) -> usize {
        todo!()
    }

    /// Bytes appended so far.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SpoolReader {
    /// The next bytes; `None` at the body's end.
    pub fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpoolError>>> {
        todo!()
    }

    /// The trailer fields, once the end has been reached.
    pub fn trailers(&self) -> Option<HeaderMap> {
        todo!()
    }

    /// Where the next bytes begin.
    pub fn position(&self) -> u64 {
        todo!()
    }
}

impl SpooledBody {
    /// A body that is at hand.
    pub fn from_bytes(_bytes: Bytes) -> Self {
        todo!()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
