//! What is counted and logged of what the cache did.

use std::collections::BTreeMap;

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy, noon, numbered, pass, until, waiting};

#[tokio::test]
async fn every_outcome_is_counted_and_logged_under_its_word() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let fresh = "max-age=60, stale-while-revalidate=30";
        let answer = match call.target() {
            "/private" => Answer::ok("mine").field("Cache-Control", "private"),
            _ if call.request.fields.has("if-none-match") => {
                Answer::new(304).field("ETag", "\"v1\"").field("Cache-Control", fresh)
            }
            "/slow" => {
                at_origin.pass().await;
                Answer::ok("slow").field("Cache-Control", fresh)
            }
            _ => Answer::ok("hello").field("ETag", "\"v1\"").field("Cache-Control", fresh),
        };
        call.answer(&answer).await;
    })
    .await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\n[[routes]]\nname = \"api\"", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    // Of exchanges on several workers the log knows the order only once they are in it.
    proxy.get("/a").await;
    proxy.finished(1).await;
    proxy.get("/a").await;
    proxy.finished(2).await;
    pass(&clock, 100);
    proxy.get("/a").await;
    proxy.finished(3).await;
    pass(&clock, 70);
    proxy.get("/a").await;
    proxy.finished(4).await;
    origin.hit(3).await;
    until("the refresh ends", || proxy.instance.proxy.flights() == 0).await;
    proxy.ask("POST", "/b", &[], "four").await;
    proxy.finished(5).await;
    proxy.get("/private").await;
    proxy.finished(6).await;
    let address = proxy.address;
    let asks = || tokio::spawn(async move { Client::connect(address).await.get("/slow").await });
    let (one, two) = (asks(), asks());
    waiting(&proxy, 2).await;
    gate.open();
    one.await.unwrap();
    two.await.unwrap();

    let mut told: Vec<_> = proxy.finished(8).await;
    told[6..].sort_by_key(|event| event.attempts == 0);
    let lines: Vec<_> = told
        .iter()
        .map(|event| (event.method.as_str(), &*event.target, event.status, event.cache.as_str(), event.sent))
        .collect();
    assert_eq!(
        lines,
        [
            ("GET", "/a", 200, "miss", 5),
            ("GET", "/a", 200, "hit", 5),
            ("GET", "/a", 200, "revalidated", 5),
            ("GET", "/a", 200, "stale", 5),
            ("POST", "/b", 200, "bypass", 5),
            ("GET", "/private", 200, "miss", 4),
            ("GET", "/slow", 200, "miss", 4),
            ("GET", "/slow", 200, "collapsed", 4),
        ]
    );
    let attempts: Vec<_> = told.iter().map(|event| event.attempts).collect();
    assert_eq!(attempts, [1, 0, 1, 0, 1, 1, 1, 0]);
    let ends: Vec<_> = told.iter().map(|event| (event.route.as_deref(), event.end.as_str())).collect();
    assert_eq!(ends, [(Some("api"), "complete"); 8]);
    assert_eq!(told[4].received, 4);
    assert_eq!(&*told[0].host, "api.test");

    let snapshot = proxy.instance.telemetry.snapshot();
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    };
    let counted: BTreeMap<_, _> =
        snapshot.total.cache.clone().into_iter().filter(|(_, count)| *count > 0).collect();
    let expected =
        counts(&[("miss", 3), ("hit", 1), ("revalidated", 1), ("stale", 1), ("bypass", 1), ("collapsed", 1)]);
    assert_eq!(counted, expected);
    assert_eq!(snapshot.cache_skips.get("private"), Some(&1));
    assert_eq!((snapshot.total.requests, snapshot.total.sent, snapshot.total.received), (8, 37, 4));
    let route = snapshot.routes.iter().find(|row| row.route == "api").expect("a row");
    assert_eq!(route.requests, 8);
    // A refresh in the background is an attempt, but nobody's exchange.
    assert_eq!(snapshot.upstreams[0].attempts.get("ok"), Some(&6));
    assert_eq!(snapshot.upstreams[0].requests, 5);
}

