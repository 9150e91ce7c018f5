//! What an exchange is made on: an HTTP/1.1 connection of its own, or a stream of one that others use as well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::http1::{self, Http1};
use super::http2::{self, Http2, Stream};
use super::outgoing::Broken;
use super::tls::TlsClient;
use super::transport::{Stream as Socket, Transport};
use super::violations::Violations;
use crate::upstream::alarm::Alarm;
use crate::upstream::error::Failure;
use crate::upstream::pool::{Permit, Pool, Pooled, Worker};
use crate::upstream::settings::{Http2Settings, Protocol};

/// A connection, or a part in one.
#[derive(Debug)]
pub(crate) enum Conn {
    /// A whole one.
    Http1(Http1),
    /// A stream's place on one.
    Http2(Stream),
}

impl Conn {
    /// Ready once the request on it was sent whole, which its reply may have come before.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::Http1(conn) => conn.poll_send(cx),
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the request on it was sent whole.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.is_sent(),
            Self::Http2(_) => true,
        }
    }

    /// Whether another exchange can be made on it, once its request is sent.
    pub(crate) fn goes_on(&self) -> bool {
        match self {
            Self::Http1(conn) => !conn.is_over(),
            Self::Http2(stream) => !stream.is_over(),
        }
    }

    /// The address it leads to.
    pub(crate) fn peer(&self) -> SocketAddr {
        match self {
            Self::Http1(conn) => conn.peer,
            Self::Http2(stream) => stream.peer(),
        }
    }

    /// State of the endpoint's addresses when it was made, or last found still right.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Http1(conn) => conn.generation,
            Self::Http2(stream) => stream.generation(),
        }
    }

    pub(crate) fn set_generation(&mut self, generation: u64) {
        match self {
            Self::Http1(conn) => conn.generation = generation,
            Self::Http2(stream) => stream.set_generation(generation),
        }
    }

    /// What the next exchange on it is to wait by.
    pub(crate) fn take_alarm(&mut self) -> Alarm {
        match self {
            Self::Http1(conn) => std::mem::take(&mut conn.alarm),
            Self::Http2(_) => Alarm::default(),
        }
    }

    /// Leaves the alarm to the next exchange, where there is one at a time.
    pub(crate) fn keep_alarm(&mut self, alarm: Alarm) {
        if let Self::Http1(conn) = self {
            conn.alarm = alarm;
        }
    }

    /// It leads where nobody should go any more: what is under way on it may finish.
    pub(crate) fn forsake(self) {
        if let Self::Http2(stream) = self {
            stream.forsake();
        }
    }

    /// Nothing came within a time-out. On a connection that others use, too, it is found out whether it is alive.
    pub(crate) fn doubt(&self) {
        if let Self::Http2(stream) = self {
            stream.doubt();
        }
    }
}

impl Pooled for Conn {
    type Shared = Http2;

    fn is_usable(&mut self) -> bool {
        match self {
            Self::Http1(conn) => conn.is_usable(),
            Self::Http2(stream) => !stream.is_over(),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(conn) => conn.poll_end(cx),
            // It has a task of its own.
            Self::Http2(_) => Poll::Pending,
        }
    }

    fn home(&self) -> Worker {
        match self {
            Self::Http1(conn) => conn.home,
            Self::Http2(stream) => stream.home(),
        }
    }

    fn keepable(self) -> Option<Self> {
        match self {
            Self::Http1(_) => Some(self),
            Self::Http2(stream) => {
                stream.release_quietly();
                None
            }
        }
    }
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) tls: Option<&'a TlsClient>,
    pub(crate) protocol: Protocol,
    pub(crate) http2: &'a Http2Settings,
}

/// Speaks TLS where asked for, then HTTP, on a stream that was just dialled.
pub(crate) async fn open(
    stream: TcpStream,
    manner: Manner<'_>,
    pool: &Arc<Pool<Conn>>,
    permit: Permit<Conn>,
    generation: u64,
    violations: Arc<Violations>,
) -> Result<Conn, Failure> {
    let peer = stream.peer_addr().map_err(Failure::from_io)?;
    let (socket, chosen) = match manner.tls {
        None => (Socket::Plain(stream), manner.protocol == Protocol::Http2),
        Some(tls) => {
            let stream = tls.handshake(stream).await?;
            let chosen = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Socket::Tls(Box::new(stream)), chosen)
        }
    };
    if chosen {
        let transport = Transport::http2(socket);
        return http2::open(transport, peer, manner.http2, pool, permit, generation).await.map(Conn::Http2);
    }
    if manner.protocol == Protocol::Http2 {
        // RFC 9113 3.2: over TLS it must have been agreed on.
        return Err(Failure::Tls(std::io::Error::other("the endpoint did not agree to speak HTTP/2")));
    }
    Ok(Conn::Http1(http1::open(socket, peer, permit, generation, violations)))
}
