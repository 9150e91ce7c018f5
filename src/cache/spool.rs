//! Collects a body while it streams, so that any number of readers can follow it and it can be stored at its end.
//!
//! The newest bytes stay in RAM. Where there is a disk, a body beyond the inline size also goes into a temporary
//! file, in batches on the blocking pool; only what is in the file may leave RAM, and a slow reader takes it from
//! there. Without a disk what RAM may hold bounds the distance between the head and the slowest reader.
//!
//! ```text
//!  upstream ─append─▶ RAM window ─batches─▶ temporary file ─finish─▶ SpooledBody ─▶ Cache::insert
//!                        └── readers ────────┘ (who are behind the window)
//! ```

mod reader;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use parking_lot::Mutex;

pub use reader::SpoolReader;

use super::entry::BodyRef;
use super::store::MAX_INLINE;
use super::store::files::{Files, Pin, Temporary};

/// A write to the file takes at least this much, except the last.
const BATCH: u64 = 64 << 10;
/// Bytes that may wait for the file before the producer does.
const MAX_UNWRITTEN: u64 = 512 << 10;
/// How far the head may be before the fastest reader.
const READ_AHEAD: u64 = 256 << 10;
/// How often a file that cannot be written is told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Pieces are joined up to this many bytes.
const SMALL: usize = 4 << 10;

/// The writing end: what the upstream sends goes in here.
///
/// Dropped before [`Spool::finish`] it aborts: readers fail after the bytes that are there.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    finished: bool,
}

/// Makes readers; holding it keeps nothing waiting.
#[derive(Clone, Debug)]
pub struct SpoolHandle {
    shared: Arc<Shared>,
}

/// A whole body, ready to be stored. Dropped unstored it leaves nothing behind.
#[derive(Debug)]
pub struct SpooledBody {
    len: u64,
    /// The bytes, if all are in RAM.
    pub(super) bytes: Option<Bytes>,
    /// The file, if one was written.
    pub(super) pin: Option<Pin>,
    pub(super) trailers: Option<Box<HeaderMap>>,
}

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

#[derive(Debug)]
struct Shared {
    /// Bytes that stay in RAM.
    window: u64,
    files: Option<Arc<Files>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the offset at which it begins; contiguous.
    chunks: VecDeque<(u64, Bytes)>,
    len: u64,
    /// Bytes that are in the file.
    written: u64,
    disk: Disk,
    end: Option<End>,
    readers: Vec<Option<Seat>>,
    producer: Option<Waker>,
    /// Nothing is kept but for the readers.
    discarded: bool,
}

#[derive(Debug)]
enum End {
    Complete(Option<HeaderMap>),
    Aborted,
}

/// What is known of a reader.
#[derive(Debug, Default)]
struct Seat {
    position: u64,
    waker: Option<Waker>,
}

/// Where the file is in its life.
#[derive(Debug, Default)]
enum Disk {
    /// There is none.
    #[default]
    None,
    /// It takes no more; what was written is still read back.
    Failed(Temporary),
    /// None is needed yet.
    NotYet,
    /// Ready for the next batch.
    Idle(Temporary),
    /// A batch is being written; readers may read what was written before.
    Busy(Option<Arc<std::fs::File>>),
}

impl Spool {
    /// A spool that keeps `window` bytes in RAM and, where there are `files`, everything on disk.
    pub(super) fn new(files: Option<Arc<Files>>, window: u64) -> Self {
        let disk = if files.is_some() { Disk::NotYet } else { Disk::None };
        let state = Mutex::new(State { disk, ..State::default() });
        Self { shared: Arc::new(Shared { window, files, state }), finished: false }
    }

