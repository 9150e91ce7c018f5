//! Keeps a failing upstream from flooding the diagnostics: every exchange is in the access log anyway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// The least time between two complaints.
const PAUSE: Duration = Duration::from_secs(5);

/// Lets one complaint through at a time, and counts those held back.
#[derive(Debug, Default)]
pub struct Complaints {
    /// In milliseconds: when the next one may be made.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Complaints {
    /// Whether to complain now, and of how many more failures since the last complaint.
    pub(super) fn admit(&self, now: Timestamp) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let later = now.plus(PAUSE).millis();
        let due = now.millis() >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !due {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_stands_for_those_of_the_next_seconds() {
        let complaints = Complaints::default();
        let at = |secs: u64| Timestamp::from_secs(1_000 + secs);
        assert_eq!(complaints.admit(at(0)), Some(0));
        assert_eq!(complaints.admit(at(1)), None);
        assert_eq!(complaints.admit(at(4)), None);
        assert_eq!(complaints.admit(at(5)), Some(2));
        assert_eq!(complaints.admit(at(10)), Some(0));
    }
}
