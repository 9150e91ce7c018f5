//! The arithmetic of rates: given what is remembered of a key and the time, whether one more request fits.
//!
//! Whole numbers only, so that nothing drifts. The clock is the wall clock, which may be set back: what is remembered is
//! then never worse than a quota just used up.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The generic cell rate algorithm (ITU-T I.371; nginx's and governor's way): a bucket that refills evenly.
    Gcra,
    /// So many from the first request until the window has passed.
    FixedWindow,
    /// The window before counts by the part of it that is still within the last `window`: two counters that come close
    /// to a log of all requests.
    SlidingWindow,
}

impl Algorithm {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindow => "sliding-window",
        }
    }
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window; 1 to [`super::MAX_REQUESTS`].
    pub requests: u32,
    /// The window; at least a millisecond, at most [`super::MAX_WINDOW_DAYS`].
    pub window: Duration,
    /// With GCRA: how many may come at once; 1 to [`super::MAX_REQUESTS`].
    pub burst: u32,
}

/// What is remembered of a key: 16 bytes whose meaning is the algorithm's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// GCRA: the theoretical arrival time, in 1/`requests` of a millisecond. Fixed window: when it began. Sliding
    /// window: its number since the epoch.
    at: u64,
    /// Requests in the window.
    count: u32,
    /// Requests in the window before.
    before: u32,
}

/// What came of a request, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether it fits.
    pub allowed: bool,
    /// How many more would now.
    pub remaining: u32,
    /// How long until the whole quota is there again.
    pub reset: Duration,
    /// How long until the next one fits; zero while one does.
    pub retry: Duration,
}

impl Quota {
    /// The most that may come at once.
    pub fn limit(&self, algorithm: Algorithm) -> u32 {
        match algorithm {
            Algorithm::Gcra => self.burst,
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.requests,
        }
    }

    fn window_ms(&self) -> u64 {
        u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Display for Quota {
    /// As the config writes its rate: `100/m`, `30/10s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.window.as_secs();
        let units = [(86_400, "d"), (3600, "h"), (60, "m")];
        let (size, unit) = units.into_iter().find(|(size, _)| secs.is_multiple_of(*size)).unwrap_or((1, "s"));
        match secs / size {
            1 => write!(f, "{}/{unit}", self.requests),
            many => write!(f, "{}/{many}{unit}", self.requests),
        }
    }
}

/// An algorithm with its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) algorithm: Algorithm,
    pub(super) quota: Quota,
}

impl Rate {
    /// Counts a request, if it fits.
    pub(super) fn take(&self, state: &mut State, now: Timestamp) -> Taken {
        let now = millis(now);
        self.settle(state, now);
        let allowed = self.fits(state, now);
        if allowed {
            match self.algorithm {
                Algorithm::Gcra => state.at += self.quota.window_ms(),
                Algorithm::FixedWindow | Algorithm::SlidingWindow => state.count += 1,
            }
        }
        self.standing(state, now, allowed)
    }

    /// How a key stands, nothing counted; `allowed` is whether a request would fit.
    pub(super) fn look(&self, state: &State, now: Timestamp) -> Taken {
        let (mut state, now) = (*state, millis(now));
        self.settle(&mut state, now);
        self.standing(&state, now, self.fits(&state, now))
    }

    /// Gives back what an allowed request took.
    pub(super) fn give_back(&self, state: &mut State) {
        match self.algorithm {
            Algorithm::Gcra => state.at = state.at.saturating_sub(self.quota.window_ms()),
            Algorithm::FixedWindow | Algorithm::SlidingWindow => state.count = state.count.saturating_sub(1),
        }
    }

    /// Brings a state to `now`: what has passed is forgotten.
    fn settle(&self, state: &mut State, now: u64) {
        let window = self.quota.window_ms();
        match self.algorithm {
            Algorithm::Gcra => {
                let now = self.ticks(now);
                // Never further ahead than a full burst: that could only be after the clock was set back.
                state.at = state.at.clamp(now, now + self.depth());
            }
            Algorithm::FixedWindow => {
                if state.at > now {
                    state.at = now;
                }
                if state.count == 0 || now - state.at >= window {
                    *state = State { at: now, ..State::default() };
                }
            }
            Algorithm::SlidingWindow => {
                let number = now / window;
                *state = match number.checked_sub(state.at) {
                    Some(0) => *state,
                    Some(1) => State { at: number, count: 0, before: state.count },
                    Some(_) => State { at: number, ..State::default() },
                    None => State { at: number, ..*state },
                };
            }
        }
    }

    /// Time in units of which a request takes `window` whole milliseconds' worth.
    fn ticks(&self, millis: u64) -> u64 {
        millis.saturating_mul(self.quota.requests.into()).min(u64::MAX / 2)
    }

    /// How far ahead of now the theoretical arrival time may be.
    fn depth(&self) -> u64 {
        u64::from(self.quota.burst) * self.quota.window_ms()
    }

