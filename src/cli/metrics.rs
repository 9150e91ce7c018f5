//! `proxy-stone metrics`

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Format, Kind, Look, OutputArgs, Printer};
use super::{Global, instance, values};
use crate::admin::Client;
use crate::admin::api::{WatchQuery, path};
use crate::telemetry::Snapshot;
use crate::telemetry::snapshot::{CodingRow, Latency, RouteRow, UpstreamRow};

/// Show rate, hit ratio and latency of every route and upstream.
///
/// The numbers are those since the instance started; --over measures anew for that long, and -w goes on, each time
/// with the numbers of the last interval. The latency of a route runs from request head to the end of the reply,
/// that of an upstream to the head of its reply.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Go on: refresh the table on a terminal, a JSON object a line in a pipe.
    #[arg(short, long, conflicts_with = "over")]
    pub watch: bool,

    /// Time between two refreshes.
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1s", requires = "watch")]
    pub interval: Duration,

    /// Measure for this long instead of since the start.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub over: Option<Duration>,

    /// How to print the result.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output options")]
    pub output: MetricsFormat,

    /// Print these columns only, in this order.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Output options")]
    pub columns: Vec<String>,

    /// Sort by this column; with a leading '-' the largest first.
    #[arg(long, value_name = "[-]NAME", allow_hyphen_values = true, help_heading = "Output options")]
    pub sort_by: Option<String>,
}

/// The forms in which metrics can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricsFormat {
    /// An aligned table on a terminal, tab-separated text in a pipe.
    Table,
    /// The same with more columns, nothing cut.
    Wide,
    /// One JSON document: {"version":1,"items":[...]}.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180), raw numbers.
    Csv,
    /// Every counter as OpenMetrics text, as Prometheus reads it.
    Openmetrics,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone metrics
  proxy-stone metrics -w
  proxy-stone metrics --over 10s --sort-by -p99
  proxy-stone metrics -o openmetrics

Exit codes:
  0 ok    2 usage    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("kind", Kind::Text),
    Column::new("name", Kind::Text),
    Column::new("requests", Kind::Number),
    Column::new("rate", Kind::Rate),
    Column::new("hit_ratio", Kind::Percent),
    Column::new("errors", Kind::Number),
    Column::new("error_ratio", Kind::Percent).wide(),
    Column::new("p50", Kind::Micros).at("/p50_us"),
    Column::new("p90", Kind::Micros).at("/p90_us"),
    Column::new("p99", Kind::Micros).at("/p99_us"),
    Column::new("p999", Kind::Micros).at("/p999_us").wide(),
    Column::new("mean", Kind::Micros).at("/mean_us").wide(),
    Column::new("sent", Kind::Bytes).wide(),
    Column::new("received", Kind::Bytes).wide(),
    Column::new("retries", Kind::Number).wide(),
];

/// A route, an upstream, or everything.
#[derive(Clone, Debug, Serialize)]
struct Row<'s> {
    kind: &'static str,
    name: &'s str,
    requests: u64,
    /// Per second.
    rate: f64,
    /// The share of exchanges that the store answered, of those that came to it.
    hit_ratio: Option<f64>,
    /// Replies of class 5xx; for an upstream, attempts without a reply.
    errors: u64,
    error_ratio: Option<f64>,
    p50_us: Option<u64>,
    p90_us: Option<u64>,
    p99_us: Option<u64>,
    p999_us: Option<u64>,
    mean_us: Option<u64>,
    sent: Option<u64>,
    received: Option<u64>,
    retries: Option<u64>,
    /// How many times larger the plain content is than the coded.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// By what the cache did.
    cache: Option<&'s BTreeMap<String, u64>>,
    /// Replies by status class.
    classes: Option<&'s BTreeMap<String, u64>>,
    /// Attempts by outcome.
    attempts: Option<&'s BTreeMap<String, u64>>,
}

