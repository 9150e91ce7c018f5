//! Stored responses: list, show, purge, stats.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Admin;
use super::entry::{self, Seen};
use super::reply::{self, Reply};
use super::request::{Asked, filter};
use super::selection::{criteria, criteria_of, forms, note, spellings};
use crate::admin::api::{
    CacheStats, EntryOrder, EntryPage, EntryQuery, EntryRow, Problem, ProblemCode, Purge, PurgeBatch,
    PurgeBatchReply, PurgeReply, Quarantine, RouteUsage, ShowQuery, StoreFinding,
};
use crate::cache::key::Digest;
use crate::cache::purge::Criterion;
use crate::cache::store::{Closed, Cursor, ListQuery, Order, RouteStats, State, Summary, Victims};
use crate::clock::Timestamp;
use crate::pipeline::key::Form;
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
            any: match &wanted.select {
                Some(select) => criteria(admin, select, now)?,
                None => Vec::new(),
            },
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
    let (found, forms) = match Digest::from_hex(&wanted.subject) {
        Some(digest) => (admin.cache.show(digest).await, Vec::new()),
        None => {
            let forms = forms(admin, &spellings(&wanted.subject)?);
            // By its index, however much else is stored.
            (admin.cache.victims(criteria_of(forms.clone()), MAX_SHOWN).await.sample, forms)
        }
    };
    if found.is_empty() {
        let problem =
            Problem::new(ProblemCode::NotFound, format!("nothing is stored for {}", wanted.subject));
        let leaks = admin.cache.leaks().marks(now);
        let leaking = leaks
            .iter()
            .find(|mark| is_one_of(&mark.url, &forms) || mark.digest.to_string() == wanted.subject);
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

fn is_one_of(url: &str, forms: &[Form]) -> bool {
    let named = url.split_once("://").map_or(url, |(_, named)| named);
    forms.iter().any(|form| named.strip_prefix(&*form.authority).is_some_and(|rest| *rest == *form.target))
}

/// Purges, or says what would be purged.
pub async fn purge(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let wanted: Purge = asked.json()?;
    let now = admin.clock.now();
    let criteria = criteria(admin, &wanted.select, now)?;
    let sample = usize::try_from(wanted.sample.min(MAX_PAGE)).unwrap_or(0);
    if wanted.dry_run {
        let victims = admin.cache.victims(criteria, sample).await;
        return reply::json(&report(admin, &wanted, Some(&victims), now));
    }
    // The count is a courtesy: a purge of a million entries is not held up for it.
    let victims = match wanted.uncounted {
        true => None,
        false => {
            let until = Instant::now() + COUNT_TIME;
            admin.cache.victims_until(criteria.clone(), sample, until).await
        }
    };
    let mut report = report(admin, &wanted, victims.as_ref(), now);
    match admin.cache.purge_all(criteria, wanted.soft).await {
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
    let mut all: Vec<Criterion> = Vec::with_capacity(wanted.select.len());
    for select in &wanted.select {
        all.extend(criteria(admin, select, now)?);
    }
    let purges = wanted.select.len() as u64;
    let mut reply = PurgeBatchReply { purges, soft: wanted.soft, ..PurgeBatchReply::default() };
    match admin.cache.purge_all(all, wanted.soft).await {
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

fn report(admin: &Admin, wanted: &Purge, victims: Option<&Victims>, now: Timestamp) -> PurgeReply {
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
        note: victims.filter(|victims| victims.entries == 0).and_then(|_| note(admin, &wanted.select)),
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
        refused: stats.refused,
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

fn bad(title: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::BadRequest, title)
}
