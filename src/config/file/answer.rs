//! Replies that a route gives by itself.

use schemars::JsonSchema;
use serde::Deserialize;

use super::named::Named;
use crate::config::answers::{FieldText, Location};
use crate::config::scalar::{FieldName, FilePath, Network, Time};

/// A fixed reply. HEAD gets its head alone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// Its status.
    #[schemars(range(min = 200, max = 599), extend("default" = 200))]
    pub status: Option<u16>,
    /// Its body.
    pub body: Option<String>,
    /// A file that is its body, of 1 MiB at most. It is read with the config, and watched with it.
    pub file: Option<FilePath>,
    /// The body's type. Without it, what the file's name says, or "text/plain; charset=utf-8".
    #[serde(rename = "type")]
    pub media_type: Option<FieldText>,
    /// More fields.
    pub headers: Named<FieldText, FieldName>,
}

/// Where a route redirects to: a URL or a path, or a table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Redirect {
    /// With status 302.
    To(Location),
    /// With another one.
    Table(RouteRedirect),
}

/// A redirect.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRedirect {
    /// A URL or a path, with {scheme}, {host} (without the port), {authority} (with it), {path} and {query} (with its `?`, or
    /// nothing) of the request.
    pub to: Location,
    /// 301, 302, 303, 307 or 308. With 307 and 308 the method stays; 301 and 308 are for good.
    #[serde(default)]
    #[schemars(range(min = 301, max = 308), extend("default" = 302))]
    pub status: Option<u16>,
}

/// Maintenance: on or off, or a table, which means on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Maintenance {
    /// On or off.
    Switch(bool),
    /// On.
    Table(Box<MaintenanceTable>),
}

/// Maintenance: every request is answered with 503 (Service Unavailable), and what is stored is not sent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceTable {
    /// When clients are told to come back.
    #[schemars(extend("default" = "1m"))]
    pub retry_after: Option<Time>,
    /// What they are told. Without `body` and `file`, problem details.
    pub body: Option<String>,
    /// A file with what they are told, of 1 MiB at most.
    pub file: Option<FilePath>,
    /// The type of that. Without it, what the file's name says, or "text/plain; charset=utf-8".
    #[serde(rename = "type")]
    pub media_type: Option<FieldText>,
    /// Networks of clients who are served as usual.
    #[schemars(extend("default" = []))]
    pub allow: Vec<Network>,
}

impl Redirect {
    /// Where to.
    pub fn to(&self) -> &Location {
        match self {
            Self::To(to) => to,
            Self::Table(table) => &table.to,
        }
    }
}

impl Maintenance {
    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Switch(false))
    }
}
