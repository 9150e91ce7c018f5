//! A running instance: the rooms wired together, and what outlives a reload.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::certificates::{self, Certificates};
use super::error::Error;
use super::handler::Gate;
use crate::admin::api::{CertificateRow, State};
use crate::cache::{self, Cache, Mode};
use crate::clock::{Clock, Timestamp};
use crate::config::Compiled;
use crate::pipeline::{Proxy, Site};
use crate::server::inherited::{self, Purpose};
use crate::server::{self, ListenAddress, Running};
use crate::telemetry::listener::Readiness;
use crate::telemetry::{self, Telemetry};
use crate::tls::Terminators;
use crate::upstream::Upstreams;

/// Where an instance keeps what must survive a restart.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The store's directory; `None`: RAM only.
    pub store: Option<PathBuf>,
}

/// A running instance.
pub struct Instance {
    /// Answers requests.
    pub proxy: Arc<Proxy>,
    /// What is stored.
    pub cache: Arc<Cache>,
    /// What happened.
    pub telemetry: Arc<Telemetry>,
    /// Who answers.
    pub upstreams: Arc<Upstreams>,
    /// The clock of all of them.
    pub clock: Clock,
    /// When it started.
    pub started: Timestamp,
    pub(super) certificates: Arc<Certificates>,
    control: Handle,
    server: Mutex<Option<Arc<Running>>>,
    current: Mutex<Compiled>,
    machine: Mutex<Option<Machine>>,
    workers: usize,
    generation: AtomicU64,
    /// The process that it has taken over from, until that has ended; 0: none.
    pub(super) predecessor: Arc<AtomicU32>,
    life: Mutex<State>,
}

/// The machine listener and its task.
struct Machine {
    wanted: SocketAddr,
    local: SocketAddr,
    /// Another descriptor, for a process that takes over.
    socket: Option<TcpListener>,
    task: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An instance of which everything is there but the store: it listens, and does not accept yet.
pub(super) struct Prepared {
    settings: Compiled,
    clock: Clock,
    workers: usize,
    bound: server::Bound,
    certificates: Arc<Certificates>,
    terminators: Terminators,
    machine: Option<BoundMachine>,
    telemetry: Arc<Telemetry>,
    upstreams: Arc<Upstreams>,
    site: Site,
}

impl Prepared {
    /// Takes everything that could be refused. To be called inside the control runtime.
    pub(super) fn new(settings: Compiled, clock: Clock) -> Result<Self, Error> {
        let workers = workers(settings.workers);
        let bound = server::bind(&settings.listeners, workers)?;
        let certificates = Arc::new(Certificates::new(&clock));
        let terminators = certificates.apply(certificates.prepare(&settings.tls)?);
        let machine = settings.telemetry.listen.map(bind_machine).transpose()?;
        let telemetry = Telemetry::start(&settings.telemetry, clock.clone())?;
        let upstreams = Upstreams::new(Handle::current());
        upstreams.apply(&settings.upstreams);
        let site = Site::build(settings.pipeline.clone(), &settings.cache, &upstreams, &telemetry, None)?;
        Ok(Self {
            settings,
            clock,
            workers,
            bound,
            certificates,
            terminators,
            machine,
            telemetry,
            upstreams,
            site,
        })
    }

    /// Opens the store; that goes on behind.
    pub(super) fn open_cache(&self, paths: &Paths) -> Result<Arc<Cache>, Error> {
        Ok(Cache::open(self.settings.cache.clone(), paths.store.clone(), self.clock.clone())?)
    }

