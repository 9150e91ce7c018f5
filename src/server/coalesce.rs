//! Gathers the many small writes of HTTP/2 frames into few large ones.
//!
//! h2 writes and flushes after nearly every frame. Here a flush is only noted; the task that drives the
//! connection sends what has gathered once per turn, when every stream that was ready has had its say.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Code;
use super::meter::{Meter, Offence};

/// Writes up to this size are gathered; a larger one leaves at once, behind what has gathered.
const SMALL: usize = 4 << 10;

/// What may gather.
const GATHERED: usize = 32 << 10;

/// A gathering writer, shared by h2 (which fills it) and the connection's task (which sends). The lock is
/// only ever taken on that task.
#[derive(Debug)]
pub(super) struct Coalesce<IO>(Arc<Mutex<Gathering<IO>>>);

#[derive(Debug)]
struct Gathering<IO> {
    io: IO,
    out: BytesMut,
    meter: Meter,
}

impl<IO> Clone for Coalesce<IO> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Coalesce<IO> {
    pub(super) fn new(io: IO, meter: Meter) -> Self {
        Self(Arc::new(Mutex::new(Gathering { io, out: BytesMut::new(), meter })))
    }

    /// What the connection is to be ended for; nothing more is read then.
    pub(super) fn offence(&self) -> Option<Offence> {
        self.0.lock().meter.offence()
    }

    /// Streams that were reset for what the client did, asked once.
    pub(super) fn take_blamed(&self) -> u32 {
        self.0.lock().meter.take_blamed()
    }

    /// Bytes of content that have been sent.
    pub(super) fn data_sent(&self) -> u64 {
        self.0.lock().meter.data_sent()
    }

    /// Has the connection end with what it is ended for, if that can be said.
    pub(super) fn go_away(&self, offence: Offence) {
        let mut gathering = self.0.lock();
        if let Some(frame) = gathering.meter.goaway(offence) {
            gathering.out.extend_from_slice(&frame);
        }
    }

    /// Sends what has gathered.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(cx)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Gathering<IO> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.has_remaining() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        if size <= SMALL && self.out.len() + size <= GATHERED {
            for slice in slices {
                let better = self.meter.sent(slice);
                let begin = self.out.len();
                self.out.extend_from_slice(slice);
                if let Some((at, Code(code))) = better {
                    self.out[begin + at..begin + at + 4].copy_from_slice(&code.to_be_bytes());
                }
            }
            return Poll::Ready(Ok(size));
        }
        loop {
            let taken = ready!(self.poll_write_behind(cx, slices))?;
            if taken > 0 || size == 0 {
                self.count(slices, taken);
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn count(&mut self, slices: &[IoSlice<'_>], mut taken: usize) {
        for slice in slices {
            let part = taken.min(slice.len());
            self.meter.sent(&slice[..part]);
            taken -= part;
        }
    }

    /// One gathered write of `out` and `slices`; how much of `slices` it took.
    fn poll_write_behind(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        const MOST: usize = 8;
        let mut all = [IoSlice::new(&[]); MOST];
        all[0] = IoSlice::new(&self.out);
        let count = slices.len().min(MOST - 1);
        all[1..=count].copy_from_slice(&slices[..count]);
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all[..=count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let own = written.min(self.out.len());
        self.out.advance(own);
        Poll::Ready(Ok(written - own))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesce<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        if gathering.meter.offence().is_some() {
            // The task that drives the connection ends it as soon as hyper has had its say.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut gathering.io).poll_read(cx, buffer))?;
        let come = buffer.filled().len() - before;
        let passed = gathering.meter.received(&buffer.filled()[before..]);
        buffer.set_filled(before + passed);
        // Nothing at all would be the end.
        if passed == 0 && come > 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesce<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        ready!(gathering.poll_send(cx))?;
        Pin::new(&mut gathering.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes per write and remembers the writes.
    #[derive(Default)]
    struct Sink {
        per_write: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncRead for Sink {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
            let taken = b.len().min(self.per_write);
            self.writes.push(b[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write_all(writer: &mut Coalesce<Sink>, mut bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            match Pin::new(&mut *writer).poll_write(&mut cx, bytes) {
                Poll::Ready(Ok(taken)) => bytes = &bytes[taken..],
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn small_writes_leave_as_one() {
        let mut writer = Coalesce::new(Sink { per_write: usize::MAX, ..Sink::default() }, Meter::new(1));
        (0..10).for_each(|_| write_all(&mut writer, &[b'x'; 100]));
        assert!(writer.0.lock().io.writes.is_empty());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_send(&mut cx).is_ready());
        assert_eq!(writer.0.lock().io.writes, [vec![b'x'; 1000]]);
    }

    #[test]
    fn order_holds_whatever_the_socket_takes() {
        for per_write in [7, 1000, 5000, usize::MAX] {
            let mut writer = Coalesce::new(Sink { per_write, ..Sink::default() }, Meter::new(1));
            let mut expected = Vec::new();
            for (byte, size) in [(b'a', 10), (b'b', 6000), (b'c', 4096), (b'd', 9000), (b'e', 1)] {
                write_all(&mut writer, &vec![byte; size]);
                expected.extend(vec![byte; size]);
            }
            let mut cx = Context::from_waker(Waker::noop());
            assert!(writer.poll_send(&mut cx).is_ready());
            assert_eq!(writer.0.lock().io.writes.concat(), expected, "{per_write}");
        }
    }
}
