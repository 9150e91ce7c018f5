//! One attempt: a request on one connection, up to its reply's head.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::alarm::Alarm;
use super::body::{BodyProgress, RequestBody};
use super::connect::Conn;
use super::error::{Failure, RequestBodyError};
use super::request::{FetchRequest, OnInterim};
use super::retry::{Missed, Sent};
use crate::http::h1::Violation;

/// The waits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) first_byte: Duration,
    pub(crate) deadline: Option<Instant>,
}

/// The request as the endpoint gets it: origin-form, `Host` first, framed as the body demands.
pub(crate) fn outgoing(
    request: &FetchRequest,
    host: HeaderValue,
    base_path: &str,
    body: RequestBody,
) -> Request<RequestBody> {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 4);
    headers.append(header::HOST, host);
    let streams = matches!(body, RequestBody::Stream(_));
    for (name, value) in &request.headers {
        if !is_ours(name, streams) {
            headers.append(name.clone(), value.clone());
        }
    }
    frame(&mut headers, &request.method, &body);
    if headers.contains_key(header::TE) {
        // RFC 9110 10.1.4: TE is only for the next hop, and must say so.
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
    if request.expect_continue && streams {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = request.method.clone();
    *outgoing.uri_mut() = Uri::from(join(base_path, &request.target));
    *outgoing.headers_mut() = headers;
    outgoing
}

/// Fields that are made here rather than copied.
fn is_ours(name: &HeaderName, streams: bool) -> bool {
    match *name {
        header::HOST | header::TRANSFER_ENCODING | header::EXPECT | header::CONNECTION => true,
        header::CONTENT_LENGTH => !streams,
        _ => false,
    }
}

/// States the body's length explicitly: hyper drops a GET's body otherwise.
fn frame(headers: &mut HeaderMap, method: &Method, body: &RequestBody) {
    match body {
        RequestBody::Stream(_) if headers.contains_key(header::CONTENT_LENGTH) => normalise_length(headers),
        RequestBody::Stream(_) => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        RequestBody::Full(bytes) if !bytes.is_empty() => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        // RFC 9110 8.6: said where the method expects content.
        _ if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        _ => {}
    }
}

/// A number as everybody writes it: `010` is eight to some.
pub fn normalise_length(headers: &mut HeaderMap) {
    let Some(given) = headers.get(header::CONTENT_LENGTH) else { return };
    if !matches!(given.as_bytes(), [b'0', _, ..]) {
        return;
    }
    let length = given.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn join(base_path: &str, target: &PathAndQuery) -> PathAndQuery {
    if base_path.is_empty() || !target.as_str().starts_with('/') {
        return target.clone();
    }
    let joined = format!("{base_path}{target}");
    // Both parts were valid, and so is one after the other; the config has checked the base path.
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(joined)).unwrap_or_else(|_| target.clone())
}

/// Has interim replies passed on, and the body kept back until the origin asks for it.
pub(crate) fn listen_for_interim(
    outgoing: &mut Request<RequestBody>,
    on_interim: Option<&OnInterim>,
    gated: Option<&Arc<BodyProgress>>,
) {
    let (on_interim, gated) = (on_interim.cloned(), gated.cloned());
    if on_interim.is_none() && gated.is_none() {
        return;
    }
    hyper::ext::on_informational(outgoing, move |interim| {
        if let Some(gate) = gated.as_ref().filter(|_| interim.status() == StatusCode::CONTINUE) {
            gate.open_gate();
        }
        if let Some(tell) = &on_interim {
            tell(interim.status(), interim.headers());
        }
    });
}

/// Sends the request and waits for the head of its reply. A body that was not even begun comes back.
pub(crate) async fn exchange(
    conn: &mut Conn,
    outgoing: Request<RequestBody>,
    progress: Option<&BodyProgress>,
    sent: Sent,
    waits: Waits,
    alarm: &mut Alarm,
) -> Result<Response<Incoming>, (Missed, Option<RequestBody>)> {
    let started = Instant::now();
    let mut reply = pin!(conn.send(outgoing));
    let arrived = poll_fn(|cx| match reply.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Ok(reply)),
        Poll::Pending => poll_overdue(cx, alarm, started, progress, waits).map(Err),
    });
    match arrived.await {
        Ok(Ok(reply)) if reply.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err((Missed { failure: Failure::InvalidResponse("101 without being asked".into()), sent }, None))
        }
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(missed(error, progress, sent)),
        Err(failure) => Err((Missed { failure, sent }, None)),
    }
}

