//! What a successful unsafe request ends (RFC 9111 4.4).

use std::borrow::Cow;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, StatusCode};
use url::{Position, Url};

use super::request::MethodKind;

/// Whether a reply to this method invalidates what is stored for its target: a non-error reply to an unsafe or
/// unknown method.
pub const fn invalidates(method: MethodKind, status: StatusCode) -> bool {
    let code = status.as_u16();
    matches!(method, MethodKind::Post | MethodKind::Unsafe) && code >= 200 && code < 400
}

/// The targets (path and query) that `Location` and `Content-Location` name on the same origin as the request's
/// own URI; to be called once with the URI as the client names it and once as the upstream names it. The request's own
/// target is not among them: it is invalidated anyway.
pub fn related_targets(scheme: &str, authority: &str, target: &str, response: &HeaderMap) -> Vec<String> {
    if !response.contains_key(LOCATION) && !response.contains_key(CONTENT_LOCATION) {
        return Vec::new();
    }
    let Ok(own) = Url::parse(&format!("{scheme}://{authority}{target}")) else { return Vec::new() };
    let mut targets: Vec<String> = Vec::new();
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = response.get(name).and_then(|value| own.join(value.to_str().ok()?).ok());
        let Some(named) = named.filter(|named| named.origin() == own.origin()) else { continue };
        let target = &named[Position::BeforePath..Position::AfterQuery];
        if target != &own[Position::BeforePath..Position::AfterQuery]
            && !targets.iter().any(|known| known == target)
        {
            targets.push(target.to_owned());
        }
    }
    targets
}

/// The target, as clients name it, that an upstream calls so: without the base path that is joined before every target
/// there. `None`: it lies outside.
pub fn without_base<'t>(target: &'t str, base_path: &str) -> Option<Cow<'t, str>> {
    let rest = target.strip_prefix(base_path)?;
    match rest.as_bytes().first() {
        Some(b'/') => Some(Cow::Borrowed(rest)),
        None | Some(b'?') => Some(Cow::Owned(format!("/{rest}"))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::map;
    use super::*;

    #[test]
    fn rfc_9111_4_4_non_errors_to_unsafe_methods() {
        for (method, status, expected) in [
            ("PUT", 200, true),
            ("DELETE", 204, true),
            ("POST", 303, true),
            ("M-SEARCH", 201, true),
            ("PUT", 400, false),
            ("PUT", 500, false),
            ("PUT", 103, false),
            ("GET", 200, false),
            ("HEAD", 200, false),
            ("OPTIONS", 200, false),
        ] {
            let kind = MethodKind::of(&method.parse().unwrap());
            assert_eq!(
                invalidates(kind, StatusCode::from_u16(status).unwrap()),
                expected,
                "{method} {status}"
            );
        }
    }

    #[test]
    fn an_upstream_s_targets_are_the_clients_without_the_base_path() {
        for (target, base, expected) in [
            ("/a?b", "", Some("/a?b")),
            ("/base/a?b", "/base", Some("/a?b")),
            ("/base", "/base", Some("/")),
            ("/base?b", "/base", Some("/?b")),
            ("/based", "/base", None),
            ("/a", "/base", None),
        ] {
            assert_eq!(without_base(target, base).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn rfc_9111_4_4_locations_of_the_same_origin_only() {
        let related =
            |fields: &[(&str, &str)]| related_targets("http", "example.com", "/a/b?c", &map(fields));
        for (location, expected) in [
            ("/x?y=1#z", Some("/x?y=1")),
            ("x", Some("/a/x")),
            ("?q", Some("/a/b?q")),
            ("http://EXAMPLE.com:80/x", Some("/x")),
            ("//example.com/x", Some("/x")),
            ("http://example.com", Some("/")),
            ("https://example.com/x", None),
            ("http://example.com:81/x", None),
            ("http://www.example.com/x", None),
            ("http://[", None),
            ("/a/b?c", None),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(related(&[("location", location)]), expected, "{location}");
            assert_eq!(related(&[("content-location", location)]), expected, "{location}");
        }
        assert_eq!(related(&[("location", "/x"), ("content-location", "/y")]), ["/x", "/y"]);
        assert_eq!(related(&[("location", "/x"), ("content-location", "/x")]), ["/x"]);
    }
}
