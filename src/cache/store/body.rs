//! Reading a stored body: off the workers, ahead of the reader, verified before it leaves.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::EntryId;
use super::files::{CHUNK, StoredBody};
use super::queue::Op;
use super::shared::{Shared, Tier};
use super::tiered::Cache;
use crate::cache::entry::{BodyRef, Entry, FileBody};
use crate::http::content::Span;

/// Chunks that one trip to the blocking pool reads.
const AHEAD: u64 = 4;
/// What is sent right from a file at a time.
const MAX_SPAN: usize = 1 << 20;
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
    /// On its way from the blocking pool.
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

    /// The same if it is open and could be read at once, as far as that can be told; nothing of it has been read then.
    /// Not what is to come into RAM.
    pub fn body_at_hand(&self, entry: &Arc<Entry>, range: Range<u64>) -> Option<BodyReader> {
        let BodyRef::File(file) = &entry.body else { return None };
        let whole = range == (0..file.len);
        if range.end > file.len || whole && self.promotes(file) {
            return None;
        }
        let tier = self.shared.disk.load();
        let tier = tier.as_ref()?;
        let stored = tier.files.at_hand(file)?;
        tier.verify_soon(file, Some(&stored));
        Some(BodyReader::over(stored, range, self.owner(entry, file)))
    }

    /// The file that has the body of an entry in RAM, where it can be sent right from there: the kernel need not copy it
    /// then.
    pub fn body_in_file(&self, entry: &Arc<Entry>) -> Option<BodyReader> {
        let file = entry.on_disk.as_deref()?;
        let tier = self.shared.disk.load();
        let tier = tier.as_ref()?;
        let stored = tier.files.at_hand(file);
        tier.verify_soon(file, stored.as_deref());
        let whole = 0..file.len;
        let stored = stored.filter(|stored| stored.sendable(&whole) == file.len)?;
        Some(BodyReader::over(stored, whole, self.owner(entry, file)))
    }

    /// Whether a body comes into RAM when it is read whole.
    fn promotes(&self, file: &FileBody) -> bool {
        file.len <= PROMOTE.min(self.shared.memory.max_body())
    }

    fn owner(&self, entry: &Arc<Entry>, file: &FileBody) -> Owner {
        let (shared, queue) = (self.shared.clone(), self.queue.clone());
        Owner { shared, queue, entry: entry.clone(), hash: file.hash }
    }

    async fn open_file(
        &self,
        entry: &Arc<Entry>,
        file: FileBody,
        range: Range<u64>,
    ) -> Result<BodyReader, BodyError> {
        if let Some(mut reader) = self.body_at_hand(entry, range.clone())
            && reader.read_at_hand()?
        {
            return Ok(reader);
        }
        let owner = self.owner(entry, &file);
        let Some(tier) = self.shared.disk.load_full() else { return Err(BodyError::Gone) };
        let whole = range == (0..file.len) && self.promotes(&file);
        let first = if whole { range.clone() } else { range.start..step(&range, 1) };
        let to_read = first.clone();
        let opened = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let stored = match tier.files.at_hand(&file) {
                Some(stored) => stored,
                None => tier.files.read(&file)?,
            };
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
        let mut reader = BodyReader::over(stored, range, owner);
        reader.arrived(ready, first.end);
        Ok(reader)
    }
}

impl BodyReader {
    fn over(stored: Arc<StoredBody>, range: Range<u64>, owner: Owner) -> Self {
        let remaining = range.end - range.start;
        let rest = (remaining > 0).then_some(Rest { stored, range, reading: None, owner });
        Self { ready: VecDeque::new(), remaining, rest }
    }

    /// Whether its beginning is there to be sent, right from the file or else because it has been read now.
    pub fn has_begun(&mut self) -> bool {
        self.in_file().is_some() || !self.ready.is_empty() || self.read_at_hand().unwrap_or(false)
    }

