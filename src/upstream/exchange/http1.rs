//! On an HTTP/1.1 connection (RFC 9112).

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode};

use super::{Address, Arrived, Interim, Terms};
use crate::http::decimal::Decimal;
use crate::http::h1::{self, ReplyHead, write_field};
use crate::http::upgrade;
use crate::upstream::body::{Incoming, RequestBody};
use crate::upstream::connect::{Framing, Http1};
use crate::upstream::error::Failure;
use crate::upstream::request::FetchRequest;
use crate::upstream::retry::Missed;

pub(super) async fn exchange(
    conn: &mut Http1,
    request: &FetchRequest,
    address: Address<'_>,
    body: RequestBody,
    terms: Terms<'_>,
) -> Result<Arrived, (Missed, Option<RequestBody>)> {
    let Terms { progress, sent, waits, alarm } = terms;
    let framing = framing(request, &body);
    let begun = conn.begin(request.method == Method::HEAD, framing, body, |out| {
        write_head(request, &address, framing, out);
    });
    if let Err(body) = begun {
        let failure = Failure::reset("the connection was closed before the request");
        return Err((Missed { failure, sent: sent.unwritten() }, Some(body)));
    }
    let progress = progress.map(|progress| &**progress);
    let interim = Interim::of(request, progress);
    let started = Instant::now();
    let arrived = poll_fn(|cx| {
        // What the origin says comes first: it may refuse what it has not read to its end.
        let sent = conn.poll_send(cx);
        while let Poll::Ready(outline) = conn.poll_outline(cx)? {
            let head = conn.take_head()?;
            if !outline.is_interim() {
                return Poll::Ready(Ok(head));
            }
            interim.pass_on(head.status, &head.headers);
        }
        if let Poll::Ready(Err(broken)) = sent {
            return Poll::Ready(Err(broken.into()));
        }
        super::poll_overdue(cx, alarm, started, progress, waits).map(Err)
    });
    let arrived = arrived.await.and_then(|head| checked(head, request));
    match arrived {
        Ok(response) => Ok(Arrived { response, sending: None }),
        Err(failure) => Err((Missed { failure, sent }, None)),
    }
}

/// What is said of a 101 that must not be followed.
pub(crate) const UNASKED_SWITCH: &str = "101 to what was not asked for";

/// A 101 must go over to the protocol that was asked for (RFC 9110 7.8).
fn checked(head: ReplyHead, request: &FetchRequest) -> Result<Response<Incoming>, Failure> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = request.upgrade.as_ref();
        if !asked.is_some_and(|asked| upgrade::switches_to(&head.headers, asked)) {
            return Err(Failure::InvalidResponse(UNASKED_SWITCH.into()));
        }
    }
    Ok(response(head))
}

