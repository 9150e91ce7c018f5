//! `proxy-stone serve`

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, values};
use crate::app::{self, ServeOptions};
use crate::{admin, cache, server, telemetry};

/// Run the proxy in the foreground: in front of one URL, or as a config file says.
///
/// Without URL and --config it reads ./proxy-stone.toml, then proxy-stone/proxy-stone.toml in the XDG config
/// directory, then /etc/proxy-stone/proxy-stone.toml. SIGINT, SIGTERM and `proxy-stone stop` let what is in
/// flight finish; a second signal ends at once. SIGHUP reloads the config.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Forward everything to this URL, without a config file.
    #[arg(value_name = "URL", conflicts_with_all = ["config", "demo"])]
    pub url: Option<String>,

    /// The config file.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Listen here instead: 8080, :8080 (every address), 127.0.0.1:8080.
    #[arg(short, long, value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Start a small built-in origin and stand in front of it.
    #[arg(long, conflicts_with = "config")]
    pub demo: bool,

    /// Override the mode of every route.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,

    /// Apply this profile of the config.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "demo"])]
    pub profile: Option<String>,

    /// Reload when the config file changes.
    #[arg(long, conflicts_with_all = ["url", "demo"])]
    pub watch: bool,

    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub workers: Option<usize>,

    /// How long what is in flight may take after a stop.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub grace: Option<Duration>,

    /// The directory for what must survive a restart.
    #[arg(long, value_name = "DIR", env = "PROXY_STONE_STATE_DIR", hide_env_values = true,
          value_hint = clap::ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone serve https://api.example.com
  proxy-stone serve -c proxy-stone.toml --watch
  proxy-stone serve https://api.example.com -l :9000 --mode off
  proxy-stone serve --demo

Exit codes:
  0 stopped    2 usage    3 the config has errors
  9 the machine says no: address taken, no permission, already running";

/// What stored responses are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Reuse and store as RFC 9111 allows.
    Cache,
    /// Never reuse, never store.
    Off,
}

impl From<Mode> for cache::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Cache => Self::Cache,
            Mode::Off => Self::Off,
        }
    }
}

impl Args {
    /// What the app is asked to do.
    pub fn options(&self, global: &Global) -> ServeOptions {
        ServeOptions {
            url: self.url.clone(),
            config: self.config.clone(),
            listen: self.listen.clone(),
            demo: self.demo,
            mode: self.mode.map(Into::into),
            profile: self.profile.clone(),
            watch: self.watch,
            workers: self.workers,
            socket: global.socket.clone(),
            state_dir: self.state_dir.clone(),
            instance: global.instance.clone(),
            grace: self.grace,
            quiet: global.quiet,
        }
    }
}

/// Runs the proxy until it is stopped.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    telemetry::log::init(global.verbose, colour);
    app::serve(&args.options(global)).map(|()| Exit::Ok).map_err(explain)
}

/// What failed, why, and what to type next.
fn explain(error: app::Error) -> Failure {
    use app::Error;
    let what = error.to_string();
    match error {
        Error::Config(findings) => {
            let rendered: Vec<String> = findings.iter().map(|finding| finding.render(true)).collect();
            Failure::new(Exit::Config, what)
                .details(rendered.join("\n"))
                .next("mend what is marked above, then check it with `proxy-stone config lint`")
        }
        Error::NoConfig => Failure::new(Exit::Usage, what)
            .next("proxy-stone serve URL, or `proxy-stone serve --demo`, or `proxy-stone config init`"),
        Error::Listen(error) => listen(what, &error),
        Error::Admin(admin::server::BindError::InUse(_)) => Failure::new(Exit::Machine, what).next(
            "`proxy-stone status` shows it; stop it, or start this one under another name with --instance",
        ),
        Error::Site(_) => Failure::new(Exit::Config, what),
        other => match std::error::Error::source(&other) {
            Some(source) => Failure::new(Exit::Machine, what).why(source),
            None => Failure::new(Exit::Machine, what),
        },
    }
}

fn listen(what: String, error: &server::BindError) -> Failure {
    let failure = Failure::new(Exit::Machine, what);
    let port = error.address.port();
    match error.kind {
        server::BindErrorKind::InUse => failure
            .next(format!("see who has it: `ss -ltnp 'sport = :{port}'`, or take another port with -l")),
        server::BindErrorKind::PermissionDenied => failure.next("take a port from 1024 up with -l"),
        server::BindErrorKind::NotAvailable => failure.next("`ip address` shows which addresses there are"),
        server::BindErrorKind::Other => failure.why(&error.source),
    }
}
