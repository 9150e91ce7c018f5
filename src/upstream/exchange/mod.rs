//! One attempt: a request on one connection, up to its reply's head.

mod http1;
mod http2;

pub(crate) use http1::{UNASKED_SWITCH, response, write_beginning};

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};

use super::alarm::Alarm;
use super::body::{BodyProgress, Incoming, RequestBody, Sending};
use super::connect::Conn;
use super::error::Failure;
use super::request::{FetchRequest, OnInterim};
use super::retry::{Missed, Sent};

/// What an endpoint is told beside the request itself.
#[derive(Clone, Debug)]
pub(crate) struct Address<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    pub(crate) host: &'a HeaderValue,
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

/// Fields that are made here rather than copied.
fn is_ours(name: &HeaderName, streams: bool) -> bool {
    match *name {
        header::HOST | header::TRANSFER_ENCODING | header::EXPECT | header::CONNECTION => true,
        header::CONTENT_LENGTH => !streams,
        _ => false,
    }
}

/// Whether a method is expected to have content, so that a request without says so (RFC 9110 8.6).
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Where interim replies go: to the client, and a 100 to the body that waits for it.
struct Interim<'a> {
    told: Option<&'a OnInterim>,
    gate: Option<&'a BodyProgress>,
}

impl<'a> Interim<'a> {
    fn of(request: &'a FetchRequest, progress: Option<&'a BodyProgress>) -> Self {
        Self { told: request.on_interim.as_ref(), gate: progress.filter(|_| request.expect_continue) }
    }

    fn pass_on(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(gate) = self.gate.filter(|_| status == StatusCode::CONTINUE) {
            gate.open_gate();
        }
        if let Some(tell) = self.told {
            tell(status, headers);
        }
    }
}

/// The clock of the first byte runs from the last byte of the request that moved, and not while it is the client
/// that is waited for.
pub(crate) fn poll_overdue(
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
