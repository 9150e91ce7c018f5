//! What operators ask: pages of entries, what a purge would take, what stands under a key.
//!
//! Everything runs on the blocking pool, in parts, and holds no more than one page (and, in another order than that
//! of keys, what `ordered` says). The disk is walked first, then what stands in RAM alone.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::EntryId;
use super::memory::Resource;
use super::ordered;
use super::report::{Cursor, ListQuery, Order, Page, Summary, Victims};
use super::shared::{Shared, judged};
use super::tiered::Cache;
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, Subject};

/// The most entries of a page or a sample.
pub(super) const MAX_PAGE: usize = 10_000;
/// Entries that are read from the disk at a time.
const PART: usize = 256;
/// Entries that one page by key looks at: a filter that takes few of many answers with a short page and a cursor,
/// instead of leaving its asker without a sign of life.
const LOOKED_AT: usize = 20_000;

impl Cache {
    /// What a purge by these would take, each entry once, with a sample of at most `limit` (10 000 at most).
    pub async fn victims(&self, criteria: Vec<Criterion>, limit: usize) -> Victims {
        self.count(criteria, limit, None).await.unwrap_or_default()
    }

    /// As [`Cache::victims`], if they can be counted by then.
    pub async fn victims_until(
        &self,
        criteria: Vec<Criterion>,
        limit: usize,
        until: Instant,
    ) -> Option<Victims> {
        self.count(criteria, limit, Some(until)).await
    }

    async fn count(&self, criteria: Vec<Criterion>, limit: usize, until: Option<Instant>) -> Option<Victims> {
        let shared = self.shared.clone();
        let limit = limit.min(MAX_PAGE);
        blocking(move || {
            let mut victims = Victims::default();
            for (at, criterion) in criteria.iter().enumerate() {
                let count = |summary: Summary| {
                    let subject = Subject::of(summary.id.digest, &summary.entry);
                    if criteria[..at].iter().any(|earlier| earlier.takes(&subject)) {
                        return true;
                    }
                    victims.entries += 1;
                    victims.bytes += summary.entry.body.len();
                    if victims.sample.len() < limit {
                        victims.sample.push(summary);
                    }
                    true
                };
                if !walk_until(&shared, criterion, &mut Place::default(), until, count) {
                    return None;
                }
            }
            Some(victims)
        })
        .await
    }

    /// One page of the entries.
    pub async fn list(&self, query: ListQuery) -> Page {
        let shared = self.shared.clone();
        blocking(move || match query.order {
            Order::Key => page_by_key(&shared, &query),
            _ => ordered::page(&shared, &query),
        })
        .await
    }

    /// All variants stored under a digest, newest first, whatever their key.
    pub async fn show(&self, digest: Digest) -> Vec<Summary> {
        let shared = self.shared.clone();
        blocking(move || {
            let _stripe = shared.stripe(digest);
            let mut variants = shared.load(digest, shared.memory.peek(&digest)).variants;
            variants.sort_by_key(|entry| Reverse(entry.head.response_time));
            variants.into_iter().map(|entry| Summary { id: EntryId::of(digest, &entry), entry }).collect()
        })
        .await
    }
}

pub(super) async fn blocking<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // An error is the runtime's end, or a panic that has been reported.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// Where a walk over both tiers is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    in_memory: bool,
    after: Option<Vec<u8>>,
}

impl Place {
    fn cursor(&self) -> Cursor {
        let mut text = if self.in_memory { "m" } else { "d" }.to_owned();
        for byte in self.after.iter().flatten() {
            text.push_str(&format!("{byte:02x}"));
        }
        Cursor(text)
    }

    fn of(cursor: &Cursor) -> Self {
        let in_memory = cursor.0.starts_with('m');
        let hex = cursor.0.get(1..).unwrap_or_default().as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let after: Option<Vec<u8>> =
            hex.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8)).collect();
        Self { in_memory, after: after.filter(|after| !after.is_empty()) }
    }
}

/// Shows what the criterion takes, purge rules applied, until `show` has seen enough. Says whether it ended.
pub(super) fn walk(
    shared: &Shared,
    criterion: &Criterion,
    place: &mut Place,
    show: impl FnMut(Summary) -> bool,
) -> bool {
    walk_until(shared, criterion, place, None, show)
}

