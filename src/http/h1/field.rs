//! Field lines (RFC 9112 5), in heads and in trailers.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};

use super::violation::Violation;
use crate::http::token::TOKEN;

/// A field line without its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// Without the white space around it.
    pub(super) value: &'a [u8],
}

impl<'a> Field<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Violation> {
        if let [b' ' | b'\t', ..] = line {
            // RFC 9112 5.2; before the first field line it is 2.2.
            return Err(Violation::FoldedLine);
        }
        let name = &line[..token_length(line)];
        match line.get(name.len()) {
            Some(b':') if !name.is_empty() => {}
            _ => return Err(Violation::FieldName),
        }
        let value = &line[name.len() + 1..];
        no_controls(value)?;
        Ok(Self { name, value: trimmed(value) })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// How many characters of a token these bytes begin with.
pub(super) fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !TOKEN[usize::from(byte)]).unwrap_or(bytes.len())
}

/// Nothing but visible characters, white space and bytes beyond ASCII (RFC 9110 5.5).
pub(super) fn no_controls(bytes: &[u8]) -> Result<(), Violation> {
    let (eights, rest) = bytes.as_chunks::<8>();
    let suspect = eights.iter().any(|eight| may_hold_control(u64::from_ne_bytes(*eight)));
    if !suspect && !rest.iter().any(|&byte| is_control(byte)) {
        return Ok(());
    }
    match bytes.iter().find(|&&byte| is_control(byte)) {
        None => Ok(()),
        Some(b'\r') => Err(Violation::BareCarriageReturn),
        Some(_) => Err(Violation::ControlCharacter),
    }
}

/// Whether one of eight bytes is below a space (which a tab is as well) or is DEL: eight at a time, without a branch.
const fn may_hold_control(eight: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below_space = eight.wrapping_sub(ONES * 0x20) & !eight;
    let delete = eight ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & HIGH != 0
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Without the spaces and tabs around it (RFC 9110 5.6.3).
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `Content-Length`: digits and nothing else (RFC 9110 8.6). One beyond 2^63 is no length of anything.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() {
        return Err(Violation::ContentLength);
    }
    let mut length = 0_i64;
    for byte in value {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
        let next = digit.and_then(|digit| length.checked_mul(10)?.checked_add(digit));
        length = next.ok_or(Violation::ContentLength)?;
    }
    Ok(length.unsigned_abs())
}

/// The length that a sound `Content-Length` tells.
pub fn length(headers: &HeaderMap) -> Option<u64> {
    content_length(headers.get(CONTENT_LENGTH)?.as_bytes()).ok()
}

/// Writes a length as everybody writes it: with zeros before it, some take it for another.
pub fn normalise_length(headers: &mut HeaderMap) {
    let Some(given) = headers.get(CONTENT_LENGTH) else { return };
    if !matches!(given.as_bytes(), [b'0', _, ..]) {
        return;
    }
    if let Ok(length) = content_length(given.as_bytes()) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// `Transfer-Encoding`: `chunked` alone. Where `chunked` comes last behind others, the message could be read, but not
/// by us (RFC 9112 6.1); anything else has no end (6.3).
pub(super) fn transfer_coding(value: &[u8]) -> Result<(), Violation> {
    let is_chunked = |coding: &[u8]| trimmed(coding).eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Ok(());
    }
    let mut codings = value.rsplit(|&byte| byte == b',');
    let ends_well = codings.next().is_some_and(is_chunked);
    let is_token = |coding: &[u8]| {
        let coding = trimmed(coding);
        !coding.is_empty() && token_length(coding) == coding.len() && !is_chunked(coding)
    };
    Err(if ends_well && codings.all(is_token) { Violation::UnknownCoding } else { Violation::TransferCoding })
}

