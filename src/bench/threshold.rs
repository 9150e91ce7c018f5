//! What is demanded of a run: `p99>5ms`, `errors>0.1%`, `rps<1000`. One measure, one comparison, one value; what a measure
//! is compared with follows from what it is. A rule says when the run has *failed*.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::report::Report;

/// The measures, for help texts and messages.
pub const METRICS: &[(&str, &str)] = &[
    ("min, mean, max, p50, p99, p99.9 ...", "latency: 5ms, 250us, 1.5s"),
    ("rps", "whole replies a second: 1000"),
    ("errors", "no whole reply, or 5xx: 0.1% of the requests, or a count"),
    ("failures", "no whole reply: likewise"),
    ("2xx, 3xx, 4xx, 5xx", "replies of this class: likewise"),
    ("hits", "cache hits: 95% of the replies that say so, or a count"),
];

/// A rule; met when the measure stands so to the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Min,
    Mean,
    Max,
    /// A share, 0 to 1.
    Quantile(f64),
    Rate,
    Errors,
    Failures,
    /// 1 to 5.
    Class(u16),
    Hits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    More,
    Least,
    Less,
    Most,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Micros(f64),
    PerSecond(f64),
    /// A share, 0 to 1.
    Share(f64),
    Count(f64),
}

/// Whether a rule has been met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// As it was written.
    pub rule: String,
    /// What was measured: microseconds, replies a second, a share (0 to 1) or a count; absent where there was nothing to
    /// measure.
    pub value: Option<f64>,
    /// The same for people.
    pub shown: String,
    /// The rule is met, or can't be judged: the run has failed.
    pub failed: bool,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadThreshold(String);

impl fmt::Display for BadThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadThreshold {}

impl FromStr for Threshold {
    type Err = BadThreshold;

    fn from_str(text: &str) -> Result<Self, BadThreshold> {
        let example = "write a measure, one of > >= < <=, and a value: p99>5ms, errors>0.1%, rps<1000";
        let at = text.find(['<', '>']).ok_or_else(|| BadThreshold(example.to_owned()))?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = match rest.as_bytes() {
            [b'>', b'=', ..] => (Comparison::Least, &rest[2..]),
            [b'>', ..] => (Comparison::More, &rest[1..]),
            [b'<', b'=', ..] => (Comparison::Most, &rest[2..]),
            _ => (Comparison::Less, &rest[1..]),
        };
        let metric = metric(name.trim())?;
        let bound = metric.bound(value.trim())?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, bound })
    }
}

fn metric(name: &str) -> Result<Metric, BadThreshold> {
    Ok(match name {
        "min" => Metric::Min,
        "mean" => Metric::Mean,
        "max" => Metric::Max,
        "rps" => Metric::Rate,
        "errors" => Metric::Errors,
        "failures" => Metric::Failures,
        "hits" => Metric::Hits,
        "1xx" | "2xx" | "3xx" | "4xx" | "5xx" => Metric::Class(u16::from(name.as_bytes()[0] - b'0')),
        _ => match name.strip_prefix('p').and_then(number) {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Metric::Quantile(percent / 100.0),
            Some(_) => return Err(BadThreshold("percentiles go from p0.001 to p100".to_owned())),
            None => {
                let known: Vec<&str> = METRICS.iter().map(|(names, _)| *names).collect();
                return Err(BadThreshold(format!("there is no measure \"{name}\": {}", known.join(", "))));
            }
        },
    })
}

impl Metric {
    /// What this is compared with.
    fn bound(self, text: &str) -> Result<Bound, BadThreshold> {
        let bad = |help: &str| Err(BadThreshold(format!("\"{text}\" can't be compared with that: {help}")));
        match self {
            Self::Min | Self::Mean | Self::Max | Self::Quantile(_) => match time(text) {
                Some(micros) => Ok(Bound::Micros(micros)),
                None => bad("latencies have units, 250us, 5ms, 1.5s"),
            },
            Self::Rate => match number(text) {
                Some(rate) => Ok(Bound::PerSecond(rate)),
                None => bad("replies a second are a plain number, 1000"),
            },
            Self::Errors | Self::Failures | Self::Class(_) | Self::Hits => {
                let share = text.strip_suffix('%').and_then(|percent| number(percent.trim_end()));
                match (share, number(text)) {
                    (Some(percent), _) if percent <= 100.0 => Ok(Bound::Share(percent / 100.0)),
                    (None, Some(count)) => Ok(Bound::Count(count)),
                    _ => bad("write a share up to 100%, 0.1%, or a count, 10"),
                }
            }
        }
    }

