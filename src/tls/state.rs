//! What one `[tls.NAME]` says at one moment, ready for handshakes. Immutable: what changes is built beside it and put in
//! its place.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::{ServerConfig, version};

use super::client::{Digest, Part, Requirements};
use super::error::{At, Error, Fault};
use super::material::Material;
use super::names::ByName;
use super::resolver::Resolver;
use super::settings::{ClientAuth, Profile, Settings};
use super::tickets::Tickets;
use crate::clock::{Clock, Timestamp};

/// Sessions of TLS 1.2 clients without tickets that are remembered.
const REMEMBERED_SESSIONS: usize = 1024;

/// Everything that a handshake needs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Arc<Settings>,
    pub(super) materials: Vec<Arc<Material>>,
    pub(super) resolver: Arc<Resolver>,
    /// By what is asked of clients; the first one where no name says otherwise.
    groups: Vec<Group>,
    by_name: ByName<usize>,
}

/// The names of which the same is asked.
#[derive(Debug)]
pub(super) struct Group {
    auth: ClientAuth,
    requirements: Requirements,
    pub(super) config: Arc<ServerConfig>,
}

impl Group {
    /// What its requirements are told by.
    pub(super) fn policy(&self) -> Digest {
        self.requirements.policy
    }
}

/// What is done where a file is no longer good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Nothing can be built.
    Refused,
    /// What was read from it before goes on.
    Kept,
}

/// The provider of all cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl State {
    /// Reads every file. Tickets and remembered sessions go on where what is asked of clients is what it was.
    pub(super) fn build(
        settings: &Arc<Settings>,
        before: Option<&Self>,
        clock: &Clock,
        broken: Broken,
    ) -> (Option<Self>, Vec<Fault>) {
        let mut building = Building { provider: provider(), before, broken, faults: Vec::new(), lost: false };
        let now = clock.now();
        let materials: Vec<_> = building.materials(settings);
        let resolver = Arc::new(Resolver::new(&materials, now));
        let (groups, by_name) = building.groups(settings, &resolver, clock);
        let Building { mut faults, lost, .. } = building;
        if materials.is_empty() && faults.is_empty() {
            faults.push(Fault { at: At::Whole, error: Error::Settings("there is no certificate".into()) });
        }
        let whole = !lost && !materials.is_empty() && !groups.is_empty();
        let state = Self { settings: settings.clone(), materials, resolver, groups, by_name };
        (whole.then_some(state), faults)
    }

    /// The group that a client belongs to who asks for this name; `None`: it is refused.
    pub(super) fn choose(&self, sni: Option<&str>) -> Option<&Group> {
        if self.settings.strict_sni && !sni.is_some_and(|name| self.resolver.knows(name)) {
            return None;
        }
        Some(self.group(sni.unwrap_or_default()))
    }

    fn group(&self, name: &str) -> &Group {
        let at = if self.by_name.is_empty() { 0 } else { self.by_name.get(name).copied().unwrap_or(0) };
        &self.groups[at]
    }

    /// Whether requests for a host may come by a connection under these requirements.
    pub(super) fn serves(&self, host: &str, policy: &Digest) -> bool {
        self.group(host).policy() == *policy && (!self.settings.strict_sni || self.resolver.knows(host))
    }

    /// Whether sessions that were opened before are not taken up any more.
    pub(super) fn tickets_differ(&self, before: &Self) -> bool {
        let of =
            |state: &Self| state.groups.iter().map(|group| group.requirements.tickets).collect::<Vec<_>>();
        of(self) != of(before)
    }

    /// When an OCSP response has to be looked at again.
    pub(super) fn next_staple(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.materials.iter().filter_map(|material| material.staple.as_ref()?.next_update);
        until.filter(|until| *until > now).min()
    }
}

/// What is collected while a state is built.
struct Building<'a> {
    provider: Arc<CryptoProvider>,
    before: Option<&'a State>,
    broken: Broken,
    faults: Vec<Fault>,
    /// Something is missing that nothing stands in for.
    lost: bool,
}

