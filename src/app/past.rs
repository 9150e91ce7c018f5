//! `cache explain --request`: what was decided for an exchange that the ring remembers, and what is stored under its key
//! now.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::explain::config_key;
use super::instance::Instance;
use crate::admin::api::{Ground, PastExplanation, Problem, ProblemCode};
use crate::admin::handlers::entry;
use crate::cache::key::Digest;
use crate::cache::leak::{self, Standing};
use crate::cache::policy::explain::{Reason, SKIPS, secs, skipped};
use crate::cache::policy::{RequestPolicy, ResponseHead, Rules, SkipReason};
use crate::http::cache_status::Forward;
use crate::pipeline::SLICED;
use crate::pipeline::key::Doubt;
use crate::telemetry::LogRecord;
use crate::telemetry::caching::{Found, ReplyFields};
use crate::telemetry::event::{CacheOutcome, Finished};

/// What was decided for the exchange with this id.
pub(super) async fn explain(instance: &Instance, id: &str) -> Result<PastExplanation, Box<Problem>> {
    let Some(finished) = instance.telemetry.find(id) else { return Err(Box::new(forgotten(instance, id))) };
    let key = finished.caching.key.map(Digest);
    let stored = match key {
        Some(digest) => instance.cache.show(digest).await,
        None => Vec::new(),
    };
    let now = instance.clock.now();
    Ok(PastExplanation {
        headline: headline(&finished),
        at_ms: now.millis(),
        grounds: grounds(instance, &finished),
        stored: stored.iter().map(|summary| entry::detail(summary, now)).collect(),
        exchange: LogRecord::from(&*finished),
    })
}

fn forgotten(instance: &Instance, id: &str) -> Problem {
    let ring = instance.settings().telemetry.ring;
    let problem = Problem::new(ProblemCode::NotFound, format!("no exchange with the id {id} is remembered"));
    let problem = problem.detail(match ring {
        0 => "`ring = 0` in [telemetry]: none is".to_owned(),
        ring => format!("the last {ring} are: `ring` in [telemetry] says how many"),
    });
    problem.help("proxy-stone logs -n 20 -o wide shows the ids of the last ones")
}

fn headline(finished: &Finished) -> String {
    let caching = &finished.caching;
    match (finished.cache, caching.found, caching.forward) {
        (CacheOutcome::Hit, Some(found), _) => {
            format!(
                "HIT: it was fresh for {} more",
                secs(u64::from(found.lifetime.saturating_sub(found.age)))
            )
        }
        (CacheOutcome::Hit, None, _) => "HIT".to_owned(),
        (CacheOutcome::Stale, Some(found), _) => {
            format!("STALE for {}, and sent all the same", secs(staleness(found)))
        }
        (CacheOutcome::Stale, None, _) => "STALE, and sent all the same".to_owned(),
        (CacheOutcome::Revalidated, ..) => {
            "REVALIDATED: the origin said that what was stored still held".to_owned()
        }
        (CacheOutcome::Collapsed, ..) => "COLLAPSED: it shared the fetch of another request".to_owned(),
        (CacheOutcome::Miss, _, None) => "MISS, and the origin was not asked".to_owned(),
        (CacheOutcome::Miss, _, Some(forward)) => format!("MISS: {}", forward_text(forward)),
        (CacheOutcome::Bypass, ..) => "BYPASS: the cache was not asked".to_owned(),
        (CacheOutcome::None, ..) => "NONE: it never came to the cache".to_owned(),
    }
}

fn staleness(found: Found) -> u64 {
    u64::from(found.age.saturating_sub(found.lifetime))
}

const fn forward_text(forward: Forward) -> &'static str {
    match forward {
        Forward::Bypass => "the route is off",
        Forward::Method => "the method is not answered from a cache",
        Forward::UriMiss | Forward::Miss => "nothing was stored under its key",
        Forward::VaryMiss => "something was stored, but no variant for this request",
        Forward::Request => "the request did not take what was stored",
        Forward::Stale => "what was stored was not to be sent as it was",
        Forward::Partial => "a part was stored, but not all that was asked for",
    }
}

