//! What an upstream is asked, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::asking::Begun;
use super::body::{RequestBody, UpstreamBody};
use super::connect::Switched;

/// Called for each interim reply (1xx but 101), 100 included, in order, before the final one.
///
/// It must not block.
pub type OnInterim = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

/// A request as the pipeline forwards it.
pub struct FetchRequest {
    /// The client's method.
    pub method: Method,
    /// The client's target; the upstream's base path is joined before it here.
    pub target: PathAndQuery,
    /// The fields to send: hop-by-hop ones removed, no `Host`. `Content-Length` may stay (it frames a
    /// streaming body), so may `TE: trailers`.
    pub headers: HeaderMap,
    /// What the client sent as `Host` or `:authority`; used where the upstream says `host = "client"`.
    pub client_host: HeaderValue,
    /// The body.
    pub body: RequestBody,
    /// Whether it does no harm to send it twice, whatever its method's name says (RFC 9110 9.2.2).
    pub repeatable: bool,
    /// Told of interim replies.
    pub on_interim: Option<OnInterim>,
    /// The client waits for 100 before it sends its body: the origin is asked the same way.
    pub expect_continue: bool,
    /// When the whole exchange must have ended, the reply's body included.
    pub deadline: Option<Instant>,
    /// The protocol that the origin is asked to change to (RFC 9110 7.8).
    pub upgrade: Option<Arc<str>>,
    /// What [`Upstream::ask`](super::Upstream::ask) began of it.
    pub begun: Option<Begun>,
}

impl FetchRequest {
    /// A request without body, fields or deadline.
    pub fn new(method: Method, target: PathAndQuery) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            client_host: HeaderValue::from_static(""),
            body: RequestBody::Empty,
            repeatable: false,
            on_interim: None,
            expect_continue: false,
            deadline: None,
            upgrade: None,
            begun: None,
        }
    }
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("body", &self.body)
            .field("expect_continue", &self.expect_continue)
            .finish_non_exhaustive()
    }
}

/// A reply whose head has come.
#[derive(Debug)]
pub struct Fetched {
    /// Head and streaming body; hop-by-hop fields are still in it.
    pub response: Response<UpstreamBody>,
    /// The connection, where the reply is a 101 that was asked for.
    pub switched: Option<Box<Switched>>,
    /// The endpoint that answered, as `host:port`.
    pub endpoint: Arc<str>,
    /// How that endpoint names itself, to map a `Location` back.
    pub origin: Arc<OriginName>,
    /// How often an endpoint was asked.
    pub attempts: u32,
    /// From the request handed to the connection to the reply's head, in the last attempt.
    pub first_byte: Duration,
}

/// How an origin names itself in a `Location`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginName {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host, with the port where it is not the scheme's own.
    pub authority: Box<str>,
    /// Joined before every path; empty or `/like/this`.
    pub base_path: Box<str>,
}
