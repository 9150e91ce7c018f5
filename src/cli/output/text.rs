//! Rows as JSON, CSV and tab-separated text; one thing as lines.

use std::io::{self, Write};

use serde_json::Value;

use super::column::plain;
use super::{Form, JSON_VERSION, Selection, human};

/// What stands before the first row.
pub fn header(out: &mut impl Write, form: &Form, selection: &Selection) -> io::Result<()> {
    let names = || selection.columns.iter().map(|column| column.name);
    match form {
        Form::Json => write!(out, "{{\"version\":{JSON_VERSION},\"items\":["),
        Form::Csv => write!(out, "{}\r\n", names().collect::<Vec<_>>().join(",")),
        Form::Tabs { header: true } => {
            writeln!(out, "{}", names().map(str::to_uppercase).collect::<Vec<_>>().join("\t"))
        }
        Form::Tabs { header: false } | Form::Ndjson | Form::Table(_) => Ok(()),
    }
}

/// One row.
pub fn row(
    out: &mut impl Write,
    form: &Form,
    selection: &Selection,
    row: &Value,
    first: bool,
) -> io::Result<()> {
    match form {
        Form::Json => {
            out.write_all(if first { b"\n" } else { b",\n" })?;
            serde_json::to_writer(out, &selection.json(row)).map_err(io::Error::from)
        }
        Form::Ndjson => {
            serde_json::to_writer(&mut *out, &selection.json(row)).map_err(io::Error::from)?;
            writeln!(out)
        }
        Form::Csv => write!(out, "{}\r\n", cells(selection, |column| csv(column.value(row))).join(",")),
        Form::Tabs { .. } | Form::Table(_) => {
            writeln!(out, "{}", cells(selection, |column| column.show(row)).join("\t"))
        }
    }
}

fn cells(selection: &Selection, cell: impl Fn(&super::Column) -> String) -> Vec<String> {
    selection.columns.iter().map(cell).collect()
}

/// A value as RFC 4180 wants it.
fn csv(value: Option<&Value>) -> String {
    let text = value.and_then(plain).map(|text| human::safe(&text)).unwrap_or_default();
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// One thing, a line per column; what is absent is left out.
pub fn one(out: &mut impl Write, selection: &Selection, thing: &Value, tabs: bool) -> io::Result<()> {
    let width = selection.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    for column in &selection.columns {
        if column.value(thing).is_none() && !selection.named {
            continue;
        }
        let shown = column.show(thing);
        match tabs {
            true => writeln!(out, "{}\t{shown}", column.name)?,
            false => writeln!(out, "{:width$}  {shown}", column.name)?,
        }
    }
    out.flush()
}
