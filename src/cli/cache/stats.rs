//! `proxy-stone cache stats`

use std::io::{self, IsTerminal};

use crate::admin::api::{CacheStats, RouteUsage, path};
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
    Column::new("refused", Kind::Number),
    Column::new("purged_in_flight", Kind::Number),
    Column::new("evicted", Kind::Number),
    Column::new("expired", Kind::Number),
    Column::new("purged", Kind::Number),
    Column::new("rules_active", Kind::Number),
    Column::new("corrupt", Kind::Number),
    Column::new("orphans", Kind::Number),
    Column::new("routes", Kind::List).wide(),
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

/// What a route takes, of what it may.
fn route(usage: &RouteUsage) -> String {
    let bytes = |bytes: u64| output::human::bytes(bytes as f64);
    let of = |limit: Option<u64>| limit.map(|limit| format!(" of {}", bytes(limit))).unwrap_or_default();
    let memory = usage.memory_bytes.map(|held| format!(", {}{} in RAM", bytes(held), of(usage.memory_limit)));
    format!(
        "route {}: {} entries, {}{} on disk{}",
        usage.route,
        usage.disk_entries,
        bytes(usage.disk_bytes),
        of(usage.disk_limit),
        memory.unwrap_or_default(),
    )
}

/// What each route takes, and what happened to the store's directory, in words.
fn notes(stats: &CacheStats) -> Vec<String> {
    let findings = stats.findings.iter().map(|finding| {
        format!("{}  {}: {}", output::human::time(finding.at_ms), finding.code, finding.message)
    });
    let quarantines = stats.quarantines.iter().map(|quarantine| {
        format!("set aside: {} ({} entries copied back)", quarantine.path, quarantine.salvaged)
    });
    let routes = stats.routes.iter().map(route);
    routes.chain(findings).chain(quarantines).map(|line| output::human::safe(&line)).collect()
}
