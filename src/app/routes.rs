//! `route ls` and `route test`: the routes as people read them, and which one takes a request.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::control::mode_word;
use super::instance::Instance;
use crate::admin::api::{Route, RouteLimit, RouteTest, RouteTestReply, RouteVerdict};
use crate::clock::Timestamp;
use crate::http::origin;
use crate::http::target::Target;
use crate::pipeline::edit::cors::Grant;
use crate::pipeline::limiting::{self, Outlook};
use crate::pipeline::{Route as SiteRoute, Site};
use crate::route::Facts;

/// All routes in their order of precedence.
pub(super) fn list(site: &Site) -> Vec<Route> {
    let shadowed = site.router.shadowed();
    site.router
        .precedence()
        .into_iter()
        .enumerate()
        .map(|(order, position)| {
            let route = &site.routes[position];
            let matcher = &route.matcher;
            Route {
                order: order + 1,
                name: route.name.to_string(),
                hosts: matcher.hosts.iter().map(ToString::to_string).collect(),
                paths: matcher.paths.iter().map(ToString::to_string).collect(),
                methods: matcher.methods.iter().map(ToString::to_string).collect(),
                headers: matcher.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
                query: matcher.query.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                client_cert: matcher.client.as_ref().map(ToString::to_string),
                upstream: route.upstream_name.to_string(),
                answer: answer(route),
                mode: mode_word(route.cache.mode).to_owned(),
                policy: route.cache.policy.as_ref().map(ToString::to_string),
                ttl_s: route.cache.rules.ttl,
                shadowed_by: shadowed
                    .iter()
                    .find(|(lost, _)| *lost == position)
                    .map(|(_, by)| site.routes[*by].name.to_string()),
            }
        })
        .collect()
}

/// The host of a request that names none: where clients reach the first listener.
pub(super) fn own_host(instance: &Instance) -> String {
    let first = instance.local_addrs().first().map(|address| super::startup::reachable(*address));
    first.map_or_else(|| "localhost".to_owned(), |address| address.to_string())
}

/// A request that nobody sends, as the pipeline would see it; a path alone is asked of `host`.
pub(super) fn request(
    host: &str,
    method: &str,
    url: &str,
    given: &[(String, String)],
) -> Result<(http::request::Parts, Target), String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .body(())
        .map_err(|_| format!("`{url}` is neither an absolute URL nor a path"))?;
    *request.headers_mut() = fields(given)?;
    let (mut head, ()) = request.into_parts();
    if !head.headers.contains_key(http::header::HOST) {
        let host = head.uri.authority().map_or(host, |authority| authority.as_str());
        head.headers
            .insert(http::header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
    }
    let tls = head.uri.scheme_str() == Some("https");
    let target = Target::of(&head, tls).map_err(|error| error.to_string())?;
    Ok((head, target))
}

/// What each route says to a request, in the order of the file.
pub(super) fn verdicts(site: &Site, head: &http::request::Parts, target: &Target) -> Vec<RouteVerdict> {
    let facts = facts(head, target);
    let told = site.router.explain(&facts).into_iter().map(|verdict| RouteVerdict {
        route: verdict.route.to_string(),
        matches: verdict.matched,
        taken: verdict.chosen,
        reason: verdict
            .reason
            .map_or_else(|| "the most specific match".to_owned(), |reason| reason.to_string()),
    });
    told.collect()
}

fn facts<'a>(head: &'a http::request::Parts, target: &'a Target) -> Facts<'a> {
    Facts {
        host: target.host(),
        path: target.path(),
        method: &head.method,
        headers: &head.headers,
        query: target.query(),
        client: None,
    }
}

/// Which route takes a request that nobody sends; a path alone is asked of `host`.
pub(super) fn test(
    site: &Site,
    host: &str,
    test: &RouteTest,
    now: Timestamp,
) -> Result<RouteTestReply, String> {
    let (head, target) = request(host, &test.method, &test.url, &test.headers)?;
    let (taken, preflight) = site.taker(&target, &head, None).unzip();
    let cors = taken.and_then(|route| cors(route, &head, preflight.unwrap_or_default()));
    let forwarded = taken.map_or(Ok(Cow::Borrowed(&target)), |route| route.forwarded(&target));
    let forwards = taken.filter(|route| route.settings.rewrite.is_some()).map(|_| match &forwarded {
        Ok(target) => target.path_and_query().to_string(),
        Err(bad) => format!("nothing, it is refused: {bad}"),
    });
    let forwarded = forwarded.unwrap_or(Cow::Borrowed(&target));
    let asking = taken.filter(|route| !route.upstream_name.is_empty());
    Ok(RouteTestReply {
        route: taken.map(|route| route.name.to_string()),
        upstream: asking.map(|route| route.upstream_name.to_string()),
        answer: taken.and_then(|route| answer(route)),
        mode: asking.map(|route| mode_word(route.cache.mode).to_owned()),
        forwards,
        key: asking.map(|route| route.key_text(&forwarded)),
        verdicts: verdicts(site, &head, &target),
        cors,
        limits: taken.map(|route| limits(route, &head, &target, test.client, now)).unwrap_or_default(),
    })
}

/// What a route answers by itself, in words.
fn answer(route: &crate::pipeline::Route) -> Option<String> {
    route.settings.local.as_ref().map(ToString::to_string)
}

/// What a route's policy for cross-origin requests says to a request that names its origin.
fn cors(route: &SiteRoute, head: &http::request::Parts, preflight: bool) -> Option<String> {
    let cors = route.settings.cors.as_ref()?;
    let origin = origin::of(&head.headers)?.to_str().unwrap_or("an origin that is no text");
    let says = match (cors.grant(&head.headers), preflight) {
        (Grant::None, true) => "a preflight, refused with 403: the origin is not allowed",
        (Grant::None, false) => "the origin is not allowed to read the reply",
        (_, true) => "a preflight, answered here with 204",
        (_, false) => "the origin is allowed to read the reply",
    };
    Some(format!("{origin}: {says}"))
}

/// How the request would stand with the rate limits of its route.
fn limits(
    route: &SiteRoute,
    head: &http::request::Parts,
    target: &Target,
    client: Option<IpAddr>,
    now: Timestamp,
) -> Vec<RouteLimit> {
    let client = client.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let told = |outlook: Outlook| {
        let (limit, standing) = (&outlook.limit, outlook.standing);
        let verdict = match (outlook.exempt, standing.allowed, limit.settings.dry_run) {
            (true, ..) => "exempt",
            (false, true, _) => "passes",
            (false, false, true) => "dry-run",
            (false, false, false) => "limited",
        };
        let quotas = &limit.settings.limiter.quotas;
        RouteLimit {
            limit: limit.name().to_owned(),
            rate: quotas.get(usize::from(outlook.tier)).map(ToString::to_string).unwrap_or_default(),
            key: outlook.label,
            tier: limit.tier_name(outlook.tier).map(str::to_owned),
            verdict: verdict.to_owned(),
            remaining: standing.remaining,
            quota: limit.limiter.limit(outlook.tier),
        }
    };
    limiting::outlook(route, head, target, client, None, now).into_iter().map(told).collect()
}

/// Fields as they are given on a command line.
pub(super) fn fields(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let field = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a field name"))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of `{name}` is not a field value"))?;
        headers.append(field, value);
    }
    Ok(headers)
}
