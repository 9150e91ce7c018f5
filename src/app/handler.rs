//! Hands requests from the server to the pipeline, and what never became a request to telemetry.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use uuid::Uuid;

use crate::clock::Clock;
use crate::http::ClientConn;
use crate::http::content::Content;
use crate::http::h1::Violation;
use crate::http::head::HeadWriter;
use crate::piped::Piped;
use crate::pipeline::{Own, Proxy, Relay, Relayed, ReplyBody, To};
use crate::server::{Answered, Answering, ClientRequest, ConnectionTotals, Handler, Refusal, ReplyTo};
use crate::telemetry::account::{Account, Id};
use crate::telemetry::event::{CacheOutcome, End, Series};
use crate::telemetry::{ConnectionRefused, HandshakeFailure, Telemetry};
use crate::tls::Session;

/// The pipeline, as the server sees it.
pub(super) struct Gate {
    pub(super) proxy: Arc<Proxy>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) clock: Clock,
}

/// An exchange on its short way.
struct Passing {
    relay: Relay,
    hsts: Option<HeaderValue>,
}

impl Answering<ReplyBody> for Passing {
    fn poll(&mut self, cx: &mut Context<'_>, reply: ReplyTo<'_>) -> Poll<Answered<ReplyBody>> {
        let own = Own { hsts: self.hsts.as_ref(), closes: reply.closes };
        let to = To { form: reply.form, out: reply.out, pipes: reply.pipes };
        self.relay.poll(cx, to, own).map(|relayed| match relayed {
            Relayed::Interim => Answered::Interim,
            Relayed::Whole(content) => Answered::Whole(content),
            Relayed::Content(body, length) => Answered::Content(body, length),
            Relayed::Response(mut response) => {
                if let Some(hsts) = self.hsts.take() {
                    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                }
                Answered::Response(response)
            }
            Relayed::Long(long) => Answered::Later(long),
        })
    }
}

impl Handler for Gate {
    type Body = ReplyBody;

    fn handle(
        self: Arc<Self>,
        request: ClientRequest,
    ) -> impl Future<Output = Response<ReplyBody>> + Send + 'static {
        let ClientRequest { request, client, interim } = request;
        let hsts = client.session.as_ref().and_then(|session| session.hsts());
        let secured = |mut response: Response<ReplyBody>| {
            if let Some(hsts) = hsts {
                // One field, whatever the origin says (RFC 6797 7.1); and never without TLS (7.2).
                response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
            }
            response
        };
        self.proxy.clone().handle(request, client, interim).map(secured)
    }

    fn at_once(
        &self,
        request: &Parts,
        client: &ClientConn,
        reply: HeadWriter<'_>,
        room: usize,
    ) -> Option<Content> {
        let hsts = client.session.as_ref().and_then(|session| session.hsts());
        self.proxy.at_once(request, client, hsts.as_ref(), reply, room)
    }

    fn at_once_by_text(&self, head: &[u8], client: &ClientConn, reply: HeadWriter<'_>) -> Option<Content> {
        let hsts = client.session.as_ref().and_then(|session| session.hsts());
        self.proxy.at_once_by_text(head, client, hsts.as_ref(), reply)
    }

    fn begin(
        self: &Arc<Self>,
        request: &Parts,
        client: &Arc<ClientConn>,
    ) -> Option<Box<dyn Answering<ReplyBody>>> {
        let relay = self.proxy.relay(request, client)?;
        let hsts = client.session.as_ref().and_then(|session| session.hsts());
        Some(Box::new(Passing { relay, hsts }))
    }

    fn pipe(body: Pin<&mut ReplyBody>, cx: &mut Context<'_>) -> Option<Piped> {
        body.get_mut().pipe(cx)
    }

    fn refused(&self, client: &ClientConn, refusal: Refusal, id: Uuid) {
        let at = self.clock.now();
        self.telemetry.refused(refusal.reason.as_str());
        self.telemetry.finished(Account {
            id: Id::Own(id),
            at,
            duration: Duration::ZERO,
            first_byte: Duration::ZERO,
            client: client.peer.ip(),
            session: client.session.as_ref(),
            protocol: client.protocol,
            method: Method::GET.as_str(),
            host: "",
            target: "",
            status: refusal.status,
            route: None,
            series: Series::default(),
            upstream: None,
            endpoint: None,
            attempts: 0,
            upstream_first_byte: None,
            cache: CacheOutcome::None,
            received: 0,
            sent: 0,
            end: End::Refused,
            lasting: false,
            error: Some(refusal.reason.as_str()),
            limit: None,
            user: None,
            limit_dry_run: None,
            caching: Default::default(),
            reply: None,
        });
    }

    fn content_refused(&self, violation: Violation) {
        self.telemetry.refused(violation.as_str());
    }

    fn connection_opened(&self, _peer: SocketAddr) {
        self.telemetry.connection_opened();
    }

    fn connection_closed(&self, _peer: SocketAddr, _totals: ConnectionTotals) {
        self.telemetry.connection_closed();
    }

    fn handshake_done(&self, session: &Session) {
        self.telemetry.handshake_done(session.version, session.cipher, session.resumed);
    }

    fn handshake_failed(&self, peer: SocketAddr, failure: HandshakeFailure) {
        tracing::debug!(%peer, why = failure.as_str(), "no TLS connection with a client");
        self.telemetry.handshake_failed(failure);
        self.telemetry.connection_refused(ConnectionRefused::Tls);
    }

    fn connection_refused(&self, reason: ConnectionRefused) {
        self.telemetry.connection_refused(reason);
    }
}
