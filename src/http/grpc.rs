//! gRPC's fields (its `PROTOCOL-HTTP2`): which requests are calls, how long they may take, and how a call ends.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// What the client says of how long the call may take.
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How it ended, in the trailers, or in the head of a reply that has nothing else.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u8 = 4;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// How long its client waits.
    pub timeout: Option<Duration>,
}

impl Call {
    /// The call that a request makes. Those of gRPC-Web are plain requests, unless their route translates them.
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if *method != Method::POST || !is_grpc(headers.get(CONTENT_TYPE)?.as_bytes()) {
            return None;
        }
        Some(Self::with(headers))
    }

    /// A call with these fields, whatever their type.
    pub fn with(headers: &HeaderMap) -> Self {
        Self { timeout: headers.get(&TIMEOUT).and_then(|value| timeout(value.as_bytes())) }
    }
}

/// `application/grpc`, perhaps with a format or parameters.
fn is_grpc(media_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((name, rest)) = media_type.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// One to eight digits and a unit; what is none is no limit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// What a failure that HTTP tells by this status is to a call (`http-grpc-status-mapping`, with 504 and 413 told apart).
pub fn code_of(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 | 500 => 13,
        401 => 16,
        403 => 7,
        404 | 405 | 501 => 12,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 431 => 8,
        429 | 502 | 503 => 14,
        _ => 2,
    }
}

/// The fields that end a call.
pub fn end(code: u8, message: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(4);
    fields.insert(STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::try_from(encoded(message)) {
        fields.insert(MESSAGE, message);
    }
    fields
}

/// Percent-encoded outside printable ASCII.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn calls_are_posts_of_grpc_s_own_type() {
        for (method, media_type, is) in [
            (Method::POST, "application/grpc", true),
            (Method::POST, "application/grpc+proto", true),
            (Method::POST, "Application/GRPC; charset=utf-8", true),
            (Method::POST, "application/grpc-web+proto", false),
            (Method::POST, "application/grpcx", false),
            (Method::POST, "application/json", false),
            (Method::GET, "application/grpc", false),
        ] {
            let fields = headers(&[&format!("content-type: {media_type}")]);
            assert_eq!(Call::of(&method, &fields).is_some(), is, "{method} {media_type}");
        }
    }

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0S", Some(Duration::ZERO)),
            ("999999999S", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
            ("", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        let fields = end(14, "100 % of caf\u{e9}s\n");
        assert_eq!(fields["grpc-status"], "14");
        assert_eq!(fields["grpc-message"], "100 %25 of caf%C3%A9s%0A");
    }
}
