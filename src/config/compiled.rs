//! What a checked config becomes: plain settings for each room.

use super::provenance::Provenance;
use crate::{cache, pipeline, server, telemetry, tls, upstream};

/// Settings for a whole instance.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// TLS towards clients.
    pub tls: Vec<tls::Settings>,
    /// Where clients come in; at least one.
    pub listeners: Vec<server::ListenerSettings>,
    /// Limits of client connections.
    pub server: server::Settings,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Every upstream that a route names, and the others too.
    pub upstreams: Vec<upstream::Settings>,
    /// The routes.
    pub pipeline: pipeline::Settings,
    /// The store.
    pub cache: cache::Settings,
    /// Logs and metrics.
    pub telemetry: telemetry::Settings,
    /// Where the file says what the routes do, for explanations.
    pub provenance: Provenance,
}
