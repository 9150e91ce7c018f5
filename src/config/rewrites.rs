//! Rewrites of targets, from the config's words.

use regex::{Regex, RegexBuilder};

use super::codes::Code;
use super::file::{Named, Route};
use super::scalar::{Parameter, Problem, Scalar};
use crate::http::path;
use crate::pipeline::edit::query::QueryEdit;
use crate::pipeline::edit::rewrite::{Replace, Rewrite};

/// The largest expression, compiled.
const REGEX_SIZE: usize = 1 << 20;

/// Segments at the beginning of a path, without a final slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub String);

/// An expression over a path.
#[derive(Clone, Debug)]
pub struct PathRegex(pub Regex);

/// A part of a path, with groups of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText(pub String);

impl Scalar for PathPrefix {
    const FORMAT: &'static str = "path-prefix";
    const EXPECTED: &'static str = "the beginning of a path such as \"/api\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |why: &str, help: String| {
            Problem::new(Code::BadPath, format!("`{text}` is not the beginning of a path: {why}"), help)
        };
        if text.contains(['?', '#', '*']) {
            return Err(bad("it is no plain path", "write whole segments, such as \"/api\"".into()));
        }
        let Some(segments) = text.strip_prefix('/').filter(|segments| !segments.is_empty()) else {
            let help = match text {
                "" | "/" => "write whole segments, such as \"/api\"".to_owned(),
                _ => format!("did you mean \"/{text}\"?"),
            };
            return Err(bad("it begins with `/`, and has a segment", help));
        };
        if segments.ends_with('/') {
            let help = format!("did you mean \"{}\"?", text.trim_end_matches('/'));
            return Err(bad("it ends in whole segments", help));
        }
        match path::normalise(text) {
            Ok(normal) if normal == text => Ok(Self(text.to_owned())),
            Ok(normal) => Err(bad("it is not in normal form", format!("did you mean \"{normal}\"?"))),
            Err(error) => Err(bad(&error.to_string(), "write `%25` for `%`".into())),
        }
    }
}

impl Scalar for PathRegex {
    const FORMAT: &'static str = "path-regex";
    const EXPECTED: &'static str = "a regular expression such as '^/users/(\\d+)$'";

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            let help = "write what is to be replaced, such as '^/users/'";
            return Err(Problem::new(Code::Empty, "this expression is empty", help));
        }
        RegexBuilder::new(text).size_limit(REGEX_SIZE).build().map(Self).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let help = "see https://docs.rs/regex/latest/regex/#syntax";
            Problem::new(Code::BadRegex, format!("`{text}` is not a regular expression: {why}"), help)
        })
    }
}

impl Scalar for PathText {
    const FORMAT: &'static str = "path-text";
    const EXPECTED: &'static str = "a part of a path such as \"/people/$1\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let unfit = |c: &char| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\');
        match text.chars().find(unfit) {
            None => Ok(Self(text.to_owned())),
            Some(unfit) => {
                let message = format!("`{}` cannot stand in a path", unfit.escape_debug());
                let help = "write it as %XX; the query has `query = { set = ... }`";
                Err(Problem::new(Code::BadPath, message, help))
            }
        }
    }
}

/// Groups that a replacement names and its expression does not have.
pub fn unknown_groups(regex: &Regex, with: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let word =
            |text: &str| text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let name = match rest.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, _)) => name,
            None => &rest[..word(rest)],
        };
        let known = match name.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => name.is_empty() || regex.capture_names().flatten().any(|own| own == name),
        };
        if !known {
            unknown.push(name.to_owned());
        }
    }
    unknown
}

/// What becomes of the targets of a route; `None`: nothing.
pub fn rewrite(route: &Route) -> Option<Rewrite> {
    let path = route.path.clone().unwrap_or_default();
    let query = route.query.clone().unwrap_or_default();
    let pairs = |named: &Named<String, Parameter>| -> Vec<(Box<str>, Box<str>)> {
        named.0.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    };
    let replace = path.replace.0.iter().filter_map(|(regex, with)| {
        Some(Replace { regex: PathRegex::parse(regex).ok()?.0, with: with.0.as_str().into() })
    });
    let rewrite = Rewrite {
        strip_prefix: path.strip_prefix.map(|prefix| prefix.0.into()),
        replace: replace.collect(),
        add_prefix: path.add_prefix.map(|prefix| prefix.0.into()),
        keep_locations: path.keep_locations,
        query: QueryEdit {
            rename: query
                .rename
                .0
                .iter()
                .map(|(from, to)| (from.as_str().into(), to.0.as_str().into()))
                .collect(),
            remove: query.remove.into_iter().map(|name| name.0).collect(),
            set: pairs(&query.set),
            add: pairs(&query.add),
        },
    };
    let nothing = rewrite.strip_prefix.is_none()
        && rewrite.replace.is_empty()
        && rewrite.add_prefix.is_none()
        && rewrite.query.is_empty();
    (!nothing).then_some(rewrite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_not_there_are_found() {
        let regex = Regex::new(r"^/(?<kind>\w+)/(\d+)$").unwrap();
        for (with, unknown) in [
            ("/$1/${kind}/$kind/$2/$$x", &[][..]),
            ("/$1a", &["1a"]),
            ("/${1}a", &[]),
            ("/$3", &["3"]),
            ("/$name", &["name"]),
        ] {
            assert_eq!(unknown_groups(&regex, with), unknown, "{with}");
        }
    }
}
