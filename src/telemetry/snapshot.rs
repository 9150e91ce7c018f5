//! All counters at one moment, as the admin API sends them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::rfc3339;
use crate::clock::Timestamp;

/// All counters since the instance started. Rates come from two of them: see [`Snapshot::since`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// When the counting began.
    #[serde(with = "rfc3339")]
    pub since: Timestamp,
    /// Everything over all routes.
    pub total: RouteRow,
    /// One row per route that had traffic, by name.
    pub routes: Vec<RouteRow>,
    /// One row per upstream that was asked, by name.
    pub upstreams: Vec<UpstreamRow>,
    /// One row per endpoint that was asked, by upstream and name.
    pub endpoints: Vec<EndpointRow>,
    /// Client connections.
    pub connections: Connections,
    /// TLS handshakes with clients.
    #[serde(default)]
    pub handshakes: Handshakes,
    /// Responses that were not stored, by reason.
    pub cache_skips: BTreeMap<String, u64>,
    /// Bodies that were put into another content coding, by coding.
    #[serde(default)]
    pub codings: Vec<CodingRow>,
    /// Requests that were refused for what they are, by reason.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// The access log and the ring.
    pub log: LogCounts,
    /// What other rooms measure at this moment, in the order they were registered.
    pub gauges: Vec<Gauge>,
}

/// What was counted for a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The route's name; empty in the total, `(none)` where no route matched, `(other)` beyond the bound.
    pub route: String,
    /// Finished exchanges.
    pub requests: u64,
    /// By class: `2xx` ...; `none` where the client left before there was a status.
    pub classes: BTreeMap<String, u64>,
    /// By exact status; unusual ones are under their class and `other`: `other 4xx`.
    pub statuses: BTreeMap<String, u64>,
    /// Body bytes received from clients.
    pub received: u64,
    /// Body bytes sent to clients.
    pub sent: u64,
    /// By what the cache did.
    pub cache: BTreeMap<String, u64>,
    /// By how they ended.
    pub ends: BTreeMap<String, u64>,
    /// From request head to the end of the reply.
    pub duration: Latency,
    /// From request head to the head of the reply.
    pub first_byte: Latency,
}

/// What was counted for a content coding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodingRow {
    /// Its name.
    pub coding: String,
    /// `encode` or `decode`.
    pub way: String,
    /// Bodies.
    pub bodies: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
}

/// What was counted for an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamRow {
    /// The upstream's name.
    pub upstream: String,
    /// Finished exchanges that asked it.
    pub requests: u64,
    /// Attempts by outcome.
    pub attempts: BTreeMap<String, u64>,
    /// Attempts that followed a failed one.
    pub retries: u64,
    /// From asking an endpoint to the head of its reply.
    pub first_byte: Latency,
}

/// What was counted for an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The upstream's name.
    pub upstream: String,
    /// The endpoint, as `host:port`.
    pub endpoint: String,
    /// Attempts by outcome.
    pub attempts: BTreeMap<String, u64>,
}

/// Client connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Accepted since the start.
    pub opened: u64,
    /// Closed since the start.
    pub closed: u64,
    /// Open now.
    pub open: u64,
    /// Closed before a request was read, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// TLS handshakes with clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handshakes {
    /// Those that are done.
    pub done: Vec<HandshakeRow>,
    /// Those that failed, by reason.
    pub failed: BTreeMap<String, u64>,
}

/// TLS handshakes of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandshakeRow {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// How many.
    pub count: u64,
}

/// What became of finished exchanges on their way to log and ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCounts {
    /// Lines written to the access log.
    pub written: u64,
    /// Lines that were dropped because the log could not keep up.
    pub dropped: u64,
    /// Lines that were lost to write errors (disk full).
    pub failed: u64,
    /// Exchanges that neither log nor ring saw, because too many finished at once.
    pub events_dropped: u64,
}

/// How long things took. Percentiles are exact to about 6 %.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
    /// Half were faster, in microseconds.
    pub p50_us: u64,
    /// Nine of ten were faster, in microseconds.
    pub p90_us: u64,
    /// 99 of 100 were faster, in microseconds.
    pub p99_us: u64,
    /// 999 of 1,000 were faster, in microseconds.
    pub p999_us: u64,
    /// Upper bound in microseconds and count of every bucket that is not empty.
    pub buckets: Vec<(u64, u64)>,
}