    /// Adds bytes; waits while too many are on their way to the disk.
    pub async fn append(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let wakers = {
            let mut state = self.shared.state.lock();
            state.push(bytes);
            state.trim(self.shared.window);
            state.take_wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
        self.shared.write_behind(false);
        std::future::poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            let waits = matches!(state.disk, Disk::Busy(_)) && state.len - state.written > MAX_UNWRITTEN;
            if !waits {
                return Poll::Ready(());
            }
            state.producer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until more is wanted: the fastest reader is near the head, and nobody needs more than may be held.
    /// Returns at once when there is no reader.
    pub async fn demand(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.is_wanted(self.shared.window) {
                return Poll::Ready(());
            }
            state.producer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Bytes appended so far.
    pub fn len(&self) -> u64 {
        self.shared.state.lock().len
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the body can still be stored when it is whole.
    pub fn is_storable(&self) -> bool {
        let state = self.shared.state.lock();
        !state.discarded && (state.takes_more() || state.is_whole_in_memory())
    }

    /// Makes readers.
    pub fn handle(&self) -> SpoolHandle {
        SpoolHandle { shared: self.shared.clone() }
    }

    /// Gives up storing; readers go on, and what they all have read is let go of.
    pub fn discard(&mut self) {
        let mut state = self.shared.state.lock();
        state.discarded = true;
        state.trim(self.shared.window);
    }

    /// The body is whole. Readers end with it at once; returns when it is ready to be stored.
    pub async fn finish(mut self, trailers: Option<HeaderMap>) -> SpooledBody {
        self.finished = true;
        self.shared.end(End::Complete(trailers.clone()));
        let pin = self.install().await;
        let state = self.shared.state.lock();
        let bytes = state.is_whole_in_memory().then(|| state.whole());
        SpooledBody { len: state.len, bytes, pin, trailers: trailers.map(Box::new) }
    }

    /// Writes what is left and gives the file its name.
    async fn install(&self) -> Option<Pin> {
        {
            let state = self.shared.state.lock();
            if state.discarded || state.len <= MAX_INLINE as u64 {
                return None;
            }
        }
        loop {
            // Does nothing while a batch is under way, which may have missed the last bytes.
            self.shared.write_behind(true);
            self.idle().await;
            let state = self.shared.state.lock();
            if !matches!(state.disk, Disk::Idle(_)) || state.written == state.len {
                break;
            }
        }
        let temporary = {
            let mut state = self.shared.state.lock();
            // Readers that are behind go on reading from the same file under its new name.
            match std::mem::take(&mut state.disk) {
                Disk::Idle(temporary) if state.written == state.len => {
                    state.disk = Disk::Busy(Some(temporary.file()));
                    temporary
                }
                other => {
                    state.disk = other;
                    return None;
                }
            }
        };
        tokio::task::spawn_blocking(move || temporary.install())
            .await
            .ok()?
            .inspect_err(|error| tracing::warn!(%error, "a body could not be stored"))
            .ok()
    }

    /// Waits until no batch is under way.
    async fn idle(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if matches!(state.disk, Disk::Busy(_)) {
                state.producer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl SpoolHandle {
    /// Whether it may still be stored.
    pub fn is_kept(&self) -> bool {
        !self.shared.state.lock().discarded
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.end(End::Aborted);
            let mut state = self.shared.state.lock();
            // Readers still take what is there; the file goes with the last of them.
            state.discarded = true;
        }
    }
}

impl Shared {
    fn end(&self, end: End) {
        let wakers = {
            let mut state = self.state.lock();
            state.end.get_or_insert(end);
            state.take_wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Starts a batch to the file if there is enough for one, or anything at all when it is the `last`.
    fn write_behind(self: &Arc<Self>, last: bool) {
        let temporary = {
            let mut state = self.state.lock();
            let unwritten = state.len - state.written;
            let due = unwritten > 0 && !state.discarded && (last || unwritten >= BATCH);
            if !due {
                return;
            }
            match std::mem::take(&mut state.disk) {
                Disk::NotYet => {
                    state.disk = Disk::Busy(None);
                    None
                }
                Disk::Idle(temporary) => {
                    state.disk = Disk::Busy(Some(temporary.file()));
                    Some(temporary)
                }
                other => {
                    state.disk = other;
                    return;
                }
            }
        };
        let shared = self.clone();
        tokio::task::spawn_blocking(move || shared.write(temporary, last));
    }

    /// Writes what there is, batch after batch. Blocking.
    fn write(&self, temporary: Option<Temporary>, last: bool) {
        let opened = match (temporary, &self.files) {
            (Some(temporary), _) => Ok(temporary),
            (None, Some(files)) => files.temporary(),
            (None, None) => Err(std::io::ErrorKind::NotFound.into()),
        };
        let disk = match opened {
            Ok(mut temporary) => match self.write_batches(&mut temporary, last) {
                Ok(()) => Disk::Idle(temporary),
                Err(error) => refused(&error, Disk::Failed(temporary)),
            },
            Err(error) => refused(&error, Disk::None),
        };
        let waker = {
            let mut state = self.state.lock();
            state.disk = disk;
            state.trim(self.window);
            state.producer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn write_batches(&self, temporary: &mut Temporary, last: bool) -> std::io::Result<()> {
        while let Some(batch) = self.next_batch(last) {
            for chunk in &batch {
                temporary.write(chunk)?;
            }
            self.wrote(batch.iter().map(|chunk| chunk.len() as u64).sum(), temporary.file());
        }
        Ok(())
    }

    fn next_batch(&self, last: bool) -> Option<Vec<Bytes>> {
        let state = self.state.lock();
        let unwritten = state.len - state.written;
        let due = unwritten > 0 && !state.discarded && (last || state.end.is_some() || unwritten >= BATCH);
        due.then(|| state.unwritten())
    }

    fn wrote(&self, bytes: u64, file: Arc<std::fs::File>) {
        let waker = {
            let mut state = self.state.lock();
            state.written += bytes;
            state.disk = Disk::Busy(Some(file));
            state.trim(self.window);
            state.producer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Told now and then only: on a full disk it is every body.
fn refused(error: &std::io::Error, disk: Disk) -> Disk {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock();
    if told.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
        *told = Some(Instant::now());
        tracing::warn!(%error, "a body could not be written to disk and is not stored");
    }
    disk
}

impl State {
    fn push(&mut self, bytes: Bytes) {
        let at = self.len;
        self.len += bytes.len() as u64;
        // A body that comes in drops would otherwise hold a read buffer for each of them.
        if let Some((_, last)) = self.chunks.back_mut()
            && last.len() + bytes.len() <= SMALL
        {
            *last = [&last[..], &bytes].concat().into();
            return;
        }
        self.chunks.push_back((at, bytes));
    }

    /// What is not in the file yet.
    fn unwritten(&self) -> Vec<Bytes> {
        let first = self.chunks.partition_point(|(at, bytes)| at + bytes.len() as u64 <= self.written);
        self.chunks
            .range(first..)
            .map(|(at, bytes)| bytes.slice(self.written.saturating_sub(*at) as usize..))
            .collect()
    }

    fn front(&self) -> u64 {
        self.chunks.front().map_or(self.len, |(at, _)| *at)
    }

    fn is_whole_in_memory(&self) -> bool {
        self.front() == 0
    }

    /// Whether the file takes, or will take, what comes.
    fn takes_more(&self) -> bool {
        !matches!(self.disk, Disk::None | Disk::Failed(_))
    }

    fn positions(&self) -> impl Iterator<Item = u64> + '_ {
        self.readers.iter().flatten().map(|seat| seat.position)
    }

    /// The file that readers who are behind may read, as far as `written`.
    fn file(&self) -> Option<Arc<std::fs::File>> {
        match &self.disk {
            Disk::Idle(temporary) | Disk::Failed(temporary) => Some(temporary.file()),
            Disk::Busy(file) => file.clone(),
            Disk::None | Disk::NotYet => None,
        }
    }

    /// Lets go of chunks beyond the window that are in the file, or that no reader still wants where there is
    /// none.
    fn trim(&mut self, window: u64) {
        let on_disk = self.takes_more();
        let slowest = self.positions().min().unwrap_or(u64::MAX);
        let keep_for_store = !self.discarded && on_disk;
        while let Some((at, bytes)) = self.chunks.front() {
            let end = at + bytes.len() as u64;
            let over = self.len - at > window;
            let in_file = end <= self.written;
            let read = end <= slowest && !keep_for_store;
            // A discarded body keeps nothing that all have read; any other keeps its window.
            if !(in_file && over || read && (over || self.discarded)) {
                break;
            }
            self.chunks.pop_front();
        }
    }

    /// Whether more bytes should be taken from the source.
    fn is_wanted(&self, window: u64) -> bool {
        let Some(fastest) = self.positions().max() else { return true };
        let slowest = self.positions().min().unwrap_or(fastest);
        let bounded = !self.discarded && self.takes_more();
        self.len.saturating_sub(fastest) <= READ_AHEAD
            && (bounded || self.len.saturating_sub(slowest) <= window)
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|seat| seat.waker.take()).collect()
    }

    fn whole(&self) -> Bytes {
        match self.chunks.len() {
            0 => Bytes::new(),
            // Copied even where it is one piece: that is a slice of a larger read buffer.
            _ => {
                let mut all = BytesMut::with_capacity(self.len as usize);
                for (_, bytes) in &self.chunks {
                    all.extend_from_slice(bytes);
                }
                all.freeze()
            }
        }
    }
}

impl SpoolHandle {
    /// A reader from byte `from` on.
    pub fn reader(&self, from: u64) -> Result<SpoolReader, SpoolError> {
        SpoolReader::new(self.shared.clone(), from)
    }

    /// Readers that are reading.
    pub fn readers(&self) -> usize {
        self.shared.state.lock().readers.iter().flatten().count()
    }

    /// Bytes appended so far.
    pub fn len(&self) -> u64 {
        self.shared.state.lock().len
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SpooledBody {
    /// A body that is at hand. Beyond what a record holds it can be stored in RAM only.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { len: bytes.len() as u64, bytes: Some(bytes), pin: None, trailers: None }
    }

    /// A body that is stored already, for another response; `pin` keeps its file, where it has one.
    pub(super) fn of_stored(body: &BodyRef, pin: Option<Pin>, trailers: Option<Box<HeaderMap>>) -> Self {
        let bytes = match body {
            BodyRef::Bytes(bytes) => Some(bytes.clone()),
            BodyRef::File(_) => None,
        };
        Self { len: body.len(), bytes, pin, trailers }
    }

    /// BLAKE3 of it; `None` where it is no longer at hand.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let in_file = self.pin.as_ref().map(|pin| pin.body.hash);
        in_file.or_else(|| self.bytes.as_ref().map(|bytes| *blake3::hash(bytes).as_bytes()))
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