    /// What may be sent right from the file, from the next byte on: what was verified a moment ago, so that the kernel
    /// has it in memory.
    pub fn in_file(&self) -> Option<Span<'_>> {
        let rest = self.rest.as_ref().filter(|rest| self.ready.is_empty() && rest.reading.is_none())?;
        let sendable = usize::try_from(rest.stored.sendable(&rest.range)).ok().filter(|len| *len > 0)?;
        Some(Span { file: rest.stored.as_fd(), start: rest.range.start, len: sendable.min(MAX_SPAN) })
    }

    /// So many bytes have been sent right from the file.
    pub fn sent(&mut self, bytes: usize) {
        self.remaining = self.remaining.saturating_sub(bytes as u64);
        if let Some(end) =
            self.rest.as_ref().map(|rest| (rest.range.start + bytes as u64).min(rest.range.end))
        {
            self.arrived([], end);
        }
    }

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
            let read = match &mut rest.reading {
                Some(reading) => ready!(Pin::new(reading).poll(cx)),
                None => match self.read_at_hand() {
                    Ok(true) => continue,
                    Ok(false) => {
                        self.read_ahead();
                        continue;
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            };
            rest.reading = None;
            let end = rest.ahead();
            match read.map_err(io::Error::other).and_then(|read| read) {
                Ok(chunks) => {
                    self.arrived(chunks, end);
                    // A disk that had to be waited for once is read while that is sent.
                    self.read_ahead();
                }
                Err(error) => return Poll::Ready(Some(Err(self.failed(error)))),
            }
        }
    }

    /// Reads the next chunk where that takes no waiting; `false` where it would.
    fn read_at_hand(&mut self) -> Result<bool, BodyError> {
        let Some(rest) = &self.rest else { return Ok(true) };
        let at = rest.range.start;
        let (index, end) = (at / CHUNK as u64, step(&rest.range, 1));
        let start = index * CHUNK as u64;
        let chunk = match rest.stored.chunk_at_hand(index) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(false),
            Err(error) => return Err(self.failed(error)),
        };
        let whole = at == start && chunk.len() as u64 == end - start;
        let chunk = if whole { chunk } else { chunk.slice((at - start) as usize..(end - start) as usize) };
        self.arrived([chunk], end);
        Ok(true)
    }

    /// These bytes have been read, up to `end`.
    fn arrived(&mut self, chunks: impl IntoIterator<Item = Bytes>, end: u64) {
        self.ready.extend(chunks);
        if let Some(rest) = &mut self.rest {
            rest.range.start = end;
            if rest.range.is_empty() {
                self.rest = None;
            }
        }
    }

    fn failed(&mut self, error: io::Error) -> BodyError {
        match self.rest.take() {
            Some(rest) => rest.owner.failed(error),
            None => BodyError::Io(error),
        }
    }

    /// Has the blocking pool read what comes next.
    fn read_ahead(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        let (stored, now) = (rest.stored.clone(), rest.range.start..rest.ahead());
        rest.reading = Some(tokio::task::spawn_blocking(move || read(&stored, now)));
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Rest {
    /// Up to where one trip to the blocking pool reads.
    fn ahead(&self) -> u64 {
        step(&self.range, AHEAD)
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
                let on_disk = standing.body.file().cloned().map(Box::new);
                Arc::new(Entry { body: BodyRef::Bytes(bytes.clone()), on_disk, ..(**standing).clone() })
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

impl Tier {
    /// Has a short body verified before what is known of it is out of date, so that nobody waits for that who is sent it.
    fn verify_soon(&self, body: &FileBody, stored: Option<&StoredBody>) {
        if body.len > MAX_SPAN as u64 || stored.is_some_and(|stored| !stored.is_fading()) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && self.files.may_verify(body)
        {
            let (files, body) = (self.files.clone(), body.clone());
            runtime.spawn_blocking(move || files.verify_open(&body));
        }
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
