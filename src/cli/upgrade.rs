//! `proxy-stone upgrade`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anstream::eprintln;

use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Format, Kind, OneArgs};
use super::{Global, instance};
use crate::admin::api::{Upgrade, UpgradeLine, Upgraded, path};

/// Have a new process take over, from another binary or a replaced one.
///
/// The running process starts the new one with its own arguments and hands it the sockets that it listens on. The new
/// one reads the config, opens the store and accepts; then the old one lets its clients finish (drain_delay for one more
/// request of each connection, shutdown_grace for what is in flight) and ends. Nobody is turned away, and what is stored
/// and purged stays so. Until the new one accepts, the old one goes on if anything is wrong: a config with errors, a
/// binary that does not start, a store that does not open. Counters, rate limits and the log ring begin anew.
///
/// SIGUSR2 does the same with the binary that the process was started from, and the log says how it went. Under systemd
/// the unit needs Type=notify.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The new binary [default: the file that the process was started from].
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub binary: Option<PathBuf>,

    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone upgrade
  proxy-stone upgrade --binary /opt/proxy-stone-0.2/proxy-stone --timeout 2m

Exit codes:
  0 the new process serves    3 the config has errors    4 there is no such binary
  5 no running instance       7 it took longer than --timeout (1m)
  9 the new process does not start, or not now. Whenever it is not 0, the old one goes on";

const COLUMNS: &[Column] = &[
    Column::new("pid", Kind::Number),
    Column::new("before", Kind::Number),
    Column::new("version", Kind::Text),
    Column::new("took", Kind::Number).at("/took_ms"),
];

/// Asks for an upgrade and tells each step.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    // The instance may have been started elsewhere.
    let binary = args.binary.as_deref().map(std::path::absolute).transpose()?;
    let asked = Upgrade {
        binary: binary.map(|path| path.to_string_lossy().into_owned()),
        timeout_ms: global.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    };
    let plain = args.output.output == Format::Table && args.output.columns.is_empty();
    let done = instance::block_on(async {
        let mut lines = client.work(path::UPGRADE, &asked).await?;
        while let Some(line) = lines.next::<UpgradeLine>().await? {
            match line {
                UpgradeLine::Step { step, pid, after_ms, .. } => {
                    if !global.quiet && (plain || std::io::stderr().is_terminal()) {
                        let after = Duration::from_millis(after_ms);
                        eprintln!("{after:>10.1?}  {step} (process {pid})");
                    }
                }
                UpgradeLine::Done(done) => return Ok(done),
                UpgradeLine::Failed { problem } => return Err(failed(instance::refused(*problem))),
            }
        }
        Err(Failure::new(Exit::NotRunning, "the instance ended before it was upgraded")
            .next("proxy-stone status"))
    })?;
    if !plain {
        output::one(COLUMNS, &args.output, global, &done)?;
    } else if !global.quiet {
        output::lines(&[say(&done)])?;
    }
    Ok(Exit::Ok)
}

fn say(done: &Upgraded) -> String {
    let Upgraded { pid, before, version, took_ms } = done;
    format!(
        "upgraded in {took_ms} ms: process {pid} ({version}) serves, process {before} finishes what is in flight"
    )
}

fn failed(failure: Failure) -> Failure {
    let why = match &failure.why {
        Some(why) => format!("{}: {why}", failure.what),
        None => failure.what.clone(),
    };
    Failure { what: "not upgraded: the old process goes on serving".to_owned(), why: Some(why), ..failure }
}