    fn fits(&self, state: &State, now: u64) -> bool {
        match self.algorithm {
            Algorithm::Gcra => state.at + self.quota.window_ms() <= self.ticks(now) + self.depth(),
            Algorithm::FixedWindow => state.count < self.quota.requests,
            Algorithm::SlidingWindow => self.slid(state, now) + self.quota.window_ms() <= self.whole(),
        }
    }

    /// Requests within the last window, times the window.
    fn slid(&self, state: &State, now: u64) -> u64 {
        let window = self.quota.window_ms();
        u64::from(state.before) * (window - now % window) + u64::from(state.count) * window
    }

    fn whole(&self) -> u64 {
        u64::from(self.quota.requests) * self.quota.window_ms()
    }

    /// What is told of a settled state.
    fn standing(&self, state: &State, now: u64, allowed: bool) -> Taken {
        let window = self.quota.window_ms();
        let requests = u64::from(self.quota.requests);
        let (remaining, reset, retry) = match self.algorithm {
            Algorithm::Gcra => {
                let start = self.ticks(now);
                let (ahead, depth) = (state.at - start, self.depth());
                let over = (ahead + window).saturating_sub(depth);
                (depth.saturating_sub(ahead) / window, ahead.div_ceil(requests), over.div_ceil(requests))
            }
            Algorithm::FixedWindow => {
                let left = requests.saturating_sub(state.count.into());
                let reset = if state.count == 0 { 0 } else { (state.at + window).saturating_sub(now) };
                (left, reset, if left == 0 { reset } else { 0 })
            }
            Algorithm::SlidingWindow => {
                let left = self.whole().saturating_sub(self.slid(state, now)) / window;
                let rest = window - now % window;
                let reset = match (state.count, state.before) {
                    (0, 0) => 0,
                    (0, _) => rest,
                    _ => rest + window,
                };
                (left, reset, if left == 0 { self.slide(state, now) } else { 0 })
            }
        };
        Taken {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_millis(reset),
            retry: Duration::from_millis(retry),
        }
    }

    /// How long until the windows have slid far enough for one more.
    fn slide(&self, state: &State, now: u64) -> u64 {
        let (window, requests) = (self.quota.window_ms(), u64::from(self.quota.requests));
        let elapsed = now % window;
        let count = u64::from(state.count);
        // From when on `before` of the window before and `count` of this one leave room for another.
        let from = |before: u64, count: u64| {
            let room = requests.saturating_sub(count + 1) * window;
            room.checked_div(before).map_or(0, |share| window - share.min(window))
        };
        if count < requests {
            return from(state.before.into(), count).saturating_sub(elapsed);
        }
        window - elapsed + from(count, 0)
    }

    /// Whether nothing needs to be remembered: the quota is whole.
    pub(super) fn is_whole(&self, state: &State, now: Timestamp) -> bool {
        let (mut state, now) = (*state, millis(now));
        self.settle(&mut state, now);
        match self.algorithm {
            Algorithm::Gcra => state.at == self.ticks(now),
            Algorithm::FixedWindow | Algorithm::SlidingWindow => state.count == 0 && state.before == 0,
        }
    }
}

