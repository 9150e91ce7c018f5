//! All upstreams of the instance, brought in line with the config at start and on every reload.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::runtime::Handle;

use super::balance::Balance;
use super::connect::TlsSettings;
use super::discover::Resolver;
use super::endpoint::{Endpoint, Identity, authority};
use super::error::Failure;
use super::fetch::{Member, Upstream};
use super::pool::Limits;
use super::request::OriginName;
use super::settings::{EndpointSettings, Settings};

/// How long the first look-ups may take before start-up calls a name unresolved.
const FIRST_LOOKUP: Duration = Duration::from_secs(5);

/// Every upstream, by name; outlives reloads.
#[derive(Debug)]
pub struct Upstreams {
    resolver: Arc<Resolver>,
    control: Handle,
    /// The platform's roots, read once for all upstreams that trust them.
    platform: Arc<TlsSettings>,
    current: ArcSwap<Vec<Arc<Upstream>>>,
}

/// An endpoint whose name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// `host:port`.
    pub endpoint: Arc<str>,
    /// What the resolver said.
    pub why: Arc<str>,
}

impl Upstreams {
    /// No upstreams yet. Names are looked up and the platform's roots read on `control`'s blocking threads, off
    /// the workers.
    pub fn new(control: Handle) -> Arc<Self> {
        Self::with_resolver(Resolver::system(control.clone()), control)
    }

    pub(super) fn with_resolver(resolver: Arc<Resolver>, control: Handle) -> Arc<Self> {
        let platform = TlsSettings::new(Vec::new(), control.clone());
        Arc::new(Self { resolver, control, platform, current: ArcSwap::default() })
    }

    /// Brings the upstreams in line with the config. Pools and counters of endpoints that stay survive; idle
    /// connections of those that go are closed, and those in use when their exchange ends.
    pub fn apply(&self, settings: &[Settings]) {
        let before = self.current.load_full();
        let after: Vec<_> = settings.iter().map(|settings| self.build(settings, &before)).collect();
        for endpoint in endpoints(&before) {
            if !endpoints(&after).any(|kept| Arc::ptr_eq(kept, endpoint)) {
                endpoint.pool.retire();
            }
        }
        self.current.store(Arc::new(after));
    }

    /// The upstream of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Upstream>> {
        self.current.load().iter().find(|upstream| *upstream.settings.name == *name).cloned()
    }

    /// All upstreams, in the order of the config.
    pub fn all(&self) -> Vec<Arc<Upstream>> {
        self.current.load().to_vec()
    }

    /// Waits a few seconds at most for every name to be looked up once, then tells which have no address: a
    /// finding at start, not an exit.
    pub async fn unresolved(&self) -> Vec<Unresolved> {
        let current = self.current.load_full();
        let until = tokio::time::Instant::now() + FIRST_LOOKUP;
        let mut found = Vec::new();
        for upstream in current.iter() {
            for member in &upstream.members {
                let looked_up = tokio::time::timeout_at(until, member.endpoint.addresses.resolve()).await;
                let why = match looked_up {
                    Ok(Err(Failure::Dns(why))) => why,
                    Err(_) => "no answer in time".into(),
                    Ok(_) => continue,
                };
                let upstream = Arc::clone(&upstream.settings.name);
                found.push(Unresolved { upstream, endpoint: Arc::clone(&member.endpoint.name), why });
            }
        }
        found
    }

    fn build(&self, settings: &Settings, before: &[Arc<Upstream>]) -> Arc<Upstream> {
        let old = before.iter().find(|old| old.settings.name == settings.name);
        if let Some(same) = old.filter(|old| old.settings == *settings) {
            return Arc::clone(same);
        }
        let mut reusable: Vec<_> = old
            .map(|old| old.members.iter().map(|member| Arc::clone(&member.endpoint)).collect())
            .unwrap_or_default();
        let trust = if settings.ca.is_empty() {
            Arc::clone(&self.platform)
        } else {
            TlsSettings::new(settings.ca.clone(), self.control.clone())
        };
        let member = |endpoint: &EndpointSettings| Member {
            endpoint: self.endpoint(settings, endpoint, &mut reusable, &trust),
            host: host(endpoint),
            origin: Arc::new(origin(settings, endpoint)),
            number: OnceLock::new(),
        };
        let members = settings.endpoints.iter().map(member).collect();
        let balance = Balance::new(&settings.endpoints);
        Arc::new(Upstream { settings: settings.clone(), members, balance })
    }

    fn endpoint(
        &self,
        settings: &Settings,
        endpoint: &EndpointSettings,
        reusable: &mut Vec<Arc<Endpoint>>,
        trust: &Arc<TlsSettings>,
    ) -> Arc<Endpoint> {
        let limits = Limits {
            max_connections: settings.max_connections,
            max_pending: settings.max_pending,
            keepalive: settings.keepalive,
        };
        let identity = Identity::new(settings, endpoint);
        if let Some(place) = reusable.iter().position(|old| old.identity == identity) {
            let kept = reusable.swap_remove(place);
            kept.pool.set_limits(limits);
            return kept;
        }
        let made = Endpoint::new(identity, limits, &self.resolver, trust);
        made.addresses.touch(std::time::Instant::now());
        made
    }
}

fn endpoints(upstreams: &[Arc<Upstream>]) -> impl Iterator<Item = &Arc<Endpoint>> {
    upstreams.iter().flat_map(|upstream| upstream.members.iter().map(|member| &member.endpoint))
}

/// Host, with brackets where needed, and the port where it is not the scheme's own.
fn own_authority(endpoint: &EndpointSettings) -> String {
    let with_port = authority(&endpoint.host, endpoint.port);
    let default = if endpoint.tls { 443 } else { 80 };
    match with_port.rsplit_once(':') {
        Some((host, _)) if endpoint.port == default => host.to_owned(),
        _ => with_port,
    }
}

fn host(endpoint: &EndpointSettings) -> HeaderValue {
    // A host that came through the config's URL parser is always a valid field value.
    HeaderValue::try_from(own_authority(endpoint)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn origin(settings: &Settings, endpoint: &EndpointSettings) -> OriginName {
    OriginName {
        scheme: if endpoint.tls { "https" } else { "http" },
        authority: own_authority(endpoint).into(),
        base_path: settings.base_path.clone(),
    }
}
