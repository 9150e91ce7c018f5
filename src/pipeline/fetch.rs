//! Asks the upstream: the fields it gets, and the reply's head made ready for the client and for the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, DATE, LOCATION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::exchange::Asked;
use super::forward::{self, ClientNames};
use super::inbound::InboundBody;
use super::site::Route;
use crate::clock::{Clock, Timestamp};
use crate::http::Interim;
use crate::http::connection::{concerns_hop, remove_hop_by_hop};
use crate::http::h1;
use crate::http::{date, via};
use crate::telemetry::{AttemptOutcome, Telemetry};
use crate::upstream::{
    Failure, FetchError, FetchRequest, Fetched, OnInterim, OriginName, RequestBody, StreamBody, Switched,
    UpstreamBody,
};

/// A reply whose head has come and been cleaned of what was meant for the connection only.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) head: http::response::Parts,
    pub(super) body: Box<UpstreamBody>,
    pub(super) asked: Asked,
    /// When the request began.
    pub(super) request_time: Timestamp,
    /// When the head arrived.
    pub(super) response_time: Timestamp,
    /// The same by the clock that measures exchanges.
    pub(super) arrived: Instant,
    /// How the origin names itself, and what it named before that was mapped to the names that clients know.
    pub(super) origin: Arc<OriginName>,
    pub(super) named: HeaderMap,
    /// The connection, where it changes its protocol.
    pub(super) switched: Option<Box<Switched>>,
}

impl Brought {
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }
}

/// When a request began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) at: Timestamp,
    pub(super) started: Instant,
}

impl Began {
    /// Now.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { at: clock.now(), started: Instant::now() }
    }
}

/// Fetches, counts the attempts, and prepares the head.
pub(super) async fn bring(
    route: &Route,
    request: FetchRequest,
    began: Began,
    clock: &Clock,
    telemetry: &Telemetry,
    names: &ClientNames,
) -> Result<Brought, FetchError> {
    let bringing = Bringing::begin(route, began, telemetry);
    bringing.end(route.upstream.fetch(request).await, clock, names)
}

/// A fetch under way. Dropped before its end it is counted as one that nobody waits for any more.
pub(super) struct Bringing<'a> {
    telemetry: &'a Telemetry,
    route: &'a Route,
    began: Began,
    cancelled: bool,
}

impl<'a> Bringing<'a> {
    /// About to be asked for.
    pub(super) fn begin(route: &'a Route, began: Began, telemetry: &'a Telemetry) -> Self {
        Self { telemetry, route, began, cancelled: true }
    }

    /// Counts the attempts, and prepares the head.
    pub(super) fn end(
        mut self,
        fetched: Result<Fetched, FetchError>,
        clock: &Clock,
        names: &ClientNames,
    ) -> Result<Brought, FetchError> {
        self.cancelled = false;
        let (telemetry, route) = (self.telemetry, self.route);
        match fetched {
            Ok(fetched) => {
                let (first_byte, attempts) = (Some(fetched.first_byte), fetched.attempts);
                count(telemetry, route, Some(&fetched.endpoint), attempts, AttemptOutcome::Ok, first_byte);
                Ok(prepared(fetched, self.began, clock, names))
            }
            Err(error) => {
                let (endpoint, outcome) = (error.endpoint.as_ref(), outcome(&error.failure));
                count(telemetry, route, endpoint, error.attempts, outcome, None);
                Err(error)
            }
        }
    }
}

impl Drop for Bringing<'_> {
    fn drop(&mut self) {
        if self.cancelled {
            count(self.telemetry, self.route, None, 1, AttemptOutcome::Cancelled, None);
        }
    }
}

/// A reply with the head that goes on: without what was meant for the connection, and with what we add.
fn prepared(fetched: Fetched, began: Began, clock: &Clock, names: &ClientNames) -> Brought {
    let (first_byte, attempts) = (fetched.first_byte, fetched.attempts);
    let (mut head, body) = fetched.response.into_parts();
    let version = head.version;
    let there = There::of(&head.headers);
    if there.coding || head.status == StatusCode::NO_CONTENT {
        // The coding overrides the length, which must not be sent on (RFC 9112 6.3); nor has a 204 one (RFC 9110 8.6).
        head.headers.remove(CONTENT_LENGTH);
    }
    h1::normalise_length(&mut head.headers);
    if there.hop {
        remove_hop_by_hop(&mut head.headers);
    }
    let arrived = Instant::now();
    let response_time = clock.later(began.at, arrived.saturating_duration_since(began.started));
    if !there.date {
        // Whoever has a clock says when a reply without it came (RFC 9110 6.6.1).
        head.headers.insert(DATE, date::header_value(response_time));
    }
    // Here and not when it is sent on: what is stored came by this way, too, in the version of then (RFC 9110 7.6.3).
    via::append(&mut head.headers, version, &names.proxy);
    let mut named = HeaderMap::new();
    if there.location {
        named = forward::named(&head.headers);
        forward::map_locations(&mut head.headers, &fetched.origin, names);
    }
    Brought {
        head,
        body: Box::new(body),
        asked: Asked { endpoint: Some(fetched.endpoint), attempts, first_byte: Some(first_byte) },
        request_time: began.at,
        response_time,
        arrived,
        origin: fetched.origin,
        named,
        switched: fetched.switched,
    }
}

