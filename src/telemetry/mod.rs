//! What happened: one finished-exchange event, from which log line, ring and metrics all come.
//!
//! Counting is done in cells that only their own thread writes, so it costs a few plain stores; they are summed
//! when someone asks. The event itself goes into its thread's outbox, from where a thread of ours takes it to
//! the ring, to followers and to the access log. Nothing here ever makes an exchange wait: what cannot be
//! kept up with is dropped, and counted. Events stand one behind the other from the beginning (`batch`), and are
//! given on and forgotten by the hundred.
//!
//! ```text
//! worker: finished() ─┬─▶ cells (per thread) ───────────── summed ─▶ Snapshot, OpenMetrics
//!                     └─▶ outbox (per thread) ─▶ collector ─┬─▶ ring ─▶ recent(), find()
//!                                                           ├─▶ followers
//!                                                           └─▶ access log writer
//! ```
//!
//! Of requests' fields it only learns which of a few are there, of replies' those that caching goes by (`caching`):
//! credentials and cookies cannot end up in a log.

mod access_log;
pub mod account;
mod batch;
pub mod caching;
mod collector;
pub mod error;
pub mod event;
mod fields;
pub mod filter;
pub mod listener;
mod local;
pub mod log;
pub mod logged;
mod metrics;
pub mod names;
pub mod outcome;
pub mod record;
pub mod ring;
pub mod settings;
pub mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use access_log::{Counters, Output, Writer};
use collector::Collector;
use metrics::ThreadCells;

pub use account::Account;
pub use error::TelemetryError;
pub use event::Finished;
pub use outcome::{AttemptOutcome, ConnectionRefused, HandshakeFailure, Recoding};
pub use record::LogRecord;
pub use ring::{Followed, Follower, Query};
pub use settings::Settings;
pub use snapshot::{GaugeSink, LogCounts, Snapshot};

use crate::clock::{Clock, Timestamp};
use crate::http::accept_encoding::Coding;

/// Measures other rooms when a snapshot is made; called on the thread that asks for it, and must not wait.
pub type GaugeSource = Box<dyn Fn(&mut GaugeSink) + Send + Sync>;

/// The instance's memory of what happened; one per instance, and it survives reloads.
pub struct Telemetry {
    clock: Clock,
    began: Timestamp,
    series: metrics::Series,
    collector: Arc<Collector>,
    counters: Arc<Counters>,
    gauges: RwLock<Vec<GaugeSource>>,
    log: Mutex<Log>,
}

/// The access log as it is now.
#[derive(Debug, Default)]
struct Log {
    settings: Option<settings::AccessLog>,
    writer: Option<Arc<Writer>>,
    closed: bool,
}

