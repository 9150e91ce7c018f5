//! What the admin socket can ask of the running instance.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ending::Ask;
use super::error::Error;
use super::instance::Instance;
use super::options::ServeOptions;
use super::serve::{Places, accept};
use super::upgrade::{self, Order};
use crate::admin::Control;
use crate::admin::api::{
    CertificateRow, Connections, Drain, Draining, Explain, Explanation, ListenerStatus, PastExplanation,
    Problem, ProblemCode, ReloadReport, Route, RouteTest, RouteTestReply, State, Status, StoreStatus,
    Upgrade, UpgradeLine,
};
use crate::admin::control::{Boxed, Refused};
use crate::admin::handlers::Admin;
use crate::cache::{self, Mode};
use crate::clock::Timestamp;
use crate::config::{self, Finding, Overrides, Source};
use crate::pipeline::Proxy;
use crate::server::ListenAddress;

/// The running instance, and how its config was made: what a reload does again.
pub(super) struct Controller {
    instance: Arc<Instance>,
    places: Places,
    source: Source,
    profile: Option<String>,
    overrides: Overrides,
    asks: mpsc::Sender<Ask>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    history: Mutex<History>,
    /// The files that the config was made from, and when reading them began.
    named: Mutex<(Vec<PathBuf>, SystemTime)>,
}

/// How the last reloads went.
struct History {
    loaded: Timestamp,
    error: Option<String>,
}

impl Controller {
    pub(super) fn new(
        instance: Arc<Instance>,
        places: Places,
        source: Source,
        options: &ServeOptions,
        overrides: Overrides,
        asks: mpsc::Sender<Ask>,
        named: (Vec<PathBuf>, SystemTime),
    ) -> Self {
        let loaded = instance.started;
        Self {
            instance,
            places,
            source,
            profile: options.profile.clone(),
            overrides,
            asks,
            reloading: tokio::sync::Mutex::default(),
            history: Mutex::new(History { loaded, error: None }),
            named: Mutex::new(named),
        }
    }

    /// The rooms that admin handlers ask.
    pub(super) fn admin(self: Arc<Self>, closing: CancellationToken) -> Admin {
        Admin {
            cache: self.instance.cache.clone(),
            telemetry: self.instance.telemetry.clone(),
            upstreams: self.instance.upstreams.clone(),
            clock: self.instance.clock.clone(),
            closing,
            control: self,
        }
    }

    /// Reloads because of a signal or a changed file: nobody waits for the answer, so it goes to the log.
    pub(super) async fn reload_and_tell(&self, why: &str) {
        match self.reload_now().await {
            Ok(report) => tracing::info!(why, generation = report.generation, "config reloaded"),
            Err(refused) => {
                // The findings come last, so that nothing stands behind them.
                tracing::error!("config refused ({why}), the old one goes on serving:\n{}", refused.rendered);
            }
        }
    }

    /// The files that the config was made from, and when reading them began.
    pub(super) fn named(&self) -> (Vec<PathBuf>, SystemTime) {
        self.named.lock().clone()
    }

    async fn reload_now(&self) -> Result<ReloadReport, Refused> {
        let _one = self.reloading.lock().await;
        let (source, profile, overrides) =
            (self.source.clone(), self.profile.clone(), self.overrides.clone());
        let since = SystemTime::now();
        // Reading files and checking take milliseconds: not on the thread that answers signals.
        let loaded =
            tokio::task::spawn_blocking(move || config::load(&source, profile.as_deref(), &overrides))
                .await
                .map_err(|error| refused(&[], &error.to_string()))?;
        let warnings = loaded.findings.clone();
        *self.named.lock() = (loaded.files.clone(), since);
        let done = accept(loaded).and_then(|settings| self.instance.reload(settings));
        let now = self.instance.clock.now();
        let mut history = self.history.lock();
        match done {
            Ok(changes) => {
                *history = History { loaded: now, error: None };
                Ok(ReloadReport {
                    generation: self.instance.generation(),
                    changes,
                    findings: reports(&warnings),
                    rendered: render(&warnings),
                })
            }
            Err(error) => {
                history.error = Some(error.to_string());
                Err(match error {
                    Error::Config(findings) => refused(&findings, &render(&findings)),
                    other => refused(&[], &format!("error: {other}")),
                })
            }
        }
    }

    fn connections(&self) -> Connections {
        Connections {
            open: self.instance.connections() as u64,
            in_flight: self.instance.proxy.in_flight(),
            finished: self.instance.telemetry.snapshot().total.requests,
            tunnels: self.instance.proxy.tunnels().open() as u64,
        }
    }

    fn draining(&self, delay: Duration, grace: Duration) -> Draining {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Draining {
            pid: std::process::id(),
            state: self.instance.life(),
            delay_ms: millis(delay),
            grace_ms: millis(grace),
            connections: self.connections(),
        }
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let scheme = |tls: Option<_>| if tls.is_some() { "https" } else { "http" };
        let clients = self.instance.listeners().into_iter().map(|(address, tls)| (address, scheme(tls)));
        let machines = self.instance.machine_addr().map(ListenAddress::Tcp);
        let machines = machines.into_iter().map(|address| (address, "telemetry"));
        clients
            .chain(machines)
            .map(|(address, role)| ListenerStatus { address: address.to_string(), role: role.to_owned() })
            .collect()
    }

