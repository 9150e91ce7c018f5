//! The certificates of a running instance: what outlives a reload, what changes when a file does, and warnings before one
//! ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::Error;
use super::instance::Instance;
use crate::admin::api::CertificateRow;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::config::Compiled;
use crate::config::watch::Changes;
use crate::server::ListenerSettings;
use crate::telemetry::{GaugeSink, names};
use crate::tls::{self, At, Fault, Material, Prepared, Settings, Terminator, Terminators};

/// How often files are looked at that nothing was heard of: not every file system tells of changes.
const LOOK: Duration = Duration::from_secs(60);

/// How often is told that a certificate ends soon.
const REMIND: Duration = Duration::from_secs(24 * 3600);

/// The terminators in use, by name.
#[derive(Debug)]
pub(super) struct Certificates {
    clock: Clock,
    terminators: Mutex<Terminators>,
    /// Their settings are others.
    reloaded: Notify,
}

/// Terminators as other settings want them. Dropping it changes nothing.
pub(super) struct Wanted {
    all: Terminators,
    replaced: Vec<(Arc<Terminator>, Prepared)>,
}

impl Certificates {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), terminators: Mutex::default(), reloaded: Notify::new() }
    }

    /// Reads every file. What goes by a name that is known stays: its tickets, and its connections.
    pub(super) fn prepare(&self, settings: &[Settings]) -> Result<Wanted, Error> {
        let known = self.terminators.lock().clone();
        let mut wanted = Wanted { all: HashMap::new(), replaced: Vec::new() };
        for settings in settings {
            let refused = |faults: Vec<Fault>| Error::Tls { name: settings.name.clone(), faults };
            let terminator = match known.get(&settings.name) {
                Some(terminator) => {
                    let prepared = terminator.prepare(settings).map_err(refused)?;
                    wanted.replaced.push((terminator.clone(), prepared));
                    terminator.clone()
                }
                None => Arc::new(Terminator::new(settings, &self.clock).map_err(refused)?),
            };
            wanted.all.insert(settings.name.clone(), terminator);
        }
        Ok(wanted)
    }

    /// Puts them in force; for the server.
    pub(super) fn apply(&self, wanted: Wanted) -> Terminators {
        for (terminator, prepared) in wanted.replaced {
            terminator.replace(prepared);
        }
        *self.terminators.lock() = wanted.all.clone();
        self.reloaded.notify_one();
        wanted.all
    }

    fn all(&self) -> Vec<Arc<Terminator>> {
        let mut all: Vec<_> = self.terminators.lock().values().cloned().collect();
        all.sort_by_key(|terminator| terminator.settings().name.clone());
        all
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            self.all().iter().flat_map(|terminator| terminator.settings().files()).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Reads the files again, and tells what came of it.
    pub(super) fn refresh(&self) {
        for terminator in self.all() {
            let (done, settings) = (terminator.refresh(), terminator.settings());
            let tls = &*settings.name;
            for fault in &done.broken {
                tracing::error!(tls, "{fault}: what was read before goes on");
            }
            for material in &done.replaced {
                let (file, serial) = (material.files.cert.display(), &*material.leaf.serial);
                tracing::info!(tls, %file, serial, "certificate replaced");
            }
            if done.clients {
                tracing::info!(tls, "what is asked of clients' certificates has changed");
            }
            if done.mended {
                tracing::info!(tls, "the files of certificates are good again");
            }
        }
    }

    /// Tells of certificates that end soon, or have ended.
    fn remind(&self) {
        let now = self.clock.now();
        for terminator in self.all() {
            for material in terminator.certificates() {
                let (leaf, file) = (&material.leaf, material.files.cert.display());
                let days = leaf.not_after.since(now).as_secs() / 86_400;
                if leaf.not_after < now {
                    tracing::error!(%file, "the certificate has expired: clients refuse it");
                } else if leaf.ends_soon(now) {
                    tracing::warn!(%file, days, "the certificate ends soon");
                }
            }
        }
    }

    /// Whether an OCSP response has just run out.
    fn staple_ran_out(&self) -> bool {
        let now = self.clock.now();
        let ran_out = |material: &Arc<Material>| {
            material.staple.as_ref().and_then(|staple| staple.next_update).is_some_and(|until| until <= now)
        };
        self.all().iter().any(|terminator| terminator.certificates().iter().any(ran_out))
    }

    /// When something has to be looked at that no file tells of.
    fn next_look(&self) -> Duration {
        let now = self.clock.now();
        let next = self.all().iter().filter_map(|terminator| terminator.next_staple(now)).min();
        next.map_or(LOOK, |next| next.since(now).min(LOOK)).max(Duration::from_secs(1))
    }

    /// The certificates as people read them.
    pub(super) fn rows(&self, listeners: &HashMap<Arc<str>, Vec<String>>) -> Vec<CertificateRow> {
        let now = self.clock.now();
        let mut rows = Vec::new();
        for terminator in self.all() {
            let (settings, faults) = (terminator.settings(), terminator.faults());
            let listeners = listeners.get(&settings.name).cloned().unwrap_or_default();
            for (index, material) in terminator.certificates().iter().enumerate() {
                let problem = faults.iter().find(|fault| concerns(fault, index)).map(ToString::to_string);
                rows.push(row(&settings.name, material, &listeners, problem, now));
            }
        }
        rows
    }

    pub(super) fn gauges(&self, sink: &mut GaugeSink) {
        let now = self.clock.now();
        for terminator in self.all() {
            let settings = terminator.settings();
            let tls = ("tls", &*settings.name);
            let (replaced, _) = terminator.changes();
            sink.set(names::CERTIFICATE_FILES_BROKEN, &[tls], terminator.faults().len() as f64);
            sink.set(names::CERTIFICATES_REPLACED, &[tls], replaced as f64);
            for material in terminator.certificates() {
                let (leaf, fingerprint) = (&material.leaf, material.leaf.fingerprint_text());
                let name = leaf
                    .server_names()
                    .next()
                    .map_or_else(|| leaf.subject.to_string(), |name| name.to_string());
                let labels = [tls, ("name", &*name), ("fingerprint", &fingerprint[..16])];
                let left = (leaf.not_after.millis() as f64 - now.millis() as f64) / 1000.0;
                sink.set(names::CERTIFICATE_EXPIRES_IN, &labels, left.trunc());
                let soon = leaf.ends_soon(now);
                sink.set(names::CERTIFICATE_ENDS_SOON, &labels, f64::from(u8::from(soon)));
            }
        }
    }
}

