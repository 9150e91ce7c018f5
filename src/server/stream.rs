//! A client's connection: over TCP, or over a Unix socket, as the kernel gives it; or TLS over either.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::wire::Socket;
use crate::http::content::Span;
use crate::piped::Piped;

/// What a client on a Unix socket is known by: it is on this machine, and has no address of its own.
pub(super) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listening socket, before it belongs to a worker's runtime.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listening {
    /// Another descriptor of the same socket: the kernel queues what comes in once, and who is free takes it.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Where it listens, where that is an address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }
}

impl From<Listening> for OwnedFd {
    fn from(socket: Listening) -> Self {
        match socket {
            Listening::Tcp(socket) => socket.into(),
            Listening::Unix(socket) => socket.into(),
        }
    }
}

/// Connections that a closing listener takes at most, or those who go on connecting would keep it open.
const MOST_QUEUED: usize = 4096;

/// A listening socket of a worker.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// To be called inside the runtime that it will belong to.
    pub(super) fn from_std(socket: Listening) -> io::Result<Self> {
        match socket {
            Listening::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            Listening::Unix(socket) => UnixListener::from_std(socket).map(Self::Unix),
        }
    }

    /// The next connection, and who it is from.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| (Stream::Tcp(stream), peer)),
            Self::Unix(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| (Stream::Unix(stream), LOCAL)),
        }
    }

    /// Closes it, having taken what the kernel has queued, of which the runtime need not have heard yet: to close resets it.
    pub(super) fn close(self, mut each: impl FnMut(Stream, SocketAddr)) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                let socket = socket.into_std()?;
                for (stream, peer) in (0..MOST_QUEUED).map_while(|_| socket.accept().ok()) {
                    stream.set_nonblocking(true)?;
                    each(Stream::Tcp(TcpStream::from_std(stream)?), peer);
                }
            }
            Self::Unix(socket) => {
                let socket = socket.into_std()?;
                for (stream, _) in (0..MOST_QUEUED).map_while(|_| socket.accept().ok()) {
                    stream.set_nonblocking(true)?;
                    each(Stream::Unix(UnixStream::from_std(stream)?), LOCAL);
                }
            }
        }
        Ok(())
    }
}

/// A client's connection. One type for all, so that everything above is compiled once; TLS is boxed, since most of its
/// size is of no use to those without.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secured>),
}

/// A TLS stream that says goodbye however it ends: a client that hears nothing must take the end for a fault (RFC 8446
/// 6.1).
#[derive(Debug)]
pub(super) struct Secured {
    stream: TlsStream<Stream>,
    /// The end is to look like a fault.
    cut: AtomicBool,
}

impl Secured {
    pub(super) fn new(stream: TlsStream<Stream>) -> Self {
        Self { stream, cut: AtomicBool::new(false) }
    }
}

impl Secured {
    /// Reads once from the socket for as much as is asked, where tokio-rustls reads until nothing comes.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.stream.get_mut();
        loop {
            match session.reader().fill_buf() {
                Ok(bytes) => {
                    let taken = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..taken]);
                    session.reader().consume(taken);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match session.read_tls(&mut Arriving { socket, cx }) {
                // At the end the session knows whether the client has said so.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = session.process_new_packets() {
                // The alert that says why, if the socket takes it.
                let _ = session.write_tls(&mut Now(socket));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

/// Reads what has come; who waits for more is woken.
struct Arriving<'a, 'c> {
    socket: &'a mut Stream,
    cx: &'a mut Context<'c>,
}

impl Read for Arriving<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buffer) {
            Poll::Ready(Ok(())) => Ok(buffer.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        if self.cut.load(Ordering::Relaxed) {
            return;
        }
        let (socket, session) = self.stream.get_mut();
        session.send_close_notify();
        // What the socket does not take now, nobody waits for.
        while session.wants_write() {
            match session.write_tls(&mut Now(socket)) {
                Ok(taken) if taken > 0 => {}
                _ => break,
            }
        }
    }
}

/// Writes what a socket takes without waiting.
struct Now<'a>(&'a Stream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Stream::Tcp(socket) => socket.try_write(bytes),
            Stream::Unix(socket) => socket.try_write(bytes),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Our own address of it.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Unix(_) => Ok(LOCAL),
            Self::Tls(secured) => secured.stream.get_ref().0.local_addr(),
        }
    }

    /// The first byte that the client sends, left where it is; `None` where it closes. Until it is there, nothing but the
    /// socket is kept.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let mut peek = |socket: BorrowedFd<'_>| {
            Ok(rustix::net::recv(socket, &mut byte, RecvFlags::PEEK).map(|(read, _)| read)?)
        };
        let read = loop {
            let peeked = match self {
                Self::Tcp(socket) => {
                    socket.readable().await?;
                    socket.try_io(Interest::READABLE, || peek(socket.as_fd()))
                }
                Self::Unix(socket) => {
                    socket.readable().await?;
                    socket.try_io(Interest::READABLE, || peek(socket.as_fd()))
                }
                Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => break peeked?,
            }
        };
        Ok((read > 0).then_some(byte[0]))
    }

    /// Replies leave in whole writes; waiting for more would only delay them.
    pub(super) fn set_nodelay(&self) {
        if let Self::Tcp(stream) = self {
            // A connection that has gone already will say so itself.
            let _ = stream.set_nodelay(true);
        }
    }
}

impl Stream {
    /// Calls the kernel as soon as the socket may take something.
    fn poll_tcp(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Self::Tcp(socket) = self else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || Ok(call(socket.as_fd())?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                called => return Poll::Ready(called),
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(secured) => secured.stream.get_ref().0.as_fd(),
        }
    }
}

impl Socket for Stream {
    fn reset_on_close(&self) {
        let marked = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            // There is no reset; the length or the chunks that are missing tell of the fault.
            Self::Unix(_) => Ok(()),
            Self::Tls(secured) => {
                secured.cut.store(true, Ordering::Relaxed);
                return secured.stream.get_ref().0.reset_on_close();
            }
        };
        if let Err(error) = marked {
            tracing::debug!(%error, "a cut reply could not be marked by a reset");
        }
    }

    fn sends_files(&self) -> bool {
        cfg!(target_os = "linux") && matches!(self, Self::Tcp(_))
    }

    fn poll_write_more(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_tcp(cx, |socket| rustix::net::send(socket, bytes, SendFlags::MORE | SendFlags::NOSIGNAL))
    }

    #[cfg(target_os = "linux")]
    fn poll_send_file(&self, cx: &mut Context<'_>, span: Span<'_>) -> Poll<io::Result<usize>> {
        let mut start = span.start;
        self.poll_tcp(cx, |socket| rustix::fs::sendfile(socket, span.file, Some(&mut start), span.len))
    }

    fn poll_send_piped(&self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<usize>> {
        self.poll_tcp(cx, |socket| piped.send(socket))
    }

    #[cfg(not(target_os = "linux"))]
    fn poll_send_file(&self, _: &mut Context<'_>, _: Span<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(secured) => secured.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            // What TLS has sealed mostly is one piece, of which the kernel need not be told as of several.
            Self::Tcp(stream) => match slices {
                [one] => Pin::new(stream).poll_write(cx, one),
                slices => Pin::new(stream).poll_write_vectored(cx, slices),
            },
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Neither has a buffer of its own.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}
