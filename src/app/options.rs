//! What `serve` was asked on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::cache::Mode;

/// The command line of `serve`, parsed.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Forward everything to this URL, without a config file.
    pub url: Option<String>,
    /// The config file; `None`: the usual places.
    pub config: Option<PathBuf>,
    /// Listen here instead of where the config says; as the config writes it.
    pub listen: Vec<String>,
    /// Speak TLS with a certificate for development.
    pub dev_tls: bool,
    /// Start the built-in demo origin and forward to it.
    pub demo: bool,
    /// A mode that overrides every route's.
    pub mode: Option<Mode>,
    /// The config's profile to apply.
    pub profile: Option<String>,
    /// Reload when the config file changes, or a file that it names.
    pub watch: bool,
    /// Worker threads, instead of what the config says.
    pub workers: Option<usize>,
    /// The admin socket, where not the usual one.
    pub socket: Option<PathBuf>,
    /// The state directory, where not the usual one.
    pub state_dir: Option<PathBuf>,
    /// The instance's name, which names socket and state directory.
    pub instance: String,
    /// Overrides `server.shutdown_grace`.
    pub grace: Option<Duration>,
    /// Say nothing at start-up but errors.
    pub quiet: bool,
}
