//! Rate limits: who is near them, and forgetting whom.

use std::sync::Arc;
use std::time::Duration;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use crate::admin::api::{
    LimitQuery, LimitReport, LimitReset, LimitRow, LimitedKey, LimitsForgotten, Problem, ProblemCode,
};
use crate::limit::Standing;
use crate::pipeline::Site;
use crate::pipeline::limiting::Limit;
use crate::pipeline::settings::Counted;

/// Keys told of where nobody says how many.
const DEFAULT_MOST: u64 = 100;

/// Keys told of at most.
const MOST: u64 = 100_000;

/// The limits and the keys nearest to them.
pub fn list(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: LimitQuery = asked.query()?;
    let site = site(admin)?;
    let limits = chosen(&site, wanted.limit.as_deref())?;
    let most = usize::try_from(wanted.most.unwrap_or(DEFAULT_MOST).min(MOST)).unwrap_or(usize::MAX);
    let now = admin.clock.now();
    let (mut keys, mut total) = (Vec::new(), 0);
    for limit in &limits {
        let (near, count) = limit.limiter.nearest(now, wanted.limited, most);
        keys.extend(near.iter().map(|standing| key(limit, standing)));
        total += count as u64;
    }
    keys.sort_by_key(|key| {
        (u64::from(key.remaining) * 1_000_000 / u64::from(key.quota.max(1)), std::cmp::Reverse(key.retry_ms))
    });
    keys.truncate(most);
    let limits = limits.iter().map(|limit| row(&site, limit)).collect();
    reply::json(&LimitReport { limits, keys, total })
}

/// Lets keys begin anew.
pub fn reset(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: LimitReset = asked.json()?;
    let site = site(admin)?;
    let limits = chosen(&site, wanted.limit.as_deref())?;
    let forgotten: usize = limits.iter().map(|limit| limit.limiter.forget(wanted.key.as_deref())).sum();
    reply::json(&LimitsForgotten { forgotten: forgotten as u64 })
}

fn site(admin: &Admin) -> Result<Arc<Site>, Problem> {
    let proxy = admin.control.proxy();
    proxy.map(|proxy| proxy.site()).ok_or_else(|| Problem::new(ProblemCode::Other, "nothing is served"))
}

fn chosen(site: &Site, name: Option<&str>) -> Result<Vec<Arc<Limit>>, Problem> {
    let Some(name) = name else { return Ok(site.limits.clone()) };
    match site.limits.iter().find(|limit| limit.name() == name) {
        Some(limit) => Ok(vec![limit.clone()]),
        None => Err(Problem::new(ProblemCode::NotFound, format!("there is no rate limit `{name}`"))),
    }
}

fn row(site: &Site, limit: &Arc<Limit>) -> LimitRow {
    let (settings, counts) = (&limit.settings, limit.limiter.counts());
    let limiter = &settings.limiter;
    let holds = |route: &&Arc<crate::pipeline::Route>| route.limits.iter().any(|own| Arc::ptr_eq(own, limit));
    LimitRow {
        limit: limit.name().to_owned(),
        rate: limiter.quotas.first().map(ToString::to_string).unwrap_or_default(),
        burst: limit.limiter.limit(0),
        algorithm: limiter.algorithm.as_str().to_owned(),
        key: settings.key.iter().map(ToString::to_string).collect(),
        counts: match settings.counts {
            Counted::All => "all",
            Counted::Origin => "origin",
        }
        .to_owned(),
        dry_run: settings.dry_run,
        routes: site.routes.iter().filter(holds).map(|route| route.name.to_string()).collect(),
        allowed: counts.allowed,
        limited: counts.limited,
        would_limit: counts.dry_run,
        exempt: counts.exempt,
        keys: counts.keys as u64,
        max_keys: limiter.max_keys as u64,
        max_bytes: limit.limiter.max_bytes() as u64,
        evicted: counts.evicted,
        shared: counts.shared,
    }
}

fn key(limit: &Limit, standing: &Standing) -> LimitedKey {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let state = match standing.now.remaining {
        0 if limit.settings.dry_run => "dry-run",
        0 => "limited",
        left if u64::from(left) * 5 <= u64::from(standing.limit) => "near",
        _ => "ok",
    };
    LimitedKey {
        limit: limit.name().to_owned(),
        key: standing.label.to_string(),
        tier: limit.tier_name(standing.tier).map(str::to_owned),
        state: state.to_owned(),
        remaining: standing.now.remaining,
        quota: standing.limit,
        retry_ms: millis(standing.now.retry),
        reset_ms: millis(standing.now.reset),
        refused: standing.refused,
    }
}
