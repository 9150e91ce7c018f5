//! Many clients, one fetch.

use std::net::SocketAddr;

use tokio::task::JoinHandle;

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy, Reply, numbered, pass, until, waiting};

/// A client of its own that asks for `target`.
fn asks(address: SocketAddr, target: &'static str) -> JoinHandle<Reply> {
    tokio::spawn(async move { Client::connect(address).await.get(target).await })
}

/// Fetches that were cancelled.
fn cancelled(proxy: &Proxy) -> u64 {
    let snapshot = proxy.instance.telemetry.snapshot();
    snapshot.upstreams.iter().filter_map(|row| row.attempts.get("cancelled")).sum()
}

async fn all(asking: Vec<JoinHandle<Reply>>) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(asking.len());
    for reply in asking {
        replies.push(reply.await.expect("a reply"));
    }
    replies
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Holds every reply at the gate.
async fn held(gate: &Gate, answer: Answer) -> Origin {
    let gate = gate.clone();
    Origin::start(async move |call: &mut Call| {
        gate.pass().await;
        call.answer(&answer).await;
    })
    .await
}

#[tokio::test]
async fn a_thousand_clients_on_all_workers_make_one_request() {
    let gate = Gate::new();
    let body = numbered(10_000);
    let origin = held(&gate, Answer::ok(body.clone()).field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::of(format!("workers = 3\nupstream = \"{}\"", origin.url())).start().await;
    let asking: Vec<_> = (0..1000).map(|_| asks(proxy.address, "/")).collect();
    waiting(&proxy, 1000).await;
    gate.open();
    let replies = all(asking).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.whole && reply.body == body));
    assert_eq!(origin.hits(), 1);
    let said = |words: &str| replies.iter().filter(|reply| reply.cache_status() == words).count();
    assert_eq!(said("proxy-stone; fwd=uri-miss; stored"), 1);
    assert_eq!(said("proxy-stone; fwd=uri-miss; stored; collapsed"), 999);
    let finished = proxy.finished(1000).await;
    let outcome = |word: &str| finished.iter().filter(|event| event.cache.as_str() == word).count();
    assert_eq!((outcome("miss"), outcome("collapsed")), (1, 999));
    assert_eq!(finished.iter().filter(|event| event.attempts > 0).count(), 1);
}

#[tokio::test]
async fn who_comes_while_the_body_streams_reads_it_from_its_start() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        at_origin.pass().await;
        call.say(HEAD).await;
        for part in ["one ", "two ", "three"] {
            call.chunk(part).await;
            at_origin.pass().await;
        }
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
    let mut leader = proxy.connect().await;
    leader.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    gate.open();
    let head = leader.head().await;
    assert_eq!(leader.wire.chunk().await.unwrap(), "one ");
    // In mid-body: after the first part, and after the second.
    let mut second = proxy.connect().await;
    second.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let joined = second.head().await;
    assert_eq!(joined.fields.get("cache-status"), Some("proxy-stone; fwd=uri-miss; stored; collapsed"));
    gate.open();
    assert_eq!(leader.wire.chunk().await.unwrap(), "two ");
    let third = asks(proxy.address, "/");
    gate.open_for(2);
    assert_eq!(leader.rest_of(head).await.text(), "three");
    assert_eq!(second.rest_of(joined).await.text(), "one two three");
    let third = third.await.unwrap();
    assert_eq!((third.text(), third.whole), ("one two three", true));
    assert_eq!(origin.hits(), 1);
}

/// The fetch is over for its client before the body is on disk: who comes in between shares it.
#[tokio::test]
async fn who_comes_before_the_body_is_on_disk_finds_it_all_the_same() {
    let body = numbered(6 << 20);
    for chunked in [false, true] {
        let sent = body.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            let (most, last) = sent.split_at(sent.len() - 1000);
            let framing = match chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {}", sent.len()),
            };
            call.say(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}\r\n\r\n")).await;
            for (number, part) in [most, last, &[]].into_iter().enumerate() {
                if number == 1 {
                    // The client has read all that there is, and sees the end as soon as we do.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                if chunked {
                    call.chunk(part).await
                } else {
                    call.say(part).await
                };
            }
        })
        .await;
        let config = format!("upstream = \"{}\"\ncache = {{}}", origin.url());
        let proxy = Proxy::of(config).on_disk().start().await;
        let address = proxy.address;
        // Together they keep the disk busy, which makes the time in between long.
        let asking: Vec<_> = (0..12)
            .map(|number| {
                let body = body.clone();
                tokio::spawn(async move {
                    for _ in 0..3 {
                        let reply = Client::connect(address).await.get(&format!("/{number}")).await;
                        assert!(reply.whole && reply.body == body, "{number}");
                    }
                })
            })
            .collect();
        for asking in asking {
            asking.await.expect("the right bytes");
        }
        assert_eq!(origin.hits(), 12, "chunked: {chunked}");
    }
}

