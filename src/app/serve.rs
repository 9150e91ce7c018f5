//! The `serve` command: load, start, listen to signals, end in good order.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::control::Controller;
use super::ending::{self, Signals};
use super::error::Error;
use super::instance::{Instance, Paths};
use super::options::ServeOptions;
use super::{demo, startup};
use crate::admin::{self, paths};
use crate::clock::Clock;
use crate::config::{self, Loaded, Overrides, Severity, Source};
use crate::tls::dev::Authority;

/// Where this instance's things are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) instance: String,
    pub(super) socket: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) store: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) demo: bool,
}

impl Places {
    /// A path that a first request can ask for.
    pub(super) fn first_path(&self) -> &'static str {
        if self.demo { "/plain" } else { "/" }
    }
}

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// When it cannot start; once it serves, it ends well or not at all.
pub fn serve(options: &ServeOptions) -> Result<(), Error> {
    let began = Instant::now();
    // While there is but this thread: it changes the environment.
    crate::server::inherited::adopt();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()
        .map_err(Error::system("start the control runtime"))?;
    let done = runtime.block_on(run(options, began));
    // Name look-ups that hang must not hold the process back.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn run(options: &ServeOptions, began: Instant) -> Result<(), Error> {
    raise_descriptor_limit();
    let mut places = places(options)?;
    let source = source(options).await?;
    if let Source::File(path) = &source {
        places.config = Some(path.clone());
    }
    let overrides = Overrides {
        listen: options.listen.clone(),
        dev_tls: dev_tls(options, &places)?,
        mode: options.mode,
        workers: options.workers,
        grace: options.grace,
    };
    // Before the file is read: what is written from here on is a change.
    let changes = places.config.as_deref().filter(|_| options.watch).and_then(watch);
    let since = SystemTime::now();
    let loaded = config::load(&source, options.profile.as_deref(), &overrides);
    let named = (loaded.files.clone(), since);
    let settings = accept(loaded)?;
    let (mut signals, hangups) = (Signals::new()?, ending::listen(SignalKind::hangup())?);
    // Two instances of one name must not share a store: the socket's lock says who is first.
    let socket = admin::server::bind(&places.socket)?;
    let store = Some(places.store.clone());
    let instance = Instance::start(settings, &Paths { store }, Clock::System)?;
    let (asks, mut asked) = mpsc::channel(ending::ASKS);
    let controller = Arc::new(Controller::new(
        instance.clone(),
        places.clone(),
        source.clone(),
        options,
        overrides,
        asks,
        named,
    ));
    let closing = CancellationToken::new();
    let admin = Arc::new(controller.clone().admin(closing.clone()));
    let admin_task = tokio::spawn(socket.serve(admin));
    if !options.quiet {
        say(&startup::banner(&instance, &places, began.elapsed()));
    }
    tokio::spawn(tell_unresolved(instance.clone()));
    let reloading = reload_on(hangups, controller.clone());
    let watching = changes.map(|changes| follow(changes, controller.clone()));
    let grace = ending::wait(&instance, &mut signals, &mut asked).await;
    drop((watching, reloading));
    let grace = grace.unwrap_or_else(|| instance.settings().server.shutdown_grace);
    ending::stop(&instance, &mut signals, grace).await;
    closing.cancel();
    let _ = admin_task.await;
    instance.close().await;
    Ok(())
}

/// Names that have no address yet: a finding, not an exit.
async fn tell_unresolved(instance: Arc<Instance>) {
    for unresolved in instance.upstreams.unresolved().await {
        tracing::warn!(
            upstream = &*unresolved.upstream,
            endpoint = &*unresolved.endpoint,
            why = &*unresolved.why,
            "the name does not resolve: requests get 502 until it does"
        );
    }
}

/// Reloads at every SIGHUP, as long as the returned guard lives. Apart from the other signals: a config file that does
/// not come to its end must not keep the process from being stopped.
fn reload_on(mut hangups: Signal, controller: Arc<Controller>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            controller.reload_and_tell("SIGHUP").await;
        }
    }))
}

/// Watches the config file, where that can be done.
fn watch(path: &Path) -> Option<config::watch::Changes> {
    let changes = config::watch::watch(path);
    changes
        .inspect_err(|error| {
            tracing::error!(%error, path = %path.display(), "the config file cannot be watched");
        })
        .ok()
}

/// Reloads whenever the file changes, as long as the returned guard lives.
fn follow(mut changes: config::watch::Changes, controller: Arc<Controller>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let (files, since) = controller.named();
            if let Err(error) = changes.along(&files, since) {
                tracing::warn!(%error, "a file that the config names is not watched");
            }
            if changes.changed().await.is_none() {
                return;
            }
            controller.reload_and_tell("a file of the config changed").await;
        }
    }))
}

fn places(options: &ServeOptions) -> Result<Places, Error> {
    paths::check_instance(&options.instance)?;
    let socket = paths::socket(options.socket.as_deref(), &options.instance)?;
    let state_dir = paths::state_dir(options.state_dir.as_deref(), &options.instance)?;
    paths::private_dir(&state_dir)?;
    Ok(Places {
        instance: options.instance.clone(),
        socket,
        store: state_dir.join("store"),
        state_dir,
        config: None,
        demo: options.demo,
    })
}

/// What the demo adds to its origin's address: enough to see the cache at work.
const DEMO: &str = "\
cache = { ttl = \"10s\", stale_while_revalidate = \"30s\", stale_if_error = \"1h\" }
";

/// The certificate of `--dev-tls`, where that was asked for.
fn dev_tls(options: &ServeOptions, places: &Places) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    if !options.dev_tls {
        return Ok(None);
    }
    let now = Clock::System.now();
    let authority = Authority::open(&places.state_dir, now)?;
    let pair = authority.issue(&["localhost", "127.0.0.1", "::1"].map(str::to_owned), now)?;
    Ok(Some((pair.cert, pair.key)))
}

/// What is served: a URL, the demo, the file that was named or the first of the usual ones.
async fn source(options: &ServeOptions) -> Result<Source, Error> {
    if options.demo {
        let origin = demo::start().await.map_err(Error::system("start the demo origin"))?;
        let text = format!("upstream = \"http://{origin}\"\n{DEMO}");
        return Ok(Source::Text { name: "the built-in demo config".to_owned(), text });
    }
    if let Some(url) = &options.url {
        return Ok(Source::Url(url.clone()));
    }
    match &options.config {
        Some(path) => Ok(Source::File(path.clone())),
        None => config::find_file().map(Source::File).ok_or(Error::NoConfig),
    }
}

/// The settings of a config without errors; its warnings are told.
pub(super) fn accept(loaded: Loaded) -> Result<config::Compiled, Error> {
    let Some(compiled) = loaded.compiled else { return Err(Error::Config(loaded.findings)) };
    for finding in loaded.findings.iter().filter(|finding| finding.severity() == Severity::Warning) {
        say(&finding.render(false));
    }
    Ok(compiled)
}

/// Standard error may be closed; a proxy goes on without it.
fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// A proxy needs two descriptors per exchange: the soft limit is raised to the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
