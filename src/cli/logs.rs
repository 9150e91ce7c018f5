//! `proxy-stone logs`

use std::time::Duration;

use anstream::eprintln;

use super::exit::{Exit, Failure, Outcome};
use super::output::{Column, Format, Kind, OutputArgs, Printer};
use super::values::{self, When};
use super::{Global, instance};
use crate::admin::api::{LogLine, LogQuery, path};
use crate::admin::client::Lines;
use crate::clock::Clock;

/// Show the last finished exchanges, and with -f those to come.
///
/// The instance remembers the last ones in memory, as many as `telemetry.ring` says. --filter takes comparisons of
/// method, host, path, status, route, upstream, cache, client, duration and more, joined by `and`, `or` and `not`:
/// ==, != and < > <= >= compare, =~ is a regular expression, 5xx stands for a class of statuses.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Go on with exchanges as they finish.
    #[arg(short, long, conflicts_with_all = ["until", "sort_by"])]
    pub follow: bool,

    /// Only exchanges for which this holds.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,

    /// Not before: 5m, 2h, or a time as RFC 3339 writes it.
    #[arg(long, value_name = "WHEN", value_parser = values::when)]
    pub since: Option<When>,

    /// Not after.
    #[arg(long, value_name = "WHEN", value_parser = values::when)]
    pub until: Option<When>,

    /// At most so many of the remembered ones, the newest [default: 100 with -f, else all].
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone logs -n 20
  proxy-stone logs -f --filter 'status == 5xx or duration > 1s'
  proxy-stone logs --since 10m --filter 'route == users and cache == miss'
  proxy-stone logs -f -o ndjson | jq -r '.target'

Exit codes:
  0 ok    2 usage    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("time", Kind::TimeOfDay),
    Column::new("id", Kind::Text).wide(),
    Column::new("client", Kind::Text).wide(),
    Column::new("protocol", Kind::Text).wide(),
    Column::new("status", Kind::Number),
    Column::new("cache", Kind::Text),
    Column::new("duration", Kind::Millis).at("/duration_ms"),
    Column::new("first_byte", Kind::Millis).at("/first_byte_ms").wide(),
    Column::new("bytes", Kind::Bytes),
    Column::new("received", Kind::Bytes).wide(),
    Column::new("route", Kind::Text),
    Column::new("upstream", Kind::Text).wide(),
    Column::new("endpoint", Kind::Text).wide(),
    Column::new("attempts", Kind::Number).wide(),
    Column::new("upstream_first_byte", Kind::Millis).at("/upstream_first_byte_ms").wide(),
    Column::new("end", Kind::Text).wide(),
    Column::new("error", Kind::Text).wide(),
    Column::new("limit", Kind::Text).wide(),
    Column::new("method", Kind::Text),
    Column::new("host", Kind::Text).wide(),
    Column::new("target", Kind::Text),
];

/// The remembered exchanges that a follower begins with.
const FOLLOW_LIMIT: u64 = 100;

/// How long rows may wait for others, so that they are laid out together.
const BATCH: Duration = Duration::from_millis(50);

/// Prints exchanges until the stream ends.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let mut printer = Printer::new(COLUMNS, &args.output, global)?;
    if args.follow && args.output.output == Format::Json {
        return Err(Failure::new(Exit::Usage, "a JSON document has an end, and --follow has none")
            .next("proxy-stone logs -f -o ndjson"));
    }
    let client = instance::client(global)?;
    let now = Clock::System.now();
    let limit = args.limit.or_else(|| (args.follow && args.since.is_none()).then_some(FOLLOW_LIMIT));
    let query = LogQuery {
        since_ms: args.since.map(|since| since.resolve(now).millis()),
        until_ms: args.until.map(|until| until.resolve(now).millis()),
        filter: args.filter.clone(),
        limit,
        follow: args.follow,
    };
    instance::block_on(async {
        let mut lines = client.lines(path::LOGS, &query).await?;
        while let Some(line) = next(&mut lines, &mut printer, args.follow).await? {
            match line {
                LogLine::Exchange(record) => printer.push(&*record)?,
                LogLine::Missed { missed } if !global.quiet => {
                    eprintln!("{missed} exchanges were missed: this reader is too slow");
                }
                LogLine::Missed { .. } => {}
            }
        }
        printer.finish()?;
        if args.follow && !global.quiet {
            eprintln!("the instance has ended the stream");
        }
        Ok(Exit::Ok)
    })
}

/// The next line; before a long wait, what was kept to be laid out is printed.
async fn next(lines: &mut Lines, printer: &mut Printer, follow: bool) -> Result<Option<LogLine>, Failure> {
    if follow && !lines.is_ready() {
        match tokio::time::timeout(BATCH, lines.next()).await {
            Ok(line) => return Ok(line?),
            Err(_) => printer.flush()?,
        }
    }
    Ok(lines.next().await?)
}
