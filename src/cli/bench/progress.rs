//! How far the measuring is, on a terminal only.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::{Phase, Plan, Progress, Until};
use crate::cli::output::human;

/// How often it is shown anew.
pub const EVERY: Duration = Duration::from_millis(100);

/// The rate that is shown is that of so long.
const RATE_OVER: Duration = Duration::from_secs(1);

/// A line on standard error.
pub struct Bar {
    bar: ProgressBar,
    warmup: Duration,
    until: Until,
    seen: Cell<(Option<Instant>, u64, f64)>,
}

impl Bar {
    pub fn new(plan: &Plan, quiet: bool) -> Self {
        let bar = match quiet || !io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            false => ProgressBar::new(0),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar}") {
            bar.set_style(style);
        }
        bar.set_length(match plan.until {
            Until::Elapsed(length) => millis(plan.warmup + length),
            Until::Requests(requests) => requests,
        });
        Self { bar, warmup: plan.warmup, until: plan.until, seen: Cell::new((None, 0, 0.0)) }
    }

    /// Shows how far it is.
    pub fn show(&self, progress: &Progress) {
        if self.bar.is_hidden() {
            return;
        }
        let all = progress.replies + progress.failures;
        let doing = match progress.phase {
            Phase::Connecting => "connecting".to_owned(),
            Phase::Running(start) => {
                let since = start.elapsed();
                self.bar.set_position(match self.until {
                    Until::Elapsed(_) => millis(since),
                    Until::Requests(_) => all,
                });
                let doing = if since < self.warmup { "warming up" } else { "measuring" };
                format!("{doing}: {} replies, {}", progress.replies, human::rate(self.rate(progress.replies)))
            }
            Phase::Interrupted(_) | Phase::Abandoned(_) => "waiting for what is under way".to_owned(),
        };
        let failures = match progress.failures {
            0 => String::new(),
            failures => format!(", {failures} failures"),
        };
        self.bar.set_message(format!("{doing}{failures}"));
    }

    /// Replies a second, of late.
    fn rate(&self, replies: u64) -> f64 {
        let now = Instant::now();
        let (at, before, rate) = self.seen.get();
        let Some(at) = at else {
            self.seen.set((Some(now), replies, 0.0));
            return 0.0;
        };
        let elapsed = now.duration_since(at);
        let latest = replies.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        match elapsed < RATE_OVER {
            // Nothing better is known at first.
            true if rate == 0.0 => latest,
            true => rate,
            false => {
                self.seen.set((Some(now), replies, latest));
                latest
            }
        }
    }

    /// Takes it away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
