//! Which route takes a request, and why the others did not.
//!
//! A route takes a request when everything its `match` says holds. Of several that would, the most specific
//! wins, wherever it stands in the file. What comes first decides:
//!
//! 1. **Host**: an exact name, then the longest wildcard, then no host.
//! 2. **Path**: an exact path; then one with parameters, the one with more literal segments first; then a
//!    prefix (`/a/*`, `/a/{*rest}`), the one with more literal segments first; then a regular expression, in the
//!    order of the file; then no path.
//! 3. **Method**: one that names methods before one that doesn't.
//! 4. **Fields, query and client certificate**: the one with more such conditions.
//! 5. The order of the file.
//!
//! Paths are compared in their normal form (`http::path`), so that no spelling of a path passes by the route
//! meant for it. `GET` in a route's `methods` takes `HEAD` too: HEAD is GET without the content of the reply (RFC
//! 9110 9.3.2), and a route that took only one of them would let the two disagree.
//!
//! This room never looks at a body, never rewrites a request and does no I/O. [`Router::find`] allocates nothing
//! and asks only the routes that an index of hosts and path segments leaves; [`Router::explain`] asks every
//! route, without the index.
//!
//! [`Router::find`]: crate::route::Router::find
//! [`Router::explain`]: crate::route::Router::explain

mod conditions;
mod index;
mod parse;
mod router;
pub mod spec;
mod specificity;
mod verdict;

pub use parse::BadPattern;
pub use router::{BuildError, Router};
pub use spec::{ClientMatch, FieldMatch, HostPattern, MatchSpec, PathPattern};
pub use verdict::{Mismatch, Verdict};

use http::{HeaderMap, Method};

use crate::tls::Identity;

/// What a request is matched by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Lower case, without port; empty where the request names none (HTTP/1.0).
    pub host: &'a str,
    /// In normal form (`http::path::normalise`).
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// What follows `?`, as the client sent it.
    pub query: Option<&'a str>,
    /// Who the client is, where it has shown a certificate.
    pub client: Option<&'a Identity>,
}
