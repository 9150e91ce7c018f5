//! The stored keys that are nearest to one that was asked for, and the parts in which they differ.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use super::EntryId;
use super::listing::blocking;
use super::report::Summary;
use super::shared::{Shared, judged};
use super::tiered::Cache;
use crate::cache::key::StoredKey;
use crate::cache::purge::Criterion;

/// Entries on disk that one search looks at: it must answer at once, however many there are.
const LOOKED_AT: usize = 5000;
/// Entries read at a time.
const PART: usize = 256;

/// One part in which two keys differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A part that may be shown: what was asked for, and what is stored; `None` where it is absent.
    Part {
        /// Its name: `upstream`, `scheme`, `host`, `path`, or `query NAME`.
        name: String,
        /// As asked for.
        asked: Option<String>,
        /// As stored.
        stored: Option<String>,
    },
    /// A part that is kept as a keyed hash: the values differ, or only one of the two has it.
    Hidden {
        /// Its name.
        name: String,
        /// Whether the request has it.
        asked: bool,
        /// Whether the stored key has it.
        stored: bool,
    },
}

/// The parts in which a stored key differs from the one asked for, in the key's order.
pub fn differences(asked: &StoredKey, stored: &StoredKey) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut part = |name: &str, a: &str, b: &str| {
        if a != b {
            found.push(Difference::Part { name: name.into(), asked: Some(a.into()), stored: Some(b.into()) });
        }
    };
    part("upstream", &asked.upstream, &stored.upstream);
    part("scheme", &asked.scheme, &stored.scheme);
    part("host", &asked.authority, &stored.authority);
    let ((path, query), (other_path, other_query)) = (split(&asked.target), split(&stored.target));
    part("path", path, other_path);
    found.extend(queries(query, other_query));
    found.extend(hidden(asked, stored));
    found
}

fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Parameters that only one of the queries has, or with another value; where all are the same, their order.
fn queries(asked: Option<&str>, stored: Option<&str>) -> Vec<Difference> {
    if asked == stored {
        return Vec::new();
    }
    let pairs = |query: Option<&str>| -> Vec<(String, String)> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (asked_pairs, stored_pairs) = (pairs(asked), pairs(stored));
    let value = |pairs: &[(String, String)], name: &str| {
        let values: Vec<&str> =
            pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let mut seen = HashSet::new();
    let names = asked_pairs.iter().chain(&stored_pairs).map(|(name, _)| name);
    let differing: Vec<Difference> = names
        .filter(|name| seen.insert(name.as_str()))
        .map(|name| (name, value(&asked_pairs, name), value(&stored_pairs, name)))
        .filter(|(_, asked, stored)| asked != stored)
        .map(|(name, asked, stored)| Difference::Part { name: format!("query {name}"), asked, stored })
        .collect();
    if !differing.is_empty() {
        return differing;
    }
    let whole = |query: Option<&str>| query.map(|query| format!("?{query}"));
    vec![Difference::Part { name: "query".into(), asked: whole(asked), stored: whole(stored) }]
}

fn hidden(asked: &StoredKey, stored: &StoredKey) -> Vec<Difference> {
    let mut seen = HashSet::new();
    let names = asked.fields.iter().chain(&stored.fields).map(|(name, _)| name);
    names
        .filter(|name| seen.insert(&**name))
        .filter_map(|name| {
            let value = |key: &StoredKey| key.fields.iter().find(|(known, _)| known == name).cloned();
            let (a, b) = (value(asked), value(stored));
            (a != b).then(|| Difference::Hidden {
                name: name.to_string(),
                asked: a.is_some_and(|(_, hash)| hash.is_some()),
                stored: b.is_some_and(|(_, hash)| hash.is_some()),
            })
        })
        .collect()
}

impl Cache {
    /// The stored entries whose keys come nearest to `key` without being it, the nearest first: other queries of the
    /// same path, the same URL with another key part, scheme or upstream, the same path under another host, letter
    /// case or final slash. Looks at a bounded number of entries.
    pub async fn nearest(&self, key: StoredKey, limit: usize) -> Vec<(Summary, Vec<Difference>)> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut seen = HashSet::new();
            let mut found: Vec<(Summary, Vec<Difference>)> = candidates(&shared, &key)
                .into_iter()
                .filter(|summary| summary.entry.key != key && seen.insert(summary.id))
                .map(|summary| {
                    let differences = differences(&key, &summary.entry.key);
                    (summary, differences)
                })
                .collect();
            found.sort_by_key(|(summary, differences)| {
                (differences.len(), Reverse(summary.entry.head.response_time), summary.id)
            });
            found.truncate(limit);
            found
        })
        .await
    }
}

