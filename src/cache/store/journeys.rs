//! The cache as its callers see it: stored, found again, purged, reopened, damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::tests::{entry, id};
use super::*;
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::{FieldHash, KeyParts};
use crate::cache::purge::Criterion;
use crate::cache::{Quota, Settings};
use crate::clock::{Clock, Timestamp};

mod damage;
mod room;

pub(super) fn settings() -> Settings {
    Settings { memory: 32 << 20, disk: 1 << 30, min_free: 0, ..Settings::default() }
}

pub(super) async fn open(dir: &Path) -> Arc<Cache> {
    let cache = Cache::open(settings(), Some(dir.to_owned()), Clock::System).unwrap();
    assert_eq!(cache.wait_open().await, State::Open);
    cache
}

pub(super) fn lookup(cache: &Cache, target: &str) -> Option<Arc<Resource>> {
    let headers = HeaderMap::new();
    let key = KeyParts {
        upstream: "api",
        scheme: "http",
        authority: "example.com",
        target,
        fields: &[],
        headers: &headers,
        extra: &[],
    };
    cache.lookup(&key, key.digest(cache.secret()))
}

pub(super) fn new(target: &str, sequence: u64) -> NewEntry {
    let entry = entry(target, b"");
    NewEntry {
        key: entry.key,
        vary: entry.vary,
        part: None,
        head: entry.head,
        tags: entry.tags,
        route: entry.route,
        sequence,
        keep_until: Timestamp::from_secs(1 << 40),
        wanted: false,
    }
}

pub(super) async fn store(cache: &Cache, new: NewEntry, body: &[u8]) -> Inserted {
    let mut spool = cache.spool(None, None);
    for part in body.chunks(10_000) {
        spool.append(Bytes::copy_from_slice(part)).await;
    }
    let spooled = spool.finish(None).await;
    cache.insert(new, spooled)
}

async fn put(cache: &Cache, target: &str, body: &[u8]) {
    assert_eq!(store(cache, new(target, cache.sequence()), body).await, Inserted::Stored);
}

pub(super) async fn body(cache: &Cache, entry: &Arc<Entry>) -> Result<Vec<u8>, BodyError> {
    let mut reader = cache.read_body(entry, 0..u64::MAX).await?;
    let mut all = Vec::new();
    while let Some(bytes) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

async fn get(cache: &Cache, target: &str) -> Option<Vec<u8>> {
    let found = lookup(cache, target)?;
    body(cache, &found.variants[0]).await.ok()
}

/// Waits for the writer to have done all that was asked so far.
pub(super) async fn settled(cache: &Cache) {
    while cache.stats().queue_depth > 0 || cache.stats().rules_active > 0 {
        tokio::task::yield_now().await;
    }
}

fn random(len: usize) -> Vec<u8> {
    (0..len).map(|_| fastrand::u8(..)).collect()
}

fn body_files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("bodies"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

const SIZES: [usize; 6] = [0, 100, MAX_INLINE, MAX_INLINE + 1, 300_000, 3 << 20];

#[tokio::test]
async fn what_is_stored_is_found_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let bodies: Vec<_> = SIZES.into_iter().map(random).collect();
    for (number, body) in bodies.iter().enumerate() {
        put(&cache, &format!("/{number}"), body).await;
        assert_eq!(get(&cache, &format!("/{number}")).await.as_ref(), Some(body));
    }
    cache.close().await;
    assert_eq!(cache.state(), State::Closed(Closed::Stopped));
    drop(cache);
    let cache = open(dir.path()).await;
    assert_eq!(cache.stats().disk_entries, SIZES.len() as u64);
    for round in 0..2 {
        for (number, body) in bodies.iter().enumerate() {
            assert_eq!(get(&cache, &format!("/{number}")).await.as_ref(), Some(body), "{round} {number}");
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.disk_hits, stats.memory_hits), (6, 6));
    let found = lookup(&cache, "/5").unwrap();
    let mut reader = cache.read_body(&found.variants[0], 100_000..2_000_000).await.unwrap();
    let mut part = Vec::new();
    while let Some(bytes) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {
        part.extend_from_slice(&bytes.unwrap());
    }
    assert!(part == bodies[5][100_000..2_000_000]);
    assert!(lookup(&cache, "/none").is_none());
}

#[tokio::test]
async fn a_lookup_never_crosses_keys() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [open(dir.path()).await, Cache::in_memory(settings(), Clock::System).unwrap()] {
        store(&cache, new("/a", cache.sequence()), b"a").await;
        let headers = HeaderMap::new();
        let mut key = KeyParts {
            upstream: "api",
            scheme: "http",
            authority: "example.com",
            target: "/a",
            fields: &[],
            headers: &headers,
            extra: &[],
        };
        // As if the digests of both collided.
        let digest = key.digest(cache.secret());
        assert!(cache.lookup(&key, digest).is_some());
        key.target = "/b";
        assert!(cache.lookup(&key, digest).is_none());
    }
}