    /// Accepts clients from here on.
    pub(super) fn start(self, cache: Arc<Cache>) -> Result<Arc<Instance>, Error> {
        let Self {
            settings,
            clock,
            workers,
            bound,
            certificates,
            terminators,
            machine,
            telemetry,
            upstreams,
            site,
        } = self;
        let proxy = Proxy::new(site, cache.clone(), telemetry.clone(), clock.clone());
        let gate =
            Arc::new(Gate { proxy: proxy.clone(), telemetry: telemetry.clone(), clock: clock.clone() });
        let server = server::start(bound, &settings.server, &terminators, &gate);
        let server = server.map_err(Error::system("start workers"))?;
        let busy: Vec<_> = server.runtimes().map(Handle::metrics).collect();
        // One worker is one runtime of one thread.
        cache.give_way_to(u32::try_from(busy.len()).unwrap_or(u32::MAX), move || {
            busy.iter().map(|worker| worker.worker_total_busy_duration(0)).sum()
        });
        let instance = Arc::new(Instance {
            started: clock.now(),
            proxy,
            cache,
            telemetry,
            upstreams,
            clock,
            certificates,
            control: Handle::current(),
            server: Mutex::new(Some(Arc::new(server))),
            current: Mutex::new(settings),
            machine: Mutex::default(),
            workers,
            generation: AtomicU64::new(1),
            predecessor: Arc::default(),
            life: Mutex::new(State::Serving),
        });
        if let Some(machine) = machine {
            *instance.machine.lock() = Some(instance.serve_machine(machine));
        }
        super::gauges::register(&instance);
        instance.control.spawn(certificates::follow(Arc::downgrade(&instance)));
        Ok(instance)
    }
}

impl Instance {
    /// Starts an instance; it accepts clients when this returns. To be called inside the control runtime, on which
    /// names are resolved and machines answered.
    ///
    /// # Errors
    /// When an address cannot be listened on, a file cannot be opened or a thread cannot be started. Nothing is left
    /// running then.
    pub fn start(settings: Compiled, paths: &Paths, clock: Clock) -> Result<Arc<Self>, Error> {
        let prepared = Prepared::new(settings, clock)?;
        let cache = prepared.open_cache(paths)?;
        prepared.start(cache)
    }

    /// Takes over another config, all of it or (on an error) nothing, and says what changed. No connection is dropped, and what is warm
    /// stays: stores, pools and counters are kept by name.
    ///
    /// # Errors
    /// When a new address cannot be listened on or a file cannot be opened; the old config goes on.
    pub fn reload(self: &Arc<Self>, settings: Compiled) -> Result<Vec<String>, Error> {
        match self.life() {
            // New listeners would accept again what a draining server has turned its back on.
            State::Draining | State::Stopping => return Err(Error::Stopping),
            // What is handed over is what was, not what comes.
            State::Upgrading => return Err(Error::Upgrading),
            State::Starting | State::Serving => {}
        }
        let server = self.server.lock().clone().ok_or(Error::Stopping)?;
        let mut current = self.current.lock();
        let changes = super::changes::changes(&current, &settings);
        let prepared = server.prepare(&settings.listeners)?;
        let certificates = self.certificates.prepare(&settings.tls)?;
        let machine = self.prepare_machine(settings.telemetry.listen)?;
        self.telemetry.reconfigure(&settings.telemetry)?;
        // From here on nothing can fail but the routes, which the config's check has built already.
        let before = current.upstreams.clone();
        self.upstreams.apply(&settings.upstreams);
        let site = Site::build(
            settings.pipeline.clone(),
            &settings.cache,
            &self.upstreams,
            &self.telemetry,
            Some(&self.proxy.site()),
        );
        let site = match site {
            Ok(site) => site,
            Err(error) => {
                self.upstreams.apply(&before);
                self.telemetry.reconfigure(&current.telemetry)?;
                return Err(error.into());
            }
        };
        self.cache.reconfigure(settings.cache.clone());
        self.proxy.replace(site);
        let terminators = self.certificates.apply(certificates);
        server.apply(prepared, &settings.server, &terminators);
        match machine {
            MachineChange::Keep => {}
            MachineChange::Stop => *self.machine.lock() = None,
            MachineChange::Start(bound) => *self.machine.lock() = Some(self.serve_machine(bound)),
        }
        *current = settings;
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(changes)
    }

    /// What clients connect to.
    pub fn listening(&self) -> Vec<ListenAddress> {
        self.server.lock().as_ref().map(|server| server.local_addrs()).unwrap_or_default()
    }

