//! What of a request's target is changed before it is forwarded.

use schemars::JsonSchema;
use serde::Deserialize;

use super::named::Named;
use crate::config::rewrites::{PathPrefix, PathRegex, PathText};
use crate::config::scalar::{Parameter, QueryName};

/// What becomes of the path: first `strip_prefix`, then `replace`, then `add_prefix`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathEdit {
    /// Whole segments at its beginning that are taken away: "/api" makes "/users" of "/api/users".
    pub strip_prefix: Option<PathPrefix>,
    /// What is put before it.
    pub add_prefix: Option<PathPrefix>,
    /// Regular expressions and what takes the place of what they match, one after the other, with groups as $1: {
    /// '^/users/(\d+)$' = "/people/$1" }. Dot segments and encoded slashes that come of it are refused.
    pub replace: Named<PathText, PathRegex>,
    /// Leaves `Location` and `Content-Location` of replies as they are: for origins that know the paths that clients see.
    /// Without it, paths there that the prefixes made are turned back into the clients' own; where `replace` is used they never
    /// are.
    pub keep_locations: bool,
}

/// What becomes of the query: first `rename`, then `remove`, `set` and `add`. Names are compared decoded, and case counts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryChanges {
    /// Parameters that get this value, and no other.
    pub set: Named<String, Parameter>,
    /// Parameters that are added, beside others of that name.
    pub add: Named<String, Parameter>,
    /// Parameters that are removed; "utm_*" is all that begin so.
    pub remove: Vec<QueryName>,
    /// Parameters by name, and what they are called instead.
    pub rename: Named<Parameter, Parameter>,
}
