//! `proxy-stone cache simulate`

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use anstream::eprintln;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::app;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{self, Column, Format, Kind, OutputArgs};
use crate::config::{self, Overrides, Source};
use crate::pipeline::simulate::{Counts, Outcome as Replayed, Simulation, Supposed, Tally};
use crate::telemetry::logged;

/// Arguments of `cache simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The access log to replay, JSON lines or text; - for standard input.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub log: PathBuf,

    /// The config to try.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: PathBuf,

    /// One of its profiles.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache simulate --log access.json -c candidate.toml
  zcat access.json.*.gz | proxy-stone cache simulate --log - -c candidate.toml
  proxy-stone cache simulate --log access.json -c candidate.toml -o json | jq .items[0].total

Exit codes:
  0 ok    2 usage    3 the config has errors    4 the log holds no lines of ours
  9 the log can't be read";

const COLUMNS: &[Column] = &[
    Column::new("route", Kind::Text),
    Column::new("requests", Kind::Number),
    Column::new("hits_today", Kind::Percent).at("/today/hit_ratio"),
    Column::new("hits", Kind::Percent).at("/candidate/hit_ratio"),
    Column::new("byte_hits_today", Kind::Percent).at("/today/byte_hit_ratio"),
    Column::new("byte_hits", Kind::Percent).at("/candidate/byte_hit_ratio"),
    Column::new("origin_today", Kind::Number).at("/today/origin_requests"),
    Column::new("origin", Kind::Number).at("/candidate/origin_requests"),
    Column::new("origin_bytes_today", Kind::Bytes).at("/today/origin_bytes"),
    Column::new("origin_bytes", Kind::Bytes).at("/candidate/origin_bytes"),
    Column::new("bytes", Kind::Bytes).wide(),
];

/// The longest line of a log.
const MAX_LINE: u64 = 1 << 20;

/// Lines after which progress is shown anew.
const PROGRESS_EVERY: u64 = 1024;

/// All that a replay came to.
#[derive(Serialize)]
struct Report {
    lines: u64,
    unreadable: u64,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
    routes: Vec<Row>,
    total: Row,
    store: StoreRow,
    assumptions: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    route: String,
    requests: u64,
    bytes: u64,
    today: Side,
    candidate: Side,
}

#[derive(Serialize)]
struct Side {
    hits: u64,
    hit_ratio: f64,
    hit_bytes: u64,
    byte_hit_ratio: f64,
    origin_requests: u64,
    origin_bytes: u64,
}

#[derive(Serialize)]
struct StoreRow {
    memory_bytes: u64,
    disk_entries: u64,
    disk_bytes: u64,
    evicted: u64,
}

/// Replays the log and prints both sides.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let mut simulation = candidate(args)?;
    let (lines, unreadable) = replay(args, global, &mut simulation)?;
    let replayed = simulation.outcome();
    if replayed.total.requests == 0 {
        return Err(Failure::new(Exit::NotFound, "the log holds no requests that the config's routes take")
            .why(format!("{lines} lines were read, {unreadable} of them were none of ours"))
            .next(
                "[telemetry] access_log = { format = \"json\", path = \"access.json\" } writes such a log",
            ));
    }
    let report = report(&replayed, lines, unreadable);
    if matches!(args.output.output, Format::Json | Format::Ndjson) && args.output.columns.is_empty() {
        output::document(args.output.output, &report)?;
        return Ok(Exit::Ok);
    }
    let mut rows = report.routes;
    rows.push(report.total);
    output::all(COLUMNS, &args.output, global, &rows)?;
    if !global.quiet {
        for assumption in &report.assumptions {
            eprintln!("supposed: {assumption}");
        }
    }
    Ok(Exit::Ok)
}

/// The config to try, ready to be replayed through.
fn candidate(args: &Args) -> Result<Simulation, Failure> {
    let source = Source::File(args.config.clone());
    let loaded = config::load(&source, args.profile.as_deref(), &Overrides::default());
    let Some(compiled) = loaded.compiled else {
        let color = io::stderr().is_terminal();
        let rendered: Vec<_> = loaded.findings.iter().map(|finding| finding.render(color)).collect();
        return Err(Failure::new(Exit::Config, format!("{} has errors", args.config.display()))
            .details(rendered.join("\n\n")));
    };
    app::simulation(&compiled)
        .map_err(|error| Failure::new(Exit::Machine, "the replay can't start").why(error))
}