/// Asks for metrics, once or again and again.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    instance::block_on(async {
        match (args.format(), args.watch) {
            (None, false) => {
                let text = client.text(path::OPENMETRICS, &()).await?;
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
                Ok(Exit::Ok)
            }
            (None, true) => Err(Failure::new(Exit::Usage, "OpenMetrics text can't be watched")
                .next("let Prometheus scrape [telemetry] listen, or use -o ndjson")),
            (Some(_), true) => watch(args, global, &client).await,
            (Some(format), false) => once(args, global, &client, format).await,
        }
    })
}

impl Args {
    /// The format of rows; `None`: OpenMetrics.
    fn format(&self) -> Option<Format> {
        Some(match self.output {
            MetricsFormat::Table => Format::Table,
            MetricsFormat::Wide => Format::Wide,
            MetricsFormat::Json => Format::Json,
            MetricsFormat::Ndjson => Format::Ndjson,
            MetricsFormat::Csv => Format::Csv,
            MetricsFormat::Openmetrics => return None,
        })
    }

    fn rows(&self, output: Format) -> OutputArgs {
        OutputArgs { output, columns: self.columns.clone(), sort_by: self.sort_by.clone() }
    }
}

async fn once(args: &Args, global: &Global, client: &Client, format: Format) -> Outcome {
    let mut printer = Printer::new(COLUMNS, &args.rows(format), global)?;
    let mut snapshot: Snapshot = client.get(path::METRICS, &()).await?;
    if let Some(over) = args.over {
        tokio::time::sleep(over).await;
        let later: Snapshot = client.get(path::METRICS, &()).await?;
        snapshot = later.since(&snapshot);
    }
    for row in rows(&snapshot) {
        printer.push(&row)?;
    }
    printer.finish()?;
    Ok(Exit::Ok)
}

async fn watch(args: &Args, global: &Global, client: &Client) -> Outcome {
    let terminal = io::stdout().is_terminal();
    let format = match args.format() {
        Some(format @ (Format::Table | Format::Wide)) if terminal => format,
        _ => Format::Ndjson,
    };
    let rows_args = args.rows(format);
    let interval_ms = u64::try_from(args.interval.as_millis()).unwrap_or(u64::MAX);
    let mut lines = client.lines(path::METRICS_WATCH, &WatchQuery { interval_ms: Some(interval_ms) }).await?;
    let mut before: Option<Snapshot> = None;
    while let Some(snapshot) = lines.next::<Snapshot>().await? {
        let shown = before.as_ref().map_or_else(|| snapshot.clone(), |before| snapshot.since(before));
        let mut text = Vec::new();
        let width = terminal.then(output::terminal_width);
        let mut printer = Printer::on(&mut text, COLUMNS, &rows_args, Look { width, header: !global.quiet })?;
        for row in rows(&shown) {
            printer.push(&Timed { time: &snapshot, row })?;
        }
        printer.finish()?;
        let mut out = io::stdout().lock();
        if terminal {
            // Home, and clear what the last table left: no flicker, no scrollback of ours.
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        out.write_all(&text)?;
        out.flush()?;
        before = Some(snapshot);
    }
    Ok(Exit::Ok)
}

/// A row and when it was measured.
struct Timed<'s, 'r> {
    time: &'s Snapshot,
    row: Row<'r>,
}

impl Serialize for Timed<'_, '_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a, 'r> {
            time: String,
            #[serde(flatten)]
            row: &'a Row<'r>,
        }
        let time = crate::telemetry::record::format_time(self.time.at);
        Flat { time, row: &self.row }.serialize(serializer)
    }
}

/// Everything first, then routes, then upstreams.
fn rows(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let seconds = snapshot.at.since(snapshot.since).as_secs_f64();
    let routes = snapshot.routes.iter().map(|row| route(row, "route", &row.route, seconds));
    let upstreams = snapshot.upstreams.iter().map(|row| upstream(row, seconds));
    let codings = snapshot.codings.iter().map(|row| coding(row, seconds));
    let total = std::iter::once(route(&snapshot.total, "total", "", seconds));
    total.chain(routes).chain(upstreams).chain(codings).collect()
}

