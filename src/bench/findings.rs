//! What should be known before the numbers are believed. Pure.

use serde::Serialize;

use super::failure::Failure;
use super::report::{Ended, Report};

/// Something that the numbers alone don't tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for machines.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// Less than this share of the wanted rate is not the wanted rate.
const REACHED: f64 = 0.99;

/// A generator that has something to do for more of its time may be what was measured.
const BUSY: f64 = 0.95;

/// More lateness of the generator's own (in microseconds) shows in what it measures.
const LATE_US: f64 = 1000.0;

/// With fewer latencies p99.9 is the longest one.
const FEW: u64 = 1000;

/// All that is to be said of a report.
pub(super) fn of(report: &Report) -> Vec<Finding> {
    let checks = [
        interrupted as fn(&Report) -> Option<Finding>,
        rate_not_reached,
        generator_late,
        generator_busy,
        connections_short,
        streams_capped,
        errors_answered,
        lower_bounds,
        few_samples,
    ];
    checks.iter().filter_map(|check| check(report)).collect()
}

fn finding(code: &'static str, message: String) -> Option<Finding> {
    Some(Finding { code, message })
}

fn interrupted(report: &Report) -> Option<Finding> {
    let early = report.ended == Ended::Interrupted;
    early.then(|| finding("interrupted", format!("it ended early, after {:.1} s", report.seconds)))?
}

fn is_late(report: &Report) -> bool {
    report.generator.lag_p99_us.is_some_and(|lag| lag > LATE_US)
}

fn is_busy(report: &Report) -> bool {
    report.generator.busy_ratio > BUSY
}

fn rate_not_reached(report: &Report) -> Option<Finding> {
    let (wanted, sent) = (report.wanted_rate?, report.sent_rate?);
    // One request more or less says nothing.
    if sent >= wanted * REACHED || (wanted - sent) * report.seconds <= 1.0 {
        return None;
    }
    let at_a_time = report.connections * report.streams;
    let why = match is_busy(report) || is_late(report) {
        true => "this generator had no time for more: use more --threads, or another machine".to_owned(),
        false => format!(
            "all of the {at_a_time} that may be under way at a time were, most of the time: the target is at its limit, or \
             needs more --connections"
        ),
    };
    finding("rate-not-reached", format!("{wanted:.0} requests/s were due, {sent:.0}/s were sent; {why}"))
}

fn generator_late(report: &Report) -> Option<Finding> {
    let lag = report.generator.lag_p99_us.filter(|_| is_late(report))?;
    let message = format!(
        "1 % of the requests left {:.1} ms or more after they were due although a connection was free: that much of their \
         latency is this generator's",
        lag / 1000.0
    );
    finding("generator-late", message)
}

fn generator_busy(report: &Report) -> Option<Finding> {
    let busy = report.generator.busy_ratio;
    is_busy(report).then(|| {
        let message = format!(
            "this generator was busy {:.0} % of the time: the rate may be its own limit, and latencies hold its own delays; use \
             more --threads (now {}), fewer --connections, or another machine",
            busy * 100.0,
            report.threads
        );
        finding("generator-busy", message)
    })?
}

fn connections_short(report: &Report) -> Option<Finding> {
    let (wanted, opened) = (report.connections, report.connecting.opened_first);
    // An interruption may have come first.
    let short = opened < wanted && report.requests > 0;
    short.then(|| {
        let message = format!("only {opened} of {wanted} connections could be opened before the load");
        finding("connections-short", message)
    })?
}

fn streams_capped(report: &Report) -> Option<Finding> {
    let allowed = report.generator.streams_allowed.filter(|allowed| *allowed < report.streams)?;
    let message = format!(
        "the server allows {allowed} streams on a connection: the rest of {} waited for one",
        report.streams
    );
    finding("streams-capped", message)
}

fn errors_answered(report: &Report) -> Option<Finding> {
    let broken: u64 = report.statuses.range(500..600).map(|(_, count)| count).sum();
    (broken > 0).then(|| {
        let message = format!("{broken} replies of class 5xx are among the latencies");
        finding("errors-answered", message)
    })?
}

fn lower_bounds(report: &Report) -> Option<Finding> {
    let at_least = report.latency?.at_least;
    let kinds = Failure::ALL.into_iter().filter(|kind| kind.has_waited() && report.failed(Some(*kind)) > 0);
    let kinds: Vec<&str> = kinds.map(Failure::meaning).collect();
    (at_least > 0).then(|| {
        let message = format!(
            "{at_least} latencies are lower bounds, what had been waited by then ({})",
            kinds.join("; ")
        );
        finding("lower-bounds", message)
    })?
}

fn few_samples(report: &Report) -> Option<Finding> {
    let count = report.latency?.count;
    (count < FEW).then(|| {
        finding("few-samples", format!("p99.9 of {count} requests is their longest: measure for longer"))
    })?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Pace;
    use super::super::report::tests::{reply, report};
    use super::super::tally::Tally;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn codes(pace: Pace, fill: impl FnOnce(&mut Tally)) -> Vec<&'static str> {
        report(pace, fill).findings.iter().map(|finding| finding.code).collect()
    }

    fn replies(tally: &mut Tally, count: u64) {
        (0..count).for_each(|_| tally.reply(&reply(200), MS, true));
    }

    #[test]
    fn a_run_as_it_should_be_needs_no_word() {
        assert!(codes(Pace::Closed, |tally| replies(tally, 5000)).is_empty());
        assert!(codes(Pace::Open(500.0), |tally| replies(tally, 5000)).is_empty());
    }

    #[test]
    fn a_rate_that_was_not_reached_is_told_with_its_cause() {
        let unsent = |tally: &mut Tally| {
            replies(tally, 4000);
            tally.failed((Failure::Unsent, String::new()), MS, 1000);
        };
        assert_eq!(codes(Pace::Open(500.0), unsent), ["rate-not-reached", "lower-bounds"]);
        let told = report(Pace::Open(500.0), unsent).findings[0].message.clone();
        assert!(told.contains("400/s were sent; all of the 4 that"), "{told}");
        let late = report(Pace::Open(500.0), |tally| {
            unsent(tally);
            tally.lag.record(5 * MS);
        });
        assert!(late.findings[0].message.contains("this generator had no time"), "{:?}", late.findings);
        assert_eq!(late.findings[1].code, "generator-late");
    }

    #[test]
    fn the_generator_tells_of_its_own_limit() {
        let busy = |tally: &mut Tally| {
            replies(tally, 5000);
            tally.busy = 0.99;
        };
        assert_eq!(codes(Pace::Closed, busy), ["generator-busy"]);
    }

    #[test]
    fn connections_and_streams_that_were_not_to_be_had_are_told() {
        let short = |tally: &mut Tally| {
            replies(tally, 5000);
            tally.opened_first = 3;
        };
        assert_eq!(codes(Pace::Closed, short), ["connections-short"]);
        let capped = |tally: &mut Tally| {
            replies(tally, 5000);
            tally.streams_allowed = Some(0);
        };
        assert_eq!(codes(Pace::Closed, capped), ["streams-capped"]);
    }

    #[test]
    fn errors_lower_bounds_and_too_few_are_told() {
        let odd = |tally: &mut Tally| {
            replies(tally, 500);
            tally.reply(&reply(502), MS, true);
            tally.failed((Failure::Timeout, String::new()), 1000 * MS, 1);
        };
        assert_eq!(codes(Pace::Closed, odd), ["errors-answered", "lower-bounds", "few-samples"]);
    }
}
