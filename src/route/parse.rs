//! Patterns from the strings that a config gives.

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::spec::{FieldMatch, HostPattern, PathPattern, Segment, segments};
use crate::http::authority::{BadAuthority, normal_host};
use crate::http::path::{BadPath, normalise_escapes};

/// Compiled size that one regular expression may have, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPattern {
    /// Not a host name.
    #[error("not a host name: {0}")]
    Host(#[from] BadAuthority),
    /// Routes match hosts without port.
    #[error("a host is matched without its port")]
    HostPort,
    /// The star stands elsewhere than alone in front.
    #[error(
        "`*` stands for the first labels only, as in `*.example.com`; leave `host` out to take every host"
    )]
    HostWildcard,
    /// Names outside ASCII travel in their encoded form.
    #[error("a name with other than ASCII letters is written in its `xn--` form")]
    HostNotAscii,
    /// Neither a path nor a regular expression.
    #[error("a path begins with `/`, a regular expression with `~`")]
    PathStart,
    /// What follows a path is not matched as path.
    #[error("`{0}` ends a path; a query parameter is matched with `query`")]
    PathEnd(char),
    /// Not well-formed.
    #[error("{0}")]
    Path(#[from] BadPath),
    /// Would never match.
    #[error("`.` and `..` are resolved before paths are matched, so this never matches")]
    PathDots,
    /// A star elsewhere than at the end.
    #[error("`*` stands only at the end and after `/`, as in `/users/*`; otherwise write `~ REGEX`")]
    PathStar,
    /// A prefix with parameters.
    #[error("a path with parameters ends in `{{*rest}}` to take what is below it, not in `*`")]
    ParamsStar,
    /// Braces that don't make a parameter.
    #[error("`{0}` is not a parameter: a whole segment such as `{{id}}`, or `{{*rest}}` as the last one")]
    Param(String),
    /// The same name twice.
    #[error("the parameter `{0}` is there twice")]
    ParamTwice(String),
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Regex(String),
}

impl HostPattern {
    /// Parses `api.example.com`, `*.example.com`, `192.0.2.1` or `[2001:db8::1]`. A wildcard takes every name below
    /// its own, however deep, but not that name itself.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if !text.is_ascii() {
            return Err(BadPattern::HostNotAscii);
        }
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        if host.contains('*') || (wildcard && host.starts_with('[')) {
            return Err(BadPattern::HostWildcard);
        }
        if !host.starts_with('[') && host.contains(':') {
            return Err(if host.parse::<std::net::Ipv6Addr>().is_ok() {
                BadPattern::Host(BadAuthority::Host)
            } else {
                BadPattern::HostPort
            });
        }
        if host.contains("]:") {
            return Err(BadPattern::HostPort);
        }
        let host = normal_host(host)?;
        Ok(if wildcard { Self::Wildcard(format!(".{host}").into()) } else { Self::Exact(host.into()) })
    }
}

impl PathPattern {
    /// Parses `/exact`, `/users/*`, `/users/{id}/posts`, `/files/{*rest}` or `~ REGEX`.
    ///
    /// `/users/*` takes `/users` and everything below it. A parameter takes one segment that is not empty,
    /// `{*rest}` at least one character. A regular expression is looked for anywhere in the path unless it is
    /// anchored. Literal parts are brought into the normal form that requests are compared in.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if let Some(regex) = text.strip_prefix('~') {
            return compile(regex).map(Self::Regex);
        }
        if !text.starts_with('/') {
            return Err(BadPattern::PathStart);
        }
        if let Some(end) = text.chars().find(|end| matches!(end, '?' | '#')) {
            return Err(BadPattern::PathEnd(end));
        }
        if text.contains(['{', '}']) {
            return params(text).map(|text| Self::Params(text.into()));
        }
        match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => Ok(Self::Prefix(literal(prefix)?.into())),
            Some(_) => Err(BadPattern::PathStar),
            None => Ok(Self::Exact(literal(text)?.into())),
        }
    }
}

impl FieldMatch {
    /// Parses `*` (present), `!` (absent), `~ REGEX`, or the very value.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        match text {
            "*" => Ok(Self::Present),
            "!" => Ok(Self::Absent),
            _ => match text.strip_prefix('~') {
                Some(regex) => compile(regex).map(Self::Regex),
                None => Ok(Self::Exact(text.into())),
            },
        }
    }
}

