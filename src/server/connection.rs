//! One client connection from accept to close: which protocol it speaks, and what is told of it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::error;
use uuid::Uuid;

use super::activity::Activity;
use super::handler::{ConnectionTotals, Handler};
use super::refusal::{Refusal, RefusalReason};
use super::shared::{Limits, Phase, Place, Shared};
use super::watch::Watch;
use super::wire::{Socket, Wire};
use super::{handshake, http1, http2, resting};
use crate::clock::Clock;
use crate::http::{ClientConn, HttpsRedirect, request_id};
use crate::telemetry::event::Protocol;
use crate::tls::Session;

/// How a client that speaks HTTP/2 without negotiation begins (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may be without a byte, from its beginning, once none is taken any more.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// What is known of a connection when it is accepted.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) session: Option<Arc<Session>>,
    pub(super) redirect: Option<HttpsRedirect>,
    /// As it was negotiated; `None`: by what the client says first.
    pub(super) protocol: Option<Protocol>,
}

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Connection<H> {
    pub(super) handler: Arc<H>,
    pub(super) client: Arc<ClientConn>,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Arc<Limits>,
    pub(super) activity: Arc<Activity>,
}

impl<H: Handler> Connection<H> {
    /// Tells of a request that was refused elsewhere than on the wire.
    pub(super) fn refused(&self, status: u16, reason: RefusalReason) {
        let id = request_id::new_id(Clock::System.now());
        self.tell(Refusal { status, reason }, id);
    }

    fn tell(&self, refusal: Refusal, id: Uuid) {
        self.handler.refused(&self.client, refusal, id);
    }

    /// Tells of what the wire has refused.
    pub(super) fn tell_refused(&self) {
        let Some(refused) = self.activity.take_refused() else { return };
        if let Some((refusal, id)) = refused.head {
            self.tell(refusal, id);
        }
        if let Some(violation) = refused.content {
            self.handler.content_refused(violation);
        }
    }
}

/// Serves one connection to its end: `io` may be any stream, `facts` say what it is.
///
/// What is only needed for a while is boxed, the wire above all, which is handed from one stretch to the next: the future of
/// a connection is what it costs while nobody asks for anything.
pub(super) fn serve<IO, H>(
    io: IO,
    facts: Facts,
    place: Place,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    handler: Arc<H>,
) -> impl Future<Output = ()> + Send + 'static
where
    IO: Socket,
    H: Handler,
{
    let activity = Arc::new(Activity::new(limits.settings.name.clone()));
    let account = Account::open(&handler, facts.peer, activity.clone(), place);
    let wire = Box::new(Wire::new(io, activity.clone()));
    let accepted = Box::new(Accepted { facts, limits, shared: shared.clone(), handler, activity });
    async move {
        let _registration = poll_fn(|cx| Poll::Ready(shared.register(cx.waker()))).await;
        let mut watch = Watch::new();
        if let Some((wire, connection)) = Box::pin(begin(wire, accepted, &mut watch)).await {
            serve_http1(wire, &connection, &mut watch).await;
        }
        // Here, and not in a variable of its own from the beginning, which would be a second place for it.
        drop(account);
    }
}

/// What is known before the first byte.
struct Accepted<H> {
    facts: Facts,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    handler: Arc<H>,
    activity: Arc<Activity>,
}

/// Finds out what the client speaks, and serves it to its end unless that is HTTP/1, to which it leads.
async fn begin<IO, H>(
    mut wire: Box<Wire<IO>>,
    accepted: Box<Accepted<H>>,
    watch: &mut Watch,
) -> Option<(Box<Wire<IO>>, Arc<Connection<H>>)>
where
    IO: Socket,
    H: Handler,
{
    let Accepted { facts, limits, shared, handler, activity } = *accepted;
    let enough = match facts.protocol {
        // Over TLS there is no HTTP/2 that was not negotiated (RFC 9113 3.3).
        Some(Protocol::Http2) => Sniffed::nothing,
        Some(_) => Sniffed::any,
        None => Sniffed::decided,
    };
    let opened = opening(&mut wire, &shared, watch, limits.settings.header_timeout, enough).await;
    let protocol = match &opened {
        Opening::Bytes(bytes) => facts.protocol.unwrap_or_else(|| Sniffed::protocol(bytes)),
        _ => Protocol::Http11,
    };
    let Facts { peer, local, session, redirect, .. } = facts;
    let tls = session.is_some();
    let client = Arc::new(ClientConn { peer, local, tls, session, redirect, protocol });
    let connection = Arc::new(Connection { handler, client, shared, limits, activity });
    match opened {
        Opening::Closed | Opening::TimedOut { begun: false } => {}
        Opening::TimedOut { begun: true } => http1::time_out(wire, &connection).await,
        Opening::Bytes(bytes) if !tls && bytes.first() == Some(&handshake::HANDSHAKE) => {
            connection.refused(0, RefusalReason::TlsToPlain);
            // What a client that speaks TLS understands.
            let alert = handshake::alert(handshake::PROTOCOL_VERSION);
            handshake::refuse(wire.io(), &alert).await;
        }
        Opening::Bytes(bytes) => {
            wire.replay(bytes);
            if protocol != Protocol::Http2 {
                return Some((wire, connection));
            }
            Box::pin(http2::serve(*wire, &connection, watch)).await;
        }
    }
    None
}

