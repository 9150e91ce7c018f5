//! `proxy-stone cache ls`

use super::select::SelectArgs;
use crate::admin::api::{EntryOrder, EntryPage, EntryQuery, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{Column, Kind, OutputArgs, Printer, column};
use crate::cli::{Global, instance};

/// Arguments of `cache ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which entries.
    #[command(flatten)]
    pub select: SelectArgs,

    /// Only entries for which this holds: url, host, path, status, state, age, ttl, size, type, upstream, route, tags.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,

    /// At most so many entries.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// How to print it; --sort-by takes url, age, ttl, size, stored and expires.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache ls
  proxy-stone cache ls --prefix /v1/users --filter 'state == stale and size > 10KiB'
  proxy-stone cache ls --sort-by -size --limit 20
  proxy-stone cache ls --tag users -o ndjson | jq -r .key

--sort-by takes url, age, ttl, size, stored and expires.

Exit codes:
  0 ok    2 usage    5 no running instance";

/// What a stored response looks like in a list.
pub const COLUMNS: &[Column] = &[
    Column::new("key", Kind::Text).wide(),
    Column::new("status", Kind::Number),
    Column::new("state", Kind::Text),
    Column::new("age", Kind::Seconds).at("/age_s"),
    Column::new("ttl", Kind::Seconds).at("/ttl_s"),
    Column::new("size", Kind::Bytes),
    Column::new("part", Kind::Text),
    Column::new("route", Kind::Text),
    Column::new("url", Kind::Text),
    Column::new("type", Kind::Text).at("/content_type").wide(),
    Column::new("coding", Kind::Text).wide(),
    Column::new("tags", Kind::List).wide(),
    Column::new("groups", Kind::List).wide(),
    Column::new("vary", Kind::List).wide(),
    Column::new("upstream", Kind::Text).wide(),
    Column::new("lifetime_from", Kind::Text).wide(),
    Column::new("body", Kind::Text).wide(),
    Column::new("stored", Kind::Time).at("/stored_ms").wide(),
    Column::new("expires", Kind::Time).at("/expires_ms").wide(),
    Column::new("keep_until", Kind::Time).at("/keep_until_ms").wide(),
    Column::new("variant", Kind::Text).wide(),
];

/// Entries asked for at a time.
const PAGE: u64 = 1000;

/// Pages through the entries and prints them as they come.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let (sort, descending) = order(args.output.sort_by.as_deref())?;
    // The instance sorts: here only a page is ever known.
    let mut printer = Printer::new(COLUMNS, &OutputArgs { sort_by: None, ..args.output.clone() }, global)?;
    let client = match sort {
        Some(_) => instance::client(&global.patient())?,
        None => instance::client(global)?,
    };
    instance::block_on(async {
        let mut left = args.limit.unwrap_or(u64::MAX);
        let mut query = EntryQuery {
            select: args.select.selector(),
            filter: args.filter.clone(),
            sort,
            descending,
            ..EntryQuery::default()
        };
        while left > 0 {
            query.limit = Some(left.min(PAGE));
            let page: EntryPage = client.get(path::ENTRIES, &query).await?;
            left = left.saturating_sub(page.items.len() as u64);
            for row in &page.items {
                printer.push(row)?;
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        printer.finish()?;
        Ok(Exit::Ok)
    })
}

/// The order in which the instance is to list them. Older is earlier: age and ttl run against the clock.
fn order(sort_by: Option<&str>) -> Result<(Option<EntryOrder>, bool), Failure> {
    let Some(text) = sort_by else {
        return Ok((None, false));
    };
    let (descending, name) = column::direction(text);
    Ok(match name {
        "url" => (Some(EntryOrder::Url), descending),
        "size" => (Some(EntryOrder::Size), descending),
        "stored" => (Some(EntryOrder::Stored), descending),
        "age" => (Some(EntryOrder::Stored), !descending),
        "expires" | "ttl" => (Some(EntryOrder::Expires), descending),
        other => {
            return Err(Failure::new(Exit::Usage, format!("entries can't be sorted by \"{other}\""))
                .why("they are sorted by url, age, ttl, size, stored or expires"));
        }
    })
}
