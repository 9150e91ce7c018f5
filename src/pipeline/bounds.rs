//! What is refused before anything is done for it: heads and bodies that are too large, methods and schemes that a route
//! does not serve.

use http::header::HeaderValue;
use http::request;
use http_body::Body as _;

use super::error::Failure;
use super::inbound::{Inbound, InboundBody};
use super::site::{Route, Site};
use crate::http::target::Target;

impl Site {
    /// Whether a head is no larger than it may be. The parser of HTTP/1 has its own bounds, which come first; that of
    /// HTTP/2 bounds the sum alone.
    ///
    /// # Errors
    /// When the target is too long (RFC 9110 15.5.15), or there are too many fields (RFC 6585 5).
    pub(super) fn bounds(&self, head: &request::Parts) -> Result<(), Failure> {
        let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.max_target {
            return Err(Failure::TargetTooLong);
        }
        if head.headers.len() > self.max_fields {
            return Err(Failure::TooManyFields);
        }
        Ok(())
    }
}

impl Route {
    /// Whether the route serves such requests.
    ///
    /// # Errors
    /// When it does not serve the method (RFC 9110 15.5.6) or the scheme, or the body is declared to be larger than it
    /// may be (RFC 9110 15.5.14): then not a byte of it is waited for.
    pub(super) fn serves(&self, inbound: &Inbound, target: &Target) -> Result<(), Failure> {
        let settings = &self.settings;
        if let Some(allowed) = &settings.allow_methods
            && !allowed.contains(&inbound.head.method)
        {
            let names: Vec<_> = allowed.iter().map(http::Method::as_str).collect();
            let allow = HeaderValue::try_from(names.join(", "));
            return Err(Failure::Method(allow.unwrap_or(HeaderValue::from_static(""))));
        }
        if settings.allow_schemes.is_some_and(|only| only != target.scheme()) {
            return Err(Failure::Scheme);
        }
        if let (Some(max), InboundBody::Client(body)) = (settings.max_request_body, &inbound.body)
            && body.size_hint().lower() > max
        {
            return Err(Failure::BodyTooLarge);
        }
        Ok(())
    }
}
