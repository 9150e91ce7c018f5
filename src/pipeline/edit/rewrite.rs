//! Rewrites of what is asked for: path and query, as the origin gets them.
//!
//! Routes are chosen by what the client sent; keys, purges and the origin go by what comes out here. So that the two never
//! differ in what they mean, what comes out is in the one normal form of `http::path`, and what a rewrite alone made of
//! dots or slashes is refused: it would lead where no route was asked about.

use regex::Regex;
use thiserror::Error;

use super::query::QueryEdit;
use crate::http::path;
use crate::http::target::{BadTarget, Target};

/// What becomes of the target of a request.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Whole segments at the beginning that are taken away.
    pub strip_prefix: Option<Box<str>>,
    /// What is replaced then, one after the other.
    pub replace: Vec<Replace>,
    /// What is put before all that.
    pub add_prefix: Option<Box<str>>,
    /// Whether paths that replies name stay as the origin wrote them.
    pub keep_locations: bool,
    /// What becomes of the query.
    pub query: QueryEdit,
}

/// A replacement in the path.
#[derive(Clone, Debug)]
pub struct Replace {
    /// What is replaced, wherever it is found.
    pub regex: Regex,
    /// By what; `$1` and `${name}` are groups.
    pub with: Box<str>,
}

/// Why what a rewrite made is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadRewrite {
    /// A segment `.` or `..` that the client did not send.
    #[error("the rewrite made a dot segment")]
    DotSegment,
    /// An encoded slash or backslash that the client did not send.
    #[error("the rewrite made an encoded slash")]
    Slash,
    /// No path, or too long a one.
    #[error("the rewrite made what is no target: {0}")]
    Target(#[from] BadTarget),
}

impl Rewrite {
    /// The target that is forwarded.
    ///
    /// # Errors
    /// When the path that comes out could mean something else to the origin than to a route.
    pub fn apply(&self, target: &Target) -> Result<Target, BadRewrite> {
        let text = self.text(target.path_and_query().as_str())?;
        Ok(target.forwarded(text)?)
    }

    /// Path and query in normal form, rewritten.
    ///
    /// # Errors
    /// As [`Rewrite::apply`].
    pub fn text(&self, path_and_query: &str) -> Result<String, BadRewrite> {
        // RFC 9112 3.2.4: it asks about the server, not about a path.
        if path_and_query == "*" {
            return Ok(path_and_query.to_owned());
        }
        let (path, query) = path_and_query
            .split_once('?')
            .map_or((path_and_query, None), |(path, query)| (path, Some(query)));
        let mut text = self.path(path)?;
        if let Some(query) = self.query.apply(query) {
            text.push('?');
            text.push_str(&query);
        }
        Ok(text)
    }

    /// The path, in normal form, by which a client asks for what the origin calls so: one that is forwarded as exactly this.
    /// `None` where there is none without doubt: replacements have no inverse, and a path below the prefix that is
    /// stripped, where none is added, may be the client's own already.
    pub fn client_path(&self, forwarded: &str) -> Option<String> {
        if self.keep_locations || !self.replace.is_empty() {
            return None;
        }
        let escapes = path::normalise_escapes(forwarded).ok()?;
        let normal = path::normalise(&escapes).ok()?;
        if normal != escapes {
            // Dot segments may lead out of a prefix.
            return None;
        }
        let rest = match (&self.strip_prefix, &self.add_prefix) {
            (_, Some(added)) => below(&normal, added)?,
            (Some(stripped), None) if below(&normal, stripped).is_none() => &*normal,
            _ => return None,
        };
        let client = match (self.strip_prefix.as_deref(), rest) {
            (None, "") => "/".to_owned(),
            (prefix, rest) => format!("{}{rest}", prefix.unwrap_or_default()),
        };
        // What begins with `//` would be read as an authority.
        (!client.starts_with("//") && self.path(&client).ok()? == normal).then_some(client)
    }

    fn path(&self, path: &str) -> Result<String, BadRewrite> {
        let mut text = self.stripped(path).to_owned();
        for Replace { regex, with } in &self.replace {
            text = regex.replace_all(&text, &**with).into_owned();
        }
        if let Some(prefix) = &self.add_prefix {
            let joined = if text == "/" && path != "/" { "" } else { text.as_str() };
            text = format!("{prefix}{joined}");
        }
        if !text.starts_with('/') || text.contains(['?', '#']) {
            return Err(BadTarget::Form.into());
        }
        let normal = path::normalise_escapes(&text).map_err(BadTarget::from)?;
        if path::has_dot_segment(&normal) {
            return Err(BadRewrite::DotSegment);
        }
        if slashes(&normal) > slashes(path) {
            return Err(BadRewrite::Slash);
        }
        // Dots that only some recipients take for segments, and control characters.
        path::normalise(&normal).map_err(BadTarget::from)?;
        Ok(normal.into_owned())
    }

    /// Without the prefix, where it is the path or whole segments of it.
    fn stripped<'a>(&self, path: &'a str) -> &'a str {
        match self.strip_prefix.as_deref().and_then(|prefix| below(path, prefix)) {
            Some("") => "/",
            Some(rest) => rest,
            None => path,
        }
    }
}

