//! Changing the protocol of a client's connection (RFC 9110 7.8): which requests may, and what the upstream must have
//! said before bytes pass unread.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use hyper::upgrade::OnUpgrade;

use super::Proxy;
use super::error::Failure;
use super::exchange::{Asked, Exchange};
use super::fetch::{self, Brought};
use super::inbound::Inbound;
use super::pass::names;
use super::reply::{ReplyBody, Source};
use super::respond::Reply;
use super::site::{Route, Routed};
use crate::cache::policy::RequestPolicy;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::upgrade::{self, ExtendedConnect, WEBSOCKET};
use crate::http::websocket::{self, BadHandshake, Handshake};
use crate::telemetry::event::{CacheOutcome, End};
use crate::tunnel::{Ended, Handover, Place, Reason, Tunnel, Witness};
use crate::upstream;

/// What a client asks for, and may.
#[derive(Debug)]
pub(super) struct Wanted {
    protocol: Arc<str>,
    /// Where it is a WebSocket.
    handshake: Option<Handshake>,
    /// It was asked for by an extended CONNECT.
    extended: bool,
}

/// A tunnel that waits for the reply to leave that says so.
#[derive(Debug)]
pub(super) struct Switched {
    upstream: Box<upstream::Switched>,
    websocket: bool,
    limits: crate::tunnel::Limits,
    place: Place,
    extended: bool,
}

/// Has an extended CONNECT (RFC 8441) go through the stages as the GET that asks for the same in HTTP/1.1 (RFC 6455 4.1), so
/// that it takes the same route; `false`: it is a CONNECT like any other, or none.
pub(super) fn bridge(head: &mut request::Parts) -> bool {
    let Some(asked) = head.extensions.get::<ExtendedConnect>() else { return false };
    if !is_websocket(asked.protocol()) || head.uri.path_and_query().is_none() {
        return false;
    }
    head.method = Method::GET;
    head.headers.insert(websocket::KEY, websocket::new_key());
    true
}

/// What a request asks for that this route permits; `None`: it is a request like any other, and its `Upgrade` is not
/// passed on (RFC 9110 7.8: a server may ignore it).
pub(super) fn wanted(inbound: &Inbound, route: &Route) -> Result<Option<Wanted>, Failure> {
    let head = &inbound.head;
    if head.extensions.get::<ExtendedConnect>().is_some() {
        let mut known = route.settings.upgrade.protocols.iter();
        let protocol = known.find(|known| is_websocket(known)).ok_or(Failure::Connect)?;
        // The key is ours.
        let handshake =
            Handshake::of(&head.headers).map_err(|_| Failure::Handshake(BadHandshake::OnStream))?;
        return Ok(Some(Wanted { protocol: protocol.clone(), handshake: Some(handshake), extended: true }));
    }
    // hyper leaves a way out with each request that could take it, and with no other.
    if head.extensions.get::<OnUpgrade>().is_none() || !inbound.body.is_end_stream() {
        return Ok(None);
    }
    let permitted = |offered: &str| {
        let known = route.settings.upgrade.protocols.iter();
        known.filter(|known| may_ask(&head.method, known)).find(|known| known.eq_ignore_ascii_case(offered))
    };
    let Some(protocol) = upgrade::offered(&head.headers).find_map(permitted) else { return Ok(None) };
    let handshake = match is_websocket(protocol) {
        true => Some(Handshake::of(&head.headers).map_err(Failure::Handshake)?),
        false => None,
    };
    Ok(Some(Wanted { protocol: protocol.clone(), handshake, extended: false }))
}

/// RFC 6455 4.1: a handshake is a GET.
fn may_ask(method: &Method, protocol: &str) -> bool {
    !is_websocket(protocol) || method == Method::GET
}

fn is_websocket(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case(WEBSOCKET)
}

