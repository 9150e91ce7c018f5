//! Hands requests from the server to the pipeline, and what never became a request to telemetry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use uuid::Uuid;

use crate::clock::Clock;
use crate::http::ClientConn;
use crate::http::h1::Violation;
use crate::pipeline::{Proxy, ReplyBody};
use crate::server::{ClientRequest, ConnectionTotals, Handler, Refusal};
use crate::telemetry::event::{CacheOutcome, End, Finished, RequestId, Series};
use crate::telemetry::{ConnectionRefused, Telemetry};

/// The pipeline, as the server sees it.
pub(super) struct Gate {
    pub(super) proxy: Arc<Proxy>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) clock: Clock,
}

impl Handler for Gate {
    type Body = ReplyBody;

    async fn handle(self: Arc<Self>, request: ClientRequest) -> Response<ReplyBody> {
        let ClientRequest { request, client, interim } = request;
        self.proxy.clone().handle(request, client, interim).await
    }

    fn refused(&self, client: &ClientConn, refusal: Refusal, id: Uuid) {
        let at = self.clock.now();
        self.telemetry.refused(refusal.reason.as_str());
        self.telemetry.finished(Finished {
            id: RequestId::Own(id),
            at,
            duration: Duration::ZERO,
            first_byte: Duration::ZERO,
            client: client.peer.ip(),
            protocol: client.protocol,
            method: Method::default(),
            host: Box::default(),
            target: Box::default(),
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
            error: Some(refusal.reason.as_str()),
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

    fn connection_refused(&self, reason: ConnectionRefused) {
        self.telemetry.connection_refused(reason);
    }
}