    /// What there was of it, and of how much.
    fn counted(self, report: &Report) -> Option<(u64, u64)> {
        let class = |class: u16| {
            report.statuses.range(class * 100..class * 100 + 100).map(|(_, count)| count).sum::<u64>()
        };
        match self {
            Self::Errors => Some((report.errors, report.requests)),
            Self::Failures => Some((report.failed(None), report.requests)),
            Self::Class(number) => Some((class(number), report.requests)),
            Self::Hits => report.cache.map(|cache| (cache.counts.hit, cache.counts.all())),
            _ => None,
        }
    }
}

/// Digits, and perhaps a point and digits.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let whole = text.starts_with(|c: char| c.is_ascii_digit());
    (plain && whole).then(|| text.parse().ok()).flatten()
}

/// In microseconds.
fn time(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let factor = match text[digits..].trim_start() {
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number(&text[..digits])? * factor)
}

impl Threshold {
    /// Whether it is met. What can't be measured can't be vouched for.
    pub(super) fn judge(&self, report: &Report) -> Verdict {
        let value = self.value(report);
        let bound = match self.bound {
            Bound::Micros(bound) | Bound::PerSecond(bound) | Bound::Share(bound) | Bound::Count(bound) => {
                bound
            }
        };
        let failed = value.is_none_or(|value| self.comparison.holds(value, bound));
        let shown = value.map_or_else(|| "nothing to measure".to_owned(), |value| self.bound.show(value));
        Verdict { rule: self.text.clone(), value, shown, failed }
    }

    fn value(&self, report: &Report) -> Option<f64> {
        match (self.metric, self.bound) {
            (Metric::Min, _) => report.quantile_us(0.0).and(report.latency).map(|latency| latency.min_us),
            (Metric::Mean, _) => report.latency.map(|latency| latency.mean_us),
            (Metric::Max, _) => report.latency.map(|latency| latency.max_us),
            (Metric::Quantile(share), _) => report.quantile_us(share),
            (Metric::Rate, _) => Some(report.rate),
            (metric, Bound::Share(_)) => {
                let (part, whole) = metric.counted(report)?;
                (whole > 0).then(|| part as f64 / whole as f64)
            }
            (metric, _) => metric.counted(report).map(|(part, _)| part as f64),
        }
    }
}

impl Comparison {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::More => value > bound,
            Self::Least => value >= bound,
            Self::Less => value < bound,
            Self::Most => value <= bound,
        }
    }
}

