//! Why an instance cannot start, or cannot take over a new config.

use std::io;

use thiserror::Error;

use crate::config::Finding;
use crate::{admin, cache, pipeline, server, telemetry, tls};

/// Why an instance cannot start or reload.
#[derive(Debug, Error)]
pub enum Error {
    /// The config has errors; all of them are here, warnings too.
    #[error("the config has errors")]
    Config(Vec<Finding>),
    /// There is no config file in any of the usual places, and no URL was given.
    #[error("there is nothing to serve: no URL, no --config, and no config file in the usual places")]
    NoConfig,
    /// It is finishing what is in flight, and takes over nothing new.
    #[error("the instance is stopping")]
    Stopping,
    /// Another process starts to take over.
    #[error("an upgrade is under way")]
    Upgrading,
    /// The process that was to hand over does not.
    #[error("{0}")]
    Handover(String),
    /// A client address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] server::BindError),
    /// Certificates that cannot be used.
    #[error("`tls.{name}` cannot be used: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tls {
        /// The `[tls.NAME]`.
        name: std::sync::Arc<str>,
        /// Everything that is wrong with it.
        faults: Vec<tls::Fault>,
    },
    /// No certificate for development.
    #[error(transparent)]
    DevTls(#[from] tls::dev::Error),
    /// The machine listener's address cannot be listened on.
    #[error("cannot listen on {address} for telemetry: {source}")]
    Telemetry {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The access log or telemetry's threads.
    #[error(transparent)]
    Log(#[from] telemetry::TelemetryError),
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] admin::server::BindError),
    /// Where state and socket are to be.
    #[error(transparent)]
    Paths(#[from] admin::paths::Error),
    /// The store's directory.
    #[error(transparent)]
    Store(#[from] cache::store::OpenError),
    /// The routes.
    #[error(transparent)]
    Site(#[from] pipeline::SiteError),
    /// A thread, a runtime or a signal handler.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Wraps what the system said about `what`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
