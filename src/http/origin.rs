//! `Origin` (RFC 6454 7, the Fetch standard): where the script that asks came from. Patterns say whom a policy means.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};
use thiserror::Error;

/// Some origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// All of them, those too that tell nothing of themselves (`null`).
    Any,
    /// One, or those below a domain, or on any port.
    Like(Like),
}

/// Origins that have these parts, as browsers write them: in lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Like {
    scheme: Box<str>,
    /// Whether every name below the host is meant, and not the host itself.
    below: bool,
    host: Box<str>,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Own,
    Given(u16),
    Any,
}

/// Why a text is no pattern of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadOrigin {
    /// `null` is what every sandboxed page and local file says of itself.
    #[error("`null` is what any sandboxed page says of itself")]
    Null,
    /// There is no `://`.
    #[error("it has no scheme")]
    Scheme,
    /// There is no host, or one that no browser writes so.
    #[error("its host is none that a browser sends")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// Something follows the host and the port.
    #[error("an origin ends with its host or port")]
    Path,
    /// A star elsewhere than before a domain, or for the port.
    #[error("a `*` stands for whole names before a domain, or for the port")]
    Star,
}

impl OriginPattern {
    /// Reads `https://app.example.com`, `https://*.example.com`, `http://localhost:*` or `*`.
    ///
    /// # Errors
    /// When no origin could be meant.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Err(BadOrigin::Null),
            _ => {}
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadOrigin::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if !is_scheme(&scheme) {
            return Err(BadOrigin::Scheme);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(BadOrigin::Path);
        }
        let (host, port) = split_port(rest);
        let port = match port {
            None => Port::Own,
            Some("*") => Port::Any,
            Some(digits) => match number(digits).ok_or(BadOrigin::Port)? {
                port if own_port(&scheme) == Some(port) => Port::Own,
                port => Port::Given(port),
            },
        };
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if host.contains('*') {
            return Err(BadOrigin::Star);
        }
        let host = host.to_ascii_lowercase();
        if !is_host(&host) || below && host.starts_with('[') {
            return Err(BadOrigin::Host);
        }
        Ok(Self::Like(Like { scheme: scheme.into(), below, host: host.into(), port }))
    }

    /// Whether it means an origin, as `Origin` has it.
    pub fn takes(&self, origin: &str) -> bool {
        let Self::Like(like) = self else { return true };
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let (host, port) = split_port(rest);
        scheme == &*like.scheme && like.takes_host(host) && like.takes_port(port)
    }
}

impl Like {
    fn takes_host(&self, host: &str) -> bool {
        if !self.below {
            return host == &*self.host;
        }
        let below = host.strip_suffix(&*self.host).and_then(|below| below.strip_suffix('.'));
        below.is_some_and(is_host)
    }

    fn takes_port(&self, port: Option<&str>) -> bool {
        match (&self.port, port) {
            (Port::Own | Port::Any, None) => true,
            (Port::Own, Some(_)) | (Port::Given(_), None) => false,
            (Port::Given(wanted), Some(digits)) => number(digits) == Some(*wanted),
            (Port::Any, Some(digits)) => number(digits).is_some(),
        }
    }
}

impl std::fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Like(Like { scheme, below, host, port }) = self else { return f.write_str("*") };
        write!(f, "{scheme}://{}{host}", if *below { "*." } else { "" })?;
        match port {
            Port::Own => Ok(()),
            Port::Given(port) => write!(f, ":{port}"),
            Port::Any => f.write_str(":*"),
        }
    }
}

/// The origin that a request names; several say nothing.
pub fn of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(ORIGIN).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// RFC 3986 3.1.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A name in ASCII as the URL standard writes it, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.split('.').all(is_label)
}

fn split_port(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    }
}

/// As browsers write it: without a plus or zeros before it.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.starts_with(|first: char| ('1'..='9').contains(&first));
    plain.then(|| digits.parse().ok()).flatten()
}

fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_take_what_they_say() {
        for (pattern, origin, takes) in [
            ("*", "https://a.example", true),
            ("*", "null", true),
            ("https://a.example", "https://a.example", true),
            ("HTTPS://A.Example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://a.example.evil.test", false),
            ("https://a.example", "https://evil-a.example", false),
            ("https://a.example", "https://b.a.example", false),
            ("https://a.example", "https://a.example/", false),
            ("https://a.example", "null", false),
            ("https://a.example", "", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://evil.test/.example.com", false),
            ("https://*.example.com", "https://evil.test?.example.com", false),
            ("https://*.example.com", "https://evil.test#.example.com", false),
            ("https://*.example.com", "https://evil.test\\.example.com", false),
            ("https://*.example.com", "https://user@a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com", "https://a.example.com.evil.test", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost:03000", false),
            ("http://localhost:*", "http://localhost:", false),
            ("http://localhost:*", "http://localhost:1.evil.test", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", true),
        ] {
            assert_eq!(OriginPattern::parse(pattern).unwrap().takes(origin), takes, "{pattern} {origin}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for (text, why) in [
            ("null", BadOrigin::Null),
            ("example.com", BadOrigin::Scheme),
            ("://example.com", BadOrigin::Scheme),
            ("https://example.com/", BadOrigin::Path),
            ("https://example.com/app", BadOrigin::Path),
            ("https://", BadOrigin::Host),
            ("https://user@example.com", BadOrigin::Host),
            ("https://bücher.example", BadOrigin::Host),
            ("https://a..b", BadOrigin::Host),
            ("https://[::g]", BadOrigin::Host),
            ("https://*.[::1]", BadOrigin::Host),
            ("https://example.com:0", BadOrigin::Port),
            ("https://example.com:https", BadOrigin::Port),
            ("https://*", BadOrigin::Star),
            ("https://*example.com", BadOrigin::Star),
            ("https://a.*.com", BadOrigin::Star),
        ] {
            assert_eq!(OriginPattern::parse(text), Err(why), "{text}");
        }
    }

    proptest! {
        /// What a subdomain's pattern takes is a name below that domain, whatever is put before it.
        #[test]
        fn nothing_but_a_name_stands_for_the_star(before in "[ -~]{0,12}") {
            let pattern = OriginPattern::parse("https://*.example.com").unwrap();
            let taken = pattern.takes(&format!("https://{before}.example.com"));
            let labels = before.split('.').all(|label| {
                !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            });
            prop_assert_eq!(taken, labels);
        }

        #[test]
        fn a_pattern_reads_as_it_is_written(text in "[a-z]{1,5}://(\\*\\.)?[a-z]{1,4}(\\.[a-z]{1,3})?(:([1-9][0-9]{0,3}|\\*))?") {
            let pattern = OriginPattern::parse(&text).unwrap();
            prop_assert_eq!(OriginPattern::parse(&pattern.to_string()).unwrap(), pattern);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", origin in "\\PC{0,40}") {
            if let Ok(pattern) = OriginPattern::parse(&text) {
                pattern.takes(&origin);
            }
        }
    }
}
