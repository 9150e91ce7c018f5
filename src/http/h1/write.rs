//! Heads of replies and sizes of chunks, as they are written on the wire (RFC 9112 4). Names and values are valid by their types.

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

/// The line before a chunk (RFC 9112 7.1).
pub fn write_chunk_size(length: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(length >> (4 * place)) & 15]);
    }
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

    #[test]
    fn chunk_sizes_are_written_as_everybody_reads_them() {
        for length in [1, 9, 10, 15, 16, 255, 256, 4095, 65_536, usize::MAX] {
            let mut out = Vec::new();
            write_chunk_size(length, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{length:x}\r\n"));
        }
    }
}
