//! Subject alternative names of clients' certificates (RFC 5280 4.2.1.6), and what is asked of them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A DNS name, lower case.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE id.
    Uri(Box<str>),
    /// A mail address.
    Email(Box<str>),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
        }
    }
}

/// What a subject alternative name must be: its kind, and a text in which `*` stands for any characters (of a DNS name:
/// without dots), or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanPattern {
    /// `dns:*.example.com`
    Dns(Box<str>),
    /// `uri:spiffe://example.com/*`
    Uri(Box<str>),
    /// `email:*@example.com`
    Email(Box<str>),
    /// `ip:10.0.0.0/8`
    Ip(IpNet),
}

impl SanPattern {
    /// Reads a pattern; the error says what is wrong.
    ///
    /// # Errors
    /// When it has no kind, or is not of its kind.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, rest) = text.split_once(':').ok_or("it has no kind")?;
        if rest.is_empty() {
            return Err("nothing follows its kind");
        }
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it has spaces or control characters");
        }
        match kind {
            "dns" => Ok(Self::Dns(rest.to_ascii_lowercase().into())),
            "uri" if rest.contains(':') => Ok(Self::Uri(rest.into())),
            "uri" => Err("the URI has no scheme"),
            "email" if rest.contains('@') => Ok(Self::Email(rest.into())),
            "email" => Err("the mail address has no @"),
            "ip" => network(rest).map(Self::Ip).ok_or("it is not an address or a network"),
            _ => Err("there is no such kind"),
        }
    }

    /// Whether a name is as asked.
    pub fn takes(&self, san: &San) -> bool {
        match (self, san) {
            (Self::Dns(pattern), San::Dns(name)) => glob(pattern, name, |byte| byte != b'.'),
            (Self::Uri(pattern), San::Uri(uri)) => glob(pattern, uri, |_| true),
            (Self::Email(pattern), San::Email(address)) => mail(pattern, address),
            (Self::Ip(network), San::Ip(address)) => network.contains(address),
            _ => false,
        }
    }
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(pattern) => write!(f, "dns:{pattern}"),
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::Email(pattern) => write!(f, "email:{pattern}"),
            Self::Ip(network) => write!(f, "ip:{network}"),
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The part before the `@` is compared as it is, the domain in any case (RFC 5280 7.5).
fn mail(pattern: &str, address: &str) -> bool {
    let (Some((pattern_local, pattern_domain)), Some((local, domain))) =
        (pattern.rsplit_once('@'), address.rsplit_once('@'))
    else {
        return false;
    };
    let (pattern_domain, domain) = (pattern_domain.to_ascii_lowercase(), domain.to_ascii_lowercase());
    glob(pattern_local, local, |byte| byte != b'@') && glob(&pattern_domain, &domain, |byte| byte != b'.')
}

/// Whether `text` is as `pattern` says, in which `*` stands for bytes that `wild` takes. Linear but for one step back:
/// only the last `*` is ever taken up again.
fn glob(pattern: &str, text: &str, wild: fn(u8) -> bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, from)) = back.filter(|(_, from)| wild(text[*from])) {
            back = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_names_of_their_kind() {
        let dns = |name: &str| San::Dns(name.into());
        let uri = |uri: &str| San::Uri(uri.into());
        let email = |address: &str| San::Email(address.into());
        let ip = |address: &str| San::Ip(address.parse().unwrap());
        for (pattern, san, takes) in [
            ("dns:a.example", dns("a.example"), true),
            ("dns:A.example", dns("a.example"), true),
            ("dns:*.example", dns("a.example"), true),
            ("dns:*.example", dns("a.b.example"), false),
            ("dns:*.*.example", dns("a.b.example"), true),
            ("dns:*.example", uri("a.example:"), false),
            ("dns:api-*.example", dns("api-1.example"), true),
            ("uri:spiffe://example/*", uri("spiffe://example/ns/x/sa/y"), true),
            ("uri:spiffe://example/ns/*/sa/web", uri("spiffe://example/ns/x/sa/web"), true),
            ("uri:spiffe://example/*", uri("spiffe://example.evil/"), false),
            ("uri:spiffe://example/ns", uri("spiffe://example/ns/x"), false),
            ("email:*@example.com", email("ann@EXAMPLE.com"), true),
            ("email:*@example.com", email("ann@evil@example.com"), false),
            ("email:Ann@example.com", email("ann@example.com"), false),
            ("email:*@example.com", email("ann@a.example.com"), false),
            ("ip:10.0.0.0/8", ip("10.1.2.3"), true),
            ("ip:10.0.0.1", ip("10.0.0.2"), false),
            ("ip:::1", ip("::1"), true),
        ] {
            assert_eq!(SanPattern::parse(pattern).unwrap().takes(&san), takes, "{pattern} {san}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for wrong in ["", "a.example", "dns:", "dns:a b", "uri:x", "email:x", "ip:x", "oid:1.2"] {
            assert!(SanPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
