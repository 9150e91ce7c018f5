//! What a run comes to: one value, as it is printed for machines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::cached::CacheCounts;
use super::failure::Failure;
use super::findings::{self, Finding};
use super::tally::{Tally, Times, micros};
use super::threshold::{Threshold, Verdict};
use super::{Pace, Plan, Until};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first URL.
    pub url: String,
    /// How many URLs were asked for in turn.
    pub urls: usize,
    /// Where the connections led.
    pub address: SocketAddr,
    /// Of every request.
    pub method: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// Over TLS.
    pub tls: bool,
    /// Whether requests waited for replies or went out at fixed times.
    #[serde(rename = "loop")]
    pub pace: &'static str,
    /// As asked for.
    pub connections: usize,
    /// As asked for, of each connection.
    pub streams: usize,
    /// Of the generator.
    pub threads: usize,
    /// In an open loop: requests due a second.
    pub wanted_rate: Option<f64>,
    /// In an open loop: requests sent a second.
    pub sent_rate: Option<f64>,
    /// Load before anything was measured.
    pub warmup_seconds: f64,
    /// Whether it came to its end.
    pub ended: Ended,
    /// How long was measured.
    pub seconds: f64,
    /// Those of the measured time, with and without a reply.
    pub requests: u64,
    /// Whole ones.
    pub replies: u64,
    /// Whole replies a second.
    pub rate: f64,
    /// Of the replies' content.
    pub bytes: u64,
    /// Of the replies' content, a second.
    pub bytes_rate: f64,
    /// Requests without a whole reply, and replies of class 5xx.
    pub errors: u64,
    /// Their share of the requests.
    pub error_ratio: f64,
    /// Requests without a whole reply, by kind.
    pub failures: Vec<FailureRow>,
    /// Replies by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Replies by what `Cache-Status` said of the nearest cache; absent where none said anything.
    pub cache: Option<CacheRow>,
    /// Absent where nothing was answered.
    pub latency: Option<Latency>,
    /// The same as counts.
    pub distribution: Vec<Bucket>,
    /// How long connecting took.
    pub connecting: Connecting,
    /// How the generator itself did.
    pub generator: Generator,
    /// What should be known before the numbers are believed.
    pub findings: Vec<Finding>,
    /// What was demanded, and whether it holds.
    pub thresholds: Vec<Verdict>,
    #[serde(skip)]
    times: Times,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// As planned.
    Whole,
    /// By Ctrl-C.
    Interrupted,
}

/// Requests without a whole reply.
#[derive(Clone, Debug, Serialize)]
pub struct FailureRow {
    /// Which kind.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// What was said of the first one.
    pub example: String,
    /// For people.
    #[serde(skip)]
    pub meaning: &'static str,
}

/// What the nearest cache said.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CacheRow {
    /// By word.
    #[serde(flatten)]
    pub counts: CacheCounts,
    /// Replies that said nothing.
    pub silent: u64,
    /// Hits' share of the replies that said something.
    pub hit_ratio: f64,
}

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // The percentiles' names say all.
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// How many of them are only known to have been no shorter: timed out, unfinished, never sent.
    pub at_least: u64,
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p75_us: f64,
    pub p90_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

/// Times up to a bound, and beyond the bound before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// In microseconds.
    pub up_to_us: f64,
    /// How many.
    pub count: u64,
}

/// How long connecting took, TLS included.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Connecting {
    /// Connections opened in all.
    pub opened: u64,
    /// Connections that stood when the load began.
    pub opened_first: usize,
    /// Half of them were faster.
    pub p50_us: Option<f64>,
    /// The slowest.
    pub max_us: Option<f64>,
}