    fn store(&self) -> StoreStatus {
        let stats = self.instance.cache.stats();
        let detail: Vec<String> =
            self.instance.cache.findings().into_iter().map(|finding| finding.message).collect();
        StoreStatus {
            state: self.instance.cache.state().to_string(),
            detail: (!detail.is_empty()).then(|| detail.join("; ")),
            entries: stats.disk_entries.max(stats.memory_resources),
            memory_bytes: stats.memory_bytes,
            disk_bytes: stats.disk_bytes,
        }
    }
}

impl Control for Controller {
    fn status(&self) -> Status {
        let instance = &self.instance;
        let now = instance.clock.now();
        let not_ready = instance.not_ready();
        let history = self.history.lock();
        Status {
            instance: self.places.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            predecessor: Some(instance.predecessor.load(Ordering::Relaxed)).filter(|pid| *pid != 0),
            state: instance.life(),
            ready: not_ready.is_none(),
            not_ready,
            started_ms: instance.started.millis(),
            uptime_s: now.since(instance.started).as_secs(),
            config: self.places.config.as_ref().map(|path| path.display().to_string()),
            config_loaded_ms: history.loaded.millis(),
            generation: instance.generation(),
            reload_error: history.error.clone(),
            profile: self.profile.clone(),
            mode: self.overrides.mode.map(|mode| mode_word(mode).to_owned()),
            workers: instance.workers(),
            listeners: self.listeners(),
            connections: self.connections(),
            routes: instance.proxy.site().routes.len(),
            upstreams: instance.upstreams.all().len(),
            store: self.store(),
            state_dir: self.places.state_dir.display().to_string(),
            socket: self.places.socket.display().to_string(),
            memory: resident_memory(),
        }
    }

    fn not_ready(&self) -> Option<String> {
        self.instance.not_ready()
    }

    fn reload(&self) -> Boxed<'_, Result<ReloadReport, Refused>> {
        Box::pin(self.reload_now())
    }

    fn stop(&self, grace: Option<Duration>) {
        // Where so many wait that it finds no place, one of them stops it.
        let _ = self.asks.try_send(Ask::Stop(grace));
    }

    fn drain(&self, drain: Drain) -> Draining {
        let settings = self.instance.settings().server;
        let delay = drain.delay_ms.map_or(settings.drain_delay, Duration::from_millis);
        let grace = drain.grace_ms.map_or(settings.shutdown_grace, Duration::from_millis);
        self.instance.leave();
        if self.instance.life() == State::Draining {
            let _ = self.asks.try_send(Ask::Drain { delay, grace });
        }
        self.draining(delay, grace)
    }

    fn upgrade(&self, asked: Upgrade) -> Result<mpsc::UnboundedReceiver<UpgradeLine>, Box<Problem>> {
        let refused = |why: &str| {
            Box::new(Problem::new(ProblemCode::Unavailable, "no upgrade can begin now").detail(why))
        };
        if self.instance.cache.state() == cache::store::State::Opening {
            return Err(refused("the store is still opening"));
        }
        if !self.instance.begin_upgrade() {
            return Err(refused("another one is under way, or the instance is draining"));
        }
        let (told, lines) = mpsc::unbounded_channel();
        let limit = asked.timeout_ms.map_or(upgrade::LIMIT, Duration::from_millis);
        let order = Order { binary: asked.binary.map(PathBuf::from), limit, told };
        if self.asks.try_send(Ask::Upgrade(order)).is_err() {
            self.instance.end_upgrade();
            return Err(refused("the instance is about to end"));
        }
        Ok(lines)
    }

    fn stay(&self) -> Option<Draining> {
        let stays = self.instance.stay();
        if stays {
            let _ = self.asks.try_send(Ask::Stay);
        }
        stays.then(|| self.draining(Duration::ZERO, Duration::ZERO))
    }

    fn routes(&self) -> Vec<Route> {
        super::routes::list(&self.instance.proxy.site())
    }

    fn certificates(&self) -> Vec<CertificateRow> {
        self.instance.certificates()
    }

    fn proxy(&self) -> Option<Arc<Proxy>> {
        Some(self.instance.proxy.clone())
    }

    fn test_route(&self, test: &RouteTest) -> Result<RouteTestReply, String> {
        let (site, host) = (self.instance.proxy.site(), super::routes::own_host(&self.instance));
        super::routes::test(&site, &host, test, self.instance.clock.now())
    }

    fn explain<'a>(&'a self, asked: &'a Explain) -> Boxed<'a, Result<Explanation, Box<Problem>>> {
        Box::pin(super::explain::explain(&self.instance, asked))
    }

    fn explain_past<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<PastExplanation, Box<Problem>>> {
        Box::pin(super::past::explain(&self.instance, id))
    }
}

/// The word for a mode.
pub(super) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Cache => "cache",
        Mode::Off => "off",
    }
}

fn refused(findings: &[Finding], rendered: &str) -> Refused {
    Refused { findings: reports(findings), rendered: rendered.to_owned() }
}

fn reports(findings: &[Finding]) -> Vec<serde_json::Value> {
    findings.iter().filter_map(|finding| serde_json::to_value(finding.report()).ok()).collect()
}

fn render(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.render(false)).collect::<Vec<_>>().join("\n\n")
}

/// Resident memory in bytes, as Linux tells it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
