//! Endpoints, connections to them, and fetching from them.
//!
//! Decides which endpoint a request goes to, on which connection, and whether it may be sent again when that
//! failed (RFC 9110 9.2.2). Connections are kept per worker thread and driven there; the cap on an endpoint's
//! connections holds over all workers. It never looks at the cache, never judges a status code, and never answers
//! a client: a fetch ends in a reply's head with a streaming body, or in a [`FetchError`] that says who failed.
//!
//! ```text
//! fetch ─▶ balance (which endpoint) ─▶ pool (idle connection | permit | wait) ─▶ connect (dns, tcp, tls)
//!   ▲                                                                              │
//!   └── retry (is it safe?) ◀── exchange (head sent, 1xx, reply's head) ◀──────────┘
//! ```
//!
//! A request without content may try the short way first: [`ask`] begins it on an idle connection, and its owner
//! polls it. What that does not come to, a fetch goes on from, so that turns, attempts and retries are counted once.
//!
//! [`FetchError`]: crate::upstream::FetchError
//! [`ask`]: crate::upstream::Upstream::ask

mod alarm;
pub mod asking;
mod balance;
pub mod body;
mod connect;
mod discover;
mod endpoint;
pub mod error;
mod exchange;
mod fetch;
#[doc(hidden)]
pub mod measured;
mod pool;
mod registry;
pub mod request;
mod retry;
pub mod settings;
pub mod snapshot;

pub use asking::{Ask, Asking, Begun, ReplyLines};
pub use body::{BodyProgress, RequestBody, StreamBody, UpstreamBody};
pub use connect::Switched;
pub use error::{BodyError, Failure, FetchError, RequestBodyError};
pub use fetch::Upstream;
pub use registry::{Unresolved, Upstreams};
pub use request::{FetchRequest, Fetched, OnInterim, OriginName};
pub use settings::{EndpointSettings, HostPolicy, Settings};
pub use snapshot::{EndpointSnapshot, EndpointState, UpstreamSnapshot};

#[cfg(test)]
mod tests;
