//! `Connection` and the other fields that concern one connection only (RFC 9110 7.6.1): removed before a message
//! goes on.

use std::borrow::Cow;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, HOST, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, SERVER,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VARY, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

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

/// Removes from a request or a response what concerns its connection only, and says what it said.
///
/// `Connection` may name any field, so a client could have the proxy drop one that the origin decides by. Fields
/// that every recipient needs are kept even if named: RFC 9110 7.6.1 forbids naming them.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) -> Hop {
    let mut theirs = headers.keys().filter(|name| concerns_hop(name));
    match (theirs.next(), theirs.next()) {
        (None, _) => return Hop::default(),
        (Some(&CONNECTION), None) => {
            if let Some(hop) = plain(headers) {
                headers.remove(CONNECTION);
                return hop;
            }
        }
        _ => {}
    }
    clean_trailer_field(headers);
    let says = |wanted: &str| options(headers).any(|option| option.eq_ignore_ascii_case(wanted));
    let hop = Hop {
        upgrade: headers.contains_key(UPGRADE) && says("upgrade"),
        te_trailers: takes_trailers(headers),
        close: says("close"),
    };
    // What is there is looked through rather than looked up.
    let goes = |name: &HeaderName| is_hop_by_hop(name.as_str()) || is_disguised(name.as_str());
    let mut going: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    going.extend(named(headers));
    for name in going {
        headers.remove(name);
    }
    hop
}

/// What `Connection` says, where it says what it mostly does.
fn plain(headers: &HeaderMap) -> Option<Hop> {
    let mut lines = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let only = lines.next().filter(|_| lines.next().is_none())?;
    let close = only.eq_ignore_ascii_case(b"close");
    (close || only.eq_ignore_ascii_case(b"keep-alive")).then(|| Hop { close, ..Hop::default() })
}

/// Whether a field concerns one connection, or may name what does. Asked of every field of every message: those that most
/// have are known by their number.
pub fn concerns_hop(name: &HeaderName) -> bool {
    match *name {
        CONNECTION | TE | TRAILER | TRANSFER_ENCODING | UPGRADE | PROXY_AUTHENTICATE
        | PROXY_AUTHORIZATION => true,
        ACCEPT | ACCEPT_ENCODING | ACCEPT_LANGUAGE | ACCEPT_RANGES | AGE | AUTHORIZATION | CACHE_CONTROL
        | CONTENT_ENCODING | CONTENT_LENGTH | CONTENT_TYPE | COOKIE | DATE | ETAG | EXPIRES | HOST
        | IF_MODIFIED_SINCE | IF_NONE_MATCH | LAST_MODIFIED | LOCATION | ORIGIN | REFERER | SERVER
        | SET_COOKIE | USER_AGENT | VARY | VIA => false,
        _ => is_hop_by_hop(name.as_str()) || is_disguised(name.as_str()),
    }
}

/// Whether a name is that of a field that frames a message or concerns one hop, but for underscores, which CGI-like
/// recipients take for hyphens.
fn is_disguised(name: &str) -> bool {
    name.contains('_') && {
        let name = name.replace('_', "-");
        is_hop_by_hop(&name) || matches!(&*name, "content-length" | "host")
    }
}

/// What may stand in the trailers of one message.
#[derive(Clone, Debug, Default)]
pub struct TrailerRules {
    /// What `Connection` names beside the usual.
    named: Option<Box<[HeaderName]>>,
}

impl TrailerRules {
    /// Of the message with this head, as it came.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut named = named(headers).peekable();
        Self { named: named.peek().is_some().then(|| named.collect()) }
    }

    fn allows(&self, name: &str) -> bool {
        let named = self.named.as_deref().unwrap_or_default();
        may_trail(name) && !named.iter().any(|own| own.as_str() == name)
    }

    /// Takes out what concerns this hop, and what no recipient may take from a trailer (RFC 9110 6.5.1, 7.6.1).
    pub fn clean(&self, trailers: &mut HeaderMap) {
        let barred: Vec<HeaderName> =
            trailers.keys().filter(|name| !self.allows(name.as_str())).cloned().collect();
        for name in barred {
            trailers.remove(name);
        }
    }
}

/// Whether a field may come after the content: not if it frames or routes the message, says who sends it, what it is or
/// how to treat it (RFC 9110 6.5.1).
fn may_trail(name: &str) -> bool {
    let name = if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
    let barred = matches!(
        &*name,
        "age"
            | "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-location"
            | "content-range"
            | "content-type"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "location"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "range"
            | "retry-after"
            | "set-cookie"
            | "trailer"
            | "vary"
            | "via"
            | "warning"
            | "www-authenticate"
            | "x-real-ip"
            | "x-request-id"
    );
    !barred && !is_hop_by_hop(&name) && !name.starts_with("if-") && !name.starts_with("x-forwarded-")
}

/// `Trailer` announces only what will come (RFC 9110 6.6.2).
fn clean_trailer_field(headers: &mut HeaderMap) {
    if !headers.contains_key(TRAILER) {
        return;
    }
    let rules = TrailerRules::of(headers);
    let all = headers.get_all(TRAILER);
    let lines: Vec<&str> = all.iter().filter_map(|line| line.to_str().ok()).collect();
    let mut members = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let allowed = |name: &&str| !name.is_empty() && rules.allows(&name.to_ascii_lowercase());
    if members.clone().all(|name| allowed(&name)) {
        return;
    }
    let kept = members.by_ref().filter(allowed).collect::<Vec<_>>().join(", ");
    match HeaderValue::try_from(kept) {
        Ok(kept) if !kept.is_empty() => drop(headers.insert(TRAILER, kept)),
        _ => drop(headers.remove(TRAILER)),
    }
}

/// What `Connection` names.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The fields that `Connection` names and may name, beside those that concern one connection anyway.
fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    options(headers)
        // What `Connection` says as a rule, which is looked at for every message.
        .filter(|option| !option.eq_ignore_ascii_case("keep-alive"))
        // What is no field name cannot be one.
        .filter_map(|option| HeaderName::try_from(option).ok())
        .filter(|name| !is_hop_by_hop(name.as_str()) && !is_end_to_end(name.as_str()))
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

/// Whether a field concerns one connection whether `Connection` names it or not. `Trailer` does not: it describes the
/// content, and trailers are passed on.
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
            (&["transfer_encoding: chunked", "content_length: 5", "x_a: 1"], &["x_a: 1"], Hop::default()),
            (&["trailer: x-sum, host , Content-Length"], &["trailer: x-sum"], Hop::default()),
            (&["connection: x-sum", "trailer: x-sum"], &[], Hop::default()),
            (&["connection: Keep-Alive", "x: 1"], &["x: 1"], Hop::default()),
            (&["connection: Close"], &[], Hop { close: true, ..Hop::default() }),
            (&["connection: close", "connection: x", "x: 1"], &[], Hop { close: true, ..Hop::default() }),
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
    fn what_is_named_is_told_in_any_case_and_what_goes_anyway_is_not_repeated() {
        for (value, expected) in [
            ("Keep-Alive", &[][..]),
            ("TE, Upgrade, x-A,,a b", &["x-a"]),
            ("close", &["close"]),
            ("Content-Length, Cookie", &[]),
        ] {
            let given = headers(&[&format!("connection: {value}")]);
            assert_eq!(named(&given).collect::<Vec<_>>(), expected, "{value}");
        }
    }
}
