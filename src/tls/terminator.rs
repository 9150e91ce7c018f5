//! One `[tls.NAME]` as long as the instance runs: what it says now, and how that changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::server::ClientHello;
use rustls::{ServerConfig, ServerConnection};

use super::client::Digest;
use super::error::Fault;
use super::material::Material;
use super::session::{Expired, Session};
use super::settings::Settings;
use super::state::{Broken, State};
use crate::clock::{Clock, Timestamp};

/// Terminates TLS for the listeners that name it.
#[derive(Debug)]
pub struct Terminator {
    clock: Clock,
    state: ArcSwap<State>,
    hsts: ArcSwap<Option<HeaderValue>>,
    /// One change at a time.
    changing: Mutex<Vec<Fault>>,
    replaced: AtomicU64,
    refused: AtomicU64,
}

/// Those of one config, by name.
pub type Terminators = HashMap<Arc<str>, Arc<Terminator>>;

/// What a client gets, by the name that it asks for.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// With this its handshake goes on.
    pub config: Arc<ServerConfig>,
    policy: Digest,
}

/// A state that was built but is not in force. Dropping it changes nothing.
#[derive(Debug)]
pub struct Prepared(State);

/// What became of looking at the files again.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Certificates that were replaced: what they are now.
    pub replaced: Vec<Arc<Material>>,
    /// Whether what is asked of clients has changed.
    pub clients: bool,
    /// What is broken now and was not before; what was read before goes on.
    pub broken: Vec<Fault>,
    /// Whether something was broken before and nothing is now.
    pub mended: bool,
}

impl Terminator {
    /// Reads the files.
    ///
    /// # Errors
    /// With everything that is wrong with them.
    pub fn new(settings: &Settings, clock: &Clock) -> Result<Self, Vec<Fault>> {
        let (state, faults) = State::build(&Arc::new(settings.clone()), None, clock, Broken::Refused);
        let state = state.ok_or(faults)?;
        Ok(Self {
            clock: clock.clone(),
            hsts: ArcSwap::from_pointee(hsts(settings)),
            state: ArcSwap::from_pointee(state),
            changing: Mutex::default(),
            replaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Reads the files that other settings name.
    ///
    /// # Errors
    /// With everything that is wrong with them; nothing has changed then.
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, Vec<Fault>> {
        let before = self.state.load();
        let (state, faults) =
            State::build(&Arc::new(settings.clone()), Some(&before), &self.clock, Broken::Refused);
        state.map(Prepared).ok_or(faults)
    }

    /// Puts a prepared state in force for new connections.
    pub fn replace(&self, Prepared(state): Prepared) {
        let mut faults = self.changing.lock();
        faults.clear();
        self.hsts.store(Arc::new(hsts(&state.settings)));
        self.state.store(Arc::new(state));
    }

    /// Reads the files again. What is good is taken for new connections; in place of what is not, what was read before
    /// goes on.
    pub fn refresh(&self) -> Refreshed {
        let mut known = self.changing.lock();
        let before = self.state.load_full();
        let (state, faults) = State::build(&before.settings, Some(&before), &self.clock, Broken::Kept);
        let text = |fault: &Fault| (fault.at, fault.to_string());
        let news = |fault: &&Fault| !known.iter().any(|old| text(old) == text(fault));
        let mut done = Refreshed {
            broken: faults.iter().filter(news).cloned().collect(),
            mended: faults.is_empty() && !known.is_empty(),
            ..Refreshed::default()
        };
        self.refused.fetch_add(done.broken.len() as u64, Ordering::Relaxed);
        *known = faults;
        let Some(state) = state else { return done };
        done.replaced = changed(&before, &state);
        done.clients = state.tickets_differ(&before);
        self.replaced.fetch_add(done.replaced.len() as u64, Ordering::Relaxed);
        self.state.store(Arc::new(state));
        done
    }

    /// What a client gets who begins so; `None`: it asks for no name that is served here, and is refused.
    pub fn welcome(&self, hello: &ClientHello<'_>) -> Option<Welcome> {
        let state = self.state.load();
        let group = state.choose(hello.server_name())?;
        Some(Welcome { config: group.config.clone(), policy: group.policy() })
    }

    /// What is known of a connection after its handshake.
    ///
    /// # Errors
    /// When the client's certificate, shown in an earlier handshake, is not valid any more.
    pub fn session(
        self: &Arc<Self>,
        welcome: &Welcome,
        connection: &ServerConnection,
    ) -> Result<Session, Expired> {
        Session::new(self.clone(), welcome.policy, connection, self.clock.now())
    }

    pub(super) fn serves(&self, host: &str, policy: &Digest) -> bool {
        self.state.load().serves(host, policy)
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.state.load().settings.clone()
    }

    /// `Strict-Transport-Security`, where replies have it.
    pub fn hsts(&self) -> Option<HeaderValue> {
        (**self.hsts.load()).clone()
    }

    /// The certificates in use, in the order of the settings.
    pub fn certificates(&self) -> Vec<Arc<Material>> {
        self.state.load().materials.clone()
    }

    /// What is broken of the files, so that what was read before goes on.
    pub fn faults(&self) -> Vec<Fault> {
        self.changing.lock().clone()
    }

    /// How many certificates were replaced while it ran, and how many files were refused.
    pub fn changes(&self) -> (u64, u64) {
        (self.replaced.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// When an OCSP response runs out, so that it must not be sent any more.
    pub fn next_staple(&self, now: Timestamp) -> Option<Timestamp> {
        self.state.load().next_staple(now)
    }
}

fn hsts(settings: &Settings) -> Option<HeaderValue> {
    settings.hsts.as_ref().and_then(|hsts| HeaderValue::try_from(hsts.text()).ok())
}

fn changed(before: &State, after: &State) -> Vec<Arc<Material>> {
    let pairs = before.materials.iter().zip(&after.materials);
    pairs.filter(|(old, new)| !old.is_same(new)).map(|(_, new)| new.clone()).collect()
}
