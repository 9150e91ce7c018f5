//! `Connection` and the other fields that concern one connection only (RFC 9110 7.6.1): removed before a message
//! goes on.

use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderMap, HeaderName};

/// What the removed fields said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The sender offers to change the protocol (RFC 9110 7.8).
    pub upgrade: bool,
    /// The sender of a request takes trailers (RFC 9110 10.1.4).
    pub te_trailers: bool,
    /// The sender closes the connection after this message (RFC 9112 9.6).
    pub close: bool,
}

/// Fields that concern one connection whether `Connection` names them or not. `Trailer` is not among them: it
/// describes the content, and trailers are passed on.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "http2-settings",
];

/// Removes from a request or a response what concerns its connection only, and says what it said.
///
/// `Connection` may name any field, so a client could have the proxy drop one that the origin decides by. Fields
/// that every recipient needs are kept even if named: RFC 9110 7.6.1 forbids naming them.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) -> Hop {
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return Hop::default();
    }
    let named = options(headers);
    let hop = Hop {
        upgrade: headers.contains_key(UPGRADE) && named.iter().any(|option| option == "upgrade"),
        te_trailers: takes_trailers(headers),
        close: named.iter().any(|option| option == "close"),
    };
    for name in named.iter().filter(|name| !is_end_to_end(name)) {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    hop
}

/// What `Connection` names, lower case.
fn options(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        // What is no field name cannot be one.
        .filter(|option| option == "close" || HeaderName::try_from(option).is_ok())
        .collect()
}

/// Whether the sender of a request takes trailers (RFC 9110 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "http2-settings"
    )
}

/// Fields that frame the message, say what it is, who sends it, or how it may be stored.
fn is_end_to_end(name: &str) -> bool {
    const PREFIXES: [&str; 7] =
        ["accept", "access-control-", "cache-", "content-", "if-", "sec-", "x-forwarded-"];
    matches!(
        name,
        "age"
            | "allow"
            | "authorization"
            | "cookie"
            | "date"
            | "etag"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "last-modified"
            | "location"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "range"
            | "referer"
            | "retry-after"
            | "server"
            | "set-cookie"
            | "strict-transport-security"
            | "surrogate-control"
            | "surrogate-key"
            | "traceparent"
            | "tracestate"
            | "trailer"
            | "user-agent"
            | "vary"
            | "via"
            | "warning"
            | "www-authenticate"
            | "x-real-ip"
            | "x-request-id"
    ) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.ends_with("-cache-control")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    #[test]
    fn what_concerns_the_connection_goes() {
        for (given, left, hop) in [
            (&["host: a", "accept: */*"][..], &["host: a", "accept: */*"][..], Hop::default()),
            (&["connection: keep-alive", "keep-alive: timeout=5", "x-a: 1"], &["x-a: 1"], Hop::default()),
            (&["connection: close"], &[], Hop { close: true, ..Hop::default() }),
            (
                &["connection: X-A , close", "x-a: 1", "x-b: 1"],
                &["x-b: 1"],
                Hop { close: true, ..Hop::default() },
            ),
            (&["connection: x-a", "connection: x-b", "x-a: 1", "x-b: 1"], &[], Hop::default()),
            (&["connection: upgrade", "upgrade: websocket"], &[], Hop { upgrade: true, ..Hop::default() }),
            (&["upgrade: h2c", "http2-settings: AAA"], &[], Hop::default()),
            (
                &["te: gzip, Trailers", "trailer: x-sum"],
                &["trailer: x-sum"],
                Hop { te_trailers: true, ..Hop::default() },
            ),
            (&["transfer-encoding: chunked", "proxy-connection: close"], &[], Hop::default()),
            (&["proxy-authorization: Basic eA==", "proxy-authenticate: Basic"], &[], Hop::default()),
            (&["connection: , ,;x, x-a:", "x-a: 1"], &["x-a: 1"], Hop::default()),
        ] {
            let mut given = headers(given);
            assert_eq!(remove_hop_by_hop(&mut given), hop, "{left:?}");
            assert_eq!(lines(&given), left);
        }
    }

    #[test]
    fn what_every_recipient_needs_stays_though_it_is_named() {
        for line in [
            "host: a",
            "content-length: 5",
            "content-type: text/plain",
            "authorization: Bearer x",
            "cookie: a=1",
            "set-cookie: a=1",
            "cache-control: private",
            "cdn-cache-control: no-store",
            "vary: accept",
            "x-forwarded-for: 192.0.2.1",
            "forwarded: for=192.0.2.1",
            "if-none-match: \"a\"",
        ] {
            let (name, _) = line.split_once(':').unwrap();
            let mut given = headers(&[&format!("connection: {name}"), line]);
            remove_hop_by_hop(&mut given);
            assert_eq!(lines(&given), [line]);
        }
    }

    #[test]
    fn both_lists_agree() {
        assert!(HOP_BY_HOP.into_iter().all(|name| is_hop_by_hop(name) && !is_end_to_end(name)));
    }
}