    /// The TCP addresses that clients connect to.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listening().iter().filter_map(ListenAddress::tcp).collect()
    }

    /// Where clients connect to, each with the `[tls.NAME]` that it speaks.
    pub fn listeners(&self) -> Vec<(ListenAddress, Option<Arc<str>>)> {
        let server = self.server.lock();
        server.as_ref().map(|server| server.listeners()).unwrap_or_default()
    }

    /// Reads the files of certificates again, as is done when one of them changes.
    pub fn refresh_certificates(&self) {
        self.certificates.refresh();
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Vec<CertificateRow> {
        let mut used: HashMap<Arc<str>, Vec<String>> = HashMap::new();
        for (address, tls) in self.listeners() {
            if let Some(tls) = tls {
                used.entry(tls).or_default().push(address.to_string());
            }
        }
        self.certificates.rows(&used)
    }

    /// Where machines ask for metrics and readiness.
    pub fn machine_addr(&self) -> Option<SocketAddr> {
        self.machine.lock().as_ref().map(|machine| machine.local)
    }

    /// The settings in force.
    pub fn settings(&self) -> Compiled {
        self.current.lock().clone()
    }

    /// How many configs it has taken over.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.server.lock().as_ref().map_or(0, |server| server.connections())
    }

    /// Where it is in its life.
    pub fn life(&self) -> State {
        *self.life.lock()
    }

    /// Is about to be taken over; false where something else is under way.
    pub(super) fn begin_upgrade(&self) -> bool {
        let mut life = self.life.lock();
        let can = *life == State::Serving;
        if can {
            *life = State::Upgrading;
        }
        can
    }

    /// It is not taken over.
    pub(super) fn end_upgrade(&self) {
        let mut life = self.life.lock();
        if *life == State::Upgrading {
            *life = State::Serving;
        }
    }

