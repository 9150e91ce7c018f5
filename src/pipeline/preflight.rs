//! Preflights (Fetch 3.3.2): a browser asks whether a script may send a request, and the policy of the route that would
//! take that request answers.
//!
//! They carry no credentials and cost no more than a refusal, so they are answered before rate limits and authentication;
//! a preflight that a limit refused would look to the script as if the request were forbidden.

use std::sync::Arc;

use http::{Method, StatusCode, request};

use super::edit::cors::{self, Grant};
use super::error::Failure;
use super::exchange::Exchange;
use super::reply::Source;
use super::respond::Reply;
use super::site::{Route, Site};
use crate::http::cache_status::CacheStatus;
use crate::http::target::Target;
use crate::tls::Identity;

impl Site {
    /// The route that takes a request, and whether its policy answers: a preflight is of the route that the request would
    /// be of which it is sent for, if that has a policy. Else it is a request like any other.
    pub fn taker(
        &self,
        target: &Target,
        head: &request::Parts,
        client: Option<&Identity>,
    ) -> Option<(&Arc<Route>, bool)> {
        if head.method == Method::OPTIONS
            && let Some(method) = cors::preflight(head)
            && let Some(route) = self.route_by(target, &method, &head.headers, client)
            && route.settings.cors.is_some()
        {
            return Some((route, true));
        }
        Some((self.route_by(target, &head.method, &head.headers, client)?, false))
    }
}

/// The reply to a preflight.
pub(super) fn answer(
    cors: &cors::Cors,
    exchange: &mut Exchange,
    head: &request::Parts,
) -> Result<Reply, Failure> {
    let headers = cors.answer(&exchange.cors, &head.headers).ok_or(Failure::Origin)?;
    exchange.cors = Grant::Told;
    Ok(Reply {
        status: StatusCode::NO_CONTENT,
        headers,
        source: Source::Empty,
        cache_status: CacheStatus { detail: Some("preflight"), ..CacheStatus::default() },
        deadline: None,
    })
}
