//! A site: the routes of one checked config, ready to answer. Immutable; a reload builds a new one beside it.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, request};
use ipnet::IpNet;

use super::at_once;
use super::complaint::Complaints;
use super::edit::rewrite::BadRewrite;
use super::flight::Limits;
use super::key::Users;
use super::limiting::Limit;
use super::local::Local;
use super::purging::Purging;
use super::relay;
use super::settings::{CacheSettings, RouteSettings, Settings};
use crate::cache::{self, Mode};
use crate::http::ClientConn;
use crate::http::target::Target;
use crate::route::{FieldMatch, MatchSpec, Router};
use crate::telemetry::Telemetry;
use crate::telemetry::event::{Protocol, Series};
use crate::tls::Fact;
use crate::upstream::{Upstream, Upstreams};

/// The routes of one config, and what holds for all of them.
#[derive(Debug)]
pub struct Site {
    /// Finds the route of a request, by position in `routes`.
    pub router: Router,
    /// In the order of the config.
    pub routes: Vec<Arc<Route>>,
    /// How this proxy calls itself in `Via`, `Cache-Status` and `Proxy-Status`.
    pub name: Arc<str>,
    /// Peers whose forwarding fields are believed.
    pub trusted: Vec<IpNet>,
    /// Request fields that tell upstreams of clients' certificates.
    pub(super) identity: Vec<(HeaderName, Fact)>,
    /// Who may purge by a request.
    pub(super) purging: Option<Purging>,
    pub(super) max_tunnels: Option<usize>,
    /// Its rate limits, in the order of the config.
    pub limits: Vec<Arc<Limit>>,
    store: Limits,
    /// The longest target, in bytes.
    pub(super) max_target: usize,
    /// The most fields of a request.
    pub(super) max_fields: usize,
}

/// A request's destination: the site it came to, the route that took it, and its target as that rewrote it.
#[derive(Clone, Copy)]
pub(super) struct Routed<'a> {
    pub(super) site: &'a Site,
    pub(super) route: &'a Arc<Route>,
    pub(super) target: &'a Target,
}

/// A route, bound to its upstream and its metric series.
#[derive(Debug)]
pub struct Route {
    /// Unique name.
    pub name: Arc<str>,
    /// Which requests it takes, for `route ls`.
    pub matcher: MatchSpec,
    /// Its upstream's name; empty where it answers itself.
    pub upstream_name: Arc<str>,
    /// Its upstream.
    pub upstream: Arc<Upstream>,
    /// How it caches; `mode` is what is in force (`serve --mode` applied).
    pub cache: CacheSettings,
    /// Request fields in its key: those the match looks at, then the policy's.
    pub key_fields: Vec<HeaderName>,
    /// How it tells users apart, and the tokens that it has verified: with another site they are verified anew.
    pub(super) users: Option<Users>,
    /// What the config says of it.
    pub settings: RouteSettings,
    /// Where it is counted.
    pub series: Series,
    /// Its rate limits, in the order in which they are asked.
    pub limits: Vec<Arc<Limit>>,
    /// Keeps a dead upstream from flooding the diagnostics.
    pub complaints: Complaints,
    /// Whether hits may be answered at once.
    pub(super) at_once: bool,
    /// Its plain requests are passed on the short way.
    pub(super) relays: bool,
}

/// Why a site cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A route names an upstream that does not exist; `config` finds that first.
    #[error("route `{route}` names upstream `{upstream}`, which does not exist")]
    UnknownUpstream {
        /// The route.
        route: Arc<str>,
        /// What it names.
        upstream: Arc<str>,
    },
    /// A route names a rate limit that does not exist; `config` finds that first.
    #[error("route `{route}` names rate limit `{limit}`, which does not exist")]
    UnknownLimit {
        /// The route.
        route: Arc<str>,
        /// What it names.
        limit: Arc<str>,
    },
    /// The routes contradict each other.
    #[error(transparent)]
    Router(#[from] crate::route::BuildError),
}

