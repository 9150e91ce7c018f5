//! Latency histograms: log-linear buckets over microseconds, written by one thread and added up by any.

use std::time::Duration;

use super::cells::Count;
use crate::telemetry::snapshot::Latency;

/// The steps of one decade. They include the bounds that people write into dashboards (1, 2.5, 5), so that
/// the coarser buckets of OpenMetrics are exact sums of ours; no step is wider than 14 %.
const STEPS: [u64; 24] =
    [10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 25, 28, 30, 33, 36, 40, 45, 50, 55, 60, 66, 73, 80, 90];

/// 1-9 µs, eight whole decades (10 µs to 900 s), and up to one hour.
pub(super) const BUCKETS: usize = 9 + 24 * 8 + 15;

/// Upper bounds in microseconds, inclusive. What takes longer than an hour counts as one hour.
pub(super) const BOUNDS: [u64; BUCKETS] = bounds();

const fn bounds() -> [u64; BUCKETS] {
    let mut bounds = [0; BUCKETS];
    let mut at = 0;
    while at < 9 {
        bounds[at] = at as u64 + 1;
        at += 1;
    }
    let mut scale = 1;
    while at < BUCKETS {
        let mut step = 0;
        while step < STEPS.len() && at < BUCKETS {
            bounds[at] = STEPS[step] * scale;
            at += 1;
            step += 1;
        }
        scale *= 10;
    }
    bounds
}

/// Durations up to here, which are most of those of hits, are not searched for.
const SHORT: usize = 256;

/// Their buckets.
const SHORT_BUCKETS: [u8; SHORT] = short_buckets();

const fn short_buckets() -> [u8; SHORT] {
    let mut buckets = [0; SHORT];
    let (mut micros, mut bucket) = (0, 0);
    while micros < SHORT {
        while BOUNDS[bucket as usize] < micros as u64 {
            bucket += 1;
        }
        buckets[micros] = bucket;
        micros += 1;
    }
    buckets
}

fn bucket_of(micros: u64) -> usize {
    let short = usize::try_from(micros).ok().and_then(|micros| SHORT_BUCKETS.get(micros));
    match short {
        Some(bucket) => usize::from(*bucket),
        None => BOUNDS.partition_point(|bound| *bound < micros).min(BUCKETS - 1),
    }
}

/// A histogram that one thread writes.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [Count; BUCKETS],
    sum: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Count::default()), sum: Count::default() }
    }
}

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].add(1);
        self.sum.add(micros);
    }
}

/// The sum of several histograms.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    buckets: Box<[u64; BUCKETS]>,
    micros: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), micros: 0 }
    }
}

impl Sum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += count.get();
        }
        self.micros = self.micros.wrapping_add(histogram.sum.get());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *sum += count;
        }
        self.micros = self.micros.wrapping_add(other.micros);
    }

    pub(super) fn latency(&self) -> Latency {
        let filled = BOUNDS.iter().zip(self.buckets.iter()).filter(|(_, count)| **count > 0);
        Latency::from_buckets(filled.map(|(bound, count)| (*bound, *count)).collect(), self.micros)
    }
}

impl Latency {
    /// From the buckets that are not empty (upper bound and count, ascending) and the sum in microseconds.
    pub fn from_buckets(buckets: Vec<(u64, u64)>, sum_us: u64) -> Self {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let [p50_us, p90_us, p99_us, p999_us] =
            [500, 900, 990, 999].map(|per_mille| percentile(&buckets, count, per_mille));
        Self { count, sum_us, p50_us, p90_us, p99_us, p999_us, buckets }
    }

    /// What was added since `earlier`, a snapshot of the same counter.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: u64| {
            let found = earlier.buckets.binary_search_by_key(&bound, |(bound, _)| *bound);
            found.map_or(0, |at| earlier.buckets[at].1)
        };
        let left = self.buckets.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(*bound))));
        Self::from_buckets(
            left.filter(|(_, count)| *count > 0).collect(),
            self.sum_us.saturating_sub(earlier.sum_us),
        )
    }

    /// The mean in microseconds; 0 when there is nothing.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }

    /// How many took at most `micros`; exact where that is one of the buckets' bounds.
    pub fn at_most(&self, micros: u64) -> u64 {
        self.buckets.iter().take_while(|(bound, _)| *bound <= micros).map(|(_, count)| count).sum()
    }
}

/// Interpolates within the bucket that holds the rank.
fn percentile(buckets: &[(u64, u64)], count: u64, per_mille: u128) -> u64 {
    let rank = (u128::from(count) * per_mille).div_ceil(1000);
    let mut before = 0;
    for (upper, in_bucket) in buckets {
        let in_bucket = u128::from(*in_bucket);
        if before + in_bucket >= rank {
            let lower = BOUNDS[..bucket_of(*upper)].last().copied().unwrap_or(0);
            let share = u128::from(upper.saturating_sub(lower)) * (rank - before);
            return lower + u64::try_from(share.div_ceil(in_bucket.max(1))).unwrap_or(0);
        }
        before += in_bucket;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_to_one_hour_in_steps_of_at_most_14_percent() {
        assert_eq!(BOUNDS[0], 1);
        assert_eq!(BOUNDS[BUCKETS - 1], 3_600_000_000);
        for pair in BOUNDS.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0] < 10 || pair[1] * 100 <= pair[0] * 114, "{pair:?}");
        }
    }

    #[test]
    fn a_value_falls_into_the_bucket_whose_bound_holds_it() {
        for (micros, bound) in [(0, 1), (1, 1), (2, 2), (10, 10), (17, 18), (1000, 1000), (1001, 1100)] {
            assert_eq!(BOUNDS[bucket_of(micros)], bound, "{micros}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_ramp_are_right_to_six_percent() {
        let histogram = Histogram::default();
        for millis in 1..=10_000 {
            histogram.record(Duration::from_millis(millis));
        }
        let mut sum = Sum::default();
        sum.add(&histogram);
        let latency = sum.latency();
        assert_eq!(latency.count, 10_000);
        assert_eq!(latency.mean_us(), 5_000_500);
        for (found, wanted) in [
            (latency.p50_us, 5_000_000_u64),
            (latency.p90_us, 9_000_000),
            (latency.p99_us, 9_900_000),
            (latency.p999_us, 9_990_000),
        ] {
            assert!(found.abs_diff(wanted) * 100 <= wanted * 6, "{found} {wanted}");
        }
        assert_eq!(latency.at_most(2_500_000), 2500);
    }

    #[test]
    fn the_difference_of_two_snapshots_has_its_own_percentiles() {
        let histogram = Histogram::default();
        let latency = |histogram: &Histogram| {
            let mut sum = Sum::default();
            sum.add(histogram);
            sum.latency()
        };
        histogram.record(Duration::from_secs(5));
        let earlier = latency(&histogram);
        histogram.record(Duration::from_micros(100));
        let later = latency(&histogram).since(&earlier);
        assert_eq!((later.count, later.sum_us, later.p999_us), (1, 100, 100));
        assert_eq!(Latency::default().p99_us, 0);
    }
}
