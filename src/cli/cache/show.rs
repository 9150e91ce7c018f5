//! `proxy-stone cache show`

use clap_complete::engine::ArgValueCandidates;

use crate::admin::api::{EntryDetail, ShowQuery, path};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::{self, Column, Format, Kind, OneArgs, OutputArgs};
use crate::cli::{Global, completions, instance};

/// Arguments of `cache show`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A key, or a URL as clients write it.
    #[arg(value_name = "KEY|URL", add = ArgValueCandidates::new(completions::keys_and_urls))]
    pub subject: String,

    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache show https://api.example.com/v1/users/7
  proxy-stone cache show 5d41402abc4b2a76b9719d911017c592 -o json

Exit codes:
  0 ok    2 usage    4 nothing is stored for it    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("url", Kind::Text),
    Column::new("key", Kind::Text),
    Column::new("variant", Kind::Text).wide(),
    Column::new("status", Kind::Number),
    Column::new("state", Kind::Text),
    Column::new("age", Kind::Seconds).at("/age_s"),
    Column::new("ttl", Kind::Seconds).at("/ttl_s"),
    Column::new("lifetime", Kind::Seconds).at("/lifetime_s"),
    Column::new("lifetime_from", Kind::Text),
    Column::new("stale_while_revalidate", Kind::Seconds).at("/stale_while_revalidate_s"),
    Column::new("stale_if_error", Kind::Seconds).at("/stale_if_error_s"),
    Column::new("must_revalidate", Kind::Text),
    Column::new("no_cache", Kind::Text),
    Column::new("stored", Kind::Time).at("/stored_ms"),
    Column::new("expires", Kind::Time).at("/expires_ms"),
    Column::new("keep_until", Kind::Time).at("/keep_until_ms"),
    Column::new("initial_age", Kind::Seconds).at("/initial_age_s").wide(),
    Column::new("size", Kind::Bytes),
    Column::new("part", Kind::Text),
    Column::new("body", Kind::Text),
    Column::new("body_hash", Kind::Text),
    Column::new("upstream", Kind::Text),
    Column::new("route", Kind::Text),
    Column::new("tags", Kind::List),
    Column::new("groups", Kind::List),
    Column::new("key_fields", Kind::List),
    Column::new("vary", Kind::List),
    Column::new("sequence", Kind::Number).wide(),
];

/// Asks for all variants and prints them.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let query = ShowQuery { subject: args.subject.clone() };
    let entries: Vec<EntryDetail> = instance::block_on(async { Ok(client.get(path::ENTRY, &query).await?) })?;
    if !matches!(args.output.output, Format::Table | Format::Wide) {
        let args =
            OutputArgs { output: args.output.output, columns: args.output.columns.clone(), sort_by: None };
        output::all(COLUMNS, &args, global, &entries)?;
        return Ok(Exit::Ok);
    }
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            output::lines(&[String::new()])?;
        }
        output::one(COLUMNS, &args.output, global, entry)?;
        if args.output.columns.is_empty() {
            output::lines(&fields(entry))?;
        }
    }
    Ok(Exit::Ok)
}

/// The stored fields as they would be sent.
fn fields(entry: &EntryDetail) -> Vec<String> {
    let line = |(name, value): &(String, String)| format!("  {name}: {}", output::human::safe(value));
    let mut lines = vec![String::new()];
    lines.extend(entry.headers.iter().map(line));
    if !entry.trailers.is_empty() {
        lines.push("trailers".to_owned());
        lines.extend(entry.trailers.iter().map(line));
    }
    lines
}
