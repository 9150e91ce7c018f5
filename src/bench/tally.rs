//! What has come of the requests: each thread keeps its own, and they are added up at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::cached::{CacheCounts, Cached};
use super::failure::{Failure, Trouble};

/// Latencies are told apart by three digits between a tenth of a microsecond and more than a day.
const LOWEST_NS: u64 = 100;
const HIGHEST_NS: u64 = 100_000_000_000_000;
const DIGITS: u8 = 3;

/// The longest text that is kept of a failure.
const MAX_WORDS: usize = 200;

/// A whole reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) cached: Option<Cached>,
    /// Of its content.
    pub(super) bytes: u64,
}

/// Times of one kind.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) histogram: Histogram<u64>,
    /// The histogram rounds: the mean should not.
    sum_ns: u128,
    pub(super) min: Option<Duration>,
    pub(super) max: Option<Duration>,
}

impl Times {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        // The bounds are constants, and right.
        let histogram =
            histogram.unwrap_or_else(|_| Histogram::new(DIGITS).expect("three digits are allowed"));
        Self { histogram, sum_ns: 0, min: None, max: None }
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.record_many(time, 1);
    }

    pub(super) fn record_many(&mut self, time: Duration, count: u64) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record_n(nanos, count);
        self.sum_ns += u128::from(nanos) * u128::from(count);
        self.min = Some(self.min.map_or(time, |min| min.min(time)));
        self.max = Some(self.max.map_or(time, |max| max.max(time)));
    }

    fn add(&mut self, other: &Self) {
        // They have the same bounds.
        let _ = self.histogram.add(&other.histogram);
        self.sum_ns += other.sum_ns;
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// In microseconds, as every time of a report.
    pub(super) fn mean_us(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum_ns as f64 / self.count() as f64 / 1000.0)
    }

    /// The time within which this share (0 to 1) was done.
    pub(super) fn quantile_us(&self, share: f64) -> Option<f64> {
        let max = self.max?;
        let nanos = self.histogram.value_at_quantile(share);
        // The histogram's steps reach a little beyond what was recorded.
        Some((nanos as f64 / 1000.0).min(micros(max)))
    }
}

