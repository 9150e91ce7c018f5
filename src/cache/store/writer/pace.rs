//! How background work gives way to traffic.
//!
//! After each slice the writer rests: so many times as long as the slice took as the workers are busy, none at all while
//! they have nothing to do. A rest ends when it ends; operations come through it, and do not lengthen it.

use std::time::{Duration, Instant};

/// Rests at the most: one part in thirty-two of one processor is left for background work.
const MOST: f64 = 31.0;
/// From this part of the workers' time on it is so.
const BUSY: f64 = 0.5;
/// Workers are looked at for so long, since what they tell comes in portions.
const WINDOW: Duration = Duration::from_millis(10);
/// No rest is longer: a slice that waited for the disk took little of what traffic needs.
const LONGEST: Duration = Duration::from_millis(500);
/// Where rules of a kind wait up to this part of how many may, they no longer give way: beyond, all would be purged.
const PRESSING: f64 = 0.75;
/// From here on they give way the less.
const URGENT: f64 = 0.5;

/// What the workers did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Since some beginning, all together.
    pub busy: Duration,
    pub workers: u32,
}

/// When the next slice may come.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Where the window began, and what the workers had done by then.
    since: Option<(Instant, Duration)>,
    /// The part of their time that the workers were busy.
    load: f64,
    until: Option<Instant>,
}

impl Pace {
    /// How much of the rest is left.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// A slice that took so long has ended. `backlog`: what waits of what may wait, at most 1.
    pub(super) fn worked(&mut self, took: Duration, now: Instant, work: Work, backlog: f64) {
        match self.since {
            Some((since, before)) if now.duration_since(since) >= WINDOW => {
                let all = now.duration_since(since).as_secs_f64() * f64::from(work.workers.max(1));
                self.load = work.busy.saturating_sub(before).as_secs_f64() / all;
                self.since = Some((now, work.busy));
            }
            Some(_) => {}
            None => self.since = Some((now, work.busy)),
        }
        self.until = Some(now + rest(took, self.load, backlog));
    }

    #[cfg(test)]
    pub(super) fn rest_until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    #[cfg(test)]
    pub(super) const fn load(&self) -> f64 {
        self.load
    }
}

/// How long to rest after a slice that took so long, beside workers that are busy for this part of their time.
fn rest(took: Duration, load: f64, backlog: f64) -> Duration {
    let busy = (load / BUSY).clamp(0.0, 1.0);
    let patience = ((PRESSING - backlog) / (PRESSING - URGENT)).clamp(0.0, 1.0);
    took.mul_f64(MOST * busy * patience).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_rests_the_longer_the_more_there_is_to_do() {
        let table = [
            // took, load, backlog, rest in milliseconds
            (1, 0.0, 0.0, 0.0),
            (1, 0.01, 0.0, 0.62),
            (1, 0.1, 0.0, 6.2),
            (1, 0.5, 0.0, 31.0),
            (1, 1.0, 0.0, 31.0),
            (4, 1.0, 0.0, 124.0),
            (4, 1.3, 0.0, 124.0),
            (900, 1.0, 0.0, 500.0),
            (1, 1.0, 0.5, 31.0),
            (1, 1.0, 0.625, 15.5),
            (1, 1.0, 0.75, 0.0),
            (1, 1.0, 1.0, 0.0),
        ];
        for (took, load, backlog, expected) in table {
            let got = rest(took * MS, load, backlog).as_secs_f64() * 1e3;
            assert!((got - expected).abs() < 1e-6, "{took} ms at {load} with {backlog}: {got}");
        }
    }

    /// Slices one after the other beside two workers, `load` says how busy at which time; the times when one began.
    fn slices(took: Duration, until: Duration, load: impl Fn(Duration) -> f64) -> Vec<Duration> {
        let (mut pace, zero) = (Pace::default(), Instant::now());
        let (mut at, mut busy, mut begun) = (Duration::ZERO, Duration::ZERO, Vec::new());
        while at < until {
            begun.push(at);
            for worked in [true, false] {
                let span = if worked { took } else { pace.left(zero + at) };
                busy += span.mul_f64(load(at) * 2.0);
                at += span;
                if worked {
                    pace.worked(took, zero + at, Work { busy, workers: 2 }, 0.0);
                }
            }
        }
        begun
    }

    #[test]
    fn beside_busy_workers_it_takes_a_thirty_second_of_a_processor() {
        let begun = slices(MS, 10_000 * MS, |_| 0.9);
        // Ten at first: until the window has passed nothing is known.
        assert!((310..=325).contains(&begun.len()), "{}", begun.len());
    }

    #[test]
    fn beside_idle_workers_it_does_not_rest() {
        assert_eq!(slices(MS, 1000 * MS, |_| 0.0).len(), 1000);
    }

    #[test]
    fn it_hastens_soon_after_the_traffic_has_ended() {
        let end = 2000 * MS;
        let begun = slices(MS, 4000 * MS, |at| if at < end { 0.9 } else { 0.0 });
        let (under, after) = begun.split_at(begun.partition_point(|at| *at < end));
        assert!(under.len() < 80, "{}", under.len());
        assert!(after.len() > 1900, "{}", after.len());
    }

    #[test]
    fn it_slows_down_soon_after_traffic_has_come() {
        let begun = slices(MS, 2000 * MS, |at| if at < 1000 * MS { 0.0 } else { 0.9 });
        let after = begun.iter().filter(|at| **at >= 1000 * MS).count();
        assert!(after < 60, "{after}");
    }

    #[test]
    fn the_first_slice_in_a_long_time_gives_way_to_the_traffic_of_that_time() {
        let (mut pace, zero) = (Pace::default(), Instant::now());
        pace.worked(MS, zero, Work { busy: Duration::ZERO, workers: 2 }, 0.0);
        assert_eq!(pace.left(zero), Duration::ZERO);
        pace.worked(MS, zero + 60_000 * MS, Work { busy: 90_000 * MS, workers: 2 }, 0.0);
        assert_eq!(pace.left(zero + 60_000 * MS), 31 * MS);
        assert_eq!(pace.left(zero + 60_031 * MS), Duration::ZERO);
    }
}
