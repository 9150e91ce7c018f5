//! `Range` (RFC 9110 14).

/// A satisfiable byte range of a representation; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}
