//! Prints what a command found, in the form that was asked for.
//!
//! A command describes its rows once, as [`Column`]s over the JSON that the admin socket sends; every format comes
//! from that. Rows are written as they come, so that a million entries need no more memory than a screenful:
//! a table is laid out in blocks, JSON is one growing array. On a terminal a table is aligned and cut to its
//! width; in a pipe it is plain text with tabs between, and nothing is cut.

pub mod column;
pub mod human;
mod table;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

pub use column::{Column, Kind, Selection};

use super::Global;
use super::exit::{Exit, Failure};

/// The forms in which rows can be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table on a terminal, tab-separated text in a pipe.
    #[default]
    Table,
    /// The same with more columns, nothing cut.
    Wide,
    /// One JSON document: {"version":1,"items":[...]}.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180), raw numbers.
    Csv,
}

/// The options of a command that prints rows.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Output options")]
pub struct OutputArgs {
    /// How to print the result.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    /// Print these columns only, in this order.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// Sort by this column; with a leading '-' the largest first.
    #[arg(long, value_name = "[-]NAME", allow_hyphen_values = true)]
    pub sort_by: Option<String>,
}

/// The options of a command that prints one thing.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Output options")]
pub struct OneArgs {
    /// How to print the result.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    /// Print these columns only, in this order.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// The version of the JSON document that `-o json` prints.
pub const JSON_VERSION: u32 = 1;

/// Rows of a table are laid out in blocks of so many; later blocks keep the widths of the first.
const BLOCK: usize = 256;

/// The most rows that are kept to be sorted here; lists that can be longer are sorted by the instance.
const SORT_MAX: usize = 100_000;

/// Writes rows in one format.
pub struct Printer<W: Write = io::BufWriter<io::Stdout>> {
    out: W,
    form: Form,
    selection: Selection,
    sort: Option<Sort>,
    kept: Vec<Value>,
    written: usize,
}

struct Sort {
    column: Column,
    descending: bool,
}

enum Form {
    Table(table::Table),
    Tabs { header: bool },
    Json,
    Ndjson,
    Csv,
}

impl Printer {
    /// A printer on standard output. Fails when a column that was asked for isn't one.
    pub fn new(columns: &[Column], args: &OutputArgs, global: &Global) -> Result<Self, Failure> {
        let width = io::stdout().is_terminal().then(terminal_width);
        Self::on(io::BufWriter::new(io::stdout()), columns, args, Look { width, header: !global.quiet })
    }
}

/// What a table looks like.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The width of the terminal; `None`: it is a pipe.
    pub width: Option<u16>,
    /// Whether the columns are named.
    pub header: bool,
}

impl<W: Write> Printer<W> {
    /// A printer on any writer.
    pub fn on(out: W, columns: &[Column], args: &OutputArgs, look: Look) -> Result<Self, Failure> {
        let selection = Selection::choose(columns, &args.columns, args.output == Format::Wide)?;
        let sort = match &args.sort_by {
            None => None,
            Some(text) => {
                let (descending, name) = column::direction(text);
                Some(Sort { column: column::find(columns, name)?, descending })
            }
        };
        let form = match (args.output, look.width) {
            (Format::Table, Some(width)) => Form::Table(table::Table::new(Some(width), look.header)),
            (Format::Wide, Some(_)) => Form::Table(table::Table::new(None, look.header)),
            (Format::Table | Format::Wide, None) => Form::Tabs { header: look.header },
            (Format::Json, _) => Form::Json,
            (Format::Ndjson, _) => Form::Ndjson,
            (Format::Csv, _) => Form::Csv,
        };
        Ok(Self { out, form, selection, sort, kept: Vec::new(), written: 0 })
    }

    /// Writes (or keeps, to be sorted or laid out) one row.
    pub fn push(&mut self, row: &impl Serialize) -> Result<(), Failure> {
        let row = serde_json::to_value(row).map_err(io::Error::other)?;
        if self.sort.is_some() && self.kept.len() < SORT_MAX {
            self.kept.push(row);
            return Ok(());
        }
        if matches!(self.form, Form::Table(_)) {
            self.kept.push(row);
            if self.kept.len() >= BLOCK {
                self.flush()?;
            }
            return Ok(());
        }
        Ok(self.write(&row)?)
    }