#[tokio::test]
async fn a_purge_holds_at_once_before_opening_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for target in ["/a", "/b", "/c"] {
        put(&cache, target, &random(10_000)).await;
    }
    settled(&cache).await;
    let url = Criterion::Url { authority: "example.com".into(), target: "/a".into() };
    assert!(cache.purge(url, false).await.unwrap().durable);
    assert!(lookup(&cache, "/a").is_none());
    assert!(lookup(&cache, "/b").is_some());
    settled(&cache).await;
    assert_eq!(cache.stats().disk_entries, 2);
    assert!(lookup(&cache, "/a").is_none());
    cache.purge(Criterion::Tag("red".into()), true).await.unwrap();
    assert!(lookup(&cache, "/b").unwrap().variants[0].soft_purged);
    settled(&cache).await;
    cache.close().await;
    drop(cache);

    // A rule that a killed process left behind.
    let contents = crate::cache::purge::journal::Journal::read(&dir.path().join("purges")).unwrap();
    assert!(contents.active.is_empty());
    let rules = crate::cache::purge::rules::Rules::new(contents.latest);
    let path = dir.path().join("purges");
    let journal = crate::cache::purge::journal::Journal::create(&path, &contents).unwrap();
    rules.add(Criterion::Prefix { authority: None, target: "/b".into() }, false, |rule| journal.append(rule));
    journal.commit_blocking().unwrap();

    let cache = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    assert!(lookup(&cache, "/b").is_none());
    cache.wait_open().await;
    assert!(lookup(&cache, "/b").is_none());
    assert!(lookup(&cache, "/c").unwrap().variants[0].soft_purged);
    settled(&cache).await;
    assert_eq!(cache.stats().disk_entries, 1);
}

#[tokio::test]
async fn a_fetch_in_flight_across_a_purge_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let before = cache.sequence();
    cache.purge(Criterion::All, false).await.unwrap();
    settled(&cache).await;
    assert_eq!(store(&cache, new("/a", before), b"old").await, Inserted::Purged);
    assert!(lookup(&cache, "/a").is_none());
    put(&cache, "/a", b"new").await;
    assert_eq!(get(&cache, "/a").await.unwrap(), b"new");
    assert_eq!(cache.stats().purged_in_flight, 1);
}

#[tokio::test]
async fn a_validated_entry_is_fresh_again_in_both_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let bytes = random(20_000);
    put(&cache, "/a", &bytes).await;
    cache.purge(Criterion::All, true).await.unwrap();
    let old = lookup(&cache, "/a").unwrap().variants[0].clone();
    assert!(old.soft_purged);
    let mut head = old.head.clone();
    head.headers.insert("etag", "\"2\"".parse().unwrap());
    head.response_time = Timestamp::from_secs(2_000);
    let with = Freshened {
        head: head.clone(),
        tags: vec!["blue".into()],
        keep_until: old.keep_until,
        sequence: cache.sequence(),
    };
    let id = EntryId::of(old.key.digest(), &old);
    assert!(!cache.freshen(id, &old.head, with.clone()).unwrap().soft_purged);
    settled(&cache).await;
    cache.close().await;
    let cache = open(dir.path()).await;
    let found = lookup(&cache, "/a").unwrap().variants[0].clone();
    assert_eq!((&found.head, found.soft_purged), (&head, false));
    assert_eq!(body(&cache, &found).await.unwrap(), bytes);
    // Another reply has taken its place: the body of one never gets the head of another.
    assert!(cache.freshen(id, &old.head, with.clone()).is_none());
    // A hard purge while it was validated: it does not come back.
    cache.purge(Criterion::All, false).await.unwrap();
    let late = Freshened { sequence: cache.sequence(), ..with };
    assert!(cache.freshen(id, &found.head, late).is_none());
    assert!(lookup(&cache, "/a").is_none());
}

