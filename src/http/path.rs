//! The normal form of a path (RFC 3986 6.2.2), in which paths are routed, keyed and forwarded alike: whoever
//! decides by one spelling and forwards another can be talked past.

use std::borrow::Cow;

use thiserror::Error;

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPath {
    /// A `%` that two hexadecimal digits do not follow (RFC 3986 2.1).
    #[error("a `%` is not followed by two hexadecimal digits")]
    Escape,
    /// An escaped control character, at which some recipients end the path or the line.
    #[error("the path holds a control character")]
    Control,
    /// A `.` or `..` that only some recipients take for a segment: beside an escaped slash or backslash, or before
    /// parameters. Who decodes it names something else than what is routed and keyed here.
    #[error("the path hides a dot segment")]
    HiddenDots,
    /// It does not begin with `/` (RFC 9112 3.2.1).
    #[error("the path does not begin with `/`")]
    NotAbsolute,
}

/// The normal form of an absolute path: escapes in upper case, unreserved characters unescaped, characters that
/// no URI may hold escaped, `.` and `..` segments removed. `%2F` stays what it is: not a separator. Doubled
/// slashes stay too, since they are not equivalent to one. An empty path is `/`. What hides a dot segment or a control
/// character has none.
///
/// Borrows when `path` is normal already.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = match normalise_escapes(path)? {
        Cow::Borrowed(path) if !has_dot_segment(path) => Cow::Borrowed(path),
        Cow::Owned(path) if !has_dot_segment(&path) => Cow::Owned(path),
        path => Cow::Owned(remove_dot_segments(&path)),
    };
    if hides_dot_segment(&normal) { Err(BadPath::HiddenDots) } else { Ok(normal) }
}

/// Characters that stand in normal paths and mean nothing but themselves, wherever.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_path_char(byte as u8) && byte as u8 != b';';
        byte += 1;
    }
    table
};

/// Whether one look is enough: no escapes, no parameters, and no segment that begins with a dot.
fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    path.bytes().all(|byte| {
        let hidden = byte == b'.' && before == b'/';
        before = byte;
        PLAIN[usize::from(byte)] && !hidden
    })
}

/// Whether a path in normal form would have a dot segment to a recipient that decodes slashes, takes backslashes for
/// such, or leaves parameters out.
fn hides_dot_segment(path: &str) -> bool {
    let bytes = path.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b';')) {
        return false;
    }
    let ends_segment =
        |rest: &[u8]| matches!(rest, [] | [b'/', ..] | [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..]);
    let begins_parameters = |rest: &[u8]| matches!(rest, [b';', ..] | [b'%', b'3', b'B', ..]);
    let begins_at =
        |at: usize| bytes[at - 1] == b'/' || bytes[..at].ends_with(b"%2F") || bytes[..at].ends_with(b"%5C");
    (1..bytes.len()).filter(|&at| bytes[at] == b'.' && begins_at(at)).any(|at| {
        let rest = &bytes[at..];
        let rest = rest.strip_prefix(b"..").unwrap_or(&rest[1..]);
        ends_segment(rest) || begins_parameters(rest)
    })
}

/// Brings the escapes of a path, or of a part of one, into normal form; leaves dot segments alone.
pub fn normalise_escapes(text: &str) -> Result<Cow<'_, str>, BadPath> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|&byte| byte == b'%' || !is_path_char(byte)) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut normal = String::with_capacity(text.len() + 8);
    normal.push_str(&text[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (octet, after) = escaped(rest).ok_or(BadPath::Escape)?;
                if octet.is_ascii_control() {
                    return Err(BadPath::Control);
                }
                rest = after;
                push(&mut normal, octet, is_unreserved(octet));
            }
            _ => push(&mut normal, byte, is_path_char(byte)),
        }
    }
    Ok(if normal == text { Cow::Borrowed(text) } else { Cow::Owned(normal) })
}

/// Whether a segment is `.` or `..`.
pub fn has_dot_segment(path: &str) -> bool {
    path.contains("/.") && path.split('/').any(|segment| segment == "." || segment == "..")
}

/// RFC 3986 5.2.4, for an absolute path.
fn remove_dot_segments(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => normal.truncate(normal.rfind('/').unwrap_or(0)),
            _ => {
                normal.push('/');
                normal.push_str(segment);
                continue;
            }
        }
        // "/a/." and "/a/b/.." name the directory "/a/".
        if last {
            normal.push('/');
        }
    }
    normal
}

fn escaped(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = after_percent.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(((digit(high)? << 4) | digit(low)?, rest))
}

fn push(normal: &mut String, octet: u8, as_it_is: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if as_it_is {
        normal.push(char::from(octet));
    } else {
        normal.push('%');
        normal.push(char::from(HEX[usize::from(octet >> 4)]));
        normal.push(char::from(HEX[usize::from(octet & 15)]));
    }
}

/// RFC 3986 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand unescaped in a path: `pchar` and `/` (RFC 3986 3.3).
const fn is_path_char(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_paths_get_one_spelling() {
        for (sent, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a//b"),
            ("/%7euser", "/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%41%2d%5F", "/A-_"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a{b}|c", "/a%7Bb%7D%7Cc"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a//../b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a/..b/c..", "/a/..b/c.."),
            ("/a;v=1,2:@!$&'()*+=", "/a;v=1,2:@!$&'()*+="),
            ("/mid/content=5/../6", "/mid/6"),
        ] {
            assert_eq!(normalise(sent).as_deref(), Ok(normal), "{sent}");
        }
    }

    #[test]
    fn broken_paths_are_refused() {
        for (sent, why) in [
            ("/%", BadPath::Escape),
            ("/%4", BadPath::Escape),
            ("/%zz", BadPath::Escape),
            ("/%+1", BadPath::Escape),
            ("a", BadPath::NotAbsolute),
            ("/a%00", BadPath::Control),
            ("/a%0d%0ab", BadPath::Control),
            ("/%7F", BadPath::Control),
            ("/a/%2e%2e%2fb", BadPath::HiddenDots),
            ("/a/..%5Cb", BadPath::HiddenDots),
            ("/a%2F..", BadPath::HiddenDots),
            ("/a\\..\\b", BadPath::HiddenDots),
            ("/a/..;/b", BadPath::HiddenDots),
            ("/a/.;x=y", BadPath::HiddenDots),
            ("/a/..%3b/b", BadPath::HiddenDots),
        ] {
            assert_eq!(normalise(sent), Err(why), "{sent}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        assert!(matches!(normalise("/v1/users/%2F.x/42"), Ok(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable(path in "/([a-z./%{|é]|%2[ef]|%[0-9a-fA-F]{2}|\\.\\./){0,24}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(normal.starts_with('/'));
                prop_assert!(normal.is_ascii());
                prop_assert!(!has_dot_segment(&normal));
                let again = normalise(&normal).unwrap();
                prop_assert_eq!(&again, &normal);
            }
        }
    }
}