/// As [`walk`], for no longer than until then.
fn walk_until(
    shared: &Shared,
    criterion: &Criterion,
    place: &mut Place,
    until: Option<Instant>,
    mut show: impl FnMut(Summary) -> bool,
) -> bool {
    let mut crossing = Crossing::of(shared, place);
    while !place.in_memory {
        if until.is_some_and(|until| Instant::now() > until) {
            return false;
        }
        let tier = shared.disk.load_full();
        let part = tier.map(|tier| tier.store.candidates(criterion, place.after.as_deref(), PART));
        let Some(Ok(part)) = part else {
            *place = Place { in_memory: true, after: None };
            break;
        };
        let book = shared.rules.read();
        let mut shown = Vec::new();
        for (id, entry) in part.entries {
            if criterion.takes(&Subject::of(id.digest, &entry)) {
                shown.extend(judged(&book, id.digest, Arc::new(entry)).map(|entry| Summary { id, entry }));
            }
        }
        drop(book);
        let mut more = true;
        for summary in shown {
            crossing.note(summary.id);
            let row = id_bytes(summary.id);
            more = show(summary);
            if !more {
                // By key a page can end anywhere; a row of another index is not known here.
                place.after = Some(row);
                break;
            }
        }
        if !more {
            return false;
        }
        *place = Place { in_memory: part.next.is_none(), after: part.next };
    }
    walk_memory(shared, criterion, place, until, &crossing, show)
}

/// What was on its way to disk when a walk began: it may get there behind the walk, and be found on disk when RAM is looked
/// at.
struct Crossing {
    digests: HashSet<Digest>,
    /// Where on disk the walk began.
    after: Option<Vec<u8>>,
    /// What of it was seen on disk.
    seen: HashSet<EntryId>,
}

impl Crossing {
    fn of(shared: &Shared, place: &Place) -> Self {
        let digests = if place.in_memory { HashSet::new() } else { shared.waiting.digests() };
        Self { digests, after: place.after.clone(), seen: HashSet::new() }
    }

    fn note(&mut self, id: EntryId) {
        if self.digests.contains(&id.digest) {
            self.seen.insert(id);
        }
    }

    /// Whether the walk may have gone past its place before it was there.
    fn missed(&self, id: EntryId) -> bool {
        self.digests.contains(&id.digest)
            && !self.seen.contains(&id)
            && self.after.as_ref().is_none_or(|after| id_bytes(id) > *after)
    }
}

/// Entries that are looked at between two looks at the clock.
const LOOKS: u32 = 64;

/// Looks at the clock now and then.
struct Looks {
    until: Option<Instant>,
    left: u32,
}

impl Looks {
    fn late(&mut self) -> bool {
        let Some(until) = self.until else { return false };
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.left = LOOKS;
        Instant::now() > until
    }
}

/// What is in RAM and not on disk, in the order of keys.
fn walk_memory(
    shared: &Shared,
    criterion: &Criterion,
    place: &mut Place,
    until: Option<Instant>,
    crossing: &Crossing,
    mut show: impl FnMut(Summary) -> bool,
) -> bool {
    let after = place.after.clone();
    let tier = shared.disk.load_full();
    let mut found = Vec::new();
    let resources: Box<dyn Iterator<Item = Arc<Resource>>> = match criterion {
        Criterion::Key(digest) => Box::new(shared.memory.peek(digest).into_iter()),
        _ => Box::new(shared.memory.iter()),
    };
    let mut looks = Looks { until, left: LOOKS };
    for resource in resources {
        if looks.late() {
            return false;
        }
        for entry in &resource.variants {
            let id = EntryId::of(resource.digest, entry);
            let later = after.as_ref().is_none_or(|after| id_bytes(id) > *after);
            if later && criterion.takes(&Subject::of(resource.digest, entry)) {
                found.push((id, entry.clone()));
            }
        }
    }
    found.sort_by_key(|(id, _)| *id);
    for (id, entry) in found {
        if looks.late() {
            return false;
        }
        let on_disk = tier.as_ref().is_some_and(|tier| tier.store.contains(id).unwrap_or(false));
        if on_disk && !crossing.missed(id) {
            continue;
        }
        let judged = judged(&shared.rules.read(), id.digest, entry);
        if let Some(entry) = judged
            && !show(Summary { id, entry })
        {
            place.after = Some(id_bytes(id));
            return false;
        }
    }
    true
}

fn page_by_key(shared: &Shared, query: &ListQuery) -> Page {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let mut place = query.cursor.as_ref().map(Place::of).unwrap_or_default();
    let mut entries = Vec::new();
    let mut seen = 0;
    // In the order of keys whatever the criterion: an index's own places would not survive in a cursor.
    let ended = walk(shared, &Criterion::All, &mut place, |summary| {
        seen += 1;
        if wanted(query, &summary) {
            entries.push(summary);
        }
        entries.len() < limit && seen < LOOKED_AT
    });
    Page { next: (!ended).then(|| place.cursor()), entries }
}

pub(super) fn wanted(query: &ListQuery, summary: &Summary) -> bool {
    let subject = Subject::of(summary.id.digest, &summary.entry);
    (query.any.is_empty() || query.any.iter().any(|criterion| criterion.takes(&subject)))
        && query.filter.as_ref().is_none_or(|filter| filter(summary))
}

pub(super) fn id_bytes(id: EntryId) -> Vec<u8> {
    [id.digest.0, id.variant].concat()
}
