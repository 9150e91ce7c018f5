//! Who may ask, by name and password.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Named;
use crate::config::answers::FieldText;
use crate::config::scalar::FilePath;
use crate::config::users::{HashText, UserName};

/// Users with passwords: a table; false: everyone may ask.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BasicAuth {
    /// Nobody is asked; true is not for a config to say.
    Switch(bool),
    /// Who may.
    Table(Box<BasicAuthTable>),
}

/// Users with passwords (Basic authentication, RFC 7617). Others get 401. Passwords are kept as hashes that are slow to try
/// out: Argon2id ("$argon2id$...") or bcrypt ("$2y$...", "$2b$..."); `proxy-stone password hash` makes them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthTable {
    /// Users by name, each with the hash of the password.
    pub users: Named<HashText, UserName>,
    /// A file with NAME:HASH in each line, as htpasswd -B writes it. It is read with the config, and watched with it.
    pub file: Option<FilePath>,
    /// What people are told they are asked for.
    #[schemars(extend("default" = "restricted"))]
    pub realm: Option<FieldText>,
    /// Whether the upstream gets the credentials, too. Then the cache takes them for the origin's: replies are shared only
    /// where it says so (RFC 9111 3.5). Without it Authorization is removed, and all users share what is stored.
    #[schemars(extend("default" = false))]
    pub forward: Option<bool>,
}
