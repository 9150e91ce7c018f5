//! `proxy-stone cert dev`

use std::path::{Path, PathBuf};

use crate::admin::paths;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::clock::Clock;
use crate::tls::dev::{self, Authority, Pair};
use crate::tls::trust::{self, Did, Places, Step};

/// Make a certificate for development, signed by an authority of this machine's own.
///
/// The authority is made once and kept in the state directory, its key readable by you only. Whoever trusts it trusts
/// every certificate that this key signs: it is for your own machine, and never leaves it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Names and addresses that the certificate is for.
    #[arg(value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub names: Vec<String>,

    /// Where to put certificate and key, instead of beside the authority.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    /// Have this machine's clients trust the authority, instead: the system's store, and with certutil the databases of
    /// this user's Firefox and Chromium.
    #[arg(long, conflicts_with_all = ["names", "out"])]
    pub install: bool,

    /// Have them trust it no longer.
    #[arg(long, conflicts_with_all = ["names", "out", "install"])]
    pub uninstall: bool,

    /// The directory for what must survive a restart.
    #[arg(long, value_name = "DIR", env = "PROXY_STONE_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone cert dev
  proxy-stone cert dev localhost app.test '*.app.test' 192.168.1.10
  proxy-stone cert dev --install
  proxy-stone cert dev --uninstall
  proxy-stone serve http://127.0.0.1:3000 --dev-tls

Exit codes:
  0 ok    2 usage    4 no authority to uninstall    9 the files or the trust store cannot be written";

/// Makes it and says how to use it.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let machine = |error: &dyn std::fmt::Display| Failure::new(Exit::Machine, error.to_string());
    let state = paths::state_dir(args.state_dir.as_deref(), &global.instance)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    if args.uninstall {
        return uninstall(&dev::authority_file(&state));
    }
    paths::private_dir(&state).map_err(|error| machine(&error))?;
    let now = Clock::System.now();
    let authority =
        Authority::open(&state, now).map_err(|error| machine(&error).next("another --state-dir"))?;
    if args.install {
        return install(&authority.certificate());
    }
    let issued = match &args.out {
        Some(directory) => authority.issue_into(directory, &args.names, now),
        None => authority.issue(&args.names, now),
    };
    let pair = issued.map_err(|error| match error {
        dev::Error::Name(_) => {
            Failure::new(Exit::Usage, error.to_string()).next("proxy-stone cert dev localhost")
        }
        other => machine(&other),
    })?;
    output::lines(&told(&authority, &pair, &args.names))?;
    Ok(Exit::Ok)
}

fn install(ca: &Path) -> Outcome {
    let mut steps = Vec::new();
    let done = Places::of_process().install(ca, &mut steps);
    output::lines(&steps.iter().map(line).collect::<Vec<_>>())?;
    done.map_err(failure)?;
    if steps.iter().all(|step| step.did == Did::Skipped) {
        let next = format!("curl --cacert {}", ca.display());
        return Err(Failure::new(Exit::Machine, "no trust store that is known here was found").next(next));
    }
    Ok(Exit::Ok)
}

fn uninstall(ca: &Path) -> Outcome {
    if !ca.exists() {
        let what = format!("there is no authority: {} does not exist", ca.display());
        return Err(Failure::new(Exit::NotFound, what).next("the --state-dir that it was made with"));
    }
    let mut steps = Vec::new();
    let done = Places::of_process().uninstall(ca, &mut steps);
    output::lines(&steps.iter().map(line).collect::<Vec<_>>())?;
    done.map_err(failure)?;
    Ok(Exit::Ok)
}

fn line(step: &Step) -> String {
    let (word, note) = match step.did {
        Did::Added => ("trusted", ""),
        Did::Known => ("trusted", " (already)"),
        Did::Removed => ("removed", ""),
        Did::Absent => ("absent", ""),
        Did::Skipped => ("skipped", " (certutil is not installed: libnss3-tools or nss-tools)"),
    };
    format!("{word:<8} {}{note}", step.place)
}

fn failure(error: trust::Error) -> Failure {
    let failure = Failure::new(Exit::Machine, error.to_string());
    match error {
        trust::Error::Denied { instead, .. } => failure.next(instead),
        _ => failure,
    }
}

fn told(authority: &Authority, pair: &Pair, names: &[String]) -> Vec<String> {
    let ca = authority.certificate();
    let (ca, cert, key) = (ca.display(), pair.cert.display(), pair.key.display());
    let text = format!(
        "certificate  {cert}
key          {key}
for          {}
authority    {ca}

In proxy-stone.toml:
  listen = {{ addr = \"127.0.0.1:8443\", tls = \"dev\" }}
  [tls.dev]
  cert = \"{cert}\"
  key = \"{key}\"

To have clients on this machine trust it:
  all        proxy-stone cert dev --install
  curl       curl --cacert {ca} https://localhost:8443/
  Node.js    export NODE_EXTRA_CA_CERTS={ca}
  Python     export REQUESTS_CA_BUNDLE={ca}
  macOS      sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}
  Firefox    Settings, Privacy & Security, View Certificates, Authorities, Import",
        names.join(", ")
    );
    text.lines().map(str::to_owned).collect()
}