    /// Another descriptor of every socket that it listens on, for a process that takes over.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(Purpose, OwnedFd)>> {
        let server = self.server.lock().clone();
        let mut all = server.map_or_else(|| Ok(Vec::new()), |server| server.sockets())?;
        if let Some(machine) = &*self.machine.lock()
            && let Some(socket) = &machine.socket
        {
            all.push((Purpose::Machines(machine.wanted), socket.try_clone()?.into()));
        }
        Ok(all)
    }

    /// Says whether the files of its sockets go with it.
    pub(super) fn own_files(&self, ours: bool) {
        if let Some(server) = &*self.server.lock() {
            server.own_files(ours);
        }
    }

    /// Serves nothing that is stored any more: it may be purged where this process does not hear of it.
    pub(super) fn forward_only(&self) -> Result<(), Error> {
        self.rebuild(Some(Mode::Off))
    }

    /// Serves what is stored again.
    pub(super) fn resume(&self) {
        let mode = self.current.lock().pipeline.mode;
        if let Err(error) = self.rebuild(mode) {
            tracing::error!(%error, "nothing stored is served until the next reload");
        }
    }

    fn rebuild(&self, mode: Option<Mode>) -> Result<(), Error> {
        let (mut settings, caching) = {
            let current = self.current.lock();
            (current.pipeline.clone(), current.cache.clone())
        };
        settings.mode = mode;
        let before = self.proxy.site();
        let site = Site::build(settings, &caching, &self.upstreams, &self.telemetry, Some(&before))?;
        self.proxy.replace(site);
        Ok(())
    }

    /// Another process has taken over: leaves the sockets to it, and lets each connection send one more request.
    pub(super) fn withdraw(&self) {
        *self.life.lock() = State::Stopping;
        *self.machine.lock() = None;
        if let Some(server) = &*self.server.lock() {
            server.withdraw();
        }
    }

    /// Why it isn't ready for clients; `None` when it is.
    pub fn not_ready(&self) -> Option<String> {
        match self.life() {
            State::Draining => return Some("draining".to_owned()),
            State::Stopping => return Some("stopping".to_owned()),
            State::Starting | State::Serving | State::Upgrading => {}
        }
        // A route needs the store open only where a reply may come from nowhere else; in mode `cache` a miss is
        // forwarded, but until the store has opened what it holds would be fetched again.
        let caching = self.proxy.site().routes.iter().any(|route| route.cache.mode == Mode::Cache);
        (caching && self.cache.state() == cache::store::State::Opening)
            .then(|| "the store is opening".to_owned())
    }

    /// Is not ready any more, and tells clients to go elsewhere; those that come nevertheless are answered.
    pub fn leave(&self) {
        let mut life = self.life.lock();
        if matches!(*life, State::Serving | State::Upgrading) {
            *life = State::Draining;
            if let Some(server) = &*self.server.lock() {
                server.leave();
            }
        }
    }

    /// Takes [leaving](Self::leave) back, as long as it accepts; whether there was something to take back.
    pub fn stay(&self) -> bool {
        let mut life = self.life.lock();
        let does = *life == State::Draining;
        if does {
            *life = State::Serving;
            if let Some(server) = &*self.server.lock() {
                server.stay();
            }
        }
        does
    }

    /// Stops accepting and lets what is in flight finish.
    pub fn drain(&self) {
        *self.life.lock() = State::Stopping;
        if let Some(server) = &*self.server.lock() {
            server.drain();
        }
    }

    /// Waits for the last connection, `grace` at most; how many are left.
    pub async fn drained(&self, grace: Duration) -> usize {
        let server = self.server.lock().clone();
        match server {
            Some(server) => server.drained(grace).await,
            None => 0,
        }
    }

    /// Ends it: what is left of connections is cut, the store is closed, logs are written out.
    pub async fn close(&self) {
        *self.life.lock() = State::Stopping;
        *self.machine.lock() = None;
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.abort();
            if let Some(server) = Arc::into_inner(server) {
                // Joining blocks; the workers' last tasks may need this runtime.
                let _ = tokio::task::spawn_blocking(|| server.join()).await;
            }
        }
        self.cache.close().await;
        self.telemetry.close();
    }

    fn prepare_machine(&self, wanted: Option<SocketAddr>) -> Result<MachineChange, Error> {
        let held = self.machine.lock().as_ref().map(|machine| machine.wanted);
        Ok(match wanted {
            wanted if wanted == held => MachineChange::Keep,
            None => MachineChange::Stop,
            Some(address) => MachineChange::Start(bind_machine(address)?),
        })
    }

    fn serve_machine(self: &Arc<Self>, BoundMachine { wanted, local, listener }: BoundMachine) -> Machine {
        let instance = Arc::downgrade(self);
        let ready = Arc::new(move || match instance.upgrade().map(|instance| instance.not_ready()) {
            Some(None) => Readiness::Ready,
            Some(Some(why)) => Readiness::NotReady(vec![why]),
            None => Readiness::NotReady(vec!["stopping".to_owned()]),
        });
        let socket = listener.try_clone().ok();
        let serving = telemetry::listener::serve(listener, self.telemetry.clone(), ready);
        let task = self.control.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the telemetry listener ended");
            }
        });
        Machine { wanted, local, socket, task }
    }
}

/// What a reload does to the machine listener.
enum MachineChange {
    Keep,
    Stop,
    Start(BoundMachine),
}

/// The machine listener, bound but not yet answered.
struct BoundMachine {
    wanted: SocketAddr,
    local: SocketAddr,
    listener: TcpListener,
}

fn bind_machine(wanted: SocketAddr) -> Result<BoundMachine, Error> {
    let bind = || {
        let handed = inherited::take(&Purpose::Machines(wanted)).into_iter().next();
        let listener = match handed {
            Some(socket) => TcpListener::from(socket),
            None => TcpListener::bind(wanted)?,
        };
        listener.set_nonblocking(true)?;
        Ok(BoundMachine { wanted, local: listener.local_addr()?, listener })
    };
    bind().map_err(|source| Error::Telemetry { address: wanted, source })
}

/// As many as the config says, or one per core.
fn workers(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
