//! A snapshot as OpenMetrics text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::names;
use crate::telemetry::snapshot::{CodingRow, Gauge, Latency, Snapshot};

/// Upper bounds of the histograms' buckets: seconds as text and microseconds. Each is a bound of ours too.
const BUCKETS: [(f64, u64); 17] = [
    (0.0001, 100),
    (0.00025, 250),
    (0.0005, 500),
    (0.001, 1_000),
    (0.0025, 2_500),
    (0.005, 5_000),
    (0.01, 10_000),
    (0.025, 25_000),
    (0.05, 50_000),
    (0.1, 100_000),
    (0.25, 250_000),
    (0.5, 500_000),
    (1.0, 1_000_000),
    (2.5, 2_500_000),
    (5.0, 5_000_000),
    (10.0, 10_000_000),
    (60.0, 60_000_000),
];

/// The snapshot as OpenMetrics text, ended by `# EOF`.
pub(in crate::telemetry) fn encode(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix(names::PREFIX);
    registry.register_collector(Box::new(Encoder(snapshot)));
    let mut text = String::new();
    // Writing into a String cannot fail; a label that could not be encoded ends the text early.
    match encode_text(&mut text, &registry) {
        Ok(()) => text,
        Err(fmt::Error) => String::from("# EOF\n"),
    }
}

#[derive(Debug)]
struct Encoder(Snapshot);

impl Collector for Encoder {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &self.0;
        process(&mut encoder, snapshot)?;
        routes(&mut encoder, snapshot)?;
        codings(&mut encoder, snapshot)?;
        upstreams(&mut encoder, snapshot)?;
        connections_and_log(&mut encoder, snapshot)?;
        gauges(&mut encoder, &snapshot.gauges)
    }
}

fn process(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    let metric = encoder.encode_descriptor(names::BUILD, "The program.", None, MetricType::Info)?;
    build.encode(metric)?;
    let mut start = Family::new(
        encoder,
        names::START_TIME,
        "When the counting began.",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    start.gauge(&[], snapshot.since.millis() as f64 / 1000.0)
}

fn routes(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let mut requests = Family::counter(encoder, names::REQUESTS, "Finished exchanges.")?;
    for row in &snapshot.routes {
        for (status, count) in &row.statuses {
            let class = status_class(status);
            requests.count(&[("route", &row.route), ("status_class", &class), ("status", status)], *count)?;
        }
    }
    let mut ends = Family::counter(encoder, names::ENDS, "How exchanges ended.")?;
    for row in &snapshot.routes {
        ends.words(&[("route", &row.route)], "end", &row.ends)?;
    }
    let mut cache = Family::counter(encoder, names::CACHE, "What the cache did for exchanges.")?;
    for row in &snapshot.routes {
        cache.words(&[("route", &row.route)], "outcome", &row.cache)?;
    }
    let mut received = Family::bytes(encoder, names::RECEIVED, "Body bytes received from clients.")?;
    for row in &snapshot.routes {
        received.count(&[("route", &row.route)], row.received)?;
    }
    let mut sent = Family::bytes(encoder, names::SENT, "Body bytes sent to clients.")?;
    for row in &snapshot.routes {
        sent.count(&[("route", &row.route)], row.sent)?;
    }
    let mut duration =
        Family::latency(encoder, names::REQUEST_DURATION, "From request head to end of reply.")?;
    for row in &snapshot.routes {
        duration.histogram(&[("route", &row.route)], &row.duration)?;
    }
    let mut first_byte =
        Family::latency(encoder, names::REQUEST_FIRST_BYTE, "From request head to head of reply.")?;
    for row in &snapshot.routes {
        first_byte.histogram(&[("route", &row.route)], &row.first_byte)?;
    }
    let mut skips = Family::counter(encoder, names::CACHE_SKIPS, "Responses that were not stored.")?;
    skips.words(&[], "reason", &snapshot.cache_skips)?;
    let mut refused = Family::counter(encoder, names::REFUSED, "Requests refused for what they are.")?;
    refused.words(&[], "reason", &snapshot.refused)
}

fn codings(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    fn labels(row: &CodingRow) -> [(&str, &str); 2] {
        [("coding", &*row.coding), ("way", &*row.way)]
    }
    if snapshot.codings.is_empty() {
        return Ok(());
    }
    let mut bodies = Family::counter(encoder, names::CODED, "Bodies put into another content coding.")?;
    for row in &snapshot.codings {
        bodies.count(&labels(row), row.bodies)?;
    }
    let mut taken = Family::bytes(encoder, names::CODED_IN, "Bytes that went into a content coder.")?;
    for row in &snapshot.codings {
        taken.count(&labels(row), row.bytes_in)?;
    }
    let mut given = Family::bytes(encoder, names::CODED_OUT, "Bytes that came out of a content coder.")?;
    for row in &snapshot.codings {
        given.count(&labels(row), row.bytes_out)?;
    }
    Ok(())
}

fn upstreams(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let mut requests =
        Family::counter(encoder, names::UPSTREAM_REQUESTS, "Finished exchanges that asked the upstream.")?;
    for row in &snapshot.upstreams {
        requests.count(&[("upstream", &row.upstream)], row.requests)?;
    }
    let mut attempts = Family::counter(encoder, names::UPSTREAM_ATTEMPTS, "Attempts at an upstream.")?;
    for row in &snapshot.upstreams {
        attempts.words(&[("upstream", &row.upstream)], "outcome", &row.attempts)?;
    }
    let mut retries =
        Family::counter(encoder, names::UPSTREAM_RETRIES, "Attempts that followed a failed one.")?;
    for row in &snapshot.upstreams {
        retries.count(&[("upstream", &row.upstream)], row.retries)?;
    }
    let mut first_byte = Family::latency(
        encoder,
        names::UPSTREAM_FIRST_BYTE,
        "From asking an endpoint to head of its reply.",
    )?;
    for row in &snapshot.upstreams {
        first_byte.histogram(&[("upstream", &row.upstream)], &row.first_byte)?;
    }
    let mut endpoints = Family::counter(encoder, names::ENDPOINT_ATTEMPTS, "Attempts at an endpoint.")?;
    for row in &snapshot.endpoints {
        let labels = [("upstream", &*row.upstream), ("endpoint", &*row.endpoint)];
        endpoints.words(&labels, "outcome", &row.attempts)?;
    }
    Ok(())
}

fn connections_and_log(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let connections = &snapshot.connections;
    let help = "Client connections open now.";
    Family::new(encoder, names::CONNECTIONS, help, None, MetricType::Gauge)?
        .gauge(&[], connections.open as f64)?;
    Family::counter(encoder, names::CONNECTIONS_OPENED, "Client connections accepted.")?
        .count(&[], connections.opened)?;
    let help = "Client connections closed before a request was read.";
    Family::counter(encoder, names::CONNECTIONS_REFUSED, help)?.words(&[], "reason", &connections.refused)?;
    handshakes(encoder, snapshot)?;
    let mut lines = Family::counter(encoder, names::LOG_LINES, "Access log lines by what became of them.")?;
    let log = &snapshot.log;
    for (result, count) in [("written", log.written), ("dropped", log.dropped), ("failed", log.failed)] {
        lines.count(&[("result", result)], count)?;
    }
    Family::counter(encoder, names::EVENTS_DROPPED, "Exchanges that neither log nor ring saw.")?
        .count(&[], log.events_dropped)
}

fn handshakes(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let mut done = Family::counter(encoder, names::TLS_HANDSHAKES, "TLS handshakes with clients.")?;
    for row in &snapshot.handshakes.done {
        let resumed = if row.resumed { "true" } else { "false" };
        let labels = [("version", &*row.version), ("cipher", &*row.cipher), ("resumed", resumed)];
        done.count(&labels, row.count)?;
    }
    let help = "TLS handshakes with clients that failed.";
    Family::counter(encoder, names::TLS_HANDSHAKE_FAILURES, help)?.words(
        &[],
        "reason",
        &snapshot.handshakes.failed,
    )
}

/// Gauges of one name stand together, as the format demands, in whatever order they came.
fn gauges(encoder: &mut DescriptorEncoder<'_>, gauges: &[Gauge]) -> fmt::Result {
    let mut by_name: BTreeMap<&str, Vec<&Gauge>> = BTreeMap::new();
    for gauge in gauges {
        by_name.entry(&gauge.name).or_default().push(gauge);
    }
    for (name, gauges) in by_name {
        let mut family = Family::new(encoder, name, names::gauge_help(name), None, MetricType::Gauge)?;
        for gauge in gauges {
            let labels: Vec<_> = gauge.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            family.gauge(&labels, gauge.value)?;
        }
    }
    Ok(())
}

/// All series of one name.
struct Family<'a>(MetricEncoder<'a>);

