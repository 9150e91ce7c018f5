//! What was coded once is not coded again, and goes with what it was made of.

use futures_util::future::join_all;
use proxy_stone::cache::key::Digest;
use proxy_stone::cache::purge::Criterion;
use proxy_stone::cache::store::ListQuery;

use super::{ask_h2, config, content, encoded, text, texts};
use crate::support::{Answer, Gate, Origin, Proxy, Reply, noon, pass, until};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

async fn get(proxy: &Proxy, coding: &str) -> Reply {
    let reply = proxy.ask("GET", "/", &[&format!("Accept-Encoding: {coding}")], "").await;
    assert_eq!(reply.fields.get("content-encoding"), Some(coding).filter(|coding| *coding != "identity"));
    reply
}

async fn listed(proxy: &Proxy) -> usize {
    proxy.written().await;
    proxy.instance.cache.list(ListQuery { limit: 100, ..ListQuery::default() }).await.entries.len()
}

/// The key of what is stored as it came.
async fn plain(proxy: &Proxy) -> Digest {
    let listed = proxy.instance.cache.list(ListQuery { limit: 100, ..ListQuery::default() }).await;
    let plain = listed.entries.iter().find(|summary| !summary.entry.key.is_coded());
    plain.expect("one that is not coded").id.digest
}

#[tokio::test]
async fn the_cost_is_paid_once() {
    // In the record, in RAM, and in a file.
    for (length, on_disk) in
        [(2000, false), (2000, true), (300_000, false), (300_000, true), (4_000_000, true)]
    {
        let origin = Origin::always(texts(length)).await;
        let starting = Proxy::of(config(&origin));
        let proxy = if on_disk { starting.on_disk() } else { starting }.start().await;
        for (at, coding) in CODINGS.into_iter().enumerate() {
            let first = get(&proxy, coding).await;
            assert_eq!(content(&first), text(length), "{coding} {length} {on_disk}");
            proxy.stored(at as u64 + 2).await;
            let h2 = proxy.connect_h2().await;
            for _ in 0..2 {
                let again = get(&proxy, coding).await;
                assert!(again.body == first.body, "the very same bytes");
                assert_eq!(again.fields.get("content-length"), Some(&*first.body.len().to_string()));
                assert!(again.cache_status().contains("hit"), "{}", again.cache_status());
                assert!(again.fields.has("age") && !again.fields.has("coded-of"));
                let over_h2 = ask_h2(&h2, "/", coding).await;
                assert!(over_h2.body == first.body && over_h2.fields.get("content-encoding") == Some(coding));
            }
        }
        assert_eq!(get(&proxy, "identity").await.text(), text(length));
        assert_eq!((origin.hits(), encoded(&proxy), listed(&proxy).await), (1, 3, 4), "{length} {on_disk}");
        if on_disk {
            proxy.written().await;
            proxy.close().await;
            let next = Proxy::of(config(&origin)).on_disk_of(&proxy).start().await;
            for coding in CODINGS {
                assert_eq!(content(&get(&next, coding).await), text(length), "{coding}");
            }
            assert_eq!((origin.hits(), encoded(&next)), (1, 0), "{length}: a restart costs nothing");
        }
    }
}

#[tokio::test]
async fn clients_of_all_codings_share_one_fetch() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(async move |call| {
        held.pass().await;
        call.answer(&texts(200_000)).await;
    })
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    let asks = (0..16).map(|at| get(&proxy, ["gzip", "br", "zstd", "identity"][at % 4]));
    let opens = async {
        origin.hit(1).await;
        gate.open_for(100);
    };
    let (replies, ()) = tokio::join!(join_all(asks), opens);
    for reply in &replies {
        assert_eq!(content(reply), text(200_000));
    }
    assert_eq!(origin.hits(), 1);
    // Who joined while it was being made did not have it made again.
    assert!(encoded(&proxy) <= 6, "{}", encoded(&proxy));
}

