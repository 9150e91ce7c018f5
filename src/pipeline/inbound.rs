//! A request as it came in, and who is believed to have sent it.

use std::sync::Arc;

use http::{HeaderMap, Request};
use hyper::body::Incoming;

use super::Proxy;
use super::exchange::Exchange;
use super::site::Site;
use crate::http::{ClientConn, Interim, forwarded, request_id};
use crate::telemetry::event::RequestId;

/// A request on its way through the stages.
pub(super) struct Inbound {
    pub(super) head: http::request::Parts,
    pub(super) body: Incoming,
    pub(super) client: Arc<ClientConn>,
    pub(super) interim: Option<Interim>,
    /// Whether the peer's forwarding fields are believed.
    pub(super) trusted: bool,
}

impl Proxy {
    /// Opens the exchange: times, request id, and the client's address as far as it is believed.
    pub(super) fn open(
        &self,
        site: &Site,
        request: Request<Incoming>,
        client: Arc<ClientConn>,
        interim: Option<Interim>,
    ) -> (Inbound, Box<Exchange>) {
        let (head, body) = request.into_parts();
        let at = self.clock.now();
        let trusted = !site.trusted.is_empty() && site.trusts(client.peer.ip());
        let id = given_id(&head.headers, trusted).unwrap_or_else(|| RequestId::Own(request_id::new_id(at)));
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let telemetry = self.telemetry.clone();
        let mut exchange = Exchange::open(telemetry, client.clone(), at, id, head.method.clone(), target);
        if trusted {
            exchange.client_address =
                forwarded::client_address(client.peer.ip(), &head.headers, &site.trusted);
        }
        (Inbound { head, body, client, interim, trusted }, exchange)
    }
}

/// The request id that a trusted peer gave.
fn given_id(headers: &HeaderMap, trusted: bool) -> Option<RequestId> {
    if !trusted {
        return None;
    }
    let given = headers.get(&request_id::NAME)?;
    request_id::valid(given).map(|id| RequestId::Given(id.into()))
}