impl<'a> Building<'a> {
    fn materials(&mut self, settings: &Settings) -> Vec<Arc<Material>> {
        let mut materials = Vec::with_capacity(settings.certificates.len());
        for (index, files) in settings.certificates.iter().enumerate() {
            let loaded = Material::load(files, index, &self.provider).map(Arc::new);
            let before =
                |before: &'a State| before.materials.iter().find(|kept| kept.files == *files).cloned();
            materials.extend(self.or_kept(loaded, before));
        }
        materials
    }

    /// What was loaded, or where it could not be, what was there before.
    fn or_kept<T>(&mut self, loaded: Result<T, Fault>, before: impl Fn(&'a State) -> Option<T>) -> Option<T> {
        let fault = match loaded {
            Ok(loaded) => return Some(loaded),
            Err(fault) => fault,
        };
        self.faults.push(fault);
        let kept = self.before.filter(|_| self.broken == Broken::Kept).and_then(before);
        self.lost |= kept.is_none();
        kept
    }

    fn groups(
        &mut self,
        settings: &Settings,
        resolver: &Arc<Resolver>,
        clock: &Clock,
    ) -> (Vec<Group>, ByName<usize>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_name = ByName::default();
        let names = settings.names.iter().enumerate().map(|(at, (name, auth))| (Some((at, name)), auth));
        for (name, auth) in std::iter::once((None, &settings.client)).chain(names) {
            let known = groups.iter().position(|group| group.auth == *auth);
            let at = known.or_else(|| {
                groups.push(self.group(name.map(|(at, _)| at), settings, auth, resolver, clock)?);
                Some(groups.len() - 1)
            });
            if let (Some((_, name)), Some(at)) = (name, at) {
                *by_name.entry(name) = at;
            }
        }
        (groups, by_name)
    }

    fn group(
        &mut self,
        name: Option<usize>,
        settings: &Settings,
        auth: &ClientAuth,
        resolver: &Arc<Resolver>,
        clock: &Clock,
    ) -> Option<Group> {
        let loaded = Requirements::load(auth, &self.provider).map_err(|(part, error)| Fault {
            at: match part {
                Part::Authorities => At::Authorities(name),
                Part::Revoked => At::Revoked(name),
            },
            error,
        });
        let same = |before: &'a State| before.groups.iter().find(|group| group.auth == *auth);
        let requirements = self.or_kept(loaded, |before| Some(same(before)?.requirements.clone()))?;
        let twin = self.before.and_then(|before| {
            let same_rotation = before.settings.ticket_rotation == settings.ticket_rotation;
            let mut twins = before.groups.iter().filter(|_| same_rotation);
            twins.find(|group| group.requirements.tickets == requirements.tickets)
        });
        match server_config(settings, &requirements, resolver.clone(), twin, &self.provider, clock) {
            Ok(config) => Some(Group { auth: auth.clone(), requirements, config: Arc::new(config) }),
            Err(error) => {
                self.faults.push(Fault { at: At::Whole, error: Error::Settings(error.to_string()) });
                self.lost = true;
                None
            }
        }
    }
}

fn server_config(
    settings: &Settings,
    requirements: &Requirements,
    resolver: Arc<Resolver>,
    twin: Option<&Group>,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match settings.profile {
        Profile::Modern => &[&version::TLS13],
        // rustls has none but Mozilla's suites of TLS 1.2: ECDHE with AEAD.
        Profile::Intermediate => &[&version::TLS13, &version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &requirements.verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    let protocols: &[&[u8]] = if settings.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    match (settings.ticket_rotation, twin) {
        // What was begun with the one before goes on: its keys and sessions are bound to the same requirements.
        (Some(_), Some(twin)) => {
            config.ticketer = twin.config.ticketer.clone();
            config.session_storage = twin.config.session_storage.clone();
        }
        (Some(interval), None) => {
            let tickets = Tickets::new(interval, clock.clone());
            let tickets = tickets.ok_or(rustls::Error::FailedToGetRandomBytes)?;
            config.ticketer = Arc::new(tickets) as Arc<dyn ProducesTickets>;
            config.session_storage =
                ServerSessionMemoryCache::new(REMEMBERED_SESSIONS) as Arc<dyn StoresServerSessions>;
        }
        (None, _) => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(config)
}
