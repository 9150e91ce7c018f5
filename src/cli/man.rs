//! `proxy-stone man`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exit::{Exit, Outcome};
use super::{Cli, output};

/// Print the manual page, or write one page per command and one of the config file.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Write a page per command into this directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone man | man -l -
  proxy-stone man --out man

Exit codes:
  0 ok    2 usage    9 the files can't be written";

/// Prints or writes pages.
pub fn run(args: &Args) -> Outcome {
    let pages = pages()?;
    match &args.out {
        Some(directory) => output::files(directory, &pages)?,
        None => {
            let mut out = io::stdout().lock();
            if let Some((_, page)) = pages.first() {
                out.write_all(page)?;
            }
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

/// File name and text of every page; the first is that of the whole program.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    walk(&root, "proxy-stone", "proxy-stone", &mut pages)?;
    pages.push(("proxy-stone.toml.5".to_owned(), crate::config::reference::page().into_bytes()));
    Ok(pages)
}

fn walk(command: &Command, name: &str, invoked: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    pages.push((format!("{name}.1"), page(command, name, invoked)?));
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        let (name, invoked) =
            (format!("{name}-{}", child.get_name()), format!("{invoked} {}", child.get_name()));
        walk(child, &name, &invoked, pages)?;
    }
    Ok(())
}

/// One page. It carries the version, but no date: the same binary always writes the same page.
fn page(command: &Command, name: &str, invoked: &str) -> io::Result<Vec<u8>> {
    // The page's own name in its heading, the command as it is typed in its synopsis.
    let shown = command.clone().display_name(name.to_owned()).bin_name(invoked.to_owned());
    let man = Man::new(shown)
        .title(name.to_uppercase())
        .source(concat!("proxy-stone ", env!("CARGO_PKG_VERSION")))
        .manual("proxy-stone manual")
        .date("");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().next().is_some() {
        subcommands(command, name).to_writer(&mut page)?;
    }
    if let Some(help) = command.get_after_long_help() {
        after_help(&help.to_string()).to_writer(&mut page)?;
    }
    Ok(without_repeats(&page))
}

/// Every section brings the same preamble along; one is enough.
fn without_repeats(page: &[u8]) -> Vec<u8> {
    let preamble: &[&[u8]] = &[br".ie \n(.g .ds Aq \(aq", b".el .ds Aq '"];
    let repeated = |at: usize, line: &[u8]| at > 1 && preamble.contains(&line);
    let lines = page.split(|&byte| byte == b'\n').enumerate();
    let kept: Vec<&[u8]> = lines.filter(|(at, line)| !repeated(*at, line)).map(|(_, line)| line).collect();
    kept.join(&b'\n')
}

/// The subcommands, each with the name of its own page.
fn subcommands(command: &Command, name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        roff.control("TP", []);
        roff.text([bold(format!("{name}-{}", child.get_name())), roman("(1)")]);
        roff.text([roman(child.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

/// Headed blocks (`Examples:` and lines below it) as sections of preformatted text.
fn after_help(text: &str) -> Roff {
    let mut roff = Roff::new();
    for block in text.split("\n\n") {
        let (heading, lines) = match block.split_once('\n') {
            Some((heading, lines)) if heading.ends_with(':') => (Some(heading.trim_end_matches(':')), lines),
            _ => (None, block),
        };
        match heading {
            Some(heading) => roff.control("SH", [heading.to_uppercase().as_str()]),
            None => roff.control("PP", []),
        };
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_pages_do_not_change_by_themselves() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["proxy-stone.1", "proxy-stone-serve.1", "proxy-stone-cache-purge.1", "proxy-stone.toml.5"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        assert_eq!(pages, super::pages().unwrap());
    }
}