/// A time that sums can be made with.
fn millis(now: Timestamp) -> u64 {
    now.millis().min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(START + millis)
    }

    fn rate(algorithm: Algorithm, requests: u32, secs: u64, burst: u32) -> Rate {
        Rate { algorithm, quota: Quota { requests, window: Duration::from_secs(secs), burst } }
    }

    /// How many of `tries` at one moment fit.
    fn fitting(rate: &Rate, state: &mut State, now: Timestamp, tries: u32) -> u32 {
        (0..tries).filter(|_| rate.take(state, now).allowed).count() as u32
    }

    #[test]
    fn quotas_are_shown_as_they_are_written() {
        for (secs, text) in [(1, "5/s"), (60, "5/m"), (90, "5/90s"), (7200, "5/2h"), (86_400, "5/d")] {
            let quota = Quota { requests: 5, window: Duration::from_secs(secs), burst: 5 };
            assert_eq!(quota.to_string(), text);
        }
    }

    #[test]
    fn gcra_lets_a_burst_through_and_then_one_at_a_time() {
        let rate = rate(Algorithm::Gcra, 10, 1, 3);
        let mut state = State::default();
        assert_eq!(fitting(&rate, &mut state, at(0), 9), 3);
        let refused = rate.take(&mut state, at(40));
        assert_eq!(
            (refused.allowed, refused.remaining, refused.retry.as_millis(), refused.reset.as_millis()),
            (false, 0, 60, 260)
        );
        assert_eq!(fitting(&rate, &mut state, at(99), 2), 0);
        assert_eq!(fitting(&rate, &mut state, at(100), 2), 1);
        assert_eq!(fitting(&rate, &mut state, at(310), 9), 2);
        assert!(!rate.is_whole(&state, at(400)) && rate.is_whole(&state, at(1000)));
        assert_eq!(fitting(&rate, &mut state, at(10_000), 9), 3);
    }

    #[test]
    fn gcra_does_not_drift_where_the_window_cannot_be_divided() {
        let rate = rate(Algorithm::Gcra, 3, 1, 3);
        let mut state = State::default();
        let mut allowed = 0;
        for millis in 0..10_000 {
            allowed += fitting(&rate, &mut state, at(millis), 1);
        }
        assert_eq!(allowed, 3 + 29);
    }

    #[test]
    fn a_fixed_window_begins_with_its_first_request() {
        let rate = rate(Algorithm::FixedWindow, 5, 60, 1);
        let mut state = State::default();
        assert_eq!(fitting(&rate, &mut state, at(30_500), 9), 5);
        let refused = rate.take(&mut state, at(60_000));
        assert_eq!((refused.allowed, refused.retry.as_millis()), (false, 30_500));
        assert_eq!(fitting(&rate, &mut state, at(90_499), 1), 0);
        assert_eq!(fitting(&rate, &mut state, at(90_500), 9), 5);
    }

    #[test]
    fn a_sliding_window_weighs_the_one_before() {
        let rate = rate(Algorithm::SlidingWindow, 10, 10, 1);
        let mut state = State::default();
        assert_eq!(fitting(&rate, &mut state, at(9_000), 12), 10);
        // Half of the next window later half of them count.
        let refused = rate.look(&state, at(10_500));
        assert_eq!((refused.allowed, refused.retry.as_millis()), (false, 500));
        assert_eq!(fitting(&rate, &mut state, at(15_000), 12), 5);
        let refused = rate.take(&mut state, at(15_000));
        assert_eq!((refused.remaining, refused.retry.as_millis()), (0, 1000));
        assert_eq!(fitting(&rate, &mut state, at(40_000), 12), 10);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let rate = rate(algorithm, 4, 60, 4);
            let mut state = State::default();
            assert_eq!(fitting(&rate, &mut state, at(0), 9), 4);
            rate.give_back(&mut state);
            assert_eq!(fitting(&rate, &mut state, at(0), 9), 1, "{algorithm:?}");
        }
    }

    #[test]
    fn a_clock_set_back_costs_no_more_than_the_quota_again() {
        for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let rate = rate(algorithm, 4, 60, 4);
            let mut state = State::default();
            fitting(&rate, &mut state, at(7 * 86_400_000), 9);
            let told = rate.take(&mut state, at(0));
            assert!(!told.allowed && told.retry <= Duration::from_secs(120), "{algorithm:?} {told:?}");
            assert!(fitting(&rate, &mut state, at(120_000), 9) > 0, "{algorithm:?}");
        }
    }

    fn algorithms() -> impl Strategy<Value = Algorithm> {
        prop_oneof![Just(Algorithm::Gcra), Just(Algorithm::FixedWindow), Just(Algorithm::SlidingWindow)]
    }

    proptest! {
        /// Whatever comes when: what is told of the next one is what then happens.
        #[test]
        fn what_is_told_holds(
            algorithm in algorithms(),
            requests in 1_u32..40,
            secs in 1_u64..90,
            burst in 1_u32..40,
            pauses in prop::collection::vec(0_u64..20_000, 1..80),
        ) {
            let rate = rate(algorithm, requests, secs, burst);
            let (mut state, mut now) = (State::default(), 0);
            for pause in pauses {
                now += pause;
                let told = rate.take(&mut state, at(now));
                let retry = told.retry.as_millis() as u64;
                prop_assert_eq!(told.remaining == 0, retry > 0);
                prop_assert!(told.remaining <= rate.quota.limit(algorithm));
                prop_assert!(rate.is_whole(&state, at(now + told.reset.as_millis() as u64)));
                if !told.allowed {
                    prop_assert!(retry > 0);
                    prop_assert!(!rate.look(&state, at(now + retry - 1)).allowed);
                }
                prop_assert!(rate.look(&state, at(now + retry)).allowed);
            }
        }

        /// Over any time GCRA lets no more through than the burst and what has refilled since.
        #[test]
        fn gcra_never_lets_more_through(
            requests in 1_u32..40,
            secs in 1_u64..9,
            burst in 1_u32..40,
            pauses in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            let rate = rate(Algorithm::Gcra, requests, secs, burst);
            let (mut state, mut now, mut allowed) = (State::default(), 0, 0_u64);
            for pause in pauses {
                now += pause;
                allowed += u64::from(rate.take(&mut state, at(now)).allowed);
                let refilled = now * u64::from(requests) / (secs * 1000);
                prop_assert!(allowed <= u64::from(burst) + refilled);
            }
        }

        #[test]
        fn nothing_overflows(algorithm in algorithms(), now in any::<u64>(), then in any::<u64>()) {
            let quota = Quota {
                requests: super::super::MAX_REQUESTS,
                window: Duration::from_secs(super::super::MAX_WINDOW_DAYS * 86_400),
                burst: super::super::MAX_REQUESTS,
            };
            let rate = Rate { algorithm, quota };
            let mut state = State::default();
            for now in [now, then, 0, u64::MAX] {
                rate.take(&mut state, Timestamp::from_millis(now));
            }
        }
    }
}