/// Something measured at the moment of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// The metric's name without the `proxy_stone_` prefix.
    pub name: String,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Snapshot {
    /// What happened since `earlier`, a snapshot of the same instance. Rows without traffic in between are left
    /// out; what is measured at a moment (gauges, open connections) is that of `self`.
    pub fn since(&self, earlier: &Self) -> Self {
        // Another instance (a restart in between) has nothing to subtract.
        let nothing = Self::default();
        let earlier = if self.since == earlier.since { earlier } else { &nothing };
        let routes =
            self.routes.iter().map(|row| match earlier.routes.iter().find(|old| old.route == row.route) {
                Some(old) => row.since(old),
                None => row.clone(),
            });
        let upstreams = self.upstreams.iter().map(|row| {
            match earlier.upstreams.iter().find(|old| old.upstream == row.upstream) {
                Some(old) => row.since(old),
                None => row.clone(),
            }
        });
        let endpoints = self.endpoints.iter().map(|row| {
            let mut same = earlier.endpoints.iter();
            let old = same.find(|old| old.upstream == row.upstream && old.endpoint == row.endpoint);
            let attempts = old.map_or_else(|| row.attempts.clone(), |old| less(&row.attempts, &old.attempts));
            EndpointRow { attempts, ..row.clone() }
        });
        Self {
            at: self.at,
            since: earlier.at.max(self.since),
            total: self.total.since(&earlier.total),
            routes: routes.filter(|row| row.requests > 0).collect(),
            upstreams: upstreams.filter(|row| !row.attempts.is_empty() || row.requests > 0).collect(),
            endpoints: endpoints.filter(|row| !row.attempts.is_empty()).collect(),
            connections: self.connections.since(&earlier.connections),
            handshakes: self.handshakes.since(&earlier.handshakes),
            cache_skips: less(&self.cache_skips, &earlier.cache_skips),
            codings: self.codings.iter().filter_map(|row| row.since(&earlier.codings)).collect(),
            refused: less(&self.refused, &earlier.refused),
            log: self.log.since(earlier.log),
            gauges: self.gauges.clone(),
        }
    }
}

impl RouteRow {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            route: self.route.clone(),
            requests: self.requests.saturating_sub(earlier.requests),
            classes: less(&self.classes, &earlier.classes),
            statuses: less(&self.statuses, &earlier.statuses),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
            cache: less(&self.cache, &earlier.cache),
            ends: less(&self.ends, &earlier.ends),
            duration: self.duration.since(&earlier.duration),
            first_byte: self.first_byte.since(&earlier.first_byte),
        }
    }

    /// Exchanges answered without waiting for the origin's body (hit, stale, revalidated, collapsed), as a share of
    /// those that came to the cache; `None` when none did. What bypassed the cache is not counted.
    pub fn hit_ratio(&self) -> Option<f64> {
        let count = |word: &str| self.cache.get(word).copied().unwrap_or(0);
        let served: u64 = ["hit", "stale", "revalidated", "collapsed"].into_iter().map(count).sum();
        let asked = served + count("miss");
        (asked > 0).then(|| served as f64 / asked as f64)
    }
}

impl UpstreamRow {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            upstream: self.upstream.clone(),
            requests: self.requests.saturating_sub(earlier.requests),
            attempts: less(&self.attempts, &earlier.attempts),
            retries: self.retries.saturating_sub(earlier.retries),
            first_byte: self.first_byte.since(&earlier.first_byte),
        }
    }
}

impl CodingRow {
    fn since(&self, earlier: &[Self]) -> Option<Self> {
        let old = earlier.iter().find(|old| (&old.coding, &old.way) == (&self.coding, &self.way));
        let less = |count: fn(&Self) -> u64| count(self).saturating_sub(old.map_or(0, count));
        let row = Self {
            bodies: less(|row| row.bodies),
            bytes_in: less(|row| row.bytes_in),
            bytes_out: less(|row| row.bytes_out),
            ..self.clone()
        };
        (row.bytes_in > 0).then_some(row)
    }

    /// How many times larger what is not coded is than what is; `None` where nothing is.
    pub fn ratio(&self) -> Option<f64> {
        let (plain, coded) = match &*self.way {
            "decode" => (self.bytes_out, self.bytes_in),
            _ => (self.bytes_in, self.bytes_out),
        };
        (coded > 0).then(|| plain as f64 / coded as f64)
    }
}

impl Connections {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(earlier.opened),
            closed: self.closed.saturating_sub(earlier.closed),
            open: self.open,
            refused: less(&self.refused, &earlier.refused),
        }
    }
}

impl Handshakes {
    fn since(&self, earlier: &Self) -> Self {
        let same = |row: &HandshakeRow, old: &&HandshakeRow| {
            (&old.version, &old.cipher, old.resumed) == (&row.version, &row.cipher, row.resumed)
        };
        let rows = self.done.iter().map(|row| {
            let before = earlier.done.iter().find(|old| same(row, old)).map_or(0, |old| old.count);
            HandshakeRow { count: row.count.saturating_sub(before), ..row.clone() }
        });
        Self { done: rows.filter(|row| row.count > 0).collect(), failed: less(&self.failed, &earlier.failed) }
    }
}

impl LogCounts {
    fn since(self, earlier: Self) -> Self {
        Self {
            written: self.written.saturating_sub(earlier.written),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            failed: self.failed.saturating_sub(earlier.failed),
            events_dropped: self.events_dropped.saturating_sub(earlier.events_dropped),
        }
    }
}

/// Counts minus what they were, without those that did not move.
fn less(counts: &BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let left = counts
        .iter()
        .map(|(word, count)| (word.clone(), count.saturating_sub(earlier.get(word).copied().unwrap_or(0))));
    left.filter(|(_, count)| *count > 0).collect()
}

/// Takes what other rooms measure when a snapshot is made.
#[derive(Debug, Default)]
pub struct GaugeSink {
    gauges: Vec<Gauge>,
}

/// The most gauges that one snapshot takes; more are left out.
const MAX_GAUGES: usize = 10_000;

impl GaugeSink {
    /// Adds one value. `name` is one of [`super::names`]; names and label names are snake case.
    pub fn set(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        if self.gauges.len() < MAX_GAUGES {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            self.gauges.push(Gauge { name: name.to_owned(), labels, value });
        }
    }

    pub(super) fn into_gauges(self) -> Vec<Gauge> {
        self.gauges
    }
}
