//! Logs and metrics.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::address::Address;
use crate::config::scalar::{FilePath, Size, Time};

/// Logs and metrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where /metrics, /livez and /readyz are served; without it, nowhere.
    pub listen: Option<Address>,
    /// How many finished exchanges the command `logs` can look back on.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 10_000))]
    pub ring: Option<u32>,
    /// The access log: "stderr", "off", or a table.
    #[schemars(extend("default" = "off"))]
    pub access_log: Option<AccessLog>,
}

/// The access log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessLog {
    /// A word.
    Word(LogWord),
    /// A table.
    Table(LogTable),
}

/// The access log in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogWord {
    /// Lines of text on standard error.
    Stderr,
    /// No access log.
    Off,
}

/// The access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// "text" for one readable line, "json" for one JSON object a line.
    #[schemars(extend("default" = "text"))]
    pub format: Option<LogFormat>,
    /// The file; without it, standard error. It is opened anew on SIGUSR1.
    pub path: Option<FilePath>,
    /// The file is rotated when it has reached this size; "0" means never.
    #[schemars(extend("default" = "100MiB"))]
    pub max_size: Option<Size>,
    /// The file is rotated when it is so old; "0s" means never.
    #[schemars(extend("default" = "0s"))]
    pub max_age: Option<Time>,
    /// How many rotated files are kept.
    #[schemars(range(max = 10_000), extend("default" = 7))]
    pub keep: Option<u32>,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}
