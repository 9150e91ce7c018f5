//! `Forwarded` (RFC 7239) and the `X-Forwarded-*` fields before it: for whom a message was passed on.
//!
//! Anyone can write these fields, so they are believed only from the peers that the config trusts; from others they
//! are dropped and written anew. `X-Forwarded-For` goes before `Forwarded` where both are there, since the proxies
//! that write the former often pass the latter on unread.

mod element;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::BytesMut;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::Scheme;
use super::decimal::{Decimal, Dotted};
use super::target::Target;
use super::written::written;
use element::{Element, Text};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request as we received it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The connection's peer.
    pub peer: IpAddr,
    /// Whether that connection is TLS.
    pub tls: bool,
    /// What the request is for.
    pub target: &'a Target,
}

/// Whether a peer is one of those trusted.
pub fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// The client's address: the peer's, or where that is trusted, the nearest one before it that isn't. An entry that is
/// no address ends the search, since nothing left of it can be placed.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for hop in hops(headers).into_iter().rev() {
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// Whether the client reaches us over TLS: as a trusted peer says, else as its connection is.
pub fn is_secure(tls: bool, headers: &HeaderMap, trusted: bool) -> bool {
    let told = || match last_member(headers, &X_FORWARDED_PROTO) {
        Some(proto) => Scheme::parse(proto),
        None => Scheme::parse(element::parse(headers)?.last()?.proto.as_deref()?),
    };
    trusted.then(told).flatten().map_or(tls, |scheme| scheme == Scheme::Https)
}

/// Tells the upstream for whom the request is passed on. From a trusted peer the lists grow and its single values
/// stay; from any other all are dropped and written anew.
pub fn apply(headers: &mut HeaderMap, received: &Received<'_>, trusted: bool) {
    let (mut for_list, mut theirs) = (String::new(), String::new());
    if trusted {
        (for_list, theirs) = (joined(headers, &X_FORWARDED_FOR), joined(headers, &FORWARDED));
    } else {
        remove_claims(headers);
    }
    let told = Told::write(received, &for_list, &theirs);
    put(headers, &FORWARDED, told.forwarded);
    put(headers, &X_FORWARDED_FOR, told.for_list);
    let proto = Some(HeaderValue::from_static(received.target.scheme().as_str()));
    let single =
        [(&X_FORWARDED_PROTO, proto), (&X_FORWARDED_PORT, told.port), (&X_FORWARDED_HOST, told.host)];
    for (name, value) in single {
        if !trusted || !headers.contains_key(name) {
            put(headers, name, value);
        }
    }
}

/// Writes what [`apply`] puts into the fields of a request whose peer is not trusted, line by line.
pub fn write(received: &Received<'_>, out: &mut Vec<u8>) {
    let peer = received.peer.to_canonical();
    out.extend_from_slice(b"forwarded: ");
    let about = (received.target.authority(), Scheme::of(received.tls));
    let (own, host) = element::write(out, out.len(), Some(peer), Some(about));
    out.extend_from_slice(b"\r\nx-forwarded-for: ");
    out.extend_from_within(own);
    out.extend_from_slice(b"\r\nx-forwarded-proto: ");
    out.extend_from_slice(received.target.scheme().as_str().as_bytes());
    out.extend_from_slice(b"\r\nx-forwarded-port: ");
    out.extend_from_slice(Decimal::of(received.target.port().into()).as_bytes());
    if !host.is_empty() {
        out.extend_from_slice(b"\r\nx-forwarded-host: ");
        out.extend_from_within(host);
    }
    out.extend_from_slice(b"\r\n");
}

