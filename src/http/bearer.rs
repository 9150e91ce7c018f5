//! The bearer token of a request (RFC 6750 2.1).

use http::{HeaderMap, header};

/// The credentials of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// It has none.
    None,
    /// One bearer token.
    Bearer(&'a [u8]),
    /// Of another scheme, or in more than one field, of which recipients may each choose another (RFC 9110 11.6.2
    /// allows but one).
    Other,
}

impl<'a> Credentials<'a> {
    /// What `Authorization` says. The scheme's case does not count (RFC 9110 11.1).
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        let parts = value.as_bytes().split_at_checked(SCHEME.len()).filter(|_| values.next().is_none());
        match parts.map(|(scheme, token)| (scheme, token.trim_ascii())) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() => {
                Self::Bearer(token)
            }
            _ => Self::Other,
        }
    }
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn one_field_and_one_scheme() {
        for (lines, credentials) in [
            (&["accept: */*"][..], Credentials::None),
            (&["authorization: Bearer abc"], Credentials::Bearer(b"abc")),
            (&["authorization: bEARER   abc "], Credentials::Bearer(b"abc")),
            (&["authorization: Bearer "], Credentials::Other),
            (&["authorization: Bearerabc"], Credentials::Other),
            (&["authorization: Basic abc"], Credentials::Other),
            (&["authorization: "], Credentials::Other),
            (&["authorization: Bearer a", "authorization: Bearer a"], Credentials::Other),
            (&["authorization: Bearer a", "authorization: Basic a"], Credentials::Other),
        ] {
            assert_eq!(Credentials::of(&headers(lines)), credentials, "{lines:?}");
        }
    }
}
