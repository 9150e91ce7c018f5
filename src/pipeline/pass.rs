//! Passing a request straight on: routes without a cache, methods that are never answered from one, and requests
//! whose reply is for them alone.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TE};
use http::{HeaderMap, HeaderValue, Method};

use super::Proxy;
use super::error::Failure;
use super::exchange::{Asked, Exchange};
use super::fetch::{self, Bringing, Brought};
use super::final_hop;
use super::forward::{self, ClientNames, ForwardFacts};
use super::inbound::Inbound;
use super::key::{Facts, Form, Keyed};
use super::reply::Source;
use super::respond::Reply;
use super::site::{Route, Routed, Site};
use super::tags;
use crate::cache::key::StoredKey;
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::{RequestPolicy, invalidate};
use crate::cache::purge::{Criterion, group};
use crate::http::cache_groups::CACHE_GROUP_INVALIDATION;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::connection::TrailerRules;
use crate::http::target::Target;
use crate::telemetry::event::CacheOutcome;
use crate::upstream::{FetchRequest, RequestBody};

impl Proxy {
    /// Passes a request on without looking into the cache.
    pub(super) fn pass<'a>(
        self: &'a Arc<Self>,
        to: &'a Routed<'a>,
        exchange: &'a mut Exchange,
        inbound: Box<Inbound>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + 'a {
        exchange.cache = CacheOutcome::Bypass;
        let head = &inbound.head;
        exchange.asks(RequestPolicy::of(&head.method, &head.headers, &to.route.cache.rules));
        self.pass_as(to, exchange, inbound, Forward::Bypass)
    }

    /// Passes a request on; `why` is what `Cache-Status` says.
    pub(super) async fn pass_as(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        mut inbound: Box<Inbound>,
        why: Forward,
    ) -> Result<Reply, Failure> {
        if let Some(reply) = final_hop::step(&mut inbound.head) {
            return Ok(*reply);
        }
        // Boxed here, where it is made: what it holds is not moved about.
        let brought = Box::pin(self.write_through(to, exchange, inbound, why)).await?;
        Ok(self.direct_reply(to.route, exchange, brought, CacheStatus::default()))
    }

    /// Has the origin answer, and ends what an unsafe request ends.
    pub(super) async fn write_through(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        why: Forward,
    ) -> Result<Brought, Failure> {
        let Routed { site, route, target } = *to;
        exchange.forward = Some(why);
        // On the route's word its requests with a body are queries, which change nothing.
        let queries = route.cache.key.takes_content(&inbound.head.method);
        let kind = if queries { MethodKind::Safe } else { MethodKind::of(&inbound.head.method) };
        let names = names(site, target);
        let key = matches!(kind, MethodKind::Post | MethodKind::Unsafe)
            .then(|| self.key_of_get(route, &inbound.head.headers, target));
        let request = self.fetch_request(to, exchange, inbound);
        let bringing = Bringing::begin(route, exchange.began(), &self.telemetry);
        let brought = bringing.end(route.upstream.fetch(request).await, &self.clock, &names);
        let brought = brought.map_err(|error| {
            exchange.asked = Some(Asked::of_error(&error));
            Failure::from(error)
        })?;
        if invalidate::invalidates(kind, brought.status()) {
            self.invalidate(site, route, &brought, &names, target, key);
        }
        Ok(brought)
    }

    /// The reply for this exchange alone, streamed as it comes.
    pub(super) fn direct_reply(
        &self,
        route: &Route,
        exchange: &mut Exchange,
        brought: Brought,
        status: CacheStatus<'static>,
    ) -> Reply {
        exchange.asked = Some(brought.asked);
        exchange.arrived = Some(brought.arrived);
        Reply {
            status: brought.head.status,
            headers: brought.head.headers,
            source: Source::Upstream(brought.body),
            cache_status: CacheStatus { forward: exchange.forward, ..status },
            deadline: deadline(route, exchange),
        }
    }

    /// The request as the upstream gets it, body and all.
    pub(super) fn fetch_request(
        &self,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
    ) -> FetchRequest {
        let Routed { site, route, target } = *to;
        let Inbound { mut head, body, client, interim, trusted, begun, .. } = *inbound;
        let expect_continue = fetch::expects_continue(&head.headers);
        let client_host = target.authority_value();
        let facts = forward_facts(site, exchange, &client, target, trusted);
        let trailers = TrailerRules::of(&head.headers);
        forward::upstream_request_headers(&mut head.headers, &facts);
        if exchange.web.is_some() {
            // gRPC has its callers say so, which those of gRPC-Web cannot.
            head.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        // What a call does nobody knows but its service: only what was not looked at is sent again.
        let repeatable = exchange.grpc.is_none() && is_repeatable(route, &head.method);
        let body = match fetch::request_body(body, &head, route) {
            RequestBody::Stream(stream) => {
                let in_text = exchange.web.as_ref().is_some_and(|call| call.asks_in_text);
                RequestBody::from(stream.with_trailers(trailers).in_base64(in_text))
            }
            body => body,
        };
        if let RequestBody::Stream(stream) = &body {
            exchange.request_body = Some(stream.progress());
        }
        FetchRequest {
            method: head.method,
            target: target.path_and_query().clone(),
            headers: head.headers,
            client_host,
            body,
            repeatable,
            on_interim: interim.as_ref().map(fetch::pass_interim),
            expect_continue,
            deadline: deadline(route, exchange),
            upgrade: None,
            begun,
        }
    }

    /// The key under which a GET with these fields would have stored for no user in particular.
    fn key_of_get(&self, route: &Route, headers: &HeaderMap, target: &Target) -> StoredKey {
        let secret = self.cache.secret();
        let facts = Facts { method: &Method::GET, headers, body: None, user: None, slice: None };
        Keyed::of(route, target, facts, secret).parts(headers).to_stored(secret)
    }

    /// What a successful unsafe request ends (RFC 9111 4.4): the target, and what the reply names on the same origin;
    /// and of that origin what shares a group with any of them (RFC 9875 2.2.1) or is in a group that the reply names
    /// (RFC 9875 3). Groups do not cascade.
    fn invalidate(
        &self,
        site: &Site,
        route: &Route,
        brought: &Brought,
        names: &ClientNames,
        target: &Target,
        key: Option<StoredKey>,
    ) {
        let headers = &brought.head.headers;
        let mut groups: Vec<Box<str>> = tags::groups(headers, &CACHE_GROUP_INVALIDATION, names).collect();
        let own = target.path_and_query().as_str();
        let mut targets = invalidate::related_targets(names.scheme, &names.authority, own, headers);
        for target in named_upstream(brought, names, own) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets.push(own.to_owned());
        for target in targets {
            if let Some(key) = &key {
                // Before it is invalidated: nothing is found of it afterwards.
                let stored = route.cache.key.target(&target);
                let key = StoredKey { target: (&*stored).into(), ..key.clone() };
                let tags = self.cache.tags(&key).into_iter();
                groups.extend(tags.filter(|tag| group::of(tag).is_some()));
            }
            // As they are stored: without what the key leaves out, and by the rules of the routes that reads take.
            for Form { authority, target } in site.stored_forms(&names.authority, &target) {
                self.cache.invalidate(Criterion::Url { authority, target });
            }
        }
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            self.cache.invalidate(Criterion::Tag(group));
        }
    }
}