type Labels<'a> = [(&'a str, &'a str)];

impl<'a> Family<'a> {
    fn new(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &str,
        unit: Option<&'a Unit>,
        kind: MetricType,
    ) -> Result<Self, fmt::Error> {
        encoder.encode_descriptor(name, help, unit, kind).map(Self)
    }

    fn counter(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &str,
    ) -> Result<Self, fmt::Error> {
        Self::new(encoder, name, help, None, MetricType::Counter)
    }

    fn bytes(encoder: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &str) -> Result<Self, fmt::Error> {
        Self::new(encoder, name, help, Some(&Unit::Bytes), MetricType::Counter)
    }

    fn latency(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &str,
    ) -> Result<Self, fmt::Error> {
        Self::new(encoder, name, help, Some(&Unit::Seconds), MetricType::Histogram)
    }

    fn count(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        match labels {
            [] => self.0.encode_counter::<NoLabelSet, _, u64>(&value, None),
            labels => self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
        }
    }

    fn words(&mut self, labels: &Labels<'_>, word: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
        for (name, count) in counts {
            let labels: Vec<_> = labels.iter().copied().chain(Some((word, &**name))).collect();
            self.count(&labels, *count)?;
        }
        Ok(())
    }

    fn gauge(&mut self, labels: &Labels<'_>, value: f64) -> fmt::Result {
        match labels {
            [] => self.0.encode_gauge(&value),
            labels => self.0.encode_family(&labels)?.encode_gauge(&value),
        }
    }

    fn histogram(&mut self, labels: &Labels<'_>, latency: &Latency) -> fmt::Result {
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(BUCKETS.len() + 1);
        for (bound, micros) in BUCKETS {
            let at_most = latency.at_most(micros);
            buckets.push((bound, at_most - below));
            below = at_most;
        }
        buckets.push((f64::INFINITY, latency.count - below));
        let sum = latency.sum_us as f64 / 1e6;
        let mut metric = self.0.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, latency.count, &buckets, None)
    }
}

/// The class that a status label belongs to: the label is made by `status::label`.
fn status_class(label: &str) -> String {
    match label.strip_prefix("other ") {
        Some(class) => class.to_owned(),
        None if label.len() == 3 => format!("{}xx", &label[..1]),
        None => label.to_owned(),
    }
}
