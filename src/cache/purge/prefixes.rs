//! Values by the beginnings of texts: all beginnings of one text are found without looking at the others.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A sorted map from beginnings to values.
#[derive(Debug)]
pub(super) struct Prefixes<T>(BTreeMap<Box<[u8]>, T>);

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default> Prefixes<T> {
    /// The value of a beginning.
    pub(super) fn entry(&mut self, prefix: &str) -> &mut T {
        self.0.entry(prefix.as_bytes().into()).or_default()
    }

    /// Changes a beginning's value; it goes where `is_done` says so.
    pub(super) fn update(&mut self, prefix: &str, is_done: impl FnOnce(&mut T) -> bool) {
        if self.0.get_mut(prefix.as_bytes()).is_some_and(is_done) {
            self.0.remove(prefix.as_bytes());
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Shows the values of all beginnings of `text`, the longest first.
    ///
    /// The greatest key at or below the text either is a beginning of it, or tells by what it has in common with it how
    /// long a beginning can be at most: each step shortens the text.
    pub(super) fn each(&self, text: &[u8], mut show: impl FnMut(&T)) {
        let mut bound = Bound::Included(text);
        while let Some((prefix, value)) = self.0.range::<[u8], _>((Bound::Unbounded, bound)).next_back() {
            let common = prefix.iter().zip(text).take_while(|(a, b)| a == b).count();
            if common == prefix.len() {
                show(value);
                bound = Bound::Excluded(&text[..common]);
            } else {
                bound = Bound::Included(&text[..common]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(prefixes: &[&str], text: &str) -> Vec<String> {
        let mut map = Prefixes::<String>::default();
        for prefix in prefixes {
            *map.entry(prefix) = (*prefix).to_owned();
        }
        let mut found = Vec::new();
        map.each(text.as_bytes(), |prefix| found.push(prefix.clone()));
        found
    }

    #[test]
    fn all_beginnings_are_found_the_longest_first() {
        let all = ["", "/", "/a", "/a/", "/ab", "/a/b/c", "/b", "\u{fc}"];
        assert_eq!(found(&all, "/a/b"), ["/a/", "/a", "/", ""]);
        assert_eq!(found(&all, "/abc"), ["/ab", "/a", "/", ""]);
        assert_eq!(found(&all, "x"), [""]);
        assert_eq!(found(&all[1..], "x"), [""; 0]);
        assert_eq!(found(&[], "/"), [""; 0]);
    }

    #[test]
    fn a_value_that_is_done_goes() {
        let mut map = Prefixes::<u32>::default();
        *map.entry("/a") = 2;
        map.update("/a", |count| {
            *count -= 1;
            *count == 0
        });
        assert!(!map.is_empty());
        map.update("/b", |_| true);
        map.update("/a", |_| true);
        assert!(map.is_empty());
    }

    proptest! {
        #[test]
        fn as_looking_at_each_would(prefixes in proptest::collection::vec("[a-c]{0,5}", 0..20), text in "[a-c]{0,8}") {
            let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            let mut expected: Vec<&str> =
                prefixes.iter().copied().filter(|prefix| text.starts_with(prefix)).collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            expected.dedup();
            prop_assert_eq!(found(&prefixes, &text), expected);
        }
    }
}
