//! HTTP's own words: one file per header that we interpret, and the types that several rooms share.

pub mod client;

pub use client::ClientConn;

/// Names of header fields, lower case by their type.
pub type HeaderList = Vec<http::HeaderName>;
