//! The key under which a route stores: the normalised path, the query as the route's key rules leave it, and what is
//! computed beside the request's fields.

use std::borrow::Cow;

use http::HeaderMap;

use super::settings::QueryPattern;
use super::site::Route;
use crate::cache::key::{KeyParts, Part};
use crate::http::target::Target;

/// What a request's key is made of, beside its fields.
pub(super) struct Keyed<'a> {
    route: &'a Route,
    target: &'a Target,
    /// Boxed, since most requests have none, and the future of a hit is moved about.
    made: Option<Box<Made<'a>>>,
}

/// What of a key is made rather than found in the request.
#[derive(Default)]
struct Made<'a> {
    /// Path and query, where they are not the request's own.
    target: Option<String>,
    /// Computed parts.
    extra: Vec<Part<'a>>,
}

impl<'a> Keyed<'a> {
    pub(super) fn of(route: &'a Route, target: &'a Target) -> Self {
        let path_and_query = target.path_and_query().as_str();
        let made = match key_target(path_and_query, target.query(), &route.cache.ignore_query) {
            Cow::Borrowed(_) => None,
            Cow::Owned(own) => Some(Box::new(Made { target: Some(own), extra: Vec::new() })),
        };
        Self { route, target, made }
    }

    /// The whole key of a request with these fields.
    pub(super) fn parts<'k>(&'k self, headers: &'k HeaderMap) -> KeyParts<'k> {
        let made = self.made.as_deref();
        KeyParts {
            upstream: &self.route.upstream_name,
            scheme: self.target.scheme().as_str(),
            authority: self.target.authority(),
            target: made
                .and_then(|made| made.target.as_deref())
                .unwrap_or(self.target.path_and_query().as_str()),
            fields: &self.route.key_fields,
            headers,
            extra: made.map_or(&[], |made| &made.extra),
        }
    }
}

/// Path and query for the key. Borrowed where nothing is left out.
pub(super) fn key_target<'a>(
    path_and_query: &'a str,
    query: Option<&str>,
    ignored: &[QueryPattern],
) -> Cow<'a, str> {
    let Some(query) = query.filter(|_| !ignored.is_empty()) else { return Cow::Borrowed(path_and_query) };
    if !query.split('&').any(|pair| is_ignored(pair, ignored)) {
        return Cow::Borrowed(path_and_query);
    }
    let path = &path_and_query[..path_and_query.len() - query.len() - 1];
    let mut kept = String::with_capacity(path_and_query.len());
    kept.push_str(path);
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !is_ignored(pair, ignored)) {
        kept.push(separator);
        kept.push_str(pair);
        separator = '&';
    }
    Cow::Owned(kept)
}

/// Whether a `name=value` pair is one that the rules leave out of the key.
///
/// Names are compared as they stand, undecoded: an origin that decodes `utm%5Fsource` sees another parameter than
/// the one that was ignored, so it must stay in the key.
fn is_ignored(pair: &str, ignored: &[QueryPattern]) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    ignored.iter().any(|pattern| match pattern {
        QueryPattern::Exact(exact) => **exact == *name,
        QueryPattern::Prefix(prefix) => name.starts_with(&**prefix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(full: &str) -> Cow<'_, str> {
        let ignored = [QueryPattern::Prefix("utm_".into()), QueryPattern::Exact("session".into())];
        key_target(full, full.split_once('?').map(|(_, query)| query), &ignored)
    }

    #[test]
    fn ignored_parameters_leave_the_key_and_the_others_keep_their_order() {
        for (sent, kept) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?b=1&a=2", "/a?b=1&a=2"),
            ("/a?utm_source=x", "/a"),
            ("/a?b=1&utm_source=x&a=2", "/a?b=1&a=2"),
            ("/a?session", "/a"),
            ("/a?sessions=1", "/a?sessions=1"),
            ("/a?utm%5Fsource=x", "/a?utm%5Fsource=x"),
        ] {
            assert_eq!(target(sent), kept, "{sent}");
        }
    }

    #[test]
    fn nothing_is_copied_where_nothing_is_left_out() {
        assert!(matches!(target("/a?b=1"), Cow::Borrowed(_)));
    }
}
