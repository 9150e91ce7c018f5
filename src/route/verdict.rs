//! Why a route took a request, or didn't.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::Facts;
use super::spec::{ClientMatch, FieldMatch, HostPattern, MatchSpec, PathPattern};

/// What one route said to a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The route's name.
    pub route: Arc<str>,
    /// Whether everything it asks for holds.
    pub matched: bool,
    /// Whether it takes the request; at most one route does.
    pub chosen: bool,
    /// Why it doesn't take it; `None` where it does.
    pub reason: Option<Mismatch>,
}

/// The first condition that kept a route from a request.
#[derive(Clone, Debug)]
pub enum Mismatch {
    /// None of its hosts.
    Host {
        /// The request's host.
        host: Box<str>,
        /// What the route asks for.
        wanted: Vec<HostPattern>,
    },
    /// None of its paths.
    Path {
        /// The request's path in normal form.
        path: Box<str>,
        /// What the route asks for.
        wanted: Vec<PathPattern>,
    },
    /// None of its methods.
    Method {
        /// The request's method.
        method: Method,
        /// What the route asks for.
        wanted: Vec<Method>,
    },
    /// A request field.
    Header {
        /// Its name.
        name: HeaderName,
        /// Whether the request has it; its value isn't repeated, since it may be secret.
        present: bool,
        /// What the route asks for.
        wanted: FieldMatch,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: Box<str>,
        /// Whether the request has it.
        present: bool,
        /// What the route asks for.
        wanted: FieldMatch,
    },
    /// The client's certificate.
    Client {
        /// Whether it has one.
        present: bool,
        /// What the route asks for.
        wanted: ClientMatch,
    },
    /// It matches, but so does this more specific route.
    LessSpecific(Arc<str>),
}

impl Mismatch {
    /// The first condition of `spec` that doesn't hold.
    pub(super) fn first(spec: &MatchSpec, facts: &Facts<'_>) -> Option<Self> {
        if !spec.hosts.is_empty() && !spec.hosts.iter().any(|host| host.takes(facts.host)) {
            return Some(Self::Host { host: facts.host.into(), wanted: spec.hosts.clone() });
        }
        if !spec.paths.is_empty() && !spec.paths.iter().any(|path| path.takes(facts.path)) {
            return Some(Self::Path { path: facts.path.into(), wanted: spec.paths.clone() });
        }
        if !spec.takes_method(facts.method) {
            return Some(Self::Method { method: facts.method.clone(), wanted: spec.methods.clone() });
        }
        Self::field(spec, facts)
            .or_else(|| Self::parameter(spec, facts))
            .or_else(|| Self::client(spec, facts))
    }

    fn client(spec: &MatchSpec, facts: &Facts<'_>) -> Option<Self> {
        let wanted = spec.client.as_ref().filter(|wanted| !wanted.takes(facts.client))?;
        Some(Self::Client { present: facts.client.is_some(), wanted: wanted.clone() })
    }

    fn field(spec: &MatchSpec, facts: &Facts<'_>) -> Option<Self> {
        let (name, wanted) =
            spec.headers.iter().find(|(name, wanted)| !wanted.takes_field(facts.headers, name))?;
        let present = facts.headers.contains_key(name);
        Some(Self::Header { name: name.clone(), present, wanted: wanted.clone() })
    }

    fn parameter(spec: &MatchSpec, facts: &Facts<'_>) -> Option<Self> {
        let (name, wanted) =
            spec.query.iter().find(|(name, wanted)| !wanted.takes_parameter(facts.query, name))?;
        let present = FieldMatch::Present.takes_parameter(facts.query, name);
        Some(Self::Query { name: name.clone(), present, wanted: wanted.clone() })
    }

    /// One word for machines: `host`, `path`, `method`, `header`, `query`, `client_cert` or `less_specific`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Host { .. } => "host",
            Self::Path { .. } => "path",
            Self::Method { .. } => "method",
            Self::Header { .. } => "header",
            Self::Query { .. } => "query",
            Self::Client { .. } => "client_cert",
            Self::LessSpecific(_) => "less_specific",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, wanted } if host.is_empty() => {
                write!(f, "no host where {} is asked for", list(wanted))
            }
            Self::Host { host, wanted } => write!(f, "host {host} is not {}", list(wanted)),
            Self::Path { path, wanted } => write!(f, "path {path} is not {}", list(wanted)),
            Self::Method { method, wanted } => write!(f, "method {method} is not {}", list(wanted)),
            Self::Header { name, present, wanted } => field(f, "header", name.as_str(), *present, wanted),
            Self::Query { name, present, wanted } => field(f, "query parameter", name, *present, wanted),
            Self::Client { present: false, .. } => f.write_str("client certificate absent"),
            Self::Client { wanted: ClientMatch::AnyOf(wanted), .. } => {
                write!(f, "client certificate is for none of {}", list(wanted))
            }
            Self::Client { .. } => f.write_str("client certificate present"),
            Self::LessSpecific(winner) => write!(f, "less specific than `{winner}`"),
        }
    }
}

fn field(
    f: &mut fmt::Formatter<'_>,
    kind: &str,
    name: &str,
    present: bool,
    wanted: &FieldMatch,
) -> fmt::Result {
    match wanted {
        _ if !present => write!(f, "{kind} {name} absent"),
        FieldMatch::Absent | FieldMatch::Present => write!(f, "{kind} {name} present"),
        FieldMatch::Exact(value) => write!(f, "{kind} {name} is not `{value}`"),
        FieldMatch::Regex(regex) => write!(f, "{kind} {name} does not match `{regex}`"),
    }
}

fn list(all: &[impl fmt::Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
