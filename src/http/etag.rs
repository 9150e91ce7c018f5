//! Entity tags (RFC 9110 8.8.3) and the lists of them in `If-Match` and `If-None-Match` (13.1).

use http::HeaderMap;
use http::header::{AsHeaderName, ETAG};

/// An entity tag, borrowed from its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag<'a> {
    /// It has the prefix `W/`.
    pub weak: bool,
    /// The opaque tag with its quotes. Origins that forget the quotes are compared as they wrote it.
    pub tag: &'a [u8],
}

/// How tags are compared (RFC 9110 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal, and neither is weak.
    Strong,
    /// Equal, weak or not.
    Weak,
}

/// How a list of tags compares with a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// The list is `*`.
    Any,
    /// It has the tag.
    Tag,
    /// It does not.
    None,
}

impl<'a> ETag<'a> {
    /// Reads one entity tag: quoted (leniently, with spaces in it), or a bare word without space, quote or comma.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (weak, tag) = match value.strip_prefix(b"W/") {
            Some(tag) if tag.first() == Some(&b'"') => (true, tag),
            _ => (false, value),
        };
        let valid = match tag {
            [b'"', opaque @ .., b'"'] => opaque.iter().all(|&byte| is_opaque(byte) || byte == b' '),
            [] => false,
            bare => bare != b"*" && bare.iter().all(|&byte| is_opaque(byte) && byte != b','),
        };
        valid.then_some(Self { weak, tag })
    }

    /// The tag of a response, if it has one and it is valid.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        Self::parse(headers.get(ETAG)?.as_bytes())
    }

    /// Strong comparison (RFC 9110 8.8.3.2): equal, and neither is weak.
    pub fn strong_eq(&self, other: &ETag<'_>) -> bool {
        !self.weak && !other.weak && self.tag == other.tag
    }

    /// Weak comparison (RFC 9110 8.8.3.2): equal, weak or not.
    pub fn weak_eq(&self, other: &ETag<'_>) -> bool {
        self.tag == other.tag
    }
}

/// The opaque tags of those of a list's members that are weak, quotes and all.
pub fn weak_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    let members = std::iter::from_fn(move || {
        let (member, after) = next_member(rest)?;
        rest = after;
        Some(member)
    });
    members.filter_map(ETag::parse).filter(|tag| tag.weak).map(|tag| tag.tag)
}

/// Compares the tags that a condition lists, over all lines of the field, with a stored one.
pub fn matched(
    headers: &HeaderMap,
    condition: impl AsHeaderName,
    stored: Option<ETag<'_>>,
    comparison: Comparison,
) -> Matched {
    for line in headers.get_all(condition) {
        let mut rest = line.as_bytes();
        if rest.trim_ascii() == b"*" {
            return Matched::Any;
        }
        while let Some((member, after)) = next_member(rest) {
            rest = after;
            if let (Some(tag), Some(stored)) = (ETag::parse(member), &stored) {
                let equal = match comparison {
                    Comparison::Strong => tag.strong_eq(stored),
                    Comparison::Weak => tag.weak_eq(stored),
                };
                if equal {
                    return Matched::Tag;
                }
            }
        }
    }
    Matched::None
}

/// Splits off the next list member. Commas within quotes belong to the tag; a backslash is no escape here.
fn next_member(list: &[u8]) -> Option<(&[u8], &[u8])> {
    if list.is_empty() {
        return None;
    }
    let mut quoted = false;
    for (at, byte) in list.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some((&list[..at], &list[at + 1..])),
            _ => {}
        }
    }
    Some((list, b""))
}

fn is_opaque(byte: u8) -> bool {
    byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_of_rfc_9110_8_8_3_2() {
        let cases = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (one, other, strong, weak) in cases {
            let (one, other) = (ETag::parse(one.as_bytes()).unwrap(), ETag::parse(other.as_bytes()).unwrap());
            assert_eq!((one.strong_eq(&other), one.weak_eq(&other)), (strong, weak));
        }
    }

    #[test]
    fn odd_tags() {
        for value in ["", "\"a", "a\"", "\"a\"b\"", "W/", "*", "a b", "a,b"] {
            let parsed = ETag::parse(value.as_bytes());
            // A bare `W/` is a word like any other.
            assert_eq!(parsed.is_some(), value == "W/", "{value}");
        }
        assert_eq!(ETag::parse(b"abc"), Some(ETag { weak: false, tag: b"abc" }));
        assert_eq!(ETag::parse(b"\"\""), Some(ETag { weak: false, tag: b"\"\"" }));
        assert_eq!(ETag::parse(b"w/\"a\""), None);
    }

    #[test]
    fn lists_are_searched_over_all_lines() {
        let stored = ETag::parse(b"\"a,b\"");
        let cases: [(&[&str], Matched); 9] = [
            (&["\"a,b\""], Matched::Tag),
            (&["\"x\", W/\"a,b\""], Matched::Tag),
            (&["\"x\"", "\"y\",\"a,b\""], Matched::Tag),
            (&["\"x\",, ,\"a,b\""], Matched::Tag),
            (&["\"a\", \"b\""], Matched::None),
            (&["junk junk, \"a,b\""], Matched::Tag),
            (&["*"], Matched::Any),
            (&["\"x\", *"], Matched::None),
            (&[], Matched::None),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, line.parse().unwrap());
            }
            assert_eq!(matched(&headers, IF_NONE_MATCH, stored, Comparison::Weak), expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            ETag::parse(&bytes);
            let mut rest = &bytes[..];
            while let Some((_, after)) = next_member(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }

        #[test]
        fn what_parses_equals_itself(tag in "(W/)?\"[!#-~]{0,20}\"") {
            let tag = ETag::parse(tag.as_bytes()).unwrap();
            prop_assert!(tag.weak_eq(&tag));
            prop_assert_eq!(tag.strong_eq(&tag), !tag.weak);
        }
    }
}
