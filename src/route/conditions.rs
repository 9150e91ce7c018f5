//! Whether what a `match` says holds for a request, one condition at a time.

use http::header::AsHeaderName;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode;

use super::Facts;
use super::spec::{ClientMatch, FieldMatch, HostPattern, MatchSpec, PathPattern, Segment, segments};
use crate::tls::Identity;

impl HostPattern {
    /// Whether it takes this host (lower case, without port).
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

impl PathPattern {
    /// Whether it takes this path (in normal form).
    pub fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path.starts_with(&**prefix) || prefix.strip_suffix('/') == Some(path),
            Self::Params(pattern) => params_take(pattern, path),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl PathPattern {
    /// What stands in a path (in normal form) where the pattern has a parameter, or its expression a group, of this name.
    pub fn capture<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        match self {
            Self::Exact(_) | Self::Prefix(_) => None,
            Self::Params(pattern) => self.takes(path).then(|| captured(pattern, path, name))?,
            Self::Regex(regex) => Some(regex.captures(path)?.name(name)?.as_str()),
        }
    }

    /// Whether it has a parameter or a group of this name.
    pub fn has_capture(&self, name: &str) -> bool {
        match self {
            Self::Exact(_) | Self::Prefix(_) => false,
            Self::Params(pattern) => {
                segments(pattern).into_iter().flatten().any(|segment| segment.is_named(name))
            }
            Self::Regex(regex) => regex.capture_names().flatten().any(|own| own == name),
        }
    }
}

impl Segment<'_> {
    fn is_named(&self, name: &str) -> bool {
        matches!(self, Self::Param(own) | Self::Rest(own) if *own == name)
    }
}

impl FieldMatch {
    /// Whether any of a field's lines (or a parameter's values) is as asked.
    fn takes<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        match self {
            Self::Present => values.next().is_some(),
            Self::Absent => values.next().is_none(),
            Self::Exact(exact) => values.any(|value| value == exact.as_bytes()),
            Self::Regex(regex) => {
                values.any(|value| str::from_utf8(value).is_ok_and(|value| regex.is_match(value)))
            }
        }
    }

    /// Whether these lines of a field are as asked.
    pub fn takes_field(&self, headers: &HeaderMap, name: impl AsHeaderName) -> bool {
        self.takes(headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes))
    }

    /// Whether the query's parameters of this name are as asked.
    pub(super) fn takes_parameter(&self, query: Option<&str>, name: &str) -> bool {
        let mut raw =
            parameters(query).filter(|(key, _)| decoded(key).eq(name.bytes())).map(|(_, value)| value);
        match self {
            Self::Exact(exact) => raw.any(|value| decoded(value).eq(exact.bytes())),
            Self::Regex(regex) => raw.any(|value| parameter_found(regex, value)),
            Self::Present => raw.next().is_some(),
            Self::Absent => raw.next().is_none(),
        }
    }
}

impl ClientMatch {
    /// Whether a client is as asked.
    pub fn takes(&self, client: Option<&Identity>) -> bool {
        match self {
            Self::Present => client.is_some(),
            Self::Absent => client.is_none(),
            Self::AnyOf(patterns) => client.is_some_and(|client| client.is_one_of(patterns)),
        }
    }
}

impl MatchSpec {
    /// Whether the method is one of those named; `GET` takes `HEAD` too.
    pub(super) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    /// Whether everything but host and path holds.
    pub(super) fn conditions_hold(&self, facts: &Facts<'_>) -> bool {
        self.takes_method(facts.method)
            && self.headers.iter().all(|(name, wanted)| wanted.takes_field(facts.headers, name))
            && self.query_holds(facts.query)
            && self.client.as_ref().is_none_or(|wanted| wanted.takes(facts.client))
    }

    /// Whether the query's parameters are as asked.
    pub(super) fn query_holds(&self, query: Option<&str>) -> bool {
        self.query.iter().all(|(name, wanted)| wanted.takes_parameter(query, name))
    }
}

fn params_take(pattern: &str, path: &str) -> bool {
    let (Some(wanted), Some(mut rest)) = (segments(pattern), path.strip_prefix('/').map(Some)) else {
        return false;
    };
    for segment in wanted {
        let Some(remaining) = rest else { return false };
        let (head, tail) = match remaining.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (remaining, None),
        };
        match segment {
            Segment::Rest(_) => return !remaining.is_empty(),
            Segment::Literal(literal) if literal != head => return false,
            Segment::Param(_) if head.is_empty() => return false,
            Segment::Literal(_) | Segment::Param(_) => rest = tail,
        }
    }
    rest.is_none()
}

/// The part of a path that a pattern which takes it calls so.
fn captured<'p>(pattern: &str, path: &'p str, name: &str) -> Option<&'p str> {
    let mut rest = path.strip_prefix('/')?;
    for segment in segments(pattern)? {
        let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
        match segment {
            Segment::Rest(_) => return segment.is_named(name).then_some(rest),
            _ if segment.is_named(name) => return Some(head),
            _ => rest = tail,
        }
    }
    None
}

