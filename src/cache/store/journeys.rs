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
async fn what_is_kept_the_shortest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_entries: 10, ..settings() };
    let cache = Cache::open(settings, Some(dir.path().to_owned()), Clock::System).unwrap();
    cache.wait_open().await;
    for number in 0..30_u64 {
        let mut new = new(&format!("/{number}"), cache.sequence());
        new.wanted = true;
        // The later it comes the sooner it goes.
        new.keep_until = Timestamp::from_secs((1 << 40) - number);
        store(&cache, new, b"x").await;
        settled(&cache).await;
    }
    while cache.stats().evicted < 20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.stats().disk_entries, 10);
    cache.close().await;
    let cache = open(dir.path()).await;
    for number in 0..30 {
        assert_eq!(lookup(&cache, &format!("/{number}")).is_some(), number < 10, "{number}");
    }
}

/// Files of bodies, finished or not.
fn files(dir: &Path) -> usize {
    let within = |path: PathBuf| std::fs::read_dir(path).map_or(0, |found| found.count());
    let folders = std::fs::read_dir(dir.join("bodies")).unwrap();
    folders.map(|folder| within(folder.unwrap().path())).sum::<usize>() + within(dir.join("tmp"))
}

#[tokio::test]
async fn a_full_disk_takes_what_is_asked_for_twice_or_wanted() {
    let dir = tempfile::tempdir().unwrap();
    // Bodies up to 64 KiB in RAM.
    let settings = Settings { max_entries: 20, memory: 256 << 10, ..settings() };
    let cache = Cache::open(settings, Some(dir.path().to_owned()), Clock::System).unwrap();
    cache.wait_open().await;
    for number in 0..21 {
        put(&cache, &format!("/{number}"), b"x").await;
    }
    while cache.stats().evicted < 1 {
        tokio::task::yield_now().await;
    }
    settled(&cache).await;
    let [once, again, large, wanted] = ["/once", "/again", "/large", "/wanted"];
    let (small, medium, too_large) = (vec![b'a'; 10], vec![b'b'; 50_000], vec![b'c'; 100_000]);
    for (target, body, inserted) in [
        (once, &small, Inserted::MemoryOnly),
        (again, &medium, Inserted::MemoryOnly),
        (large, &too_large, Inserted::Unproven),
    ] {
        let new = new(target, cache.sequence());
        let mut spool = cache.spool(Some(body.len() as u64), Some(&new));
        spool.append(Bytes::copy_from_slice(body)).await;
        let spooled = spool.finish(None).await;
        assert_eq!(spooled.pin.is_some(), target == large, "what will be in RAM only needs no file");
        assert_eq!(cache.insert(new, spooled), inserted, "{target}");
        assert_eq!(lookup(&cache, target).is_some(), target != large, "RAM takes what it can hold");
    }
    settled(&cache).await;
    assert_eq!((cache.stats().refused, cache.stats().disk_entries), (3, 20));
    // The second time, RAM having forgotten it or not.
    cache.shared.memory.remove(&lookup(&cache, again).unwrap().digest);
    assert!(lookup(&cache, again).is_none(), "the disk has not got it");
    put(&cache, again, &medium).await;
    put(&cache, large, &too_large).await;
    let new = NewEntry { wanted: true, ..new(wanted, cache.sequence()) };
    assert_eq!(store(&cache, new, &small).await, Inserted::Stored);
    cache.close().await;
    assert_eq!(files(dir.path()), 2, "what is not stored leaves nothing");
    let cache = open(dir.path()).await;
    let there = [once, again, large, wanted].map(|target| lookup(&cache, target).is_some());
    assert_eq!(there, [false, true, true, true]);
}

#[tokio::test]
async fn room_that_is_free_again_takes_everything() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_entries: 20, ..settings() };
    let cache = Cache::open(settings.clone(), Some(dir.path().to_owned()), Clock::System).unwrap();
    cache.wait_open().await;
    for number in 0..21 {
        put(&cache, &format!("/{number}"), b"x").await;
    }
    while cache.stats().evicted < 1 {
        tokio::task::yield_now().await;
    }
    settled(&cache).await;
    assert_eq!(store(&cache, new("/full", cache.sequence()), b"x").await, Inserted::MemoryOnly);
    cache.reconfigure(Settings { max_entries: 30, ..settings });
    while cache.shared.is_disk_full() {
        tokio::task::yield_now().await;
    }
    put(&cache, "/higher", b"x").await;
    cache.close().await;
}

