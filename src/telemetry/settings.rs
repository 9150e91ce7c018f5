//! What telemetry is told by the config.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Access log, ring and machine listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where access log lines go; `None`: nowhere.
    pub access_log: Option<AccessLog>,
    /// How many finished exchanges `logs` can look back on.
    pub ring: usize,
    /// Where `/metrics`, `/livez` and `/readyz` are served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// How a line looks.
    pub format: LogFormat,
    /// Where it goes.
    pub target: LogTarget,
}

/// How an access log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file, rotated by size and age and opened anew on SIGUSR1.
    File {
        /// Its path.
        path: PathBuf,
        /// Rotate when it has reached so many bytes; 0: never.
        max_size: u64,
        /// Rotate when it is so old; zero: never.
        max_age: Duration,
        /// Rotated files kept.
        keep: usize,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self { access_log: None, ring: 10_000, listen: None }
    }
}
