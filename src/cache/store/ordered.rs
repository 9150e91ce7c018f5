//! Pages in another order than that of keys: one walk over everything for many pages.
//!
//! A walk leaves the ranks of what it found, in order, for the pages after the first: as many as fit into
//! [`MAX_RANKS`]. So a listing is one walk per 16 MiB of ranks (some 200 000 entries), however small its pages, and
//! shows the order as it was when the walk began; entries that went meanwhile are left out. A few listings are kept
//! for a while; one that is not, or whose ranks are used up, goes on behind its cursor with another walk.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::EntryId;
use super::listing::{MAX_PAGE, Place, id_bytes, walk, wanted};
use super::report::{Cursor, ListQuery, Order, Page, Summary};
use super::shared::{Shared, judged};
use crate::cache::entry::Entry;
use crate::cache::key::Digest;
use crate::cache::purge::Criterion;

/// Bytes of ranks that one listing keeps.
const MAX_RANKS: usize = 16 << 20;
/// What a rank takes beside its bytes.
const PER_RANK: usize = 40;
/// Listings that are kept.
const MAX_LISTINGS: usize = 4;
/// A listing that nobody asked for since is let go of.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The bytes of a name at the end of a rank.
const NAME: usize = 32;

/// Listings that are being paged through.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<VecDeque<Listing>>);

#[derive(Clone, Debug)]
struct Listing {
    id: u64,
    ranks: Arc<Vec<Vec<u8>>>,
    /// Nothing lies behind its last rank.
    whole: bool,
    used: Instant,
}

impl Listings {
    fn get(&self, id: u64) -> Option<Listing> {
        let mut all = self.0.lock();
        let now = Instant::now();
        all.retain(|listing| now.duration_since(listing.used) < KEPT_FOR);
        let found = all.iter_mut().find(|listing| listing.id == id)?;
        found.used = now;
        Some(found.clone())
    }

    fn keep(&self, listing: Listing) {
        let mut all = self.0.lock();
        if all.len() >= MAX_LISTINGS {
            all.pop_front();
        }
        all.push_back(listing);
    }

    fn forget(&self, id: u64) {
        self.0.lock().retain(|listing| listing.id != id);
    }

    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        self.0.lock().clear();
    }
}

/// One page of what the query wants, in its order.
pub(super) fn page(shared: &Shared, query: &ListQuery) -> Page {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let place = query.cursor.as_ref().and_then(read);
    let behind = place.as_ref().map(|(_, rank)| rank.as_slice());
    let kept = place.as_ref().and_then(|(id, _)| shared.listings.get(*id));
    let is_new = kept.is_none();
    let mut listing = kept.unwrap_or_else(|| collect(shared, query, behind, MAX_RANKS));
    let mut at = behind.map_or(0, |behind| listing.ranks.partition_point(|rank| rank.as_slice() <= behind));
    let mut entries = Vec::new();
    while entries.len() < limit {
        let Some(rank) = listing.ranks.get(at) else {
            if listing.whole {
                break;
            }
            let last = listing.ranks.last().cloned().unwrap_or_default();
            shared.listings.forget(listing.id);
            listing = collect(shared, query, Some(&last), MAX_RANKS);
            shared.listings.keep(listing.clone());
            at = 0;
            continue;
        };
        entries.extend(fetch(shared, rank).filter(|summary| wanted(query, summary)));
        at += 1;
    }
    let ended = listing.whole && at >= listing.ranks.len();
    let next = listing.ranks.get(at.wrapping_sub(1)).filter(|_| !ended).map(|rank| write(listing.id, rank));
    match (ended, is_new) {
        (true, _) => shared.listings.forget(listing.id),
        (false, true) => shared.listings.keep(listing),
        (false, false) => {}
    }
    Page { entries, next }
}

/// Walks over everything, and keeps the first ranks behind `behind` that fit.
fn collect(shared: &Shared, query: &ListQuery, behind: Option<&[u8]>, most: usize) -> Listing {
    let mut first: BinaryHeap<Vec<u8>> = BinaryHeap::new();
    let (mut bytes, mut whole) = (0, true);
    let criterion = match query.any.as_slice() {
        [one] => one,
        _ => &Criterion::All,
    };
    walk(shared, criterion, &mut Place::default(), |summary| {
        let rank = rank(query, &summary);
        if behind.is_some_and(|behind| rank.as_slice() <= behind) || !wanted(query, &summary) {
            return true;
        }
        if !whole && first.peek().is_some_and(|last| rank > *last) {
            return true;
        }
        bytes += rank.len() + PER_RANK;
        first.push(rank);
        while bytes > most && first.len() > 1 {
            whole = false;
            bytes -= first.pop().map_or(0, |rank| rank.len() + PER_RANK);
        }
        true
    });
    Listing { id: fastrand::u64(..), ranks: Arc::new(first.into_sorted_vec()), whole, used: Instant::now() }
}