/// What is told of the hop to us.
struct Told {
    forwarded: Option<HeaderValue>,
    for_list: Option<HeaderValue>,
    port: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl Told {
    /// Behind what is told of those before.
    fn write(received: &Received<'_>, for_list: &str, theirs: &str) -> Self {
        let (mut end, mut own, mut host) = (0, 0..0, 0..0);
        let text = written(|out| {
            (own, host) = forwarded(out, received, for_list, theirs);
            end = out.len();
            if !for_list.is_empty() {
                out.extend_from_slice(for_list.as_bytes());
                out.extend_from_slice(b", ");
                push_address(out, received.peer.to_canonical());
                own = end..out.len();
            }
            out.extend_from_slice(Decimal::of(received.target.port().into()).as_bytes());
        });
        let port = if for_list.is_empty() { end } else { own.end };
        // Addresses, digits, a host, and what were field values before.
        let value = |part| HeaderValue::from_maybe_shared(part).ok();
        Self {
            for_list: value(text.slice(own)),
            port: value(text.slice(port..)),
            host: (!host.is_empty()).then(|| value(text.slice(host))).flatten(),
            forwarded: value(text.slice(..end)),
        }
    }
}

/// Writes the value of `Forwarded`: what was there, or what `X-Forwarded-For` says of the hops before (RFC 7239 7.4), and
/// our own element. Says where in that are address and host, which the older fields tell as well.
fn forwarded(
    out: &mut BytesMut,
    received: &Received<'_>,
    for_list: &str,
    theirs: &str,
) -> (Range<usize>, Range<usize>) {
    out.extend_from_slice(theirs.as_bytes());
    let authority = received.target.authority();
    if theirs.is_empty() {
        for (at, hop) in for_list.split(',').filter(|hop| !hop.trim().is_empty()).enumerate() {
            let about = (at == 0).then_some((authority, received.target.scheme()));
            element::write(out, 0, address(hop), about);
        }
    }
    element::write(out, 0, Some(received.peer.to_canonical()), Some((authority, Scheme::of(received.tls))))
}

fn push_address(out: &mut impl Text, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.put(Dotted::of(address).as_bytes()),
        IpAddr::V6(address) => out.put(address.to_string().as_bytes()),
    }
}

/// Drops what the peer says about hops before it. Underscores count as hyphens: CGI-like origins read both alike.
fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Whether a field says something of the hops before, in any of the ways that there are.
pub fn is_claim(name: &str) -> bool {
    if !matches!(name.as_bytes(), [b'f' | b'x', ..]) {
        return false;
    }
    const PREFIX: &str = "x-forwarded-";
    let alike = |one: &str, other: &str| {
        one.len() == other.len()
            && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    name == "forwarded"
        || alike(name, "x-real-ip")
        || name.get(..PREFIX.len()).is_some_and(|start| alike(start, PREFIX))
}

/// The hops that a request has passed, the first one first; `None` for one that isn't told as an address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(&X_FORWARDED_FOR) {
        let mut hops = Vec::new();
        for line in headers.get_all(&X_FORWARDED_FOR) {
            match line.to_str() {
                Ok(line) => hops.extend(line.split(',').map(address)),
                Err(_) => hops.push(None),
            }
        }
        return hops;
    }
    // A field that cannot be read tells nothing.
    element::parse(headers).unwrap_or_default().iter().map(Element::address).collect()
}

/// An address as `X-Forwarded-For` and `for=` have it: bare, in brackets, with or without a port.
fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let bare = || node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node).parse().ok();
    let address: IpAddr = bare().or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

/// All lines of a list as one; empty where there is none that can be read.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let mut joined = String::new();
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(line);
    }
    joined
}