/// Whether a fault is one of the certificate at this position.
fn concerns(fault: &Fault, index: usize) -> bool {
    match fault.at {
        At::Certificate(at) | At::Key(at) | At::Staple(at) => at == index,
        At::Authorities(_) | At::Revoked(_) | At::Whole => true,
    }
}

/// A certificate as people read it.
fn row(
    tls: &str,
    material: &Material,
    listeners: &[String],
    problem: Option<String>,
    now: Timestamp,
) -> CertificateRow {
    let leaf = &material.leaf;
    let seconds = (leaf.not_after.millis() as i64 - now.millis() as i64) / 1000;
    let state = match () {
        () if leaf.not_before > now => "not yet valid",
        () if leaf.not_after < now => "expired",
        () if leaf.ends_soon(now) => "ends soon",
        () => "valid",
    };
    CertificateRow {
        tls: tls.to_owned(),
        names: leaf.sans.iter().map(|san| san.to_string().trim_start_matches("dns:").to_owned()).collect(),
        state: state.to_owned(),
        days_left: seconds.div_euclid(86_400),
        key: leaf.key.as_str().to_owned(),
        subject: leaf.subject.to_string(),
        issuer: leaf.issuer.to_string(),
        serial: leaf.serial.to_string(),
        fingerprint: leaf.fingerprint_text(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        chain: material.chain,
        staple: material.staple.as_ref().map(|staple| staple.state(now).to_owned()),
        listeners: listeners.to_vec(),
        cert: material.files.cert.display().to_string(),
        problem,
    }
}

/// The certificates that a config names, where nobody serves with them.
pub fn of_config(compiled: &Compiled) -> Vec<CertificateRow> {
    let now = Clock::System.now();
    let mut rows = Vec::new();
    for settings in &compiled.tls {
        let speaks = |listener: &&ListenerSettings| listener.tls.as_ref() == Some(&settings.name);
        let listeners: Vec<_> =
            compiled.listeners.iter().filter(speaks).map(|listener| listener.address.to_string()).collect();
        let found = tls::inspect(settings).certificates;
        rows.extend(found.iter().map(|(_, material)| row(&settings.name, material, &listeners, None, now)));
    }
    rows
}

/// Follows the files as long as the instance lives.
pub(super) async fn follow(instance: Weak<Instance>) {
    // The files that are followed, and what tells of them, where something does.
    let mut following: (Vec<PathBuf>, Option<Changes>) = Default::default();
    let mut remind = Instant::now();
    while let Some(instance) = instance.upgrade() {
        let certificates = instance.certificates.clone();
        drop(instance);
        if Instant::now() >= remind {
            certificates.remind();
            remind = Instant::now() + REMIND;
        }
        let files = certificates.files();
        let Some((first, others)) = files.split_first() else {
            following = Default::default();
            certificates.reloaded.notified().await;
            remind = Instant::now();
            continue;
        };
        // What changed between the reading of the files and the watch would be missed.
        let begun = following.0 != files;
        if begun {
            following = (files.clone(), follow_files(first, others));
        }
        let watched = &mut following.1;
        let looked = certificates.next_look();
        let due = begun
            || tokio::select! {
                () = certificates.reloaded.notified() => {
                    remind = Instant::now();
                    false
                }
                () = changed(watched) => true,
                // Where nothing can be watched, everything is read again.
                () = tokio::time::sleep(looked) => {
                    following.1.as_mut().is_none_or(Changes::look) || certificates.staple_ran_out()
                }
            };
        if due {
            let reading = certificates.clone();
            // A panic in there is told by tokio, and the files are looked at again.
            let _ = tokio::task::spawn_blocking(move || reading.refresh()).await;
        }
    }
}

/// Watches the files, as far as they can be.
fn follow_files(first: &Path, others: &[PathBuf]) -> Option<Changes> {
    let told = |error: config::watch::Error| {
        tracing::warn!(%error, "changes of certificates are noticed within a minute only");
    };
    let mut changes = config::watch::watch(first).map_err(told).ok()?;
    if let Err(error) = changes.along(others, SystemTime::now()) {
        told(error);
    }
    Some(changes)
}

async fn changed(watched: &mut Option<Changes>) {
    if let Some(changes) = watched
        && changes.changed().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
