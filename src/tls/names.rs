//! Names of servers as certificates and SNI have them, and what is looked up by them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// A name that a certificate may be valid for: exact, or with a wildcard for its first label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// This very name, lower case.
    Exact(Box<str>),
    /// Any one label before this suffix, which begins with its dot (RFC 9525 6.3): `*.example.com` is not for
    /// `a.b.example.com`, and not for `example.com`.
    Wildcard(Box<str>),
}

impl NamePattern {
    /// Reads a name such as `example.com` or `*.example.com`; `None` where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.parse::<std::net::IpAddr>().is_ok() {
            return None;
        }
        match text.strip_prefix('*') {
            Some(suffix) => {
                let rest = suffix.strip_prefix('.')?;
                (is_name(rest) && rest.contains('.')).then(|| Self::Wildcard(suffix.into()))
            }
            None => is_name(&text).then(|| Self::Exact(text.into())),
        }
    }

    /// Whether it takes a name (lower case, without a final dot).
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Wildcard(suffix) => name.find('.').is_some_and(|dot| dot > 0 && name[dot..] == **suffix),
        }
    }

    /// Whether it takes every name that `other` takes.
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.takes(name),
            Self::Wildcard(_) => self == other,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Values by name; an exact name goes before a wildcard.
#[derive(Clone, Debug)]
pub(super) struct ByName<T> {
    exact: HashMap<Box<str>, T>,
    wildcards: HashMap<Box<str>, T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new() }
    }
}

impl<T> ByName<T> {
    /// The value of a pattern, made where there is none.
    pub(super) fn entry(&mut self, pattern: &NamePattern) -> &mut T
    where
        T: Default,
    {
        match pattern {
            NamePattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            NamePattern::Wildcard(suffix) => self.wildcards.entry(suffix.clone()).or_default(),
        }
    }

    /// What stands for a name, in whatever case.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        let name = lower(name);
        self.exact.get(&*name).or_else(|| {
            let dot = name.find('.').filter(|dot| *dot > 0)?;
            self.wildcards.get(&name[dot..])
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.wildcards.values_mut())
    }
}

/// A name in lower case, without the dot that DNS may end it with.
fn lower(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, takes, leaves) in [
            ("example.com", &["example.com"][..], &["a.example.com", "com"][..]),
            (
                "*.example.com",
                &["a.example.com", "b-1.example.com"],
                &["example.com", "a.b.example.com", ".example.com"],
            ),
            ("*.Example.COM.", &["a.example.com"], &["a.example.org"]),
        ] {
            let parsed = NamePattern::parse(pattern).unwrap();
            assert!(takes.iter().all(|name| parsed.takes(name)), "{pattern}");
            assert!(!leaves.iter().any(|name| parsed.takes(name)), "{pattern}");
        }
        for wrong in
            ["", "*", "*.", "*.com", "a.*.com", "a*.example.com", "a b", "a..b", "ä.example", "10.0.0.1"]
        {
            assert_eq!(NamePattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_exact_name_goes_before_the_wildcard() {
        let mut names: ByName<u8> = ByName::default();
        *names.entry(&NamePattern::parse("*.example.com").unwrap()) = 1;
        *names.entry(&NamePattern::parse("a.example.com").unwrap()) = 2;
        for (name, found) in [
            ("a.example.com", Some(&2)),
            ("A.EXAMPLE.com.", Some(&2)),
            ("b.example.com", Some(&1)),
            ("c.b.example.com", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(names.get(name), found, "{name}");
        }
    }
}