/// The member that the peer itself wrote.
fn last_member<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    fn nets(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn target(host: &str, secure: bool) -> Target {
        let request = http::Request::builder().uri("/").header("host", host).body(()).unwrap();
        Target::of(&request.into_parts().0, secure).unwrap()
    }

    #[test]
    fn the_client_is_the_last_one_that_is_not_trusted() {
        let trusted = nets(&["10.0.0.0/8", "2001:db8::/32"]);
        for (peer, lines, client) in [
            ("192.0.2.1", &["x-forwarded-for: 198.51.100.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["x-forwarded-for: 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["x-forwarded-for: 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["x-forwarded-for: 6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["x-forwarded-for: 6.6.6.6", "x-forwarded-for: 198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["x-forwarded-for: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["x-forwarded-for: 6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["x-forwarded-for: "], "10.0.0.1"),
            ("10.0.0.1", &["x-forwarded-for: [2001:db9::1]:80, 2001:db8::2"], "2001:db9::1"),
            (
                "10.0.0.1",
                &["forwarded: for=6.6.6.6, for=\"[2001:db9::1]:47\";proto=http, for=10.1.1.1"],
                "2001:db9::1",
            ),
            ("10.0.0.1", &["forwarded: for=_hidden"], "10.0.0.1"),
            ("10.0.0.1", &["forwarded: proto=http"], "10.0.0.1"),
            ("10.0.0.1", &["forwarded: for=198.51.100.1;;; =x"], "10.0.0.1"),
            ("10.0.0.1", &["forwarded: for=6.6.6.6", "x-forwarded-for: 198.51.100.1"], "198.51.100.1"),
        ] {
            let found = client_address(peer.parse().unwrap(), &headers(lines), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn tls_is_as_a_trusted_peer_says() {
        for (tls, lines, trusted, secure) in [
            (false, &["x-forwarded-proto: https"][..], true, true),
            (false, &["x-forwarded-proto: https"], false, false),
            (true, &["x-forwarded-proto: http"], true, false),
            (true, &["x-forwarded-proto: http"], false, true),
            (false, &["x-forwarded-proto: http, HTTPS"], true, true),
            (true, &["x-forwarded-proto: wss"], true, true),
            (false, &["forwarded: for=_a;proto=http, for=_b;Proto=https"], true, true),
            (true, &[], true, true),
        ] {
            assert_eq!(is_secure(tls, &headers(lines), trusted), secure, "{tls} {lines:?} {trusted}");
        }
    }

    fn applied(given: &[&str], host: &str, tls: bool, trusted: bool) -> Vec<String> {
        let mut given = headers(given);
        let target = target(host, is_secure(tls, &given, trusted));
        let received = Received { peer: "::ffff:192.0.2.1".parse().unwrap(), tls, target: &target };
        apply(&mut given, &received, trusted);
        let mut lines = lines(&given);
        lines.sort();
        if !trusted {
            // What is written line by line is the same.
            let mut out = Vec::new();
            write(&received, &mut out);
            let written = String::from_utf8(out).unwrap();
            let mut written: Vec<&str> = written.split_terminator("\r\n").collect();
            written.sort_unstable();
            let told: Vec<&String> = lines.iter().filter(|line| line.contains("forwarded")).collect();
            assert_eq!(written, told);
        }
        lines
    }

    #[test]
    fn what_others_claim_is_replaced() {
        let claims = [
            "accept: */*",
            "forwarded: for=6.6.6.6",
            "x-forwarded-for: 6.6.6.6",
            "x-forwarded-proto: https",
            "x-forwarded-prefix: /admin",
            "x_forwarded-for: 6.6.6.6",
            "x-real-ip: 6.6.6.6",
            "x_real_ip: 6.6.6.6",
        ];
        let expected = [
            "accept: */*",
            "forwarded: for=192.0.2.1;host=\"example.com:8080\";proto=http",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: example.com:8080",
            "x-forwarded-port: 8080",
            "x-forwarded-proto: http",
        ];
        assert_eq!(applied(&claims, "example.com:8080", false, false), expected);
    }

    #[test]
    fn what_a_trusted_peer_says_grows() {
        let given = [
            "forwarded: for=198.51.100.1;proto=https",
            "x-forwarded-for: 198.51.100.1",
            "x-forwarded-for: 198.51.100.2",
            "x-forwarded-proto: https",
            "x-forwarded-host: public.example",
            "x-real-ip: 198.51.100.1",
        ];
        let expected = [
            "forwarded: for=198.51.100.1;proto=https, for=192.0.2.1;host=example.com;proto=http",
            "x-forwarded-for: 198.51.100.1, 198.51.100.2, 192.0.2.1",
            "x-forwarded-host: public.example",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-real-ip: 198.51.100.1",
        ];
        assert_eq!(applied(&given, "example.com", false, true), expected);
    }

    #[test]
    fn forwarded_is_made_from_the_older_field() {
        let given = ["x-forwarded-for: 2001:db8::1, what", "x-forwarded-proto: https"];
        let forwarded = "forwarded: for=\"[2001:db8::1]\";host=example.com;proto=https, for=unknown, \
                         for=192.0.2.1;host=example.com;proto=http";
        assert_eq!(applied(&given, "example.com", false, true)[0], forwarded);
    }
}
