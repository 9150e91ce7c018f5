//! `proxy-stone cache purge`

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anstream::eprintln;

use super::ls;
use super::purge_batch as batch;
use super::select::SelectArgs;
use crate::admin::Client;
use crate::admin::api::{Purge, PurgeReply, Selector, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format, OutputArgs};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::{Global, completions, instance};

/// Arguments of `cache purge`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One URL, with all its variants: the same as --url.
    #[arg(
        value_name = "URL",
        conflicts_with = "SelectArgs",
        add = ArgValueCandidates::new(completions::urls)
    )]
    pub target: Option<String>,

    /// Which entries.
    #[command(flatten)]
    pub select: SelectArgs,

    /// Many purges at once: a line each, a URL or one of key:, url:, prefix:, glob:, host:, route:, tag:, group: and a
    /// value; - is standard input. Empty lines and those that begin with # count for nothing.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["target", "SelectArgs", "dry_run"])]
    pub file: Option<PathBuf>,

    /// Only show what it would take.
    #[arg(long)]
    pub dry_run: bool,

    /// Mark as stale instead: validated at the next use, and served if the origin fails.
    #[arg(long)]
    pub soft: bool,

    /// Don't ask.
    #[arg(short, long)]
    pub yes: bool,

    /// How to print the result; rows are the entries that --dry-run finds.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache purge https://api.example.com/v1/users/7
  proxy-stone cache purge --tag users --soft
  proxy-stone cache purge --prefix /v1/ --dry-run
  proxy-stone cache purge --group https://api.example.com/scripts
  proxy-stone cache purge --all -y
  generate-urls | proxy-stone cache purge -f -

Exit codes:
  0 purged    2 usage    5 no running instance
  8 purged, but a crash of the machine may undo it";

/// The entries that `--dry-run` shows.
const SHOWN: u64 = 20;

/// Purges, after having asked where somebody can answer.
pub fn run(args: &Args, global: &Global) -> Outcome {
    if let Some(file) = &args.file {
        return batch::run(args, file, global);
    }
    let Some(select) = args.target.clone().map(Selector::Url).or_else(|| args.select.selector()) else {
        return Err(Failure::new(Exit::Usage, "say what to purge")
            .why("one of --key, --url, --prefix, --glob, --host, --route, --tag, --group, --older-than, --all or --file is needed")
            .next("proxy-stone cache purge --help"));
    };
    let client = instance::client(&global.patient())?;
    instance::block_on(async {
        if args.dry_run {
            return dry_run(args, global, &client, select).await;
        }
        if !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal() {
            let reply = ask_instance(&client, args, &select, true).await?;
            if !confirmed(args, &select, &reply)? {
                return Err(Failure::new(Exit::Negative, "nothing was purged").why("the answer was not yes"));
            }
        }
        let reply = ask_instance(&client, args, &select, false).await?;
        report(args, global, &reply)
    })
}

async fn ask_instance(
    client: &Client,
    args: &Args,
    select: &Selector,
    dry_run: bool,
) -> Result<PurgeReply, Failure> {
    let sample = if args.dry_run { SHOWN } else { 0 };
    let purge = Purge { select: select.clone(), soft: args.soft, dry_run, sample, uncounted: false };
    Ok(client.post(path::PURGE, &purge).await?)
}

async fn dry_run(args: &Args, global: &Global, client: &Client, select: Selector) -> Outcome {
    let reply = ask_instance(client, args, &select, true).await?;
    output::all(ls::COLUMNS, &args.output, global, &reply.sample)?;
    if !global.quiet {
        eprintln!("would {} {}", verb(args), amount(&reply));
        let hidden = reply.entries.unwrap_or(0).saturating_sub(reply.sample.len() as u64);
        if hidden > 0 {
            eprintln!("{hidden} of them are not shown");
        }
        note(&reply);
    }
    Ok(Exit::Ok)
}

fn confirmed(args: &Args, select: &Selector, reply: &PurgeReply) -> Result<bool, Failure> {
    yes(&format!("{} {} ({select})?", capitalised(verb(args)), amount(reply)))
}

/// Asks on the terminal.
pub(super) fn yes(question: &str) -> Result<bool, Failure> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn report(args: &Args, global: &Global, reply: &PurgeReply) -> Outcome {
    if matches!(args.output.output, Format::Json | Format::Ndjson) {
        output::document(args.output.output, reply)?;
    } else if !global.quiet {
        let done = if args.soft { "marked as stale" } else { "purged" };
        output::lines(&[format!("{done}: {}", amount(reply))])?;
        note(reply);
    }
    match &reply.warning {
        None => Ok(Exit::Ok),
        Some(warning) => Err(Failure::new(Exit::Partly, "the purge may not outlast a crash").why(warning)),
    }
}

fn note(reply: &PurgeReply) {
    if let Some(note) = &reply.note {
        eprintln!("note: {note}");
    }
}

pub(super) const fn verb(args: &Args) -> &'static str {
    if args.soft { "mark as stale" } else { "purge" }
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn amount(reply: &PurgeReply) -> String {
    match (reply.entries, reply.bytes) {
        (Some(1), Some(bytes)) => format!("1 entry, {}", output::human::bytes(bytes as f64)),
        (Some(entries), Some(bytes)) => format!("{entries} entries, {}", output::human::bytes(bytes as f64)),
        _ => "everything chosen".to_owned(),
    }
}
