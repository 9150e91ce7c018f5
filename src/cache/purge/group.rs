//! Groups of responses that are invalidated together (RFC 9875), kept among an entry's tags.
//!
//! A group's tag names the origin too, since groups never reach beyond one (RFC 9875 2.1), and begins with a character
//! that neither a field nor the config can put into a tag: no group is ever taken for a tag, or a tag for a group.

/// ASCII's own group separator.
const MARK: char = '\u{1d}';

/// The tag of a group; `scheme` and `authority` are the origin's, as the client names it.
pub fn tag(scheme: &str, authority: &str, group: &str) -> Box<str> {
    format!("{MARK}{scheme}://{authority}{MARK}{group}").into()
}

/// The group that a tag stands for; `None`: it is a tag like any other.
pub fn of(tag: &str) -> Option<&str> {
    tag.strip_prefix(MARK)?.split_once(MARK).map(|(_, group)| group)
}

/// The names among an entry's tags that are no groups.
pub fn tags(tags: &[Box<str>]) -> impl Iterator<Item = &str> {
    tags.iter().map(|tag| &**tag).filter(|tag| of(tag).is_none())
}

/// The groups among an entry's tags.
pub fn groups(tags: &[Box<str>]) -> impl Iterator<Item = &str> {
    tags.iter().filter_map(|tag| of(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_its_origins_own_and_no_tag() {
        let all = [tag("https", "a.example", "x y"), "x y".into(), tag("http", "a.example:80", "")];
        assert_ne!(tag("https", "a.example", "x"), tag("http", "a.example", "x"));
        assert_ne!(tag("https", "a.example", "x"), tag("https", "a.example:8443", "x"));
        assert_ne!(tag("https", "a.example", "x"), tag("https", "a.example", "X"));
        assert_eq!(groups(&all).collect::<Vec<_>>(), ["x y", ""]);
        assert_eq!(tags(&all).collect::<Vec<_>>(), ["x y"]);
    }
}