/// What follows a prefix of whole segments: nothing, or a path.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Slashes and backslashes in a normal path that are no separators.
fn slashes(path: &str) -> usize {
    path.matches("%2F").count() + path.matches("%5C").count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(strip: &str, replace: &[(&str, &str)], add: &str) -> Rewrite {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        let replace = replace
            .iter()
            .map(|(regex, with)| Replace { regex: Regex::new(regex).unwrap(), with: (*with).into() });
        Rewrite {
            strip_prefix: some(strip),
            replace: replace.collect(),
            add_prefix: some(add),
            keep_locations: false,
            query: QueryEdit::default(),
        }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        for (strip, add, path, becomes) in [
            ("/api", "", "/api/users", "/users"),
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/apis", "/apis"),
            ("/api", "", "/api../x", "/api../x"),
            ("/api", "", "/x/api/y", "/x/api/y"),
            ("/api", "/v1", "/api/users?q=1", "/v1/users?q=1"),
            ("/api", "/v1", "/api", "/v1"),
            ("", "/v1", "/users", "/v1/users"),
            ("", "/v1", "/", "/v1/"),
            ("/api", "", "*", "*"),
        ] {
            assert_eq!(rewrite(strip, &[], add).text(path).as_deref(), Ok(becomes), "{strip} {add} {path}");
        }
    }

    #[test]
    fn what_a_prefix_made_is_turned_back_where_there_is_no_doubt() {
        for (strip, add, forwarded, client) in [
            ("/api", "", "/items/1", Some("/api/items/1")),
            ("/api", "", "/", Some("/api/")),
            ("/api", "", "/a%2fb%7e", Some("/api/a%2Fb~")),
            ("/api", "", "/apis", Some("/api/apis")),
            ("/api", "", "/api/items", None),
            ("/api", "", "/api", None),
            ("/api", "", "/../x", None),
            ("/api", "", "/%2e%2E/x", None),
            ("/api", "", "//a", Some("/api//a")),
            ("/api", "", "/%zz", None),
            ("/api", "/v1", "/v1/items", Some("/api/items")),
            ("/api", "/v1", "/v1", Some("/api")),
            ("/api", "/v1", "/v1s", None),
            ("/api", "/v1", "/items", None),
            ("/api", "/v1", "/v1/../x", None),
            ("/api", "/api/v1", "/api/v1/x", Some("/api/x")),
            ("", "/v1", "/v1/items", Some("/items")),
            ("", "/v1", "/v1/", Some("/")),
            ("", "/v1", "/v1", None),
            ("", "/v1", "/v1//evil.example", None),
            ("", "/v1", "/items", None),
            ("", "", "/items", None),
        ] {
            let found = rewrite(strip, &[], add).client_path(forwarded);
            assert_eq!(found.as_deref(), client, "{strip} {add} {forwarded}");
        }
        let replaces = rewrite("/api", &[("x", "y")], "");
        assert_eq!(replaces.client_path("/items"), None);
        let keeps = Rewrite { keep_locations: true, ..rewrite("/api", &[], "") };
        assert_eq!(keeps.client_path("/items"), None);
    }

    #[test]
    fn expressions_replace_one_after_the_other() {
        let both = [(r"^/users/(\d+)$", "/people/$1"), ("people", "folk")];
        let rewrite = rewrite("", &both, "");
        assert_eq!(rewrite.text("/users/7?a").as_deref(), Ok("/folk/7?a"));
        assert_eq!(rewrite.text("/users/x").as_deref(), Ok("/users/x"));
    }

    #[test]
    fn what_a_rewrite_makes_never_leads_elsewhere() {
        let dots = (r"^/a(\.*)b(\.*)$", "/$1$2");
        for (replace, path, why) in [
            (dots, "/a.b.", BadRewrite::DotSegment),
            (dots, "/a..b", BadRewrite::DotSegment),
            (("x", ""), "/.x./admin", BadRewrite::DotSegment),
            (("x", ""), "/%2xx", BadRewrite::Target(BadTarget::Path(path::BadPath::Escape))),
            (("^/", ""), "/a", BadRewrite::Target(BadTarget::Form)),
        ] {
            assert_eq!(rewrite("", &[replace], "").text(path), Err(why), "{path}");
        }
        let joined = rewrite("", &[("-", "")], "");
        assert_eq!(joined.text("/a%-2Fb").unwrap_err(), BadRewrite::Slash);
        assert_eq!(joined.text("/a%2Fb").as_deref(), Ok("/a%2Fb"), "the client's own stays");
        assert_eq!(joined.text("/%-2e%-2e/admin").unwrap_err(), BadRewrite::DotSegment);
    }

    proptest! {
        #[test]
        fn a_path_turned_back_is_forwarded_as_what_it_was(
            path in "/(a|b|\\.|/|%2[efEF]|-){0,8}",
            (strip, add) in ("(/a)?", "(/b|/a/b)?"),
        ) {
            let rewrite = rewrite(&strip, &[], &add);
            if let Some(client) = rewrite.client_path(&path) {
                prop_assert_eq!(path::normalise(&client).unwrap(), client.as_str());
                prop_assert_eq!(rewrite.text(&client).unwrap(), path::normalise(&path).unwrap());
            }
        }

        #[test]
        fn what_comes_out_is_in_normal_form(
            path in "/[a-z./%0-9-]{0,16}",
            cut in "[-./%0-9a-f]{1,2}",
        ) {
            let Ok(normal) = path::normalise(&path) else { return Ok(()) };
            let cut = regex::escape(&cut);
            let rewrite = rewrite("/a", &[(cut.as_str(), "")], "");
            if let Ok(text) = rewrite.text(&normal) {
                prop_assert_eq!(path::normalise(&text).unwrap(), text.as_str());
                prop_assert!(slashes(&text) <= slashes(&normal));
            }
        }
    }
}
