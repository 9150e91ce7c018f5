//! `proxy-stone cert dev`

use std::path::PathBuf;

use crate::admin::paths;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::clock::Clock;
use crate::tls::dev::{self, Authority, Pair};

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

    /// The directory for what must survive a restart.
    #[arg(long, value_name = "DIR", env = "PROXY_STONE_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone cert dev
  proxy-stone cert dev localhost app.test '*.app.test' 192.168.1.10
  proxy-stone serve http://127.0.0.1:3000 --dev-tls

Exit codes:
  0 ok    2 usage    9 the files cannot be written";

/// Makes it and says how to use it.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let machine = |error: &dyn std::fmt::Display| Failure::new(Exit::Machine, error.to_string());
    let state = paths::state_dir(args.state_dir.as_deref(), &global.instance)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    paths::private_dir(&state).map_err(|error| machine(&error))?;
    let now = Clock::System.now();
    let authority =
        Authority::open(&state, now).map_err(|error| machine(&error).next("another --state-dir"))?;
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
  curl       curl --cacert {ca} https://localhost:8443/
  Node.js    export NODE_EXTRA_CA_CERTS={ca}
  Python     export REQUESTS_CA_BUNDLE={ca}
  Debian     sudo cp {ca} /usr/local/share/ca-certificates/proxy-stone-dev.crt && sudo update-ca-certificates
  Fedora     sudo cp {ca} /etc/pki/ca-trust/source/anchors/proxy-stone-dev.pem && sudo update-ca-trust
  macOS      sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}
  Chromium   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n proxy-stone-dev -i {ca}
  Firefox    Settings, Privacy & Security, View Certificates, Authorities, Import",
        names.join(", ")
    );
    text.lines().map(str::to_owned).collect()
}
