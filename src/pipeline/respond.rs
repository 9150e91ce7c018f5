//! The reply as it leaves: what every reply gets, whoever made it.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::error::Failure;
use super::exchange::Exchange;
use super::limiting;
use super::reply::{ReplyBody, Source};
use super::site::{Route, Site};
use super::{forward, upgrade, web_call};
use crate::clock::Timestamp;
use crate::http::cache_status::CacheStatus;
use crate::http::request_id;
use crate::telemetry::event::CacheOutcome;
use crate::upstream::{self, FetchError};

/// A reply before the last touches.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// End-to-end fields only.
    pub(super) headers: HeaderMap,
    pub(super) source: Source,
    pub(super) cache_status: CacheStatus<'static>,
    /// When the whole exchange must have ended.
    pub(super) deadline: Option<Instant>,
}

impl Reply {
    /// Whether it tells who sent a CONNECT of a tunnel (RFC 9110 9.3.6) that there is not.
    pub(super) fn promises_a_tunnel(&self) -> bool {
        self.status.is_success() && !matches!(self.source, Source::Switched(_))
    }

    /// The response: `Cache-Status` and the request id are added here and nowhere else.
    pub(super) fn into_response(mut self, site: &Site, mut exchange: Box<Exchange>) -> Response<ReplyBody> {
        if exchange.method == Method::HEAD || is_bodiless(self.status) {
            self.source = Source::Empty;
        }
        exchange.cached(&self.cache_status, &self.headers);
        let encoder = web_call::answer(&exchange, &mut self.headers);
        forward::map_rewritten(&mut self.headers, site, &exchange);
        // What is stored stays as the origin said.
        exchange.edit_reply(self.status, &mut self.headers);
        let said = match exchange.shown_key {
            None => self.cache_status.to_shared_value(&site.name),
            Some(key) => {
                CacheStatus { key: Some(&key.to_string()), ..self.cache_status }.to_value(&site.name)
            }
        };
        self.headers.append(CACHE_STATUS, said);
        self.headers.insert(&request_id::NAME, exchange.id_value().clone());
        limiting::tell(&exchange.limits, &mut self.headers);
        exchange.replied(self.status);
        exchange.lasting = match self.source {
            Source::Switched(_) => true,
            Source::Upstream(_) | Source::Shared(_) | Source::Recoded(_) => is_events(&self.headers),
            _ => false,
        };
        if let Source::Switched(switched) = self.source {
            let response = respond(self.status, self.headers, ReplyBody::none());
            return upgrade::hand_over(*switched, response, exchange);
        }
        let body = ReplyBody::new(self.source, exchange, self.deadline).written_by(encoder);
        respond(self.status, self.headers, body)
    }
}

/// The reply to a failed exchange.
pub(super) fn failed(failure: &Failure, site: &Site, mut exchange: Box<Exchange>) -> Response<ReplyBody> {
    exchange.error = failure.kind();
    let id = exchange.id.to_string();
    if let (Failure::Fetch(error) | Failure::Unvalidated(error), Some(route)) = (failure, &exchange.route) {
        complain(error, route, exchange.at, "no reply from the upstream");
    }
    let (status, mut headers, body) = match exchange.grpc {
        Some(_) => failure.reply_to_call(&site.name),
        None => failure.reply(&site.name, &id),
    };
    // Its head tells the end: there is nothing that would have to be written in another way.
    let _ = web_call::answer(&exchange, &mut headers);
    exchange.edit_reply(status, &mut headers);
    let cache_status = failed_cache_status(&exchange, failure);
    exchange.caching.replied(&cache_status);
    headers.append(CACHE_STATUS, cache_status.to_value(&site.name));
    headers.insert(&request_id::NAME, exchange.id_value().clone());
    limiting::tell(&exchange.limits, &mut headers);
    exchange.replied(status);
    let source = if exchange.grpc.is_some() {
        // In HTTP/2 the head ends the stream then, and its fields are the trailers too ("Trailers-Only").
        Source::Empty
    } else if exchange.method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Source::Empty
    } else {
        Source::Full(body)
    };
    respond(status, headers, ReplyBody::new(source, exchange, None))
}

/// Says that an upstream failed, once for many of a kind (each is in the access log); what the client did is nobody's
/// fault here.
pub(super) fn complain(error: &FetchError, route: &Route, now: Timestamp, what: &'static str) {
    let (route, complaints, endpoint) = (&*route.name, &route.complaints, error.endpoint.as_deref());
    let ours = !matches!(error.failure, upstream::Failure::RequestBody(_));
    match ours.then(|| complaints.admit(error.failure.as_str(), now)).flatten() {
        Some(more) => tracing::warn!(%error, route, endpoint, more, "{what}"),
        None => tracing::debug!(%error, route, endpoint, "{what}"),
    }
}

/// What the cache says of a failure: it went forward and nothing came (RFC 9211 2.2), or it never got so far.
fn failed_cache_status(exchange: &Exchange, failure: &Failure) -> CacheStatus<'static> {
    CacheStatus {
        forward: exchange.forward,
        collapsed: exchange.cache == CacheOutcome::Collapsed,
        detail: failure.kind().or(Some("only-if-cached")),
        ..CacheStatus::default()
    }
}

fn is_events(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| is_event_stream(value.as_bytes()))
}

/// Whether content of this type is events as they happen, for as long as anybody listens (Server-Sent Events).
pub(super) fn is_event_stream(given: &[u8]) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    let (name, rest) = given.split_at_checked(TYPE.len()).unwrap_or((given, &[]));
    name.eq_ignore_ascii_case(TYPE) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
}

/// A status whose reply has no body (RFC 9110 6.4.1).
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// RFC 9211.
pub(super) const CACHE_STATUS: header::HeaderName = header::HeaderName::from_static("cache-status");
