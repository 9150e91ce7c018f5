//! HPACK: field compression of HTTP/2 (RFC 7541).
//!
//! The decoder knows what requests are made of: what stands in its table has been looked at, and parsed, once. The encoder
//! keeps no table: what a server says of a reply changes from one to the next (date, age, request id), and an entry that is
//! never used again costs both sides more than its bytes.

mod decode;
mod encode;
mod fixed;
mod huffman;

use thiserror::Error;

pub use decode::{Decoder, Field, Name, Text};
pub use encode::{write_field, write_resize, write_status, write_value};

/// What a table may take unless something else was agreed (RFC 9113 6.5.2).
pub const TABLE: u32 = 4096;

/// A field block cannot be decoded: both sides' tables differ from here on (RFC 9113 4.3).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a field block cannot be decoded")]
pub struct Broken;
