//! The purge tags of a reply: what its own fields name, and what the route adds.

use http::HeaderMap;

use super::settings::CacheSettings;

/// The most tags that one reply gets; the rest is left out.
const MAX_TAGS: usize = 128;

/// The longest tag, in bytes; longer ones are left out.
const MAX_TAG_BYTES: usize = 256;

/// All tags, each once. `Surrogate-Key` separates by white space and `Cache-Tag` by commas; neither may be part of
/// a tag, so both separate in either field.
pub(super) fn tags(headers: &HeaderMap, cache: &CacheSettings) -> Vec<Box<str>> {
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
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_from_both_fields_and_from_the_route_each_once() {
        let mut headers = HeaderMap::new();
        headers.append("surrogate-key", "users  user-7".parse().unwrap());
        headers.append("cache-tag", "users, list".parse().unwrap());
        let cache = CacheSettings { tags: vec!["api".into()], ..CacheSettings::default() };
        let found = tags(&headers, &cache);
        assert_eq!(found.iter().map(|tag| &**tag).collect::<Vec<_>>(), ["api", "users", "user-7", "list"]);
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
