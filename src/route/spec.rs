//! What a route's `match` says.

use std::fmt;

use http::{HeaderName, Method};

use crate::tls::SanPattern;

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
    /// The client's certificate.
    pub client: Option<ClientMatch>,
}

/// What a client's certificate must be. Only verified ones count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMatch {
    /// There.
    Present,
    /// Not there.
    Absent,
    /// There, with one of these names.
    AnyOf(Vec<SanPattern>),
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
    /// This path and all below it; kept without the `*` (`/v1/users/*` is `/v1/users/`, `/*` is `/`). Takes
    /// `/v1/users` too, so that what guards a tree guards its root.
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

/// A part of a path with parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    /// `{name}`: one segment that is not empty.
    Param(&'a str),
    /// `{*name}`: what remains, at least a character.
    Rest(&'a str),
}

/// The segments of an absolute path with parameters.
pub(super) fn segments(path: &str) -> Option<impl Iterator<Item = Segment<'_>>> {
    Some(path.strip_prefix('/')?.split('/').map(|segment| {
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(name) => name.strip_prefix('*').map_or(Segment::Param(name), Segment::Rest),
            None => Segment::Literal(segment),
        }
    }))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Params(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Regex(regex) => write!(f, "~ {regex}"),
        }
    }
}

impl fmt::Display for ClientMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Absent => f.write_str("!"),
            Self::AnyOf(patterns) => {
                for (index, pattern) in patterns.iter().enumerate() {
                    let between = if index > 0 { ", " } else { "" };
                    write!(f, "{between}{pattern}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for FieldMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Absent => f.write_str("!"),
            Self::Exact(value) => f.write_str(value),
            Self::Regex(regex) => write!(f, "~ {regex}"),
        }
    }
}
