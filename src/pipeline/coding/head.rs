//! What becomes of a reply's fields when its content is coded otherwise.

use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};

use crate::coding::Change;
use crate::http::vary::{self, Vary};

/// Fields that describe the content as it was, byte by byte (RFC 9530; the last two are older).
const OF_BYTES: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Makes the fields those of the changed content.
pub(super) fn change(headers: &mut HeaderMap, changes: &[Change]) {
    match changes.last() {
        Some(Change::Encode(coding, _)) => drop(headers.insert(CONTENT_ENCODING, coding.value())),
        Some(Change::Decode(..)) | None => drop(headers.remove(CONTENT_ENCODING)),
    }
    headers.remove(CONTENT_LENGTH);
    // A range would be answered by what is stored, which has other bytes.
    headers.remove(ACCEPT_RANGES);
    forget_bytes(headers);
    weaken(headers);
    vary(headers);
}

/// Takes out what describes the content as it was, of a head or of trailers.
pub(super) fn forget_bytes(fields: &mut HeaderMap) {
    for name in &OF_BYTES {
        fields.remove(name);
    }
}

/// Makes a strong tag weak: what it names now is equivalent, but not the same byte by byte (RFC 9110 8.8.1, 8.8.3.3). A weak one
/// still gets a 304 where it is sent back, and never passes for the origin's own where `If-Match` or `If-Range` ask.
pub(super) fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get_mut(ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) if tag.as_bytes().starts_with(b"\"") => *tag = weak,
        // No tag, as it is written, and none that could be made weak.
        _ => drop(headers.remove(ETAG)),
    }
}

/// Tells that other clients may get it coded otherwise (RFC 9110 12.5.5).
pub(super) fn vary(headers: &mut HeaderMap) {
    match vary::of(headers) {
        Vary::Any => {}
        Vary::Names(names) if names.contains(&http::header::ACCEPT_ENCODING) => {}
        Vary::Names(_) => drop(headers.append(VARY, HeaderValue::from_static("Accept-Encoding"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Level;
    use crate::http::accept_encoding::Coding;
    use crate::http::test_headers::{headers, lines};

    #[test]
    fn fields_tell_of_the_changed_content() {
        let encode = Change::Encode(Coding::Brotli, Level(5));
        for (given, change_to, expected) in [
            (
                &[
                    "content-length: 5000",
                    "etag: \"a\"",
                    "accept-ranges: bytes",
                    "content-md5: x",
                    "repr-digest: sha-256=:AA==:",
                    "content-digest: sha-256=:AA==:",
                    "digest: x",
                    "last-modified: x",
                    "vary: cookie",
                ][..],
                encode,
                &[
                    "content-encoding: br",
                    "etag: W/\"a\"",
                    "last-modified: x",
                    "vary: Accept-Encoding",
                    "vary: cookie",
                ][..],
            ),
            (
                &["etag: W/\"a\"", "vary: accept-encoding"],
                encode,
                &["content-encoding: br", "etag: W/\"a\"", "vary: accept-encoding"],
            ),
            (&["etag: bare", "vary: *"], encode, &["content-encoding: br", "vary: *"]),
            (
                &["content-encoding: gzip", "etag: \"a\""],
                Change::Decode(Coding::Gzip, 1),
                &["etag: W/\"a\"", "vary: Accept-Encoding"],
            ),
        ] {
            let mut fields = headers(given);
            change(&mut fields, &[change_to]);
            let mut told = lines(&fields);
            told.sort();
            assert_eq!(told, expected, "{given:?}");
        }
    }
}
