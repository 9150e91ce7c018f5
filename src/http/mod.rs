//! HTTP's own words: one file per header that we interpret, and the types that several rooms share.

pub mod age;
pub mod authority;
pub mod cache_control;
pub mod cache_status;
pub mod client;
pub mod date;
pub mod etag;
pub mod interim;
pub mod path;
pub mod range;
pub mod scheme;
pub mod structured;
pub mod vary;

pub use client::ClientConn;
pub use interim::{Interim, InterimQueue};
pub use scheme::Scheme;

/// Names of header fields, lower case by their type.
pub type HeaderList = Vec<http::HeaderName>;
