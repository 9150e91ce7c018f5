//! What can go wrong when telemetry is set up.

use std::io;
use std::path::PathBuf;

/// Why telemetry could not be set up or changed; what was running before goes on.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The access log's file could not be opened.
    #[error("cannot open the access log {path}: {source}{hint}", path = path.display())]
    OpenLog {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do about it, with its own leading separator; may be empty.
        hint: &'static str,
    },
    /// A thread could not be started.
    #[error("cannot start the telemetry thread: {0}")]
    Thread(#[source] io::Error),
}
