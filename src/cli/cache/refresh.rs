//! `proxy-stone cache refresh`

use clap_complete::engine::ArgValueCandidates;

use super::pace::{PaceArgs, Report};
use super::select::SelectArgs;
use crate::admin::api::{Refresh, Selector, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::OutputArgs;
use crate::cli::{Global, completions, instance};

/// Arguments of `cache refresh`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One URL, with all its variants: the same as --url.
    #[arg(value_name = "URL", conflicts_with = "SelectArgs", add = ArgValueCandidates::new(completions::urls))]
    pub target: Option<String>,

    /// Which entries.
    #[command(flatten)]
    pub select: SelectArgs,

    /// How requests are made.
    #[command(flatten)]
    pub pace: PaceArgs,

    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache refresh https://api.example.com/v1/users/7
  proxy-stone cache refresh --tag users --rate 50
  proxy-stone cache refresh --prefix /v1/ -H 'accept-language: de' --each -o ndjson

Exit codes:
  0 all refreshed    2 usage    4 nothing is stored for it
  5 no running instance    8 some failed or were skipped    130 interrupted";

/// Has the instance refresh, and tells of it.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let Some(select) = args.target.clone().map(Selector::Url).or_else(|| args.select.selector()) else {
        return Err(Failure::new(Exit::Usage, "say what to refresh")
            .why("one of --key, --url, --prefix, --glob, --host, --route, --tag, --group, --older-than, --all is needed")
            .next("proxy-stone cache refresh --help"));
    };
    let client = instance::client(global)?;
    let mut report = Report::new(&args.pace, &args.output, global, None)?;
    let refresh = Refresh { select, pace: args.pace.pace() };
    instance::block_on(async {
        let ended = report.work(&client, path::REFRESH, &refresh).await?;
        if report.is_empty() && ended == super::pace::Ended::Whole {
            let what = format!("nothing is stored for {}", refresh.select);
            return Err(Failure::new(Exit::NotFound, what).next("proxy-stone cache ls"));
        }
        report.finish(ended, global)
    })
}