/// What a reply has of the fields that are looked at here: one look at all names, instead of a look-up for each.
#[derive(Clone, Copy, Default)]
struct There {
    hop: bool,
    coding: bool,
    date: bool,
    location: bool,
}

impl There {
    fn of(headers: &HeaderMap) -> Self {
        let mut there = Self::default();
        for name in headers.keys() {
            match *name {
                DATE => there.date = true,
                LOCATION | CONTENT_LOCATION => there.location = true,
                TRANSFER_ENCODING => (there.hop, there.coding) = (true, true),
                _ => there.hop |= concerns_hop(name),
            }
        }
        there
    }
}

impl Asked {
    /// What was asked before a fetch failed.
    pub(super) fn of_error(error: &FetchError) -> Self {
        Self { endpoint: error.endpoint.clone(), attempts: error.attempts, first_byte: None }
    }
}

/// Counts the attempts of a fetch, of which the last came to `outcome`.
pub(super) fn count(
    telemetry: &Telemetry,
    route: &Route,
    endpoint: Option<&Arc<str>>,
    attempts: u32,
    outcome: AttemptOutcome,
    first_byte: Option<Duration>,
) {
    let upstream = route.series.upstream;
    let slot = endpoint.map_or(0, |endpoint| {
        route.upstream.numbered(endpoint, || telemetry.endpoint_slot(&route.upstream_name, endpoint))
    });
    telemetry.attempt(upstream, slot, outcome, first_byte);
    for _ in 1..attempts {
        telemetry.retry(upstream);
    }
}

fn outcome(failure: &Failure) -> AttemptOutcome {
    match failure {
        Failure::Dns(_) => AttemptOutcome::DnsFailed,
        Failure::ConnectRefused | Failure::Connect(_) => AttemptOutcome::ConnectFailed,
        Failure::ConnectTimeout => AttemptOutcome::ConnectTimeout,
        Failure::TlsCertificate(_) | Failure::Tls(_) => AttemptOutcome::TlsFailed,
        Failure::FirstByteTimeout => AttemptOutcome::Timeout,
        Failure::ResetBeforeHead(_) => AttemptOutcome::Reset,
        Failure::InvalidResponse(_) => AttemptOutcome::InvalidResponse,
        Failure::QueueFull | Failure::QueueTimeout => AttemptOutcome::NoConnection,
        Failure::RequestBody(_) => AttemptOutcome::RequestBody,
        Failure::Deadline => AttemptOutcome::Cancelled,
    }
}

/// The client's body on its way up.
pub(super) fn request_body(body: InboundBody, head: &Parts, route: &Route) -> RequestBody {
    let method = &head.method;
    use http_body::Body as _;
    let body = match body {
        InboundBody::Client(body) => body,
        InboundBody::Whole(bytes) => return RequestBody::Full(bytes),
        InboundBody::Begun(stream) => return RequestBody::Stream(stream),
        InboundBody::None => return RequestBody::Empty,
    };
    // A body of length zero is none, unless the method is one whose `Content-Length: 0` means something.
    if body.is_end_stream() {
        let empty_counts = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        return if empty_counts { RequestBody::Full(bytes::Bytes::new()) } else { RequestBody::Empty };
    }
    let settings = &route.settings;
    let stream = StreamBody::new(body, settings.request_idle_timeout, settings.max_request_body);
    RequestBody::from(stream.at_least(settings.min_request_rate))
}

/// Passes interim replies on; 100 is the connection's own affair, since the client gets ours when its body is read.
pub(super) fn pass_interim(interim: &Interim) -> OnInterim {
    let interim = interim.clone();
    Arc::new(move |status: StatusCode, headers: &HeaderMap| {
        let mut headers = headers.clone();
        remove_hop_by_hop(&mut headers);
        interim.send(status, &headers);
    })
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 10.1.1).
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::EXPECT)
        .is_some_and(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
