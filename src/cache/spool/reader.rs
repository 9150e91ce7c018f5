//! A reader of a body that is still coming in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use tokio::task::JoinHandle;

use super::{End, Seat, Shared, SpoolError, State};

/// Bytes that are read back from the file at a time.
const READ: u64 = 64 << 10;

/// One reader, at its own pace.
#[derive(Debug)]
pub struct SpoolReader {
    shared: Arc<Shared>,
    seat: usize,
    position: u64,
    /// A read from the file under way.
    reading: Option<JoinHandle<std::io::Result<Bytes>>>,
}

enum Next {
    Bytes(Bytes),
    Read(Arc<File>, u64),
    End(Option<SpoolError>),
    Wait,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>, from: u64) -> Result<Self, SpoolError> {
        let mut state = shared.state.lock();
        if from < state.front() && state.file().is_none() {
            return Err(SpoolError::Gone);
        }
        let taken = Seat { position: from, waker: None };
        let free = state.readers.iter().position(Option::is_none);
        let seat = match free {
            Some(free) => {
                state.readers[free] = Some(taken);
                free
            }
            None => {
                state.readers.push(Some(taken));
                state.readers.len() - 1
            }
        };
        drop(state);
        Ok(Self { shared, seat, position: from, reading: None })
    }

    /// The next bytes; `None` at the body's end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpoolError>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = std::task::ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                return Poll::Ready(Some(match read {
                    Ok(Ok(bytes)) => Ok(self.took(bytes)),
                    _ => Err(SpoolError::Gone),
                }));
            }
            match self.next(cx) {
                Next::Bytes(bytes) => return Poll::Ready(Some(Ok(self.took(bytes)))),
                Next::Read(file, len) => {
                    let at = self.position;
                    self.reading = Some(tokio::task::spawn_blocking(move || read(&file, at, len)));
                }
                Next::End(None) => return Poll::Ready(None),
                Next::End(Some(error)) => return Poll::Ready(Some(Err(error))),
                Next::Wait => return Poll::Pending,
            }
        }
    }

    fn next(&self, cx: &mut Context<'_>) -> Next {
        let mut state = self.shared.state.lock();
        if self.position >= state.len {
            return match &state.end {
                Some(End::Complete(_)) => Next::End(None),
                Some(End::Aborted) => Next::End(Some(SpoolError::Aborted)),
                None => {
                    if let Some(Some(seat)) = state.readers.get_mut(self.seat) {
                        seat.waker = Some(cx.waker().clone());
                    }
                    Next::Wait
                }
            };
        }
        if self.position >= state.front() {
            return Next::Bytes(state.slice(self.position));
        }
        match state.file() {
            Some(file) => Next::Read(file, (state.written - self.position).min(READ)),
            None => Next::End(Some(SpoolError::Gone)),
        }
    }

    fn took(&mut self, bytes: Bytes) -> Bytes {
        self.position += bytes.len() as u64;
        let waker = {
            let mut state = self.shared.state.lock();
            if let Some(Some(seat)) = state.readers.get_mut(self.seat) {
                seat.position = self.position;
            }
            state.trim(self.shared.window);
            state.producer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        bytes
    }

    /// The trailer fields, once the end has been reached.
    pub fn trailers(&self) -> Option<HeaderMap> {
        match &self.shared.state.lock().end {
            Some(End::Complete(trailers)) => trailers.clone(),
            _ => None,
        }
    }

    /// Where the next bytes begin.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.shared.state.lock();
            if let Some(seat) = state.readers.get_mut(self.seat) {
                *seat = None;
            }
            state.trim(self.shared.window);
            state.producer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// The bytes from `position` on that stand in one chunk; `position` is in RAM.
    fn slice(&self, position: u64) -> Bytes {
        let after = self.chunks.partition_point(|(at, _)| *at <= position);
        let Some((at, bytes)) = after.checked_sub(1).and_then(|index| self.chunks.get(index)) else {
            return Bytes::new();
        };
        bytes.slice((position - at) as usize..)
    }
}

