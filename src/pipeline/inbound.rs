//! A request as it came in, and who is believed to have sent it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Version, request};
use http_body::Body as _;

use super::Proxy;
use super::exchange::Exchange;
use super::key::Facts;
use super::site::Site;
use crate::cache::key::FieldHash;
use crate::http::{ClientConn, Interim, RequestContent, forwarded, grpc, request_id};
use crate::telemetry::event::{Protocol, RequestId};
use crate::upstream::{Begun, StreamBody};

/// A request on its way through the stages.
pub(super) struct Inbound {
    pub(super) head: http::request::Parts,
    pub(super) body: InboundBody,
    pub(super) client: Arc<ClientConn>,
    pub(super) interim: Option<Interim>,
    /// Whether the peer's forwarding fields are believed.
    pub(super) trusted: bool,
    /// The origin is to be asked whatever is stored, and whether or not the route honours `no-cache`.
    pub(super) refresh: bool,
    /// It is for one slice of a body: which one.
    pub(super) slice: Option<u64>,
    /// What has been begun of asking its origin.
    pub(super) begun: Option<Begun>,
}

/// The body of a request.
pub(super) enum InboundBody {
    /// A client's, as it comes in.
    Client(RequestContent),
    /// All of it, read into memory.
    Whole(Bytes),
    /// Some of it has been read and put back.
    Begun(Box<StreamBody>),
    /// There is none: the request is the instance's own.
    None,
}

impl InboundBody {
    /// Nothing more will come.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Begun(stream) => stream.is_end_stream(),
            Self::None => true,
        }
    }
}

impl Inbound {
    /// What its key is made from.
    pub(super) fn key_facts(&self, user: Option<FieldHash>) -> Facts<'_> {
        let body = match &self.body {
            InboundBody::Whole(body) => Some(body),
            _ => None,
        };
        Facts { method: &self.head.method, headers: &self.head.headers, body, user, slice: self.slice }
    }
}

impl Proxy {
    /// Opens the exchange: times, request id, and the client's address as far as it is believed.
    pub(super) fn open(
        &self,
        site: &Site,
        mut head: http::request::Parts,
        body: InboundBody,
        client: Arc<ClientConn>,
        interim: Option<Interim>,
    ) -> (Box<Inbound>, Box<Exchange>) {
        if client.protocol == Protocol::Http2 {
            join_cookies(&mut head.headers);
        }
        site.identify(&client, &mut head.headers);
        let client = spoken(client, head.version);
        let at = self.clock.now();
        let trusted = !site.trusted.is_empty() && site.trusts(client.peer.ip());
        let id = given_id(&head.headers, trusted).unwrap_or_else(|| RequestId::Own(request_id::new_id(at)));
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let telemetry = self.telemetry.clone();
        let method = head.method.clone();
        let mut exchange = Exchange::open(telemetry, &client, head.version, at, id, method, target);
        exchange.grpc = grpc::Call::of(&head.method, &head.headers);
        if trusted {
            exchange.client_address =
                forwarded::client_address(client.peer.ip(), &head.headers, &site.trusted);
        }
        (
            Box::new(Inbound {
                head,
                body,
                client,
                interim,
                trusted,
                refresh: false,
                slice: None,
                begun: None,
            }),
            exchange,
        )
    }
}

/// The client as it speaks in this request: HTTP/1.0 is said by each request, not by the connection.
fn spoken(client: Arc<ClientConn>, version: Version) -> Arc<ClientConn> {
    match version {
        Version::HTTP_10 if client.protocol != Protocol::Http10 => {
            Arc::new(ClientConn { protocol: Protocol::Http10, ..(*client).clone() })
        }
        _ => client,
    }
}

/// HTTP/2 lets a client send its cookies in several fields, which elsewhere are one (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// A request whose cookies are one field.
pub(super) fn joined(head: &request::Parts) -> Cow<'_, request::Parts> {
    if head.headers.get_all(COOKIE).iter().nth(1).is_none() {
        return Cow::Borrowed(head);
    }
    let mut head = head.clone();
    join_cookies(&mut head.headers);
    Cow::Owned(head)
}

/// The request id that a trusted peer gave.
pub(super) fn given_id(headers: &HeaderMap, trusted: bool) -> Option<RequestId> {
    if !trusted {
        return None;
    }
    let given = headers.get(&request_id::NAME)?;
    request_id::valid(given).map(|id| RequestId::Given(id.into()))
}
