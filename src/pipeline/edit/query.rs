//! Edits of the query, parameter by parameter. What no edit names stays as it came, byte for byte.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::pipeline::settings::QueryPattern;

/// What becomes of a query, in this order. Names are compared decoded, and case counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryEdit {
    /// Other names for parameters.
    pub rename: Vec<(Box<str>, Box<str>)>,
    /// Parameters that go.
    pub remove: Vec<QueryPattern>,
    /// Parameters that have this value and no other.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Parameters that are there beside any others of their name.
    pub add: Vec<(Box<str>, Box<str>)>,
}

/// What may stand as it is in names and values (RFC 3986 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl QueryEdit {
    /// Whether it leaves every query alone.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The query that is forwarded; `None`: there is none.
    pub fn apply<'a>(&self, query: Option<&'a str>) -> Option<Cow<'a, str>> {
        if self.is_empty() {
            return query.map(Cow::Borrowed);
        }
        let came = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<Cow<'_, str>> = came.map(|pair| self.renamed(pair)).collect();
        pairs.retain(|pair| !self.remove.iter().any(|pattern| is_named(pattern, &name(pair))));
        for (wanted, value) in &self.set {
            let first = pairs.iter().position(|pair| name(pair) == **wanted).unwrap_or(pairs.len());
            pairs.retain(|pair| name(pair) != **wanted);
            pairs.insert(first.min(pairs.len()), written(wanted, value).into());
        }
        pairs.extend(self.add.iter().map(|(name, value)| Cow::Owned(written(name, value))));
        if pairs.is_empty() {
            query.filter(|query| query.is_empty()).map(Cow::Borrowed)
        } else {
            Some(pairs.join("&").into())
        }
    }

    fn renamed<'a>(&self, pair: &'a str) -> Cow<'a, str> {
        let own = name(pair);
        let Some((_, other)) = self.rename.iter().find(|(from, _)| **from == *own) else {
            return Cow::Borrowed(pair);
        };
        let value = pair.find('=').map_or("", |at| &pair[at..]);
        Cow::Owned(format!("{}{value}", utf8_percent_encode(other, ENCODED)))
    }
}

/// The name of a parameter, decoded.
fn name(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
    percent_decode_str(&name).decode_utf8_lossy().into_owned()
}

fn is_named(pattern: &QueryPattern, name: &str) -> bool {
    match pattern {
        QueryPattern::Exact(exact) => **exact == *name,
        QueryPattern::Prefix(prefix) => name.starts_with(&**prefix),
    }
}

fn written(name: &str, value: &str) -> String {
    format!("{}={}", utf8_percent_encode(name, ENCODED), utf8_percent_encode(value, ENCODED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit() -> QueryEdit {
        QueryEdit {
            rename: vec![("q".into(), "search".into())],
            remove: vec![QueryPattern::Prefix("utm_".into()), QueryPattern::Exact("debug".into())],
            set: vec![("format".into(), "json & more".into())],
            add: vec![("via".into(), "edge".into())],
        }
    }

    #[test]
    fn rename_then_remove_then_set_then_add() {
        let fixed = "format=json%20%26%20more&via=edge";
        for (query, becomes) in [
            (None, fixed.to_owned()),
            (Some(""), fixed.to_owned()),
            (Some("a=1&b"), format!("a=1&b&{fixed}")),
            (Some("q=%20x&%71=y&a"), format!("search=%20x&search=y&a&{fixed}")),
            (Some("utm_a=1&%75tm_b&utm+c&a"), format!("utm+c&a&{fixed}")),
            (Some("debug=1&Debug=2"), format!("Debug=2&{fixed}")),
            (Some("a&format=xml&b&for%6Dat=yaml"), "a&format=json%20%26%20more&b&via=edge".to_owned()),
            (Some("via=x"), "via=x&format=json%20%26%20more&via=edge".to_owned()),
        ] {
            assert_eq!(edit().apply(query).as_deref(), Some(&*becomes), "{query:?}");
        }
    }

    #[test]
    fn a_query_of_which_nothing_is_left_is_none() {
        let edit = QueryEdit { remove: vec![QueryPattern::Exact("a".into())], ..QueryEdit::default() };
        assert_eq!(edit.apply(Some("a=1")), None);
        assert_eq!(edit.apply(Some("")).as_deref(), Some(""));
        assert_eq!(edit.apply(Some("b=%7E&&c")).as_deref(), Some("b=%7E&c"));
        assert_eq!(QueryEdit::default().apply(Some("a&&b=%7E")).as_deref(), Some("a&&b=%7E"));
    }
}
