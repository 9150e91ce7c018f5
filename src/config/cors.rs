//! Policies for cross-origin requests, from the config's words.

use http::HeaderValue;

use super::codes::Code;
use super::file::{Cors, CorsTable, OneOrMany, Route};
use super::scalar::{FieldName, Problem, Scalar, Verb};
use crate::http::origin::{BadOrigin, OriginPattern};
use crate::pipeline::edit::cors;

/// What scripts use where nobody says.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// An origin, or a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginText(pub OriginPattern);

impl Scalar for OriginText {
    const FORMAT: &'static str = "origin";
    const EXPECTED: &'static str = "an origin such as \"https://app.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        OriginPattern::parse(text).map(Self).map_err(|why| {
            let help = match why {
                BadOrigin::Null => "give those pages an origin of their own, or write \"*\"".to_owned(),
                BadOrigin::Scheme if !text.contains("://") && !text.is_empty() => {
                    format!("write the scheme, too: \"https://{text}\"")
                }
                BadOrigin::Path => {
                    let end = text.find("://").map_or(0, |at| at + 3);
                    let end = text[end..].find(['/', '?', '#']).map_or(text.len(), |at| end + at);
                    format!("write \"{}\"", &text[..end])
                }
                BadOrigin::Host => "write names as browsers send them, in ASCII (xn--...)".to_owned(),
                BadOrigin::Star => {
                    "write \"https://*.example.com\", \"http://localhost:*\", or \"*\" for every origin"
                        .to_owned()
                }
                _ => "write \"https://app.example.com\", with `:PORT` where it is not the scheme's own"
                    .to_owned(),
            };
            Problem::new(Code::BadOrigin, format!("`{}` is not an origin: {why}", text.escape_debug()), help)
        })
    }
}

/// A route's policy; `None`: it has none.
pub fn cors(route: &Route) -> Option<Box<cors::Cors>> {
    let from = route.cors.as_ref()?;
    let origins: Vec<_> = from.origins().iter().map(|origin| origin.0.clone()).collect();
    if origins.is_empty() {
        return None;
    }
    let table = match from {
        Cors::Table(table) => Some(&**table),
        _ => None,
    };
    let methods = table.and_then(|table| table.methods.as_ref());
    let headers = table.and_then(|table| table.headers.as_ref());
    // Browsers refuse `*` beside credentials (Fetch 3.3.5).
    let any = origins.contains(&OriginPattern::Any);
    Some(Box::new(cors::Cors {
        origins,
        methods: match methods {
            None => Some(HeaderValue::from_static(METHODS)),
            Some(methods) => unless_any(methods, |verb: &Verb| verb.0.as_str()),
        },
        headers: headers.and_then(|names| unless_any(names, |name: &FieldName| name.0.as_str())),
        expose: table.and_then(|table| list(table.expose.as_ref()?, |name| name.0.as_str())),
        credentials: !any && table.is_some_and(allows_credentials),
        max_age: table.and_then(|table| table.max_age).map(|time| HeaderValue::from(time.0.as_secs())),
        private_network: table.and_then(|table| table.private_network).unwrap_or_default(),
    }))
}

/// Whether a policy says that credentials may be sent.
pub fn allows_credentials(table: &CorsTable) -> bool {
    table.credentials.unwrap_or_default()
}

/// Whether a list holds `*`.
pub fn is_any<T>(values: &OneOrMany<T>, text: impl Fn(&T) -> &str) -> bool {
    values.as_slice().iter().any(|value| text(value) == "*")
}

fn unless_any<T>(values: &OneOrMany<T>, text: impl Fn(&T) -> &str) -> Option<HeaderValue> {
    if is_any(values, &text) {
        return None;
    }
    // An empty list allows nothing, which an empty field says.
    Some(list(values, text).unwrap_or(HeaderValue::from_static("")))
}

fn list<T>(values: &OneOrMany<T>, text: impl Fn(&T) -> &str) -> Option<HeaderValue> {
    let joined = values.as_slice().iter().map(text).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(joined).ok().filter(|value| !value.is_empty())
}
