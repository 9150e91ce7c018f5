//! Redirects: a `Location` made of what the client asked for (RFC 9110 10.2.2, 15.4).
//!
//! The host that it leads to stands in the config, or is the very one that the client named: nothing else of a request can
//! become a part of it, and a path never becomes a host by beginning with two slashes (RFC 3986 4.2).

use http::{HeaderValue, StatusCode};
use thiserror::Error;

use crate::http::target::{BadTarget, Target};
use crate::pipeline::edit::template::{BadTemplate, Template, Variable};

/// Where to go instead.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// A URL or a path, checked by [`Redirect::check`].
    pub to: Template,
}

/// Why a text is no place to redirect to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadLocation {
    /// It is no template.
    #[error("{0}")]
    Template(#[from] BadTemplate),
    /// It holds what no URL may hold.
    #[error("it holds `{}`, which no URL may hold", .0.escape_debug())]
    Character(char),
    /// It is neither a URL nor a path.
    #[error("it is neither a URL nor a path")]
    Form,
    /// Its host is missing, or made of a path or a query.
    #[error("its host does not stand there")]
    Host,
}

impl Redirect {
    /// Reads where to redirect to.
    ///
    /// # Errors
    /// When it is neither a URL with a host nor a path.
    pub fn check(text: &str) -> Result<Template, BadLocation> {
        let template = Template::parse(text)?;
        let unfit = |c: &char| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>' | '^' | '`');
        if let Some(unfit) = template.literals().find_map(|text| text.chars().find(unfit)) {
            return Err(BadLocation::Character(unfit));
        }
        if let Some(other) = template.variables().find(|variable| !variable.is_of_target()) {
            return Err(BadTemplate::Unknown(other.to_string().into()).into());
        }
        let after = ["http://", "https://", "{scheme}://"].iter().find_map(|start| text.strip_prefix(start));
        match after {
            Some(rest) => check_host(rest)?,
            None if text.starts_with("//") => return Err(BadLocation::Form),
            None if text.starts_with('/') || text.starts_with("{path}") => {}
            None => return Err(BadLocation::Form),
        }
        Ok(template)
    }

    /// `Location` for a request.
    pub(super) fn location(&self, target: &Target) -> Result<HeaderValue, BadTarget> {
        let names_host = |variable: &Variable| matches!(variable, Variable::Host | Variable::Authority);
        if target.host().is_empty() && self.to.variables().any(names_host) {
            return Err(BadTarget::NoHost);
        }
        let text = self.to.expand(|variable, to| target.put(variable, to));
        // Two slashes at the beginning would be followed by a host.
        let text = match text.trim_start_matches('/') {
            rest if text.starts_with("//") => format!("/{rest}"),
            _ => text,
        };
        HeaderValue::try_from(text).map_err(|_| BadTarget::Form)
    }
}

/// The authority of a URL is written out, or the client's own.
fn check_host(rest: &str) -> Result<(), BadLocation> {
    let end = ["/", "?", "#", "{path}", "{query}"].iter().filter_map(|end| rest.find(end)).min();
    let authority = &rest[..end.unwrap_or(rest.len())];
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:[]{}".contains(c);
    let plain = authority.replace("{host}", "h").replace("{authority}", "h");
    if plain.is_empty() || plain.contains(['{', '}']) || !plain.chars().all(fits) {
        return Err(BadLocation::Host);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, host: &str) -> Target {
        let request = http::Request::builder().uri(uri).header("host", host).body(()).unwrap();
        Target::of(&request.into_parts().0, false).unwrap()
    }

    #[test]
    fn a_location_is_made_of_what_was_asked_for() {
        for (to, uri, location) in [
            ("https://{host}{path}{query}", "/a/b?c=d", "https://api.test/a/b?c=d"),
            ("https://{host}{path}{query}", "/", "https://api.test/"),
            ("{scheme}://{authority}/x", "/a", "http://api.test:81/x"),
            ("https://www.test", "/a", "https://www.test"),
            ("https://www.test{query}", "/a?b", "https://www.test?b"),
            ("https://www.test/new{path}", "/a/../b", "https://www.test/new/b"),
            ("/new{path}{query}", "/a?b", "/new/a?b"),
            ("{path}", "/a?b", "/a"),
        ] {
            let redirect = Redirect { status: StatusCode::FOUND, to: Redirect::check(to).unwrap() };
            assert_eq!(redirect.location(&target(uri, "api.test:81")).unwrap(), location, "{to}");
        }
    }

    /// `//evil.test` is a host to a client, `/evil.test` is not.
    #[test]
    fn rfc_3986_4_2_a_path_never_becomes_a_host() {
        for to in ["{path}", "/{path}", "{path}{query}"] {
            let redirect = Redirect { status: StatusCode::FOUND, to: Redirect::check(to).unwrap() };
            for path in ["//evil.test", "///evil.test", "/.//evil.test", "/a/..//evil.test"] {
                let location = redirect.location(&target(path, "api.test")).unwrap();
                assert_eq!(location, "/evil.test", "{to} {path}");
            }
            let location = redirect.location(&target("/%5Cevil.test", "api.test")).unwrap();
            assert_eq!(location, "/%5Cevil.test");
        }
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (to, why) in [
            ("", BadLocation::Form),
            ("www.example.com", BadLocation::Form),
            ("ftp://a/", BadLocation::Form),
            ("//a", BadLocation::Form),
            ("{host}", BadLocation::Form),
            ("{query}", BadLocation::Form),
            ("https://", BadLocation::Host),
            ("https://{path}", BadLocation::Host),
            ("https://a@b/", BadLocation::Host),
            ("https://a b/", BadLocation::Character(' ')),
            ("/a\r\nset-cookie: x", BadLocation::Character('\r')),
            ("/\\evil.test", BadLocation::Character('\\')),
            ("/{hots}", BadLocation::Template(BadTemplate::Unknown("hots".into()))),
        ] {
            assert_eq!(Redirect::check(to).unwrap_err(), why, "{to}");
        }
    }
}
