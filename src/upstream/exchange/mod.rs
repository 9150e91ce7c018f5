//! One attempt: a request on one connection, up to its reply's head.

mod http1;
mod http2;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response};

use super::alarm::Alarm;
use super::body::{BodyProgress, Incoming, RequestBody, Sending};
use super::connect::Conn;
use super::error::Failure;
use super::request::FetchRequest;
use super::retry::{Missed, Sent};
use crate::http::h1;

/// What an endpoint is told beside the request itself.
#[derive(Clone, Debug)]
pub(crate) struct Address<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    pub(crate) host: HeaderValue,
    pub(crate) base_path: &'a str,
}

/// What an attempt needs beside request and connection.
pub(crate) struct Terms<'a> {
    /// The request's body, seen from outside, where it streams.
    pub(crate) progress: Option<&'a Arc<BodyProgress>>,
    pub(crate) sent: Sent,
    pub(crate) waits: Waits,
    pub(crate) alarm: &'a mut Alarm,
}

/// A reply's head with its body to come.
pub(crate) struct Arrived {
    pub(crate) response: Response<Incoming>,
    /// The rest of the request, where it goes on beside the reply on a stream of its own.
    pub(crate) sending: Option<Sending>,
}

/// The waits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) first_byte: Duration,
    pub(crate) deadline: Option<Instant>,
}

/// Sends the request and waits for the head of its reply. A body that was not even begun comes back.
pub(crate) async fn exchange(
    conn: &mut Conn,
    request: &FetchRequest,
    address: Address<'_>,
    body: RequestBody,
    terms: Terms<'_>,
) -> Result<Arrived, (Missed, Option<RequestBody>)> {
    match conn {
        Conn::Http1(conn) => http1::exchange(conn, request, address, body, terms).await,
        Conn::Http2(stream) => http2::exchange(stream, request, address, body, terms).await,
    }
}

/// The fields that go with the request, framing aside.
fn fields(request: &FetchRequest, headers: &mut HeaderMap, body: &RequestBody) {
    let streams = matches!(body, RequestBody::Stream(_));
    for (name, value) in &request.headers {
        if !is_ours(name, streams) {
            headers.append(name.clone(), value.clone());
        }
    }
    if request.expect_continue && streams {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
}

/// Fields that are made here rather than copied.
fn is_ours(name: &HeaderName, streams: bool) -> bool {
    match *name {
        header::HOST | header::TRANSFER_ENCODING | header::EXPECT | header::CONNECTION => true,
        header::CONTENT_LENGTH => !streams,
        _ => false,
    }
}

/// States the body's length where it is known.
fn declare(headers: &mut HeaderMap, method: &Method, body: &RequestBody) {
    match body {
        RequestBody::Stream(_) => h1::normalise_length(headers),
        RequestBody::Full(bytes) if !bytes.is_empty() => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        // RFC 9110 8.6: said where the method expects content.
        _ if expects_content(method) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        _ => {}
    }
}

fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn join(base_path: &str, target: &PathAndQuery) -> PathAndQuery {
    if base_path.is_empty() || !target.as_str().starts_with('/') {
        return target.clone();
    }
    let joined = format!("{base_path}{target}");
    // Both parts were valid, and so is one after the other; the config has checked the base path.
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(joined)).unwrap_or_else(|_| target.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_not_joined() {
        let target = PathAndQuery::from_static("*");
        assert_eq!(join("/base", &target), target);
        assert_eq!(join("", &PathAndQuery::from_static("/x?")), "/x?");
    }
}