#[tokio::test]
async fn every_reason_not_to_store_is_counted() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/no-store" => Answer::ok("").field("Cache-Control", "no-store"),
        "/private" => Answer::ok("").field("Cache-Control", "private"),
        "/vary" => Answer::ok("").field("Cache-Control", "max-age=60").field("Vary", "*"),
        _ => Answer::ok(""),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for target in ["/no-store", "/no-store", "/private", "/vary", "/silent"] {
        proxy.get(target).await;
    }
    proxy.finished(5).await;
    let skips = proxy.instance.telemetry.snapshot().cache_skips;
    let counted: Vec<_> =
        skips.iter().filter(|(_, count)| **count > 0).map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(counted, [("no-freshness", 1), ("no-store", 2), ("private", 1), ("vary-star", 1)]);
}

#[tokio::test]
async fn aborts_and_failures_are_told_as_such() {
    let origin = Origin::start(async |call: &mut Call| match call.target() {
        "/cut" => {
            call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello").await;
            call.cut();
        }
        _ => call.gone().await,
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/cut").await;
    proxy.finished(1).await;
    let mut client = proxy.connect().await;
    client.say("GET /left HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(2).await;
    drop(client);
    proxy.finished(2).await;
    proxy.ask("GET", "/", &["Cache-Control: only-if-cached"], "").await;
    let told = proxy.finished(3).await;
    let lines: Vec<_> = told
        .iter()
        .map(|event| (&*event.target, event.status, event.cache.as_str(), event.end.as_str(), event.error))
        .collect();
    assert_eq!(
        lines,
        [
            ("/cut", 200, "miss", "upstream_aborted", Some("http_response_incomplete")),
            ("/left", 0, "miss", "client_aborted", None),
            ("/", 504, "miss", "complete", None),
        ]
    );
}

#[tokio::test]
async fn many_urls_add_no_series() {
    let origin = Origin::always(Answer::ok("").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    let text = || proxy.instance.telemetry.openmetrics();
    let mut client = proxy.connect().await;
    client.get("/first").await;
    client.get("/first").await;
    proxy.finished(2).await;
    let series = |text: String| text.lines().filter(|line| !line.starts_with('#')).count();
    let few = series(text());
    for number in 0..500 {
        client.get(&format!("/{number}?q={number}")).await;
    }
    proxy.finished(502).await;
    let many = text();
    assert!(!many.contains("/499"));
    // Histograms show only buckets that have something in them.
    assert!(series(many) <= few + 60);
}

#[tokio::test]
async fn a_reply_that_left_whole_is_complete_wherever_it_came_from() {
    let origin = Origin::start(async |call: &mut Call| {
        let (framing, length) = call.target()[1..].split_once('/').unwrap();
        let body = numbered(length.parse().unwrap());
        if framing == "length" {
            return call.answer(&Answer::ok(body).field("Cache-Control", "max-age=60")).await;
        }
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for part in body.chunks(10_000) {
            call.chunk(part).await;
        }
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
    let mut count = 0;
    for framing in ["length", "chunked"] {
        for length in [0, 5, 100_000, 2_000_000] {
            let target = format!("/{framing}/{length}");
            proxy.get(&target).await;
            proxy.stored(origin.hits() as u64).await;
            proxy.finished(count + 1).await;
            proxy.get(&target).await;
            proxy.connect_h2().await.get(&target).await;
            count += 3;
            let told = proxy.finished(count).await;
            let lines: Vec<_> = told[count - 3..]
                .iter()
                .map(|event| (event.cache.as_str(), event.sent, event.end.as_str()))
                .collect();
            let expected = ["miss", "hit", "hit"].map(|cache| (cache, length, "complete"));
            assert_eq!(lines, expected, "{target}");
        }
    }
}
