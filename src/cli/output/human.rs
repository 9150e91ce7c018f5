//! Numbers, times and foreign text as people can read them.

use std::fmt::Write;

/// A number of bytes: `512 B`, `1.2 MiB`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Microseconds, with three digits where they matter: `850µs`, `1.25ms`, `12.3s`, `3m20s`, `2d4h`.
pub fn duration(micros: f64) -> String {
    if micros < 0.0 {
        return format!("-{}", duration(-micros));
    }
    if micros == 0.0 {
        return "0s".to_owned();
    }
    match micros {
        us if us < 999.5 => format!("{us:.0}µs"),
        us if us < 999_500.0 => digits(us / 1e3, "ms"),
        us if us < 60e6 => digits(us / 1e6, "s"),
        us => long(us / 1e6),
    }
}

fn digits(value: f64, unit: &str) -> String {
    let text = match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// The two largest units of a minute and more.
fn long(seconds: f64) -> String {
    // Saturates for what no clock can count.
    let seconds = seconds.round() as u64;
    let (days, hours, minutes, rest) =
        (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |a: u64, unit_a: &str, b: u64, unit_b: &str| {
        if b == 0 { format!("{a}{unit_a}") } else { format!("{a}{unit_a}{b}{unit_b}") }
    };
    match (days, hours) {
        (0, 0) => two(minutes, "m", rest, "s"),
        (0, _) => two(hours, "h", minutes, "m"),
        _ => two(days, "d", hours, "h"),
    }
}

/// Events per second.
pub fn rate(rate: f64) -> String {
    match rate {
        r if r >= 100.0 => format!("{r:.0}/s"),
        r if r > 0.0 => format!("{r:.1}/s"),
        _ => "0/s".to_owned(),
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC, to the second.
pub fn time(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"))
}

/// The local time of day of an RFC 3339 time, to the millisecond; the text itself where it is none.
pub fn time_of_day(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Text that others wrote, safe to show on a terminal: control characters and marks that turn the direction of
/// writing are spelled out.
pub fn safe(text: &str) -> String {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if harmless(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a String does not fail.
            c if u32::from(c) < 0x100 => drop(write!(shown, "\\x{:02x}", u32::from(c))),
            c => drop(write!(shown, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_few_digits() {
        for (value, text) in [(0.0, "0 B"), (1023.0, "1023 B"), (1024.0, "1.0 KiB"), (1.5e9, "1.4 GiB")] {
            assert_eq!(bytes(value), text);
        }
        for (micros, text) in [
            (0.0, "0s"),
            (7.0, "7µs"),
            (1_250.0, "1.25ms"),
            (12_340.0, "12.3ms"),
            (250_000.0, "250ms"),
            (1e6, "1s"),
            (61e6, "1m1s"),
            (7200e6, "2h"),
            (90_000e6, "1d1h"),
            (-5e6, "-5s"),
        ] {
            assert_eq!(duration(micros), text);
        }
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(safe("plain ünïcode"), "plain ünïcode");
        assert_eq!(safe("a\u{1b}]0;x\u{7}\nb\u{202e}c"), "a\\x1b]0;x\\x07\\nb\\u{202e}c");
    }
}
