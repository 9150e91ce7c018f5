//! The fields of a message that goes on: those of the hop it came by are taken out, those of ours put in.

use std::sync::Arc;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::exchange::Exchange;
use super::site::Site;
use crate::http::Scheme;
use crate::http::authority::Authority;
use crate::http::connection::{Hop, remove_hop_by_hop};
use crate::http::forwarded::{self, Received};
use crate::http::location::{self, Origin};
use crate::http::target::Target;
use crate::http::{ClientConn, request_id, via};
use crate::telemetry::event::Protocol;
use crate::upstream::OriginName;

/// The fields that a request gets on its way: `Forwarded`, four older ones, `Via`, an id, `TE`.
const OURS: usize = 8;

/// What the upstream is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardFacts<'a> {
    /// The connection that it came in on.
    pub(super) client: &'a ClientConn,
    /// The request's own version.
    pub(super) protocol: Protocol,
    /// What it is for.
    pub(super) target: &'a Target,
    /// This proxy's name.
    pub(super) name: &'a str,
    /// The exchange's id.
    pub(super) id: &'a HeaderValue,
    /// Whether the peer's forwarding fields are believed.
    pub(super) trusted: bool,
}

/// How the client names this proxy: what an origin's `Location` is mapped back to.
#[derive(Clone, Debug)]
pub(super) struct ClientNames {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// As the client's `Host` has it.
    pub(super) authority: Arc<str>,
    /// What this proxy calls itself in `Via`.
    pub(super) proxy: Arc<str>,
}

/// Makes a client's fields those of the request to the upstream. `Host` is left to the upstream's own policy, so it
/// goes; `Expect` stays for the caller to judge. Says what the removed fields said.
pub(super) fn upstream_request_headers(headers: &mut HeaderMap, facts: &ForwardFacts<'_>) -> Hop {
    let hop = remove_hop_by_hop(headers);
    headers.remove(header::HOST);
    // At once, for all that is put in here.
    headers.reserve(OURS);
    let received = Received { peer: facts.client.peer.ip(), tls: facts.client.tls, target: facts.target };
    forwarded::apply(headers, &received, facts.trusted);
    via::append(headers, version(facts.protocol), facts.name);
    headers.insert(&request_id::NAME, facts.id.clone());
    if hop.te_trailers {
        // Our own hop takes them, too (RFC 9110 10.1.4); the upstream connection adds the `Connection` that it needs.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    hop
}

/// What a reply names, as the origin wrote it.
pub(super) fn named(headers: &HeaderMap) -> HeaderMap {
    let mut named = HeaderMap::new();
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(value) = headers.get(&name) {
            named.insert(name, value.clone());
        }
    }
    named
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
    let mapped =
        value.to_str().ok().and_then(|given| location::map(given, &origin, client.scheme, &client.authority));
    if let Some(mapped) = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok()) {
        *value = mapped;
    }
}

/// Turns paths that a reply names, and that this route's prefixes made, back into those that clients ask for. On the way out
/// and not when it comes: what is stored is shared by all routes that forward the same.
pub(super) fn map_rewritten(headers: &mut HeaderMap, site: &Site, exchange: &Exchange) {
    let Some(route) = exchange.route.as_deref().filter(|_| exchange.rewritten) else { return };
    let Some(rewrite) = &route.settings.rewrite else { return };
    // HTTP/1.0 has clients that name none.
    let own = Authority::parse(&exchange.host, Scheme::Http);
    let host = own.as_ref().map_or("", Authority::host);
    for name in [LOCATION, CONTENT_LOCATION] {
        let Some(value) = headers.get_mut(name) else { continue };
        let mapped = value.to_str().ok().and_then(|given| {
            location::map_path(given, &exchange.host, |path, query| {
                // Where another route would take it, it leads elsewhere.
                rewrite.client_path(path).filter(|path| site.may_take(route, host, path, query))
            })
        });
        if let Some(mapped) = mapped.and_then(|mapped| HeaderValue::try_from(mapped).ok()) {
            *value = mapped;
        }
    }
}

pub(super) const fn version(protocol: Protocol) -> Version {
    match protocol {
        Protocol::Http10 => Version::HTTP_10,
        Protocol::Http11 | Protocol::Internal => Version::HTTP_11,
        Protocol::Http2 => Version::HTTP_2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    fn client() -> ClientConn {
        let address = "192.0.2.1:4711".parse().unwrap();
        let protocol = Protocol::Http11;
        ClientConn { peer: address, local: address, tls: false, session: None, redirect: None, protocol }
    }

    fn target() -> Target {
        let request = http::Request::builder().uri("/a").header("host", "api.example").body(()).unwrap();
        Target::of(&request.into_parts().0, false).unwrap()
    }

    fn sent_on(given: &[&str], trusted: bool) -> Vec<String> {
        let mut given = headers(given);
        let (client, target) = (client(), target());
        let id = HeaderValue::from_static("id-1");
        let facts = ForwardFacts {
            client: &client,
            protocol: client.protocol,
            target: &target,
            name: "proxy-stone",
            id: &id,
            trusted,
        };
        upstream_request_headers(&mut given, &facts);
        let mut lines = lines(&given);
        lines.sort();
        lines
    }

    #[test]
    fn a_request_goes_on_with_our_hop_s_fields() {
        let ours = |forwarded_for: &str, forwarded: &str, rest: &[&str]| {
            let mut lines: Vec<String> = rest.iter().map(ToString::to_string).collect();
            lines.push(format!("forwarded: {forwarded}for=192.0.2.1;host=api.example;proto=http"));
            lines.push(format!("x-forwarded-for: {forwarded_for}192.0.2.1"));
            lines.push("x-forwarded-host: api.example".into());
            lines.push("x-forwarded-port: 80".into());
            lines.push("x-forwarded-proto: http".into());
            lines.push("x-request-id: id-1".into());
            lines.sort();
            lines
        };
        for (given, trusted, expected) in [
            (
                &["host: api.example", "accept: */*", "traceparent: 00-a-b-01", "expect: 100-continue"][..],
                false,
                ours(
                    "",
                    "",
                    &[
                        "accept: */*",
                        "expect: 100-continue",
                        "traceparent: 00-a-b-01",
                        "via: 1.1 proxy-stone",
                    ],
                ),
            ),
            (
                &[
                    "connection: te, x-hop",
                    "te: trailers",
                    "x-hop: 1",
                    "x-request-id: theirs",
                    "via: 1.0 fred",
                ],
                false,
                ours("", "", &["te: trailers", "via: 1.0 fred", "via: 1.1 proxy-stone"]),
            ),
            (
                &["x-forwarded-for: 198.51.100.1", "forwarded: for=198.51.100.1"],
                true,
                ours("198.51.100.1, ", "for=198.51.100.1, ", &["via: 1.1 proxy-stone"]),
            ),
        ] {
            assert_eq!(sent_on(given, trusted), expected, "{given:?}");
        }
    }

    #[test]
    fn an_origin_s_own_name_becomes_ours() {
        let origin =
            OriginName { scheme: "http", authority: "10.0.0.1:8080".into(), base_path: "/base".into() };
        let client =
            ClientNames { scheme: "https", authority: "api.example".into(), proxy: "proxy-stone".into() };
        let mut given = headers(&[
            "location: http://10.0.0.1:8080/base/a",
            "content-location: /base/b",
            "link: </base/c>",
        ]);
        map_locations(&mut given, &origin, &client);
        assert_eq!(
            lines(&given),
            ["location: https://api.example/a", "content-location: /b", "link: </base/c>"]
        );
    }
}
