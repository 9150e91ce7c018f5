//! Counters that one thread writes and any thread reads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::slots::Slots;
use super::status;
use crate::http::accept_encoding::Coding;
use crate::telemetry::account::Account;
use crate::telemetry::event::{CacheOutcome, End};
use crate::telemetry::outcome::{AttemptOutcome, ConnectionRefused, HandshakeFailure, Recoding};

/// A counter with a single writer: adding is a plain load and store, without the lock prefix of a shared one.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Only from the thread that owns the cells.
    pub(super) fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that one thread counts. Tables for a route or an upstream appear with its first event.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) routes: Slots<RouteCells>,
    pub(super) upstreams: Slots<UpstreamCells>,
    pub(super) endpoints: Slots<[Count; AttemptOutcome::ALL.len()]>,
    pub(super) skips: Skips,
    pub(super) refusals: Skips,
    pub(super) handshakes: Handshakes,
    pub(super) handshakes_failed: [Count; HandshakeFailure::ALL.len()],
    pub(super) opened: Count,
    pub(super) closed: Count,
    pub(super) refused: [Count; ConnectionRefused::ALL.len()],
    /// By coding, and by whether it was made or undone.
    pub(super) codings: [[CodingCells; Recoding::ALL.len()]; Coding::ALL.len()],
}

/// What is counted for a content coding.
#[derive(Debug, Default)]
pub(super) struct CodingCells {
    pub(super) bodies: Count,
    pub(super) taken: Count,
    pub(super) given: Count,
}

/// What is counted for a route.
#[derive(Debug)]
pub(super) struct RouteCells {
    pub(super) statuses: [Count; status::CELLS],
    pub(super) cache: [Count; CacheOutcome::ALL.len()],
    pub(super) ends: [Count; End::ALL.len()],
    pub(super) received: Count,
    pub(super) sent: Count,
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
}

/// What is counted for an upstream.
#[derive(Debug, Default)]
pub(super) struct UpstreamCells {
    pub(super) requests: Count,
    pub(super) attempts: [Count; AttemptOutcome::ALL.len()],
    pub(super) retries: Count,
    pub(super) first_byte: Histogram,
}

impl Default for RouteCells {
    fn default() -> Self {
        Self {
            statuses: std::array::from_fn(|_| Count::default()),
            cache: Default::default(),
            ends: Default::default(),
            received: Count::default(),
            sent: Count::default(),
            duration: Histogram::default(),
            first_byte: Histogram::default(),
        }
    }
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            routes: Slots::new(super::MAX_ROUTES),
            upstreams: Slots::new(super::MAX_UPSTREAMS),
            endpoints: Slots::new(super::MAX_ENDPOINTS),
            skips: Skips::default(),
            refusals: Skips::default(),
            handshakes: Handshakes::default(),
            handshakes_failed: Default::default(),
            opened: Count::default(),
            closed: Count::default(),
            refused: Default::default(),
            codings: Default::default(),
        }
    }

    pub(super) fn finished(&self, finished: &Account<'_>) {
        let route = self.routes.get(finished.series.route);
        route.statuses[status::cell(finished.status)].add(1);
        route.cache[finished.cache as usize].add(1);
        route.ends[finished.end as usize].add(1);
        route.received.add(finished.received);
        route.sent.add(finished.sent);
        if !finished.lasting {
            route.duration.record(finished.duration);
        }
        // Without a status there was no first byte.
        if finished.status != 0 {
            route.first_byte.record(finished.first_byte);
        }
        if finished.series.upstream != 0 && finished.attempts > 0 {
            self.upstreams.get(finished.series.upstream).requests.add(1);
        }
    }

    pub(super) fn attempt(
        &self,
        upstream: u32,
        endpoint: u32,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        let cells = self.upstreams.get(upstream);
        cells.attempts[outcome as usize].add(1);
        if let Some(first_byte) = first_byte {
            cells.first_byte.record(first_byte);
        }
        if endpoint != 0 {
            self.endpoints.get(endpoint)[outcome as usize].add(1);
        }
    }
}

/// The most distinct reasons that are told apart; more are counted as `other`.
const MAX_SKIPS: usize = 64;

/// Counts per reason: a table that is filled from the front, searched by address first.
#[derive(Debug)]
pub(super) struct Skips {
    rows: [(OnceLock<&'static str>, Count); MAX_SKIPS],
    other: Count,
}

impl Default for Skips {
    fn default() -> Self {
        Self { rows: std::array::from_fn(|_| Default::default()), other: Count::default() }
    }
}

impl Skips {
    pub(super) fn add(&self, reason: &'static str) {
        for (name, count) in &self.rows {
            let name: &'static str = name.get_or_init(|| reason);
            if std::ptr::eq(name, reason) || name == reason {
                return count.add(1);
            }
        }
        self.other.add(1);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let named = self.rows.iter().map_while(|(name, count)| Some((*name.get()?, count.get())));
        named.chain(Some(("other", self.other.get()))).filter(|(_, count)| *count > 0)
    }
}

/// A kind of handshake: version, cipher suite, whether a session was resumed.
pub(super) type Handshake = (&'static str, &'static str, bool);

/// The most kinds of handshakes: there are nine cipher suites, and each may be resumed.
const MAX_HANDSHAKES: usize = 32;

/// Counts per kind of handshake: a table that is filled from the front.
#[derive(Debug)]
pub(super) struct Handshakes([(OnceLock<Handshake>, Count); MAX_HANDSHAKES]);

impl Default for Handshakes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

impl Handshakes {
    pub(super) fn add(&self, kind: Handshake) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known.get_or_init(|| kind) == kind) {
            count.add(1);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Handshake, u64)> {
        self.0.iter().map_while(|(kind, count)| Some((*kind.get()?, count.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_beyond_the_bound_are_counted_as_other() {
        let skips = Skips::default();
        skips.add("no_store");
        for at in 0..100 {
            skips.add(Box::leak(format!("reason_{at}").into_boxed_str()));
        }
        skips.add(Box::leak(String::from("no_store").into_boxed_str()));
        let counts: Vec<_> = skips.iter().collect();
        assert_eq!(counts.len(), MAX_SKIPS + 1);
        assert_eq!(counts[0], ("no_store", 2));
        assert_eq!(counts.last(), Some(&("other", 37)));
    }
}
