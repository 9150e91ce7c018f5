//! The client's own conditions and ranges, answered from a stored response (RFC 9111 4.3.2, RFC 9110 13, 14).

use http::{HeaderMap, Method};

use crate::cache::entry::EntryHead;
use crate::http::range::ByteRange;

/// How a usable stored response answers a request with conditions or ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The whole stored response.
    Full,
    /// 304 with [`not_modified_headers`].
    NotModified,
    /// 206 with these ranges, in the order asked for; several make a `multipart/byteranges`.
    Partial(Vec<ByteRange>),
    /// 416 with `Content-Range: bytes */LENGTH`.
    Unsatisfiable,
    /// `If-Match` or `If-Unmodified-Since` does not hold for what is stored: only the origin can say.
    Forward,
}

/// Applies the request's conditions and `Range` to a stored response with a body of `length` bytes.
pub fn answer(method: &Method, request: &HeaderMap, entry: &EntryHead, length: u64) -> Answer {
    let _ = (method, request, entry, length);
    Answer::Full
}

/// The fields of a 304 made from a stored response (RFC 9110 15.4.5).
pub fn not_modified_headers(entry: &EntryHead) -> HeaderMap {
    entry.headers.clone()
}