/// The entry that a rank names, as it is now.
fn fetch(shared: &Shared, rank: &[u8]) -> Option<Summary> {
    let name: &[u8; NAME] = rank.last_chunk()?;
    let digest = Digest(name[..16].try_into().ok()?);
    let id = EntryId { digest, variant: name[16..].try_into().ok()? };
    let near = shared.memory.peek(&digest).and_then(|resource| resource.find(id).cloned());
    let entry = near.or_else(|| {
        let on_disk = shared.read_disk(digest);
        on_disk.into_iter().find(|entry| EntryId::of(digest, entry) == id).map(Arc::new)
    })?;
    judged(&shared.rules.read(), digest, entry).map(|entry| Summary { id, entry })
}

fn write(id: u64, rank: &[u8]) -> Cursor {
    let mut text = format!("s{id:016x}");
    rank.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    Cursor(text)
}

fn read(cursor: &Cursor) -> Option<(u64, Vec<u8>)> {
    let hex = cursor.0.strip_prefix('s').filter(|hex| hex.is_ascii())?;
    let (id, rank) = hex.split_at_checked(16)?;
    let rank = rank.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)
    });
    Some((u64::from_str_radix(id, 16).ok()?, rank.collect::<Option<Vec<u8>>>()?))
}

/// Bytes that sort as the order says, unique by the entry's name.
fn rank(query: &ListQuery, summary: &Summary) -> Vec<u8> {
    let entry: &Entry = &summary.entry;
    let mut rank = match query.order {
        Order::Key => Vec::new(),
        Order::Url => {
            // Ended by a byte below all others, so that a shorter one comes first either way round.
            let mut url = [entry.key.authority.as_bytes(), entry.key.target.as_bytes()].concat();
            url.truncate(4096);
            url.push(0);
            url
        }
        Order::Stored => entry.head.response_time.millis().to_be_bytes().to_vec(),
        Order::Expires => entry.head.fresh_until().millis().to_be_bytes().to_vec(),
        Order::Size => entry.body.len().to_be_bytes().to_vec(),
    };
    if query.descending {
        rank.iter_mut().for_each(|byte| *byte = !*byte);
    }
    rank.extend_from_slice(&id_bytes(summary.id));
    rank
}

#[cfg(test)]
mod tests {
    use super::super::journeys::{new, open, settled, store};
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test]
    async fn pages_come_from_one_walk_and_go_on_when_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path()).await;
        let put = async |number: u64| {
            let mut new = new(&format!("/{number:03}"), cache.sequence());
            new.head.response_time = Timestamp::from_secs(10_000 + number);
            store(&cache, new, b"x").await;
        };
        for number in 0..100 {
            put(number * 2).await;
        }
        settled(&cache).await;
        let page = async |cursor: Option<Cursor>| {
            let query = ListQuery { cursor, limit: 10, order: Order::Stored, ..ListQuery::default() };
            let page = cache.list(query).await;
            let targets: Vec<_> =
                page.entries.iter().map(|summary| summary.entry.key.target.to_string()).collect();
            (targets, page.next)
        };
        let (first, next) = page(None).await;
        assert_eq!((&*first[0], &*first[9]), ("/000", "/018"));
        // Of what comes after the walk nothing shows, of what went nothing is left.
        put(21).await;
        let gone = entry_of("/022");
        cache.remove(super::super::tests::id(&gone));
        settled(&cache).await;
        let (second, next) = page(next).await;
        assert_eq!((&*second[0], &*second[1], second.len()), ("/020", "/024", 10));
        // Another walk goes on behind the same place.
        cache.shared.listings.forget_all();
        put(41).await;
        settled(&cache).await;
        let (third, _) = page(next.clone()).await;
        assert_eq!((&*third[0], &*third[1]), ("/041", "/042"));
        let (mut seen, mut next) = (0, next);
        while next.is_some() {
            let (targets, after) = page(next).await;
            seen += targets.len();
            next = after;
        }
        assert_eq!(seen, 100 - 21 + 1);
        assert!(page(Some(Cursor("snonsense".into()))).await.0.len() == 10);
    }

    fn entry_of(target: &str) -> Entry {
        super::super::tests::entry(target, b"")
    }

    #[tokio::test]
    async fn what_does_not_fit_is_walked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path()).await;
        for number in 0..50 {
            store(&cache, new(&format!("/{number:02}"), cache.sequence()), b"x").await;
        }
        settled(&cache).await;
        let query = ListQuery { order: Order::Url, ..ListQuery::default() };
        let mut behind: Option<Vec<u8>> = None;
        let mut seen = Vec::new();
        loop {
            let listing = collect(&cache.shared, &query, behind.as_deref(), 1_000);
            assert!(listing.ranks.len() < 20);
            seen.extend(listing.ranks.iter().cloned());
            behind = listing.ranks.last().cloned();
            if listing.whole {
                break;
            }
        }
        assert_eq!(seen.len(), 50);
        assert!(seen.is_sorted());
    }
}