/// How the generator itself did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Generator {
    /// The share of its time in which its busiest thread had something to do.
    pub busy_ratio: f64,
    /// How late requests left although a connection was free.
    pub lag_p99_us: Option<f64>,
    /// The latest.
    pub lag_max_us: Option<f64>,
    /// Requests at a time on a connection that the server allows, where it is HTTP/2.
    pub streams_allowed: Option<usize>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        address: SocketAddr,
        tally: &Tally,
        elapsed: Duration,
        sending: Option<Duration>,
        ended: Ended,
    ) -> Self {
        let target = &plan.target;
        let failed: u64 = tally.failures.values().map(|(count, _)| count).sum();
        let requests = tally.replies + failed;
        let broken: u64 = tally.statuses.range(500..600).map(|(_, count)| count).sum();
        let errors = failed + broken;
        let per_second = |count: u64| ratio(count as f64, elapsed.as_secs_f64());
        let wanted_rate = match plan.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(rate),
        };
        let unsent = tally.failures.get(&Failure::Unsent).map_or(0, |(count, _)| *count);
        let sent_rate =
            wanted_rate.map(|wanted| sent_rate(wanted, plan.until, requests - unsent, elapsed, sending));
        let mut report = Self {
            url: target.url.clone(),
            urls: target.urls(),
            address,
            method: target.method.to_string(),
            protocol: if target.http2 { "HTTP/2" } else { "HTTP/1.1" },
            tls: target.https,
            pace: if wanted_rate.is_some() { "open" } else { "closed" },
            connections: plan.connections,
            streams: plan.streams,
            threads: plan.threads,
            wanted_rate,
            sent_rate,
            warmup_seconds: plan.warmup.as_secs_f64(),
            ended,
            seconds: elapsed.as_secs_f64(),
            requests,
            replies: tally.replies,
            rate: per_second(tally.in_time),
            bytes: tally.bytes,
            bytes_rate: per_second(tally.bytes_in_time),
            errors,
            error_ratio: ratio(errors as f64, requests as f64),
            failures: failures(tally),
            statuses: tally.statuses.clone(),
            cache: cache(tally),
            latency: latency(&tally.latency, tally.at_least),
            distribution: distribution(&tally.latency),
            connecting: Connecting {
                opened: tally.connecting.count(),
                opened_first: tally.opened_first,
                p50_us: tally.connecting.quantile_us(0.5),
                max_us: tally.connecting.max.map(micros),
            },
            generator: Generator {
                busy_ratio: tally.busy,
                lag_p99_us: tally.lag.quantile_us(0.99),
                lag_max_us: tally.lag.max.map(micros),
                streams_allowed: tally.streams_allowed,
            },
            findings: Vec::new(),
            thresholds: Vec::new(),
            times: tally.latency.clone(),
        };
        report.findings = findings::of(&report);
        report
    }

    /// Judges what was demanded; whether all of it holds.
    pub fn judge(&mut self, thresholds: &[Threshold]) -> bool {
        self.thresholds = thresholds.iter().map(|threshold| threshold.judge(self)).collect();
        self.thresholds.iter().all(|verdict| !verdict.failed)
    }

    /// The time within which this share (0 to 1) was done, in microseconds.
    pub(super) fn quantile_us(&self, share: f64) -> Option<f64> {
        self.times.quantile_us(share)
    }

    /// Requests without a whole reply, of one kind or of all.
    pub fn failed(&self, kind: Option<Failure>) -> u64 {
        let wanted = |row: &&FailureRow| kind.is_none_or(|kind| kind.as_str() == row.kind);
        self.failures.iter().filter(wanted).map(|row| row.count).sum()
    }
}

