//! Which endpoint takes the next request: smooth weighted round-robin, exact over all workers.
//!
//! The order is worked out once; a request takes the next ticket, whichever worker it is on. An endpoint that
//! keeps refusing connections is left out for a while, but never when nothing else is left.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::settings::EndpointSettings;

/// Shares are exact as long as their sum, divided by what they have in common, is within this.
const LONGEST_SCHEDULE: u64 = 4096;

/// The order of an upstream's endpoints.
#[derive(Debug)]
pub(crate) struct Balance {
    primary: Rotation,
    backup: Rotation,
}

impl Balance {
    pub(crate) fn new(endpoints: &[EndpointSettings]) -> Self {
        let those = |backup: bool| -> Vec<(usize, u32)> {
            let indexed = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.backup == backup);
            indexed.map(|(index, endpoint)| (index, endpoint.weight.max(1))).collect()
        };
        Self { primary: Rotation::new(&those(false)), backup: Rotation::new(&those(true)) }
    }

    /// The endpoint for the next attempt of an exchange that has `tried` some in vain; `None`: all were tried.
    /// Backups come after the primaries; those that `usable` leaves out come last.
    pub(crate) fn pick(&self, tried: &[usize], usable: impl Fn(usize) -> bool) -> Option<usize> {
        let untried = |index: usize| !tried.contains(&index);
        let good = |index: usize| untried(index) && usable(index);
        (self.primary.next(good).or_else(|| self.backup.next(good)))
            .or_else(|| self.primary.next(untried))
            .or_else(|| self.backup.next(untried))
    }
}

/// Endpoints in the order in which they take turns.
#[derive(Debug)]
struct Rotation {
    schedule: Box<[usize]>,
    ticket: AtomicUsize,
}

impl Rotation {
    fn new(weights: &[(usize, u32)]) -> Self {
        Self { schedule: schedule(weights), ticket: AtomicUsize::new(0) }
    }

    fn next(&self, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let len = self.schedule.len();
        if len <= 1 {
            return self.schedule.first().copied().filter(|index| accept(*index));
        }
        // A turn of an endpoint that is left out passes to whoever's is next.
        for _ in 0..len.min(64) {
            let index = self.schedule[self.ticket.fetch_add(1, Ordering::Relaxed) % len];
            if accept(index) {
                return Some(index);
            }
        }
        self.schedule.iter().copied().find(|index| accept(*index))
    }
}

