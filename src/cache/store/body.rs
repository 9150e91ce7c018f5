//! Reading a stored body: off the workers, ahead of the reader, verified before it leaves.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::EntryId;
use super::files::{CHUNK, StoredBody};
use super::queue::Op;
use super::shared::Shared;
use super::tiered::Cache;
use crate::cache::entry::{BodyRef, Entry, FileBody};

/// Chunks that one trip to the blocking pool reads.
const AHEAD: u64 = 4;
/// Bodies up to this size come into RAM when they are read whole.
const PROMOTE: u64 = 256 << 10;

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
    Io(#[source] io::Error),
}

/// A stored body as it streams: from a file in slices of at most 64 KiB, each verified before it leaves.
#[derive(Debug)]
pub struct BodyReader {
    ready: VecDeque<Bytes>,
    remaining: u64,
    rest: Option<Rest>,
}

/// What is still in the file.
#[derive(Debug)]
struct Rest {
    stored: Arc<StoredBody>,
    range: Range<u64>,
    reading: Option<JoinHandle<io::Result<Vec<Bytes>>>>,
    owner: Owner,
}

/// Whom to tell of damage.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    queue: Sender<Op>,
    entry: Arc<Entry>,
    hash: [u8; 32],
}

impl Cache {
    /// Opens an entry's body from byte `range.start` to before `range.end`; the first slice has been read and
    /// verified when this returns, so that a head need not be sent for a body that is gone.
    pub async fn read_body(&self, entry: &Arc<Entry>, range: Range<u64>) -> Result<BodyReader, BodyError> {
        let len = entry.body.len();
        let range = range.start.min(len)..range.end.min(len).max(range.start.min(len));
        match &entry.body {
            BodyRef::Bytes(bytes) => {
                let slice = bytes.slice(range.start as usize..range.end as usize);
                Ok(BodyReader { remaining: slice.len() as u64, ready: [slice].into(), rest: None })
            }
            BodyRef::File(file) => self.open_file(entry, file.clone(), range).await,
        }
    }

    async fn open_file(
        &self,
        entry: &Arc<Entry>,
        file: FileBody,
        range: Range<u64>,
    ) -> Result<BodyReader, BodyError> {
        let hash = file.hash;
        let owner =
            Owner { shared: self.shared.clone(), queue: self.queue.clone(), entry: entry.clone(), hash };
        let Some(tier) = self.shared.disk.load_full() else { return Err(BodyError::Gone) };
        let whole = range == (0..file.len) && file.len <= PROMOTE.min(self.shared.memory.max_body());
        let first = if whole { range.clone() } else { range.start..step(&range, 1) };
        let to_read = first.clone();
        let opened = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let stored = tier.files.read(&file)?;
            let ready = read(&stored, to_read)?;
            Ok((stored, ready))
        });
        let (stored, ready) = match opened.await.map_err(io::Error::other).and_then(|read| read) {
            Ok(opened) => opened,
            Err(error) => return Err(owner.failed(error)),
        };
        if whole {
            let ready = owner.promote(&ready);
            return Ok(BodyReader { remaining: range.end, ready: [ready].into(), rest: None });
        }
        let rest = Rest { stored: Arc::new(stored), range: first.end..range.end, reading: None, owner };
        let mut reader =
            BodyReader { ready: ready.into(), remaining: range.end - range.start, rest: Some(rest) };
        reader.read_ahead();
        Ok(reader)
    }
}

impl BodyReader {
    /// The next slice; `None` at the end of the range. An error ends it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.remaining -= bytes.len() as u64;
                if bytes.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            let Some(reading) = &mut rest.reading else { return Poll::Ready(None) };
            let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).and_then(|read| read);
            rest.reading = None;
            match read {
                Ok(chunks) => {
                    self.ready.extend(chunks);
                    self.read_ahead();
                }
                Err(error) => {
                    let error = rest.owner.failed(error);
                    self.rest = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn read_ahead(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if rest.range.is_empty() {
            self.rest = None;
            return;
        }
        let end = step(&rest.range, AHEAD);
        let (stored, now) = (rest.stored.clone(), rest.range.start..end);
        rest.range.start = end;
        rest.reading = Some(tokio::task::spawn_blocking(move || read(&stored, now)));
    }
}

impl Owner {
    fn failed(&self, error: io::Error) -> BodyError {
        let error = match error.kind() {
            io::ErrorKind::NotFound => BodyError::Gone,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => BodyError::Corrupt,
            _ => return BodyError::Io(error),
        };
        self.shared.damaged(&self.queue, &self.entry, self.hash);
        error
    }

    /// Gives the body a place in RAM beside its head.
    fn promote(&self, chunks: &[Bytes]) -> Bytes {
        let bytes: Bytes = match chunks {
            [one] => one.clone(),
            many => many.concat().into(),
        };
        let digest = self.entry.key.digest();
        let id = EntryId::of(digest, &self.entry);
        let _stripe = self.shared.stripe(digest);
        let Some(resource) = self.shared.memory.peek(&digest) else { return bytes };
        if !resource.find(id).is_some_and(|standing| standing.body.is_file(&self.hash)) {
            return bytes;
        }
        let variants = resource.variants.iter().map(|standing| {
            if EntryId::of(digest, standing) == id {
                Arc::new(Entry { body: BodyRef::Bytes(bytes.clone()), ..(**standing).clone() })
            } else {
                standing.clone()
            }
        });
        let checked = resource.checked.load(std::sync::atomic::Ordering::Acquire);
        if let Some(promoted) = super::Resource::new(digest, variants.collect(), resource.epoch, checked) {
            self.shared.memory.put(Arc::new(promoted));
        }
        bytes
    }
}

impl BodyRef {
    fn is_file(&self, hash: &[u8; 32]) -> bool {
        matches!(self, Self::File(file) if file.hash == *hash)
    }
}

/// The end of a step of `chunks` chunks from the start of `range`, on a chunk's border.
fn step(range: &Range<u64>, chunks: u64) -> u64 {
    (range.start / CHUNK as u64 + chunks).saturating_mul(CHUNK as u64).min(range.end)
}

/// The bytes of `range`, chunk by chunk. Blocking.
fn read(stored: &StoredBody, range: Range<u64>) -> io::Result<Vec<Bytes>> {
    let mut at = range.start;
    let mut slices = Vec::new();
    while at < range.end {
        let index = at / CHUNK as u64;
        let start = index * CHUNK as u64;
        let chunk = stored.chunk(index)?;
        let end = range.end.min(start + chunk.len() as u64);
        if end <= at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        slices.push(chunk.slice((at - start) as usize..(end - start) as usize));
        at = end;
    }
    Ok(slices)
}