/// The reply of which this is the head.
pub(crate) fn response(head: ReplyHead) -> Response<Incoming> {
    let mut response = Response::new(Incoming::Http1);
    *response.version_mut() = head.version;
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// How the request's content ends.
fn framing(request: &FetchRequest, body: &RequestBody) -> Framing {
    match body {
        RequestBody::Stream(_) => h1::length(&request.headers).map_or(Framing::Chunked, Framing::Length),
        RequestBody::Full(bytes) if !bytes.is_empty() => Framing::Length(bytes.len() as u64),
        _ => Framing::None,
    }
}

/// The head as the endpoint gets it: origin-form, `Host` first, framed as the body demands.
fn write_head(request: &FetchRequest, address: &Address<'_>, framing: Framing, out: &mut Vec<u8>) {
    write_beginning(&request.method, &request.target, address.host, address.base_path, out);
    for (name, value) in &request.headers {
        // None of them but the length, which is written below, is both here and to be sent.
        if !super::is_ours(name, false) {
            write_field(name, value.as_bytes(), out);
        }
    }
    if request.expect_continue && framing != Framing::None {
        write_field(&header::EXPECT, b"100-continue", out);
    }
    match framing {
        Framing::Length(length) => write_field(&header::CONTENT_LENGTH, Decimal::of(length).as_bytes(), out),
        Framing::Chunked => write_field(&header::TRANSFER_ENCODING, b"chunked", out),
        // RFC 9110 8.6: said where the method expects content.
        Framing::None if super::expects_content(&request.method) => {
            write_field(&header::CONTENT_LENGTH, b"0", out);
        }
        Framing::None => {}
    }
    write_connection(&request.headers, request.upgrade.as_deref(), out);
    out.extend_from_slice(b"\r\n");
}

/// The request line, and `Host`.
pub(crate) fn write_beginning(
    method: &Method,
    target: &PathAndQuery,
    host: &HeaderValue,
    base_path: &str,
    out: &mut Vec<u8>,
) {
    let target = target.as_str();
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    match target.as_bytes() {
        [b'/', ..] => out.extend_from_slice(base_path.as_bytes()),
        b"*" => {}
        // RFC 9112 3.2.1: an empty path is written as a slash.
        _ => out.push(b'/'),
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(&header::HOST, host.as_bytes(), out);
}

/// RFC 9110 7.6.1, 7.8: what is only for the next hop says so.
fn write_connection(headers: &HeaderMap, upgrade: Option<&str>, out: &mut Vec<u8>) {
    let options: &[u8] = match (headers.contains_key(header::TE), upgrade) {
        (false, None) => return,
        (true, None) => b"TE",
        (true, Some(_)) => b"TE, upgrade",
        (false, Some(_)) => b"upgrade",
    };
    write_field(&header::CONNECTION, options, out);
    if let Some(protocol) = upgrade {
        write_field(&header::UPGRADE, protocol.as_bytes(), out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::header::HeaderName;
    use http_body_util::Full;

    use super::*;
    use crate::upstream::body::StreamBody;

    fn stream() -> RequestBody {
        let body = Full::new(Bytes::from_static(b"x"));
        RequestBody::from(StreamBody::boxed(body, Duration::from_secs(1), None))
    }

    fn written(request: &FetchRequest, body: &RequestBody) -> Vec<String> {
        let address = Address { scheme: "http", host: &HeaderValue::from_static("h"), base_path: "/base" };
        let mut out = Vec::new();
        write_head(request, &address, framing(request, body), &mut out);
        let text = String::from_utf8(out).unwrap();
        let head = text.strip_suffix("\r\n\r\n").unwrap();
        head.split("\r\n").map(str::to_owned).collect()
    }

    fn head(method: Method, given: &[(&str, &str)], body: &RequestBody) -> Vec<String> {
        let line = format!("{method} /base/a?b HTTP/1.1");
        let mut request = FetchRequest::new(method, PathAndQuery::from_static("/a?b"));
        for (name, value) in given {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let mut written = written(&request, body);
        assert_eq!(written.remove(0), line);
        written
    }

    #[test]
    fn host_comes_first_and_framing_is_ours() {
        let given =
            [("content-length", "007"), ("accept", "*/*"), ("transfer-encoding", "gzip"), ("host", "evil")];
        assert_eq!(head(Method::GET, &given, &RequestBody::Empty), ["host: h", "accept: */*"]);
        assert_eq!(head(Method::POST, &[], &RequestBody::Empty), ["host: h", "content-length: 0"]);
        let full = RequestBody::Full(Bytes::from_static(b"abc"));
        assert_eq!(head(Method::PUT, &given[..1], &full), ["host: h", "content-length: 3"]);
        assert_eq!(head(Method::GET, &[], &stream()), ["host: h", "transfer-encoding: chunked"]);
        assert_eq!(head(Method::GET, &given[..1], &stream()), ["host: h", "content-length: 7"]);
    }

    #[test]
    fn what_is_for_the_next_hop_names_itself_in_connection() {
        let lines = head(Method::GET, &[("te", "trailers")], &RequestBody::Empty);
        assert_eq!(lines, ["host: h", "te: trailers", "connection: TE"]);
        let mut request = FetchRequest::new(Method::GET, PathAndQuery::from_static("/"));
        request.upgrade = Some("websocket".into());
        let lines = written(&request, &RequestBody::Empty);
        assert_eq!(lines, ["GET /base/ HTTP/1.1", "host: h", "connection: upgrade", "upgrade: websocket"]);
    }

    #[test]
    fn an_asterisk_is_not_joined_and_a_path_begins_with_a_slash() {
        for (target, expected) in [("*", "*"), ("/x?", "/base/x?"), ("?x", "/?x")] {
            let request = FetchRequest::new(Method::OPTIONS, PathAndQuery::from_static(target));
            let lines = written(&request, &RequestBody::Empty);
            assert_eq!(lines[0], format!("OPTIONS {expected} HTTP/1.1"));
        }
    }
}
