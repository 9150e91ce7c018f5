//! Rate limits of a route: whose request it is, whether it fits, and what replies tell of that.
//!
//! A request that one limit refuses costs nothing: what it took of others is given back. What a key is made of and the
//! request has not, or has more than once (so that nobody knows which of them the origin takes), is replaced by the
//! client's address: leaving a field out frees nobody.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{StatusCode, request};

use super::Proxy;
use super::error::Failure;
use super::exchange::Exchange;
use super::inbound::Inbound;
use super::key::cookie;
use super::settings::{Counted, LimitKey, LimitSettings, Who};
use super::site::Route;
use crate::clock::Timestamp;
use crate::http::rate_limit::{self, RATE_LIMIT, RATE_LIMIT_POLICY, seconds};
use crate::http::target::Target;
use crate::limit::{Label, Limiter, Taken};
use crate::telemetry::event::Protocol;
use crate::tls::Identity;

/// A rate limit, bound to its counts.
#[derive(Debug)]
pub struct Limit {
    /// What the config says of it.
    pub settings: LimitSettings,
    /// Its counts, which outlive the site.
    pub limiter: Arc<Limiter>,
    /// `RateLimit-Policy`, by tier.
    policies: Vec<HeaderValue>,
}

/// What a rate limit said of a request.
#[derive(Debug)]
pub(super) struct Ruling {
    limit: Arc<Limit>,
    hash: u64,
    tier: u16,
    taken: Taken,
    fate: Fate,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It fits.
    Passed,
    /// It does not, and would have been refused.
    DryRun,
    /// It does not.
    Refused,
}

/// How a request is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// In seconds.
    pub(super) retry_after: u64,
}

/// How a hypothetical request would stand with a limit.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The limit.
    pub limit: Arc<Limit>,
    /// Who is exempt is not counted.
    pub exempt: bool,
    /// Its tier; 0: none.
    pub tier: u16,
    /// How its key is shown.
    pub label: String,
    /// How the key stands.
    pub standing: Taken,
}

/// A request as limits see it.
struct Asking<'a> {
    route: &'a Route,
    head: &'a request::Parts,
    target: &'a Target,
    client: IpAddr,
    user: Option<&'a str>,
    identity: Option<&'a Identity>,
}

/// When limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// As the request comes, before any password is checked: a limit holds back who tries them out.
    Arrived,
    /// Once its user is known, by those whose key has the user.
    Known,
    /// Before the origin is asked.
    Origin,
}

