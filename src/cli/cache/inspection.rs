//! Follows a walk over the store: what `cache verify` and `cache gc` share.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::admin::api::{InspectionLine, InspectionProgress, Reclaimed, StoreFault};
use crate::admin::client::Lines;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::human;

/// Reads the lines to their end, hands each fault to `found`, and shows progress on a terminal.
pub async fn follow(
    mut lines: Lines,
    what: &str,
    quiet: bool,
    mut found: impl FnMut(StoreFault) -> Result<(), Failure>,
) -> Result<(InspectionProgress, Reclaimed), Failure> {
    let bar = progress(what, quiet);
    while let Some(line) = lines.next::<InspectionLine>().await? {
        match line {
            InspectionLine::Progress(at) => show(&bar, at),
            InspectionLine::Found(fault) => bar.suspend(|| found(fault))?,
            InspectionLine::Done { progress, reclaimed } => {
                bar.finish_and_clear();
                return Ok((progress, reclaimed));
            }
            InspectionLine::Failed { message } => {
                bar.finish_and_clear();
                return Err(Failure::new(Exit::Machine, "the store could not be looked through to its end")
                    .why(message)
                    .next("proxy-stone cache stats"));
            }
        }
    }
    bar.finish_and_clear();
    Err(Failure::new(Exit::NotRunning, "the instance ended before the store was looked through")
        .next("proxy-stone status"))
}

fn progress(what: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {pos}/{len} entries, {prefix} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show(bar: &ProgressBar, at: InspectionProgress) {
    bar.set_length(at.of.max(at.entries));
    bar.set_position(at.entries);
    bar.set_prefix(human::bytes(at.bytes as f64));
}