#[tokio::test]
async fn expired_entries_go() {
    let dir = tempfile::tempdir().unwrap();
    // Not expired before it is closed: the writer would remove it as well.
    let clock = Clock::manual(Timestamp::from_secs(900));
    let open = || Cache::open(settings(), Some(dir.path().to_owned()), clock.clone()).unwrap();
    let cache = open();
    cache.wait_open().await;
    let mut old = new("/old", cache.sequence());
    old.keep_until = Timestamp::from_secs(1_000);
    store(&cache, old, &random(10_000)).await;
    put(&cache, "/new", b"x").await;
    cache.close().await;
    drop(cache);
    clock.advance(Duration::from_secs(200));
    let cache = open();
    cache.wait_open().await;
    while cache.stats().expired == 0 {
        tokio::task::yield_now().await;
    }
    assert!(lookup(&cache, "/old").is_none());
    assert!(lookup(&cache, "/new").is_some());
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
async fn a_held_directory_is_served_without_and_taken_over_later() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    put(&first, "/a", b"a").await;
    put(&first, "/b", b"b").await;
    put(&first, "/d", b"d").await;
    settled(&first).await;
    let second = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    assert_eq!(second.wait_open().await, State::Closed(Closed::Locked(Some(std::process::id()))));
    assert_eq!(second.findings()[0].code, "locked");
    assert_eq!(store(&second, new("/c", second.sequence()), b"c").await, Inserted::MemoryOnly);
    // A purge given meanwhile also takes what the other one stored.
    let url = Criterion::Url { authority: "example.com".into(), target: "/a".into() };
    second.purge(url, false).await.unwrap();
    // So does what an unsafe request ends (RFC 9111 4.4).
    second.invalidate(Criterion::Url { authority: "example.com".into(), target: "/d".into() });
    first.close().await;
    let mut states = second.shared.state.subscribe();
    tokio::time::timeout(Duration::from_secs(20), states.wait_for(State::is_open)).await.unwrap().unwrap();
    assert!(lookup(&second, "/a").is_none());
    assert!(lookup(&second, "/d").is_none());
    assert_eq!(get(&second, "/b").await.unwrap(), b"b");
    assert_eq!(get(&second, "/c").await.unwrap(), b"c");
}

#[tokio::test]
async fn a_newer_format_is_left_untouched_and_served_without() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "proxy-stone store 7\n").unwrap();
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    assert_eq!(cache.wait_open().await, State::Closed(Closed::Newer(7)));
    assert_eq!(cache.findings()[0].code, "newer-format");
    assert_eq!(store(&cache, new("/a", cache.sequence()), b"a").await, Inserted::MemoryOnly);
    cache.purge(Criterion::All, false).await.unwrap();
    cache.close().await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn too_little_free_space_stops_storing_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    put(&cache, "/a", b"a").await;
    settled(&cache).await;
    let mut states = cache.shared.state.subscribe();
    cache.reconfigure(Settings { min_free: u64::MAX, ..settings() });
    while *states.borrow_and_update() != State::Full {
        cache.reconfigure(Settings { min_free: u64::MAX, ..settings() });
        tokio::task::yield_now().await;
    }
    assert_eq!(store(&cache, new("/b", cache.sequence()), b"b").await, Inserted::MemoryOnly);
    assert!(lookup(&cache, "/a").is_some());
    cache.reconfigure(settings());
    tokio::time::timeout(Duration::from_secs(20), states.wait_for(|state| *state == State::Open))
        .await
        .unwrap()
        .unwrap();
    put(&cache, "/c", b"c").await;
}

