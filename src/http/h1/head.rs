//! Heads: their first lines, and what their fields say about where the message ends (RFC 9112 3, 4, 6).

use super::field::{self, Field, no_controls, token_length};
use super::violation::Violation;

/// The longest target; what `http` can hold.
pub(super) const MAX_TARGET: usize = 65_000;

/// What is known of a head so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the version: HTTP/1.`minor`.
    minor: u8,
    /// Of a reply.
    pub(super) status: u16,
    length: Option<u64>,
    coding: Coding,
    expects: bool,
    /// The sender of a request wants to go on in another protocol, or through a tunnel.
    pub(super) switches: bool,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
    /// See [`field::are_foreign_codings`].
    Foreign,
}

/// How the content behind a head is framed (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, with a last one.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

impl Head {
    /// From a request line (RFC 9112 3). That the method is a token was looked at before.
    pub(super) fn of_request(line: &[u8]) -> Result<Self, Violation> {
        let method = &line[..token_length(line)];
        let rest = line[method.len()..].strip_prefix(b" ").ok_or(Violation::RequestLine)?;
        no_controls(rest)?;
        // The target ends at the first space; a second one has no place in the line.
        let space = memchr::memchr(b' ', rest).ok_or(Violation::RequestLine)?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        let minor = minor_version(version).ok_or(Violation::RequestLine)?;
        check_target(target)?;
        let switches = method == b"CONNECT";
        Ok(Self { minor: minor?, switches, ..Self::default() })
    }

    /// From a status line (RFC 9112 4). That the reason is left out together with its space is harmless.
    pub(super) fn of_reply(line: &[u8]) -> Result<Self, Violation> {
        no_controls(line)?;
        let (version, rest) = line.split_at_checked(8).ok_or(Violation::StatusLine)?;
        let minor = minor_version(version).ok_or(Violation::StatusLine)??;
        let status = match rest {
            [b' ', digits @ ..] => digits.split_first_chunk::<3>(),
            _ => None,
        };
        let (digits, reason) = status.ok_or(Violation::StatusLine)?;
        let is_status = digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
        if !is_status || !matches!(reason, [] | [b' ', ..]) {
            return Err(Violation::StatusLine);
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(Self { minor, status, ..Self::default() })
    }

    /// Whether it is of HTTP/1.0.
    pub(super) fn is_1_0(&self) -> bool {
        self.minor == 0
    }

    /// What `Content-Length` says.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Takes note of a field that concerns the framing.
    pub(super) fn note(&mut self, field: Field<'_>) -> Result<(), Violation> {
        match field.name.len() {
            6 if self.status == 0 && field.is("expect") => self.note_expectation(field.value),
            7 if self.status == 0 && field.is("upgrade") => {
                // HTTP/1.0 has no such thing (RFC 9110 7.8).
                self.switches |= self.minor > 0;
                Ok(())
            }
            14 if field.is("content-length") => {
                let length = field::content_length(field.value)?;
                if self.length.replace(length).is_some() {
                    return Err(Violation::RepeatedLength);
                }
                Ok(())
            }
            17 if field.is("transfer-encoding") => {
                if self.minor == 0 {
                    return Err(Violation::MisplacedCoding);
                }
                let coding = match field::transfer_coding(field.value) {
                    Err(_) if self.status > 0 && field::are_foreign_codings(field.value) => Coding::Foreign,
                    read => read.map(|()| Coding::Chunked)?,
                };
                match (std::mem::replace(&mut self.coding, coding), coding) {
                    (Coding::None, _) | (Coding::Foreign, Coding::Foreign) => Ok(()),
                    _ => Err(Violation::TransferCoding),
                }
            }
            _ => Ok(()),
        }
    }

    /// Anything but one `100-continue` could be read as that by some and not by others. HTTP/1.0 expects nothing
    /// (RFC 9110 10.1.1).
    fn note_expectation(&mut self, value: &[u8]) -> Result<(), Violation> {
        let repeated = std::mem::replace(&mut self.expects, true);
        if self.minor > 0 && (repeated || !value.eq_ignore_ascii_case(b"100-continue")) {
            return Err(Violation::Expectation);
        }
        Ok(())
    }

    /// The content of the request whose head is complete.
    pub(super) fn request_content(&self) -> Result<Content, Violation> {
        match (self.coding, self.length) {
            (Coding::None, None | Some(0)) => Ok(Content::None),
            (Coding::None, Some(length)) => Ok(Content::Length(length)),
            (_, Some(_)) => Err(Violation::LengthAndCoding),
            (Coding::Chunked, None) => Ok(Content::Chunked),
            (Coding::Foreign, None) => Ok(Content::UntilClose),
        }
    }

    /// The content of the reply whose head is complete; `to_head`: to a HEAD request.
    pub(super) fn reply_content(&self, to_head: bool) -> Result<Content, Violation> {
        // They have no content, "regardless of the header fields present" (RFC 9112 6.3); the fields go no further.
        if matches!(self.status, 100..=199 | 204) {
            return Ok(Content::None);
        }
        let content = self.request_content()?;
        Ok(match content {
            _ if to_head || self.status == 304 => Content::None,
            Content::None if self.length.is_none() => Content::UntilClose,
            content => content,
        })
    }
}

/// The minor version of HTTP/1; inside: a version that is well formed but not spoken. A later HTTP/1 would be read as
/// 1.1 (RFC 9110 2.5), but there is none, and hyper takes no such name.
fn minor_version(text: &[u8]) -> Option<Result<u8, Violation>> {
    match text {
        b"HTTP/1.1" => Some(Ok(1)),
        b"HTTP/1.0" => Some(Ok(0)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Err(Violation::Version))
        }
        _ => None,
    }
}

/// Characters that not every part of a target may hold.
const ODD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'#' | b'<' | b'>' | b'`' | b'"' | b'\t' | 0x80..) as u8;
        byte += 1;
    }
    table
};

/// What `http` takes for path and query, which differ a little, but for fragments, which it drops in silence.
fn check_odd_target(target: &[u8]) -> Result<(), Violation> {
    let path = memchr::memchr(b'?', target).unwrap_or(target.len());
    let sound = target[..path].iter().all(|&byte| !matches!(byte, b'#' | b'<' | b'>' | b'`' | b'\t'))
        && target[path..].iter().all(|&byte| !matches!(byte, b'#' | b'<' | b'>' | b'"' | b'\t'))
        && std::str::from_utf8(target).is_ok();
    if sound { Ok(()) } else { Err(Violation::Target) }
}

/// Characters of a target; whether it means something is for `http::target` to say.
fn check_target(target: &[u8]) -> Result<(), Violation> {
    if target.is_empty() {
        return Err(Violation::RequestLine);
    }
    if target.len() > MAX_TARGET {
        return Err(Violation::TargetTooLong);
    }
    // All in one go: hardly a target has any of these.
    let odd = target.iter().fold(0, |odd, &byte| odd | ODD[usize::from(byte)]);
    if odd != 0 {
        check_odd_target(target)?;
    }
    // Other forms are rare: whether they can be read at all is asked of whoever reads them.
    if target[0] != b'/' && http::Uri::try_from(target).is_err() {
        return Err(Violation::Target);
    }
    Ok(())
}
