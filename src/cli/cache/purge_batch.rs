//! `proxy-stone cache purge --file`: many purges, a line each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;

use super::purge::{Args, capitalised, verb, yes};
use crate::admin::api::{PurgeBatch, PurgeBatchReply, Selector, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::{Global, instance};

/// Purges of one request: one write of the journal is for all of them.
const AT_ONCE: usize = 5_000;

/// The most bytes that they may have together, well below what the instance takes.
const BYTES_AT_ONCE: usize = 512 << 10;

/// Reads all lines before the first purge, so that a file with a mistake does nothing.
pub(super) fn run(args: &Args, file: &Path, global: &Global) -> Outcome {
    let stdin = file == Path::new("-");
    let selectors = if stdin { read(io::stdin().lock(), file)? } else { read(open(file)?, file)? };
    if selectors.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is nothing to purge").why("the list is empty"));
    }
    if !args.yes && !stdin && io::stdin().is_terminal() && io::stderr().is_terminal() {
        let question = format!("{} {}?", capitalised(verb(args)), count(selectors.len() as u64));
        if !yes(&question)? {
            return Err(Failure::new(Exit::Negative, "nothing was purged").why("the answer was not yes"));
        }
    }
    let client = instance::client(&global.patient())?;
    let mut total = PurgeBatchReply { soft: args.soft, durable: true, ..PurgeBatchReply::default() };
    instance::block_on(async {
        for select in batches(selectors) {
            let batch = PurgeBatch { select, soft: args.soft };
            let reply: PurgeBatchReply = client.post(path::PURGE_BATCH, &batch).await?;
            total.purges += reply.purges;
            total.sequence = reply.sequence;
            total.durable &= reply.durable;
            total.warning = total.warning.take().or(reply.warning);
        }
        Ok(())
    })?;
    if matches!(args.output.output, Format::Json | Format::Ndjson) {
        output::document(args.output.output, &total)?;
    } else if !global.quiet {
        let done = if args.soft { "marked as stale" } else { "purged" };
        output::lines(&[format!("{done}: {}", count(total.purges))])?;
    }
    match &total.warning {
        None => Ok(Exit::Ok),
        Some(warning) => Err(Failure::new(Exit::Partly, "the purges may not outlast a crash").why(warning)),
    }
}

fn count(selections: u64) -> String {
    if selections == 1 { "1 selection".to_owned() } else { format!("{selections} selections") }
}

fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    File::open(file).map(BufReader::new).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    let name = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
    Failure::new(Exit::Usage, format!("{name} cannot be read")).why(error.to_string())
}

fn read(lines: impl BufRead, file: &Path) -> Result<Vec<Selector>, Failure> {
    let mut selectors = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| unreadable(file, &error))?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        selectors.push(selector(line).map_err(|why| {
            Failure::new(Exit::Usage, format!("line {}: \"{line}\" is no selection", number + 1)).why(why)
        })?);
    }
    Ok(selectors)
}

/// A URL is itself; `all` is not for lists, in which a stray word must not purge everything.
fn selector(line: &str) -> Result<Selector, String> {
    if line.starts_with("http://") || line.starts_with("https://") {
        return Ok(Selector::Url(line.to_owned()));
    }
    if !line.contains(':') {
        return Err("write a URL such as http://host/path, or kind:value such as tag:users".to_owned());
    }
    match line.parse()? {
        Selector::All => Err("all is not taken from a list: proxy-stone cache purge --all".to_owned()),
        selector => Ok(selector),
    }
}

/// Parts of a list that fit into a request.
fn batches(selectors: Vec<Selector>) -> Vec<Vec<Selector>> {
    let mut batches: Vec<Vec<Selector>> = Vec::new();
    let mut bytes = BYTES_AT_ONCE;
    for selector in selectors {
        let len = selector.to_string().len() + 8;
        match batches.last_mut().filter(|batch| batch.len() < AT_ONCE && bytes + len <= BYTES_AT_ONCE) {
            Some(batch) => {
                bytes += len;
                batch.push(selector);
            }
            None => {
                bytes = len;
                batches.push(vec![selector]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_url_or_a_selection() {
        let text = "# what changed\n\nhttp://a/x?y\n  tag:users \nprefix:/v1/\n";
        let read = read(text.as_bytes(), Path::new("-")).unwrap();
        let expected = [
            Selector::Url("http://a/x?y".into()),
            Selector::Tag("users".into()),
            Selector::Prefix("/v1/".into()),
        ];
        assert_eq!(read, expected);
        for wrong in ["a.example/x", "all", "colour:red", "ftp://a/"] {
            assert!(super::read(wrong.as_bytes(), Path::new("-")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn batches_are_bounded_by_number_and_bytes() {
        let count = |selectors: Vec<Selector>| batches(selectors).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(count(vec![Selector::Tag("x".into()); AT_ONCE + 1]), [AT_ONCE, 1]);
        assert_eq!(count(vec![Selector::Url("x".repeat(BYTES_AT_ONCE / 2)); 3]), [1, 1, 1]);
        assert_eq!(count(Vec::new()), [0; 0]);
    }
}