/// What may be near: in RAM all that is, on disk what stands under the same host and the beginning of the path.
fn candidates(shared: &Shared, key: &StoredKey) -> Vec<Summary> {
    let mut found = Vec::new();
    let book = shared.rules.read();
    let mut take = |id: EntryId, entry: Arc<crate::cache::entry::Entry>| {
        if is_near(&key.target, &entry.key.target) {
            found.extend(judged(&book, id.digest, entry).map(|entry| Summary { id, entry }));
        }
    };
    for resource in shared.memory.iter() {
        for entry in &resource.variants {
            take(EntryId::of(resource.digest, entry), entry.clone());
        }
    }
    let Some(tier) = shared.disk.load_full() else { return found };
    let beginning = Criterion::Prefix {
        authority: Some(key.authority.clone()),
        target: split(&key.target).0.trim_end_matches('/').into(),
    };
    let (mut after, mut looked_at) = (None, 0);
    while looked_at < LOOKED_AT {
        let Ok(part) = tier.store.candidates(&beginning, after.as_deref(), PART) else { break };
        looked_at += part.entries.len().max(1);
        for (id, entry) in part.entries {
            take(id, Arc::new(entry));
        }
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    found
}

/// Whether two targets have the same path but for letter case and a final slash.
fn is_near(target: &str, other: &str) -> bool {
    let path = |target| split(target).0.trim_end_matches('/');
    path(target).eq_ignore_ascii_case(path(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::FieldHash;

    fn key(upstream: &str, url: &str, fields: &[(&str, Option<u8>)]) -> StoredKey {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, target) = rest.split_at(rest.find('/').unwrap());
        StoredKey {
            upstream: upstream.into(),
            scheme: scheme.into(),
            authority: authority.into(),
            target: target.into(),
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).into(), value.map(|byte| FieldHash([byte; 16]))))
                .collect(),
        }
    }

    #[test]
    fn each_part_that_differs_is_named_and_hashed_ones_say_no_more() {
        let asked = key("api", "http://a/x?b=1&c=2", &[("authorization", Some(1)), ("accept", None)]);
        let told = |stored: StoredKey| {
            differences(&asked, &stored)
                .into_iter()
                .map(|difference| match difference {
                    Difference::Part { name, asked, stored } => {
                        format!("{name} {}/{}", asked.unwrap_or_default(), stored.unwrap_or_default())
                    }
                    Difference::Hidden { name, asked, stored } => format!("{name} {asked}/{stored}"),
                })
                .collect::<Vec<_>>()
                .join("; ")
        };
        let fields = [("authorization", Some(1)), ("accept", None)];
        for (upstream, url, fields, expected) in [
            ("api", "http://a/x?b=1&c=2", &fields[..], ""),
            (
                "other",
                "https://b/X?b=1&c=2",
                &fields,
                "upstream api/other; scheme http/https; host a/b; path /x//X",
            ),
            ("api", "http://a/x?b=2&d=3", &fields, "query b 1/2; query c 2/; query d /3"),
            ("api", "http://a/x?c=2&b=1", &fields, "query ?b=1&c=2/?c=2&b=1"),
            (
                "api",
                "http://a/x?b=1&c=2",
                &[("authorization", Some(2)), ("accept", Some(1))],
                "authorization true/true; accept false/true",
            ),
            ("api", "http://a/x?b=1&c=2", &[], "authorization true/false; accept false/false"),
        ] {
            assert_eq!(told(key(upstream, url, fields)), expected, "{upstream} {url}");
        }
    }

    #[test]
    fn a_path_is_near_whatever_its_case_final_slash_or_query() {
        for (one, other, near) in [
            ("/a", "/a?x", true),
            ("/a", "/A/", true),
            ("/", "/?b", true),
            ("/a", "/ab", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(is_near(one, other), near, "{one} {other}");
        }
    }
}
