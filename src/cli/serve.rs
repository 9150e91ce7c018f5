//! `proxy-stone serve`

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, values};
use crate::admin::paths;
use crate::admin::server::BindError;
use crate::app::{self, ServeOptions};
use crate::cache;
use crate::config::{Finding, finding};
use crate::server::BindErrorKind;

/// Run the proxy in the foreground: in front of one URL, or as a config file says.
///
/// Without URL and --config it reads ./proxy-stone.toml, then proxy-stone/proxy-stone.toml in the XDG config
/// directory, then /etc/proxy-stone/proxy-stone.toml. SIGINT, SIGTERM and `proxy-stone stop` let what is in
/// flight finish; a second signal ends at once. SIGHUP reloads the config, SIGUSR1 opens the access log anew, SIGUSR2
/// upgrades (see `proxy-stone upgrade`).
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

    /// Speak TLS with a certificate for development, for localhost (see `cert dev`).
    #[arg(long, conflicts_with = "config")]
    pub dev_tls: bool,

    /// Start a small built-in origin and stand in front of it.
    #[arg(long, conflicts_with = "config")]
    pub demo: bool,

    /// Override the mode of every route.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,

    /// Apply this profile of the config.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "demo"])]
    pub profile: Option<String>,

    /// Reload when the config file changes, or a file that it names.
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
            dev_tls: self.dev_tls,
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
    let options = args.options(global);
    match app::serve(&options) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(failure(error, &options)),
    }
}

/// What an instance that cannot start means for the exit code, and what to do about it.
fn failure(error: app::Error, options: &ServeOptions) -> Failure {
    let what = error.to_string();
    let machine = Failure::new(Exit::Machine, &what);
    match error {
        app::Error::Config(findings) => config_errors(&findings, options),
        app::Error::NoConfig => Failure::new(Exit::Usage, "there is nothing to serve")
            .why("no URL, no --config, and no config file in the usual places")
            .next("proxy-stone serve https://api.example.com, or proxy-stone serve --demo"),
        app::Error::Listen(error) => machine.why(&error.source).next(match error.kind {
            BindErrorKind::InUse => match error.address.tcp() {
                Some(at) => {
                    let port = at.port();
                    format!("another --listen address, or see who has it: ss -ltnp 'sport = :{port}'")
                }
                None => "another --listen address, or see who has it: ss -lxp".to_owned(),
            },
            BindErrorKind::PermissionDenied => "--listen :8080, or any port above 1023".to_owned(),
            BindErrorKind::NotAvailable => "--listen :8080, which means every address".to_owned(),
            BindErrorKind::Occupied | BindErrorKind::Other => "another --listen address".to_owned(),
            BindErrorKind::NotGiven => {
                "start it by its systemd socket unit, or by systemd-socket-activate".to_owned()
            }
        }),
        app::Error::Admin(BindError::InUse(socket)) => Failure::new(
            Exit::Machine,
            format!("an instance named \"{}\" is already running", options.instance),
        )
        .why(format!("it answers on {}", socket.display()))
        .next("proxy-stone status, or --instance NAME to run a second one"),
        app::Error::Admin(BindError::Directory(error)) | app::Error::Paths(error) => place(&error),
        app::Error::Admin(BindError::Occupied(_)) => machine.next("another --socket"),
        app::Error::Admin(BindError::Io { .. }) => {
            machine.next("another --socket, in a directory that you can write to")
        }
        app::Error::Store(_) => machine.next("another --state-dir, in a directory that you can write to"),
        app::Error::DevTls(_) => machine.next("proxy-stone cert dev localhost"),
        app::Error::Telemetry { .. } => machine.next("another address in [telemetry] listen"),
        app::Error::Log(_) | app::Error::System { .. } | app::Error::Stopping => machine,
        app::Error::Upgrading | app::Error::Handover(_) => machine,
        app::Error::Tls { .. } | app::Error::Site(_) => {
            Failure::new(Exit::Config, what).next("proxy-stone config lint")
        }
    }
}

/// All findings, then how many there are.
fn config_errors(findings: &[Finding], options: &ServeOptions) -> Failure {
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let rendered: Vec<String> = findings.iter().map(|finding| finding.render(colour)).collect();
    let (errors, _) = finding::count(findings);
    let what = match errors {
        1 => "the config has an error".to_owned(),
        errors => format!("the config has {errors} errors"),
    };
    let next = match &options.config {
        Some(path) => format!("mend it, then: proxy-stone config lint {}", path.display()),
        None => "mend it, then: proxy-stone config lint".to_owned(),
    };
    let failure = Failure::new(Exit::Config, what).details(format!("{}\n\n", rendered.join("\n\n")));
    if options.url.is_some() || options.demo { failure } else { failure.next(next) }
}

/// A place for socket or state that can't be used.
fn place(error: &paths::Error) -> Failure {
    let what = error.to_string();
    match error {
        paths::Error::Instance(_) => Failure::new(Exit::Usage, what),
        paths::Error::TooLong { .. } => Failure::new(Exit::Usage, what).next("--socket with a shorter path"),
        paths::Error::NotADirectory(_) | paths::Error::Owner { .. } | paths::Error::Io { .. } => {
            Failure::new(Exit::Machine, what).next("--socket and --state-dir in a directory of your own")
        }
        paths::Error::Mode { path, .. } => {
            Failure::new(Exit::Machine, what).next(format!("chmod 700 {}", path.display()))
        }
    }
}
