//! The members of `Forwarded` (RFC 7239 4).

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::FORWARDED;

use crate::http::Scheme;
use crate::http::token::{is_tchar, is_token};

/// What one proxy said of the hop before it, as far as it is read here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Who made the request: an address, `unknown` or an obfuscated name.
    pub(super) node: Option<Cow<'a, str>>,
    /// The scheme it was made with.
    pub(super) proto: Option<Cow<'a, str>>,
}

impl Element<'_> {
    /// The address in `for=`, if it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        super::address(self.node.as_deref()?)
    }
}

/// All elements of all lines; `None` if one line is malformed.
pub(super) fn parse(headers: &HeaderMap) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    for line in headers.get_all(FORWARDED) {
        parse_line(line.to_str().ok()?, &mut elements)?;
    }
    Some(elements)
}

fn parse_line<'a>(mut rest: &'a str, elements: &mut Vec<Element<'a>>) -> Option<()> {
    let mut element = Element::default();
    let mut empty = true;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        match rest.as_bytes().first() {
            None | Some(b',') => {
                if !empty {
                    elements.push(std::mem::take(&mut element));
                }
                empty = true;
                match rest.get(1..) {
                    Some(after) => rest = after,
                    None => return Some(()),
                }
            }
            Some(b';') => rest = &rest[1..],
            Some(_) => {
                empty = false;
                rest = parse_pair(rest, &mut element)?;
                // Only a separator may follow.
                let next = rest.trim_start_matches([' ', '\t']).as_bytes().first();
                if !matches!(next, None | Some(b',' | b';')) {
                    return None;
                }
            }
        }
    }
}

/// `name=value`; what is none of ours is read and left.
fn parse_pair<'a>(text: &'a str, element: &mut Element<'a>) -> Option<&'a str> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix('=')?;
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted_string(quoted)?,
        None => token(rest).map(|(value, rest)| (Cow::Borrowed(value), rest))?,
    };
    let place = if name.eq_ignore_ascii_case("for") {
        &mut element.node
    } else if name.eq_ignore_ascii_case("proto") {
        &mut element.proto
    } else {
        return Some(rest);
    };
    // Each parameter at most once (RFC 7239 4).
    place.replace(value).is_none().then_some(rest)
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !is_tchar(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The rest of a quoted string, after its opening quote.
fn quoted_string(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let plain = text.find(['"', '\\'])?;
    if text.as_bytes()[plain] == b'"' {
        return Some((Cow::Borrowed(&text[..plain]), &text[plain + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

/// What text is appended to.
pub(super) trait Text {
    fn put(&mut self, text: &[u8]);

    /// How much there is.
    fn end(&self) -> usize;
}

impl Text for BytesMut {
    fn put(&mut self, text: &[u8]) {
        self.extend_from_slice(text);
    }

    fn end(&self) -> usize {
        self.len()
    }
}

impl Text for Vec<u8> {
    fn put(&mut self, text: &[u8]) {
        self.extend_from_slice(text);
    }

    fn end(&self) -> usize {
        self.len()
    }
}

/// Adds an element to the value that begins at `start`: the node (`unknown` where it isn't known) and, where told, what it asked
/// for and how. Says where the node's address and the host stand.
pub(super) fn write(
    out: &mut impl Text,
    start: usize,
    node: Option<IpAddr>,
    about: Option<(&str, Scheme)>,
) -> (Range<usize>, Range<usize>) {
    if out.end() > start {
        out.put(b", ");
    }
    // Colons and brackets need quotes (RFC 7239 6).
    let (begin, end): (&[u8], &[u8]) = match node {
        Some(IpAddr::V6(_)) => (b"for=\"[", b"]\""),
        Some(IpAddr::V4(_)) => (b"for=", b""),
        None => (b"for=unknown", b""),
    };
    out.put(begin);
    let start = out.end();
    node.into_iter().for_each(|address| super::push_address(out, address));
    let address = start..out.end();
    out.put(end);
    let Some((authority, scheme)) = about else { return (address, 0..0) };
    let mut host = 0..0;
    if !authority.is_empty() {
        let (begin, end): (&[u8], &[u8]) =
            if is_token(authority) { (b";host=", b"") } else { (b";host=\"", b"\"") };
        out.put(begin);
        host = out.end()..out.end() + authority.len();
        out.put(authority.as_bytes());
        out.put(end);
    }
    out.put(b";proto=");
    out.put(scheme.as_str().as_bytes());
    (address, host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Option<Vec<Element<'_>>> {
        let mut elements = Vec::new();
        parse_line(line, &mut elements).map(|()| elements)
    }

    fn element<'a>(node: Option<&'a str>, proto: Option<&'a str>) -> Element<'a> {
        Element { node: node.map(Cow::Borrowed), proto: proto.map(Cow::Borrowed) }
    }

    #[test]
    fn the_examples_of_rfc_7239() {
        for (line, elements) in [
            ("for=\"_gazonk\"", vec![element(Some("_gazonk"), None)]),
            ("For=\"[2001:db8:cafe::17]:4711\"", vec![element(Some("[2001:db8:cafe::17]:4711"), None)]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", vec![element(Some("192.0.2.60"), Some("http"))]),
            (
                "for=192.0.2.43, for=198.51.100.17",
                vec![element(Some("192.0.2.43"), None), element(Some("198.51.100.17"), None)],
            ),
            ("by=x", vec![element(None, None)]),
            ("for=\"a\\\"b,;c\" ; proto=https", vec![element(Some("a\"b,;c"), Some("https"))]),
            ("", vec![]),
            (" , ,for=a,", vec![element(Some("a"), None)]),
        ] {
            assert_eq!(parsed(line), Some(elements), "{line}");
        }
    }

    #[test]
    fn malformed_elements_are_refused() {
        for line in
            ["for", "for=", "for=a b", "for=\"a", "for=\"a\\", "for=\"a\"b", "=a", "for=[::1]", "for=a;for=b"]
        {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(bits: u128, v4: bool, host in "[a-z.:]{0,8}") {
            let address = if v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) };
            let mut value = BytesMut::new();
            write(&mut value, 0, Some(address), Some((&host, Scheme::Https)));
            write(&mut value, 0, None, None);
            let elements = parsed(std::str::from_utf8(&value).unwrap()).unwrap();
            prop_assert_eq!(elements[0].address(), Some(address.to_canonical()));
            prop_assert_eq!(elements[0].proto.as_deref(), Some("https"));
            prop_assert_eq!(elements[1].node.as_deref(), Some("unknown"));
        }

        #[test]
        fn anything_is_read_without_panic(line in "[a-z=\";,\\\\ ]{0,24}") {
            parsed(&line);
        }
    }
}