/// Takes line by line; how many there were, and how many of them could not be read.
fn replay(args: &Args, global: &Global, simulation: &mut Simulation) -> Result<(u64, u64), Failure> {
    let refused = |error: io::Error| {
        Failure::new(Exit::Machine, format!("{} can't be read", args.log.display())).why(error)
    };
    let (input, size): (Box<dyn Read>, Option<u64>) = if args.log.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&args.log).map_err(refused)?;
        let size = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), size)
    };
    let bar = progress(size, global.quiet);
    let mut input = BufReader::with_capacity(256 << 10, input);
    let (mut lines, mut unreadable, mut read) = (0_u64, 0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(refused)?;
        if length == 0 {
            break;
        }
        read += length as u64;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if !text.is_empty() {
            lines += 1;
            match logged::parse(text) {
                Some(record) => simulation.replay(&record),
                None => unreadable += 1,
            }
        }
        if lines.is_multiple_of(PROGRESS_EVERY) {
            bar.set_position(read);
        }
    }
    bar.finish_and_clear();
    Ok((lines, unreadable))
}

/// Progress on standard error, on a terminal only.
fn progress(size: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template("{spinner} replaying {bytes}/{total_bytes} {wide_bar} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn report(replayed: &Replayed, lines: u64, unreadable: u64) -> Report {
    let held = replayed.held;
    Report {
        lines,
        unreadable,
        from_ms: replayed.span.map(|(from, _)| from.millis()),
        until_ms: replayed.span.map(|(_, until)| until.millis()),
        routes: replayed.routes.iter().map(|(name, tally)| row(name, tally)).collect(),
        total: row("total", &replayed.total),
        store: StoreRow {
            memory_bytes: held.memory_bytes,
            disk_entries: held.disk_entries,
            disk_bytes: held.disk_bytes,
            evicted: held.evicted,
        },
        assumptions: assumptions(&replayed.supposed, unreadable),
    }
}

fn row(name: &str, tally: &Tally) -> Row {
    let side = |counts: &Counts| Side {
        hits: counts.hits,
        hit_ratio: ratio(counts.hits, tally.requests),
        hit_bytes: counts.hit_bytes,
        byte_hit_ratio: ratio(counts.hit_bytes, tally.bytes),
        origin_requests: counts.origin_requests,
        origin_bytes: counts.origin_bytes,
    };
    Row {
        route: name.to_owned(),
        requests: tally.requests,
        bytes: tally.bytes,
        today: side(&tally.today),
        candidate: side(&tally.then),
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What had to be supposed, in sentences.
fn assumptions(supposed: &Supposed, unreadable: u64) -> Vec<String> {
    let told = [
        (unreadable, "lines are none of ours and were left out"),
        (supposed.unreadable, "lines name no target that can be routed and were left out"),
        (supposed.without_cache, "exchanges never came to the cache and were left out"),
        (supposed.without_route, "requests are taken by no route of the config and were left out"),
        (
            supposed.sliced,
            "requests on routes with slices are for ranges, or for bodies of more than one slice: they are not simulated, and \
             were left out",
        ),
        (
            supposed.ranges,
            "ranges of what is not stored whole count as fetched: the log does not hold which bytes, and what parts would \
             have answered is not simulated",
        ),
        (supposed.validated, "validations were taken for answered 304: nothing had changed"),
        (supposed.by_lifetime, "replies are known by the lifetime only that a hit told of them"),
        (
            supposed.bare,
            "replies tell nothing that caching goes by: only the config's own lifetimes count for them",
        ),
        (
            supposed.hidden_key,
            "requests have fields in their key that the log does not hold: taken for equal",
        ),
        (supposed.vary, "replies vary on fields that the log does not hold: taken for one variant"),
    ];
    let mut sentences: Vec<String> = told
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    sentences.push("the store begins empty, and today's background refreshes are not in the log".to_owned());
    sentences
}
