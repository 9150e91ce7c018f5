//! `proxy-stone cache warm`

use std::path::PathBuf;

use url::Url;

use super::pace::{Ended, PaceArgs, Report};
use super::sitemap::{self, Sitemap};
use super::urls;
use crate::admin::Client;
use crate::admin::api::{EntryPage, EntryQuery, FetchQuery, Warm, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::OutputArgs;
use crate::cli::{Global, instance};

/// Arguments of `cache warm`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the URLs come from.
    #[command(flatten)]
    pub source: Source,

    /// Take scheme, host and port of every URL from this one; paths alone need it.
    #[arg(long, value_name = "URL", value_parser = base)]
    pub base: Option<Url>,

    /// At most so many URLs, the first ones (of a log the most wanted ones).
    #[arg(long, value_name = "N", default_value_t = urls::MAX_URLS)]
    pub limit: usize,

    /// How requests are made.
    #[command(flatten)]
    pub pace: PaceArgs,

    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where the URLs come from; exactly one.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// These URLs.
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,

    /// A list, one URL (or a JSON object with a "url", as `cache ls -o ndjson` prints it) a line; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,

    /// A sitemap or an index of sitemaps: a file, or a URL that is fetched through the instance.
    #[arg(long, value_name = "URL|FILE")]
    pub sitemap: Option<String>,

    /// An access log, text or JSON: its GETs that went well, the most wanted ones first.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// What is stored now, stale or fresh.
    #[arg(long)]
    pub entries: bool,

    /// What another instance has stored, by its admin socket.
    #[arg(long, value_name = "SOCKET")]
    pub entries_of: Option<PathBuf>,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache warm https://api.example.com/v1/users
  proxy-stone cache warm --list urls.txt --concurrency 16 --rate 200
  proxy-stone cache warm --sitemap https://www.example.com/sitemap.xml
  proxy-stone cache warm --log access.log --base https://www.example.com --limit 1000
  proxy-stone cache ls -o ndjson | proxy-stone --instance other cache warm --list -

It may be interrupted and started again: what is fresh by then is a hit.

Exit codes:
  0 all requested    2 usage    5 no running instance
  8 some failed    130 interrupted";

/// URLs that the instance is given at a time.
const BATCH: usize = 500;

/// Sitemaps that an index may lead to, and how deep.
const MAX_SITEMAPS: usize = 1000;
const MAX_DEPTH: usize = 3;

/// Gathers the URLs, has the instance request them, and tells of it.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(&global.patient())?;
    instance::block_on(async {
        let mut urls = gather(args, global, &client).await?;
        urls.truncate(args.limit);
        let urls =
            urls.iter().map(|url| urls::absolute(url, args.base.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut report = Report::new(&args.pace, &args.output, global, Some(urls.len() as u64))?;
        let mut ended = Ended::Whole;
        for batch in urls.chunks(BATCH) {
            let warm = Warm { urls: batch.to_vec(), pace: args.pace.pace() };
            ended = report.work(&client, path::WARM, &warm).await?;
            if ended != Ended::Whole {
                break;
            }
        }
        report.finish(ended, global)
    })
}

async fn gather(args: &Args, global: &Global, client: &Client) -> Result<Vec<String>, Failure> {
    let source = &args.source;
    if let Some(file) = &source.list {
        return urls::list(file);
    }
    if let Some(file) = &source.log {
        return urls::of_log(file);
    }
    if let Some(sitemap) = &source.sitemap {
        return of_sitemap(sitemap, args, client).await;
    }
    if let Some(socket) = &source.entries_of {
        let other = Global { socket: Some(socket.clone()), ..global.clone() };
        return of_entries(&instance::client(&other)?, args.limit).await;
    }
    if source.entries {
        return of_entries(client, args.limit).await;
    }
    Ok(source.urls.clone())
}

/// What an instance has stored, each URL once where its variants stand beside each other.
async fn of_entries(client: &Client, limit: usize) -> Result<Vec<String>, Failure> {
    let mut urls: Vec<String> = Vec::new();
    let mut query = EntryQuery { limit: Some(1000), ..EntryQuery::default() };
    while urls.len() < limit {
        let page: EntryPage = client.get(path::ENTRIES, &query).await?;
        urls.extend(page.items.into_iter().map(|row| row.url));
        urls.dedup();
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok(urls)
}

/// The URLs of a sitemap, and of those that it leads to.
async fn of_sitemap(first: &str, args: &Args, client: &Client) -> Result<Vec<String>, Failure> {
    let mut urls = Vec::new();
    let mut waiting = vec![(first.to_owned(), 0)];
    let mut read = 0;
    while let Some((at, depth)) = waiting.pop() {
        read += 1;
        let text = match depth == 0 && !at.contains("://") {
            true => sitemap::file(at.as_ref())?,
            false => {
                let url = urls::absolute(&at, args.base.as_ref())?;
                client.text(path::FETCH, &FetchQuery { url }).await?
            }
        };
        let bad = |why: String| {
            Failure::new(Exit::Machine, format!("{at} is no sitemap that can be read")).why(why)
        };
        match sitemap::parse(&text).map_err(bad)? {
            Sitemap::Urls(found) => urls.extend(found),
            Sitemap::Index(_) if depth >= MAX_DEPTH => {
                return Err(bad(format!("it is an index within {MAX_DEPTH} others")));
            }
            Sitemap::Index(found) if read + waiting.len() + found.len() > MAX_SITEMAPS => {
                return Err(bad(format!("it leads to more than {MAX_SITEMAPS} sitemaps")));
            }
            Sitemap::Index(found) => waiting.extend(found.into_iter().rev().map(|url| (url, depth + 1))),
        }
        if urls.len() >= args.limit {
            break;
        }
    }
    Ok(urls)
}

fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match matches!(url.scheme(), "http" | "https") && url.has_host() {
        true => Ok(url),
        false => Err("write http://host or https://host".into()),
    }
}
