//! Requests of HTTP/2 whose head says more than one thing to HTTP/1.1, as which they go on (RFC 9113 8.2.1, 10.3). Those of
//! HTTP/1.1 have been looked at on the wire.

use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Version};

use crate::http::h1::Violation;

/// Whether a request may go on: h2 lets some things pass that are malformed, or that we could not send on as they are.
pub(super) fn check(head: &Parts) -> Result<(), Violation> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    // `http` takes it for a character of tokens.
    if head.headers.keys().any(|name| name.as_str().contains('"')) {
        return Err(Violation::FieldName);
    }
    if head.headers.values().any(is_padded) {
        return Err(Violation::PaddedValue);
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Violation::RepeatedLength);
    }
    let mut expectations = head.headers.get_all(EXPECT).iter();
    let expected =
        expectations.next().is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expected || expectations.next().is_some() {
        return Err(Violation::Expectation);
    }
    Ok(())
}

fn is_padded(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9113_8_2_1_and_10_3() {
        let check = |version: Version, fields: &[(&str, &str)]| {
            let request = http::Request::builder().version(version);
            let name = |name: &str| http::HeaderName::from_lowercase(name.as_bytes()).unwrap();
            let request =
                fields.iter().fold(request, |request, (of, value)| request.header(name(of), *value));
            super::check(&request.body(()).unwrap().into_parts().0)
        };
        for (fields, verdict) in [
            (&[("x", "a b"), ("content-length", "5"), ("expect", "100-Continue")][..], Ok(())),
            (&[("x", "")], Ok(())),
            (&[("x\"", "a")], Err(Violation::FieldName)),
            (&[("x", " a")], Err(Violation::PaddedValue)),
            (&[("x", "a\t")], Err(Violation::PaddedValue)),
            (&[("content-length", "5"), ("content-length", "5")], Err(Violation::RepeatedLength)),
            (&[("expect", "x")], Err(Violation::Expectation)),
            (&[("expect", "100-continue"), ("expect", "100-continue")], Err(Violation::Expectation)),
        ] {
            assert_eq!(check(Version::HTTP_2, fields), verdict, "{fields:?}");
            assert_eq!(check(Version::HTTP_11, fields), Ok(()), "{fields:?}");
        }
    }
}
