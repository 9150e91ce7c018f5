//! How hosts, paths and field values are matched, as the config writes it.

use super::codes::Code;
use super::scalar::{Problem, Scalar};
use crate::route::{FieldMatch, HostPattern, PathPattern};

/// The longest compiled expression, in bytes: a config must not be able to exhaust memory.
const REGEX_LIMIT: usize = 1 << 20;

/// A host: a name, or `*.` and a name.
#[derive(Clone, Debug)]
pub struct Host(pub HostPattern);

impl Scalar for Host {
    const FORMAT: &'static str = "host-pattern";
    const EXPECTED: &'static str = "a host such as \"api.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String, help: &str| Problem::new(Code::BadHost, message, help);
        let form = "write a name such as \"api.example.com\", or \"*.example.com\" for every name below it";
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.is_empty() || name.contains('*') {
            return Err(bad(format!("`{text}` is not a host"), form));
        }
        if name.contains('/') {
            return Err(bad(format!("`{text}` is more than a host"), "a path goes into `path`"));
        }
        let bracketed = name.starts_with('[') || name.parse::<std::net::Ipv6Addr>().is_err();
        if !bracketed {
            return Err(bad(
                format!("`{text}` is an IPv6 address without brackets"),
                "put it into `[` and `]`",
            ));
        }
        let parsed = url::Host::parse(name).map_err(|_| {
            let port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if port {
                bad(format!("`{text}` has a port"), "leave it out: a host matches on every port")
            } else {
                bad(format!("`{text}` is not a host"), form)
            }
        })?;
        // `url` lower-cases and turns international names into their ASCII form, as clients send them.
        let name = parsed.to_string();
        if wildcard && !matches!(parsed, url::Host::Domain(_)) {
            return Err(bad(format!("`{text}`: an address has no names below it"), form));
        }
        let name = name.trim_end_matches('.');
        Ok(Self(match wildcard {
            true => HostPattern::Wildcard(format!(".{name}").into()),
            false => HostPattern::Exact(name.into()),
        }))
    }
}

/// A path: exact, with parameters, a prefix or an expression.
#[derive(Clone, Debug)]
pub struct Path(pub PathPattern);

impl Scalar for Path {
    const FORMAT: &'static str = "path-pattern";
    const EXPECTED: &'static str = "a path such as \"/v1/users/*\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String, help: String| Problem::new(Code::BadPath, message, help);
        if let Some(expression) = text.strip_prefix('~') {
            return Ok(Self(PathPattern::Regex(regex(expression.trim_start())?)));
        }
        if !text.starts_with('/') {
            let message = format!("`{text}` does not begin with `/`");
            return Err(bad(message, format!("did you mean \"/{text}\"? An expression begins with `~`")));
        }
        if text.contains(['?', '#']) {
            let help = "query parameters go into `query`".into();
            return Err(bad(format!("`{text}` is more than a path"), help));
        }
        if text.contains(char::is_whitespace) || text.contains(char::is_control) {
            let help = "write a space in a path as `%20`".into();
            return Err(bad("a path has no spaces or control characters".into(), help));
        }
        let prefix = text.strip_suffix('*');
        let rest = prefix.unwrap_or(text);
        if rest.contains('{') || rest.contains('}') {
            return params(text, prefix);
        }
        if rest.contains('*') || prefix.is_some_and(|prefix| !prefix.ends_with('/')) {
            let help = "`*` stands only at the end, after a `/`: \"/v1/*\"; for one segment write a parameter: \"/v1/{id}\"";
            return Err(bad(format!("`*` cannot stand there in `{text}`"), help.into()));
        }
        Ok(Self(match prefix {
            Some(prefix) => PathPattern::Prefix(prefix.into()),
            None => PathPattern::Exact(text.into()),
        }))
    }
}

/// A final `*` is a parameter without a name.
fn params(text: &str, prefix: Option<&str>) -> Result<Path, Problem> {
    let pattern = match prefix {
        Some(prefix) => format!("{prefix}{{*rest}}"),
        None => text.to_owned(),
    };
    let help = "a parameter is a whole segment: \"/users/{id}/posts\"; a last \"{*rest}\" takes what remains";
    let bad = || Problem::new(Code::BadPath, format!("`{text}` has a parameter that cannot be read"), help);
    let whole = |segment: &str| {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let name = name.map(|name| name.strip_prefix('*').unwrap_or(name));
        match name {
            Some(name) => !name.is_empty() && !name.contains(['{', '}', '*']),
            None => !segment.contains(['{', '}', '*']),
        }
    };
    if !pattern.split('/').all(whole) {
        return Err(bad());
    }
    matchit::Router::new().insert(pattern.clone(), ()).map_err(|_| bad())?;
    Ok(Path(PathPattern::Params(pattern.into())))
}

/// A field's or parameter's value: exact, or an expression.
#[derive(Clone, Debug)]
pub struct FieldValue(pub FieldMatch);

impl Scalar for FieldValue {
    const FORMAT: &'static str = "field-pattern";
    const EXPECTED: &'static str = "a value, or \"~ \" and an expression";

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self(match text.strip_prefix('~') {
            Some(expression) => FieldMatch::Regex(regex(expression.trim_start())?),
            None => FieldMatch::Exact(text.into()),
        }))
    }
}

fn regex(expression: &str) -> Result<regex::Regex, Problem> {
    regex::RegexBuilder::new(expression).size_limit(REGEX_LIMIT).build().map_err(|error| {
        let why = match &error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The last line says why; those above draw what our own caret shows.
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        let help = "the syntax is that of https://docs.rs/regex (no look-around, no back-references)";
        Problem::new(Code::BadRegex, format!("`{expression}` is not a regular expression: {why}"), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let show = |text: &str| Host::parse(text).map(|host| host.0);
        assert_eq!(show("API.Example.com"), Ok(HostPattern::Exact("api.example.com".into())));
        assert_eq!(show("*.example.com"), Ok(HostPattern::Wildcard(".example.com".into())));
        assert_eq!(show("[::1]"), Ok(HostPattern::Exact("[::1]".into())));
        assert_eq!(show("bücher.example"), Ok(HostPattern::Exact("xn--bcher-kva.example".into())));
        for text in ["", "*", "a.*.b", "a/b", "a:80", "::1", "*.1.2.3.4", "a b"] {
            assert_eq!(show(text).unwrap_err().code, Code::BadHost, "{text}");
        }
    }

    #[test]
    fn paths() {
        let kind = |text: &str| match Path::parse(text).map(|path| path.0) {
            Ok(PathPattern::Exact(path)) => format!("exact {path}"),
            Ok(PathPattern::Prefix(path)) => format!("prefix {path}"),
            Ok(PathPattern::Params(path)) => format!("params {path}"),
            Ok(PathPattern::Regex(regex)) => format!("regex {regex}"),
            Err(problem) => problem.code.to_string(),
        };
        let table = [
            ("/a", "exact /a"),
            ("/a/*", "prefix /a/"),
            ("/*", "prefix /"),
            ("/u/{id}/p", "params /u/{id}/p"),
            ("/u/{id}/*", "params /u/{id}/{*rest}"),
            ("~ ^/a(b|c)$", "regex ^/a(b|c)$"),
            ("a", "PS0209"),
            ("/a*", "PS0209"),
            ("/a/*/b", "PS0209"),
            ("/u/x{id}", "PS0209"),
            ("/u/{id", "PS0209"),
            ("/u/{*rest}/b", "PS0209"),
            ("/u/{id}/{id}*", "PS0209"),
            ("/a?b", "PS0209"),
            ("~ (", "PS0210"),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
