//! Columns: what of a row is shown, and how.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::exit::{Exit, Failure};
use super::human;
use crate::config::suggest;

/// How a value is written for people. CSV and JSON get it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// A count.
    Number,
    /// A number of bytes: `1.2 MiB`.
    Bytes,
    /// Seconds: `3m20s`.
    Seconds,
    /// Milliseconds: `12.3ms`.
    Millis,
    /// Microseconds: `1.25ms`.
    Micros,
    /// A share between 0 and 1: `93.1%`.
    Percent,
    /// Events per second.
    Rate,
    /// Milliseconds since the Unix epoch, as RFC 3339.
    Time,
    /// RFC 3339 text, of which only the time of day is shown.
    TimeOfDay,
    /// Members with commas between.
    List,
}

impl Kind {
    /// Whether the column is aligned at its right edge.
    pub const fn right(self) -> bool {
        !matches!(self, Self::Text | Self::Time | Self::TimeOfDay | Self::List)
    }

    /// The value for people; `-` where there is none.
    pub fn show(self, value: Option<&Value>) -> String {
        let number = || value.and_then(Value::as_f64);
        let shown = match self {
            Self::Bytes => number().map(human::bytes),
            Self::Seconds => number().map(|seconds| human::duration(seconds * 1e6)),
            Self::Millis => number().map(|millis| human::duration(millis * 1e3)),
            Self::Micros => number().map(human::duration),
            Self::Percent => number().map(|share| format!("{:.1}%", share * 100.0)),
            Self::Rate => number().map(human::rate),
            Self::Time => value.and_then(Value::as_u64).map(human::time),
            Self::TimeOfDay => value.and_then(Value::as_str).map(human::time_of_day),
            Self::Text | Self::Number | Self::List => value.and_then(plain),
        };
        shown.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), |text| human::safe(&text))
    }
}

/// A value as text without ornament; `None` for null.
pub fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(plain).collect::<Vec<_>>().join(",")),
        Value::Object(map) => Some(
            map.iter()
                .map(|(k, v)| format!("{k}={}", plain(v).unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(","),
        ),
        Value::Bool(flag) => Some(if *flag { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What `--columns` calls it.
    pub name: &'static str,
    /// How its values are written.
    pub kind: Kind,
    /// Where in the row it is, as a JSON pointer; empty: the field of its name.
    pointer: &'static str,
    /// Shown with `-o wide` (or by name) only.
    wide: bool,
}

impl Column {
    /// A column that shows the row's field of the same name.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, pointer: "", wide: false }
    }

    /// Takes the value from elsewhere (a JSON pointer, RFC 6901).
    pub const fn at(mut self, pointer: &'static str) -> Self {
        self.pointer = pointer;
        self
    }

    /// Shows it with `-o wide` only.
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    /// The column's value in a row; `None` where it is absent or null.
    pub fn value<'r>(&self, row: &'r Value) -> Option<&'r Value> {
        let value = if self.pointer.is_empty() { row.get(self.name) } else { row.pointer(self.pointer) };
        value.filter(|value| !value.is_null())
    }

    /// The column's value for people.
    pub fn show(&self, row: &Value) -> String {
        self.kind.show(self.value(row))
    }
}

/// The columns that are printed.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In the order in which they are printed.
    pub columns: Vec<Column>,
    /// Whether they were asked for by name: then JSON rows hold only these.
    pub named: bool,
}

impl Selection {
    /// Those asked for by name, else those for the format.
    pub fn choose(all: &[Column], names: &[String], wide: bool) -> Result<Self, Failure> {
        if names.is_empty() {
            let columns = all.iter().filter(|column| wide || !column.wide).copied().collect();
            return Ok(Self { columns, named: false });
        }
        let columns = names.iter().map(|name| find(all, name.trim())).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self { columns, named: true })
    }

    /// The row as JSON: whole, or what was asked for.
    pub fn json(&self, row: &Value) -> Value {
        if !self.named {
            return row.clone();
        }
        self.columns
            .iter()
            .map(|column| (column.name.to_owned(), column.value(row).cloned().unwrap_or(Value::Null)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// The column of a name, or a failure that names the nearest.
pub fn find(all: &[Column], name: &str) -> Result<Column, Failure> {
    if let Some(column) = all.iter().find(|column| column.name.eq_ignore_ascii_case(name)) {
        return Ok(*column);
    }
    let names: Vec<&str> = all.iter().map(|column| column.name).collect();
    let failure = Failure::new(Exit::Usage, format!("there is no column \"{}\"", human::safe(name)))
        .why(format!("the columns are {}", names.join(", ")));
    Err(match suggest::nearest(name, names.iter().copied()) {
        Some(near) => failure.next(format!("did you mean \"{near}\"?")),
        None => failure,
    })
}

/// Splits `-name` into "descending" and the name.
pub fn direction(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, text),
    }
}

/// Orders values: numbers by size, text by letters, what is absent first.
pub fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
        }
        (Some(a), Some(b)) => plain(a).cmp(&plain(b)),
    }
}
