//! The fields of a message that goes on: those of the hop it came by are taken out, those of ours put in.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::http::connection::{Hop, remove_hop_by_hop};
use crate::http::forwarded::{self, Received};
use crate::http::location::{self, Origin};
use crate::http::target::Target;
use crate::http::{ClientConn, request_id, via};
use crate::telemetry::event::{Protocol, RequestId};
use crate::upstream::OriginName;

/// What the upstream is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardFacts<'a> {
    /// The connection that it came in on.
    pub(super) client: &'a ClientConn,
    /// What it is for.
    pub(super) target: &'a Target,
    /// This proxy's name.
    pub(super) name: &'a str,
    /// The exchange's id.
    pub(super) id: &'a RequestId,
    /// Whether the peer's forwarding fields are believed.
    pub(super) trusted: bool,
}

/// How the client names this proxy: what an origin's `Location` is mapped back to.
#[derive(Clone, Debug)]
pub(super) struct ClientNames {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// As the client's `Host` has it.
    pub(super) authority: Box<str>,
}

/// Makes a client's fields those of the request to the upstream. `Host` is left to the upstream's own policy, so it
/// goes; `Expect` stays for the caller to judge. Says what the removed fields said.
pub(super) fn upstream_request_headers(headers: &mut HeaderMap, facts: &ForwardFacts<'_>) -> Hop {
    let hop = remove_hop_by_hop(headers);
    headers.remove(header::HOST);
    let received = Received { peer: facts.client.peer.ip(), tls: facts.client.tls, target: facts.target };
    forwarded::apply(headers, &received, facts.trusted);
    via::append(headers, version(facts.client.protocol), facts.name);
    headers.insert(&request_id::NAME, request_id::to_value(facts.id));
    if hop.te_trailers {
        // Our own connection to the upstream takes them, too (RFC 9110 10.1.4).
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    hop
}

/// Maps what an origin calls by its own name to the name that the client knows.
pub(super) fn map_locations(headers: &mut HeaderMap, origin: &OriginName, client: &ClientNames) {
    map_location(headers, &LOCATION, origin, client);
    map_location(headers, &CONTENT_LOCATION, origin, client);
}

fn map_location(headers: &mut HeaderMap, name: &HeaderName, origin: &OriginName, client: &ClientNames) {
    let Some(value) = headers.get_mut(name) else { return };
    let origin = Origin { scheme: origin.scheme, authority: &origin.authority, base_path: &origin.base_path };
    // Bytes outside ASCII have no place in a reference; such a value is left as it is.
    let mapped = value.to_str().ok().and_then(|given| location::map(given, &origin, client.scheme, &client.authority));
    if let Some(mapped) = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok()) {
        *value = mapped;
    }
}

const fn version(protocol: Protocol) -> Version {
    match protocol {
        Protocol::Http10 => Version::HTTP_10,
        Protocol::Http11 => Version::HTTP_11,
        Protocol::Http2 => Version::HTTP_2,
    }
}
