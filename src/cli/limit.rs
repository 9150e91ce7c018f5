//! `proxy-stone limit`

use clap::Subcommand;

use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Format, Kind, OutputArgs};
use super::{Global, instance};
use crate::admin::api::{LimitQuery, LimitReport, LimitReset, LimitsForgotten, path};

/// See rate limits and who is near them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about rate limits.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List who is limited now, and how near others are.
    ///
    /// Whoever has used nothing lately is not listed. What may be a secret (fields, cookies, query parameters) is shown
    /// as a hash, which changes with every start of the instance.
    #[command(visible_alias = "list", after_long_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// List the rate limits with what they have counted.
    #[command(after_long_help = STATS_EXAMPLES)]
    Stats(StatsArgs),
    /// Let a key begin anew, or all of them.
    #[command(after_long_help = RESET_EXAMPLES)]
    Reset(ResetArgs),
}

/// Arguments of `limit ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct LsArgs {
    /// Only the keys of this rate limit.
    #[arg(value_name = "LIMIT")]
    pub limit: Option<String>,

    /// Only those who are limited now.
    #[arg(long)]
    pub limited: bool,

    /// How many keys at most.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    pub most: u64,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `limit stats`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatsArgs {
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `limit reset`.
#[derive(Clone, Debug, clap::Args)]
pub struct ResetArgs {
    /// The key as `limit ls` shows it.
    #[arg(value_name = "KEY", required_unless_present = "all")]
    pub key: Option<String>,

    /// All keys.
    #[arg(long, conflicts_with = "key")]
    pub all: bool,

    /// Only with this rate limit.
    #[arg(long, value_name = "NAME")]
    pub limit: Option<String>,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  proxy-stone limit ls
  proxy-stone limit ls per-client --limited
  proxy-stone limit ls -o csv --columns key,retry

Exit codes:
  0 ok    2 usage    4 no such rate limit    5 no running instance";

const STATS_EXAMPLES: &str = "\
Examples:
  proxy-stone limit stats
  proxy-stone limit stats -o wide

Exit codes:
  0 ok    2 usage    5 no running instance";

const RESET_EXAMPLES: &str = "\
Examples:
  proxy-stone limit reset 192.0.2.7
  proxy-stone limit reset 2001:db8:1:2::/64 --limit per-client
  proxy-stone limit reset --all

Exit codes:
  0 ok    2 usage    4 no such rate limit or key    5 no running instance";

const KEYS: &[Column] = &[
    Column::new("limit", Kind::Text),
    Column::new("key", Kind::Text),
    Column::new("tier", Kind::Text),
    Column::new("state", Kind::Text),
    Column::new("remaining", Kind::Number),
    Column::new("quota", Kind::Number),
    Column::new("retry", Kind::Millis).at("/retry_ms"),
    Column::new("reset", Kind::Millis).at("/reset_ms").wide(),
    Column::new("refused", Kind::Number),
];

const LIMITS: &[Column] = &[
    Column::new("limit", Kind::Text),
    Column::new("rate", Kind::Text),
    Column::new("burst", Kind::Number),
    Column::new("key", Kind::List),
    Column::new("algorithm", Kind::Text).wide(),
    Column::new("counts", Kind::Text).wide(),
    Column::new("dry_run", Kind::Text),
    Column::new("routes", Kind::List).wide(),
    Column::new("allowed", Kind::Number),
    Column::new("limited", Kind::Number),
    Column::new("would_limit", Kind::Number),
    Column::new("exempt", Kind::Number),
    Column::new("keys", Kind::Number),
    Column::new("max_keys", Kind::Number).wide(),
    Column::new("max_memory", Kind::Bytes).at("/max_bytes").wide(),
    Column::new("evicted", Kind::Number),
    Column::new("shared", Kind::Number),
];

/// Runs a command about rate limits.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Ls(args) => list(args, global),
        Command::Stats(args) => stats(args, global),
        Command::Reset(args) => reset(args, global),
    }
}

fn list(args: &LsArgs, global: &Global) -> Outcome {
    let query = LimitQuery { limit: args.limit.clone(), limited: args.limited, most: Some(args.most) };
    let report = ask(&query, global)?;
    output::all(KEYS, &args.output, global, &report.keys)?;
    let hidden = report.total.saturating_sub(report.keys.len() as u64);
    if hidden > 0 && !global.quiet {
        eprintln!("{hidden} more keys are not shown: see -n");
    }
    Ok(Exit::Ok)
}

fn stats(args: &StatsArgs, global: &Global) -> Outcome {
    let report = ask(&LimitQuery { most: Some(0), ..LimitQuery::default() }, global)?;
    output::all(LIMITS, &args.output, global, &report.limits)?;
    Ok(Exit::Ok)
}

fn ask(query: &LimitQuery, global: &Global) -> Result<LimitReport, Failure> {
    let client = instance::client(global)?;
    instance::block_on(async { Ok(client.get(path::LIMITS, query).await?) })
}

fn reset(args: &ResetArgs, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let reset = LimitReset { limit: args.limit.clone(), key: args.key.clone() };
    let reply: LimitsForgotten =
        instance::block_on(async { Ok(client.post(path::LIMITS_RESET, &reset).await?) })?;
    if let (0, Some(key)) = (reply.forgotten, &args.key) {
        return Err(Failure::new(Exit::NotFound, format!("no rate limit knows the key `{key}`"))
            .why("it may have used nothing lately, and then it is forgotten anyway")
            .next("proxy-stone limit ls"));
    }
    if matches!(args.output.output, Format::Json | Format::Ndjson) {
        output::document(args.output.output, &reply)?;
    } else if !global.quiet {
        let keys = if reply.forgotten == 1 { "key" } else { "keys" };
        output::lines(&[format!("{} {keys} forgotten", reply.forgotten)])?;
    }
    Ok(Exit::Ok)
}
