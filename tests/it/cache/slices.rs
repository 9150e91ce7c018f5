//! Large bodies in slices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use proxy_stone::cache::purge::Criterion;

use super::partial::Object;
use crate::support::{Answer, Origin, Proxy, Reply, until, within};

const SLICE: usize = 64 << 10;

fn config(origin: &Origin, more: &str) -> String {
    format!("upstream = \"{}\"\ncache = {{ slice = \"64KiB\" }}{more}", origin.url())
}

/// In RAM, and on disk with no room in RAM.
async fn tiers(origin: &Origin) -> Vec<Proxy> {
    vec![
        Proxy::of(config(origin, "")).start().await,
        Proxy::of(config(origin, "\n[store]\nmemory = \"1B\"")).on_disk().start().await,
    ]
}

async fn range(proxy: &Proxy, range: &str) -> Reply {
    let reply = proxy.ask("GET", "/", &[&format!("Range: bytes={range}")], "").await;
    until("slices are stored", || proxy.instance.proxy.flights() == 0).await;
    reply
}

#[tokio::test]
async fn a_range_costs_the_origin_no_more_than_its_slices() {
    let object = Object::of(20 * SLICE + 777);
    let origin = object.origin().await;
    for proxy in tiers(&origin).await {
        let before = object.sent();
        let (first, last) = (5 * SLICE + 10, 7 * SLICE + 20);
        let reply = range(&proxy, &format!("{first}-{last}")).await;
        assert!(reply.whole && reply.body == object.body.slice(first..=last), "{}", reply.cache_status());
        let length = object.body.len();
        assert_eq!(reply.field("content-range"), Some(format!("bytes {first}-{last}/{length}").as_str()));
        assert_eq!((reply.status, object.sent() - before), (206, 3 * SLICE as u64));
        proxy.stored(3).await;
        proxy.written().await;
        // Of what is stored nothing is asked for again.
        let within = range(&proxy, &format!("{}-{}", first + 100, 7 * SLICE)).await;
        assert!(within.body == object.body.slice(first + 100..=7 * SLICE));
        assert_eq!(within.cache_status(), "proxy-stone; hit; ttl=60; detail=slice");
        assert_eq!(object.sent() - before, 3 * SLICE as u64);
        // The suffix takes a slice to know the length by.
        let end = range(&proxy, "-500").await;
        assert!(end.whole && end.body == object.body.slice(length - 500..));
        assert_eq!(object.sent() - before, 4 * SLICE as u64 + 777);
    }
}

#[tokio::test]
async fn the_whole_is_joined_from_slices_and_asked_for_once() {
    for length in [1, SLICE - 1, SLICE, SLICE + 1, 9 * SLICE + 5] {
        let object = Object::of(length);
        let origin = object.origin().await;
        for proxy in tiers(&origin).await {
            let before = object.sent();
            for time in 0..3 {
                let reply = proxy.get("/").await;
                until("slices are stored", || proxy.instance.proxy.flights() == 0).await;
                proxy.written().await;
                assert!(
                    reply.whole && reply.body == object.body,
                    "{length}, {time}: {}",
                    reply.cache_status()
                );
                assert_eq!((reply.status, reply.field("content-range")), (200, None));
                assert_eq!(reply.field("content-length"), Some(length.to_string().as_str()));
            }
            assert_eq!(object.sent() - before, length as u64, "each byte came once");
            let head = proxy.ask("HEAD", "/", &[], "").await;
            assert_eq!((head.status, head.field("content-length")), (200, Some(length.to_string().as_str())));
            let has_it = proxy.ask("GET", "/", &["If-None-Match: \"v1\""], "").await;
            assert_eq!((has_it.status, has_it.body.len()), (304, 0));
            assert_eq!(object.sent() - before, length as u64);
        }
    }
}

#[tokio::test]
async fn several_ranges_over_slices() {
    let object = Object::of(6 * SLICE);
    let origin = object.origin().await;
    let proxy = Proxy::of(config(&origin, "")).start().await;
    let reply = range(&proxy, "0-9,200000-200009,70000-140000").await;
    assert_eq!((reply.status, reply.whole), (206, true));
    assert_eq!(reply.field("content-length"), Some(reply.body.len().to_string().as_str()));
    for wanted in [0..10, 200_000..200_010, 70_000..140_001] {
        let part = object.body.slice(wanted.clone());
        assert!(reply.body.windows(part.len()).any(|window| window == part), "{wanted:?}");
    }
}

