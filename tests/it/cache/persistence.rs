//! What is on disk: it outlasts a restart, and damage never reaches a client.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Answer, Call, Origin, Proxy, noon, numbered, pass, until};

/// Answers `/N` with a body of N bytes.
async fn sized() -> Origin {
    Origin::answering(|request| {
        let length: usize = request.word(1)[1..].parse().unwrap();
        let answer = Answer::ok(numbered(length)).field("Cache-Control", "max-age=600");
        answer.field("ETag", format!("\"{length}\"")).field("X-Length", length.to_string())
    })
    .await
}

fn config(origin: &Origin) -> String {
    format!("upstream = \"{}\"", origin.url())
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

const SIZES: [usize; 6] = [0, 100, 4096, 4097, 100_000, 1_500_007];

#[tokio::test]
async fn replies_of_every_size_survive_a_restart() {
    let origin = sized().await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin)).clock(&clock).on_disk().start().await;
    for (at, size) in SIZES.into_iter().enumerate() {
        assert!(proxy.get(&format!("/{size}")).await.body == numbered(size));
        proxy.stored(at as u64 + 1).await;
    }
    proxy.close().await;
    pass(&clock, 30);
    let again = Proxy::of(config(&origin)).clock(&clock).on_disk_of(&proxy).start().await;
    for _ in 0..2 {
        for size in SIZES {
            let reply = again.get(&format!("/{size}")).await;
            assert_eq!(reply.cache_status(), "proxy-stone; hit; ttl=570", "{size}");
            assert_eq!(reply.field("age"), Some("30"));
            assert_eq!(reply.field("x-length"), Some(size.to_string().as_str()));
            assert!(reply.whole && reply.body == numbered(size), "{size}");
        }
    }
    let range = again.ask("GET", "/1500007", &["Range: bytes=1000000-1000999"], "").await;
    assert!(range.status == 206 && range.body == numbered(1_500_007).slice(1_000_000..1_001_000));
    assert_eq!(origin.hits(), SIZES.len());
}

#[tokio::test]
async fn variants_keys_and_what_was_freshened_survive_a_restart() {
    let origin = Origin::answering(|request| {
        let language = request.fields.get("accept-language").unwrap_or("none").to_owned();
        let tag = format!("\"{language}\"");
        let answer = match request.fields.get("if-none-match") {
            Some(tags) if tags.contains(&tag) => Answer::new(304).field("X-Round", "2"),
            _ => Answer::ok(format!("in {language}")).field("X-Round", "1"),
        };
        answer.field("ETag", tag).field("Cache-Control", "max-age=60").field("Vary", "Accept-Language")
    })
    .await;
    let config =
        format!("upstream = \"{}\"\ncache = {{ key = {{ headers = [\"x-tenant\"] }} }}", origin.url());
    let clock = noon();
    let proxy = Proxy::of(config.clone()).clock(&clock).on_disk().start().await;
    let asked = [
        ["Accept-Language: de", "X-Tenant: a"],
        ["Accept-Language: en", "X-Tenant: a"],
        ["Accept-Language: de", "X-Tenant: b"],
    ];
    for fields in asked {
        proxy.ask("GET", "/", &fields, "").await;
    }
    pass(&clock, 60);
    assert_eq!(proxy.ask("GET", "/", &asked[0], "").await.field("x-round"), Some("2"));
    assert_eq!(origin.hits(), 4);
    proxy.close().await;
    let again = Proxy::of(config).clock(&clock).on_disk_of(&proxy).start().await;
    let reply = again.ask("GET", "/", &asked[0], "").await;
    assert_eq!((reply.text(), reply.cache_status()), ("in de", "proxy-stone; hit; ttl=60"));
    assert_eq!(reply.field("x-round"), Some("2"));
    for (fields, body) in [(asked[1], "in en"), (asked[2], "in de")] {
        let stale = [fields[0], fields[1], "Cache-Control: max-stale, only-if-cached"];
        assert_eq!(again.ask("GET", "/", &stale, "").await.text(), body, "{fields:?}");
    }
    assert_eq!(origin.hits(), 4);
}

#[tokio::test]
async fn chunked_replies_and_their_trailers_survive_a_restart() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        for part in numbered(20_000).chunks(3_000) {
            call.chunk(part).await;
        }
        call.say("0\r\nx-sum: 7\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::of(config(&origin)).on_disk().start().await;
    proxy.get("/").await;
    proxy.stored(1).await;
    proxy.close().await;
    let again = Proxy::of(config(&origin)).on_disk_of(&proxy).start().await;
    let reply = again.get("/").await;
    assert!(reply.body == numbered(20_000));
    assert_eq!(reply.field("content-length"), Some("20000"));
    assert_eq!(origin.hits(), 1);
    let query = proxy_stone::cache::store::ListQuery { limit: 9, ..Default::default() };
    let kept = again.instance.cache.list(query).await.entries[0].entry.trailers.clone().expect("kept");
    assert_eq!(kept["x-sum"], "7");
}

/// A proxy that has been restarted, so that it knows its entries from disk alone; and the files of their bodies.
async fn restarted(origin: &Origin, sizes: &[usize]) -> (Proxy, Vec<PathBuf>) {
    let proxy = Proxy::of(config(origin)).on_disk().start().await;
    for (at, size) in sizes.iter().enumerate() {
        proxy.get(&format!("/{size}")).await;
        proxy.stored(at as u64 + 1).await;
    }
    proxy.close().await;
    let bodies = files(&proxy.store_dir().join("bodies"));
    (Proxy::of(config(origin)).on_disk_of(&proxy).start().await, bodies)
}