/// nginx's smooth weighted round-robin, written out for one whole round.
fn schedule(weights: &[(usize, u32)]) -> Box<[usize]> {
    let common = weights.iter().fold(0, |common, (_, weight)| gcd(common, u64::from(*weight))).max(1);
    let sum: u64 = weights.iter().map(|(_, weight)| u64::from(*weight) / common).sum();
    let scale = |weight: u32| {
        let weight = u64::from(weight) / common;
        if sum <= LONGEST_SCHEDULE { weight } else { (weight * LONGEST_SCHEDULE / sum).max(1) }
    };
    let mut turns: Vec<(usize, i64, i64)> =
        weights.iter().map(|(index, weight)| (*index, scale(*weight).cast_signed(), 0)).collect();
    let round: i64 = turns.iter().map(|(_, weight, _)| weight).sum();
    let mut order = Vec::new();
    for _ in 0..round {
        let mut best = 0;
        for place in 0..turns.len() {
            turns[place].2 += turns[place].1;
            if turns[place].2 > turns[best].2 {
                best = place;
            }
        }
        turns[best].2 -= round;
        order.push(turns[best].0);
    }
    order.into()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Failed connects in a row after which an endpoint is left out.
const REFUSALS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a pause one request tries; the others wait for its outcome, or this long.
const TRIAL: Duration = Duration::from_secs(5);

/// Whether an endpoint is left out because it keeps refusing connections.
#[derive(Debug)]
pub(crate) struct Reachability {
    created: Instant,
    /// Milliseconds after `created` until which it is left out; 0: it is not.
    until_ms: AtomicU64,
    state: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    in_a_row: u32,
    pause: Duration,
    on_trial: bool,
}

impl Reachability {
    pub(crate) fn new(now: Instant) -> Self {
        Self { created: now, until_ms: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Whether it takes its share; once a pause has passed, says so to one request only.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let until = self.until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        if self.ms(now) < until {
            return false;
        }
        let mut state = self.state.lock();
        if self.until_ms.load(Ordering::Relaxed) != until {
            return false;
        }
        state.on_trial = true;
        self.until_ms.store(self.ms(now + TRIAL), Ordering::Relaxed);
        true
    }

    /// Whether it is left out, asked without taking a trial.
    pub(crate) fn is_skipped(&self) -> bool {
        self.until_ms.load(Ordering::Relaxed) != 0
    }

    /// A connection could not be made.
    pub(crate) fn refused(&self, now: Instant) {
        let mut state = self.state.lock();
        state.in_a_row = state.in_a_row.saturating_add(1);
        let paused = self.ms(now) < self.until_ms.load(Ordering::Relaxed) && !state.on_trial;
        // Connects that were under way when the pause began do not lengthen it.
        if state.in_a_row < REFUSALS || paused {
            return;
        }
        state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        state.on_trial = false;
        self.until_ms.store(self.ms(now + state.pause), Ordering::Relaxed);
    }

    /// A connection was made.
    pub(crate) fn connected(&self) {
        let mut state = self.state.lock();
        *state = Refusals::default();
        self.until_ms.store(0, Ordering::Relaxed);
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.created).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn endpoints(weights: &[(u32, bool)]) -> Vec<EndpointSettings> {
        let endpoint = |&(weight, backup): &(u32, bool)| EndpointSettings {
            tls: false,
            host: "127.0.0.1".into(),
            port: 80,
            weight,
            backup,
        };
        weights.iter().map(endpoint).collect()
    }

    fn shares(balance: &Balance, picks: usize, usable: impl Fn(usize) -> bool) -> [usize; 3] {
        let mut shares = [0; 3];
        for _ in 0..picks {
            shares[balance.pick(&[], &usable).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn the_order_is_smooth() {
        assert_eq!(*schedule(&[(0, 5), (1, 1), (2, 1)]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*schedule(&[(0, 10), (1, 20)]), [1, 0, 1]);
        assert!(schedule(&[(0, u32::MAX), (1, 1)]).len() <= LONGEST_SCHEDULE as usize + 1);
    }

    #[test]
    fn shares_are_exact_over_all_threads() {
        let balance = Arc::new(Balance::new(&endpoints(&[(3, false), (2, false), (1, false)])));
        let worker = || {
            let balance = Arc::clone(&balance);
            std::thread::spawn(move || shares(&balance, 300, |_| true))
        };
        let (a, b) = (worker(), worker());
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        assert_eq!([a[0] + b[0], a[1] + b[1], a[2] + b[2]], [300, 200, 100]);
    }

    #[test]
    fn who_is_left_out_loses_its_share_to_all_the_others() {
        let balance = Balance::new(&endpoints(&[(1, false), (1, false), (1, false)]));
        assert_eq!(shares(&balance, 30, |index| index != 0), [0, 15, 15]);
    }

    #[test]
    fn backups_come_last_and_nothing_usable_beats_nothing() {
        let balance = Balance::new(&endpoints(&[(1, false), (1, true)]));
        assert_eq!(shares(&balance, 4, |_| true), [4, 0, 0]);
        assert_eq!(shares(&balance, 4, |index| index == 1), [0, 4, 0]);
        assert_eq!(shares(&balance, 4, |_| false), [4, 0, 0]);
        assert_eq!(balance.pick(&[0], |_| true), Some(1));
        assert_eq!(balance.pick(&[0, 1], |_| true), None);
    }

    #[test]
    fn three_refusals_pause_an_endpoint_longer_each_time() {
        let start = Instant::now();
        let reach = Reachability::new(start);
        let mut now = start + Duration::from_secs(1);
        reach.refused(now);
        reach.refused(now);
        assert!(reach.admits(now));
        reach.refused(now);
        reach.refused(now);
        for pause in [10, 20, 40, 60, 60] {
            assert!(!reach.admits(now + Duration::from_secs(pause - 1)), "{pause}");
            now += Duration::from_secs(pause);
            assert!(reach.admits(now), "{pause}");
            assert!(!reach.admits(now), "only one tries");
            reach.refused(now);
        }
        reach.connected();
        assert!(reach.admits(now) && !reach.is_skipped());
    }
}
