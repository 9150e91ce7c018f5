//! A proxy in this very process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use proxy_stone::app::{Instance, Paths};
use proxy_stone::clock::Clock;
use proxy_stone::config::load::load_with;
use proxy_stone::config::{Compiled, Overrides, Source};
use proxy_stone::telemetry::Query;
use proxy_stone::telemetry::event::Finished;
use tempfile::TempDir;

use super::client::{Client, Reply};
use super::h2::H2;
use super::origin::Origin;
use super::{until, within};

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    pub instance: Arc<Instance>,
    /// Its first listener.
    pub address: SocketAddr,
    dir: Option<Arc<TempDir>>,
}

/// How a proxy is to be started.
pub struct Starting {
    config: String,
    clock: Clock,
    dir: Option<Arc<TempDir>>,
}

impl Starting {
    /// With this clock instead of the system's.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// With a store on disk, in a directory of its own, instead of in RAM only.
    pub fn on_disk(mut self) -> Self {
        self.dir = Some(Arc::new(tempfile::tempdir().expect("a directory")));
        self
    }

    /// With the store of a proxy that was there before.
    pub fn on_disk_of(mut self, before: &Proxy) -> Self {
        self.dir = before.dir.clone();
        self
    }

    /// Starts it, and waits until its store is open.
    pub async fn start(self) -> Proxy {
        let compiled = compile(&self.config).unwrap_or_else(|findings| panic!("{findings}"));
        let paths = Paths { store: self.dir.as_ref().map(|dir| store_in(dir)) };
        let instance = Instance::start(compiled, &paths, self.clock).expect("started");
        let address = instance.local_addrs()[0];
        within(instance.cache.wait_open()).await;
        Proxy { instance, address, dir: self.dir }
    }
}

fn store_in(dir: &TempDir) -> PathBuf {
    dir.path().join("store")
}

impl Proxy {
    /// A proxy of this config, which need not say where to listen. `{}` has no meaning here: use `format!`.
    pub fn of(config: impl Into<String>) -> Starting {
        Starting { config: config.into(), clock: Clock::System, dir: None }
    }

    /// Passes everything on, and stores nothing.
    pub async fn passing(origin: &Origin) -> Self {
        Self::of(format!("upstream = \"{}\"\ncache = false", origin.url())).start().await
    }

    /// Passes everything on, and stores what RFC 9111 allows, in RAM.
    pub async fn caching(origin: &Origin) -> Self {
        Self::of(format!("upstream = \"{}\"", origin.url())).start().await
    }

    /// Passes everything on, and stores what RFC 9111 allows, in RAM, by this clock.
    pub async fn caching_by(clock: &Clock, origin: &Origin) -> Self {
        Self::of(format!("upstream = \"{}\"", origin.url())).clock(clock).start().await
    }

    /// The directory of its store.
    pub fn store_dir(&self) -> PathBuf {
        store_in(self.dir.as_ref().expect("a store on disk"))
    }

    /// Waits until so many replies have been stored.
    pub async fn stored(&self, count: u64) {
        until("replies are stored", || self.instance.cache.stats().inserts >= count).await;
    }

    /// Waits until what was stored is on disk as well.
    pub async fn written(&self) {
        until("the store has written", || self.instance.cache.stats().queue_depth == 0).await;
    }

    /// Whether a stored reply can answer this host's URL now; the origin is not asked.
    pub async fn has(&self, host: &str, target: &str) -> bool {
        let host = format!("Host: {host}");
        let reply = self.ask("GET", target, &[&host, "Cache-Control: only-if-cached"], "").await;
        assert!(matches!(reply.status, 200 | 504), "{}: {}", reply.status, reply.text());
        reply.status == 200
    }

    /// A new HTTP/1.1 connection.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A new HTTP/2 connection.
    pub async fn connect_h2(&self) -> H2 {
        H2::connect(self.address).await
    }

    /// GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Reply {
        self.connect().await.get(target).await
    }

    /// A request on a connection of its own; `fields` are whole lines.
    pub async fn ask(&self, method: &str, target: &str, fields: &[&str], body: &str) -> Reply {
        self.connect().await.ask(method, target, fields, body).await
    }

    /// Waits for the `count`th finished exchange; all of them, the first one first.
    pub async fn finished(&self, count: usize) -> Vec<Arc<Finished>> {
        let all = || self.instance.telemetry.recent(&Query::default());
        until("exchanges finish", || all().len() >= count).await;
        all()
    }

    /// Takes over another config; what that changed.
    ///
    /// # Errors
    /// With the findings, or why it could not be taken over.
    pub fn reload(&self, config: &str) -> Result<Vec<String>, String> {
        let compiled = compile(config)?;
        self.instance.reload(compiled).map_err(|error| error.to_string())
    }

    /// Ends it in good order and waits for that.
    pub async fn close(&self) {
        within(self.instance.close()).await;
    }
}

fn compile(config: &str) -> Result<Compiled, String> {
    // Keys of the top level stand before all tables.
    let top = config.split("\n[").next().unwrap_or_default();
    let mut text = String::new();
    if !top.contains("listen =") {
        text += "listen = \"127.0.0.1:0\"\n";
    }
    if !top.contains("workers =") {
        text += "workers = 2\n";
    }
    text += config;
    let source = Source::Text { name: "test.toml".into(), text };
    let loaded = load_with(&source, None, &Overrides::default(), &|_| None);
    loaded.compiled.ok_or_else(|| {
        let messages: Vec<String> =
            loaded.findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
        messages.join("\n")
    })
}