impl Site {
    /// Binds settings to the upstreams and series of this instance. Rate limits that the site `before` has with the
    /// same settings keep their counts.
    ///
    /// # Errors
    /// When a route names no upstream, or the router refuses the routes.
    pub fn build(
        settings: Settings,
        caching: &cache::Settings,
        upstreams: &Upstreams,
        telemetry: &Telemetry,
        before: Option<&Self>,
    ) -> Result<Self, SiteError> {
        let kept: Vec<_> =
            before.iter().flat_map(|site| &site.limits).map(|limit| limit.limiter.clone()).collect();
        let limits: Vec<_> =
            settings.limits.into_iter().map(|limit| Arc::new(Limit::new(limit, &kept))).collect();
        let store = Limits { max_body: caching.max_body, keep: caching.keep };
        let matchers =
            settings.routes.iter().map(|route| (route.name.clone(), route.matcher.clone())).collect();
        let router = Router::build(matchers)?;
        let routes = settings
            .routes
            .into_iter()
            .map(|route| {
                Route::bind(route, settings.mode, &settings.identity, upstreams, telemetry, &limits)
                    .map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let (max_target, max_fields) = (settings.max_target, settings.max_fields);
        let purging = settings.purge.map(Purging::new);
        Ok(Self {
            router,
            routes,
            name: settings.name,
            trusted: settings.trusted,
            identity: settings.identity,
            purging,
            limits,
            max_tunnels: settings.max_tunnels,
            store,
            max_target,
            max_fields,
        })
    }

    /// Tells in a request's fields who the client is, by its certificate. What it says there itself goes first, whoever it
    /// is (RFC 9440 2.4); only the instance's own requests are as they were made.
    pub(super) fn identify(&self, client: &ClientConn, headers: &mut HeaderMap) {
        if self.identity.is_empty() || client.protocol == Protocol::Internal {
            return;
        }
        let known = client.session.as_ref().and_then(|session| session.identity.as_ref());
        for (name, fact) in &self.identity {
            headers.remove(name);
            let value = known.and_then(|known| HeaderValue::from_bytes(known.fact(*fact)?.as_bytes()).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }

    /// A request with these fields, where there are any.
    pub(super) fn identified<'a>(
        &self,
        client: &ClientConn,
        head: &'a request::Parts,
    ) -> Cow<'a, request::Parts> {
        if self.identity.is_empty() {
            return Cow::Borrowed(head);
        }
        let mut head = head.clone();
        self.identify(client, &mut head.headers);
        Cow::Owned(head)
    }

    /// What a fetch for a route has to know of the store's limits.
    pub(super) fn limits_of(&self, route: &Route) -> Limits {
        let own = route.cache.max_body.unwrap_or(u64::MAX);
        Limits { max_body: self.store.max_body.min(own), keep: route.cache.keep.unwrap_or(self.store.keep) }
    }

    /// Whether what `peer` says about the client is believed.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        crate::http::forwarded::is_trusted(peer, &self.trusted)
    }
}

impl Site {
    /// Whether a route may take a request for this, as far as the target tells.
    pub(super) fn may_take(&self, route: &Route, host: &str, path: &str, query: Option<&str>) -> bool {
        let mut possible = self.router.possible(host, path, query).into_iter();
        possible.any(|position| std::ptr::eq(&*self.routes[position], route))
    }
}

impl Route {
    fn bind(
        settings: RouteSettings,
        mode: Option<Mode>,
        identity: &[(HeaderName, Fact)],
        upstreams: &Upstreams,
        telemetry: &Telemetry,
        limits: &[Arc<Limit>],
    ) -> Result<Self, SiteError> {
        let limits = settings.limits.iter().map(|wanted| {
            let found = limits.iter().find(|limit| *limit.name() == **wanted);
            found.cloned().ok_or_else(|| SiteError::UnknownLimit {
                route: settings.name.clone(),
                limit: wanted.clone(),
            })
        });
        let limits = limits.collect::<Result<_, _>>()?;
        let answers_itself = settings.local.as_ref().is_some_and(Local::needs_no_upstream);
        let upstream = match answers_itself {
            true => Some(Upstream::nobody()),
            false => upstreams.get(&settings.upstream),
        };
        let upstream = upstream.ok_or_else(|| SiteError::UnknownUpstream {
            route: settings.name.clone(),
            upstream: settings.upstream.clone(),
        })?;
        let mut cache = settings.cache.clone();
        cache.mode = mode.filter(|_| !answers_itself).unwrap_or(cache.mode);
        Ok(Self {
            name: settings.name.clone(),
            matcher: settings.matcher.clone(),
            upstream_name: settings.upstream.clone(),
            upstream,
            key_fields: key_fields(&settings.matcher, &cache, identity),
            users: cache.key.user.clone().map(Users::new),
            series: Series {
                route: telemetry.route_slot(&settings.name),
                upstream: if answers_itself { 0 } else { telemetry.upstream_slot(&settings.upstream) },
            },
            limits,
            complaints: Complaints::default(),
            at_once: at_once::is_open(&settings, cache.mode),
            relays: relay::is_open(&settings, cache.mode),
            cache,
            settings,
        })
    }
}

impl Route {
    /// A target as it is forwarded, and keyed.
    ///
    /// # Errors
    /// When the route's rewrite made something of it that could lead elsewhere.
    pub fn forwarded<'a>(&self, target: &'a Target) -> Result<Cow<'a, Target>, BadRewrite> {
        match &self.settings.rewrite {
            None => Ok(Cow::Borrowed(target)),
            Some(rewrite) => rewrite.apply(target).map(Cow::Owned),
        }
    }

    /// The key of a forwarded target as people read it: upstream and URL, and the names of the fields that belong to it.
    pub fn key_text(&self, target: &Target) -> String {
        let key = &self.cache.key;
        let (authority, kept) =
            (key.authority(target.authority()), key.target(target.path_and_query().as_str()));
        let mut text = format!("{} {}://{authority}{kept}", self.upstream_name, target.scheme().as_str());
        for part in self.key_fields.iter().map(HeaderName::as_str).chain(key.part_names()) {
            text.push_str(" +");
            text.push_str(part);
        }
        text
    }
}

/// The match's own fields belong to the key: two requests that the match tells apart may get different replies. So do
/// those by which the upstream knows the client.
fn key_fields(
    matcher: &MatchSpec,
    cache: &CacheSettings,
    identity: &[(HeaderName, Fact)],
) -> Vec<HeaderName> {
    let mut fields: Vec<HeaderName> = Vec::new();
    let of_match = matcher.headers.iter().map(|(name, _): &(HeaderName, FieldMatch)| name);
    for name in of_match.chain(&cache.key.headers).chain(identity.iter().map(|(name, _)| name)) {
        if !fields.contains(name) {
            fields.push(name.clone());
        }
    }
    fields
}
