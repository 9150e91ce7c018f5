//! Stored responses: list, show, purge, stats.

use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::Admin;
use super::entry::{self, Seen};
use super::reply::{self, Reply};
use super::request::{Asked, filter};
use crate::admin::api::{
    CacheStats, EntryOrder, EntryPage, EntryQuery, EntryRow, Problem, ProblemCode, Purge, PurgeBatch,
    PurgeBatchReply, PurgeReply, Quarantine, RouteUsage, Selector, ShowQuery, StoreFinding,
};
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, group};
use crate::cache::store::{Closed, Cursor, ListQuery, Order, RouteStats, State, Summary, Victims};
use crate::clock::Timestamp;
use crate::http::path;
use crate::telemetry::filter::Filter;

/// The largest page.
const MAX_PAGE: u64 = 10_000;

/// The page where none is asked for.
const PAGE: u64 = 500;

/// The variants of one URL that are shown.
const MAX_SHOWN: usize = 1000;

/// How long a purge may count what it takes before it just takes it: it must hold within a tenth of a second.
const COUNT_TIME: Duration = Duration::from_millis(25);

/// The most purges of one request.
const MAX_BATCH: usize = 10_000;

/// One page of entries.
pub async fn list(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: EntryQuery = asked.query()?;
    let now = admin.clock.now();
    let filter = wanted.filter.as_deref().map(filter::<Seen<'static>>).transpose()?;
    let page = admin
        .cache
        .list(ListQuery {
            cursor: wanted.cursor.map(Cursor::from_text),
            limit: usize::try_from(wanted.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)).unwrap_or(1),
            criterion: wanted.select.as_ref().map(|select| criterion(select, now)).transpose()?,
            filter: filter.map(|filter| accept(filter, now)),
            order: wanted.sort.map_or(Order::Key, order),
            descending: wanted.descending && wanted.sort.is_some(),
        })
        .await;
    reply::json(&EntryPage {
        items: page.entries.iter().map(|summary| entry::row(summary, now)).collect(),
        next: page.next.map(|cursor| cursor.as_str().to_owned()),
    })
}

fn accept(filter: Filter, now: Timestamp) -> Box<dyn Fn(&Summary) -> bool + Send + Sync> {
    Box::new(move |summary| filter.matches(&Seen { entry: &summary.entry, now }))
}

const fn order(order: EntryOrder) -> Order {
    match order {
        EntryOrder::Url => Order::Url,
        EntryOrder::Stored => Order::Stored,
        EntryOrder::Expires => Order::Expires,
        EntryOrder::Size => Order::Size,
    }
}

/// Every variant of a key or a URL.
pub async fn show(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: ShowQuery = asked.query()?;
    let now = admin.clock.now();
    let found = match Digest::from_hex(&wanted.subject) {
        Some(digest) => admin.cache.show(digest).await,
        None => {
            let criterion = criterion(&Selector::Url(wanted.subject.clone()), now)?;
            let query = ListQuery { limit: MAX_SHOWN, criterion: Some(criterion), ..ListQuery::default() };
            admin.cache.list(query).await.entries
        }
    };
    if found.is_empty() {
        let problem =
            Problem::new(ProblemCode::NotFound, format!("nothing is stored for {}", wanted.subject));
        let leaks = admin.cache.leaks().marks(now);
        let leaking = leaks
            .iter()
            .find(|mark| *mark.url == *wanted.subject || mark.digest.to_string() == wanted.subject);
        if let Some(mark) = leaking {
            let left = mark.until.since(now).as_secs();
            return Err(problem.detail(format!(
                "the leak guard found that its replies differ by credential: nothing is stored for {left} s more"
            )));
        }
        return Err(match admin.cache.state() {
            State::Opening => problem.detail("the disk store is still opening; only RAM was searched"),
            _ => problem.help("proxy-stone cache ls"),
        });
    }
    reply::json(&found.iter().map(|summary| entry::detail(summary, now)).collect::<Vec<_>>())
}

/// Purges, or says what would be purged.
pub async fn purge(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let wanted: Purge = asked.json()?;
    let now = admin.clock.now();
    let criterion = criterion(&wanted.select, now)?;
    let sample = usize::try_from(wanted.sample.min(MAX_PAGE)).unwrap_or(0);
    if wanted.dry_run {
        let victims = admin.cache.victims(criterion, sample).await;
        return reply::json(&report(&wanted, Some(&victims), now));
    }
    // The count is a courtesy: a purge of a million entries is not held up for it.
    let victims = match wanted.uncounted {
        true => None,
        false => {
            let until = Instant::now() + COUNT_TIME;
            admin.cache.victims_until(criterion.clone(), sample, until).await
        }
    };
    let mut report = report(&wanted, victims.as_ref(), now);
    match admin.cache.purge(criterion, wanted.soft).await {
        Ok(done) => {
            report.sequence = Some(done.sequence);
            report.durable = done.durable;
        }
        Err(error) => report.warning = Some(error.to_string()),
    }
    reply::json(&report)
}