/// Whether a request may be sent twice beside what its method's name says: a query may (RFC 9110 9.2.1).
pub(super) fn is_repeatable(route: &Route, method: &Method) -> bool {
    route.cache.key.takes_content(method) || method.as_str() == "QUERY"
}

/// The targets that a reply names as the upstream knows them: by its own name, or by the client's where it is told that
/// (`host = "client"`), below its base path.
fn named_upstream(brought: &Brought, names: &ClientNames, own: &str) -> Vec<String> {
    let (origin, named) = (&*brought.origin, &brought.named);
    if named.is_empty() {
        return Vec::new();
    }
    let theirs = format!("{}{own}", origin.base_path);
    let mut targets = invalidate::related_targets(origin.scheme, &origin.authority, &theirs, named);
    targets.extend(invalidate::related_targets(names.scheme, &names.authority, &theirs, named));
    let below = |target: &String| invalidate::without_base(target, &origin.base_path).map(Cow::into_owned);
    targets.iter().filter_map(below).filter(|target| target != own).collect()
}

/// How the client names us.
pub(super) fn names(site: &Site, target: &Target) -> ClientNames {
    ClientNames {
        scheme: target.scheme().as_str(),
        authority: target.shared_authority(),
        proxy: site.name.clone(),
    }
}

/// What the forwarding fields tell the upstream.
pub(super) fn forward_facts<'a>(
    site: &'a Site,
    exchange: &'a Exchange,
    client: &'a crate::http::ClientConn,
    target: &'a Target,
    trusted: bool,
) -> ForwardFacts<'a> {
    ForwardFacts {
        client,
        protocol: exchange.protocol,
        target,
        name: &site.name,
        id: exchange.id_value(),
        trusted,
    }
}

/// When the whole exchange must have ended.
pub(super) fn deadline(route: &Route, exchange: &Exchange) -> Option<Instant> {
    let asked = exchange.grpc.and_then(|call| call.timeout);
    let timeout = route.settings.timeout.into_iter().chain(asked).min()?;
    // A client may ask for longer than there is time.
    exchange.started().checked_add(timeout)
}

/// The fields of a request that is fetched for several: the client's own conditions and ranges are left out, since
/// the whole reply is wanted.
pub(super) fn without_conditions(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    remove_conditions(&mut headers);
    for name in [IF_RANGE, RANGE] {
        headers.remove(name);
    }
    headers
}

/// Takes out the client's own conditions (RFC 9110 13.1).
pub(super) fn remove_conditions(headers: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        headers.remove(name);
    }
}
