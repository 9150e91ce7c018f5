//! `proxy-stone cache gc`

use std::time::Duration;

use super::inspection;
use crate::admin::api::{Gc, path};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::{self, Column, Kind, OneArgs};
use crate::cli::{Global, instance, values};

/// Arguments of `cache gc`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only say what it would remove.
    #[arg(long)]
    pub dry_run: bool,

    /// Delete damaged databases that were set aside longer ago, too; what could be read of them has been copied back.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub quarantines_older_than: Option<Duration>,

    /// How to print what was freed.
    #[command(flatten)]
    pub output: OneArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache gc
  proxy-stone cache gc --dry-run
  proxy-stone cache gc --quarantines-older-than 7d

Exit codes:
  0 ok    2 usage    5 no running instance
  9 the store is closed, or being looked through";

const COLUMNS: &[Column] = &[
    Column::new("dry_run", Kind::Text),
    Column::new("expired", Kind::Number),
    Column::new("stray_rows", Kind::Number),
    Column::new("stray_bodies", Kind::Number),
    Column::new("temporary_files", Kind::Number),
    Column::new("retired_rules", Kind::Number),
    Column::new("quarantines", Kind::Number),
    Column::new("bytes", Kind::Bytes),
];

/// Has the instance remove what is of no more use, and prints what that was.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    instance::block_on(async {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let asked =
            Gc { dry_run: args.dry_run, quarantines_older_ms: args.quarantines_older_than.map(millis) };
        let lines = client.work(path::CACHE_GC, &asked).await?;
        let (_, reclaimed) = inspection::follow(lines, "collecting", global.quiet, |_| Ok(())).await?;
        output::one(COLUMNS, &args.output, global, &reclaimed)?;
        Ok(Exit::Ok)
    })
}