/// The clock of the first byte runs from the last byte of the request that moved, and not while it is the client
/// that is waited for.
fn poll_overdue(
    cx: &mut Context<'_>,
    alarm: &mut Alarm,
    started: Instant,
    progress: Option<&BodyProgress>,
    waits: Waits,
) -> Poll<Failure> {
    loop {
        let since = match progress {
            Some(progress) if progress.awaits_client() => Instant::now(),
            Some(progress) => progress.last_moved().max(started),
            None => started,
        };
        let overdue = since + waits.first_byte;
        let due = waits.deadline.map_or(overdue, |deadline| deadline.min(overdue));
        std::task::ready!(alarm.poll(cx, due));
        let now = Instant::now();
        if waits.deadline.is_some_and(|deadline| now >= deadline) {
            return Poll::Ready(Failure::Deadline);
        }
        if progress.is_none_or(|progress| {
            !progress.awaits_client() && now >= progress.last_moved() + waits.first_byte
        }) {
            return Poll::Ready(Failure::FirstByteTimeout);
        }
    }
}

fn missed(
    mut error: TrySendError<Request<RequestBody>>,
    progress: Option<&BodyProgress>,
    sent: Sent,
) -> (Missed, Option<RequestBody>) {
    let unwritten = error.take_message().map(Request::into_body);
    let error = error.into_error();
    let sent = if unwritten.is_some() { sent.unwritten() } else { sent };
    let broken_body = progress.and_then(BodyProgress::failure);
    let violation = Violation::within(&error);
    let failure = match (broken_body, violation) {
        (Some(broken), _) => Failure::RequestBody(broken),
        (None, Some(violation)) => Failure::InvalidResponse(Box::new(violation)),
        _ if error.is_user() || error.is_body_write_aborted() => {
            Failure::RequestBody(RequestBodyError::Aborted)
        }
        _ if error.is_parse() => Failure::InvalidResponse(Box::new(error)),
        _ => Failure::ResetBeforeHead(error),
    };
    (Missed { failure, sent }, unwritten)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::upstream::body::StreamBody;

    fn stream() -> RequestBody {
        let body = Full::new(Bytes::from_static(b"x"));
        RequestBody::Stream(StreamBody::boxed(body, Duration::from_secs(1), None))
    }

    fn head(method: Method, given: &[(&str, &str)], body: RequestBody) -> Vec<String> {
        let mut request = FetchRequest::new(method, PathAndQuery::from_static("/a?b"));
        for (name, value) in given {
            request.headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let outgoing = outgoing(&request, HeaderValue::from_static("h"), "/base", body);
        assert_eq!(outgoing.uri(), "/base/a?b");
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        outgoing.headers().iter().map(line).collect()
    }

    #[test]
    fn host_comes_first_and_framing_is_ours() {
        let given =
            [("content-length", "7"), ("accept", "*/*"), ("transfer-encoding", "gzip"), ("host", "evil")];
        assert_eq!(head(Method::GET, &given, RequestBody::Empty), ["host: h", "accept: */*"]);
        assert_eq!(head(Method::POST, &[], RequestBody::Empty), ["host: h", "content-length: 0"]);
        let full = RequestBody::Full(Bytes::from_static(b"abc"));
        assert_eq!(head(Method::PUT, &given[..1], full), ["host: h", "content-length: 3"]);
        assert_eq!(head(Method::GET, &[], stream()), ["host: h", "transfer-encoding: chunked"]);
        assert_eq!(head(Method::GET, &[("content-length", "1")], stream()), ["host: h", "content-length: 1"]);
    }

    #[test]
    fn te_names_itself_in_connection() {
        let lines = head(Method::GET, &[("te", "trailers")], RequestBody::Empty);
        assert_eq!(lines, ["host: h", "te: trailers", "connection: TE"]);
    }

    #[test]
    fn an_asterisk_is_not_joined() {
        let target = PathAndQuery::from_static("*");
        assert_eq!(join("/base", &target), target);
        assert_eq!(join("", &PathAndQuery::from_static("/x?")), "/x?");
    }
}