#[tokio::test]
async fn a_slow_reader_takes_from_disk_what_fast_ones_have_long_had() {
    let body = numbered(24 << 20);
    let origin = Origin::always(Answer::ok(body.clone()).field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
    let mut slow = Client::connect_narrow(proxy.address).await;
    slow.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let head = slow.head().await;
    // It reads no further for now: far more is under way than fits into the sockets between.
    let fast = all((0..3).map(|_| asks(proxy.address, "/")).collect()).await;
    assert!(fast.iter().all(|reply| reply.whole && reply.body == body));
    let slow = slow.rest_of(head).await;
    assert!(slow.whole && slow.body == body);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn without_a_disk_a_slow_reader_holds_fast_ones_up_only_beyond_what_ram_keeps() {
    let gate = Gate::new();
    let body = numbered(24 << 20);
    let (at_origin, sent) = (gate.clone(), body.clone());
    let origin = Origin::start(async move |call: &mut Call| {
        let length = sent.len();
        call.say(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n"))
            .await;
        at_origin.pass().await;
        for part in sent.chunks(256 << 10) {
            call.say(part).await;
        }
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let mut slow = Client::connect_narrow(proxy.address).await;
    slow.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let mut fast = proxy.connect().await;
    fast.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    // Both read along before the first byte comes: who joins when the beginning is gone fetches for itself.
    slow.head().await;
    fast.head().await;
    gate.open();
    let mut read = Vec::new();
    while read.len() < 1 << 20 {
        let some = fast.wire.some().await;
        assert!(!some.is_empty(), "it ended after {} bytes", read.len());
        read.extend_from_slice(&some);
    }
    drop(slow);
    while read.len() < body.len() {
        let some = fast.wire.some().await;
        assert!(!some.is_empty(), "it ended after {} bytes", read.len());
        read.extend_from_slice(&some);
    }
    assert!(read == body);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn streams_of_http_2_share_a_fetch_with_clients_of_http_1() {
    let gate = Gate::new();
    let origin = held(&gate, Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    let h2 = proxy.connect_h2().await;
    let mut asking: Vec<_> = (0..5).map(|_| asks(proxy.address, "/")).collect();
    for _ in 0..50 {
        let h2 = h2.clone();
        asking.push(tokio::spawn(async move { h2.get("/").await }));
    }
    waiting(&proxy, 55).await;
    gate.open();
    assert!(all(asking).await.iter().all(|reply| reply.status == 200 && reply.text() == "x"));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn what_becomes_shareable_is_stored_at_once() {
    let origin = Origin::start(async |call: &mut Call| {
        let cache_control = if call.nth == 1 { "no-store" } else { "max-age=60" };
        call.answer(&Answer::ok("x").field("Cache-Control", cache_control)).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for (said, hits) in [("detail=no-store", 1), ("fwd=uri-miss; stored", 2), ("; hit; ", 2)] {
        let reply = proxy.get("/").await;
        assert!(reply.cache_status().contains(said), "{said}: {}", reply.cache_status());
        assert_eq!(origin.hits(), hits);
    }
}

#[tokio::test]
async fn followers_are_served_although_the_leader_leaves() {
    let gate = Gate::new();
    let origin = held(&gate, Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    let mut leader = proxy.connect().await;
    leader.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    let followers: Vec<_> = (0..5).map(|_| asks(proxy.address, "/")).collect();
    waiting(&proxy, 6).await;
    drop(leader);
    waiting(&proxy, 5).await;
    gate.open();
    for reply in all(followers).await {
        assert_eq!((reply.status, reply.text()), (200, "x"));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn followers_read_on_although_the_leader_leaves_in_mid_body() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(HEAD).await;
        call.chunk("one ").await;
        at_origin.pass().await;
        call.chunk("two").await;
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let mut leader = proxy.connect().await;
    leader.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    leader.head().await;
    let mut follower = proxy.connect().await;
    follower.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let head = follower.head().await;
    drop(leader);
    until("the leader has gone", || proxy.instance.connections() == 1).await;
    gate.open();
    let reply = follower.rest_of(head).await;
    assert_eq!((reply.text(), reply.whole), ("one two", true));
    proxy.stored(1).await;
    assert!(proxy.has("api.test", "/").await);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn followers_try_once_more_and_together_when_the_leader_fails() {
    for failure in ["HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", ""] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            if call.nth > 1 {
                return call.answer(&Answer::ok("good").field("Cache-Control", "max-age=60")).await;
            }
            at_origin.pass().await;
            match failure {
                "" => call.cut(),
                said => drop(call.say(said).await),
            }
        })
        .await;
        let url = origin.url();
        let config = format!("upstream = \"api\"\n[upstreams.api]\nurl = \"{url}\"\nretries = 0");
        let proxy = Proxy::of(config).start().await;
        let leader = asks(proxy.address, "/");
        origin.hit(1).await;
        let followers: Vec<_> = (0..4).map(|_| asks(proxy.address, "/")).collect();
        waiting(&proxy, 5).await;
        gate.open();
        assert_eq!(leader.await.unwrap().status, if failure.is_empty() { 502 } else { 500 });
        for reply in all(followers).await {
            assert_eq!((reply.status, reply.text()), (200, "good"));
        }
        assert_eq!(origin.hits(), 2);
    }
}

#[tokio::test]
async fn a_dying_origin_does_not_hear_from_every_follower() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.target() == "/other" {
            return call.answer(&Answer::ok("")).await;
        }
        at_origin.pass().await;
        call.cut();
    })
    .await;
    let url = origin.url();
    let config = format!("workers = 1\nupstream = \"api\"\n[upstreams.api]\nurl = \"{url}\"\nretries = 0");
    let proxy = Proxy::of(config).start().await;
    let leader = asks(proxy.address, "/");
    origin.hit(1).await;
    let followers: Vec<_> = (0..20).map(|_| asks(proxy.address, "/")).collect();
    waiting(&proxy, 21).await;
    gate.open();
    assert_eq!(leader.await.unwrap().status, 502);
    origin.hit(2).await;
    // Those that heard of the failure before this request came in have met again by its end.
    proxy.get("/other").await;
    gate.open();
    let replies = all(followers).await;
    assert!(replies.iter().all(|reply| reply.status == 502));
    let collapsed = "proxy-stone; fwd=uri-miss; collapsed; detail=connection_terminated";
    assert_eq!(replies.iter().filter(|reply| reply.cache_status() == collapsed).count(), 19);
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_condition_on_a_miss_joins_a_fetch_of_the_whole_that_is_under_way() {
    let gate = Gate::new();
    let answer = Answer::ok("x").field("ETag", "\"a\"").field("Cache-Control", "max-age=60");
    let origin = held(&gate, answer).await;
    let proxy = Proxy::caching(&origin).await;
    let plain = asks(proxy.address, "/");
    origin.hit(1).await;
    let address = proxy.address;
    let conditional = tokio::spawn(async move {
        Client::connect(address).await.ask("GET", "/", &["If-None-Match: \"a\""], "").await
    });
    waiting(&proxy, 2).await;
    gate.open();
    assert_eq!(plain.await.unwrap().text(), "x");
    assert_eq!(conditional.await.unwrap().status, 304);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_fetch_that_its_client_left_is_counted_as_cancelled() {
    let origin = Origin::start(async |call: &mut Call| call.gone().await).await;
    let proxy = Proxy::caching(&origin).await;
    for (method, count) in [("GET", 1), ("POST", 2)] {
        let mut client = proxy.connect().await;
        client.say(format!("{method} / HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
        origin.hit(count).await;
        drop(client);
        until("it is counted", || cancelled(&proxy) == count as u64).await;
    }
}

#[tokio::test]
async fn followers_of_a_body_that_breaks_off_see_it_and_nothing_is_stored() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello").await;
        at_origin.pass().await;
        call.cut();
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let mut reading = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        let head = client.head().await;
        reading.push((client, head));
    }
    gate.open();
    for (mut client, head) in reading {
        let reply = client.rest_of(head).await;
        assert!(!reply.whole, "{reply:?}");
    }
    assert_eq!(origin.hits(), 1);
    assert!(!proxy.has("api.test", "/").await);
}

#[tokio::test]
async fn clients_of_what_cannot_be_shared_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let origin = held(&gate, Answer::ok("own").field("Cache-Control", "no-store")).await;
    let proxy = Proxy::caching(&origin).await;
    let leader = asks(proxy.address, "/");
    origin.hit(1).await;
    let followers: Vec<_> = (0..4).map(|_| asks(proxy.address, "/")).collect();
    waiting(&proxy, 5).await;
    gate.open();
    assert_eq!(leader.await.unwrap().text(), "own");
    // All four are at the origin together, though it has answered none of them.
    origin.hit(5).await;
    gate.open_for(4);
    assert!(all(followers).await.iter().all(|reply| reply.text() == "own"));
    // It is remembered: who comes next does not wait for anyone to find out again.
    let next: Vec<_> = (0..3).map(|_| asks(proxy.address, "/")).collect();
    origin.hit(8).await;
    gate.open_for(3);
    assert!(all(next).await.iter().all(|reply| reply.text() == "own"));
    assert_eq!(origin.hits(), 8);
}

#[tokio::test]
async fn followers_of_another_variant_get_their_own() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        at_origin.pass().await;
        let language = call.request.fields.get("accept-language").unwrap_or_default().to_owned();
        let answer = Answer::ok(format!("in {language}")).field("Cache-Control", "max-age=60");
        call.answer(&answer.field("Vary", "Accept-Language")).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let address = proxy.address;
    let asks = |language: &'static str| {
        tokio::spawn(async move {
            let field = format!("Accept-Language: {language}");
            Client::connect(address).await.ask("GET", "/", &[&field], "").await
        })
    };
    let (de, en) = (asks("de"), asks("en"));
    waiting(&proxy, 2).await;
    gate.open_for(2);
    assert_eq!(de.await.unwrap().text(), "in de");
    assert_eq!(en.await.unwrap().text(), "in en");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn validation_is_shared_too() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let answer = match call.request.fields.has("if-none-match") {
            true => Answer::new(304),
            false => Answer::ok("x"),
        };
        at_origin.pass().await;
        call.answer(&answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=60")).await;
    })
    .await;
    let clock = crate::support::noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    gate.open();
    proxy.get("/").await;
    pass(&clock, 60);
    let asking: Vec<_> = (0..6).map(|_| asks(proxy.address, "/")).collect();
    waiting(&proxy, 6).await;
    gate.open();
    let replies = all(asking).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.text() == "x"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn what_a_304_says_to_one_client_alone_reaches_no_other() {
    for (cache_control, fields) in
        [("private, max-age=60", &[][..]), ("max-age=60", &["Authorization: Basic eDp5"][..])]
    {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            at_origin.pass().await;
            let answer = match call.nth {
                1 => Answer::ok("x").field("Cache-Control", "max-age=60"),
                2 => Answer::new(304).field("Cache-Control", cache_control).field("Set-Cookie", "its=own"),
                _ => Answer::ok("y").field("Cache-Control", "max-age=60"),
            };
            call.answer(&answer.field("ETag", "\"v1\"")).await;
        })
        .await;
        let clock = crate::support::noon();
        let proxy = Proxy::caching_by(&clock, &origin).await;
        gate.open();
        proxy.get("/").await;
        pass(&clock, 60);
        let address = proxy.address;
        let leader =
            tokio::spawn(async move { Client::connect(address).await.ask("GET", "/", fields, "").await });
        origin.hit(2).await;
        let follower = asks(proxy.address, "/");
        waiting(&proxy, 2).await;
        gate.open_for(2);
        let leader = leader.await.unwrap();
        assert_eq!((leader.text(), leader.field("set-cookie")), ("x", Some("its=own")), "{cache_control}");
        assert_eq!(leader.cache_status(), "proxy-stone; fwd=stale; fwd-status=304", "{cache_control}");
        let follower = follower.await.unwrap();
        assert_eq!((follower.text(), follower.field("set-cookie")), ("y", None), "{cache_control}");
        assert_eq!(origin.hits(), 3);
    }
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_is_cancelled() {
    let origin = Origin::start(async |call: &mut Call| {
        if call.target() == "/body" {
            call.say(HEAD).await;
            call.chunk("one").await;
        }
        call.gone().await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for (target, cancelled) in [("/head", 1), ("/body", 2)] {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = proxy.connect().await;
            client.say(format!("GET {target} HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
            if target == "/body" {
                client.head().await;
            }
            clients.push(client);
        }
        origin.hit(cancelled).await;
        if target == "/head" {
            waiting(&proxy, 2).await;
        }
        drop(clients.pop());
        until("one has gone", || proxy.instance.connections() == 1).await;
        assert_eq!(origin.closed(), cancelled - 1, "someone still wants {target}");
        drop(clients);
        until("the fetch is cancelled", || origin.closed() == cancelled).await;
    }
    until("no fetch is left", || proxy.instance.proxy.flights() == 0).await;
    assert_eq!(origin.hits(), 2);
    assert_eq!(proxy.instance.cache.stats().inserts, 0);
}
