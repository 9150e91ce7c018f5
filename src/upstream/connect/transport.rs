//! The bytes under a connection, plain or TLS.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::conn::Conn;
use crate::piped::Piped;
use crate::upstream::pool::Permit;

/// A socket to an endpoint.
///
/// Once the origin has closed its side, what is written to it is swallowed: an origin may reply before it has read
/// the whole request (RFC 9112 9.5), and a write error would hide that reply. The read side tells the outcome.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    closed: bool,
    /// Bytes that have come, where that is asked for.
    received: Option<Arc<AtomicU64>>,
    /// Its place under the cap, where it is its own.
    _permit: Option<Permit<Conn>>,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    pub(super) fn http1(stream: Stream, permit: Permit<Conn>) -> Self {
        Self { stream, closed: false, received: None, _permit: Some(permit) }
    }

    pub(super) fn http2(stream: Stream) -> Self {
        Self { stream, closed: false, received: Some(Arc::default()), _permit: None }
    }

    /// How many bytes have come, where several exchanges are on it.
    pub(super) fn received(&self) -> Option<Arc<AtomicU64>> {
        self.received.clone()
    }

    /// Whether the socket may have something to say, as far as its worker has heard: it is not asked.
    pub(super) fn has_news(&self) -> bool {
        let socket = match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        socket.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Whether what comes can be [moved](Self::pipe) as it is.
    pub(super) fn has_pipes(&self) -> bool {
        cfg!(target_os = "linux") && matches!(self.stream, Stream::Plain(_))
    }

    /// Moves what has come into a pipe. `None`: nothing has, or a read will tell what is the matter.
    pub(super) fn pipe(&self, most: usize) -> Option<Piped> {
        let Stream::Plain(socket) = &self.stream else { return None };
        socket.try_io(Interest::READABLE, || Piped::fill(socket.as_fd(), most)).ok().flatten()
    }

    /// Ready when it is worth to make room for what is to be read.
    pub(super) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(socket) => socket.poll_read_ready(cx),
            // What was decrypted already nobody tells of.
            Stream::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    fn swallow<T>(&mut self, polled: Poll<io::Result<T>>, taken: T) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) if peer_closed(&error) => {
                self.closed = true;
                Poll::Ready(Ok(taken))
            }
            other => other,
        }
    }
}

fn peer_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        if let Some(received) = &self.received {
            // One writer: no locked instruction.
            let sum = received.load(Ordering::Relaxed) + (buf.filled().len() - before) as u64;
            received.store(sum, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.swallow(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = || bufs.iter().map(|buf| buf.len()).sum();
        if self.closed {
            return Poll::Ready(Ok(len()));
        }
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.swallow(polled, len())
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.swallow(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.swallow(polled, ())
    }
}
