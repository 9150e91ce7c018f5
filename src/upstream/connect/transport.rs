//! The bytes under a connection, plain or TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::conn::Conn;
use super::http1::READ_BUFFER;
use super::violations::Violations;
use crate::http::h1::{Filled, Inlet, Limits, Reader, Stop};
use crate::upstream::pool::Permit;

/// What a reply's head may hold: hyper's own bounds.
const LIMITS: Limits = Limits { bytes: READ_BUFFER - 1, fields: 100 };

/// A socket to an endpoint.
///
/// Only replies that are beyond doubt pass (`http::h1`); what an endpoint says unasked ends the connection, as if it had
/// closed it after the last reply.
///
/// Once the origin has closed its side, what is written to it is swallowed: an origin may reply before it has read
/// the whole request (RFC 9112 9.5), and a write error would hide that reply. The read side tells the outcome.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    closed: bool,
    /// What looks at an HTTP/1.1 endpoint's replies; `None` where h2 does.
    checks: Option<Checks>,
    received: Arc<AtomicU64>,
    /// Its place under the cap, where it is its own.
    _permit: Option<Permit<Conn>>,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The request that is about to be written: how its reply is framed depends on its method (RFC 9112 6.3).
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicU8);

impl Asked {
    const HEAD: u8 = 1;
    const OTHER: u8 = 2;

    pub(super) fn set(&self, head: bool) {
        self.0.store(if head { Self::HEAD } else { Self::OTHER }, Ordering::Release);
    }

    /// Whether it is HEAD; `None`: there is none that was not taken before.
    fn take(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            asked => {
                self.0.store(0, Ordering::Relaxed);
                Some(asked == Self::HEAD)
            }
        }
    }
}

#[derive(Debug)]
struct Checks {
    inlet: Inlet,
    asked: Arc<Asked>,
    /// Taken when something is counted: a connection is closed once.
    violations: Option<Arc<Violations>>,
}

impl Checks {
    /// Nothing more of what the endpoint says goes on.
    fn stopped(&mut self, stop: Stop) -> io::Result<()> {
        let (reason, outcome) = match stop {
            Stop::Head(violation) | Stop::Content(violation) => (violation.as_str(), Err(violation.into())),
            Stop::Surplus | Stop::Undecided => ("surplus", Ok(())),
        };
        if let Some(violations) = self.violations.take() {
            tracing::debug!(reason, "an endpoint's connection is closed");
            violations.count(reason);
        }
        outcome
    }
}

impl Transport {
    pub(super) fn http1(
        stream: Stream,
        asked: Arc<Asked>,
        violations: Arc<Violations>,
        permit: Permit<Conn>,
    ) -> Self {
        let inlet = Inlet::new(Reader::replies(LIMITS));
        let checks = Checks { inlet, asked, violations: Some(violations) };
        let permit = Some(permit);
        Self { stream, closed: false, checks: Some(checks), received: Arc::default(), _permit: permit }
    }

    pub(super) fn http2(stream: Stream) -> Self {
        Self { stream, closed: false, checks: None, received: Arc::default(), _permit: None }
    }

    /// How many bytes have come, where nothing looks at them here.
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// With the first byte of a request its reply may come, and not before.
    fn expect_reply(&mut self) {
        if let Some(checks) = &mut self.checks
            && let Some(to_head) = checks.asked.take()
        {
            checks.inlet.reader().expect_reply(to_head);
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
        let Self { stream, checks, received, .. } = &mut *self;
        let mut read = |buf: &mut ReadBuf<'_>| match stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let Some(checks) = checks else {
            let before = buf.filled().len();
            ready!(read(buf))?;
            // One writer: no locked instruction.
            let sum = received.load(Ordering::Relaxed) + (buf.filled().len() - before) as u64;
            received.store(sum, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(match ready!(checks.inlet.poll_fill(buf, read))? {
            Filled::Some | Filled::End => Ok(()),
            Filled::Stopped(stop) => checks.stopped(stop),
        })
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Ok(buf.len()));
        }
        self.expect_reply();
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
        self.expect_reply();
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
