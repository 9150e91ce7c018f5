//! The authority of a target: host and port (RFC 9110 4.2, RFC 3986 3.2), as `Host` and `:authority` give it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use thiserror::Error;

use super::Scheme;

/// Why an authority is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadAuthority {
    /// An `http` URI must name a host (RFC 9110 4.2.1).
    #[error("the host is empty")]
    Empty,
    /// `user@host` misleads and has no place in a message (RFC 9110 4.2.4).
    #[error("the authority holds userinfo")]
    Userinfo,
    /// Neither a name nor an address in brackets.
    #[error("the host is malformed")]
    Host,
    /// Not a number from 0 to 65535.
    #[error("the port is malformed")]
    Port,
}

/// A host and its port, in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower-case host and, unless it is the scheme's own, `:port`.
    text: Cow<'a, str>,
    host_len: usize,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host[:port]`; borrows when `text` is in normal form already. One final dot of a name is dropped: it
    /// means the same host to DNS.
    pub fn parse(text: &'a str, scheme: Scheme) -> Result<Self, BadAuthority> {
        if let Some(normal) = Self::normal(text, scheme) {
            return Ok(normal);
        }
        if text.contains('@') {
            return Err(BadAuthority::Userinfo);
        }
        let (host, port) = split(text)?;
        let port = port.filter(|port| *port != scheme.default_port());
        let host = normal_host(host)?;
        let host_len = host.len();
        let text = match port {
            None => trimmed(text, host),
            // A port such as `080` is rewritten.
            Some(port) => match host {
                Cow::Borrowed(host) if has_plain_port(&text[host.len()..], port) => Cow::Borrowed(text),
                host => Cow::Owned(format!("{host}:{port}")),
            },
        };
        Ok(Self { text, host_len, port })
    }

    /// What nearly every client sends, at one look: a name in normal form, and perhaps a port.
    fn normal(text: &'a str, scheme: Scheme) -> Option<Self> {
        let host_len = normal_name_length(text.as_bytes())?;
        let port = match &text.as_bytes()[host_len..] {
            [] => None,
            [b':', digits @ ..] => Some(plain_port(digits)?).filter(|port| *port != scheme.default_port()),
            _ => return None,
        };
        let text = if port.is_some() { text } else { &text[..host_len] };
        Some(Self { text: Cow::Borrowed(text), host_len, port })
    }

    /// `host[:port]`, lower case, without the scheme's own port.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host alone; IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        &self.text[..self.host_len]
    }

    /// The port, where it is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

/// The normal form of a host without port: lower case, one spelling of an IPv6 address, no final dot.
pub fn normal_host(host: &str) -> Result<Cow<'_, str>, BadAuthority> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = inner.parse().map_err(|_| BadAuthority::Host)?;
        let normal = format!("[{address}]");
        return Ok(if normal == host { Cow::Borrowed(host) } else { Cow::Owned(normal) });
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(BadAuthority::Empty);
    }
    if normal_name_length(host.as_bytes()) == Some(host.len()) {
        return Ok(Cow::Borrowed(host));
    }
    if host.len() > 253 || host.split('.').any(str::is_empty) || !host.bytes().all(is_name_char) {
        return Err(BadAuthority::Host);
    }
    Ok(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// How long a name in normal form is that these bytes begin with: one look at each. `None`: they begin with none.
fn normal_name_length(bytes: &[u8]) -> Option<usize> {
    let mut before = b'.';
    let mut length = 0;
    for &byte in bytes {
        if !NORMAL_NAME[usize::from(byte)] {
            break;
        }
        if byte == b'.' && before == b'.' {
            return None;
        }
        before = byte;
        length += 1;
    }
    (before != b'.' && length <= 253).then_some(length)
}

/// A port as everybody writes it.
fn plain_port(digits: &[u8]) -> Option<u16> {
    let plain = matches!(digits, [b'1'..=b'9', rest @ ..] if rest.len() < 5);
    let add =
        |number: u32, &digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'));
    let number = digits.iter().take(5).try_fold(0, add)?;
    if plain { u16::try_from(number).ok() } else { None }
}

/// The characters of names that have no upper case, to look up.
const NORMAL_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let char = byte as u8;
        table[byte] = is_name_char(char) && !char.is_ascii_uppercase();
        byte += 1;
    }
    table
};

/// `host`, `host:` and `host:port`.
fn split(text: &str) -> Result<(&str, Option<u16>), BadAuthority> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text[after_brackets..].find(':') else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(after_brackets + colon);
    let port = &port[1..];
    if port.is_empty() {
        return Ok((host, None));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAuthority::Port);
    }
    port.parse().map(|port| (host, Some(port))).map_err(|_| BadAuthority::Port)
}

fn trimmed<'a>(text: &'a str, host: Cow<'a, str>) -> Cow<'a, str> {
    match host {
        Cow::Borrowed(host) => Cow::Borrowed(&text[..host.len()]),
        owned => owned,
    }
}

fn has_plain_port(after_host: &str, port: u16) -> bool {
    let digits = after_host.strip_prefix(':').unwrap_or("");
    (digits.len() == 1 || !digits.starts_with('0')) && digits.parse() == Ok(port)
}

/// DNS names and IPv4 addresses; other characters that RFC 3986 allows in a `reg-name` name no host that is.
const fn is_name_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_authorities_get_one_spelling() {
        for (sent, normal, host, port) in [
            ("example.com", "example.com", "example.com", None),
            ("EXAMPLE.com:80", "example.com", "example.com", None),
            ("example.com:", "example.com", "example.com", None),
            ("example.com.", "example.com", "example.com", None),
            ("example.com.:8080", "example.com:8080", "example.com", Some(8080)),
            ("example.com:08080", "example.com:8080", "example.com", Some(8080)),
            ("example.com:443", "example.com:443", "example.com", Some(443)),
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", Some(8080)),
            ("[::1]", "[::1]", "[::1]", None),
            ("[::1]:9000", "[::1]:9000", "[::1]", Some(9000)),
            ("[0:0::0:1]:80", "[::1]", "[::1]", None),
            ("[2001:DB8::A]:81", "[2001:db8::a]:81", "[2001:db8::a]", Some(81)),
            ("a_b.example", "a_b.example", "a_b.example", None),
        ] {
            let authority = Authority::parse(sent, Scheme::Http).unwrap();
            assert_eq!(
                (authority.as_str(), authority.host(), authority.port()),
                (normal, host, port),
                "{sent}"
            );
        }
    }

    #[test]
    fn malformed_authorities_are_refused() {
        for (sent, why) in [
            ("", BadAuthority::Empty),
            (":80", BadAuthority::Empty),
            (".", BadAuthority::Empty),
            ("user@example.com", BadAuthority::Userinfo),
            ("a b", BadAuthority::Host),
            ("a/b", BadAuthority::Host),
            ("a,b", BadAuthority::Host),
            (".example.com", BadAuthority::Host),
            ("example.com..", BadAuthority::Host),
            ("a..example", BadAuthority::Host),
            ("::1", BadAuthority::Port),
            ("[::1", BadAuthority::Port),
            ("[fe80::1%25eth0]", BadAuthority::Host),
            ("[::1]x", BadAuthority::Host),
            ("example.com:x", BadAuthority::Port),
            ("example.com:+80", BadAuthority::Port),
            ("example.com:65536", BadAuthority::Port),
            ("example.com:80:80", BadAuthority::Port),
            ("ex%41mple.com", BadAuthority::Host),
        ] {
            assert_eq!(Authority::parse(sent, Scheme::Http).unwrap_err(), why, "{sent}");
        }
    }

    #[test]
    fn a_normal_authority_is_borrowed() {
        for text in ["example.com", "example.com:8443", "[::1]:8080"] {
            let authority = Authority::parse(text, Scheme::Https).unwrap();
            assert!(matches!(authority.text, Cow::Borrowed(kept) if kept == text), "{text}");
        }
    }

    proptest! {
        /// The short way and the long way come to the same.
        #[test]
        fn what_is_seen_at_one_look_is_what_the_rules_say(
            text in "[a-z0-9.-]{0,12}(:[0-9]{0,6})?",
            https in any::<bool>(),
        ) {
            let scheme = Scheme::of(https);
            if let Some(normal) = Authority::normal(&text, scheme) {
                // An upper-case letter more, and it takes the long way.
                let long = Authority::parse(&format!("X{text}"), scheme).map(|long| long.as_str()[1..].to_owned());
                prop_assert_eq!(long.as_deref(), Ok(normal.as_str()));
            }
        }

        #[test]
        fn the_normal_form_is_stable(text in "[a-zA-Z0-9.:\\[\\]@_-]{0,20}") {
            if let Ok(authority) = Authority::parse(&text, Scheme::Https) {
                let again = Authority::parse(authority.as_str(), Scheme::Https).unwrap();
                prop_assert_eq!(&again, &authority);
                prop_assert!(matches!(again.text, Cow::Borrowed(_)));
            }
        }
    }
}
