//! What a route's `match` says.

use http::{HeaderName, Method};

/// Everything that a route asks of a request; an empty list asks nothing. All that are given must hold; within
/// one list any one suffices (but each entry of `headers` and `query` must hold).
#[derive(Clone, Debug, Default)]
pub struct MatchSpec {
    /// The request's host, any of these.
    pub hosts: Vec<HostPattern>,
    /// The request's path, any of these.
    pub paths: Vec<PathPattern>,
    /// The request's method, any of these.
    pub methods: Vec<Method>,
    /// Request fields, all of these.
    pub headers: Vec<(HeaderName, FieldMatch)>,
    /// Query parameters, all of these.
    pub query: Vec<(Box<str>, FieldMatch)>,
}

/// A host, lower case and without port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This very name.
    Exact(Box<str>),
    /// Any name that ends so; kept with its leading dot (`*.example.com` is `.example.com`).
    Wildcard(Box<str>),
}

/// A path.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This very path.
    Exact(Box<str>),
    /// This path and all below it; kept without the `*` (`/v1/users/*` is `/v1/users/`, `/*` is `/`).
    Prefix(Box<str>),
    /// Segments of which some are parameters: `/users/{id}/posts`, a last `{*rest}` takes what remains.
    Params(Box<str>),
    /// A regular expression over the whole path (written `~ REGEX`).
    Regex(regex::Regex),
}

/// What a field or a parameter must be.
#[derive(Clone, Debug)]
pub enum FieldMatch {
    /// There, whatever its value.
    Present,
    /// Not there.
    Absent,
    /// This very value.
    Exact(Box<str>),
    /// A value that this expression finds (written `~ REGEX`).
    Regex(regex::Regex),
}
