//! The command line: arguments, one file per subcommand, output and exit codes.
//!
//! Results go to standard output, everything else to standard error. A command converts its arguments, asks the
//! room (or, over the admin socket, the running instance) that knows, and prints the answer through `output`;
//! it decides nothing about HTTP itself.

pub mod bench;
pub mod cache;
pub mod cert;
pub mod completions;
pub mod config;
pub mod drain;
pub mod exit;
pub mod instance;
pub mod limit;
pub mod logs;
pub mod man;
pub mod metrics;
pub mod output;
pub mod password;
pub mod reload;
pub mod route;
pub mod serve;
pub mod status;
pub mod stop;
pub mod upgrade;
pub mod upstream;
pub mod values;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use exit::{Exit, Failure, Outcome};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "proxy-stone",
    version,
    about = "A caching reverse proxy for HTTP APIs",
    long_about = "A caching reverse proxy for HTTP APIs.\n\nIt forwards to your API, keeps what may be kept \
                  in RAM and on disk, and answers from there. Every stored response can be listed, explained \
                  and purged, and everything that a running instance knows is one subcommand away.",
    after_long_help = AFTER_HELP,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    propagate_version = false
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  proxy-stone serve https://api.example.com   put a cache in front of an API
  proxy-stone serve --demo                    try it without a network

Exit codes:
  0 ok                       5 no running instance
  1 a negative answer        6 denied
  2 usage                    7 timed out
  3 the config has errors    8 partly done
  4 not found                9 the machine says no
  130 interrupted";

/// Options that every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The admin socket of the instance.
    #[arg(long, global = true, value_name = "PATH", env = "PROXY_STONE_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,

    /// The instance's name; it names socket and state directory.
    #[arg(long, global = true, value_name = "NAME", default_value = crate::admin::paths::DEFAULT_INSTANCE)]
    pub instance: String,

    /// How long to wait for the instance [default: 10s].
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration)]
    pub timeout: Option<Duration>,

    /// Print results and errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// When to colour. NO_COLOR is honoured.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub color: Color,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Global {
    /// How long to wait for the instance's answer.
    pub fn patience(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }

    /// The same, for commands that make the instance read everything that is stored before it can answer.
    pub fn patient(&self) -> Self {
        Self { timeout: Some(self.timeout.unwrap_or(Duration::from_secs(300))), ..self.clone() }
    }
}

/// The commands; their arguments say what they do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // clap would take the docs here for help texts and hide those of the arguments' own types.
pub enum Command {
    Serve(serve::Args),
    Status(status::Args),
    Reload(reload::Args),
    Drain(drain::Args),
    Stop(stop::Args),
    Upgrade(upgrade::Args),
    Cache(cache::Args),
    Route(route::Args),
    Upstream(upstream::Args),
    Cert(cert::Args),
    Limit(limit::Args),
    Password(password::Args),
    Logs(logs::Args),
    Metrics(metrics::Args),
    Bench(bench::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the command line, runs the command and says how it went.
pub fn main() -> ExitCode {
    // Fails only when one is installed already, and then there is nothing to do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    completions::answer_shell();
    let cli = match Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    cli.global.color.apply();
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    crate::telemetry::log::init(cli.global.verbose, cli.global.quiet, colour);
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    crate::admin::paths::check_instance(&cli.global.instance)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    match &cli.command {
        Command::Serve(args) => serve::run(args, &cli.global),
        Command::Status(args) => status::run(args, &cli.global),
        Command::Reload(args) => reload::run(args, &cli.global),
        Command::Drain(args) => drain::run(args, &cli.global),
        Command::Stop(args) => stop::run(args, &cli.global),
        Command::Upgrade(args) => upgrade::run(args, &cli.global),
        Command::Cache(args) => cache::run(args, &cli.global),
        Command::Route(args) => route::run(args, &cli.global),
        Command::Upstream(args) => upstream::run(args, &cli.global),
        Command::Cert(args) => cert::run(args, &cli.global),
        Command::Limit(args) => limit::run(args, &cli.global),
        Command::Password(args) => password::run(args, &cli.global),
        Command::Logs(args) => logs::run(args, &cli.global),
        Command::Metrics(args) => metrics::run(args, &cli.global),
        Command::Bench(args) => bench::run(args, &cli.global),
        Command::Config(args) => config::run(args, &cli.global),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// Help and version are results; what clap can't parse is a usage error.
fn refuse(error: &clap::Error) -> ExitCode {
    // A reader that went away needs neither.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() }
}

impl Color {
    fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}