/// The whole of a literal path, or a segment of one, in normal form.
fn literal(text: &str) -> Result<String, BadPattern> {
    if text.contains('*') {
        return Err(BadPattern::PathStar);
    }
    let normal = normalise_escapes(text)?;
    if normal.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(BadPattern::PathDots);
    }
    Ok(normal.into_owned())
}

/// A path with parameters; checks what the index relies on.
pub(super) fn params(text: &str) -> Result<String, BadPattern> {
    if text.ends_with("/*") {
        return Err(BadPattern::ParamsStar);
    }
    let mut normal = String::with_capacity(text.len());
    let mut names: Vec<&str> = Vec::new();
    let mut all = segments(text).ok_or(BadPattern::PathStart)?.peekable();
    while let Some(segment) = all.next() {
        normal.push('/');
        let name = match segment {
            Segment::Literal(segment) if segment.contains(['{', '}']) => {
                return Err(BadPattern::Param(segment.to_owned()));
            }
            Segment::Literal(segment) => {
                normal.push_str(&literal(segment)?);
                continue;
            }
            Segment::Rest(name) if all.peek().is_some() => {
                return Err(BadPattern::Param(format!("{{*{name}}}")));
            }
            Segment::Rest(name) => {
                normal.push_str(&format!("{{*{name}}}"));
                name
            }
            Segment::Param(name) => {
                normal.push_str(&format!("{{{name}}}"));
                name
            }
        };
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        {
            return Err(BadPattern::Param(format!("{{{name}}}")));
        }
        if names.contains(&name) {
            return Err(BadPattern::ParamTwice(name.to_owned()));
        }
        names.push(name);
    }
    Ok(normal)
}

fn compile(text: &str) -> Result<Regex, BadPattern> {
    RegexBuilder::new(text.trim_start())
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| BadPattern::Regex(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_shown_as_they_are_written() {
        for text in [
            "/",
            "/exact",
            "/v1/users/*",
            "/*",
            "/users/{id}",
            "/users/{id}/",
            "/f/{a}/{*rest}",
            "~ ^/x",
            "/a//b/*",
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().to_string(), text);
        }
        for text in ["example.com", "*.example.com", "192.0.2.1", "[2001:db8::1]"] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), text);
        }
        for text in ["*", "!", "~ ^a", "gzip", ""] {
            assert_eq!(FieldMatch::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn patterns_are_brought_into_normal_form() {
        for (text, normal) in [
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/%7ea/*", "/~a/*"),
            ("/%7ea/{id}", "/~a/{id}"),
            ("~^/x", "~ ^/x"),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().to_string(), normal);
        }
        for (text, normal) in
            [("EXAMPLE.com", "example.com"), ("*.Example.COM.", "*.example.com"), ("[0::1]", "[::1]")]
        {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn what_is_no_path_pattern_says_why() {
        for (text, why) in [
            ("", "a path begins"),
            ("users", "a path begins"),
            ("/a?b=1", "`?` ends a path"),
            ("/a#b", "`#` ends a path"),
            ("/a*", "`*` stands only"),
            ("/a/*/b", "`*` stands only"),
            ("/a/**", "`*` stands only"),
            ("/a/{id}/*", "ends in `{*rest}`"),
            ("/a/{id}.json", "`{id}.json` is not a parameter"),
            ("/a/{}", "`{}` is not a parameter"),
            ("/a/{i d}", "`{i d}` is not a parameter"),
            ("/a/{*rest}/b", "`{*rest}` is not a parameter"),
            ("/a/{id", "`{id` is not a parameter"),
            ("/{a}/{a}", "`a` is there twice"),
            ("/a/../b", "never matches"),
            ("/{a}/%2e", "never matches"),
            ("/a%zz", "two hexadecimal digits"),
            ("~ (", "not a regular expression"),
            (r"~ \w{9000}", "not a regular expression"),
        ] {
            let error = PathPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_host_pattern_says_why() {
        for (text, why) in [
            ("", "the host is empty"),
            ("*", "`*` stands for"),
            ("a.*.example", "`*` stands for"),
            ("*.[::1]", "`*` stands for"),
            ("example.com:80", "without its port"),
            ("[::1]:80", "without its port"),
            ("::1", "the host is malformed"),
            ("b\u{fc}cher.example", "`xn--` form"),
            ("a b", "the host is malformed"),
        ] {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(text in "[/~]([a-c./*{}%é]|%2[ef]|\\{[ab]\\}){0,12}") {
            if let Ok(pattern) = PathPattern::parse(&text) {
                let shown = pattern.to_string();
                prop_assert_eq!(PathPattern::parse(&shown).unwrap().to_string(), shown);
            }
        }
    }
}