#[tokio::test]
async fn a_purge_takes_all() {
    let origin = Origin::always(texts(5000).field("surrogate-key", "one two")).await;
    let proxy = Proxy::of(config(&origin)).on_disk().start().await;
    let url = |target: &str| (Box::<str>::from("api.test"), Box::<str>::from(target));
    let mut inserts = 0;
    for round in 0..5 {
        inserts += 1;
        for coding in CODINGS {
            get(&proxy, coding).await;
            inserts += 1;
            proxy.stored(inserts).await;
        }
        assert_eq!(listed(&proxy).await, 4, "{round} {} {}", origin.hits(), encoded(&proxy));
        let (authority, target) = url("/");
        let criterion = match round {
            0 => Criterion::Url { authority, target },
            1 => Criterion::Prefix { authority: Some(authority), target },
            2 => Criterion::Tag("two".into()),
            3 => Criterion::Host(authority),
            _ => Criterion::Key(plain(&proxy).await),
        };
        let coded = match criterion {
            Criterion::Key(key) => proxy.instance.cache.coded_keys(key),
            _ => Vec::new(),
        };
        let criteria = std::iter::once(criterion).chain(coded.into_iter().map(Criterion::Key));
        proxy.instance.cache.purge_all(criteria.collect::<Vec<_>>(), false).await.expect("purged");
        assert_eq!(listed(&proxy).await, 0, "{round}");
        assert!(!proxy.has("api.test", "/").await);
    }
    assert_eq!((origin.hits(), encoded(&proxy)), (5, 15));
}

#[tokio::test]
async fn what_is_replaced_is_not_served_in_an_old_coding() {
    let version = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let current = version.clone();
    let origin = Origin::answering(move |_| {
        let version = current.load(std::sync::atomic::Ordering::SeqCst);
        let body = text(5000).replacen("number", ["figure", "symbol"][version % 2], 1);
        Answer::ok(body).field("content-type", "text/plain").field("cache-control", "max-age=60")
    })
    .await;
    // At one and the same time.
    let clock = noon();
    let proxy = Proxy::of(config(&origin)).clock(&clock).start().await;
    for round in 0..6 {
        version.store(round, std::sync::atomic::Ordering::SeqCst);
        let fields = ["Cache-Control: no-cache", "Accept-Encoding: identity"];
        let fetched = proxy.ask("GET", "/", &fields, "").await;
        until("it is stored", || proxy.instance.cache.stats().inserts > round as u64).await;
        for coding in CODINGS {
            assert_eq!(content(&get(&proxy, coding).await), fetched.text(), "{round} {coding}");
        }
    }
}

#[tokio::test]
async fn what_is_validated_keeps_its_codings() {
    let origin = Origin::answering(|request| match request.fields.get("if-none-match") {
        Some(_) => {
            Answer::new(304).field("etag", "\"a\"").field("cache-control", "max-age=60").field("x-new", "1")
        }
        None => texts(5000).field("etag", "\"a\""),
    })
    .await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin)).clock(&clock).on_disk().start().await;
    get(&proxy, "gzip").await;
    proxy.stored(2).await;
    for round in 1..4 {
        pass(&clock, 100);
        let reply = get(&proxy, "gzip").await;
        assert_eq!(content(&reply), text(5000));
        assert_eq!((reply.fields.get("x-new"), reply.fields.get("etag")), (Some("1"), Some("W/\"a\"")));
        assert_eq!((origin.hits(), encoded(&proxy), listed(&proxy).await), (1 + round, 1, 2));
    }
}

#[tokio::test]
async fn what_breaks_off_is_neither_ended_nor_stored() {
    for cache in ["true", "false"] {
        let origin = Origin::start(async |call| {
            call.say("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\ncache-control: max-age=60\r\n\r\n").await;
            call.say(text(60_000)).await;
            call.cut();
        })
        .await;
        let proxy = Proxy::of(format!("{}\ncache = {cache}", config(&origin))).start().await;
        for coding in CODINGS {
            let reply = proxy.ask("GET", "/", &[&format!("Accept-Encoding: {coding}")], "").await;
            assert!(!reply.whole, "{coding} {cache}");
        }
        let h2 = proxy.connect_h2().await;
        assert!(!ask_h2(&h2, "/", "gzip").await.whole);
        assert_eq!((origin.hits(), listed(&proxy).await), (4, 0));
    }
}
