//! Which scripts of other origins may read replies.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::cors::OriginText;
use crate::config::scalar::{FieldName, Time, Verb};

/// Who may: an origin, a list of them, or a table; false: nobody says so here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Cors {
    /// Nothing is said of it here; true is not for a config to say.
    Switch(bool),
    /// One origin.
    Origin(OriginText),
    /// Some.
    Origins(Vec<OriginText>),
    /// More than that.
    Table(Box<CorsTable>),
}

/// A policy for cross-origin requests, by the Fetch standard.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsTable {
    /// Whose scripts may: `https://app.example.com`, `https://*.example.com` for every name below it, `http://localhost:*`
    /// for every port, or `*` for all; one, or a list. Replies that depend on it say so in Vary.
    pub origins: OneOrMany<OriginText>,
    /// The methods that they may use, or "*" for any. GET, HEAD and POST are never asked for by browsers, unless other
    /// things call for a preflight.
    #[serde(default)]
    #[schemars(extend("default" = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]))]
    pub methods: Option<OneOrMany<Verb>>,
    /// The request fields that they may set; "*", as without it, means any, Authorization too.
    #[serde(default)]
    #[schemars(extend("default" = "*"))]
    pub headers: Option<OneOrMany<FieldName>>,
    /// The reply fields that they may read, beside Cache-Control, Content-Language, Content-Length, Content-Type, Expires,
    /// Last-Modified and Pragma; "*" for all.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub expose: Option<OneOrMany<FieldName>>,
    /// Whether they may send cookies, client certificates and passwords, and read what they get for them. Not with "*"
    /// among `origins`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub credentials: Option<bool>,
    /// How long browsers may remember what a preflight said; without it they do for five seconds.
    #[serde(default)]
    pub max_age: Option<Time>,
    /// Whether pages from the internet may ask though this is in a private network (Access-Control-Allow-Private-Network).
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub private_network: Option<bool>,
}

impl Cors {
    /// The origins.
    pub fn origins(&self) -> &[OriginText] {
        match self {
            Self::Switch(_) => &[],
            Self::Origin(one) => std::slice::from_ref(one),
            Self::Origins(many) => many,
            Self::Table(table) => table.origins.as_slice(),
        }
    }
}
