//! What was measured, for people.

use anstyle::{AnsiColor, Style};

use crate::bench::{Bucket, Latency, Report};
use crate::cli::output::human;

/// The longest bar of the distribution.
const BAR: f64 = 40.0;

/// The summary's lines.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines = head(report);
    lines.push(String::new());
    lines.extend(counts(report));
    if let Some(latency) = &report.latency {
        lines.push(String::new());
        lines.extend(table(latency));
        lines.push(String::new());
        lines.extend(distribution(&report.distribution, latency.count));
    }
    lines.extend(remarks(report));
    lines
}

fn seconds(seconds: f64) -> String {
    human::duration(seconds * 1e6)
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn head(report: &Report) -> Vec<String> {
    let urls = if report.urls > 1 { format!(" and {} more in turn", report.urls - 1) } else { String::new() };
    let tls = if report.tls { " over TLS" } else { "" };
    let streams =
        if report.streams > 1 { format!(" of {}", several(report.streams, "stream")) } else { String::new() };
    let pace = match report.wanted_rate {
        Some(rate) => format!("{} due at fixed times", human::rate(rate)),
        None => "each asks again when answered".to_owned(),
    };
    let warmup = match report.warmup_seconds {
        0.0 => String::new(),
        warmup => format!(" after {} of warming up", seconds(warmup)),
    };
    vec![
        format!("{} {}{urls}", human::safe(&report.method), human::safe(&report.url)),
        format!(
            "{}{tls}, {}{streams}, {}; {pace}; {} measured{warmup}",
            report.protocol,
            several(report.connections, "connection"),
            several(report.threads, "thread"),
            seconds(report.seconds)
        ),
    ]
}

fn counts(report: &Report) -> Vec<String> {
    let mut lines = vec![
        format!(
            "  replies     {} of {} requests, {}",
            report.replies,
            report.requests,
            human::rate(report.rate)
        ),
        format!("  content     {}, {}/s", human::bytes(report.bytes as f64), human::bytes(report.bytes_rate)),
    ];
    if !report.statuses.is_empty() {
        let statuses: Vec<String> =
            report.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        lines.push(format!("  statuses    {}", statuses.join(", ")));
    }
    if let Some(cache) = &report.cache {
        let counts = cache.counts;
        let told = [
            ("hit", counts.hit),
            ("collapsed", counts.collapsed),
            ("miss", counts.miss),
            ("pass", counts.pass),
            ("no word", cache.silent),
        ];
        let told: Vec<String> = told
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{word}: {count}"))
            .collect();
        lines.push(format!("  cache       {:.1}% hits ({})", cache.hit_ratio * 100.0, told.join(", ")));
    }
    match report.errors {
        0 => lines.push("  errors      none".to_owned()),
        errors => lines.push(format!("  errors      {errors} ({:.2}%)", report.error_ratio * 100.0)),
    }
    for row in &report.failures {
        let example = human::safe(&row.example);
        lines.push(format!("              {} {}: {} ({example})", row.count, row.kind, row.meaning));
    }
    lines
}

fn table(latency: &Latency) -> Vec<String> {
    let columns = [
        ("min", latency.min_us),
        ("mean", latency.mean_us),
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p999_us),
        ("max", latency.max_us),
    ];
    let names: String = columns.iter().map(|(name, _)| format!("{name:>9}")).collect();
    let values: String =
        columns.iter().map(|(_, micros)| format!("{:>9}", human::duration(*micros))).collect();
    vec![format!("  latency  {names}"), format!("           {values}")]
}

fn distribution(buckets: &[Bucket], all: u64) -> Vec<String> {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1) as f64;
    let line = |bucket: &Bucket| {
        let bar = "#".repeat((bucket.count as f64 / most * BAR).ceil() as usize);
        let share = bucket.count as f64 / all.max(1) as f64 * 100.0;
        let bound = human::duration(bucket.up_to_us);
        format!("  up to {bound:>6} {:>10} {share:>6.2}% {bar}", bucket.count).trim_end().to_owned()
    };
    buckets.iter().map(line).collect()
}

/// Notes and verdicts.
fn remarks(report: &Report) -> Vec<String> {
    let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let mut lines = Vec::new();
    if !report.findings.is_empty() {
        lines.push(String::new());
    }
    for finding in &report.findings {
        lines.push(format!("  {yellow}note{yellow:#}    {}: {}", finding.code, finding.message));
    }
    if !report.thresholds.is_empty() {
        lines.push(String::new());
    }
    for verdict in &report.thresholds {
        let word = match verdict.failed {
            true => format!("{red}failed{red:#}"),
            false => format!("{green}ok{green:#}    "),
        };
        lines.push(format!("  {word}  {}: {}", verdict.rule, verdict.shown));
    }
    lines
}
