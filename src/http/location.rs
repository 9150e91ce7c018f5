//! `Location` and `Content-Location` (RFC 9110 10.2.2, 8.7): what an origin names by its own name is mapped to the
//! name that the client knows.

use std::borrow::Cow;

use super::Scheme;
use super::authority::Authority;
use super::path::has_dot_segment;

/// How an origin names itself.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, with the port where it is not the scheme's own.
    pub authority: &'a str,
    /// Joined before every path; empty or `/like/this`.
    pub base_path: &'a str,
}

/// The reference as the client must see it; `None`: as it is. Mapped are absolute references that name the origin
/// and lie under its base path; what leads elsewhere is not ours to touch, and relative ones hold on both sides.
pub fn map(
    reference: &str,
    origin: &Origin<'_>,
    client_scheme: &str,
    client_authority: &str,
) -> Option<String> {
    if reference.starts_with('/') && !reference.starts_with("//") {
        let path = without_base(reference, origin.base_path).filter(|_| !origin.base_path.is_empty())?;
        // What follows `//` would be read as an authority.
        return (!path.starts_with("//")).then(|| path.into_owned());
    }
    // A reference without a scheme has that of the page (RFC 3986 4.2).
    let (scheme, rest) = match reference.strip_prefix("//") {
        Some(rest) => (None, rest),
        None => {
            let (scheme, rest) = reference.split_once("://")?;
            (Some(scheme), rest)
        }
    };
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(origin.scheme)) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !is_same_authority(authority, origin) {
        return None;
    }
    let path = without_base(path, origin.base_path)?;
    let scheme = scheme.map_or(String::new(), |_| format!("{client_scheme}:"));
    Some(format!("{scheme}//{client_authority}{path}"))
}

/// The reference with another path, where it names one on the client's own authority, in whatever scheme: what `of` makes of
/// the path and of the query. `None`: as it is.
pub fn map_path(
    reference: &str,
    client_authority: &str,
    of: impl FnOnce(&str, Option<&str>) -> Option<String>,
) -> Option<String> {
    let start = match reference.strip_prefix("//") {
        _ if reference.starts_with('/') && !reference.starts_with("//") => 0,
        Some(rest) => authority_end(rest, client_authority, &[Scheme::Http, Scheme::Https])? + 2,
        None => {
            let (scheme, rest) = reference.split_once("://")?;
            let scheme = Scheme::parse(&scheme.to_ascii_lowercase())?;
            authority_end(rest, client_authority, &[scheme])? + reference.len() - rest.len()
        }
    };
    let (before, rest) = reference.split_at(start);
    let (path, after) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let query = after.strip_prefix('?').map(|query| query.split('#').next().unwrap_or_default());
    // RFC 9110 4.2.3: an empty path is that of the root.
    let mapped = of(if path.is_empty() { "/" } else { path }, query)?;
    Some(format!("{before}{mapped}{after}"))
}

/// Where the authority ends, if it is this one.
fn authority_end(rest: &str, own: &str, schemes: &[Scheme]) -> Option<usize> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let is_own = |scheme: &Scheme| Authority::parse(&rest[..end], *scheme).is_ok_and(|it| it.as_str() == own);
    schemes.iter().any(is_own).then_some(end)
}

/// A path, with the query and fragment that follow it, below a base path.
fn without_base<'a>(reference: &'a str, base: &str) -> Option<Cow<'a, str>> {
    if base.is_empty() {
        return Some(Cow::Borrowed(reference));
    }
    let rest = reference.strip_prefix(base)?;
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    // A path with dots may lead out of the base; so may one with escaped dots.
    if has_dot_segment(path) || path.to_ascii_lowercase().contains("%2e") {
        return None;
    }
    match rest.as_bytes().first() {
        Some(b'/') => Some(Cow::Borrowed(rest)),
        None | Some(b'?' | b'#') => Some(Cow::Owned(format!("/{rest}"))),
        Some(_) => None,
    }
}

fn is_same_authority(named: &str, origin: &Origin<'_>) -> bool {
    let Some(scheme) = Scheme::parse(origin.scheme) else { return false };
    match (Authority::parse(named, scheme), Authority::parse(origin.authority, scheme)) {
        (Ok(named), Ok(own)) => named.as_str() == own.as_str(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_the_origin_names_us() {
        let origin = |base_path| Origin { scheme: "http", authority: "origin.internal:8080", base_path };
        for (base, reference, mapped) in [
            ("", "http://origin.internal:8080/a?b#c", Some("https://api.example/a?b#c")),
            ("", "HTTP://Origin.Internal:8080/a", Some("https://api.example/a")),
            ("", "http://origin.internal:8080", Some("https://api.example")),
            ("", "http://origin.internal:8080?q", Some("https://api.example?q")),
            ("", "//origin.internal:8080/a", Some("//api.example/a")),
            ("", "https://origin.internal:8080/a", None),
            ("", "http://origin.internal/a", None),
            ("", "http://origin.internal:8080@evil.example/a", None),
            ("", "http://elsewhere.example/a", None),
            ("", "/a", None),
            ("", "a/b", None),
            ("", "?q", None),
            ("", "", None),
            ("", "mailto:a@example.com", None),
            ("/base", "http://origin.internal:8080/base/a", Some("https://api.example/a")),
            ("/base", "http://origin.internal:8080/base", Some("https://api.example/")),
            ("/base", "http://origin.internal:8080/based", None),
            ("/base", "http://origin.internal:8080/other", None),
            ("/base", "/base/a?b", Some("/a?b")),
            ("/base", "/base?b", Some("/?b")),
            ("/base", "/base", Some("/")),
            ("/base", "/base//evil.example", None),
            ("/base", "/based", None),
            ("/base", "/a", None),
            ("/base", "/base/../a", None),
            ("/base", "/base/%2E%2e/a", None),
            ("/base", "/base/a?x=../y", Some("/a?x=../y")),
            ("/base", "../a", None),
        ] {
            assert_eq!(
                map(reference, &origin(base), "https", "api.example").as_deref(),
                mapped,
                "{base} {reference}"
            );
        }
    }

    #[test]
    fn paths_are_mapped_on_the_client_s_own_authority() {
        for (reference, mapped) in [
            ("/a", Some("/api/a")),
            ("/a?b=/c#d", Some("/api/a?b=/c#d")),
            ("/", Some("/api/")),
            ("http://api.example/a", Some("http://api.example/api/a")),
            ("HTTPS://API.example:443/a", Some("HTTPS://API.example:443/api/a")),
            ("https://api.example", Some("https://api.example/api/")),
            ("https://api.example?b#c", Some("https://api.example/api/?b#c")),
            ("//api.example/a", Some("//api.example/api/a")),
            ("//evil.example/a", None),
            ("https://api.example:444/a", None),
            ("https://api.example@evil.example/a", None),
            ("ftp://api.example/a", None),
            ("a/b", None),
            ("?b", None),
            ("#c", None),
            ("", None),
            ("mailto:a@example.com", None),
        ] {
            let found = map_path(reference, "api.example", |path, _| Some(format!("/api{path}")));
            assert_eq!(found.as_deref(), mapped, "{reference}");
        }
        let query = |reference| {
            let mut seen = None;
            map_path(reference, "api.example", |_, query| {
                seen = query.map(str::to_owned);
                None
            });
            seen
        };
        assert_eq!(query("/a?b=c#d").as_deref(), Some("b=c"));
        assert_eq!(query("/a#d?b"), None);
    }
}
