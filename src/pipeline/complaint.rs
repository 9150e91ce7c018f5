//! Keeps a failing upstream from flooding the diagnostics: every exchange is in the access log anyway.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// The least time between two complaints for the same reason.
const PAUSE: Duration = Duration::from_secs(5);

/// Lets one complaint through at a time for each reason, and counts those held back.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Vec<Complaint>>);

#[derive(Debug)]
struct Complaint {
    /// One of a few words.
    reason: &'static str,
    /// When the next one may be made.
    next: Timestamp,
    held_back: u64,
}

impl Complaints {
    /// Whether to complain now, and of how many more failures of this kind since the last complaint.
    pub(super) fn admit(&self, reason: &'static str, now: Timestamp) -> Option<u64> {
        let mut made = self.0.lock();
        let next = now.plus(PAUSE);
        let Some(last) = made.iter_mut().find(|last| last.reason == reason) else {
            made.push(Complaint { reason, next, held_back: 0 });
            return Some(0);
        };
        if now < last.next {
            last.held_back += 1;
            return None;
        }
        last.next = next;
        Some(std::mem::take(&mut last.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_stands_for_those_of_its_kind_in_the_next_seconds() {
        let complaints = Complaints::default();
        let at = |secs: u64| Timestamp::from_secs(1_000 + secs);
        for (seconds, reason, admitted) in [
            (0, "refused", Some(0)),
            (1, "refused", None),
            (2, "timeout", Some(0)),
            (4, "refused", None),
            (5, "refused", Some(2)),
            (6, "timeout", None),
            (10, "refused", Some(0)),
            (10, "timeout", Some(1)),
        ] {
            assert_eq!(complaints.admit(reason, at(seconds)), admitted, "{seconds} {reason}");
        }
    }
}
