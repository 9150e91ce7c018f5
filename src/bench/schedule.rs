//! When requests are due in an open loop, and what latency counts from. Pure.
//!
//! The whole schedule is one row of evenly spaced points in time; thread `i` of `n` has every `n`-th point, from its `i`-th on.
//! A point that has passed is never skipped: who comes late to it is late.

use std::time::Duration;

/// Pieces in which what was never sent is accounted for: there may be millions of it.
const PIECES: u64 = 1000;

/// One thread's share of the points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: f64,
    thread: u64,
    threads: u64,
    /// The first point (of all threads) that is measured.
    measured: u64,
    /// One past the last point (of all threads).
    last: u64,
    next: u64,
}

/// A point in time at which a request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Since the start.
    pub(super) at: Duration,
    /// Whether it comes after the warm-up.
    pub(super) measured: bool,
}

impl Schedule {
    /// Points from the start to the end of `length` after `warmup`.
    pub(super) fn lasting(rate: f64, share: (usize, usize), warmup: Duration, length: Duration) -> Self {
        let measured = points_before(rate, warmup);
        let last = points_before(rate, warmup + length).max(measured + 1);
        Self { rate, thread: share.0 as u64, threads: share.1 as u64, measured, last, next: 0 }
    }

    /// Points of the warm-up, and so many after it.
    pub(super) fn counting(rate: f64, share: (usize, usize), warmup: Duration, requests: u64) -> Self {
        let measured = points_before(rate, warmup);
        Self {
            rate,
            thread: share.0 as u64,
            threads: share.1 as u64,
            measured,
            last: measured + requests,
            next: 0,
        }
    }

    /// The next point that nobody has taken.
    pub(super) fn peek(&self) -> Option<Due> {
        self.point(self.next)
    }

    /// Takes the next point, if it has come.
    pub(super) fn take(&mut self, now: Duration) -> Option<Due> {
        let due = self.peek().filter(|due| due.at <= now)?;
        self.next += 1;
        Some(due)
    }

    /// Takes all measured points left before `end`: how long they have waited by then, and how many so.
    pub(super) fn give_up(&mut self, end: Duration) -> Vec<(Duration, u64)> {
        let left = self.points_left(end);
        let first = self.next.max(self.first_measured());
        let count = left.saturating_sub(first);
        self.next = self.next.max(left);
        let piece = count.div_ceil(PIECES).max(1);
        (0..count.div_ceil(piece))
            .filter_map(|n| {
                let from = first + n * piece;
                let size = piece.min(first + count - from);
                let middle = self.point(from + size / 2)?;
                Some((end.saturating_sub(middle.at), size))
            })
            .collect()
    }

    /// One past this thread's last point before `end`.
    fn points_left(&self, end: Duration) -> u64 {
        let all = points_before(self.rate, end).min(self.last);
        all.saturating_sub(self.thread).div_ceil(self.threads)
    }

    fn first_measured(&self) -> u64 {
        self.measured.saturating_sub(self.thread).div_ceil(self.threads)
    }

    fn point(&self, own: u64) -> Option<Due> {
        let number = own.checked_mul(self.threads)?.checked_add(self.thread)?;
        (number < self.last).then(|| Due { at: point(self.rate, number), measured: number >= self.measured })
    }
}