/// Names and values as they stand in a query, still encoded.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name or value as HTML forms encode it: escapes, and `+` for a space.
fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    // The plus signs go first: an escaped one (`%2B`) is meant.
    let mut plus = raw.split('+').map(|part| percent_decode(part.as_bytes()));
    let mut part = plus.next();
    std::iter::from_fn(move || {
        let current = part.as_mut()?;
        current.next().or_else(|| {
            part = plus.next();
            part.is_some().then_some(b' ')
        })
    })
}

fn parameter_found(regex: &regex::Regex, raw: &str) -> bool {
    if !raw.contains(['%', '+']) {
        return regex.is_match(raw);
    }
    let value: Vec<u8> = decoded(raw).collect();
    str::from_utf8(&value).is_ok_and(|value| regex.is_match(value))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn captures() {
        let regex = PathPattern::Regex(regex::Regex::new("^/t/(?<tenant>[a-z]+)/").unwrap());
        let params = PathPattern::Params("/u/{id}/{*rest}".into());
        for (pattern, path, name, wanted) in [
            (&params, "/u/7/a/b", "id", Some("7")),
            (&params, "/u/7/a/b", "rest", Some("a/b")),
            (&params, "/u/7/a/b", "other", None),
            (&params, "/x/7/a/b", "id", None),
            (&regex, "/t/acme/x", "tenant", Some("acme")),
            (&regex, "/t/7/x", "tenant", None),
        ] {
            assert_eq!(pattern.capture(path, name), wanted, "{pattern} {path} {name}");
        }
        assert!(params.has_capture("rest") && regex.has_capture("tenant") && !regex.has_capture("id"));
        assert!(!PathPattern::Prefix("/a/".into()).has_capture("a"));
    }

    #[test]
    fn paths() {
        for (pattern, takes, leaves) in [
            ("/a", &["/a"][..], &["/a/", "/A", "/"][..]),
            ("/a/*", &["/a", "/a/", "/a/b", "/a/b/c"], &["/ab", "/", "/b/a"]),
            ("/*", &["/", "/a"], &["*"]),
            ("/u/{id}", &["/u/1", "/u/a%2Fb"], &["/u", "/u/", "/u/1/", "/u/1/2"]),
            ("/u/{id}/", &["/u/1/"], &["/u/1", "/u//"]),
            ("/{a}/x/{b}", &["/1/x/2"], &["/1/y/2", "//x/2"]),
            ("/f/{*rest}", &["/f/1", "/f/1/2", "/f//"], &["/f", "/f/"]),
            ("~ ^/x\\d+$", &["/x1"], &["/x", "/y/x1"]),
            ("~ x", &["/a/x/b"], &["/a"]),
        ] {
            let parsed = PathPattern::parse(pattern).unwrap();
            for path in takes {
                assert!(parsed.takes(path), "{pattern} takes {path}");
            }
            for path in leaves {
                assert!(!parsed.takes(path), "{pattern} leaves {path}");
            }
        }
    }

    #[test]
    fn hosts() {
        let wildcard = HostPattern::parse("*.example.com").unwrap();
        for (host, takes) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("aexample.com", false),
        ] {
            assert_eq!(wildcard.takes(host), takes, "{host}");
        }
    }

    #[test]
    fn fields() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("one"));
        headers.append("x-a", HeaderValue::from_static("two"));
        for (wanted, name, holds) in [
            ("*", "x-a", true),
            ("!", "x-a", false),
            ("!", "x-b", true),
            ("*", "x-b", false),
            ("two", "x-a", true),
            ("tw", "x-a", false),
            ("~ ^t", "x-a", true),
            ("~ ^x", "x-a", false),
        ] {
            assert_eq!(
                FieldMatch::parse(wanted).unwrap().takes_field(&headers, name),
                holds,
                "{name}: {wanted}"
            );
        }
    }

    #[test]
    fn parameters_are_compared_decoded() {
        let query = Some("page=2&q=a+b%2Bc&flag&%70age=3&&=x");
        for (wanted, name, holds) in [
            ("2", "page", true),
            ("3", "page", true),
            ("a b+c", "q", true),
            ("~ ^a b", "q", true),
            ("*", "flag", true),
            ("", "flag", true),
            ("!", "flag", false),
            ("!", "none", true),
            ("x", "", true),
        ] {
            assert_eq!(
                FieldMatch::parse(wanted).unwrap().takes_parameter(query, name),
                holds,
                "{name}: {wanted}"
            );
        }
        assert!(FieldMatch::Absent.takes_parameter(None, "page"));
    }

    #[test]
    fn get_takes_head_but_head_not_get() {
        let spec = |methods: &[Method]| MatchSpec { methods: methods.to_vec(), ..MatchSpec::default() };
        assert!(spec(&[Method::GET]).takes_method(&Method::HEAD));
        assert!(!spec(&[Method::HEAD]).takes_method(&Method::GET));
        assert!(!spec(&[Method::GET]).takes_method(&Method::POST));
        assert!(spec(&[]).takes_method(&Method::POST));
    }
}