    /// Writes what was kept; a follower calls it whenever nothing more is waiting.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let mut rows = std::mem::take(&mut self.kept);
        if let Some(sort) = &self.sort {
            rows.sort_by(|a, b| sort.compare(a, b));
        }
        match &mut self.form {
            Form::Table(table) => {
                table.write(&mut self.out, &self.selection, &rows)?;
                self.written += rows.len();
            }
            _ => {
                for row in &rows {
                    self.write(row)?;
                }
            }
        }
        Ok(self.out.flush()?)
    }

    /// Writes what is left and the end of the document.
    pub fn finish(mut self) -> Result<usize, Failure> {
        self.flush()?;
        if self.written == 0 {
            text::header(&mut self.out, &self.form, &self.selection)?;
        }
        if matches!(self.form, Form::Json) {
            self.out.write_all(if self.written == 0 { b"]}\n" } else { b"\n]}\n" })?;
        }
        self.out.flush()?;
        Ok(self.written)
    }

    fn write(&mut self, row: &Value) -> io::Result<()> {
        if self.written == 0 {
            text::header(&mut self.out, &self.form, &self.selection)?;
        }
        text::row(&mut self.out, &self.form, &self.selection, row, self.written == 0)?;
        self.written += 1;
        Ok(())
    }
}

impl Sort {
    fn compare(&self, a: &Value, b: &Value) -> std::cmp::Ordering {
        let order = column::compare(self.column.value(a), self.column.value(b));
        if self.descending { order.reverse() } else { order }
    }
}

/// Prints one thing: a line per column as a table, a list of one in the other formats.
pub fn one(
    columns: &[Column],
    args: &OneArgs,
    global: &Global,
    thing: &impl Serialize,
) -> Result<(), Failure> {
    if matches!(args.output, Format::Table | Format::Wide) {
        let thing = serde_json::to_value(thing).map_err(io::Error::other)?;
        let selection = Selection::choose(columns, &args.columns, args.output == Format::Wide)?;
        let tabs = !io::stdout().is_terminal();
        return Ok(text::one(&mut io::stdout().lock(), &selection, &thing, tabs)?);
    }
    let args = OutputArgs { output: args.output, columns: args.columns.clone(), sort_by: None };
    let mut printer = Printer::new(columns, &args, global)?;
    printer.push(thing)?;
    printer.finish()?;
    Ok(())
}

/// Prints a whole list.
pub fn all<T: Serialize>(
    columns: &[Column],
    args: &OutputArgs,
    global: &Global,
    rows: &[T],
) -> Result<(), Failure> {
    let mut printer = Printer::new(columns, args, global)?;
    for row in rows {
        printer.push(row)?;
    }
    printer.finish()?;
    Ok(())
}

/// Prints one thing as JSON, whatever its fields.
pub fn document(format: Format, thing: &impl Serialize) -> Result<(), Failure> {
    let args = OutputArgs { output: format, ..OutputArgs::default() };
    let mut printer =
        Printer::on(io::BufWriter::new(io::stdout()), &[], &args, Look { width: None, header: false })?;
    printer.push(thing)?;
    printer.finish()?;
    Ok(())
}

