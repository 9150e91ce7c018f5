//! What of the fields of messages is changed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::named::Named;
use crate::config::edits::FieldTemplate;
use crate::config::scalar::FieldName;

/// What becomes of fields: first `rename`, then `remove`, `set` and `add`. Values may have variables: {client}, {user}, {request_id},
/// {method}, {scheme}, {host}, {authority}, {route}, {upstream}; of requests {path}, {query} and {header.NAME}; of replies
/// {status} and {reply.NAME}. A value that comes out empty is not sent.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldChanges {
    /// Fields that get this value, and no other.
    pub set: Named<FieldTemplate, FieldName>,
    /// Fields of which a line is added.
    pub add: Named<FieldTemplate, FieldName>,
    /// Fields that are removed.
    pub remove: Vec<FieldName>,
    /// Fields by name, and what they are called instead.
    pub rename: Named<FieldName, FieldName>,
}