#[tokio::test]
async fn a_body_can_be_that_of_another_variant_too_and_lasts_as_long_as_either() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for (target, length) in [("/small", 100), ("/file", 20_000), ("/large", 3 << 20)] {
        let bytes = random(length);
        put(&cache, target, &bytes).await;
        let old = lookup(&cache, target).unwrap().variants[0].clone();
        let vary = VaryKey { fields: vec![("accept".into(), Some(FieldHash([7; 16])))] };
        let mut head = old.head.clone();
        head.headers.insert("vary", "accept".parse().unwrap());
        let with = Freshened {
            head: head.clone(),
            tags: old.tags.clone(),
            keep_until: old.keep_until,
            sequence: cache.sequence(),
        };
        let derived = cache.derive(&old, vary.clone(), with.clone()).unwrap();
        assert_eq!((&derived.head, &derived.vary), (&head, &vary), "{target}");
        cache.remove(id(&old));
        settled(&cache).await;
        let found = lookup(&cache, target).unwrap();
        assert_eq!(found.variants.len(), 1, "{target}");
        assert_eq!(body(&cache, &found.variants[0]).await.unwrap(), bytes, "{target}");
    }
    settled(&cache).await;
    cache.close().await;
    let cache = open(dir.path()).await;
    for target in ["/small", "/file", "/large"] {
        let found = lookup(&cache, target).unwrap().variants[0].clone();
        assert!(found.head.headers.contains_key("vary"), "{target}");
        assert!(body(&cache, &found).await.is_ok(), "{target}");
    }
    let old = lookup(&cache, "/file").unwrap().variants[0].clone();
    cache.purge(Criterion::All, false).await.unwrap();
    let with = Freshened {
        head: old.head.clone(),
        tags: old.tags.clone(),
        keep_until: old.keep_until,
        sequence: cache.sequence(),
    };
    assert!(cache.derive(&old, VaryKey::default(), with).is_none(), "what was purged stays purged");
}

#[tokio::test]
async fn a_variant_that_is_known_to_be_old_is_stale_in_both_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    put(&cache, "/a", b"x").await;
    let old = lookup(&cache, "/a").unwrap().variants[0].clone();
    cache.expire(id(&old));
    assert!(lookup(&cache, "/a").unwrap().variants[0].soft_purged);
    settled(&cache).await;
    cache.close().await;
    let cache = open(dir.path()).await;
    assert!(lookup(&cache, "/a").unwrap().variants[0].soft_purged);
    cache.expire(EntryId { digest: Digest([0; 16]), ..id(&old) });
}

#[tokio::test]
async fn variants_are_bounded_and_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_variants: 3, ..settings() };
    let cache = Cache::open(settings, Some(dir.path().to_owned()), Clock::System).unwrap();
    cache.wait_open().await;
    for number in 0..5 {
        let mut new = new("/a", cache.sequence());
        new.vary.fields = vec![("accept".into(), Some(FieldHash([number; 16])))];
        new.head.response_time = Timestamp::from_secs(u64::from(number) + 1_000);
        store(&cache, new, &[number; 10]).await;
    }
    let times = |cache: &Cache| -> Vec<u64> {
        lookup(cache, "/a").unwrap().variants.iter().map(|entry| entry.head.response_time.secs()).collect()
    };
    assert_eq!(times(&cache), [1004, 1003, 1002]);
    settled(&cache).await;
    assert_eq!(cache.stats().disk_entries, 3);
    cache.close().await;
    let cache = open(dir.path()).await;
    assert_eq!(times(&cache), [1004, 1003, 1002]);
}

