//! What the server asks of whoever answers requests, and what it tells them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::http::content::Content;
use crate::http::h1::{Plain, Violation};
use crate::http::head::{Form, HeadWriter};
use crate::http::{ClientConn, Interim, RequestContent};
use crate::piped::Piped;
use crate::telemetry::{ConnectionRefused, HandshakeFailure};
use crate::tls::Session;

/// Answers the requests of all connections. Called on the worker thread of the connection.
pub trait Handler: Send + Sync + 'static {
    /// The body of a reply. Dropped as soon as its last frame has been taken, or when the client has left.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request. The future is dropped when the client goes away before there is a reply.
    fn handle(
        self: Arc<Self>,
        request: ClientRequest,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// Answers a request without content whose reply is at hand, without waiting for anything: writes its head, and returns
    /// what of its content does not stand behind that: at most `room` bytes, or what a file has. `None`: nothing has been
    /// done, and the request comes to `handle`.
    fn at_once(
        &self,
        request: &Parts,
        client: &ClientConn,
        reply: HeadWriter<'_>,
        room: usize,
    ) -> Option<Content> {
        let _ = (request, client, reply, room);
        None
    }

    /// The same for a request of HTTP/1.1 whose head a [`Reader`](crate::http::h1::Reader) has let pass as a whole.
    fn at_once_by_text(&self, head: &[u8], client: &ClientConn, reply: HeadWriter<'_>) -> Option<Content> {
        self.at_once(Plain::default().read(head)?, client, reply, usize::MAX)
    }

    /// Begins to answer a request without content of which nothing is at hand, without a future of its own. `None`: nothing has
    /// been done, and the request comes to `handle`.
    fn begin(
        self: &Arc<Self>,
        request: &Parts,
        client: &Arc<ClientConn>,
    ) -> Option<Box<dyn Answering<Self::Body>>> {
        let _ = (request, client);
        None
    }

    /// Moves what has come of a reply's content into a pipe, where that can be done. `None`: it is to be taken by frames for
    /// now.
    fn pipe(body: Pin<&mut Self::Body>, cx: &mut Context<'_>) -> Option<Piped> {
        let _ = (body, cx);
        None
    }

    /// A request never became one: it was answered, or its connection cut, below. Told as that is decided; `id` is the
    /// request id that the client is told.
    fn refused(&self, client: &ClientConn, refusal: Refusal, id: Uuid);

    /// The content of a request breaks the grammar of its framing, behind a head that was handed on: it ends in an
    /// error there, and the connection is closed.
    fn content_refused(&self, violation: Violation);

    /// A connection was accepted.
    fn connection_opened(&self, peer: SocketAddr);

    /// An accepted connection has ended, after all of its requests.
    fn connection_closed(&self, peer: SocketAddr, totals: ConnectionTotals);

    /// A TLS handshake is done; the connection is told as opened after it.
    fn handshake_done(&self, session: &Session);

    /// A connection ended with its TLS handshake; not also told as opened, or as refused.
    fn handshake_failed(&self, peer: SocketAddr, failure: HandshakeFailure);

    /// A connection was closed at once, or could not even be accepted; not also told as opened.
    fn connection_refused(&self, reason: ConnectionRefused);
}

/// An exchange that was [begun](Handler::begin). Dropped when the client goes away.
pub trait Answering<B>: Send {
    /// Goes on; what there is of the reply's head is written to `reply`. Not asked again once there is anything but an interim
    /// reply.
    fn poll(&mut self, cx: &mut Context<'_>, reply: ReplyTo<'_>) -> Poll<Answered<B>>;
}

/// Where a reply's head is written.
#[derive(Debug)]
pub struct ReplyTo<'a> {
    /// How.
    pub form: Form,
    /// Behind what this holds.
    pub out: &'a mut Vec<u8>,
    /// It says that its connection ends.
    pub closes: bool,
    /// Long content may go [in pipes](Handler::pipe).
    pub pipes: bool,
}

/// What has become of an exchange that was [begun](Handler::begin).
pub enum Answered<B> {
    /// An interim reply was written; more is to come.
    Interim,
    /// The reply's head was written, which says how long its content is, and that but for this.
    Whole(Bytes),
    /// The same, where the content comes bit by bit, so many bytes in all.
    Content(B, u64),
    /// A reply.
    Response(Response<B>),
    /// A reply has to be waited for. It is told how to send interim ones, if that can be done.
    Later(Box<dyn FnOnce(Option<Interim>) -> Later<B> + Send>),
}

/// A reply to be waited for.
pub type Later<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// A request as a connection delivers it.
#[derive(Debug)]
pub struct ClientRequest {
    /// The message. Its version is the request's own, which for HTTP/1 may differ from the connection's.
    pub request: Request<RequestContent>,
    /// The connection it came in on.
    pub client: Arc<ClientConn>,
    /// Sends interim replies; `None` where the client cannot take them (HTTP/1.0), and over HTTP/2.
    pub interim: Option<Interim>,
}

/// What went over a connection in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Requests that reached the handler.
    pub requests: u64,
    /// Bytes read from the socket (above TLS).
    pub received: u64,
    /// Bytes written to the socket (above TLS).
    pub sent: u64,
    /// From accept to close.
    pub duration: Duration,
}