/// Prints sentences.
pub fn lines(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Prints sentences that may have colours, which a pipe does not get.
pub fn styled(lines: &[String]) -> Result<(), Failure> {
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Writes files into a directory, which is made where it isn't there, and prints their paths.
pub fn files(directory: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let refused = |path: &Path, error: io::Error| {
        Failure::new(Exit::Machine, format!("{} can't be written", path.display())).why(error)
    };
    std::fs::create_dir_all(directory).map_err(|error| refused(directory, error))?;
    let mut written = Vec::with_capacity(files.len());
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::write(&path, content).map_err(|error| refused(&path, error))?;
        written.push(path.display().to_string());
    }
    lines(&written)
}

/// The terminal's width in columns.
pub fn terminal_width() -> u16 {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.or_else(|| comfy_table::Table::new().width()).filter(|width| *width >= 20).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("name", Kind::Text),
        Column::new("size", Kind::Bytes),
        Column::new("hits", Kind::Number).at("/counts/hits"),
        Column::new("tags", Kind::List).wide(),
    ];

    fn rows() -> Vec<Value> {
        vec![
            json!({"name": "b,\"x\"", "size": 2048, "counts": {"hits": 3}, "tags": ["u", "v"]}),
            json!({"name": "a\u{1b}[31m", "size": 10, "counts": {"hits": 12}, "tags": []}),
            json!({"name": "c", "size": null}),
        ]
    }

    fn print(args: &OutputArgs, width: Option<u16>) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::on(&mut out, COLUMNS, args, Look { width, header: true }).unwrap();
        for row in rows() {
            printer.push(&row).unwrap();
        }
        printer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    fn args(output: Format) -> OutputArgs {
        OutputArgs { output, ..OutputArgs::default() }
    }

    #[test]
    fn a_pipe_gets_tabs_and_no_control_characters() {
        assert_eq!(
            print(&args(Format::Table), None),
            "NAME\tSIZE\tHITS\nb,\"x\"\t2.0 KiB\t3\na\\x1b[31m\t10 B\t12\nc\t-\t-\n"
        );
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let text = print(&args(Format::Table), Some(80));
        assert_eq!(
            text,
            "NAME          SIZE  HITS\nb,\"x\"      2.0 KiB     3\na\\x1b[31m     10 B    12\nc                -     -\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_cells_not_rows() {
        let args = args(Format::Table);
        let mut out = Vec::new();
        let look = Look { width: Some(30), header: true };
        let mut printer = Printer::on(&mut out, COLUMNS, &args, look).unwrap();
        printer.push(&json!({"name": "x".repeat(200), "size": 1})).unwrap();
        printer.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.contains('…'), "{text}");
    }

    #[test]
    fn wide_shows_every_column() {
        assert!(
            print(&args(Format::Wide), None)
                .starts_with("NAME\tSIZE\tHITS\tTAGS\nb,\"x\"\t2.0 KiB\t3\tu,v\n")
        );
    }

    #[test]
    fn json_is_one_versioned_document_of_whole_rows() {
        let json: Value = serde_json::from_str(&print(&args(Format::Json), None)).unwrap();
        assert_eq!(json, json!({"version": 1, "items": rows()}));
        let mut out = Vec::new();
        Printer::on(&mut out, COLUMNS, &args(Format::Json), Look { width: None, header: true })
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"version\":1,\"items\":[]}\n");
    }

    #[test]
    fn chosen_columns_shape_json_and_csv_too() {
        let args = |output| OutputArgs {
            output,
            columns: vec!["hits".into(), "name".into()],
            sort_by: Some("-hits".into()),
        };
        assert_eq!(
            print(&args(Format::Ndjson), None),
            "{\"hits\":12,\"name\":\"a\\u001b[31m\"}\n{\"hits\":3,\"name\":\"b,\\\"x\\\"\"}\n{\"hits\":null,\"name\":\"c\"}\n"
        );
        assert_eq!(
            print(&args(Format::Csv), None),
            "hits,name\r\n12,a\\x1b[31m\r\n3,\"b,\"\"x\"\"\"\r\n,c\r\n"
        );
    }

    #[test]
    fn an_unknown_column_names_the_nearest() {
        let args = OutputArgs { columns: vec!["siez".into()], ..OutputArgs::default() };
        let look = Look { width: None, header: true };
        let failure = Printer::on(Vec::new(), COLUMNS, &args, look).err().unwrap();
        assert_eq!(failure.exit, super::super::Exit::Usage);
        assert_eq!(failure.what, "there is no column \"siez\"");
        assert_eq!(failure.next.as_deref(), Some("did you mean \"size\"?"));
    }

    #[test]
    fn many_rows_keep_their_widths_and_one_header() {
        let args = args(Format::Table);
        let mut out = Vec::new();
        let look = Look { width: Some(60), header: true };
        let mut printer = Printer::on(&mut out, COLUMNS, &args, look).unwrap();
        for n in 0..BLOCK * 2 {
            printer.push(&json!({"name": format!("name-{n:04}"), "size": 1})).unwrap();
        }
        assert_eq!(printer.finish().unwrap(), BLOCK * 2);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("NAME").count(), 1);
        assert_eq!(text.lines().count(), BLOCK * 2 + 1);
        let widths: std::collections::HashSet<usize> = text.lines().map(str::len).collect();
        assert_eq!(widths.len(), 1, "{widths:?}");
    }
}
