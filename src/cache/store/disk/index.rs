//! The rows beside an entry by which purges, listings and eviction find it. A row without its entry means nothing.

use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::{Digest, StoredKey};
use crate::cache::purge::{Criterion, Subject};
use crate::cache::store::EntryId;
use crate::clock::Timestamp;

/// The bytes of an entry's name.
pub(super) const ID: usize = 32;
/// Index rows hold no more than this of a target or a tag; the entry decides.
const MAX_TEXT: usize = 512;

/// The rows of one entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub path: Vec<u8>,
    pub tags: Vec<Vec<u8>>,
    pub expiry: Vec<u8>,
    pub route: Vec<u8>,
    /// Row and the body's length.
    pub body: Option<(Vec<u8>, u64)>,
}

impl Rows {
    pub(super) fn of(id: EntryId, entry: &Entry) -> Self {
        let name = key(id);
        let mut tags: Vec<_> =
            entry.tags.iter().map(|tag| [cut(tag.as_bytes()), b"\0", &name].concat()).collect();
        tags.sort_unstable();
        tags.dedup();
        Self {
            path: [entry.key.authority.as_bytes(), b"\0", cut(entry.key.target.as_bytes()), b"\0", &name]
                .concat(),
            tags,
            expiry: [&entry.keep_until.millis().to_be_bytes()[..], &name].concat(),
            route: [cut(entry.route.as_bytes()), b"\0", &name].concat(),
            body: match &entry.body {
                BodyRef::Bytes(_) => None,
                BodyRef::File(file) => Some(([&file.hash[..], &name].concat(), file.len)),
            },
        }
    }
}

/// Which tree to walk for a criterion, and under which prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    Entries(Vec<u8>),
    Paths(Vec<u8>),
    Tags(Vec<u8>),
    Routes(Vec<u8>),
}

impl Way {
    pub(super) fn of(criterion: &Criterion) -> Self {
        match criterion {
            Criterion::Key(digest) => Self::Entries(digest.0.to_vec()),
            Criterion::Url { authority, target }
            | Criterion::Prefix { authority: Some(authority), target } => {
                Self::Paths([authority.as_bytes(), b"\0", cut(target.as_bytes())].concat())
            }
            Criterion::Host(host) => Self::Paths(host.as_bytes().to_vec()),
            Criterion::Tag(tag) => Self::Tags([cut(tag.as_bytes()), b"\0"].concat()),
            Criterion::Glob(pattern) => match Criterion::literal(pattern) {
                Some((Some(host), target)) => {
                    Self::Paths([host.as_bytes(), b"\0", cut(target.as_bytes())].concat())
                }
                _ => Self::Entries(Vec::new()),
            },
            Criterion::Route(route) => Self::Routes([cut(route.as_bytes()), b"\0"].concat()),
            Criterion::Prefix { authority: None, .. } | Criterion::Before(_) | Criterion::All => {
                Self::Entries(Vec::new())
            }
        }
    }
}

/// The key under which an entry stands.
pub(super) fn key(id: EntryId) -> [u8; ID] {
    let mut key = [0; ID];
    key[..16].copy_from_slice(&id.digest.0);
    key[16..].copy_from_slice(&id.variant);
    key
}

/// The entry that a row names: its last bytes.
pub(super) fn id(row: &[u8]) -> Option<EntryId> {
    let name = row.get(row.len().checked_sub(ID)?..)?;
    Some(EntryId { digest: Digest(name[..16].try_into().ok()?), variant: name[16..].try_into().ok()? })
}

/// The time that an expiry row begins with.
pub(super) fn expiry(row: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_millis(u64::from_be_bytes(row.get(..8)?.try_into().ok()?)))
}

/// What a row by URL knows of its entry, without tags, route and time; of a target that it may not hold to its end
/// `wanted` is not asked, and the answer is yes.
pub(super) fn with_url(row: &[u8], wanted: &dyn Fn(&Subject<'_>) -> bool) -> bool {
    let known = || {
        let id = id(row)?;
        let text = row[..row.len() - ID].strip_suffix(b"\0")?;
        let at = text.iter().position(|byte| *byte == 0)?;
        let (authority, target) = (&text[..at], &text[at + 1..]);
        if target.len() >= MAX_TEXT {
            return None;
        }
        let text = |bytes| std::str::from_utf8(bytes).ok().map(Box::from);
        let key = StoredKey {
            upstream: "".into(),
            scheme: "".into(),
            authority: text(authority)?,
            target: text(target)?,
            fields: Vec::new(),
        };
        Some((id.digest, key))
    };
    known().is_none_or(|(digest, key)| {
        let response_time = Timestamp::from_millis(u64::MAX);
        wanted(&Subject { digest, key: &key, tags: &[], route: "", response_time })
    })
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::tests::entry;

    #[test]
    fn a_row_by_url_tells_what_rules_by_url_go_by() {
        for (target, told) in [("/", true), ("/x?\u{fc}", true), (&*format!("/{}", "x".repeat(600)), false)] {
            let mut stored = entry(target, b"");
            stored.key.authority = "a.example:8080".into();
            let digest = stored.key.digest();
            let row = Rows::of(EntryId::of(digest, &stored), &stored).path;
            let is_it = |subject: &Subject<'_>| {
                assert!(told, "{target}");
                subject.digest == digest
                    && subject.key.authority == stored.key.authority
                    && subject.key.target == stored.key.target
            };
            assert!(with_url(&row, &is_it), "{target}");
            assert_eq!(with_url(&row, &|_| false), !told, "{target}");
        }
        assert!(with_url(b"no row", &|_| false), "in doubt the entry is read");
    }

    #[test]
    fn a_glob_with_a_host_walks_that_host_alone() {
        let way = |pattern: &str| Way::of(&Criterion::Glob(pattern.into()));
        assert_eq!(way("a.example/x/*"), Way::Paths(b"a.example\0/x/".to_vec()));
        assert_eq!(way("*.example/x"), Way::Entries(Vec::new()));
        assert_eq!(way("a*"), Way::Entries(Vec::new()));
        assert_eq!(way("/x*"), Way::Entries(Vec::new()));
    }
}
