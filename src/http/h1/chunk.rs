//! The line before each chunk: its size, and extensions that nobody reads (RFC 9112 7.1).

use super::field::token_length;
use super::violation::Violation;

/// The longest such line, extensions included.
pub(super) const MAX_LINE: usize = 1024;

/// How long all extensions of a body may be together; hyper's own bound, beyond which it would cut the body.
pub(super) const MAX_EXTENSIONS: usize = 16 * 1024 - 1;

/// More digits than this are too many, zeros or not.
const MAX_DIGITS: usize = 16;

/// The size of a chunk, and how many bytes of extensions follow it.
pub(super) fn size(line: &[u8]) -> Result<(u64, usize), Violation> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    if digits == 0 || digits > MAX_DIGITS {
        return Err(Violation::ChunkSize);
    }
    let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).unwrap_or(0));
    let size = line[..digits].iter().fold(0, |size, byte| (size << 4) | digit(byte));
    // What does not fit a signed number is cut by somebody on the way.
    if i64::try_from(size).is_err() {
        return Err(Violation::ChunkSize);
    }
    let extensions = &line[digits..];
    check_extensions(extensions)?;
    Ok((size, extensions.len()))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 7.1.1).
fn check_extensions(mut rest: &[u8]) -> Result<(), Violation> {
    while !rest.is_empty() {
        rest = match past_space(rest) {
            [b';', after @ ..] => past_token(past_space(after))?,
            // White space that nothing follows belongs to no extension: some take such a size for another.
            _ => return Err(Violation::ChunkSize),
        };
        if let [b'=', after @ ..] = past_space(rest) {
            let value = past_space(after);
            rest = if value.first() == Some(&b'"') { past_quoted(&value[1..])? } else { past_token(value)? };
        }
    }
    Ok(())
}

fn past_space(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[spaces..]
}

fn past_token(bytes: &[u8]) -> Result<&[u8], Violation> {
    match token_length(bytes) {
        0 => Err(Violation::ChunkExtension),
        length => Ok(&bytes[length..]),
    }
}

/// Past the end of a quoted string whose beginning was read (RFC 9110 5.6.4).
fn past_quoted(mut rest: &[u8]) -> Result<&[u8], Violation> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', byte, after @ ..] | [byte, after @ ..] if is_text(*byte) => after,
            _ => return Err(Violation::ChunkExtension),
        };
    }
}

const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9112_7_1_chunk_sizes() {
        for (line, expected) in [
            ("0", 0),
            ("5", 5),
            ("a", 10),
            ("FF", 255),
            ("0005", 5),
            ("0000000000000005", 5),
            ("7fffffffffffffff", i64::MAX as u64),
        ] {
            assert_eq!(size(line.as_bytes()), Ok((expected, 0)), "{line}");
        }
        for line in [
            "",
            " 5",
            "+5",
            "-5",
            "0x5",
            "5 ",
            "5\t",
            "5 5",
            "5g",
            "g",
            "5,5",
            "5.",
            "_5",
            "5_0",
            "8000000000000000",
            "ffffffffffffffff",
            "10000000000000005",
            "00000000000000005",
            "\u{ff15}",
            "5\r",
            "5\0",
            "5 \0",
        ] {
            assert_eq!(size(line.as_bytes()), Err(Violation::ChunkSize), "{line:?}");
        }
    }

    #[test]
    fn rfc_9112_7_1_1_chunk_extensions() {
        for line in [
            "5;a",
            "5;a=b",
            "5 ; a = b",
            "5;a=\"b c\"",
            "5;a=\"\\\"\"",
            "5;a;b=c;d=\"\"",
            "5;a=\"\u{e9}\"",
            "5\t;a",
        ] {
            let read = size(line.as_bytes());
            assert_eq!(read, Ok((5, line.len() - 1)), "{line}");
        }
        for line in [
            "5;",
            "5;;a",
            "5;=b",
            "5;a=",
            "5;a=b c",
            "5;a=\"b",
            "5;a=\"b\\",
            "5;a=\"\0\"",
            "5;\0",
            "5;a\r",
            "5;a=\"\r\"",
            "5;a=\"\u{b}\"",
            "5;a \u{b}",
        ] {
            assert!(
                matches!(size(line.as_bytes()), Err(Violation::ChunkExtension | Violation::ChunkSize)),
                "{line:?}"
            );
        }
    }
}
