//! `proxy-stone completions`, and the live values that shells complete.
//!
//! In bash, zsh and fish the script asks this binary while completing (`COMPLETE=bash proxy-stone`), so that it
//! knows the keys and routes of the running instance. PowerShell and elvish get static scripts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::env::{EnvCompleter, Fish, Zsh};

use super::exit::{Exit, Failure, Outcome};
use super::{Cli, output};
use crate::admin::api::{EntryPage, EntryQuery, Route, path};
use crate::admin::{Client, paths};

/// Print the completion script of a shell, or write those of all shells.
///
/// The scripts for bash, zsh and fish complete the routes and stored URLs of the running instance as well.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    #[arg(value_name = "SHELL", required_unless_present = "out", conflicts_with = "out")]
    pub shell: Option<Shell>,

    /// Write the scripts of all shells into this directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

/// The shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// elvish
    Elvish,
}

const EXAMPLES: &str = "\
Examples:
  source <(proxy-stone completions bash)
  proxy-stone completions zsh > ~/.zfunc/_proxy-stone
  proxy-stone completions fish > ~/.config/fish/completions/proxy-stone.fish
  proxy-stone completions --out completions

Exit codes:
  0 ok    2 usage    9 the files can't be written";

/// The variable that turns this binary into a completer.
const VARIABLE: &str = "COMPLETE";

/// The binary's name.
const NAME: &str = "proxy-stone";

/// For bash; that of `clap_complete` knows nothing of URLs, which bash takes apart.
const BASH: &[u8] = include_bytes!("completions.bash");

impl Shell {
    const ALL: [Self; 5] = [Self::Bash, Self::Zsh, Self::Fish, Self::Powershell, Self::Elvish];

    /// The name that the shell looks for.
    const fn file(self) -> &'static str {
        match self {
            Self::Bash => "proxy-stone.bash",
            Self::Zsh => "_proxy-stone",
            Self::Fish => "proxy-stone.fish",
            Self::Powershell => "_proxy-stone.ps1",
            Self::Elvish => "proxy-stone.elv",
        }
    }

    /// The script.
    fn script(self) -> io::Result<Vec<u8>> {
        let mut script = Vec::new();
        match self {
            Self::Bash => script.extend_from_slice(BASH),
            Self::Zsh => dynamic(&Zsh, &mut script)?,
            Self::Fish => dynamic(&Fish, &mut script)?,
            Self::Powershell => fixed(clap_complete::Shell::PowerShell, &mut script),
            Self::Elvish => fixed(clap_complete::Shell::Elvish, &mut script),
        }
        Ok(script)
    }
}

fn dynamic(shell: &dyn EnvCompleter, script: &mut Vec<u8>) -> io::Result<()> {
    shell.write_registration(VARIABLE, NAME, NAME, NAME, script)
}

fn fixed(shell: clap_complete::Shell, script: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut Cli::command(), NAME, script);
}

/// Prints or writes scripts.
pub fn run(args: &Args) -> Outcome {
    match (&args.out, args.shell) {
        (Some(directory), _) => write_all(directory),
        (None, Some(shell)) => {
            let mut out = io::stdout().lock();
            out.write_all(&shell.script()?)?;
            out.flush()?;
            Ok(Exit::Ok)
        }
        (None, None) => Err(Failure::new(Exit::Usage, "say for which shell")),
    }
}

fn write_all(directory: &Path) -> Outcome {
    let files = Shell::ALL
        .iter()
        .map(|shell| Ok((shell.file().to_owned(), shell.script()?)))
        .collect::<io::Result<Vec<_>>>()?;
    output::files(directory, &files)?;
    Ok(Exit::Ok)
}

/// Where a shell asks for candidates, answers and ends the process.
pub fn answer_shell() {
    clap_complete::CompleteEnv::with_factory(|| by_one_name(Cli::command())).complete();
}

/// Commands are taken by their other names, and offered by one.
fn by_one_name(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|inner| {
        let others: Vec<_> = inner.get_visible_aliases().map(str::to_owned).collect();
        let inner = match others.is_empty() {
            true => inner,
            false => inner.visible_alias(None).aliases(others),
        };
        by_one_name(inner)
    })
}

/// How long a shell may be held up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many live values are offered.
const OFFERED: u64 = 200;

/// The names of the instance's routes.
pub fn routes() -> Vec<CompletionCandidate> {
    let routes: Vec<Route> = ask(path::ROUTES, ()).unwrap_or_default();
    routes
        .into_iter()
        .map(|route| {
            let to = route.answer.filter(|_| route.upstream.is_empty()).unwrap_or(route.upstream);
            let what = format!("{} -> {to}", route.paths.join(" "));
            CompletionCandidate::new(route.name).help(Some(output::human::safe(&what).into()))
        })
        .collect()
}

/// Keys of stored responses.
pub fn keys() -> Vec<CompletionCandidate> {
    let entry = |entry: crate::admin::api::EntryRow| {
        CompletionCandidate::new(entry.key).help(Some(output::human::safe(&entry.url).into()))
    };
    entries().into_iter().map(entry).collect()
}

/// URLs of stored responses.
pub fn urls() -> Vec<CompletionCandidate> {
    entries().into_iter().map(|entry| CompletionCandidate::new(output::human::safe(&entry.url))).collect()
}

/// Both.
pub fn keys_and_urls() -> Vec<CompletionCandidate> {
    let mut both = urls();
    both.extend(keys());
    both
}

fn entries() -> Vec<crate::admin::api::EntryRow> {
    let query = EntryQuery { limit: Some(OFFERED), ..EntryQuery::default() };
    ask::<EntryPage>(path::ENTRIES, query).map(|page| page.items).unwrap_or_default()
}

/// Asks the instance that `PROXY_STONE_SOCKET` or the usual place names; any trouble means no candidates.
fn ask<T: serde::de::DeserializeOwned>(path: &str, query: impl serde::Serialize) -> Option<T> {
    let told = std::env::var_os("PROXY_STONE_SOCKET").map(PathBuf::from);
    let socket = paths::socket(told.as_deref(), paths::DEFAULT_INSTANCE).ok()?;
    let client = Client::new(&socket, PATIENCE).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(client.get(path, &query)).ok()
}