/// Bodies that were put into another coding: what went in and what came out.
fn coding(counted: &CodingRow, seconds: f64) -> Row<'_> {
    let kind = if counted.way == "decode" { "decode" } else { "encode" };
    Row {
        sent: Some(counted.bytes_out),
        received: Some(counted.bytes_in),
        ratio: counted.ratio(),
        ..row(kind, &counted.coding, counted.bodies, 0, &Latency::default(), seconds)
    }
}

fn route<'s>(counted: &'s RouteRow, kind: &'static str, name: &'s str, seconds: f64) -> Row<'s> {
    let errors = counted.classes.get("5xx").copied().unwrap_or(0);
    Row {
        sent: Some(counted.sent),
        received: Some(counted.received),
        hit_ratio: hit_ratio(&counted.cache),
        cache: Some(&counted.cache),
        classes: Some(&counted.classes),
        ..row(kind, name, counted.requests, errors, &counted.duration, seconds)
    }
}

fn upstream(counted: &UpstreamRow, seconds: f64) -> Row<'_> {
    let attempts: u64 = counted.attempts.values().sum();
    let good = counted.attempts.get("ok").copied().unwrap_or(0);
    Row {
        retries: Some(counted.retries),
        attempts: Some(&counted.attempts),
        ..row(
            "upstream",
            &counted.upstream,
            attempts,
            attempts.saturating_sub(good),
            &counted.first_byte,
            seconds,
        )
    }
}

fn row<'s>(
    kind: &'static str,
    name: &'s str,
    requests: u64,
    errors: u64,
    latency: &Latency,
    seconds: f64,
) -> Row<'s> {
    let measured = latency.count > 0;
    Row {
        kind,
        name,
        requests,
        rate: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
        hit_ratio: None,
        errors,
        error_ratio: share(errors, requests),
        p50_us: measured.then_some(latency.p50_us),
        p90_us: measured.then_some(latency.p90_us),
        p99_us: measured.then_some(latency.p99_us),
        p999_us: measured.then_some(latency.p999_us),
        mean_us: latency.sum_us.checked_div(latency.count),
        sent: None,
        received: None,
        retries: None,
        ratio: None,
        cache: None,
        classes: None,
        attempts: None,
    }
}

/// What the store answered without a fetch of its own: fresh, stale, or shared with another exchange.
fn hit_ratio(cache: &BTreeMap<String, u64>) -> Option<f64> {
    let count = |word: &str| cache.get(word).copied().unwrap_or(0);
    let hits = count("hit") + count("stale") + count("collapsed");
    share(hits, hits + count("miss") + count("revalidated"))
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn rows_carry_rate_hit_ratio_and_percentiles() {
        let total = RouteRow {
            requests: 20,
            classes: [("5xx".to_owned(), 5), ("2xx".to_owned(), 15)].into(),
            cache: [("hit".to_owned(), 9), ("miss".to_owned(), 3), ("bypass".to_owned(), 8)].into(),
            duration: Latency { count: 20, sum_us: 4000, p50_us: 150, ..Latency::default() },
            ..RouteRow::default()
        };
        let upstream = UpstreamRow {
            upstream: "api".to_owned(),
            attempts: [("ok".to_owned(), 3), ("timeout".to_owned(), 1)].into(),
            ..UpstreamRow::default()
        };
        let snapshot = Snapshot {
            at: Timestamp::from_secs(14),
            since: Timestamp::from_secs(10),
            total,
            upstreams: vec![upstream],
            ..Snapshot::default()
        };
        let rows = rows(&snapshot);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].kind, rows[0].rate, rows[0].hit_ratio), ("total", 5.0, Some(0.75)));
        assert_eq!((rows[0].errors, rows[0].p50_us, rows[0].mean_us), (5, Some(150), Some(200)));
        assert_eq!((rows[1].name, rows[1].requests, rows[1].errors), ("api", 4, 1));
        assert_eq!((rows[1].p99_us, rows[1].hit_ratio), (None, None));
    }
}
