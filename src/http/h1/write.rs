//! Heads of replies, as they are written on the wire (RFC 9112 4). Names and values are valid by their types.

use http::{HeaderName, StatusCode};

/// A status line.
pub fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A field line.
#[inline]
pub fn write_field(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written() {
        let mut out = Vec::new();
        write_status(StatusCode::OK, &mut out);
        write_status(StatusCode::NOT_FOUND, &mut out);
        write_field(&http::header::AGE, b"0", &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nHTTP/1.1 404 Not Found\r\nage: 0\r\n");
    }
}