/// What stands in a request for a part of a key.
enum Part<'a> {
    /// Something that may be shown.
    Plain(Cow<'a, [u8]>),
    /// Something that may be a secret.
    Secret(Cow<'a, [u8]>),
    /// The client's address is, or stands in.
    Client,
}

impl Proxy {
    /// Counts a request against the limits of its route that count at this stage.
    ///
    /// # Errors
    /// When one of them refuses it.
    pub(super) fn limit(
        &self,
        route: &Route,
        exchange: &mut Exchange,
        inbound: &Inbound,
        target: &Target,
        stage: Stage,
    ) -> Result<(), Failure> {
        if route.limits.is_empty() || inbound.slice.is_some() || inbound.client.protocol == Protocol::Internal
        {
            return Ok(());
        }
        let client = exchange.client_address.to_canonical();
        let (head, user) = (&inbound.head, exchange.user.clone());
        let identity = inbound.client.session.as_ref().and_then(|session| session.identity.as_ref());
        let asking = Asking { route, head, target, client, user: user.as_deref(), identity };
        for limit in route.limits.iter().filter(|limit| limit.is_asked(route, stage)) {
            if limit.is_exempt(&asking) {
                limit.limiter.exempt();
                continue;
            }
            let ruling = limit.rule(&asking, exchange.at);
            let refused = ruling.fate == Fate::Refused;
            let refusal = ruling.refusal();
            exchange.limits.push(ruling);
            if refused {
                give_back(&mut exchange.limits, exchange.at);
                return Err(Failure::Limited(refusal));
            }
        }
        Ok(())
    }
}

/// A refused request costs nothing.
fn give_back(rulings: &mut [Ruling], now: Timestamp) {
    for ruling in rulings.iter_mut().filter(|ruling| ruling.fate == Fate::Passed) {
        ruling.limit.limiter.give_back(ruling.hash, ruling.tier);
        ruling.taken = ruling.limit.limiter.look(ruling.hash, ruling.tier, now);
    }
}

/// The first limit with this word on a request.
pub(super) fn limited(rulings: &[Ruling], fate: Fate) -> Option<Arc<str>> {
    let ruling = rulings.iter().find(|ruling| ruling.fate == fate)?;
    Some(ruling.limit.limiter.settings().name.clone())
}

/// Tells the client how it stands with the limits that hold for it.
pub(super) fn tell(rulings: &[Ruling], headers: &mut HeaderMap) {
    let told = |ruling: &&Ruling| ruling.limit.settings.fields && !ruling.limit.settings.dry_run;
    for ruling in rulings.iter().filter(told) {
        let limit = &ruling.limit;
        if let Some(policy) = limit.policies.get(usize::from(ruling.tier)) {
            headers.append(RATE_LIMIT_POLICY, policy.clone());
        }
        // The draft's section 4: next to Retry-After both tell the same moment; and nobody is told of more than a
        // window's quota.
        let again = if ruling.fate == Fate::Refused { ruling.wait() } else { ruling.taken.reset };
        let remaining = ruling.taken.remaining.min(limit.requests(ruling.tier));
        headers.append(RATE_LIMIT, rate_limit::standing(limit.name(), remaining, again));
    }
}

/// How a request that nobody sends would stand with the limits of its route.
pub fn outlook(
    route: &Route,
    head: &request::Parts,
    target: &Target,
    client: IpAddr,
    identity: Option<&Identity>,
    now: Timestamp,
) -> Vec<Outlook> {
    let asking = Asking { route, head, target, client: client.to_canonical(), user: None, identity };
    let outlook = |limit: &Arc<Limit>| {
        let tier = limit.tier(&asking);
        let standing = limit.limiter.look(limit.hash(&asking, tier), tier, now);
        let label = limit.label(&asking).to_string();
        Outlook { limit: limit.clone(), exempt: limit.is_exempt(&asking), tier, label, standing }
    };
    route.limits.iter().map(outlook).collect()
}

impl Ruling {
    fn wait(&self) -> Duration {
        self.taken.retry.max(Duration::from_secs(1))
    }

    fn refusal(&self) -> Refusal {
        Refusal { status: self.limit.settings.status, retry_after: seconds(self.wait()) }
    }
}

impl Limit {
    /// Binds settings to counts: those among `kept` that were made by the same, else new ones.
    pub(super) fn new(settings: LimitSettings, kept: &[Arc<Limiter>]) -> Self {
        let limiter = Limiter::keep_or_new(settings.limiter.clone(), kept);
        let name = &settings.limiter.name;
        let policies = settings.limiter.quotas.iter();
        let policies = policies.map(|quota| rate_limit::policy(name, quota.requests, quota.window)).collect();
        Self { limiter, policies, settings }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.limiter.name
    }

    /// The name of a tier; `None` for everyone else's.
    pub fn tier_name(&self, tier: u16) -> Option<&str> {
        let (name, _) = self.settings.tiers.get(usize::from(tier).checked_sub(1)?)?;
        Some(name)
    }

    /// Whether it is asked at this stage.
    fn is_asked(&self, route: &Route, stage: Stage) -> bool {
        let by_user = route.settings.basic.is_some() && self.settings.key.contains(&LimitKey::User);
        stage
            == match self.settings.counts {
                Counted::Origin => Stage::Origin,
                Counted::All if by_user => Stage::Known,
                Counted::All => Stage::Arrived,
            }
    }

    fn requests(&self, tier: u16) -> u32 {
        self.settings.limiter.quotas.get(usize::from(tier)).map_or(0, |quota| quota.requests)
    }

    fn rule(self: &Arc<Self>, asking: &Asking<'_>, now: Timestamp) -> Ruling {
        let tier = self.tier(asking);
        let hash = self.hash(asking, tier);
        let dry_run = self.settings.dry_run;
        let taken = self.limiter.take(hash, tier, now, dry_run, || self.label(asking));
        let fate = match (taken.allowed, dry_run) {
            (true, _) => Fate::Passed,
            (false, true) => Fate::DryRun,
            (false, false) => Fate::Refused,
        };
        Ruling { limit: self.clone(), hash, tier, taken, fate }
    }

    fn is_exempt(&self, asking: &Asking<'_>) -> bool {
        self.settings.exempt.iter().any(|who| who.is(asking))
    }

    fn tier(&self, asking: &Asking<'_>) -> u16 {
        let found = self.settings.tiers.iter().position(|(_, who)| who.is(asking));
        found.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
    }

    fn hash(&self, asking: &Asking<'_>, tier: u16) -> u64 {
        let mut hasher = self.limiter.hasher(tier);
        for part in &self.settings.key {
            match asking.part(part) {
                Part::Client => match self.network(asking.client) {
                    IpAddr::V4(address) => hasher.write_u32(address.into()),
                    IpAddr::V6(address) => hasher.write_u128(address.into()),
                },
                // With the length, so that parts cannot run into each other.
                Part::Plain(value) | Part::Secret(value) => {
                    hasher.write_usize(value.len());
                    hasher.write(&value);
                }
            }
        }
        hasher.finish()
    }

    /// The address that stands for all that count as one client.
    fn network(&self, client: IpAddr) -> IpAddr {
        match client {
            IpAddr::V4(address) => (address & mask_v4(self.settings.ipv4_prefix)).into(),
            IpAddr::V6(address) => (address & mask_v6(self.settings.ipv6_prefix)).into(),
        }
    }

    fn prefix(&self, client: IpAddr) -> u8 {
        if client.is_ipv4() { self.settings.ipv4_prefix } else { self.settings.ipv6_prefix }
    }

    /// How people see the key.
    fn label(&self, asking: &Asking<'_>) -> Label {
        let client = Label::client(asking.client, self.prefix(asking.client));
        match self.settings.key.as_slice() {
            [] => return Label::text("all".to_owned()),
            [LimitKey::Client] => return client,
            _ => {}
        }
        let mut text = String::new();
        for part in &self.settings.key {
            if !text.is_empty() {
                text.push(' ');
            }
            // Writing into a String cannot fail.
            let _ = match asking.part(part) {
                Part::Client => write!(text, "client={client}"),
                Part::Plain(value) => {
                    write!(text, "{part}={}", String::from_utf8_lossy(&value).escape_debug())
                }
                Part::Secret(value) => {
                    let mut hasher = self.limiter.hasher(0);
                    hasher.write(&value);
                    write!(text, "{part}=#{:08x}", hasher.finish() >> 32)
                }
            };
        }
        Label::text(text)
    }
}

impl Who {
    fn is(&self, asking: &Asking<'_>) -> bool {
        (self.clients.is_empty() || self.clients.iter().any(|net| net.contains(&asking.client)))
            && self.headers.iter().all(|(name, wanted)| wanted.takes_field(&asking.head.headers, name))
    }
}

impl<'a> Asking<'a> {
    fn part(&self, part: &LimitKey) -> Part<'a> {
        let plain = |text: &'a str| Some(Part::Plain(text.as_bytes().into()));
        let headers = &self.head.headers;
        let found = match part {
            LimitKey::Client => None,
            LimitKey::Route => plain(&self.route.name),
            LimitKey::Host => plain(self.target.host()),
            LimitKey::Method => plain(self.head.method.as_str()),
            LimitKey::Header(name) if *name == AUTHORIZATION => single(headers, name).map(credential),
            LimitKey::Header(name) => single(headers, name).map(|value| Part::Secret(value.into())),
            LimitKey::Cookie(name) => cookie::single(headers, name).map(|value| Part::Secret(value.into())),
            LimitKey::Query(name) => self.parameter(name),
            LimitKey::User => self.user.and_then(plain),
            LimitKey::ClientCert => self.identity.map(|identity| match identity.name() {
                Cow::Borrowed(name) => Part::Plain(name.as_bytes().into()),
                Cow::Owned(name) => Part::Plain(name.into_bytes().into()),
            }),
            LimitKey::Path(name) => {
                let mut paths = self.route.matcher.paths.iter();
                paths.find_map(|pattern| pattern.capture(self.target.path(), name)).and_then(plain)
            }
        };
        found.unwrap_or(Part::Client)
    }

    /// The value of a query parameter, decoded as origins do.
    fn parameter(&self, name: &str) -> Option<Part<'a>> {
        let query = self.target.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let mut values = pairs.filter(|(own, _)| own == name).map(|(_, value)| value);
        let value = values.next().filter(|_| values.next().is_none())?;
        Some(Part::Secret(value.into_owned().into_bytes().into()))
    }
}

/// The value of a field that the request has just once.
fn single<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// A credential in one spelling: the scheme's case makes no difference (RFC 9110 11.1), nor how many spaces follow it.
fn credential<'h>(value: &'h [u8]) -> Part<'h> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    let mut text = scheme.to_ascii_lowercase();
    text.push(b' ');
    text.extend_from_slice(rest.trim_ascii());
    Part::Secret(text.into())
}

fn mask_v4(prefix: u8) -> std::net::Ipv4Addr {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).into()
}

fn mask_v6(prefix: u8) -> std::net::Ipv6Addr {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0).into()
}

impl std::fmt::Display for LimitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Route => f.write_str("route"),
            Self::Host => f.write_str("host"),
            Self::Method => f.write_str("method"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::User => f.write_str("user"),
            Self::ClientCert => f.write_str("client-cert"),
        }
    }
}