/// A duration in microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// All that a thread has counted of what is measured.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Of replies, and of what has at least waited so long.
    pub(super) latency: Times,
    /// How late requests were sent while their connection was free: the generator's own fault.
    pub(super) lag: Times,
    /// From the first packet until a request could be sent.
    pub(super) connecting: Times,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) cache: CacheCounts,
    pub(super) failures: BTreeMap<Failure, (u64, String)>,
    pub(super) replies: u64,
    /// Replies whose end came before that of the measured time.
    pub(super) in_time: u64,
    pub(super) bytes_in_time: u64,
    pub(super) bytes: u64,
    /// Latencies that are only known to be no smaller.
    pub(super) at_least: u64,
    pub(super) last_sent: Option<Instant>,
    pub(super) last_ended: Option<Instant>,
    /// Connections that stood when the load began.
    pub(super) opened_first: usize,
    /// Streams that the server allows on a connection.
    pub(super) streams_allowed: Option<usize>,
    /// The share of its time in which the thread had something to do.
    pub(super) busy: f64,
    /// The status counted last, and how often: nearly all replies have the same.
    last_status: (u16, u64),
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: Times::new(),
            lag: Times::new(),
            connecting: Times::new(),
            statuses: BTreeMap::new(),
            cache: CacheCounts::default(),
            failures: BTreeMap::new(),
            replies: 0,
            in_time: 0,
            bytes_in_time: 0,
            bytes: 0,
            at_least: 0,
            last_sent: None,
            last_ended: None,
            opened_first: 0,
            streams_allowed: None,
            busy: 0.0,
            last_status: (0, 0),
        }
    }

    /// Takes note of a reply.
    pub(super) fn reply(&mut self, reply: &Reply, latency: Duration, in_time: bool) {
        self.latency.record(latency);
        self.replies += 1;
        self.bytes += reply.bytes;
        if in_time {
            self.in_time += 1;
            self.bytes_in_time += reply.bytes;
        }
        if self.last_status.0 != reply.status {
            self.note_status();
            self.last_status.0 = reply.status;
        }
        self.last_status.1 += 1;
        if let Some(cached) = reply.cached {
            self.cache.count(cached);
        }
    }

    fn note_status(&mut self) {
        let (status, count) = std::mem::take(&mut self.last_status);
        if count > 0 {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// Takes note of a request without a whole reply, and how long that was waited for.
    pub(super) fn failed(&mut self, (failure, mut words): Trouble, waited: Duration, count: u64) {
        if failure.has_waited() {
            self.latency.record_many(waited, count);
            self.at_least += count;
        }
        let known = self.failures.entry(failure).or_insert_with(|| {
            if words.len() > MAX_WORDS {
                let end = (0..=MAX_WORDS).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
                words.truncate(end);
            }
            (0, words)
        });
        known.0 += count;
    }

    /// Adds what another thread has counted.
    pub(super) fn add(&mut self, mut other: Self) {
        other.note_status();
        self.note_status();
        self.latency.add(&other.latency);
        self.lag.add(&other.lag);
        self.connecting.add(&other.connecting);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.cache.add(&other.cache);
        for (failure, (count, words)) in other.failures {
            self.failures.entry(failure).or_insert((0, words)).0 += count;
        }
        self.replies += other.replies;
        self.in_time += other.in_time;
        self.bytes_in_time += other.bytes_in_time;
        self.bytes += other.bytes;
        self.at_least += other.at_least;
        self.last_sent = self.last_sent.max(other.last_sent);
        self.last_ended = self.last_ended.max(other.last_ended);
        self.opened_first += other.opened_first;
        self.streams_allowed = self.streams_allowed.into_iter().chain(other.streams_allowed).min();
        // The busiest one is the limit.
        self.busy = self.busy.max(other.busy);
    }
}

/// What others may see of a thread while it works. It alone writes; each has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gauge {
    pub(super) replies: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Gauge {
    pub(super) fn bump(counter: &AtomicU64) {
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn reply(status: u16) -> Reply {
        Reply { status, cached: Some(Cached::Hit), bytes: 10 }
    }

    #[test]
    fn threads_add_up() {
        let mut one = Tally::new();
        one.reply(&reply(200), MS, true);
        one.reply(&reply(404), 3 * MS, false);
        one.failed((Failure::Refused, "no".to_owned()), 100 * MS, 1);
        let mut two = Tally::new();
        two.reply(&reply(200), 2 * MS, true);
        two.failed((Failure::Timeout, "late".to_owned()), 1000 * MS, 2);
        let mut all = Tally::new();
        all.add(one);
        all.add(two);
        assert_eq!(all.statuses, [(200, 2), (404, 1)].into());
        assert_eq!((all.replies, all.in_time, all.bytes, all.bytes_in_time), (3, 2, 30, 20));
        assert_eq!(all.cache.hit, 3);
        assert_eq!(all.failures[&Failure::Timeout], (2, "late".to_owned()));
        assert_eq!((all.latency.min, all.latency.max), (Some(MS), Some(1000 * MS)));
        assert_eq!(all.latency.mean_us(), Some(2006.0 * 1000.0 / 5.0), "who was refused was not fast");
        assert_eq!((all.latency.count(), all.at_least), (5, 2));
    }

    #[test]
    fn quantiles_are_near_and_never_beyond_the_longest() {
        let mut times = Times::new();
        assert_eq!((times.quantile_us(0.5), times.mean_us()), (None, None));
        for micros in 1..=10_000 {
            times.record(Duration::from_micros(micros));
        }
        for (share, wanted) in [(0.5, 5000.0), (0.99, 9900.0), (0.999, 9990.0), (1.0, 10_000.0)] {
            let found = times.quantile_us(share).unwrap();
            assert!((found - wanted).abs() <= wanted / 500.0, "{share}: {found} {wanted}");
            assert!(found <= 10_000.0);
        }
        times.record(Duration::MAX);
        assert_eq!(times.count(), 10_001, "nothing is too long to be counted");
    }

    #[test]
    fn what_others_say_is_kept_short() {
        let mut tally = Tally::new();
        tally.failed((Failure::Protocol, "ü".repeat(500)), MS, 1);
        assert!(tally.failures[&Failure::Protocol].1.len() <= MAX_WORDS);
    }
}
