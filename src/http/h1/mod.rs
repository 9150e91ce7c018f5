//! HTTP/1.1 as it stands on the wire, read strictly (RFC 9112): where each message ends, and what two recipients
//! might read in two ways.
//!
//! Of requests, hyper reads the messages; this room reads along ([`Reader`]), on the very bytes that hyper is about to get, and
//! hands on only what is beyond doubt. It keeps no message, decodes nothing and copies nothing but the beginning of a line whose
//! end has not come. Replies are read here alone ([`Replies`]), by the same rules.
//!
//! ```text
//! client ─▶ Inlet (holds back a line's beginning) ─▶ Reader (head ▸ body ▸ next head) ─▶ hyper
//!                                                      └─▶ Violation: nothing more goes on
//! origin ─▶ Replies (interim heads ▸ head ▸ content ▸ trailers) ─▶ upstream
//! ```

mod chunk;
mod field;
mod head;
mod heads;
mod inlet;
mod known;
#[cfg(test)]
mod mangled;
mod plain;
mod reader;
mod reply;
mod violation;
mod write;

pub use field::{length, normalise_length};
pub use head::Content;
pub use heads::Heads;
pub use inlet::{Filled, Inlet};
pub use plain::Plain;
pub use reader::{Limits, Reader, Stop};
pub use reply::{Fields, Outline, Replies, ReplyHead};
pub use violation::Violation;
pub use write::{write_chunk_size, write_field, write_status};
