//! `Cache-Groups` and `Cache-Group-Invalidation` (RFC 9875): lists of opaque strings.

use http::{HeaderMap, HeaderName};

use super::structured::{BareItem, Item, List, Member};

/// Names the groups that a response belongs to.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// Names the groups that a reply to an unsafe request invalidates.
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The groups of one field that count; RFC 9875 2 and 3 ask for 32 at least.
const MAX_GROUPS: usize = 128;

/// The longest group in bytes; RFC 9875 2 and 3 ask for 32 at least.
const MAX_GROUP_BYTES: usize = 256;

/// The groups that a field names, each once; none where it is absent or is no list of strings. Parameters are ignored.
pub fn groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    let Some(List(members)) = List::of(headers, name) else { return Vec::new() };
    // One member of another type makes the field invalid as a whole (RFC 9651 2).
    let strings: Option<Vec<String>> = members.into_iter().map(string).collect();
    let mut groups: Vec<String> = Vec::new();
    for group in strings.unwrap_or_default() {
        if groups.len() < MAX_GROUPS && group.len() <= MAX_GROUP_BYTES && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn string(member: Member) -> Option<String> {
    match member {
        Member::Item(Item { value: BareItem::String(group), .. }) => Some(group),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, line.parse().unwrap());
        }
        groups(&headers, &CACHE_GROUPS)
    }

    #[test]
    fn a_list_of_strings_over_any_number_of_lines() {
        let table: &[(&[&str], &[&str])] = &[
            (&["\"scripts\""], &["scripts"]),
            (&["\"a\", \"b\"", "\"c\""], &["a", "b", "c"]),
            (&["\"a b, c\""], &["a b, c"]),
            (&["\"a\\\"b\""], &["a\"b"]),
            (&["\"A\", \"a\", \"A\""], &["A", "a"]),
            (&["\"a\";revalidate;x=1, \"b\""], &["a", "b"]),
            (&["\"\""], &[""]),
            (&[], &[]),
            (&[""], &[]),
            (&["scripts"], &[]),
            (&["\"a\", b"], &[]),
            (&["\"a\", (\"b\")"], &[]),
            (&["\"a\" \"b\""], &[]),
            (&["\"a"], &[]),
            (&["\"a\"", "\"b"], &[]),
            (&["\"a\", 1"], &[]),
        ];
        for (lines, expected) in table {
            assert_eq!(read(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn at_least_32_groups_of_32_characters_and_not_without_bound() {
        let list = |count: usize, len: usize| {
            let names = (0..count).map(|n| format!("\"{n:0len$}\"")).collect::<Vec<_>>();
            read(&[&names.join(", ")])
        };
        assert_eq!(list(32, 32).len(), 32);
        assert_eq!(list(MAX_GROUPS + 1, 32).len(), MAX_GROUPS);
        assert_eq!(list(2, MAX_GROUP_BYTES + 1).len(), 0);
    }
}
