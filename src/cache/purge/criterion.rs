//! What a purge takes.

use crate::cache::entry::Entry;
use crate::cache::key::{Digest, StoredKey};
use crate::clock::Timestamp;

/// What a purge takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// One key, with all its variants.
    Key(Digest),
    /// One URL under every upstream, scheme, key field and variant.
    Url {
        /// Lower-case host, with the port unless it is the scheme's own.
        authority: Box<str>,
        /// Normalised path and query.
        target: Box<str>,
    },
    /// Every URL whose path and query begin so.
    Prefix {
        /// Lower-case host (with its port, if not the scheme's own); `None` means every host.
        authority: Option<Box<str>>,
        /// The beginning of path and query.
        target: Box<str>,
    },
    /// Every URL, written `host/path?query`, that the pattern matches: `*` is any run of characters, `?` is itself.
    /// A pattern that begins with `/` is matched against path and query alone.
    Glob(Box<str>),
    /// Every URL of a host; without a port it means the host on all ports.
    Host(Box<str>),
    /// Everything that a route stored.
    Route(Box<str>),
    /// Everything that carries a tag.
    Tag(Box<str>),
    /// Everything whose response arrived before.
    Before(Timestamp),
    /// Everything.
    All,
}

/// What a criterion looks at: an entry, or what a store's index knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The key's digest.
    pub digest: Digest,
    /// The key.
    pub key: &'a StoredKey,
    /// The names by which it can be purged.
    pub tags: &'a [Box<str>],
    /// The route that stored it.
    pub route: &'a str,
    /// When its response arrived.
    pub response_time: Timestamp,
}

impl<'a> Subject<'a> {
    /// The entry as a criterion sees it.
    pub fn of(digest: Digest, entry: &'a Entry) -> Self {
        Self {
            digest,
            key: &entry.key,
            tags: &entry.tags,
            route: &entry.route,
            response_time: entry.head.response_time,
        }
    }
}

impl Criterion {
    /// The host of an authority that has a port.
    pub(super) fn without_port(authority: &str) -> Option<&str> {
        let (host, port) = authority.rsplit_once(':')?;
        (!port.contains(']')).then_some(host)
    }

    /// What a pattern names outright: its host, if it has one, and how its targets begin; `None`: the host has a
    /// wildcard.
    pub(in crate::cache) fn literal(pattern: &str) -> Option<(Option<&str>, &str)> {
        let literal = &pattern[..pattern.find('*').unwrap_or(pattern.len())];
        let (host, target) = literal.split_at(literal.find('/')?);
        Some(((!host.is_empty()).then_some(host), target))
    }

    /// Whether it takes this entry.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        let key = subject.key;
        match self {
            Self::Key(digest) => *digest == subject.digest,
            Self::Url { authority, target } => *authority == key.authority && *target == key.target,
            Self::Prefix { authority, target } => {
                authority.as_ref().is_none_or(|authority| *authority == key.authority)
                    && key.target.starts_with(&**target)
            }
            Self::Glob(pattern) if pattern.starts_with('/') => {
                glob(pattern.as_bytes(), &[key.target.as_bytes()])
            }
            Self::Glob(pattern) => {
                glob(pattern.as_bytes(), &[key.authority.as_bytes(), key.target.as_bytes()])
            }
            Self::Host(host) => is_host(&key.authority, host),
            Self::Route(route) => **route == *subject.route,
            Self::Tag(tag) => subject.tags.contains(tag),
            Self::Before(time) => subject.response_time < *time,
            Self::All => true,
        }
    }
}

/// Whether `authority` is `host`, or `host` on some port.
fn is_host(authority: &str, host: &str) -> bool {
    authority == host || Criterion::without_port(authority) == Some(host)
}

/// Matches `*` wildcards against the concatenation of `parts`: one pass with one point to go back to, so that
/// no pattern is slower than pattern times text.
fn glob(pattern: &[u8], parts: &[&[u8]]) -> bool {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let at = |mut index: usize| {
        for part in parts {
            if index < part.len() {
                return part[index];
            }
            index -= part.len();
        }
        0
    };
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < len {
        if p < pattern.len() && pattern[p] == b'*' {
            back = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == at(t) {
            p += 1;
            t += 1;
        } else if let Some((after_star, start)) = back {
            back = Some((after_star, start + 1));
            p = after_star;
            t = start + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(authority: &str, target: &str) -> StoredKey {
        StoredKey {
            upstream: "api".into(),
            scheme: "http".into(),
            authority: authority.into(),
            target: target.into(),
            fields: Vec::new(),
        }
    }

    fn takes(criterion: &Criterion, authority: &str, target: &str) -> bool {
        let key = key(authority, target);
        criterion.takes(&Subject {
            digest: key.digest(),
            key: &key,
            tags: &["red".into()],
            route: "users",
            response_time: Timestamp::from_secs(100),
        })
    }

    #[test]
    fn each_criterion_takes_what_it_names() {
        let table: &[(Criterion, &str, &str, bool)] = &[
            (Criterion::Url { authority: "a".into(), target: "/x?q".into() }, "a", "/x?q", true),
            (Criterion::Url { authority: "a".into(), target: "/x".into() }, "a", "/x?q", false),
            (Criterion::Url { authority: "b".into(), target: "/x?q".into() }, "a", "/x?q", false),
            (Criterion::Prefix { authority: None, target: "/v1/".into() }, "a", "/v1/users", true),
            (
                Criterion::Prefix { authority: Some("b".into()), target: "/v1/".into() },
                "a",
                "/v1/users",
                false,
            ),
            (Criterion::Glob("a/*/x".into()), "a", "/1/2/x", true),
            (Criterion::Glob("a/*/x".into()), "b", "/1/2/x", false),
            (Criterion::Glob("/*.png".into()), "b", "/i/a.png", true),
            (Criterion::Glob("/*.png".into()), "b", "/i/a.png?s", false),
            (Criterion::Glob("*".into()), "b", "/", true),
            (Criterion::Host("a".into()), "a:8080", "/", true),
            (Criterion::Host("a:8080".into()), "a:8080", "/", true),
            (Criterion::Host("a:80".into()), "a:8080", "/", false),
            (Criterion::Host("a".into()), "ab", "/", false),
            (Criterion::Host("[::1]".into()), "[::1]:80", "/", true),
            (Criterion::Route("users".into()), "a", "/", true),
            (Criterion::Route("other".into()), "a", "/", false),
            (Criterion::Tag("red".into()), "a", "/", true),
            (Criterion::Tag("blue".into()), "a", "/", false),
            (Criterion::Before(Timestamp::from_secs(101)), "a", "/", true),
            (Criterion::Before(Timestamp::from_secs(100)), "a", "/", false),
            (Criterion::All, "a", "/", true),
        ];
        for (criterion, authority, target, expected) in table {
            assert_eq!(
                takes(criterion, authority, target),
                *expected,
                "{criterion:?} on {authority}{target}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let target = "/".repeat(4000);
        assert!(!takes(&Criterion::Glob(format!("/{}x", "*/".repeat(200)).into()), "a", &target));
    }
}
