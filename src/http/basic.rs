//! Names and passwords in a request (RFC 7617).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue, header};

/// The longest credentials that are looked at, in base64.
const MAX_LENGTH: usize = 4096;

/// What a request says of its user. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    name: Box<str>,
    password: Box<[u8]>,
}

impl Credentials {
    /// The credentials of a request; `None` where it has none, none of this scheme, more than one, or none that are in the
    /// form of RFC 7617 2.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?;
        // RFC 9110 11.1: the scheme's case does not count.
        let (scheme, encoded) = line.as_bytes().split_at_checked(SCHEME.len())?;
        let encoded = encoded.trim_ascii();
        if !scheme.eq_ignore_ascii_case(SCHEME) || encoded.len() > MAX_LENGTH {
            return None;
        }
        let decoded = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
        if decoded.iter().any(u8::is_ascii_control) {
            return None;
        }
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        // The challenge asks for UTF-8 (RFC 7617 2.1).
        let name = std::str::from_utf8(&decoded[..colon]).ok()?;
        Some(Self { name: name.into(), password: decoded[colon + 1..].into() })
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The challenge of a protection space (RFC 7617 2); `None` where the realm cannot stand in a field.
pub fn challenge(realm: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(realm.len());
    for c in realm.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    HeaderValue::from_str(&format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"")).ok()
}

const SCHEME: &[u8] = b"Basic ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::test_headers::headers;

    fn parsed(lines: &[&str]) -> Option<(String, Vec<u8>)> {
        let found = Credentials::of(&headers(lines))?;
        Some((found.name().to_owned(), found.password().to_vec()))
    }

    #[test]
    fn one_field_in_the_form_of_rfc_7617() {
        let pair = |name: &str, password: &[u8]| Some((name.to_owned(), password.to_vec()));
        for (lines, expected) in [
            (&["authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="][..], pair("Aladdin", b"open sesame")),
            (&["authorization: bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ "], pair("Aladdin", b"open sesame")),
            // RFC 7617 2.1: "test" and "123£" in UTF-8.
            (&["authorization: Basic dGVzdDoxMjPCow=="], pair("test", "123£".as_bytes())),
            (&["authorization: Basic YTpiOmM="], pair("a", b"b:c")),
            (&["authorization: Basic Og=="], pair("", b"")),
            (&["authorization: Basic YWJj"], None),
            (&["authorization: Basic YTpiCg=="], None),
            (&["authorization: Basic YTpi!"], None),
            (&["authorization: Basic"], None),
            (&["authorization: Bearer YTpi"], None),
            (&["authorization: Basic YTpi", "authorization: Basic YTpi"], None),
            (&["accept: */*"], None),
        ] {
            assert_eq!(parsed(lines), expected, "{lines:?}");
        }
        let long =
            format!("authorization: Basic {}", STANDARD.encode([b"a:".as_slice(), &[b'x'; 4096]].concat()));
        assert_eq!(parsed(&[&long]), None);
    }

    #[test]
    fn a_realm_is_quoted() {
        assert_eq!(challenge("a \"b\" \\").unwrap(), r#"Basic realm="a \"b\" \\", charset="UTF-8""#);
        assert_eq!(challenge("a\nb"), None);
    }

    #[test]
    fn nobody_prints_them() {
        let found =
            Credentials::of(&headers(&["authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="])).unwrap();
        let printed = format!("{found:?}");
        assert!(!printed.contains("Aladdin") && !printed.contains("sesame"), "{printed}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(name in "[^:\\p{Cc}]{0,12}", password in "\\P{Cc}{0,12}") {
            let line = format!("authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")));
            prop_assert_eq!(parsed(&[&line]), Some((name, password.into_bytes())));
        }

        #[test]
        fn no_value_makes_it_panic(value in "[ -~]{0,40}") {
            parsed(&[&format!("authorization: {value}")]);
            parsed(&[&format!("authorization: Basic {value}")]);
        }
    }
}