impl Telemetry {
    /// Starts telemetry.
    ///
    /// # Errors
    /// When the access log cannot be opened or a thread cannot be started.
    pub fn start(settings: &Settings, clock: Clock) -> Result<Arc<Self>, TelemetryError> {
        let collector = Arc::new(Collector::new(settings.ring));
        let telemetry = Self {
            began: clock.now(),
            clock,
            series: metrics::Series::new(),
            collector: collector.clone(),
            counters: Arc::default(),
            gauges: RwLock::default(),
            log: Mutex::default(),
        };
        telemetry.reconfigure(settings)?;
        std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || collector.run())
            .map_err(TelemetryError::Thread)?;
        Ok(Arc::new(telemetry))
    }

    /// Applies new settings (target and format of the access log, size of the ring); counters and ring stay.
    ///
    /// # Errors
    /// When the new access log cannot be opened; then nothing has changed.
    pub fn reconfigure(&self, settings: &Settings) -> Result<(), TelemetryError> {
        let mut log = self.log.lock();
        if log.closed {
            return Ok(());
        }
        if log.settings == settings.access_log {
            self.collector.reconfigure(settings.ring, log.writer.clone());
            return Ok(());
        }
        let output = settings.access_log.as_ref().map(|new| Output::open(new, &self.clock)).transpose()?;
        // What has finished by now belongs to the old log.
        self.collector.collect();
        let old = log.writer.take();
        log.writer = match (old, output) {
            (Some(writer), Some(output)) => {
                writer.switch(output);
                Some(writer)
            }
            (None, Some(output)) => Some(Writer::start(output, self.clock.clone(), self.counters.clone())?),
            (old, None) => {
                self.collector.reconfigure(settings.ring, None);
                old.iter().for_each(|writer| writer.finish());
                None
            }
        };
        log.settings = settings.access_log.clone();
        self.collector.reconfigure(settings.ring, log.writer.clone());
        Ok(())
    }

    /// Takes note of a finished exchange; from any thread, and never waits.
    pub fn finished<'a>(&self, account: impl Into<Account<'a>>) {
        let account = account.into();
        self.collector.seats.with(|local| {
            // What the instance asks itself is in logs, but no traffic.
            if account.protocol != event::Protocol::Internal {
                local.cells.finished(&account);
            }
            self.collector.post(local, &account);
        });
    }

    /// The slot under which a route is counted; the same for the same name as long as the instance lives.
    pub fn route_slot(&self, name: &str) -> u32 {
        self.series.route(name)
    }

    /// The slot under which an upstream is counted; the same for the same name as long as the instance lives.
    pub fn upstream_slot(&self, name: &str) -> u32 {
        self.series.upstream(name)
    }

    /// The slot under which an endpoint (`host:port`) of an upstream is counted.
    pub fn endpoint_slot(&self, upstream: &str, endpoint: &str) -> u32 {
        self.series.endpoint(upstream, endpoint)
    }

    /// Counts an attempt at an endpoint (slot 0: none was picked) and, where a head came, how long it took.
    pub fn attempt(
        &self,
        upstream: u32,
        endpoint: u32,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        self.count(|cells| cells.attempt(upstream, endpoint, outcome, first_byte));
    }

    /// Counts an attempt that follows a failed one.
    pub fn retry(&self, upstream: u32) {
        self.count(|cells| cells.retry(upstream));
    }

    /// Counts a response that was not stored, and why; the reasons are a fixed set of snake-case words.
    pub fn cache_skip(&self, reason: &'static str) {
        self.count(|cells| cells.cache_skip(reason));
    }

    /// Counts content that was coded otherwise: bytes that went in and came out, and whether it is the first of a body.
    pub fn recoded(&self, coding: Coding, way: Recoding, begins: bool, taken: u64, given: u64) {
        self.count(|cells| cells.recoded(coding, way, begins, taken, given));
    }

    /// Counts a request that is refused for what it is; the reasons are a fixed set of snake-case words.
    pub fn refused(&self, reason: &'static str) {
        self.count(|cells| cells.refused(reason));
    }

    /// Counts an accepted client connection.
    pub fn connection_opened(&self) {
        self.count(ThreadCells::connection_opened);
    }

    /// Counts a closed client connection.
    pub fn connection_closed(&self) {
        self.count(ThreadCells::connection_closed);
    }

    /// Counts a client connection that was closed before a request was read; not also as opened.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        self.count(|cells| cells.connection_refused(reason));
    }

    /// Counts a TLS handshake that is done.
    pub fn handshake_done(&self, version: &'static str, cipher: &'static str, resumed: bool) {
        self.count(|cells| cells.handshake_done((version, cipher, resumed)));
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.count(|cells| cells.handshake_failed(failure));
    }

    fn count(&self, count: impl FnOnce(&ThreadCells)) {
        self.collector.seats.with(|local| count(&local.cells));
    }

    /// Lets another room add what it measures to every snapshot; for as long as the instance lives.
    pub fn register_gauges(&self, source: GaugeSource) {
        self.gauges.write().push(source);
    }

    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        let mut sink = GaugeSink::default();
        self.gauges.read().iter().for_each(|source| source(&mut sink));
        let mut snapshot = Snapshot {
            at: self.clock.now(),
            since: self.began,
            gauges: sink.into_gauges(),
            log: LogCounts {
                written: self.counters.written.load(Ordering::Relaxed),
                dropped: self.counters.dropped.load(Ordering::Relaxed),
                failed: self.counters.failed.load(Ordering::Relaxed),
                events_dropped: self.collector.dropped(),
            },
            ..Snapshot::default()
        };
        let seats = self.collector.seats.all();
        self.series.sum(seats.iter().map(|local| &local.cells), &mut snapshot);
        snapshot
    }

    /// All counters now, as OpenMetrics text.
    pub fn openmetrics(&self) -> String {
        metrics::encode(self.snapshot())
    }

    /// Finished exchanges from the ring, oldest first.
    pub fn recent(&self, query: &Query) -> Vec<Arc<Finished>> {
        self.collector.recent().find(query)
    }

    /// The finished exchange with this request id, if the ring still has it.
    pub fn find(&self, id: &str) -> Option<Arc<Finished>> {
        self.collector.recent().by_id(id)
    }

    /// Hears of exchanges as they finish from now on.
    pub fn follow(&self) -> Follower {
        self.collector.follow().1
    }

    /// The same, and what [`recent`](Self::recent) says of those before: each exchange is told by one of the two.
    pub fn recent_and_follow(&self, query: &Query) -> (Vec<Arc<Finished>>, Follower) {
        let (remembered, follower) = self.collector.follow();
        (remembered.find(query), follower)
    }

    /// Opens the access log's file anew (SIGUSR1), after something else has moved it away.
    ///
    /// # Errors
    /// When the file cannot be opened; lines go on to the old one.
    pub fn reopen(&self) -> Result<(), TelemetryError> {
        let log = self.log.lock();
        if let (Some(settings), Some(writer)) = (&log.settings, &log.writer) {
            let output = Output::open(settings, &self.clock)?;
            self.collector.collect();
            writer.switch(output);
        }
        Ok(())
    }

    /// Writes out what is left and ends the threads; waits up to 5 s for a slow log. Events that come later are
    /// only counted.
    pub fn close(&self) {
        let mut log = self.log.lock();
        log.closed = true;
        self.collector.close();
        if let Some(writer) = log.writer.take() {
            writer.close();
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.collector.close();
        if let Some(writer) = self.log.get_mut().writer.take() {
            writer.finish();
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("began", &self.began).finish_non_exhaustive()
    }
}