fn body_files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("bodies"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

#[tokio::test]
async fn a_damaged_body_is_an_error_once_and_then_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    put(&cache, "/a", &random(2 << 20)).await;
    settled(&cache).await;
    let file = body_files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_500_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = lookup(&cache, "/a").unwrap().variants[0].clone();
    assert!(matches!(found.body, BodyRef::File(_)));
    assert!(matches!(body(&cache, &found).await, Err(BodyError::Corrupt)));
    assert!(lookup(&cache, "/a").is_none());
    settled(&cache).await;
    assert!(lookup(&cache, "/a").is_none());
    assert_eq!((cache.stats().disk_entries, cache.stats().corrupt), (0, 1));
    assert!(body_files(dir.path()).is_empty());
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

/// Whatever happens to the files: it opens, and what it hands out is right.
#[tokio::test]
async fn a_damaged_directory_opens_and_never_lies() {
    let source = tempfile::tempdir().unwrap();
    let cache = open(source.path()).await;
    for number in 0..400_usize {
        put(&cache, &format!("/{number}"), number.to_string().repeat(number * 10).as_bytes()).await;
        if number % 20 == 19 {
            settled(&cache).await;
        }
    }
    cache.close().await;
    drop(cache);
    // A second open and close writes a snapshot.
    open(source.path()).await.close().await;
    for round in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        copy(source.path(), dir.path());
        damage(&dir.path().join("index"), round);
        let cache = open(dir.path()).await;
        let mut right = 0;
        for number in 0..400_usize {
            if let Some(found) = get(&cache, &format!("/{number}")).await {
                assert!(found == number.to_string().repeat(number * 10).as_bytes());
                right += 1;
            }
        }
        let told: Vec<_> = cache.findings().into_iter().map(|finding| finding.code).collect();
        assert!(
            right == 400 || !told.is_empty() || cache.stats().corrupt > 0 || round % 2 == 0,
            "{round}: {right}"
        );
        // It stores again, whatever it was.
        put(&cache, "/again", b"again").await;
        settled(&cache).await;
        assert_eq!(get(&cache, "/again").await.unwrap(), b"again");
        cache.close().await;
    }
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Even rounds flip or cut the database, odd ones the snapshot.
fn damage(index: &Path, round: u32) {
    let name = |file: &fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    let wanted = |file: &fs::DirEntry| {
        if round.is_multiple_of(2) { name(file) == "db" } else { name(file).starts_with("snap.") }
    };
    let file = fs::read_dir(index).unwrap().map(Result::unwrap).find(wanted).unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    if round % 4 < 2 {
        bytes.truncate(bytes.len() / 2);
    } else {
        for _ in 0..50 {
            let at = fastrand::usize(..bytes.len());
            bytes[at] ^= 0x55;
        }
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn what_was_set_aside_is_salvaged_except_what_was_purged() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for target in ["/a", "/b", "/c"] {
        put(&cache, target, &random(10_000)).await;
    }
    let a = get(&cache, "/a").await.unwrap();
    cache.close().await;
    drop(cache);
    // Too many tries to open: it is set aside untried, though it is whole.
    fs::write(dir.path().join("opening"), "3\n").unwrap();
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    let url = Criterion::Url { authority: "example.com".into(), target: "/b".into() };
    cache.purge(url, false).await.unwrap();
    cache.wait_open().await;
    while !cache.findings().iter().any(|finding| finding.code == "salvaged") {
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.findings()[0].code, "quarantined");
    assert_eq!(get(&cache, "/a").await, Some(a));
    assert!(lookup(&cache, "/b").is_none());
    assert!(lookup(&cache, "/c").is_some());
    assert!(cache.quarantines().is_empty());
    settled(&cache).await;
    assert_eq!(cache.stats().disk_entries, 2);
}

#[tokio::test]
async fn ten_thousand_rules_cost_a_hit_nothing_and_equal_ones_merge() {
    let cache = Cache::in_memory(settings(), Clock::System).unwrap();
    store(&cache, new("/a", cache.sequence()), b"a").await;
    for number in 0..10_000 {
        cache.invalidate(Criterion::Url {
            authority: "example.com".into(),
            target: format!("/x{number}").into(),
        });
    }
    let latest = cache.sequence();
    let found = lookup(&cache, "/a").unwrap();
    // Tested once; from now on one comparison says so.
    assert!(found.is_checked(latest) && cache.shared.is_current(&lookup(&cache, "/a").unwrap()));
}

/// What a walk told, without progress.
async fn inspect(cache: &Cache, how: Inspection) -> (Vec<Found>, Progress, Reclaimed) {
    let mut events = cache.inspect(how).unwrap();
    let mut found = Vec::new();
    loop {
        match events.recv().await.unwrap() {
            Inspected::Progress(_) => {}
            Inspected::Found(one) => found.push(one),
            Inspected::Done(progress, reclaimed) => return (found, progress, reclaimed),
            Inspected::Failed(why) => panic!("{why}"),
        }
    }
}

const VERIFY: Inspection = Inspection::Verify { repair: false, rate: None };
const REPAIR: Inspection = Inspection::Verify { repair: true, rate: None };

#[tokio::test]
async fn verifying_finds_damage_and_repairing_lets_the_origin_be_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for number in 0..10 {
        put(&cache, &format!("/{number}"), &random(100_000)).await;
    }
    settled(&cache).await;
    let (found, progress, _) = inspect(&cache, VERIFY).await;
    assert_eq!((found, progress.entries, progress.of, progress.bodies), (Vec::new(), 10, 10, 10));
    assert!(progress.bytes > 1_000_000);

    let mut files = body_files(dir.path());
    files.sort();
    fs::remove_file(&files[0]).unwrap();
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[70_000] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    for (how, mended) in [(VERIFY, false), (REPAIR, true)] {
        let (found, ..) = inspect(&cache, how).await;
        let mut kinds: Vec<_> = found.iter().map(|found| found.kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [FaultKind::BodyMissing, FaultKind::BodyDamaged]);
        assert!(found.iter().all(|found| found.mended == mended && found.url.is_some()), "{found:?}");
    }
    assert_eq!(inspect(&cache, VERIFY).await.0, []);
    assert_eq!((cache.stats().disk_entries, body_files(dir.path()).len()), (8, 8));
    let left = (0..10).filter(|number| lookup(&cache, &format!("/{number}")).is_some()).count();
    assert_eq!(left, 8);
}

/// Entries come, go and change while they are looked at: none of it is damage.
#[tokio::test]
async fn what_changes_meanwhile_is_no_damage_and_there_is_one_walk_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let mut events = cache.inspect(Inspection::Verify { repair: false, rate: Some(1) }).unwrap();
    assert!(cache.inspect(VERIFY).is_none());
    assert!(events.recv().await.is_some());
    drop(events);
    for round in 0..5 {
        for number in 0..200_usize {
            let mut new = new(&format!("/{}", number % 50), cache.sequence());
            new.keep_until = Timestamp::from_secs((1 << 40) + number as u64 + round);
            new.tags = vec![format!("{round}-{number}").into()];
            store(&cache, new, &vec![number as u8; (number % 3) * 6_000]).await;
            if number.is_multiple_of(7) {
                cache.invalidate(Criterion::Tag(format!("{round}-{number}").into()));
            }
        }
        let mut walk = None;
        while walk.is_none() {
            walk = cache.inspect(VERIFY);
            tokio::task::yield_now().await;
        }
        let mut events = walk.unwrap();
        let mut number = 0_usize;
        loop {
            tokio::select! {
                event = events.recv() => match event.unwrap() {
                    Inspected::Done(..) => break,
                    Inspected::Progress(_) => {}
                    other => panic!("{other:?}"),
                },
                () = tokio::task::yield_now() => {
                    number += 1;
                    put(&cache, &format!("/{}", number % 50), &vec![number as u8; (number % 3) * 6_000]).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn gc_frees_what_is_of_no_more_use_and_a_dry_run_only_counts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_secs(2_000_000_000));
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), clock.clone()).unwrap();
    cache.wait_open().await;
    let mut old = new("/old", cache.sequence());
    old.keep_until = Timestamp::from_secs(2_000_000_100);
    store(&cache, old, &random(10_000)).await;
    put(&cache, "/new", &random(10_000)).await;
    cache.purge(Criterion::Tag("blue".into()), false).await.unwrap();
    settled(&cache).await;
    clock.advance(Duration::from_secs(1_000));
    fs::write(dir.path().join("tmp/0123456789abcdef-1"), [1; 500]).unwrap();
    fs::create_dir_all(dir.path().join("bodies/ab")).unwrap();
    fs::write(dir.path().join("bodies/ab").join("0".repeat(62)), [1; 700]).unwrap();
    let aside = dir.path().join("quarantine-1000");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("db"), [1; 900]).unwrap();

    let before = body_files(dir.path()).len();
    let week = Some(Duration::from_secs(7 * 86_400));
    let (_, _, would) = inspect(&cache, Inspection::Gc { dry_run: true, quarantines: week }).await;
    assert_eq!((body_files(dir.path()).len(), cache.stats().disk_entries, aside.exists()), (before, 2, true));
    let (_, _, kept) = inspect(&cache, Inspection::Gc { dry_run: true, quarantines: None }).await;
    assert_eq!(kept.quarantines, 0);
    let (_, _, did) = inspect(&cache, Inspection::Gc { dry_run: false, quarantines: week }).await;
    for reclaimed in [&would, &did] {
        assert_eq!(reclaimed.faults[&FaultKind::Expired], 1);
        assert_eq!(reclaimed.faults[&FaultKind::StrayBody], 1);
        assert_eq!((reclaimed.temporary, reclaimed.rules, reclaimed.quarantines), (1, 1, 1));
    }
    assert!(did.bytes > 10_000 + 500 + 700 + 900, "{did:?}");
    assert_eq!((body_files(dir.path()).len(), cache.stats().disk_entries, aside.exists()), (1, 1, false));
    assert!(lookup(&cache, "/old").is_none() && lookup(&cache, "/new").is_some());
    let (_, _, again) = inspect(&cache, Inspection::Gc { dry_run: false, quarantines: week }).await;
    assert_eq!(again, Reclaimed::default());
    // A fetch that began before a forgotten purge cannot tell whether it was spared: it is not stored.
    assert_eq!(store(&cache, new("/late", 0), b"x").await, Inserted::Purged);
}

