//! `proxy-stone upstream`

use clap::Subcommand;

use super::exit::{Exit, Outcome};
use super::output::{self, Column, Kind, OutputArgs};
use super::{Global, instance};
use crate::admin::api::{EndpointRow, path};

/// See upstreams and their endpoints.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about upstreams.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List every upstream's endpoints with their connections and failures.
    #[command(visible_alias = "list", after_long_help = EXAMPLES)]
    Ls(LsArgs),
}

/// Arguments of `upstream ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct LsArgs {
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone upstream ls
  proxy-stone upstream ls -o wide --sort-by -failures

Exit codes:
  0 ok    2 usage    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("upstream", Kind::Text),
    Column::new("endpoint", Kind::Text),
    Column::new("state", Kind::Text),
    Column::new("weight", Kind::Number).wide(),
    Column::new("backup", Kind::Text).wide(),
    Column::new("in_use", Kind::Number),
    Column::new("idle", Kind::Number),
    Column::new("http2", Kind::Number).wide(),
    Column::new("streams", Kind::Number).wide(),
    Column::new("pending", Kind::Number),
    Column::new("requests", Kind::Number),
    Column::new("failures", Kind::Number),
    Column::new("reused", Kind::Number).wide(),
    Column::new("connects", Kind::Number).wide(),
    Column::new("connect_failures", Kind::Number).wide(),
    Column::new("last_error", Kind::Text),
    Column::new("addresses", Kind::List).wide(),
];

/// Runs a command about upstreams.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let Command::Ls(args) = &args.command;
    let client = instance::client(global)?;
    let rows: Vec<EndpointRow> = instance::block_on(async { Ok(client.get(path::UPSTREAMS, &()).await?) })?;
    output::all(COLUMNS, &args.output, global, &rows)?;
    Ok(Exit::Ok)
}