/// Whether a reply's codings are such as nobody knows: then its content ends with the connection (RFC 9112 6.3), and what
/// it is made of is between origin and client. A coding that is known says that the content is not what the client would
/// take it for; one that looks like `chunked` might be taken for that.
pub(super) fn are_foreign_codings(value: &[u8]) -> bool {
    const KNOWN: [&str; 7] = ["gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"];
    let is_foreign = |coding: &[u8]| {
        let (name, parameters) = coding.split_at(token_length(coding));
        let known = KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        !name.is_empty() && !known && matches!(trimmed(parameters), [] | [b';', ..])
    };
    let looks_chunked = value.windows(5).any(|part| part.eq_ignore_ascii_case(b"chunk"));
    // Lists may have empty members (RFC 9110 5.6.1.2).
    let mut codings =
        value.split(|&byte| byte == b',').map(trimmed).filter(|coding| !coding.is_empty()).peekable();
    codings.peek().is_some() && codings.all(is_foreign) && !looks_chunked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9112_5_field_lines() {
        for (line, name, value) in [
            ("Host: a", "Host", "a"),
            ("a:", "a", ""),
            ("a: \t ", "a", ""),
            ("a:b\tc  d ", "a", "b\tc  d"),
            ("!#$%&'*+-.^_`|~09azAZ:x", "!#$%&'*+-.^_`|~09azAZ", "x"),
            ("a::b", "a", ":b"),
            ("a:\u{e9}", "a", "\u{e9}"),
        ] {
            let field = Field { name: name.as_bytes(), value: value.as_bytes() };
            assert_eq!(Field::parse(line.as_bytes()), Ok(field), "{line:?}");
        }
        for (line, why) in [
            (" a: b", Violation::FoldedLine),
            ("\ta", Violation::FoldedLine),
            (":", Violation::FieldName),
            (": a", Violation::FieldName),
            ("a", Violation::FieldName),
            ("a : b", Violation::FieldName),
            ("a\t: b", Violation::FieldName),
            ("a b: c", Violation::FieldName),
            ("a\0: b", Violation::FieldName),
            ("a\u{e9}: b", Violation::FieldName),
            ("a[0]: b", Violation::FieldName),
            ("a: b\0", Violation::ControlCharacter),
            ("a: \u{b}b", Violation::ControlCharacter),
            ("a: b\u{7f}", Violation::ControlCharacter),
            ("a: b\rc", Violation::BareCarriageReturn),
        ] {
            assert_eq!(Field::parse(line.as_bytes()), Err(why), "{line:?}");
        }
    }

    #[test]
    fn a_control_character_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut line = [b'a'; 20];
                line[at] = byte;
                assert_eq!(no_controls(&line).is_err(), is_control(byte), "{byte} at {at}");
            }
        }
    }

    #[test]
    fn rfc_9110_8_6_lengths() {
        for (value, length) in [("0", 0), ("5", 5), ("0005", 5), ("9223372036854775807", i64::MAX as u64)] {
            assert_eq!(content_length(value.as_bytes()), Ok(length), "{value}");
        }
        for value in [
            "",
            "+5",
            "-5",
            "5 5",
            "5,5",
            "5, 5",
            "0x5",
            "5a",
            "5.0",
            "9223372036854775808",
            "\u{0665}",
            "5;",
        ] {
            assert_eq!(content_length(value.as_bytes()), Err(Violation::ContentLength), "{value}");
        }
    }

    #[test]
    fn rfc_9112_6_1_transfer_codings() {
        for value in ["chunked", "Chunked", "CHUNKED"] {
            assert_eq!(transfer_coding(value.as_bytes()), Ok(()), "{value}");
        }
        for value in
            ["gzip, chunked", "gzip,chunked", "deflate, gzip, Chunked", "identity, chunked", "x, chunked"]
        {
            assert_eq!(transfer_coding(value.as_bytes()), Err(Violation::UnknownCoding), "{value}");
        }
        for value in [
            "",
            ",",
            "chunked,",
            ",chunked",
            "chunked, chunked",
            "chunked, identity",
            "xchunked",
            "chunkedx",
            "identity",
            "gzip",
            "chunked;q=1",
            "\"chunked\"",
            "chunk ed",
            "chunked gzip",
            "gz ip, chunked",
            "chunked, gzip, chunked",
            "chunked\u{b}",
        ] {
            assert_eq!(transfer_coding(value.as_bytes()), Err(Violation::TransferCoding), "{value}");
        }
        for (value, is_foreign) in [
            ("strange", true),
            ("identity", true),
            ("gzip", false),
            ("xchunked", false),
            ("a b", false),
            ("a,b", true),
            ("a, ,b;q=\"x\" ,", true),
            ("a ;b=c", true),
            ("a, gzip", false),
            ("a;chunked", false),
            ("a,b c", false),
            (",", false),
            ("", false),
        ] {
            assert_eq!(are_foreign_codings(value.as_bytes()), is_foreign, "{value}");
        }
    }
}
