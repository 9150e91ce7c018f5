//! Routes, and which one takes a request.

use serde::{Deserialize, Serialize};

use super::limits::RouteLimit;

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its place in the order in which routes are tried, from 1.
    pub order: usize,
    /// Its name.
    pub name: String,
    /// Hosts as the config writes them; empty: any.
    pub hosts: Vec<String>,
    /// Paths as the config writes them; empty: any.
    pub paths: Vec<String>,
    /// Methods; empty: any.
    pub methods: Vec<String>,
    /// Conditions on request fields, as `name: value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Conditions on query parameters, as `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// What it asks of clients' certificates; `*` that there is one, `!` that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// The upstream that answers; empty where the route answers itself.
    pub upstream: String,
    /// What the route answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// `cache` or `off`.
    pub mode: String,
    /// The name of its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Lifetime in seconds for replies whose origin says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// The route that takes everything this one could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadowed_by: Option<String>,
}

/// A request that nobody sends: which route would take it?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTest {
    /// The method.
    pub method: String,
    /// An absolute URL, or a path.
    pub url: String,
    /// Request fields, name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The client's address, for rate limits; the loopback's where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<std::net::IpAddr>,
}

/// Which route takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTestReply {
    /// The route; `None`: none does.
    pub route: Option<String>,
    /// The upstream that would answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What the route answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The route's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Path and query that the upstream would get, where the route rewrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards: Option<String>,
    /// The key under which a reply would be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the route's policy for cross-origin requests says, where the request names its origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<String>,
    /// Every route in order of precedence, and what it says to this request.
    pub verdicts: Vec<RouteVerdict>,
    /// How the request would stand with the rate limits of the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<RouteLimit>,
}

/// What one route says to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteVerdict {
    /// The route.
    pub route: String,
    /// Whether all its conditions hold.
    pub matches: bool,
    /// Whether it is the one that takes the request.
    pub taken: bool,
    /// Why, or why not.
    pub reason: String,
}