impl Proxy {
    /// Asks the upstream for the protocol. Whatever else it answers is passed on as it is, and nothing is stored.
    pub(super) async fn upgrade(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        wanted: Wanted,
    ) -> Result<Reply, Failure> {
        let Routed { site, route, target } = *to;
        let place = self.tunnels.admit(site.max_tunnels).ok_or(Failure::Tunnels)?;
        exchange.cache = CacheOutcome::Bypass;
        exchange.asks(RequestPolicy::of(&inbound.head.method, &inbound.head.headers, &route.cache.rules));
        exchange.forward = Some(Forward::Bypass);
        let names = names(site, target);
        let mut request = self.fetch_request(to, exchange, inbound);
        request.upgrade = Some(wanted.protocol.clone());
        let brought = fetch::bring(route, request, exchange.began(), &self.clock, &self.telemetry, &names);
        let mut brought = brought.await.map_err(|error| {
            exchange.asked = Some(Asked::of_error(&error));
            Failure::from(error)
        })?;
        if wanted.extended && brought.status().is_success() {
            return Err(Failure::Switch("the reply is to a request like any other".into()));
        }
        if brought.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.direct_reply(route, exchange, brought, CacheStatus::default()));
        }
        exchange.asked = Some(brought.asked.clone());
        if let Some(handshake) = &wanted.handshake {
            handshake.check(&brought.head.headers).map_err(|wrong| Failure::Switch(wrong.to_string()))?;
        }
        let upstream = brought.switched.take();
        let upstream =
            upstream.ok_or_else(|| Failure::Switch("there is no connection to go on with".into()))?;
        let websocket = wanted.handshake.is_some();
        let (limits, extended) = (route.settings.upgrade.limits, wanted.extended);
        let switched = Switched { upstream, websocket, limits, place, extended };
        Ok(switching(brought, &wanted.protocol, switched))
    }
}

/// The client's reply.
fn switching(brought: Brought, protocol: &str, switched: Switched) -> Reply {
    let mut headers = brought.head.headers;
    // RFC 8441 5: any 2xx agrees to an extended CONNECT, and there is no key that would be answered.
    let status = match switched.extended {
        true => StatusCode::OK,
        false => StatusCode::SWITCHING_PROTOCOLS,
    };
    // Neither has content (RFC 9110 8.6).
    headers.remove(CONTENT_LENGTH);
    if switched.extended {
        headers.remove(&websocket::ACCEPT);
    } else {
        say_switching(&mut headers, protocol);
    }
    Reply {
        status,
        headers,
        source: Source::Switched(Box::new(switched)),
        cache_status: CacheStatus { forward: Some(Forward::Bypass), ..CacheStatus::default() },
        deadline: None,
    }
}

fn say_switching(headers: &mut HeaderMap, protocol: &str) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(protocol) = HeaderValue::try_from(protocol) {
        headers.insert(UPGRADE, protocol);
    }
}

/// The reply that changes the protocol, with the tunnel for whoever drives the client's connection.
pub(super) fn hand_over(
    switched: Switched,
    mut response: Response<ReplyBody>,
    exchange: Box<Exchange>,
) -> Response<ReplyBody> {
    let Switched { upstream, websocket, limits, place, .. } = switched;
    let tunnel = Tunnel::new(upstream, websocket, limits, place, Box::new(Lasting(exchange)));
    response.extensions_mut().insert(Handover::of(tunnel));
    response
}

/// An exchange that lasts for as long as its tunnel.
struct Lasting(Box<Exchange>);

impl Witness for Lasting {
    fn ended(mut self: Box<Self>, ended: Ended) {
        let exchange = &mut self.0;
        (exchange.sent, exchange.tunnelled) = (ended.to_client, ended.to_upstream);
        (exchange.end, exchange.error) = match ended.reason {
            Reason::ClientClosed | Reason::UpstreamClosed | Reason::Drained => (End::Complete, None),
            Reason::ClientBroke => (End::ClientAborted, None),
            Reason::UpstreamBroke => (End::UpstreamAborted, Some("connection_terminated")),
            Reason::Idle => (End::TimedOut, Some("connection_read_timeout")),
            Reason::Expired | Reason::Cut => (End::TimedOut, Some("http_response_timeout")),
        };
    }
}
