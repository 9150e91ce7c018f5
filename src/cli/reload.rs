//! `proxy-stone reload`

use anstream::eprint;

use super::exit::{Exit, Outcome};
use super::output::{self, Column, Format, Kind, OneArgs};
use super::{Global, instance};
use crate::admin::api::{ReloadReport, path};

/// Read the config again and take it over if it has no errors.
///
/// No connection is dropped and the warm state stays. A config with errors is refused with its findings, and the
/// old one goes on serving.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone config lint && proxy-stone reload

Exit codes:
  0 taken over    3 the config has errors    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("generation", Kind::Number),
    Column::new("changes", Kind::List),
    Column::new("findings", Kind::List).wide(),
];

/// Asks for a reload and prints what changed.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let report: ReloadReport = instance::block_on(async { Ok(client.post(path::RELOAD, &()).await?) })?;
    if !global.quiet && !report.rendered.is_empty() {
        eprint!("{}\n\n", report.rendered.trim_end());
    }
    if args.output.output != Format::Table || !args.output.columns.is_empty() {
        output::one(COLUMNS, &args.output, global, &report)?;
        return Ok(Exit::Ok);
    }
    let mut lines = vec![format!("reloaded: config {} is in use", report.generation)];
    if report.changes.is_empty() {
        lines.push("  nothing has changed".to_owned());
    }
    lines.extend(report.changes.iter().map(|change| format!("  {change}")));
    output::lines(&lines)?;
    Ok(Exit::Ok)
}