fn read(file: &File, at: u64, len: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::cache::store::files::Files;

    async fn next(reader: &mut SpoolReader) -> Option<Result<Bytes, SpoolError>> {
        std::future::poll_fn(|cx| reader.poll_next(cx)).await
    }

    async fn read_all(mut reader: SpoolReader) -> Result<Vec<u8>, SpoolError> {
        let mut all = Vec::new();
        while let Some(bytes) = next(&mut reader).await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    /// Whether the spool asks its producer to wait.
    async fn waits(spool: &Spool) -> bool {
        let mut demand = std::pin::pin!(spool.demand());
        std::future::poll_fn(|cx| Poll::Ready(demand.as_mut().poll(cx).is_pending())).await
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 7 + at) as u8).collect()
    }

    async fn pump(mut spool: Spool, body: Vec<u8>, piece: usize) -> SpooledBody {
        for part in body.chunks(piece) {
            spool.demand().await;
            spool.append(Bytes::copy_from_slice(part)).await;
        }
        spool.finish(None).await
    }

    #[tokio::test]
    async fn readers_at_any_pace_get_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        for (len, piece) in [(0, 1), (10, 3), (5000, 100), (300_000, 7000), (3 << 20, 50_000)] {
            for files in [Some(files.clone()), None] {
                let body = bytes(len);
                let spool = Spool::new(files, 1 << 20);
                let handle = spool.handle();
                let readers: Vec<_> =
                    (0..4).map(|_| tokio::spawn(read_all(handle.reader(0).unwrap()))).collect();
                let middle = tokio::spawn(read_all(handle.reader((len / 2) as u64).unwrap()));
                let spooled = pump(spool, body.clone(), piece).await;
                assert_eq!(spooled.len(), len as u64);
                for reader in readers {
                    assert_eq!(reader.await.unwrap().unwrap(), body);
                }
                assert_eq!(middle.await.unwrap().unwrap(), body[len / 2..]);
            }
        }
    }

    #[tokio::test]
    async fn a_reader_far_behind_reads_from_the_file_and_memory_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let body = bytes(8 << 20);
        let mut spool = Spool::new(Some(files.clone()), 1 << 20);
        let handle = spool.handle();
        let slow = handle.reader(0).unwrap();
        let shared = spool.shared.clone();
        for part in body.chunks(30_000) {
            spool.append(Bytes::copy_from_slice(part)).await;
            let state = shared.state.lock();
            assert!(state.len - state.front() <= (1 << 20) + MAX_UNWRITTEN + 60_000);
        }
        let spooled = spool.finish(None).await;
        assert!(spooled.bytes.is_none());
        let pin = spooled.pin.as_ref().unwrap();
        assert_eq!(pin.body.hash, *blake3::hash(&body).as_bytes());
        assert_eq!(read_all(slow).await.unwrap(), body);
        assert_eq!(read_all(handle.reader(0).unwrap()).await.unwrap(), body);
    }

    #[tokio::test]
    async fn the_head_waits_for_the_fastest_reader() {
        let mut spool = Spool::new(None, 1 << 20);
        let handle = spool.handle();
        spool.append(Bytes::from(bytes(1 << 20))).await;
        // Without a reader nothing is waited for.
        spool.demand().await;
        let mut reader = handle.reader(0).unwrap();
        assert!(waits(&spool).await);
        next(&mut reader).await.unwrap().unwrap();
        spool.demand().await;
    }

    #[tokio::test]
    async fn without_a_disk_the_slowest_reader_bounds_what_is_held() {
        let mut spool = Spool::new(None, 100_000);
        let handle = spool.handle();
        let mut fast = handle.reader(0).unwrap();
        let slow = handle.reader(0).unwrap();
        for _ in 0..11 {
            spool.append(Bytes::from(bytes(10_000))).await;
            next(&mut fast).await.unwrap().unwrap();
        }
        assert!(waits(&spool).await);
        drop(slow);
        spool.demand().await;
        assert!(!spool.is_storable());
        assert_eq!(handle.reader(0).unwrap_err(), SpoolError::Gone);
    }

    #[tokio::test]
    async fn an_abort_reaches_every_reader_after_the_bytes() {
        let mut spool = Spool::new(None, 1 << 20);
        let handle = spool.handle();
        let mut reader = handle.reader(0).unwrap();
        spool.append(Bytes::from_static(b"half")).await;
        drop(spool);
        assert_eq!(next(&mut reader).await.unwrap().unwrap(), "half");
        assert_eq!(next(&mut reader).await.unwrap().unwrap_err(), SpoolError::Aborted);
    }

    #[tokio::test]
    async fn an_abort_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let mut spool = Spool::new(Some(files), 1 << 20);
        for _ in 0..40 {
            spool.append(Bytes::from(bytes(60_000))).await;
        }
        let shared = Arc::downgrade(&spool.shared);
        drop(spool);
        // The last to hold it lets go of it first, and of the file then.
        let files = || std::fs::read_dir(dir.path().join("tmp")).unwrap().count();
        let gone = async {
            while shared.strong_count() > 0 || files() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("the file goes");
    }

    #[tokio::test]
    async fn trailers_come_at_the_end() {
        let spool = Spool::new(None, 1 << 20);
        let mut reader = spool.handle().reader(0).unwrap();
        assert!(reader.trailers().is_none());
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let spooled = spool.finish(Some(trailers.clone())).await;
        assert!(next(&mut reader).await.is_none());
        assert_eq!(reader.trailers(), Some(trailers.clone()));
        assert_eq!(spooled.trailers.as_deref(), Some(&trailers));
    }
}