/// Requests that left a second. Where they are counted, the schedule's own length is the least that it took.
fn sent_rate(wanted: f64, until: Until, sent: u64, elapsed: Duration, sending: Option<Duration>) -> f64 {
    let took = match until {
        Until::Elapsed(_) => elapsed.as_secs_f64(),
        Until::Requests(_) => sending.unwrap_or_default().as_secs_f64().max(sent as f64 / wanted),
    };
    ratio(sent as f64, took)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn failures(tally: &Tally) -> Vec<FailureRow> {
    let row = |(failure, (count, example)): (&Failure, &(u64, String))| FailureRow {
        kind: failure.as_str(),
        count: *count,
        example: example.clone(),
        meaning: failure.meaning(),
    };
    tally.failures.iter().map(row).collect()
}

fn cache(tally: &Tally) -> Option<CacheRow> {
    let counts = tally.cache;
    let told = counts.all();
    (told > 0).then(|| CacheRow {
        counts,
        silent: tally.replies.saturating_sub(told),
        hit_ratio: ratio(counts.hit as f64, told as f64),
    })
}

fn latency(times: &Times, at_least: u64) -> Option<Latency> {
    let at = |share| times.quantile_us(share).map(rounded);
    Some(Latency {
        count: times.count(),
        at_least,
        min_us: rounded(micros(times.min?)),
        mean_us: rounded(times.mean_us()?),
        p50_us: at(0.5)?,
        p75_us: at(0.75)?,
        p90_us: at(0.9)?,
        p95_us: at(0.95)?,
        p99_us: at(0.99)?,
        p999_us: at(0.999)?,
        p9999_us: at(0.9999)?,
        max_us: rounded(micros(times.max?)),
    })
}

/// More digits than a tenth of a microsecond are noise.
fn rounded(micros: f64) -> f64 {
    (micros * 10.0).round() / 10.0
}

/// Counts by bounds of 1, 2 and 5 times the powers of ten, from the first that has some to the last.
fn distribution(times: &Times) -> Vec<Bucket> {
    let bounds = (0..12).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let mut buckets: Vec<Bucket> = bounds.map(|up_to_us| Bucket { up_to_us, count: 0 }).collect();
    for step in times.histogram.iter_recorded() {
        // A step stands for its middle.
        let middle = times.histogram.median_equivalent(step.value_iterated_to()) as f64 / 1000.0;
        let last = buckets.len() - 1;
        let at = buckets.partition_point(|bucket| bucket.up_to_us < middle).min(last);
        buckets[at].count += step.count_since_last_iteration();
    }
    let first = buckets.iter().position(|bucket| bucket.count > 0);
    let last = buckets.iter().rposition(|bucket| bucket.count > 0);
    match (first, last) {
        (Some(first), Some(last)) => buckets[first..=last].to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tally::Reply;
    use super::super::{Target, TargetSettings, Trust};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A plan of ten seconds at this pace.
    pub(in crate::bench) fn plan(pace: Pace) -> Plan {
        let settings = TargetSettings {
            urls: vec!["http://127.0.0.1/".to_owned()],
            method: http::Method::GET,
            headers: Vec::new(),
            body: None,
            http2: false,
        };
        Plan {
            target: Target::new(settings).unwrap(),
            trust: Trust::System,
            connections: 4,
            streams: 1,
            threads: 1,
            pace,
            until: Until::Elapsed(Duration::from_secs(10)),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(1),
        }
    }

    /// A report of what a tally says of ten seconds.
    pub(in crate::bench) fn report(pace: Pace, fill: impl FnOnce(&mut Tally)) -> Report {
        let mut tally = Tally::new();
        tally.opened_first = 4;
        fill(&mut tally);
        let mut all = Tally::new();
        all.add(tally);
        let ten = Duration::from_secs(10);
        Report::new(&plan(pace), ([127, 0, 0, 1], 80).into(), &all, ten, Some(ten), Ended::Whole)
    }

    pub(in crate::bench) fn reply(status: u16) -> Reply {
        Reply { status, cached: None, bytes: 100 }
    }

    #[test]
    fn what_came_too_late_is_counted_but_makes_no_rate() {
        let report = report(Pace::Closed, |tally| {
            for n in 0..30 {
                tally.reply(&reply(200), MS, n < 20);
            }
            tally.reply(&reply(503), 2 * MS, true);
            tally.failed((Failure::Closed, "x".to_owned()), MS, 1);
        });
        assert_eq!((report.requests, report.replies, report.errors), (32, 31, 2));
        assert_eq!((report.rate, report.bytes_rate, report.bytes), (2.1, 210.0, 3100));
        assert_eq!((report.error_ratio, report.failed(None)), (2.0 / 32.0, 1));
        let latency = report.latency.unwrap();
        assert_eq!((latency.count, latency.min_us, latency.max_us), (31, 1000.0, 2000.0));
    }

    #[test]
    fn nothing_answered_has_no_latency() {
        let report = report(Pace::Closed, |tally| tally.failed((Failure::Refused, "no".to_owned()), MS, 3));
        assert_eq!((report.latency, report.distribution.len(), report.rate), (None, 0, 0.0));
        assert_eq!((report.errors, report.error_ratio), (3, 1.0));
    }

    #[test]
    fn the_distribution_holds_every_latency_once() {
        let report = report(Pace::Closed, |tally| {
            for micros in [15, 19, 20, 21, 49, 700, 2100] {
                tally.reply(&reply(200), Duration::from_micros(micros), true);
            }
        });
        let told: Vec<_> = report.distribution.iter().map(|bucket| (bucket.up_to_us, bucket.count)).collect();
        assert_eq!(
            told,
            [(20.0, 3), (50.0, 2), (100.0, 0), (200.0, 0), (500.0, 0), (1000.0, 1), (2000.0, 0), (5000.0, 1)]
        );
    }
}
