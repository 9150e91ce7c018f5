//! HTTP's own words: one file per header that we interpret, and the types that several rooms share.

pub mod age;
pub mod cache_control;
pub mod cache_status;
pub mod client;
pub mod date;
pub mod etag;
pub mod interim;
pub mod range;
pub mod structured;
pub mod vary;

pub use client::ClientConn;
pub use interim::{Interim, InterimQueue};

/// Names of header fields, lower case by their type.
pub type HeaderList = Vec<http::HeaderName>;