fn of_route(cache: &Cache, route: &str, number: usize) -> NewEntry {
    let mut new = new(&format!("/{route}/{number}"), cache.sequence());
    new.route = route.into();
    new.wanted = true;
    // The later it comes the longer it is kept.
    new.keep_until = Timestamp::from_secs((1 << 40) + number as u64);
    new
}

#[tokio::test]
async fn a_route_that_fills_makes_room_among_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Quota { route: "bulk".into(), memory: Some(100_000), disk: Some(300_000) };
    let settings = Settings { memory: 4 << 20, quotas: vec![quota.clone()], ..settings() };
    let cache = Cache::open(settings.clone(), Some(dir.path().to_owned()), Clock::System).unwrap();
    cache.wait_open().await;
    let usage = |route: &str| cache.routes().into_iter().find(|usage| *usage.route == *route).unwrap();
    for number in 0..20 {
        store(&cache, of_route(&cache, "users", number), &random(10_000)).await;
    }
    for number in 0..200 {
        store(&cache, of_route(&cache, "bulk", number), &random(10_000)).await;
        // What is asked for stays, however old it is.
        (0..3).for_each(|_| drop(lookup(&cache, "/bulk/3")));
        if number % 20 == 19 {
            settled(&cache).await;
        }
    }
    // Counted after it went.
    while usage("bulk").disk_bytes > 300_000 || cache.stats().evicted + usage("bulk").disk_entries < 200 {
        tokio::task::yield_now().await;
    }
    let bulk = usage("bulk");
    assert!(bulk.disk_bytes > 250_000 && bulk.disk_entries < 30, "{bulk:?}");
    assert!(bulk.memory_bytes.unwrap() <= 100_000, "{bulk:?}");
    assert_eq!((bulk.disk_limit, bulk.memory_limit), (Some(300_000), Some(100_000)));
    assert_eq!(cache.stats().evicted, 200 - bulk.disk_entries, "none of the others");
    assert_eq!(usage("users").disk_entries, 20);
    assert!(lookup(&cache, "/bulk/3").is_some() && lookup(&cache, "/bulk/199").is_some());
    assert!(lookup(&cache, "/bulk/4").is_none());
    // RAM has kept the others, too: none of these is read from the disk.
    let before = cache.stats().disk_hits;
    assert!((0..20).all(|number| lookup(&cache, &format!("/users/{number}")).is_some()));
    assert_eq!(cache.stats().disk_hits, before);
    // What is larger than all that the route may take pushes nothing out.
    let large = store(&cache, of_route(&cache, "bulk", 300), &random(400_000)).await;
    assert_eq!(large, Inserted::MemoryOnly);
    settled(&cache).await;
    assert_eq!(usage("bulk").disk_entries, bulk.disk_entries);

    // A smaller quota holds after the reload, none lets it grow again.
    let smaller = Quota { disk: Some(100_000), memory: None, ..quota };
    cache.reconfigure(Settings { quotas: vec![smaller], ..settings.clone() });
    while usage("bulk").disk_bytes > 100_000 {
        tokio::task::yield_now().await;
    }
    cache.reconfigure(Settings { quotas: Vec::new(), ..settings });
    for number in 400..450 {
        store(&cache, of_route(&cache, "bulk", number), &random(10_000)).await;
    }
    settled(&cache).await;
    assert!(usage("bulk").disk_entries > 50);
}
