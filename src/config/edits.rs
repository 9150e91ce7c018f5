//! Edits of fields, from the config's words.

use http::{HeaderName, HeaderValue, header};

use super::answers::{is_reserved, template_help};
use super::codes::Code;
use super::file::{FieldChanges, Named, Route};
use super::scalar::{FieldName, Problem, Scalar};
use crate::pipeline::edit::fields::{FieldEdit, FieldEdits, Value};
use crate::pipeline::edit::template::Template;

/// The value of a field, with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTemplate(pub Template);

impl Scalar for FieldTemplate {
    const FORMAT: &'static str = "field-template";
    const EXPECTED: &'static str = "a field's value such as \"{client}\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |why: String, help: String| {
            let message = format!("`{}` is not a field's value: {why}", text.escape_debug());
            Problem::new(Code::BadTemplate, message, help)
        };
        let template =
            Template::parse(text).map_err(|error| bad(error.to_string(), template_help(&error)))?;
        let fits = template.literals().all(|text| HeaderValue::from_str(text).is_ok());
        if !fits || text.trim_matches([' ', '\t']) != text {
            let help = "leave out line breaks, control characters, and spaces around it";
            return Err(bad("it holds what no value may hold".into(), help.into()));
        }
        Ok(Self(template))
    }
}

/// Request fields that this proxy itself makes, after all edits.
pub fn is_made_here(name: &HeaderName) -> bool {
    const OURS: [&str; 7] = [
        "host",
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
    ];
    OURS.contains(&name.as_str())
}

/// Reply fields that this proxy itself makes, after all edits.
pub fn is_told_here(name: &HeaderName) -> bool {
    [header::VIA, HeaderName::from_static("cache-status"), HeaderName::from_static("x-request-id")]
        .contains(name)
}

/// Whose name may stand in an edit.
pub fn may_edit(name: &HeaderName, of_request: bool) -> bool {
    !is_reserved(name) && !if of_request { is_made_here(name) } else { is_told_here(name) }
}

/// What becomes of the fields of a route's messages; `None`: nothing.
pub fn edits(route: &Route) -> Option<Box<FieldEdits>> {
    let edits = FieldEdits {
        request: route.request_headers.as_ref().map(|from| edit(from, true)).unwrap_or_default(),
        response: route.response_headers.as_ref().map(|from| edit(from, false)).unwrap_or_default(),
        security: route.security_headers.unwrap_or_default(),
    };
    let nothing = edits.request.is_empty() && edits.response.is_empty() && !edits.security;
    (!nothing).then(|| Box::new(edits))
}

fn edit(from: &FieldChanges, of_request: bool) -> FieldEdit {
    let name =
        |text: &str| HeaderName::from_bytes(text.as_bytes()).ok().filter(|name| may_edit(name, of_request));
    let values = |named: &Named<FieldTemplate, FieldName>| {
        named.0.iter().filter_map(|(own, text)| Some((name(own)?, value(&text.0)?))).collect()
    };
    FieldEdit {
        rename: from
            .rename
            .0
            .iter()
            .filter_map(|(own, to)| Some((name(own)?, name(to.0.as_str())?)))
            .collect(),
        remove: from.remove.iter().filter_map(|own| name(own.0.as_str())).collect(),
        set: values(&from.set),
        add: values(&from.add),
    }
}

fn value(template: &Template) -> Option<Value> {
    match template.variables().next() {
        Some(_) => Some(Value::Made(template.clone())),
        None => HeaderValue::from_str(&template.literals().collect::<String>()).ok().map(Value::Fixed),
    }
}