impl Bound {
    /// A value of this kind, as it would be written.
    fn show(self, value: f64) -> String {
        match self {
            Self::Micros(_) if value < 1e3 => format!("{value:.1}us"),
            Self::Micros(_) if value < 1e6 => format!("{:.3}ms", value / 1e3),
            Self::Micros(_) => format!("{:.3}s", value / 1e6),
            Self::PerSecond(_) => format!("{value:.1}"),
            Self::Share(_) => format!("{:.3}%", value * 100.0),
            Self::Count(_) => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Pace;
    use super::super::cached::Cached;
    use super::super::failure::Failure;
    use super::super::report::tests::{reply, report};
    use super::super::tally::Reply;
    use super::*;

    fn parse(text: &str) -> Result<Threshold, String> {
        text.parse().map_err(|error: BadThreshold| error.to_string())
    }

    #[test]
    fn a_rule_is_a_measure_a_comparison_and_a_value() {
        for (text, metric, comparison, bound) in [
            ("p99>5ms", Metric::Quantile(0.99), Comparison::More, Bound::Micros(5000.0)),
            (" p50 >= 250 us ", Metric::Quantile(0.5), Comparison::Least, Bound::Micros(250.0)),
            ("mean>1.5s", Metric::Mean, Comparison::More, Bound::Micros(1_500_000.0)),
            ("max>10µs", Metric::Max, Comparison::More, Bound::Micros(10.0)),
            ("errors>0.1%", Metric::Errors, Comparison::More, Bound::Share(0.001)),
            ("failures>=10", Metric::Failures, Comparison::Least, Bound::Count(10.0)),
            ("rps<1000", Metric::Rate, Comparison::Less, Bound::PerSecond(1000.0)),
            ("hits<=95%", Metric::Hits, Comparison::Most, Bound::Share(0.95)),
            ("4xx>0", Metric::Class(4), Comparison::More, Bound::Count(0.0)),
        ] {
            let rule = parse(text).unwrap();
            assert_eq!((rule.metric, rule.comparison, rule.bound), (metric, comparison, bound), "{text}");
        }
        let Metric::Quantile(share) = parse("p99.9>1s").unwrap().metric else { panic!("no percentile") };
        assert!((share - 0.999).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_rule_is_told_what_one_is() {
        for (text, said) in [
            ("p99", "write a measure"),
            ("p99=5ms", "write a measure"),
            ("", "write a measure"),
            ("latency>5ms", "there is no measure \"latency\": min, mean"),
            ("p101>5ms", "percentiles go"),
            ("p0>5ms", "percentiles go"),
            ("p99>5", "latencies have units"),
            ("p99>5m", "latencies have units"),
            ("p99>-5ms", "latencies have units"),
            ("p99>>5ms", "latencies have units"),
            ("p99>5%", "latencies have units"),
            ("rps<1000/s", "plain number"),
            ("rps<1e3", "plain number"),
            ("errors>5ms", "write a share"),
            ("errors>101%", "write a share"),
            ("errors>.5%", "write a share"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    fn verdicts(rules: &[&str], fill: impl FnOnce(&mut super::super::tally::Tally)) -> Vec<(String, bool)> {
        let mut report = report(Pace::Closed, fill);
        let rules: Vec<Threshold> = rules.iter().map(|rule| parse(rule).unwrap()).collect();
        report.judge(&rules);
        report.thresholds.into_iter().map(|verdict| (verdict.shown, verdict.failed)).collect()
    }

    #[test]
    fn rules_are_judged_by_what_was_measured() {
        let found = verdicts(
            &["min>2ms", "max>=9ms", "rps<10", "errors>20%", "errors>=3", "5xx>1", "failures>5%", "hits<50%"],
            |tally| {
                for _ in 0..9 {
                    let reply = Reply { cached: Some(Cached::Hit), ..reply(200) };
                    tally.reply(&reply, Duration::from_millis(1), true);
                }
                tally.reply(
                    &Reply { cached: Some(Cached::Miss), ..reply(500) },
                    Duration::from_millis(9),
                    true,
                );
                tally.failed((Failure::Closed, String::new()), Duration::ZERO, 2);
            },
        );
        let expected = [
            ("1.000ms", false),
            ("9.000ms", true),
            ("1.0", true),
            ("25.000%", true),
            ("3", true),
            ("1", false),
            ("16.667%", true),
            ("90.000%", false),
        ];
        for ((shown, failed), (wanted, fails)) in found.iter().zip(expected) {
            assert_eq!((&**shown, *failed), (wanted, fails));
        }
    }

    #[test]
    fn what_cannot_be_judged_has_failed() {
        let found = verdicts(&["p99>5ms", "min>5ms", "hits<1%", "errors>50%", "rps<0"], |_| {});
        let failed: Vec<bool> = found.iter().map(|(_, failed)| *failed).collect();
        assert_eq!(failed, [true, true, true, true, false]);
        assert_eq!(found[0].0, "nothing to measure");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_value_is_found_on_one_side_of_its_bound(bound in 0.0_f64..1e6, value in 0.0_f64..1e6) {
            prop_assert_ne!(Comparison::More.holds(value, bound), Comparison::Most.holds(value, bound));
            prop_assert_ne!(Comparison::Less.holds(value, bound), Comparison::Least.holds(value, bound));
        }
    }
}
