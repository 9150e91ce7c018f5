//! `Max-Forwards` (RFC 9110 7.6.2): how far TRACE and OPTIONS go.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, MAX_FORWARDS, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request};

use super::reply::Source;
use super::respond::Reply;
use crate::http::cache_status::CacheStatus;

/// Takes one from the number of hops that a TRACE or OPTIONS request may still go; where none is left, the reply of
/// its final recipient, which is this proxy. Other methods, and numbers that are none, are left alone.
pub(super) fn step(head: &mut request::Parts) -> Option<Box<Reply>> {
    if !matches!(head.method, Method::TRACE | Method::OPTIONS) {
        return None;
    }
    let hops: u64 = parse(head.headers.get(MAX_FORWARDS)?)?;
    if hops > 0 {
        head.headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
        return None;
    }
    let body = if head.method == Method::TRACE { received(head) } else { Bytes::new() };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if head.method == Method::TRACE {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("message/http"));
    }
    let source = if body.is_empty() { Source::Empty } else { Source::Full(body) };
    Some(Box::new(Reply {
        status: StatusCode::OK,
        headers,
        source,
        cache_status: CacheStatus { detail: Some("max-forwards"), ..CacheStatus::default() },
        deadline: None,
    }))
}

/// Digits; more than fit are as many as fit.
fn parse(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes().trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |byte: &u8| u64::from(byte - b'0');
    Some(digits.iter().fold(0u64, |sum, byte| sum.saturating_mul(10).saturating_add(digit(byte))))
}

/// The request as it came, without what nobody may read back (RFC 9110 9.3.8).
fn received(head: &request::Parts) -> Bytes {
    const SECRET: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut text = format!("{} {target} {:?}\r\n", head.method, head.version).into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| !SECRET.contains(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, hops: &str) -> request::Parts {
        let request = http::Request::builder().method(method).uri("/a?b").header("x-own", "1");
        let request = request.header("cookie", "secret").header(MAX_FORWARDS, hops);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn rfc_9110_7_6_2_one_hop_less_until_none_is_left() {
        for (method, given, sent) in [
            (Method::OPTIONS, "3", "2"),
            (Method::TRACE, "1", "0"),
            (Method::TRACE, "99999999999999999999", "18446744073709551614"),
            (Method::OPTIONS, "x", "x"),
            (Method::OPTIONS, "-1", "-1"),
            (Method::GET, "0", "0"),
        ] {
            let mut head = parts(method.clone(), given);
            assert!(step(&mut head).is_none(), "{method} {given}");
            assert_eq!(head.headers[MAX_FORWARDS], sent, "{method} {given}");
        }
        for method in [Method::OPTIONS, Method::TRACE] {
            assert!(step(&mut parts(method.clone(), "0")).is_some(), "{method}");
        }
    }

    #[test]
    fn rfc_9110_9_3_8_trace_tells_what_came_but_no_secrets() {
        let reply = step(&mut parts(Method::TRACE, "0")).unwrap();
        assert_eq!(reply.headers[CONTENT_TYPE], "message/http");
        let Source::Full(body) = reply.source else { panic!("it has a body") };
        assert_eq!(body, "TRACE /a?b HTTP/1.1\r\nx-own: 1\r\nmax-forwards: 0\r\n\r\n");
    }
}
