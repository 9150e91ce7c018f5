//! The body of a request, where the key is made of it: read into memory as far as the route allows, before anything is
//! asked. What turns out to be larger goes on as it came, from the first byte.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::Proxy;
use super::ask::in_time;
use super::error::Failure;
use super::exchange::Exchange;
use super::inbound::{Inbound, InboundBody};
use super::limiting::Stage;
use super::pass;
use super::respond::Reply;
use super::site::{Route, Routed};
use crate::cache::policy::RequestPolicy;
use crate::cache::policy::request::MethodKind;
use crate::http::cache_status::Forward;
use crate::telemetry::event::CacheOutcome;
use crate::upstream::{self, FetchError, StreamBody};

impl Proxy {
    /// Answers a request whose body belongs to its key through the cache, unless the body is too large for that, or the
    /// request has conditions that only the origin can judge (RFC 9110 13.2.1).
    pub(super) async fn with_content(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        mut inbound: Box<Inbound>,
        policy: RequestPolicy,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        let post = inbound.head.method == Method::POST;
        let mut why = Forward::Method;
        if post && policy.conditional {
            why = Forward::Request;
        } else {
            inbound.body = gather(route, exchange, inbound.body).await?;
        }
        if !matches!(inbound.body, InboundBody::Whole(_)) {
            self.limit(route, exchange, &inbound, target, Stage::Origin)?;
            exchange.cache = CacheOutcome::Bypass;
            return self.pass_as(to, exchange, inbound, why).await;
        }
        let method = if post { MethodKind::KeyedPost } else { MethodKind::Get };
        // Ranges are GET's alone (RFC 9110 14.2).
        let range = policy.range && inbound.head.method == Method::GET;
        let policy = RequestPolicy { method, range, ..policy };
        self.looked_up(to, exchange, inbound, policy).await
    }
}

/// Reads a body to its end if it is no larger than the key takes.
async fn gather(
    route: &Route,
    exchange: &mut Exchange,
    body: InboundBody,
) -> Result<InboundBody, FetchError> {
    let (InboundBody::Client(incoming), Some(max)) = (body, route.cache.key.body) else {
        return Ok(InboundBody::Whole(Bytes::new()));
    };
    let settings = &route.settings;
    let stream = StreamBody::new(incoming, settings.request_idle_timeout, settings.max_request_body);
    let mut stream = stream.at_least(settings.min_request_rate);
    exchange.request_body = Some(stream.progress());
    // Not touched, so that a client that waits for 100 (RFC 9110 10.1.1) still hears it from the origin.
    if stream.size_hint().lower() > max {
        return Ok(InboundBody::Begun(Box::new(stream)));
    }
    let mut read = BytesMut::new();
    let mut left = None;
    while let Some(frame) = in_time(pass::deadline(route, exchange), stream.frame()).await? {
        let frame = frame.map_err(|error| FetchError {
            failure: upstream::Failure::RequestBody(error),
            endpoint: None,
            attempts: 0,
        })?;
        match frame.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            // They belong to no key.
            Err(trailers) => left = Some(trailers),
        }
        if left.is_some() || read.len() as u64 > max {
            stream.put_back([Frame::data(read.freeze())].into_iter().chain(left));
            return Ok(InboundBody::Begun(Box::new(stream)));
        }
    }
    Ok(InboundBody::Whole(read.freeze()))
}