/// Purges much in one go.
pub async fn purge_batch(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let wanted: PurgeBatch = asked.json()?;
    if wanted.select.len() > MAX_BATCH {
        return Err(bad(format!("more than {MAX_BATCH} purges in one request")));
    }
    let now = admin.clock.now();
    // All are understood, or none is done.
    let criteria: Vec<Criterion> =
        wanted.select.iter().map(|select| criterion(select, now)).collect::<Result<_, _>>()?;
    let purges = criteria.len() as u64;
    let mut reply = PurgeBatchReply { purges, soft: wanted.soft, ..PurgeBatchReply::default() };
    match admin.cache.purge_all(criteria, wanted.soft).await {
        Ok(done) => {
            reply.sequence = done.sequence;
            reply.durable = done.durable;
        }
        Err(error) => {
            reply.sequence = admin.cache.sequence();
            reply.warning = Some(error.to_string());
        }
    }
    reply::json(&reply)
}

fn report(wanted: &Purge, victims: Option<&Victims>, now: Timestamp) -> PurgeReply {
    let rows = |victims: &Victims| -> Vec<EntryRow> {
        victims.sample.iter().map(|summary| entry::row(summary, now)).collect()
    };
    PurgeReply {
        dry_run: wanted.dry_run,
        soft: wanted.soft,
        entries: victims.map(|victims| victims.entries),
        bytes: victims.map(|victims| victims.bytes),
        sample: victims.map(rows).unwrap_or_default(),
        sequence: None,
        durable: false,
        warning: None,
    }
}

/// Counters, and how the store stands.
pub fn stats(admin: &Admin) -> Reply {
    let stats = admin.cache.stats();
    let state = admin.cache.state();
    let findings = admin.cache.findings().into_iter().map(|finding| StoreFinding {
        at_ms: finding.at.millis(),
        code: finding.code.to_owned(),
        message: finding.message,
    });
    let quarantines = admin.cache.quarantines().into_iter().map(|quarantine| Quarantine {
        path: quarantine.path.display().to_string(),
        salvaged: quarantine.salvaged,
    });
    reply::json(&CacheStats {
        state: word(&state).to_owned(),
        detail: matches!(state, State::Closed(_) | State::Full).then(|| state.to_string()),
        memory_keys: stats.memory_resources,
        memory_bytes: stats.memory_bytes,
        memory_limit: stats.memory_limit,
        disk_entries: stats.disk_entries,
        max_entries: stats.max_entries,
        disk_bytes: stats.disk_bytes,
        disk_limit: stats.disk_limit,
        memory_hits: stats.memory_hits,
        disk_hits: stats.disk_hits,
        misses: stats.misses,
        inserts: stats.inserts,
        queue_depth: stats.queue_depth,
        queue_dropped: stats.queue_dropped,
        purged_in_flight: stats.purged_in_flight,
        evicted: stats.evicted,
        expired: stats.expired,
        purged: stats.purged,
        rules_active: stats.rules_active,
        corrupt: stats.corrupt,
        orphans: stats.orphans,
        findings: findings.collect(),
        quarantines: quarantines.collect(),
        routes: admin.cache.routes().into_iter().map(route).collect(),
    })
}

fn route(stats: RouteStats) -> RouteUsage {
    RouteUsage {
        route: stats.route.into(),
        disk_entries: stats.disk_entries,
        disk_bytes: stats.disk_bytes,
        disk_limit: stats.disk_limit,
        memory_bytes: stats.memory_bytes,
        memory_limit: stats.memory_limit,
    }
}

/// The word for a state of the disk tier.
pub const fn word(state: &State) -> &'static str {
    match state {
        State::Off => "off",
        State::Opening => "opening",
        State::Open => "open",
        State::Full => "full",
        State::Closed(Closed::Locked(_)) => "locked",
        State::Closed(_) => "closed",
    }
}

