//! The `serve` command: load, start, listen to signals, end in good order.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::control::Controller;
use super::ending::{self, Ending, Heritage, Signals};
use super::error::Error;
use super::instance::{Instance, Paths, Prepared};
use super::options::ServeOptions;
use super::upgrade::{self, Predecessor, Succession};
use super::{demo, startup};
use crate::admin::{self, paths};
use crate::clock::Clock;
use crate::config::{self, Loaded, Overrides, Severity, Source};
use crate::server;
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
    // As long as it is there: the file may be replaced.
    let binary = std::env::current_exe().map_err(Error::system("find this program's own file"))?;
    let predecessor = upgrade::find()?;
    if predecessor.is_none() {
        // While there is but this thread: it changes the environment.
        server::inherited::adopt();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()
        .map_err(Error::system("start the control runtime"))?;
    let done = runtime.block_on(run(options, began, binary, predecessor));
    // Name look-ups that hang must not hold the process back.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn run(
    options: &ServeOptions,
    began: Instant,
    binary: PathBuf,
    predecessor: Option<Predecessor>,
) -> Result<(), Error> {
    raise_descriptor_limit();
    let mut succession = match predecessor {
        Some(predecessor) => Some(predecessor.hello().await?),
        None => None,
    };
    match start(options, began, binary, &mut succession).await {
        Ok(started) => started.live().await,
        Err(error) => {
            if let Some(succession) = &mut succession {
                succession.failed(&error).await;
            }
            Err(error)
        }
    }
}

/// An instance that serves, and what it needs to come to its end.
struct Started {
    instance: Arc<Instance>,
    controller: Arc<Controller>,
    heritage: Heritage,
    signals: Signals,
    hangups: Signal,
    asked: mpsc::Receiver<ending::Ask>,
    changes: Option<config::watch::Changes>,
    closing: CancellationToken,
    admin_task: JoinHandle<std::io::Result<()>>,
}

/// Starts to serve; where there is a process to take over from, when that says so.
async fn start(
    options: &ServeOptions,
    began: Instant,
    binary: PathBuf,
    succession: &mut Option<Succession>,
) -> Result<Started, Error> {
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
    let (signals, hangups) = (Signals::new()?, ending::listen(SignalKind::hangup())?);
    // Two instances of one name must not share a store: the socket's lock says who is first.
    let socket = match succession {
        Some(succession) => succession.admin_socket(&places.socket)?,
        None => admin::server::bind(&places.socket)?,
    };
    let handle = socket.handle().map_err(Error::system("keep the admin socket"))?;
    let prepared = Prepared::new(settings, Clock::System)?;
    if let Some(succession) = succession {
        succession.checked().await?;
    }
    let cache = prepared.open_cache(&Paths { store: Some(places.store.clone()) })?;
    if let Some(succession) = succession {
        succession.opened(&cache).await?;
    }
    let instance = prepared.start(cache)?;
    let (asks, asked) = mpsc::channel(ending::ASKS);
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
    if let Some(succession) = succession.take() {
        handle.own(true);
        instance.own_files(true);
        server::inherited::close_rest();
        succession.serving(instance.cache.clone(), instance.predecessor.clone()).await;
    }
    upgrade::notify("READY=1");
    let heritage = Heritage { admin: handle, binary, closing: closing.clone() };
    Ok(Started { instance, controller, heritage, signals, hangups, asked, changes, closing, admin_task })
}

impl Started {
    /// Serves until the end.
    async fn live(mut self) -> Result<(), Error> {
        let reloading = reload_on(self.hangups, self.controller.clone());
        let watching = self.changes.map(|changes| follow(changes, self.controller.clone()));
        let ending = ending::wait(&self.instance, &self.heritage, &mut self.signals, &mut self.asked).await;
        drop((watching, reloading));
        let settings = self.instance.settings().server;
        let grace = match ending {
            Ending::Stop(grace) => {
                upgrade::notify("STOPPING=1");
                grace
            }
            Ending::TakenOver => {
                ending::give_way(&self.instance, &mut self.signals, settings.drain_delay).await;
                None
            }
        };
        ending::stop(&self.instance, &mut self.signals, grace.unwrap_or(settings.shutdown_grace)).await;
        self.closing.cancel();
        let _ = self.admin_task.await;
        drop(self.heritage);
        self.instance.close().await;
        Ok(())
    }
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
