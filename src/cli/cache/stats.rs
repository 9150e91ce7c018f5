//! `proxy-stone cache stats`

use std::io::{self, IsTerminal};

use crate::admin::api::{CacheStats, path};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::{self, Column, Format, Kind, OneArgs};
use crate::cli::{Global, instance};

/// Arguments of `cache stats`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache stats
  proxy-stone cache stats -o json --columns disk_bytes,disk_limit

Exit codes:
  0 ok    2 usage    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("state", Kind::Text),
    Column::new("detail", Kind::Text),
    Column::new("memory_keys", Kind::Number),
    Column::new("memory_bytes", Kind::Bytes),
    Column::new("memory_limit", Kind::Bytes),
    Column::new("disk_entries", Kind::Number),
    Column::new("max_entries", Kind::Number),
    Column::new("disk_bytes", Kind::Bytes),
    Column::new("disk_limit", Kind::Bytes),
    Column::new("memory_hits", Kind::Number),
    Column::new("disk_hits", Kind::Number),
    Column::new("misses", Kind::Number),
    Column::new("inserts", Kind::Number),
    Column::new("queue_depth", Kind::Number),
    Column::new("queue_dropped", Kind::Number),
    Column::new("purged_in_flight", Kind::Number),
    Column::new("evicted", Kind::Number),
    Column::new("expired", Kind::Number),
    Column::new("purged", Kind::Number),
    Column::new("rules_active", Kind::Number),
    Column::new("corrupt", Kind::Number),
    Column::new("orphans", Kind::Number),
];

/// Asks for the counters and prints them.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let stats: CacheStats = instance::block_on(async { Ok(client.get(path::CACHE_STATS, &()).await?) })?;
    output::one(COLUMNS, &args.output, global, &stats)?;
    let table = matches!(args.output.output, Format::Table | Format::Wide) && io::stdout().is_terminal();
    if table && args.output.columns.is_empty() {
        output::lines(&notes(&stats))?;
    }
    Ok(Exit::Ok)
}

/// What happened to the store's directory, in words.
fn notes(stats: &CacheStats) -> Vec<String> {
    let findings = stats.findings.iter().map(|finding| {
        format!("{}  {}: {}", output::human::time(finding.at_ms), finding.code, finding.message)
    });
    let quarantines = stats.quarantines.iter().map(|quarantine| {
        format!("set aside: {} ({} entries copied back)", quarantine.path, quarantine.salvaged)
    });
    findings.chain(quarantines).map(|line| output::human::safe(&line)).collect()
}
