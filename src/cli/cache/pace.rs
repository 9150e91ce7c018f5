//! What `cache warm` and `cache refresh` share: how requests are made, and what is told of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anstream::eprintln;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::admin::Client;
use crate::admin::api::{Pace, WarmLine, Warmed};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{Column, Kind, OutputArgs, Printer, human};
use crate::cli::values;

/// How requests are made.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Request options")]
pub struct PaceArgs {
    /// A field that every request has; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub headers: Vec<(String, String)>,

    /// How many requests at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,

    /// At most so many requests a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,

    /// Print a row for each request instead of a summary.
    #[arg(long)]
    pub each: bool,
}

impl PaceArgs {
    /// As the instance is told.
    pub fn pace(&self) -> Pace {
        Pace { headers: self.headers.clone(), concurrency: Some(self.concurrency), rate: self.rate }
    }
}

const EACH: &[Column] = &[
    Column::new("result", Kind::Text),
    Column::new("status", Kind::Number),
    Column::new("cache", Kind::Text).wide(),
    Column::new("bytes", Kind::Bytes),
    Column::new("duration", Kind::Millis).at("/duration_ms"),
    Column::new("reason", Kind::Text),
    Column::new("url", Kind::Text),
];

const SUMMARY: &[Column] = &[
    Column::new("result", Kind::Text),
    Column::new("requests", Kind::Number),
    Column::new("bytes", Kind::Bytes),
    Column::new("reason", Kind::Text),
];

/// Reasons that the summary tells apart; more are counted together.
const MAX_REASONS: usize = 100;

/// A row of the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Row {
    result: String,
    requests: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was asked for.
    Whole,
    /// The instance went away.
    Cut,
    /// Ctrl-C.
    Interrupted,
}

/// What has come of the requests so far.
pub struct Report {
    rows: BTreeMap<(String, Option<String>), Row>,
    each: Option<Printer>,
    output: OutputArgs,
    bar: ProgressBar,
    began: Instant,
}

impl Report {
    /// Nothing yet; `total` is how many there will be, where that is known.
    pub fn new(
        args: &PaceArgs,
        output: &OutputArgs,
        global: &Global,
        total: Option<u64>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            rows: BTreeMap::new(),
            each: args.each.then(|| Printer::new(EACH, output, global)).transpose()?,
            output: output.clone(),
            bar: progress(total, global.quiet),
            began: Instant::now(),
        })
    }

    /// Has the instance work, and takes note of what it tells.
    pub async fn work(
        &mut self,
        client: &Client,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Ended, Failure> {
        let mut lines = client.work(path, body).await?;
        loop {
            // Leaving closes the connection, which ends the work there.
            let line = tokio::select! {
                line = lines.next::<WarmLine>() => line?,
                _ = tokio::signal::ctrl_c() => return Ok(Ended::Interrupted),
            };
            match line {
                Some(WarmLine::Done(warmed)) => self.take(&warmed)?,
                Some(WarmLine::End { .. }) => return Ok(Ended::Whole),
                None => return Ok(Ended::Cut),
            }
        }
    }

    /// Takes note of one.
    pub fn take(&mut self, warmed: &Warmed) -> Result<(), Failure> {
        let mut key = (warmed.result.clone(), warmed.reason.clone());
        if self.rows.len() >= MAX_REASONS && !self.rows.contains_key(&key) {
            key.1 = Some("other".to_owned());
        }
        let row = self.rows.entry(key).or_insert_with_key(|(result, reason)| Row {
            result: result.clone(),
            reason: reason.clone(),
            ..Row::default()
        });
        row.requests += 1;
        row.bytes += warmed.bytes;
        if let Some(printer) = &mut self.each {
            printer.push(warmed)?;
        }
        self.bar.inc(1);
        Ok(())
    }

    /// Nothing was told.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many have come to one of these.
    fn count(&self, results: &[&str]) -> u64 {
        self.rows.values().filter(|row| results.contains(&row.result.as_str())).map(|row| row.requests).sum()
    }

    /// Prints it, and says how the command ends.
    pub fn finish(mut self, ended: Ended, global: &Global) -> Outcome {
        self.bar.finish_and_clear();
        match self.each.take() {
            Some(printer) => drop(printer.finish()?),
            None => {
                let mut printer = Printer::new(SUMMARY, &self.output, global)?;
                for row in self.rows.values() {
                    printer.push(row)?;
                }
                printer.finish()?;
            }
        }
        let all: u64 = self.rows.values().map(|row| row.requests).sum();
        if !global.quiet {
            let took = human::duration(self.began.elapsed().as_micros() as f64);
            eprintln!("{all} {} in {took}", if all == 1 { "request" } else { "requests" });
        }
        let undone = self.count(&["failed", "skipped"]);
        match ended {
            Ended::Interrupted => Ok(Exit::Interrupted),
            Ended::Cut => Err(Failure::new(Exit::Partly, "the instance ended before all was done")
                .next("the same command again: what is fresh by now is not fetched again")),
            Ended::Whole if undone > 0 => {
                Err(Failure::new(Exit::Partly, format!("{undone} of {all} could not be done"))
                    .next("the same command with --each shows which"))
            }
            Ended::Whole => Ok(Exit::Ok),
        }
    }
}

/// Progress on standard error, on a terminal only.
fn progress(total: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{spinner} {pos}/{len} {wide_bar} {rate}/s {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} {rate}/s"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
