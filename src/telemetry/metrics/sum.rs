//! Adds up the cells of all threads.

use std::collections::BTreeMap;

use super::cells::{Cells, Count, RouteCells, UpstreamCells};
use super::histogram::Sum;
use super::{Series, ThreadCells, slots, status};
use crate::http::accept_encoding::Coding;
use crate::telemetry::event::{CacheOutcome, End};
use crate::telemetry::outcome::{AttemptOutcome, ConnectionRefused, HandshakeFailure, Recoding};
use crate::telemetry::snapshot::{
    CodingRow, Connections, EndpointRow, HandshakeRow, Handshakes, RouteRow, Snapshot, UpstreamRow,
};

impl Series {
    /// Fills a snapshot with what the threads have counted.
    pub(in crate::telemetry) fn sum<'a>(
        &self,
        threads: impl Iterator<Item = &'a ThreadCells>,
        snapshot: &mut Snapshot,
    ) {
        let threads: Vec<&Cells> = threads.map(|cells| &cells.0).collect();
        let mut total = RouteSum::default();
        snapshot.routes = self.route_rows(&threads, &mut total);
        snapshot.total = total.row(String::new());
        snapshot.upstreams = self.upstream_rows(&threads);
        snapshot.endpoints = self.endpoint_rows(&threads);
        snapshot.connections = connections(&threads);
        snapshot.handshakes = handshakes(&threads);
        for (reason, count) in threads.iter().flat_map(|cells| cells.skips.iter()) {
            *snapshot.cache_skips.entry(reason.to_owned()).or_default() += count;
        }
        snapshot.codings = codings(&threads);
        for (reason, count) in threads.iter().flat_map(|cells| cells.refusals.iter()) {
            *snapshot.refused.entry(reason.to_owned()).or_default() += count;
        }
    }

    fn route_rows(&self, threads: &[&Cells], total: &mut RouteSum) -> Vec<RouteRow> {
        let mut rows = Vec::new();
        for (name, slot) in with_unnamed(self.routes.list()) {
            let mut sum = RouteSum::default();
            let cells = threads.iter().filter_map(|cells| cells.routes.peek(slot));
            if cells.map(|cells| sum.add(cells)).count() > 0 {
                total.merge(&sum);
                rows.push(sum.row(name));
            }
        }
        rows
    }

    fn upstream_rows(&self, threads: &[&Cells]) -> Vec<UpstreamRow> {
        let mut rows = Vec::new();
        for (name, slot) in with_unnamed(self.upstreams.list()) {
            let cells: Vec<_> = threads.iter().filter_map(|cells| cells.upstreams.peek(slot)).collect();
            if !cells.is_empty() {
                rows.push(upstream_row(name, &cells));
            }
        }
        rows
    }

    fn endpoint_rows(&self, threads: &[&Cells]) -> Vec<EndpointRow> {
        let mut names: Vec<_> = self.endpoints.list();
        names.sort_unstable();
        names.push((("(other)".into(), "(other)".into()), slots::OTHER));
        let mut rows = Vec::new();
        for ((upstream, endpoint), slot) in names {
            let cells: Vec<_> = threads.iter().filter_map(|cells| cells.endpoints.peek(slot)).collect();
            if !cells.is_empty() {
                let attempts = attempts(cells.into_iter());
                rows.push(EndpointRow { upstream: upstream.into(), endpoint: endpoint.into(), attempts });
            }
        }
        rows
    }
}

/// What was coded, and what was decoded, by coding.
fn codings(threads: &[&Cells]) -> Vec<CodingRow> {
    let pairs = Coding::ALL.into_iter().flat_map(|coding| Recoding::ALL.map(|way| (coding, way)));
    let rows = pairs.map(|(coding, way)| {
        let cells = || threads.iter().map(|cells| &cells.codings[coding as usize][way as usize]);
        CodingRow {
            coding: coding.as_str().to_owned(),
            way: way.as_str().to_owned(),
            bodies: cells().map(|cells| cells.bodies.get()).sum(),
            bytes_in: cells().map(|cells| cells.taken.get()).sum(),
            bytes_out: cells().map(|cells| cells.given.get()).sum(),
        }
    });
    rows.filter(|row| row.bodies > 0).collect()
}

/// The names in order, then those who have none.
fn with_unnamed(names: Vec<(Box<str>, u32)>) -> Vec<(String, u32)> {
    let mut names: Vec<(String, u32)> = names.into_iter().map(|(name, slot)| (name.into(), slot)).collect();
    names.sort_unstable();
    names.push(("(other)".to_owned(), slots::OTHER));
    names.push(("(none)".to_owned(), slots::NONE));
    names
}