/// Point `number` of all.
fn point(rate: f64, number: u64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// How many points come before `end`.
fn points_before(rate: f64, end: Duration) -> u64 {
    let mut count = (end.as_secs_f64() * rate).ceil() as u64;
    // Division rounds: the points themselves decide.
    while count > 0 && point(rate, count - 1) >= end {
        count -= 1;
    }
    while point(rate, count) < end {
        count += 1;
    }
    count
}

/// What a request's latency counts from: when it was due, where that was fixed beforehand, else when it was sent.
pub(super) fn latency(due: Option<Duration>, sent: Duration, ended: Duration) -> Duration {
    ended.saturating_sub(due.unwrap_or(sent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take_all(schedule: &mut Schedule) -> Vec<Due> {
        std::iter::from_fn(|| schedule.take(Duration::MAX)).collect()
    }

    #[test]
    fn points_are_evenly_spaced_from_the_start_on() {
        let mut schedule = Schedule::lasting(4.0, (0, 1), Duration::ZERO, SECOND);
        let at: Vec<u128> = take_all(&mut schedule).iter().map(|due| due.at.as_millis()).collect();
        assert_eq!(at, [0, 250, 500, 750]);
        let mut counted = Schedule::counting(0.5, (0, 1), Duration::ZERO, 3);
        let at: Vec<u64> = take_all(&mut counted).iter().map(|due| due.at.as_secs()).collect();
        assert_eq!(at, [0, 2, 4]);
    }

    #[test]
    fn a_point_waits_for_its_time_and_is_not_skipped_afterwards() {
        let mut schedule = Schedule::lasting(10.0, (0, 1), Duration::ZERO, SECOND);
        assert!(schedule.take(Duration::ZERO).is_some());
        assert_eq!(schedule.take(Duration::from_millis(99)), None);
        let late = schedule.take(Duration::from_millis(950)).unwrap();
        assert_eq!(late.at, Duration::from_millis(100), "it is taken late, not moved");
    }

    #[test]
    fn the_warm_up_is_not_measured() {
        let mut schedule = Schedule::lasting(10.0, (0, 1), SECOND, SECOND);
        let (warm, measured): (Vec<_>, Vec<_>) =
            take_all(&mut schedule).into_iter().partition(|due| !due.measured);
        assert_eq!((warm.len(), measured.len()), (10, 10));
        let mut counted = Schedule::counting(10.0, (0, 1), SECOND, 7);
        assert_eq!(take_all(&mut counted).iter().filter(|due| due.measured).count(), 7);
    }

    #[test]
    fn what_was_never_sent_has_waited_until_the_end() {
        let mut schedule = Schedule::lasting(10.0, (0, 1), SECOND, SECOND);
        while schedule.take(Duration::from_millis(1650)).is_some() {}
        let waits = schedule.give_up(2 * SECOND);
        let millis: Vec<_> = waits.iter().map(|(wait, count)| (wait.as_millis(), *count)).collect();
        assert_eq!(millis, [(300, 1), (200, 1), (100, 1)]);
        assert!(schedule.peek().is_none());
        let mut warming = Schedule::lasting(10.0, (0, 1), SECOND, SECOND);
        assert_eq!(warming.give_up(SECOND), [], "of the warm-up nothing counts");
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let [due, sent, ended] = [1, 4, 5].map(Duration::from_secs);
        assert_eq!(latency(Some(due), sent, ended).as_secs(), 4);
        assert_eq!(latency(None, sent, ended).as_secs(), 1);
    }

    /// One connection to a server that takes `service` for each request, and stalls once.
    fn simulate(
        schedule: &mut Schedule,
        service: Duration,
        stall: (Duration, Duration),
    ) -> [Vec<Duration>; 2] {
        let mut free = Duration::ZERO;
        let mut seen = [Vec::new(), Vec::new()];
        while let Some(due) = schedule.peek() {
            let sent = due.at.max(free);
            schedule.take(sent).unwrap();
            let mut ended = sent + service;
            if sent < stall.0 + stall.1 && ended > stall.0 {
                ended = stall.0 + stall.1 + service;
            }
            seen[0].push(latency(Some(due.at), sent, ended));
            seen[1].push(latency(None, sent, ended));
            free = ended;
        }
        seen
    }

    proptest! {
        #[test]
        fn threads_share_all_points_and_no_point_twice(
            rate in 0.1_f64..5000.0, threads in 1_usize..9, warmup in 0_u64..2000, length in 1_u64..3000,
        ) {
            let [warmup, length] = [warmup, length].map(Duration::from_millis);
            let whole = take_all(&mut Schedule::lasting(rate, (0, 1), warmup, length));
            let mut shared: Vec<Due> = (0..threads)
                .flat_map(|thread| take_all(&mut Schedule::lasting(rate, (thread, threads), warmup, length)))
                .collect();
            shared.sort_by_key(|due| due.at);
            prop_assert_eq!(&whole, &shared);
            prop_assert!(whole.iter().filter(|due| !due.measured).all(|due| due.at < warmup));
            prop_assert!(whole.iter().filter(|due| due.measured).all(|due| due.at >= warmup));
            let expected = rate * length.as_secs_f64();
            let measured = whole.iter().filter(|due| due.measured).count();
            prop_assert!((measured as f64 - expected).abs() <= 1.0, "{measured} {expected}");
        }

        #[test]
        fn nothing_is_lost_between_what_was_sent_and_what_was_not(
            rate in 1.0_f64..1e6, threads in 1_usize..5, taken in 0_u64..500, millis in 1_u64..5000,
        ) {
            let length = Duration::from_millis(millis);
            let mut all = 0;
            let mut sent = 0;
            for thread in 0..threads {
                let mut schedule = Schedule::lasting(rate, (thread, threads), Duration::ZERO, length);
                sent += (0..taken).filter(|_| schedule.take(length).is_some()).count() as u64;
                let given_up = schedule.give_up(length);
                prop_assert!(given_up.len() as u64 <= PIECES);
                prop_assert!(given_up.iter().all(|(wait, _)| *wait <= length));
                all += given_up.iter().map(|(_, count)| count).sum::<u64>();
            }
            prop_assert_eq!(sent + all, points_before(rate, length).max(1));
        }

        #[test]
        fn a_stall_is_seen_by_all_who_would_have_come_during_it(
            rate in 10_u32..1000, stall_ms in 200_u64..2000, begins in 0_u64..2000,
        ) {
            let length = Duration::from_secs(5);
            let [begins, stall] = [begins, stall_ms].map(Duration::from_millis);
            let mut schedule = Schedule::lasting(f64::from(rate), (0, 1), Duration::ZERO, length);
            let service = Duration::from_secs(1) / rate / 10;
            let [corrected, naive] = simulate(&mut schedule, service, (begins, stall));
            let slow = |seen: &[Duration]| seen.iter().filter(|latency| **latency >= stall / 2).count() as f64;
            let came = f64::from(rate) * stall.as_secs_f64() / 2.0;
            prop_assert!(slow(&corrected) >= came - 2.0, "{} {came}", slow(&corrected));
            prop_assert!(slow(&naive) <= 1.0, "measured from when it was sent only one has noticed");
            prop_assert!(corrected.iter().zip(&naive).all(|(corrected, naive)| corrected >= naive));
        }
    }
}