/// What a selector means to the store.
pub(super) fn criterion(select: &Selector, now: Timestamp) -> Result<Criterion, Problem> {
    Ok(match select {
        Selector::Key(key) => Criterion::Key(Digest::from_hex(key).ok_or_else(|| {
            bad(format!("\"{key}\" is no key"))
                .detail("a key has 32 hexadecimal digits, as `cache ls -o wide` prints it")
        })?),
        Selector::Url(url) => {
            let (authority, target) = absolute(url)?;
            Criterion::Url { authority, target }
        }
        Selector::Prefix(prefix) if prefix.starts_with('/') => {
            Criterion::Prefix { authority: None, target: prefix.as_str().into() }
        }
        Selector::Prefix(prefix) => {
            let (authority, target) = absolute(prefix)?;
            Criterion::Prefix { authority: Some(authority), target }
        }
        Selector::Glob(glob) => Criterion::Glob(without_scheme(glob).into()),
        Selector::Host(host) => Criterion::Host(host.to_ascii_lowercase().into()),
        Selector::Route(route) => Criterion::Route(route.as_str().into()),
        Selector::Tag(tag) => Criterion::Tag(tag.as_str().into()),
        Selector::Group(group) => Criterion::Tag(group_tag(group)?),
        Selector::OlderThan(millis) => Criterion::Before(now.minus(Duration::from_millis(*millis))),
        Selector::All => Criterion::All,
    })
}

/// The tag of a group that is written behind its origin.
fn group_tag(text: &str) -> Result<Box<str>, Problem> {
    let bad = || {
        bad(format!("\"{text}\" names no group")).detail(
            "groups belong to an origin: write https://host/group, the group as `cache show` prints it",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let (authority, name) = rest.split_once('/').ok_or_else(bad)?;
    let origin = Url::parse(&format!("{scheme}://{authority}/")).map_err(|_| bad())?;
    let host = origin.host_str().filter(|_| matches!(origin.scheme(), "http" | "https")).ok_or_else(bad)?;
    let authority = origin.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok(group::tag(origin.scheme(), &authority, name))
}

/// Host and target of a URL that may lack its scheme.
fn absolute(text: &str) -> Result<(Box<str>, Box<str>), Problem> {
    if text.starts_with('/') {
        return Err(bad(format!("\"{text}\" is no URL")).detail("it has no host: write http://host/path"));
    }
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|error| bad(format!("\"{text}\" is no URL")).detail(error))?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        bad(format!("\"{text}\" is no URL")).detail("write http://host/path or https://host/path")
    })?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path =
        path::normalise(url.path()).map_err(|error| bad(format!("\"{text}\" is no URL")).detail(error))?;
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    Ok((authority.into(), target.into()))
}

fn without_scheme(glob: &str) -> &str {
    glob.strip_prefix("https://").or_else(|| glob.strip_prefix("http://")).unwrap_or(glob)
}

fn bad(title: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::BadRequest, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_what_the_store_understands() {
        let now = Timestamp::from_secs(100);
        let url = |authority: &str, target: &str| Criterion::Url {
            authority: authority.into(),
            target: target.into(),
        };
        let table = [
            (Selector::Url("https://A.example:443/x?y=1".into()), url("a.example", "/x?y=1")),
            (Selector::Url("http://a.example:8080".into()), url("a.example:8080", "/")),
            (Selector::Url("127.0.0.1:8080/x".into()), url("127.0.0.1:8080", "/x")),
            (Selector::Prefix("/v1/".into()), Criterion::Prefix { authority: None, target: "/v1/".into() }),
            (
                Selector::Prefix("http://a/v1".into()),
                Criterion::Prefix { authority: Some("a".into()), target: "/v1".into() },
            ),
            (
                Selector::Group("HTTPS://A.example:443/x /y".into()),
                Criterion::Tag(group::tag("https", "a.example", "x /y")),
            ),
            (Selector::Glob("https://a/*".into()), Criterion::Glob("a/*".into())),
            (Selector::OlderThan(40_000), Criterion::Before(Timestamp::from_secs(60))),
            (Selector::All, Criterion::All),
        ];
        for (selector, expected) in table {
            assert_eq!(criterion(&selector, now).unwrap(), expected, "{selector}");
        }
        for wrong in [
            Selector::Key("xyz".into()),
            Selector::Url("ftp://a/".into()),
            Selector::Url("http://".into()),
            Selector::Url("/plain".into()),
            Selector::Group("scripts".into()),
            Selector::Group("ftp://a/scripts".into()),
        ] {
            assert_eq!(criterion(&wrong, now).unwrap_err().code, ProblemCode::BadRequest, "{wrong}");
        }
    }
}