#[tokio::test]
async fn a_purge_of_the_url_takes_all_slices() {
    let object = Object::of(4 * SLICE);
    let origin = object.origin().await;
    for proxy in tiers(&origin).await {
        proxy.get("/").await;
        proxy.stored(4).await;
        let url = Criterion::Url { authority: "api.test".into(), target: "/".into() };
        within(proxy.instance.cache.purge(url, false)).await.expect("purged");
        let before = object.sent();
        assert!(proxy.get("/").await.body == object.body);
        assert_eq!(object.sent() - before, 4 * SLICE as u64);
    }
}

#[tokio::test]
async fn slices_of_two_representations_are_never_joined() {
    let old = Object::of(4 * SLICE);
    let changed = Arc::new(AtomicBool::new(false));
    let new = Object { tag: "\"v2\"", body: old.body.slice(1..), ..old.clone() };
    let (before, after, switch) = (old.clone(), new.clone(), changed.clone());
    let origin = Origin::answering(move |request| {
        let object = if switch.load(SeqCst) { &after } else { &before };
        object.answer(request)
    })
    .await;
    for proxy in tiers(&origin).await {
        changed.store(false, SeqCst);
        assert_eq!(range(&proxy, "0-99").await.status, 206);
        proxy.stored(1).await;
        changed.store(true, SeqCst);
        let cut = proxy.get("/").await;
        assert!(!cut.whole && cut.body == old.body.slice(..cut.body.len()));
        // What was stored is purged: from now on it is the new one.
        until("slices are stored", || proxy.instance.proxy.flights() == 0).await;
        let whole = proxy.get("/").await;
        assert!(whole.whole && whole.body == new.body, "{}", whole.cache_status());
    }
}

#[tokio::test]
async fn an_origin_without_ranges_is_asked_for_the_whole() {
    let object = Object::of(3 * SLICE);
    let body = object.body.clone();
    let origin =
        Origin::answering(move |_| Answer::ok(body.clone()).field("Cache-Control", "max-age=60")).await;
    for proxy in tiers(&origin).await {
        let before = origin.hits();
        let whole = proxy.get("/").await;
        assert!(whole.body == object.body, "{}", whole.cache_status());
        proxy.stored(1).await;
        proxy.written().await;
        let reply = range(&proxy, "70000-70009").await;
        assert!(reply.status == 206 && reply.body == object.body.slice(70_000..70_010));
        // Once for the slice, once for the whole.
        assert_eq!(origin.hits() - before, 2);
    }
}

#[tokio::test]
async fn what_is_no_success_is_passed_and_stored_as_it_is() {
    let origin =
        Origin::answering(|_| Answer::new(404).body("none").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::of(config(&origin, "")).start().await;
    for _ in 0..2 {
        let reply = proxy.get("/").await;
        assert_eq!((reply.status, reply.text()), (404, "none"));
    }
    assert_eq!(origin.hits(), 1);
    assert_eq!(proxy.ask("GET", "/", &["Cache-Control: only-if-cached"], "").await.status, 504);
}

/// `PROXY_STONE_BIG=1 cargo test --test it slices -- --nocapture` takes 1 GiB.
#[tokio::test]
async fn a_large_body_takes_little_memory() {
    let big = std::env::var_os("PROXY_STONE_BIG").is_some();
    let length = if big { 1 << 30 } else { 48 << 20 };
    let object = Object::of(length);
    let origin = object.origin().await;
    let config = format!("upstream = \"{}\"\ncache = {{ slice = \"1MiB\" }}", origin.url());
    let proxy = Proxy::of(format!("{config}\n[store]\nmemory = \"8MiB\"")).on_disk().start().await;
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        let head = client.head().await;
        let (before, mut most) = (resident(), 0);
        let (mut at, body) = (0, object.body.clone());
        let whole = client
            .wire
            .each(head.reply_framing("GET"), |bytes| {
                assert!(bytes == &body[at..at + bytes.len()], "at {at}");
                at += bytes.len();
                most = most.max(resident());
            })
            .await
            .whole;
        assert!(whole && at == length);
        let grown = most.saturating_sub(before) >> 20;
        println!("{} MiB in slices: {grown} MiB more memory", length >> 20);
        assert!(grown < 64, "{grown} MiB");
    }
    assert_eq!(object.sent(), length as u64, "what is stored is not asked for again");
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
