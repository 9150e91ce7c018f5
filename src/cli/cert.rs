//! `proxy-stone cert`

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Kind, OutputArgs};
use super::{Global, instance};
use crate::admin::api::{CertificateRow, path};
use crate::app;
use crate::config::{self, Overrides, Source};

mod dev;

/// See certificates, and make one for development.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the certificates that clients are shown: names, issuer, days left.
    #[command(visible_alias = "list", after_long_help = EXAMPLES)]
    Ls(LsArgs),
    /// Make a certificate for development, signed by an authority of this machine's own.
    Dev(dev::Args),
}

/// Arguments of `cert ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct LsArgs {
    /// List those that this config file names, without asking an instance.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone cert ls
  proxy-stone cert ls -o wide --sort-by days_left
  proxy-stone cert ls --config proxy-stone.toml

Exit codes:
  0 ok    2 usage    3 the config has errors    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("tls", Kind::Text),
    Column::new("names", Kind::List),
    Column::new("state", Kind::Text),
    Column::new("days_left", Kind::Number),
    Column::new("key", Kind::Text),
    Column::new("issuer", Kind::Text),
    Column::new("subject", Kind::Text).wide(),
    Column::new("serial", Kind::Text).wide(),
    Column::new("fingerprint", Kind::Text).wide(),
    Column::new("not_before", Kind::Text).wide(),
    Column::new("not_after", Kind::Text).wide(),
    Column::new("chain", Kind::Number).wide(),
    Column::new("staple", Kind::Text),
    Column::new("listeners", Kind::List),
    Column::new("cert", Kind::Text).wide(),
    Column::new("problem", Kind::Text),
];

/// Runs a command about certificates.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Ls(args) => list(args, global),
        Command::Dev(args) => dev::run(args, global),
    }
}

fn list(args: &LsArgs, global: &Global) -> Outcome {
    let rows = match &args.config {
        Some(file) => of_file(file)?,
        None => {
            let client = instance::client(global)?;
            instance::block_on(async { Ok(client.get(path::CERTIFICATES, &()).await?) })?
        }
    };
    output::all(COLUMNS, &args.output, global, &rows)?;
    Ok(Exit::Ok)
}

fn of_file(file: &Path) -> Result<Vec<CertificateRow>, Failure> {
    let loaded = config::load(&Source::File(file.to_owned()), None, &Overrides::default());
    match loaded.compiled {
        Some(compiled) => Ok(app::certificates_of(&compiled)),
        None => Err(Failure::new(Exit::Config, "the config has errors")
            .next(format!("proxy-stone config lint {}", file.display()))),
    }
}
