//! What happened: one finished-exchange event, from which log line, ring and metrics all come.
//!
//! Counting is done in cells that only their own thread writes, so it costs a few plain stores; they are summed
//! when someone asks. The event itself goes into its thread's outbox, from where a thread of ours takes it to
//! the ring, to followers and to the access log. Nothing here ever makes an exchange wait: what cannot be
//! kept up with is dropped, and counted.
//!
//! ```text
//! worker: finished() ─┬─▶ cells (per thread) ───────────── summed ─▶ Snapshot, OpenMetrics
//!                     └─▶ outbox (per thread) ─▶ collector ─┬─▶ ring ─▶ recent(), find()
//!                                                           ├─▶ followers
//!                                                           └─▶ access log writer
//! ```
//!
//! It never sees request or response fields: credentials and cookies cannot end up in a log.

pub mod error;
pub mod event;
pub mod filter;
pub mod listener;
pub mod log;
pub mod outcome;
pub mod record;
pub mod ring;
pub mod settings;
pub mod snapshot;

use std::sync::Arc;
use std::time::Duration;

pub use error::TelemetryError;
pub use event::Finished;
pub use outcome::{AttemptOutcome, ConnectionRefused};
pub use record::LogRecord;
pub use ring::{Followed, Follower, Query};
pub use settings::Settings;
pub use snapshot::{GaugeSink, Snapshot};

use crate::clock::Clock;

/// Measures other rooms when a snapshot is made; called on the thread that asks for it, and must not wait.
pub type GaugeSource = Box<dyn Fn(&mut GaugeSink) + Send + Sync>;

/// The instance's memory of what happened; one per instance, and it survives reloads.
#[derive(Debug)]
pub struct Telemetry {
    followers: tokio::sync::broadcast::Sender<Arc<Finished>>,
}

impl Telemetry {
    /// Starts telemetry.
    ///
    /// # Errors
    /// When the access log cannot be opened or a thread cannot be started.
    pub fn start(settings: &Settings, clock: Clock) -> Result<Arc<Self>, TelemetryError> {
        let _ = (settings, clock);
        Ok(Arc::new(Self { followers: tokio::sync::broadcast::channel(16).0 }))
    }

    /// Applies new settings (target and format of the access log, size of the ring); counters and ring stay.
    ///
    /// # Errors
    /// When the new access log cannot be opened; then nothing has changed.
    pub fn reconfigure(&self, settings: &Settings) -> Result<(), TelemetryError> {
        let _ = settings;
        Ok(())
    }

    /// Takes note of a finished exchange; from any thread, and never waits.
    pub fn finished(&self, finished: Finished) {
        let _ = finished;
    }

    /// The slot under which a route is counted; the same for the same name as long as the instance lives.
    pub fn route_slot(&self, name: &str) -> u32 {
        let _ = name;
        0
    }

    /// The slot under which an upstream is counted; the same for the same name as long as the instance lives.
    pub fn upstream_slot(&self, name: &str) -> u32 {
        let _ = name;
        0
    }

    /// The slot under which an endpoint (`host:port`) of an upstream is counted.
    pub fn endpoint_slot(&self, upstream: &str, endpoint: &str) -> u32 {
        let _ = (upstream, endpoint);
        0
    }

    /// Counts an attempt at an endpoint (slot 0: none was picked) and, where a head came, how long it took.
    pub fn attempt(
        &self,
        upstream: u32,
        endpoint: u32,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        let _ = (upstream, endpoint, outcome, first_byte);
    }

    /// Counts an attempt that follows a failed one.
    pub fn retry(&self, upstream: u32) {
        let _ = upstream;
    }

    /// Counts a response that was not stored, and why; the reasons are a fixed set of snake-case words.
    pub fn cache_skip(&self, reason: &'static str) {
        let _ = reason;
    }

    /// Counts an accepted client connection.
    pub fn connection_opened(&self) {}

    /// Counts a closed client connection.
    pub fn connection_closed(&self) {}

    /// Counts a client connection that was closed before a request was read; not also as opened.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        let _ = reason;
    }

    /// Lets another room add what it measures to every snapshot; for as long as the instance lives.
    pub fn register_gauges(&self, source: GaugeSource) {
        let _ = source;
    }

    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }

    /// All counters now, as OpenMetrics text.
    pub fn openmetrics(&self) -> String {
        String::new()
    }

    /// Finished exchanges from the ring, oldest first.
    pub fn recent(&self, query: &Query) -> Vec<Arc<Finished>> {
        let _ = query;
        Vec::new()
    }

    /// The finished exchange with this request id, if the ring still has it.
    pub fn find(&self, id: &str) -> Option<Arc<Finished>> {
        let _ = id;
        None
    }

    /// Hears of exchanges as they finish from now on.
    pub fn follow(&self) -> Follower {
        Follower::new(self.followers.subscribe())
    }

    /// Opens the access log's file anew (SIGUSR1), after something else has moved it away.
    ///
    /// # Errors
    /// When the file cannot be opened; lines go on to the old one.
    pub fn reopen(&self) -> Result<(), TelemetryError> {
        Ok(())
    }

    /// Writes out what is left and ends the threads; waits for them. Events that come later are only counted.
    pub fn close(&self) {}
}