#[derive(Default)]
struct RouteSum {
    statuses: Counts<{ status::CELLS }>,
    cache: Counts<{ CacheOutcome::ALL.len() }>,
    ends: Counts<{ End::ALL.len() }>,
    received: u64,
    sent: u64,
    duration: Sum,
    first_byte: Sum,
}

impl RouteSum {
    fn add(&mut self, cells: &RouteCells) {
        self.statuses.add(&cells.statuses);
        self.cache.add(&cells.cache);
        self.ends.add(&cells.ends);
        self.received += cells.received.get();
        self.sent += cells.sent.get();
        self.duration.add(&cells.duration);
        self.first_byte.add(&cells.first_byte);
    }

    fn merge(&mut self, other: &Self) {
        self.statuses.merge(&other.statuses);
        self.cache.merge(&other.cache);
        self.ends.merge(&other.ends);
        self.received += other.received;
        self.sent += other.sent;
        self.duration.merge(&other.duration);
        self.first_byte.merge(&other.first_byte);
    }

    fn row(&self, route: String) -> RouteRow {
        let mut classes = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        for (cell, count) in self.statuses.filled() {
            *classes.entry(status::class(cell).to_owned()).or_default() += count;
            statuses.insert(status::label(cell), count);
        }
        RouteRow {
            route,
            requests: self.statuses.0.iter().sum(),
            classes,
            statuses,
            received: self.received,
            sent: self.sent,
            cache: words(&self.cache, |cell| CacheOutcome::ALL[cell].as_str()),
            ends: words(&self.ends, |cell| End::ALL[cell].as_str()),
            duration: self.duration.latency(),
            first_byte: self.first_byte.latency(),
        }
    }
}

fn upstream_row(upstream: String, cells: &[&UpstreamCells]) -> UpstreamRow {
    let mut first_byte = Sum::default();
    cells.iter().for_each(|cells| first_byte.add(&cells.first_byte));
    UpstreamRow {
        upstream,
        requests: cells.iter().map(|cells| cells.requests.get()).sum(),
        attempts: attempts(cells.iter().map(|cells| &cells.attempts)),
        retries: cells.iter().map(|cells| cells.retries.get()).sum(),
        first_byte: first_byte.latency(),
    }
}

fn attempts<'a>(
    cells: impl Iterator<Item = &'a [Count; AttemptOutcome::ALL.len()]>,
) -> BTreeMap<String, u64> {
    let mut counts = Counts::default();
    cells.for_each(|cells| counts.add(cells));
    words(&counts, |cell| AttemptOutcome::ALL[cell].as_str())
}

fn connections(threads: &[&Cells]) -> Connections {
    let mut refused = Counts::default();
    threads.iter().for_each(|cells| refused.add(&cells.refused));
    // Closed first: a connection that opens and closes in between must not make fewer than none.
    let closed = threads.iter().map(|cells| cells.closed.get()).sum();
    let opened: u64 = threads.iter().map(|cells| cells.opened.get()).sum();
    let refused = words(&refused, |cell| ConnectionRefused::ALL[cell].as_str());
    Connections { opened, closed, open: opened.saturating_sub(closed), refused }
}

fn handshakes(threads: &[&Cells]) -> Handshakes {
    let mut done: BTreeMap<_, u64> = BTreeMap::new();
    let mut failed = Counts::default();
    for cells in threads {
        failed.add(&cells.handshakes_failed);
        for (kind, count) in cells.handshakes.iter() {
            *done.entry(kind).or_default() += count;
        }
    }
    let row = |((version, cipher, resumed), count): ((&str, &str, bool), u64)| HandshakeRow {
        version: version.to_owned(),
        cipher: cipher.to_owned(),
        resumed,
        count,
    };
    let failed = words(&failed, |cell| HandshakeFailure::ALL[cell].as_str());
    Handshakes { done: done.into_iter().map(row).collect(), failed }
}

/// Sums of a fixed table of counters.
struct Counts<const N: usize>([u64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Counts<N> {
    fn add(&mut self, cells: &[Count; N]) {
        self.0.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell.get());
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }
}

fn words<const N: usize>(counts: &Counts<N>, word: fn(usize) -> &'static str) -> BTreeMap<String, u64> {
    counts.filled().map(|(cell, count)| (word(cell).to_owned(), count)).collect()
}
