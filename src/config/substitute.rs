//! Puts environment variables into strings: `${VAR}`, `${VAR:-default}`; `$${` is a plain `${`.

use super::codes::Code;
use super::finding::{Finding, Place};
use super::tree::{Node, Origin, Value};

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The longest string that may come of it.
const LONGEST: usize = 64 << 10;

/// Puts variables into every string of a tree. A string that cannot be completed is left out of the shape check
/// (`unresolved`) and told, unless `quiet`.
pub fn substitute(node: &mut Node, env: Environment<'_>, quiet: bool, findings: &mut Vec<Finding>) {
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, env, quiet, findings)),
        Value::Table(entries) => {
            entries.iter_mut().for_each(|(_, node)| substitute(node, env, quiet, findings));
        }
        Value::String(text) if text.contains("${") => match expand(text, env) {
            Ok((text, variable)) => {
                node.value = Value::String(text);
                if let Some(variable) = variable {
                    node.origin = Origin::Environment(variable.into());
                }
            }
            Err(problem) => {
                node.unresolved = true;
                if !quiet {
                    findings.push(problem.finding(node.place.as_ref()));
                }
            }
        },
        _ => {}
    }
}

enum Problem {
    Unset(String),
    Malformed(String),
    TooLong,
}

impl Problem {
    fn finding(&self, place: Option<&Place>) -> Finding {
        match self {
            Self::Unset(name) => {
                let help = format!("set it, or give a default: `${{{name}:-default}}`");
                let message = format!("the environment variable `{name}` is not set");
                Finding::new(Code::UnsetVariable, message).at(inside(place, name)).help(help)
            }
            Self::Malformed(name) => {
                let help = "write `${VAR}` or `${VAR:-default}`; a plain `${` is written `$${`";
                let message = format!("`${{{name}` is not a variable reference");
                Finding::new(Code::BadVariable, message).at(inside(place, name)).help(help)
            }
            Self::TooLong => {
                let message = "this string is too long once its variables are put in";
                Finding::new(Code::BadVariable, message).at(place.cloned())
            }
        }
    }
}

/// Where the reference stands within its string, as far as the text says so literally.
fn inside(place: Option<&Place>, name: &str) -> Option<Place> {
    let place = place?;
    let reference = format!("${{{name}");
    let raw = &place.source.text[place.span.clone()];
    let Some(at) = raw.find(&reference) else { return Some(place.clone()) };
    let start = place.span.start + at;
    let end = raw[at..].find('}').map_or(start + reference.len(), |end| start + end + 1);
    Some(Place::new(&place.source, start..end))
}

/// The text with its variables, and the name of the last one that the environment gave.
fn expand(text: &str, env: Environment<'_>) -> Result<(String, Option<String>), Problem> {
    let mut out = String::new();
    let mut used = None;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or_else(|| Problem::Malformed(inner.chars().take(20).collect()))?;
        let reference = &inner[..end];
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable(name) {
            return Err(Problem::Malformed(reference.to_owned()));
        }
        // As in a shell, `:-` also stands in for an empty value.
        match (env(name), default) {
            (Some(value), default) if default.is_none() || !value.is_empty() => {
                out.push_str(&value);
                used = Some(name.to_owned());
            }
            (_, Some(default)) => out.push_str(default),
            (_, None) => return Err(Problem::Unset(name.to_owned())),
        }
        rest = &inner[end + 1..];
        if out.len() > LONGEST {
            return Err(Problem::TooLong);
        }
    }
    out.push_str(rest);
    Ok((out, used))
}

fn is_variable(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> String {
        match expand(text, &env) {
            Ok((text, _)) => text,
            Err(Problem::Unset(name)) => format!("unset {name}"),
            Err(Problem::Malformed(what)) => format!("malformed {what}"),
            Err(Problem::TooLong) => "too long".into(),
        }
    }

    #[test]
    fn variables_are_put_in() {
        let table = [
            (":${PORT}", ":8080"),
            ("${HOST:-127.0.0.1}:${PORT}", "127.0.0.1:8080"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${NO}", "unset NO"),
            ("${NO:-}", ""),
            ("$${PORT}", "${PORT}"),
            ("${PORT", "malformed PORT"),
            ("${}", "malformed "),
            ("${A B}", "malformed A B"),
            ("a$b", "a$b"),
        ];
        for (text, expected) in table {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }
}
