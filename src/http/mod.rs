//! HTTP's own words: one file per header that we interpret, and the types that several rooms share.

pub mod accept_encoding;
pub mod age;
pub mod authority;
pub mod basic;
pub mod bearer;
pub mod cache_control;
pub mod cache_groups;
pub mod cache_status;
pub mod client;
pub mod connection;
pub mod content;
pub mod date;
pub mod decimal;
pub mod etag;
pub mod forwarded;
pub mod grpc;
pub mod grpc_web;
pub mod h1;
pub mod head;
pub mod hpack;
pub mod interim;
pub mod location;
pub mod origin;
pub mod path;
pub mod problem;
pub mod proxy_status;
pub mod range;
pub mod rate_limit;
pub mod request_content;
pub mod request_id;
pub mod scheme;
pub mod structured;
pub mod target;
pub(crate) mod token;
pub mod upgrade;
pub mod vary;
pub mod via;
pub mod websocket;
pub mod written;

#[cfg(test)]
pub(crate) mod test_headers;

pub use client::{ClientConn, HttpsRedirect};
pub use interim::{Interim, InterimQueue};
pub use request_content::{ContentError, RequestContent};
pub use scheme::Scheme;

/// Names of header fields, lower case by their type.
pub type HeaderList = Vec<http::HeaderName>;
