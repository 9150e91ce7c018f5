//! The purge tags of a reply: what its own fields name, what the route adds, and the groups that it belongs to.

use http::{HeaderMap, HeaderName};

use super::forward::ClientNames;
use super::settings::CacheSettings;
use crate::cache::purge::group;
use crate::http::cache_groups::{self, CACHE_GROUPS};

/// The most tags that one reply gets; the rest is left out.
const MAX_TAGS: usize = 128;

/// The longest tag, in bytes; longer ones are left out.
const MAX_TAG_BYTES: usize = 256;

/// All tags, each once, and the tags of its groups (RFC 9875 2) in the origin that the client `names`.
/// `Surrogate-Key` and `xkey` separate by white space and `Cache-Tag` by commas; neither may be part of a tag, so both
/// separate in each of them.
pub(super) fn tags(headers: &HeaderMap, cache: &CacheSettings, names: &ClientNames) -> Vec<Box<str>> {
    let mut tags: Vec<Box<str>> = cache.tags.clone();
    let own = cache
        .tag_headers
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ' ', '\t']))
        .filter(|tag| !tag.is_empty() && tag.len() <= MAX_TAG_BYTES);
    for tag in own {
        if tags.len() >= MAX_TAGS {
            break;
        }
        if !tags.iter().any(|known| **known == *tag) {
            tags.push(tag.into());
        }
    }
    tags.extend(groups(headers, &CACHE_GROUPS, names));
    tags
}

/// The tags of the groups that a field names.
pub(super) fn groups(
    headers: &HeaderMap,
    field: &HeaderName,
    names: &ClientNames,
) -> impl Iterator<Item = Box<str>> {
    cache_groups::groups(headers, field)
        .into_iter()
        .map(|name| group::tag(names.scheme, &names.authority, &name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(headers: &HeaderMap, cache: &CacheSettings) -> Vec<Box<str>> {
        super::tags(
            headers,
            cache,
            &ClientNames { scheme: "https", authority: "a.example".into(), proxy: "p".into() },
        )
    }

    #[test]
    fn tags_come_from_all_fields_and_from_the_route_each_once() {
        let mut headers = HeaderMap::new();
        headers.append("surrogate-key", "users  user-7".parse().unwrap());
        headers.append("cache-tag", "users, list".parse().unwrap());
        headers.append("xkey", "list v1".parse().unwrap());
        headers.append("cache-groups", "\"users\"".parse().unwrap());
        let cache = CacheSettings { tags: vec!["api".into()], ..CacheSettings::default() };
        let found = tags(&headers, &cache);
        assert_eq!(
            found.iter().map(|tag| &**tag).collect::<Vec<_>>(),
            ["api", "users", "user-7", "list", "v1", &group::tag("https", "a.example", "users")]
        );
    }

    #[test]
    fn neither_many_nor_long_tags_grow_an_entry_without_bound() {
        let mut headers = HeaderMap::new();
        let many = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        headers.append("surrogate-key", "x".repeat(1000).parse().unwrap());
        headers.append("surrogate-key", many.parse().unwrap());
        assert_eq!(tags(&headers, &CacheSettings::default()).len(), MAX_TAGS);
    }
}
