//! Answers admin requests: finds the handler, reads the body under a cap, writes JSON.

// A refused request carries its whole problem; none of this is on a path that is hot.
#![allow(clippy::result_large_err)]

mod cache;
mod control;
pub mod entry;
mod inspection;
mod limits;
mod logs;
mod metrics;
pub mod reply;
mod request;
mod selection;
mod warming;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio_util::sync::CancellationToken;

use super::Control;
use super::api::{Problem, ProblemCode, path};
use reply::{Body, Reply};
use request::Asked;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::telemetry::Telemetry;
use crate::upstream::Upstreams;

/// The rooms that the handlers ask.
pub struct Admin {
    /// The instance itself.
    pub control: Arc<dyn Control>,
    /// Stored responses.
    pub cache: Arc<Cache>,
    /// What happened.
    pub telemetry: Arc<Telemetry>,
    /// Endpoints and the connections to them.
    pub upstreams: Arc<Upstreams>,
    /// The time.
    pub clock: Clock,
    /// Cancelled when the socket is to close: streams end, and no more connections are taken.
    pub closing: CancellationToken,
}

/// Answers one request. `allowed`: the peer is this user or root.
pub async fn answer(admin: Arc<Admin>, request: Request<Incoming>, allowed: bool) -> Response<Body> {
    if !allowed {
        let problem =
            Problem::new(ProblemCode::Denied, "the admin socket answers its own user and root only");
        return reply::problem(problem);
    }
    let asked = match Asked::read(request).await {
        Ok(asked) => asked,
        Err(problem) => return reply::problem(problem),
    };
    dispatch(&admin, &asked).await.unwrap_or_else(reply::problem)
}

async fn dispatch(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let get = asked.method == Method::GET;
    let post = asked.method == Method::POST;
    match asked.path.as_str() {
        path::STATUS if get => control::status(admin),
        path::RELOAD if post => control::reload(admin).await,
        path::STOP if post => control::stop(admin, asked),
        path::UPGRADE if post => control::upgrade(admin, asked),
        path::DRAIN if post => control::drain(admin, asked),
        path::DRAIN_CANCEL if post => control::stay(admin),
        path::ROUTES if get => control::routes(admin),
        path::ROUTE_TEST if post => control::test_route(admin, asked),
        path::UPSTREAMS if get => control::upstreams(admin),
        path::CERTIFICATES if get => reply::json(&admin.control.certificates()),
        path::ENTRIES if get => cache::list(admin, asked).await,
        path::ENTRY if get => cache::show(admin, asked).await,
        path::PURGE if post => cache::purge(admin, asked).await,
        path::WARM if post => warming::warm(admin, asked),
        path::REFRESH if post => warming::refresh(admin, asked),
        path::FETCH if get => warming::fetch(admin, asked).await,
        path::EXPLAIN if post => control::explain(admin, asked).await,
        path::PURGE_BATCH if post => cache::purge_batch(admin, asked).await,
        path::EXPLAIN_PAST if get => control::explain_past(admin, asked).await,
        path::CACHE_STATS if get => cache::stats(admin),
        path::CACHE_VERIFY if post => inspection::verify(admin, asked),
        path::CACHE_GC if post => inspection::gc(admin, asked),
        path::LIMITS if get => limits::list(admin, asked),
        path::LIMITS_RESET if post => limits::reset(admin, asked),
        path::LOGS if get => logs::logs(admin, asked),
        path::METRICS if get => metrics::snapshot(admin),
        path::METRICS_WATCH if get => metrics::watch(admin, asked),
        path::OPENMETRICS if get => metrics::openmetrics(admin),
        known if path::ALL.contains(&known) => Err(Problem::new(
            ProblemCode::MethodNotAllowed,
            format!("{} is not a method of {known}", asked.method),
        )),
        other => Err(Problem::new(ProblemCode::NotFound, format!("there is no {other} in this version"))),
    }
}
