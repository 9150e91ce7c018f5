//! HTTP/1.1 as it stands on the wire, read strictly (RFC 9112): where each message ends, and what two recipients
//! might read in two ways.
//!
//! hyper reads the messages; this room reads along, on the very bytes that hyper is about to get, and hands on only
//! what is beyond doubt. It keeps no message, decodes nothing and copies nothing but the beginning of a line whose end
//! has not come. Both ends use it: requests from clients ([`Reader::requests`]) and replies from origins
//! ([`Reader::replies`]).
//!
//! ```text
//! socket ─▶ Inlet (holds back a line's beginning) ─▶ Reader (head ▸ body ▸ next head) ─▶ hyper
//!                                                      └─▶ Violation: nothing more goes on
//! ```
//!
//! [`Reader::requests`]: crate::http::h1::Reader::requests
//! [`Reader::replies`]: crate::http::h1::Reader::replies

mod chunk;
mod field;
mod head;
mod inlet;
mod plain;
mod reader;
mod violation;
mod write;

pub use field::normalise_length;
pub use inlet::{Filled, Inlet};
pub use plain::Plain;
pub use reader::{Limits, Reader, Stop};
pub use violation::Violation;
pub use write::{write_field, write_status};