#[tokio::test]
async fn what_is_on_its_way_to_disk_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for number in 1..=400 {
        put(&cache, &format!("/{number}"), b"x").await;
        // The writer is at it meanwhile.
        assert_eq!(cache.victims(vec![Criterion::All], 0).await.entries, number);
    }
}

#[tokio::test]
async fn listing_pages_through_everything_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for number in 0..300 {
        let mut new = new(&format!("/{number:03}"), cache.sequence());
        new.head.response_time = Timestamp::from_secs(10_000 - number);
        store(&cache, new, &vec![1; number as usize]).await;
    }
    settled(&cache).await;
    for order in [Order::Key, Order::Url, Order::Stored, Order::Expires, Order::Size] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = cache.list(ListQuery { cursor, limit: 70, order, ..ListQuery::default() }).await;
            assert!(page.entries.len() <= 70);
            seen.extend(page.entries.iter().map(|summary| summary.entry.key.target.clone()));
            match page.next {
                Some(next) => cursor = Some(Cursor::from_text(next.as_str())),
                None => break,
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((seen.len(), sorted.len()), (300, 300), "{order:?}");
        if matches!(order, Order::Url | Order::Size) {
            assert_eq!(seen, sorted);
        }
    }
    let prefix = |target: &str| Criterion::Prefix { authority: None, target: target.into() };
    let query = ListQuery { limit: 300, any: vec![prefix("/10"), prefix("/2")], ..ListQuery::default() };
    assert_eq!(cache.list(query).await.entries.len(), 110);
    let query = ListQuery {
        limit: 2,
        order: Order::Size,
        descending: true,
        any: vec![Criterion::Glob("example.com/1*".into())],
        filter: Some(Box::new(|summary| summary.entry.body.len() != 199)),
        ..ListQuery::default()
    };
    let page = cache.list(query).await;
    let targets: Vec<_> = page.entries.iter().map(|summary| &*summary.entry.key.target).collect();
    assert_eq!(targets, ["/198", "/197"]);
    let victims = cache.victims(vec![prefix("/2")], 5).await;
    assert_eq!((victims.entries, victims.sample.len()), (100, 5));
    // What two take counts once.
    let victims = cache.victims(vec![prefix("/20"), prefix("/2"), prefix("/10")], 500).await;
    assert_eq!((victims.entries, victims.sample.len()), (110, 110));
    assert_eq!(cache.show(entry("/007", b"").key.digest()).await.len(), 1);
}

#[tokio::test]
async fn ram_alone_stores_purges_and_lists() {
    let cache = Cache::in_memory(settings(), Clock::System).unwrap();
    assert_eq!(cache.wait_open().await, State::Off);
    assert_eq!(store(&cache, new("/a", cache.sequence()), b"a").await, Inserted::MemoryOnly);
    assert_eq!(get(&cache, "/a").await.unwrap(), b"a");
    assert_eq!(cache.list(ListQuery { limit: 10, ..ListQuery::default() }).await.entries.len(), 1);
    assert!(!cache.purge(Criterion::All, false).await.unwrap().durable);
    assert!(lookup(&cache, "/a").is_none());
    settled(&cache).await;
    assert_eq!(cache.stats().memory_resources, 0);
    let large = store(&cache, new("/b", cache.sequence()), &random(40 << 20)).await;
    assert_eq!(large, Inserted::TooLarge);
    cache.close().await;
}

#[tokio::test]
async fn an_unstored_body_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let mut spool = cache.spool(None, None);
    spool.append(random(2 << 20).into()).await;
    drop(spool.finish(None).await);
    put(&cache, "/a", b"a").await;
    settled(&cache).await;
    cache.close().await;
    assert!(body_files(dir.path()).is_empty());
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}
