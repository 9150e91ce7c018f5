//! The right side of a comparison: statuses, durations, sizes, patterns.

use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::{Field, Kind, Operator, Order, Test};

/// The largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// What of a comparison makes no sense, and why.
pub(super) enum Wrong {
    /// The operator does not fit the field.
    Operator(String),
    /// The value does not fit the field.
    Value(String),
}

/// The test of a field's value that an operator and a value make.
pub(super) fn test(field: &Field, operator: Operator, value: &str) -> Result<Test, Wrong> {
    let order = match (field.kind, operator) {
        (Kind::Text | Kind::Word, Operator::Regex) => return regex(value, field.kind).map(Test::Matches),
        (Kind::Text | Kind::Word, Operator::Glob) => return glob(value, field.kind).map(Test::Matches),
        (Kind::Text | Kind::Word, Operator::Compare(order)) => return text(field, order, value),
        (_, Operator::Regex | Operator::Glob) => {
            return Err(Wrong::Operator(format!(
                "`{}` is no text: compare it by == != < <= > >=",
                field.name
            )));
        }
        (_, Operator::Compare(order)) => order,
    };
    let name = field.name;
    match field.kind {
        Kind::Status => status(order, value),
        Kind::Duration => duration(value).map(|wanted| Test::Duration(order, wanted)),
        Kind::Size => size(value).map(|wanted| Test::Number(order, wanted)),
        Kind::Flag => return flag(name, order, value),
        Kind::Number | Kind::Text | Kind::Word => {
            value.parse().ok().map(|wanted| Test::Number(order, wanted))
        }
    }
    .ok_or_else(|| Wrong::Value(format!("`{value}` is not {}", expected(field.kind))))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Status => "a status: write 404 or 5xx",
        Kind::Duration => "a duration: write 200ms, 1.5s, 10m, 2h or 1d",
        Kind::Size => "a size: write 512, 10KiB or 1MB",
        Kind::Flag => "`true` or `false`",
        Kind::Number | Kind::Text | Kind::Word => "a whole number",
    }
}

fn text(field: &Field, order: Order, value: &str) -> Result<Test, Wrong> {
    let ignore_case = field.kind == Kind::Word;
    match order {
        Order::Equal => Ok(Test::Equal { wanted: value.into(), ignore_case, negated: false }),
        Order::NotEqual => Ok(Test::Equal { wanted: value.into(), ignore_case, negated: true }),
        _ => Err(Wrong::Operator(format!("`{}` is text: compare it by ==, !=, =~ or ~", field.name))),
    }
}

fn flag(name: &str, order: Order, value: &str) -> Result<Test, Wrong> {
    let wanted = value.parse().map_err(|_| Wrong::Value(format!("`{value}` is not `true` or `false`")))?;
    match order {
        Order::Equal => Ok(Test::Flag(wanted)),
        Order::NotEqual => Ok(Test::Flag(!wanted)),
        _ => Err(Wrong::Operator(format!("`{name}` is true or false: compare it by == or !="))),
    }
}

fn status(order: Order, value: &str) -> Option<Test> {
    match value.strip_suffix("xx").or_else(|| value.strip_suffix("XX")) {
        Some(class) => class.parse().ok().filter(|class| *class < 10).map(|class| Test::Class(order, class)),
        None => value.parse().ok().map(|wanted| Test::Number(order, wanted)),
    }
}

fn regex(value: &str, kind: Kind) -> Result<Regex, Wrong> {
    let mut builder = RegexBuilder::new(value);
    builder.size_limit(MAX_REGEX).case_insensitive(kind == Kind::Word);
    builder.build().map_err(|error| {
        let text = error.to_string();
        // The regex crate draws its own picture; its last line says what is wrong.
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Wrong::Value(format!("not a regular expression: {reason}"))
    })
}

/// `*` is any text, `?` any one character.
fn glob(value: &str, kind: Kind) -> Result<Regex, Wrong> {
    let mut pattern = String::from("(?s)^");
    let mut utf8 = [0; 4];
    for c in value.chars() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut utf8))),
        }
    }
    pattern.push('$');
    regex(&pattern, kind)
}

/// A number and its unit.
fn split_unit(value: &str) -> Option<(f64, &str)> {
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    number.parse().ok().map(|number| (number, unit))
}

fn duration(value: &str) -> Option<Duration> {
    let (number, unit) = split_unit(value)?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

fn size(value: &str) -> Option<u64> {
    let (number, unit) = split_unit(value)?;
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    let bytes = number * scale as f64;
    // Beyond 2^64 the cast saturates; no such size exists.
    bytes.is_finite().then_some(bytes as u64)
}