#[tokio::test]
async fn a_body_whose_file_is_gone_is_fetched_again() {
    let origin = sized().await;
    for size in [100_000, 1_500_007] {
        let before = origin.hits();
        let (proxy, bodies) = restarted(&origin, &[size]).await;
        assert_eq!(bodies.len(), 1);
        fs::remove_file(&bodies[0]).unwrap();
        let target = format!("/{size}");
        let reply = proxy.get(&target).await;
        assert!(reply.status == 200 && reply.whole && reply.body == numbered(size));
        assert_eq!(origin.hits() - before, 2);
        assert!(!origin.last().fields.has("if-none-match"), "there is nothing left to validate");
        until("it is counted", || proxy.instance.cache.stats().corrupt == 1).await;
        proxy.stored(1).await;
        let hit = proxy.get(&target).await;
        assert!(
            hit.cache_status().contains("; hit; ") && hit.body == numbered(size),
            "{}",
            hit.cache_status()
        );
    }
}

#[tokio::test]
async fn a_body_with_a_wrong_byte_at_its_start_is_fetched_again() {
    let origin = sized().await;
    for size in [100_000, 1_500_007] {
        let before = origin.hits();
        let (proxy, bodies) = restarted(&origin, &[size]).await;
        let mut bytes = fs::read(&bodies[0]).unwrap();
        bytes[10] ^= 1;
        fs::write(&bodies[0], bytes).unwrap();
        let reply = proxy.get(&format!("/{size}")).await;
        assert!(reply.status == 200 && reply.whole && reply.body == numbered(size));
        assert_eq!(origin.hits() - before, 2);
        until("it is counted", || proxy.instance.cache.stats().corrupt == 1).await;
    }
}

#[tokio::test]
async fn a_body_with_a_wrong_byte_further_on_breaks_off_and_is_fetched_again() {
    let origin = sized().await;
    let (proxy, bodies) = restarted(&origin, &[1_500_007]).await;
    let mut bytes = fs::read(&bodies[0]).unwrap();
    bytes[1_400_000] ^= 1;
    fs::write(&bodies[0], bytes).unwrap();
    let broken = proxy.get("/1500007").await;
    assert!(!broken.whole, "it looked whole");
    assert!(numbered(1_500_007).starts_with(&broken.body), "wrong bytes went out");
    until("it is counted", || proxy.instance.cache.stats().corrupt == 1).await;
    let reply = proxy.get("/1500007").await;
    assert!(reply.whole && reply.body == numbered(1_500_007));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn what_ram_lets_go_of_is_answered_from_disk() {
    let origin = Origin::answering(|request| {
        let number: usize = request.word(1)[1..].parse().unwrap();
        Answer::ok(numbered(16_000 + number)).field("Cache-Control", "max-age=600")
    })
    .await;
    let config = format!("upstream = \"{}\"\n[store]\nmemory = \"1MiB\"", origin.url());
    let proxy = Proxy::of(config).on_disk().start().await;
    let mut client = proxy.connect().await;
    for round in 0..2 {
        for number in 0..200 {
            let reply = client.get(&format!("/{number}")).await;
            assert!(reply.body == numbered(16_000 + number), "{number}");
            if round == 0 {
                proxy.stored(number as u64 + 1).await;
            }
        }
        proxy.written().await;
    }
    assert_eq!(origin.hits(), 200);
    let stats = proxy.instance.cache.stats();
    assert!(stats.memory_bytes <= 1 << 20, "{} bytes in RAM", stats.memory_bytes);
    assert!(stats.disk_hits > 50, "{} from disk", stats.disk_hits);
    assert_eq!(stats.disk_entries, 200);
}

#[tokio::test]
async fn without_a_disk_a_large_body_passes_whole_and_is_not_stored() {
    let origin = sized().await;
    let proxy = Proxy::caching(&origin).await;
    for hits in [1, 2] {
        let reply = proxy.get("/3000000").await;
        assert!(reply.whole && reply.body == numbered(3_000_000));
        until("the fetch ends", || proxy.instance.proxy.flights() == 0).await;
        assert_eq!(origin.hits(), hits);
    }
}

#[tokio::test]
async fn two_urls_with_one_body_share_one_file_and_keep_it_until_both_are_gone() {
    use proxy_stone::cache::purge::Criterion;
    let origin = Origin::always(Answer::ok(numbered(50_000)).field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::of(config(&origin)).on_disk().start().await;
    for (target, count) in [("/a", 1), ("/b", 2)] {
        proxy.get(target).await;
        proxy.stored(count).await;
    }
    proxy.written().await;
    let bodies = proxy.store_dir().join("bodies");
    assert_eq!(files(&bodies).len(), 1);
    let purge = |target: &str| Criterion::Url { authority: "api.test".into(), target: target.into() };
    proxy.instance.cache.purge(purge("/a"), false).await.unwrap();
    until("it is removed", || proxy.instance.cache.stats().rules_active == 0).await;
    assert_eq!(files(&bodies).len(), 1);
    assert!(proxy.get("/b").await.body == numbered(50_000));
    assert_eq!(origin.hits(), 2);
    proxy.instance.cache.purge(purge("/b"), false).await.unwrap();
    until("the file goes", || files(&bodies).is_empty()).await;
}
