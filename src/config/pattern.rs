//! Patterns of hosts, paths and field values: `route` reads them, this says what to write instead.

use super::codes::Code;
use super::scalar::{Problem, Scalar};
use crate::route::BadPattern;
use crate::route::{FieldMatch, HostPattern, PathPattern};

/// A host: a name, or `*.` and a name.
#[derive(Clone, Debug)]
pub struct Host(pub HostPattern);

impl Scalar for Host {
    const FORMAT: &'static str = "host-pattern";
    const EXPECTED: &'static str = "a host such as \"api.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        HostPattern::parse(text).map(Self).map_err(|bad| {
            let help = match bad {
                BadPattern::HostPort => "leave the port out".to_owned(),
                BadPattern::HostNotAscii => encoded(text),
                _ => "write a name such as \"api.example.com\", or \"*.example.com\" for every name below it"
                    .into(),
            };
            Problem::new(Code::BadHost, format!("`{text}` is not a host to match: {bad}"), help)
        })
    }
}

/// The form that clients send an international name in.
fn encoded(text: &str) -> String {
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => format!("did you mean \"{name}\"?"),
        _ => "look up the `xn--` form of the name".into(),
    }
}

/// A path: exact, with parameters, a prefix or an expression.
#[derive(Clone, Debug)]
pub struct Path(pub PathPattern);

impl Scalar for Path {
    const FORMAT: &'static str = "path-pattern";
    const EXPECTED: &'static str = "a path such as \"/v1/users/*\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        PathPattern::parse(text).map(Self).map_err(|bad| match bad {
            BadPattern::Regex(why) => regex_problem(text, &why),
            BadPattern::PathStart => {
                let message = format!("`{text}` is not a path to match: {bad}");
                Problem::new(Code::BadPath, message, format!("did you mean \"/{text}\"?"))
            }
            _ => {
                let help =
                    "write \"/exact\", \"/prefix/*\", \"/users/{id}/posts\", or \"~ \" and an expression";
                Problem::new(Code::BadPath, format!("`{text}` is not a path to match: {bad}"), help)
            }
        })
    }
}

/// A field's or parameter's value: exact, or an expression.
#[derive(Clone, Debug)]
pub struct FieldValue(pub FieldMatch);

impl Scalar for FieldValue {
    const FORMAT: &'static str = "field-pattern";
    const EXPECTED: &'static str = "a value, or \"~ \" and an expression";

    fn parse(text: &str) -> Result<Self, Problem> {
        FieldMatch::parse(text).map(Self).map_err(|bad| match bad {
            BadPattern::Regex(why) => regex_problem(text, &why),
            _ => Problem::new(Code::BadRegex, bad.to_string(), "write a value, or \"~ \" and an expression"),
        })
    }
}

fn regex_problem(text: &str, why: &str) -> Problem {
    // The last line says why; those above draw what our own caret shows.
    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let help = "the syntax is that of https://docs.rs/regex (no look-around, no back-references)";
    let expression = text.trim_start_matches('~').trim_start();
    Problem::new(Code::BadRegex, format!("`{expression}` is not a regular expression: {why}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_route_refuses_is_told_with_a_code() {
        let table = [
            (Host::parse("a:80").map(drop), Code::BadHost),
            (Host::parse("*").map(drop), Code::BadHost),
            (Path::parse("v1").map(drop), Code::BadPath),
            (Path::parse("/a*b").map(drop), Code::BadPath),
            (Path::parse("~ (").map(drop), Code::BadRegex),
            (FieldValue::parse("~ [").map(drop), Code::BadRegex),
        ];
        for (parsed, code) in table {
            let problem = parsed.unwrap_err();
            assert_eq!(problem.code, code);
            assert!(!problem.message.contains('\n') && problem.help.is_some());
        }
        let help = Host::parse("bücher.example").unwrap_err().help.unwrap();
        assert!(help.contains("xn--bcher-kva.example"), "{help}");
    }
}
