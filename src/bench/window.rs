//! What is measured, in time: after the warm-up, until the end.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{Plan, Until};

/// Since when, and until when.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) measured: Instant,
    /// `None`: requests are counted instead, and nobody has ended it.
    end: Cell<Option<Instant>>,
}

impl Window {
    pub(super) fn new(plan: &Plan, start: Instant) -> Self {
        let measured = start + plan.warmup;
        let end = match plan.until {
            Until::Elapsed(length) => Some(measured + length),
            Until::Requests(_) => None,
        };
        Self { start, measured, end: Cell::new(end) }
    }

    pub(super) fn end(&self) -> Option<Instant> {
        self.end.get()
    }

    /// Ends it now, unless it has ended before.
    pub(super) fn cut(&self, now: Instant) {
        self.end.set(Some(self.end.get().map_or(now, |end| end.min(now))));
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.end.get().is_some_and(|end| now >= end)
    }

    /// Time since the start.
    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }
}