/// Why it went to the origin, in what state it found what was stored, and what became of the reply.
fn grounds(instance: &Instance, finished: &Finished) -> Vec<Ground> {
    let caching = &finished.caching;
    let mut grounds = Vec::new();
    let ground = |rule: &str, says: String| Ground { rule: rule.into(), says, ..Ground::default() };
    let doubt = caching.detail.and_then(Doubt::of);
    if let Some(forward) = caching.forward.filter(|_| doubt.is_none()) {
        grounds.push(ground(
            "RFC 9211 2.2",
            format!("it went to the origin (fwd={}): {}", forward.as_str(), forward_text(forward)),
        ));
    }
    if let Some(found) = caching.found {
        let says = format!(
            "found was a response with an age of {} and a lifetime of {}, given by {}",
            secs(found.age.into()),
            secs(found.lifetime.into()),
            found.source
        );
        grounds.push(ground("RFC 9111 4.2", says));
    }
    if caching.stored {
        grounds.push(ground(
            "RFC 9111 3",
            "the reply was stored, or had just been by another request".to_owned(),
        ));
    }
    let skip = caching.detail.and_then(|word| SKIPS.into_iter().find(|reason| reason.as_str() == word));
    match (skip, caching.detail) {
        (Some(reason), _) => grounds.push(not_stored(instance, finished, reason)),
        (None, Some(leak::DETAIL)) => grounds.push(guarded(instance, finished)),
        (None, Some(SLICED)) => grounds.push(ground(
            "policy",
            "it was answered slice by slice, beginning with what was found; each slice has a key of its own, and `cache explain` of the URL tells which are stored".to_owned(),
        )),
        (None, Some(detail)) if doubt.is_none() => {
            grounds.push(ground("RFC 9211 2.8", format!("Cache-Status says: {detail}")))
        }
        (None, _) => {}
    }
    grounds.extend(doubt.map(|doubt| doubtful(instance, finished, doubt)));
    grounds
}

/// Why its user was not believed.
fn doubtful(instance: &Instance, finished: &Finished, doubt: Doubt) -> Ground {
    let (rule, says) = doubt.ground();
    let route = finished.route.as_deref().unwrap_or_default();
    Ground {
        rule: rule.into(),
        says: format!("it was passed on and not stored, since users have replies of their own and {says}"),
        config: Some(config_key(&instance.settings().provenance, route, "key.user")),
        ..Ground::default()
    }
}

/// What the leak guard did, and how the key stands with it now.
fn guarded(instance: &Instance, finished: &Finished) -> Ground {
    let now = instance.clock.now();
    let standing = finished.caching.key.map(|key| instance.cache.leaks().standing(Digest(key), now));
    let since = match standing {
        Some(Standing::Leaking(until)) => {
            format!("its key is found leaking, and left alone for {} more", secs(until.since(now).as_secs()))
        }
        Some(Standing::Suspect) => "its key is suspect now".to_owned(),
        Some(Standing::Free) | None => "nothing is said against its key now".to_owned(),
    };
    let route = finished.route.as_deref().unwrap_or_default();
    Ground {
        rule: "leak guard".into(),
        says: format!("the reply was for its own credential alone, and compared or kept out; {since}"),
        config: Some(config_key(&instance.settings().provenance, route, "leak_guard")),
        ..Ground::default()
    }
}

/// Why the reply was not stored, from what is left of it.
fn not_stored(instance: &Instance, finished: &Finished, reason: SkipReason) -> Ground {
    let site = instance.proxy.site();
    let name = finished.route.as_deref().unwrap_or_default();
    let route = site.routes.iter().find(|route| *route.name == *name);
    let defaults = Rules::default();
    let rules = route.map_or(&defaults, |route| &route.cache.rules);
    let headers = finished.reply.as_ref().map(headers).unwrap_or_default();
    let request = request(finished);
    let policy = RequestPolicy::of(&finished.method, &request, rules);
    let status = caching_status(finished);
    let response =
        ResponseHead { status, headers: &headers, request_time: finished.at, response_time: finished.at };
    let Reason { rule, says, quote, key } = skipped(reason, &policy, &request, &response, rules);
    Ground {
        rule: rule.to_owned(),
        says: format!("the reply was not stored: {says}"),
        // Of values that are not kept, only the names.
        field: quote.map(|quote| quote.text.trim_end_matches([':', ' ']).to_owned()),
        config: key.map(|key| config_key(&instance.settings().provenance, name, key)),
    }
}

fn caching_status(finished: &Finished) -> StatusCode {
    let status = finished.caching.forward_status.unwrap_or(finished.status);
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

/// The fields of a reply as far as they are remembered.
pub(super) fn headers(reply: &ReplyFields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in reply.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A request that says what the past one said.
fn request(finished: &Finished) -> HeaderMap {
    let asks = finished.caching.asks;
    let mut headers = HeaderMap::new();
    let mut put = |is: bool, name: &'static str, value: &'static str| {
        if is {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    };
    put(asks.cookie, "cookie", "");
    put(asks.authorization, "authorization", "");
    put(asks.range, "range", "bytes=0-");
    put(asks.conditional && finished.method == Method::GET, "if-none-match", "\"\"");
    put(asks.no_store, "cache-control", "no-store");
    headers
}