/// HTTP/1: hyper is there only for requests that are not plain, and while such come.
async fn serve_http1<IO, H>(mut wire: Box<Wire<IO>>, connection: &Arc<Connection<H>>, watch: &mut Watch)
where
    IO: Socket,
    H: Handler,
{
    wire.set_prompt(connection.clone());
    wire.read_requests(connection.limits.settings.heads());
    loop {
        match resting::serve(&mut wire, connection, watch).await {
            resting::End::Asked => {}
            resting::End::Cut => return,
            resting::End::Over => return Box::pin(http1::close(wire)).await,
            resting::End::HeadTimedOut => return Box::pin(http1::time_out(wire, connection)).await,
        }
        // Boxed, so that what hyper needs is gone while the connection rests.
        wire = match Box::pin(http1::serve(wire, connection, watch)).await {
            http1::End::Over => return,
            http1::End::AtRest(wire) => wire,
        }
    }
}

/// How a connection began.
enum Opening {
    /// With these bytes.
    Bytes(Bytes),
    /// Not at all: the client closed, or we are closing.
    Closed,
    /// Time was up; `begun` says whether something had come.
    TimedOut { begun: bool },
}

/// When enough has been read.
struct Sniffed;

impl Sniffed {
    /// With the first byte that is not the preface's, or its last: nobody has to wait for more than they sent.
    fn decided(bytes: &[u8]) -> bool {
        bytes.len() >= PREFACE.len() || !PREFACE.starts_with(bytes)
    }

    fn any(bytes: &[u8]) -> bool {
        !bytes.is_empty()
    }

    /// Nothing has to be waited for.
    fn nothing(_: &[u8]) -> bool {
        true
    }

    fn protocol(bytes: &[u8]) -> Protocol {
        if bytes.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http11 }
    }
}

/// Reads until there is enough.
async fn opening<IO: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<IO>,
    shared: &Shared,
    watch: &mut Watch,
    limit: Duration,
    enough: fn(&[u8]) -> bool,
) -> Opening {
    let mut bytes = BytesMut::new();
    poll_fn(|cx| {
        if enough(&bytes) {
            return Poll::Ready(Opening::Bytes(Bytes::new()));
        }
        loop {
            let mut scratch = [0_u8; 1024];
            let mut buffer = ReadBuf::new(&mut scratch);
            match wire.poll_sniff(cx, &mut buffer) {
                // What there is goes to hyper, which will find the end by itself.
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(given(&mut bytes)),
                Poll::Ready(Ok(())) => bytes.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(_)) => return Poll::Ready(Opening::Closed),
                Poll::Pending => break,
            }
            if enough(&bytes) {
                return Poll::Ready(given(&mut bytes));
            }
        }
        let limit = match shared.phase() {
            // Who has just connected is about to ask.
            Phase::Draining if bytes.is_empty() => limit.min(FIRST_BYTE),
            Phase::Aborted => return Poll::Ready(Opening::Closed),
            Phase::Serving | Phase::Leaving | Phase::Draining => limit,
        };
        watch.poll_over(cx, Some(limit)).map(|()| Opening::TimedOut { begun: !bytes.is_empty() })
    })
    .await
}

fn given(bytes: &mut BytesMut) -> Opening {
    match bytes.is_empty() {
        true => Opening::Closed,
        false => Opening::Bytes(bytes.split().freeze()),
    }
}

/// Tells of a connection's end when dropped, however it came, and gives its place back.
struct Account<H: Handler> {
    handler: Arc<H>,
    peer: SocketAddr,
    opened: Instant,
    activity: Arc<Activity>,
    _place: Place,
}

impl<H: Handler> Account<H> {
    fn open(handler: &Arc<H>, peer: SocketAddr, activity: Arc<Activity>, place: Place) -> Self {
        handler.connection_opened(peer);
        Self { handler: handler.clone(), peer, opened: Instant::now(), activity, _place: place }
    }
}

impl<H: Handler> Drop for Account<H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(peer = %self.peer, "answering a request panicked; its connection is closed");
        }
        let totals = ConnectionTotals {
            requests: self.activity.requests(),
            received: self.activity.received(),
            sent: self.activity.sent(),
            duration: self.opened.elapsed(),
        };
        self.handler.connection_closed(self.peer, totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_decided_by_the_first_byte_that_differs() {
        let cases: &[(&[u8], bool)] = &[
            (b"G", true),
            (b"P", false),
            (b"PO", true),
            (b"PR", false),
            (b"PROPFIND", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            (b"PRI * HTTP/1.1\r\n", true),
        ];
        for (bytes, decided) in cases {
            assert_eq!(Sniffed::decided(bytes), *decided, "{bytes:?}");
        }
    }
}
