//! `Upgrade` (RFC 9110 7.8): the protocols that a client would rather speak on its connection.

use http::HeaderMap;
use http::header::{CONNECTION, UPGRADE};

use super::token::is_token;

/// The name of the WebSocket protocol (RFC 6455 11.2).
pub const WEBSOCKET: &str = "websocket";

/// What an extended CONNECT asks for (RFC 8441 4): `:protocol`, among a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedConnect(Box<str>);

impl ExtendedConnect {
    /// This protocol, if it is the name of one.
    pub fn to(protocol: &[u8]) -> Option<Self> {
        Some(Self(std::str::from_utf8(protocol).ok()?.into()))
    }

    /// The protocol.
    pub fn protocol(&self) -> &str {
        &self.0
    }
}

/// The protocols that are offered, those that the client likes best first; none where `Connection` does not say that
/// they are meant for this very connection.
pub fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let meant = members(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    members(headers, &UPGRADE).filter(move |protocol| meant && is_protocol(protocol))
}

/// Whether a 101 goes over to this protocol and to no other.
pub fn switches_to(headers: &HeaderMap, protocol: &str) -> bool {
    let mut offered = offered(headers);
    offered.next().is_some_and(|only| only.eq_ignore_ascii_case(protocol)) && offered.next().is_none()
}

/// `name` or `name/version`.
pub fn is_protocol(text: &str) -> bool {
    match text.split_once('/') {
        None => is_token(text),
        Some((name, version)) => is_token(name) && is_token(version),
    }
}

/// Whether this is HTTP itself or TLS, which would take what follows out of every check that is made here.
pub fn is_own(protocol: &str) -> bool {
    let name = protocol.split_once('/').map_or(protocol, |(name, _)| name);
    ["http", "h2c", "h2", "h3", "tls"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn members<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn what_is_offered_for_this_connection() {
        for (given, expected) in [
            (&["connection: Upgrade", "upgrade: websocket"][..], &["websocket"][..]),
            (
                &["connection: keep-alive, UPGRADE", "upgrade: h2c, WebSocket", "upgrade: SPDY/3.1"],
                &["h2c", "WebSocket", "SPDY/3.1"],
            ),
            (&["upgrade: websocket"], &[]),
            (&["connection: upgrade"], &[]),
            (&["connection: upgraded", "upgrade: websocket"], &[]),
            (&["connection: upgrade", "upgrade: , a b, /1, x/, ok"], &["ok"]),
        ] {
            assert_eq!(offered(&headers(given)).collect::<Vec<_>>(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_101_names_what_was_asked_for_and_nothing_else() {
        for (given, holds) in [
            (&["connection: upgrade", "upgrade: WebSocket"][..], true),
            (&["connection: upgrade", "upgrade: websocket, other"], false),
            (&["connection: upgrade", "upgrade: other"], false),
            (&["upgrade: websocket"], false),
            (&["connection: upgrade"], false),
        ] {
            assert_eq!(switches_to(&headers(given), WEBSOCKET), holds, "{given:?}");
        }
    }

    #[test]
    fn http_itself_and_tls_are_told_from_others() {
        assert!(["h2c", "H2C", "HTTP/2.0", "tls", "TLS/1.2"].into_iter().all(is_own));
        assert!(!["websocket", "SPDY/3.1", "tcp", "h2go"].into_iter().any(is_own));
    }
}
