//! What unsafe requests end (RFC 9111 4.4), where a table of one route and one origin does not reach.

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy};

#[tokio::test]
async fn a_fetch_under_way_across_an_unsafe_request_is_not_stored() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.method() == "GET" && call.nth == 1 {
            at_origin.pass().await;
        }
        let answer = Answer::ok(format!("version {}", call.nth)).field("Cache-Control", "max-age=60");
        call.answer(&answer).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let address = proxy.address;
    let early = tokio::spawn(async move { Client::connect(address).await.get("/").await });
    origin.hit(1).await;
    assert_eq!(proxy.ask("PUT", "/", &[], "new").await.status, 200);
    // Who comes now must not share what was asked for before.
    assert_eq!(proxy.get("/").await.text(), "version 3");
    gate.open();
    assert_eq!(early.await.unwrap().text(), "version 1");
    assert_eq!(proxy.get("/").await.text(), "version 3");
    assert_eq!(origin.hits(), 3);
}

/// What the reply to a POST names, and whether that ends what is stored for `/item`. The upstream's base path is `/base`.
#[tokio::test]
async fn what_a_reply_names_is_understood_as_clients_and_as_the_upstream_name_it() {
    for (host, location, ends) in [
        ("upstream", "/item", true),
        ("upstream", "item", true),
        ("upstream", "/base/item", true),
        ("upstream", "http://ORIGIN/base/item", true),
        ("upstream", "http://api.test/item", true),
        ("upstream", "http://ORIGIN/other/item", false),
        ("upstream", "http://elsewhere.test/base/item", false),
        ("upstream", "https://ORIGIN/base/item", false),
        ("client", "http://api.test/base/item", true),
        ("client", "http://api.test:8080/base/item", false),
    ] {
        for field in ["Location", "Content-Location"] {
            let origin = Origin::answering(move |request| {
                if request.word(0) == "GET" {
                    return Answer::ok("x").field("Cache-Control", "max-age=60");
                }
                let own = request.fields.get("x-origin").unwrap_or_default();
                Answer::new(201).field(field, location.replace("ORIGIN", own))
            })
            .await;
            let config = format!(
                "upstream = \"api\"\n[upstreams.api]\nurl = \"{}/base\"\nhost = \"{host}\"",
                origin.url()
            );
            let proxy = Proxy::of(config).start().await;
            proxy.get("/item").await;
            let own = format!("X-Origin: {}", origin.address);
            proxy.ask("POST", "/items", &[&own], "new").await;
            assert_eq!(proxy.has("api.test", "/item").await, !ends, "{host}: {field}: {location}");
        }
    }
}

#[tokio::test]
async fn it_reaches_both_tiers_and_outlives_the_process() {
    let origin = Origin::answering(|request| {
        Answer::ok(request.word(1).to_owned()).field("Cache-Control", "max-age=60").field("Vary", "Foo")
    })
    .await;
    let config = format!("upstream = \"{}\"\n[store]\nmemory = \"1B\"", origin.url());
    let proxy = Proxy::of(config.clone()).on_disk().start().await;
    for field in ["Foo: 1", "Foo: 2"] {
        proxy.ask("GET", "/a", &[field], "").await;
        proxy.ask("GET", "/b", &[field], "").await;
    }
    proxy.written().await;
    proxy.ask("DELETE", "/a", &[], "").await;
    proxy.close().await;
    let proxy = Proxy::of(config).on_disk_of(&proxy).start().await;
    let before = origin.hits();
    for (target, field, hits) in
        [("/b", "Foo: 1", 0), ("/b", "Foo: 2", 0), ("/a", "Foo: 1", 1), ("/a", "Foo: 2", 2)]
    {
        proxy.ask("GET", target, &[field], "").await;
        assert_eq!(origin.hits() - before, hits, "{target} {field}");
    }
}

/// Whatever else is special about the request, and on whatever way through the proxy it goes.
#[tokio::test]
async fn calls_and_offers_of_another_protocol_invalidate_as_well() {
    let origin = Origin::answering(|_| Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\ncache = {{}}", origin.url())).start().await;
    for (method, fields) in [
        ("POST", &["Content-Type: application/grpc", "TE: trailers"][..]),
        ("POST", &["Upgrade: strange", "Connection: upgrade"]),
        ("STRANGE", &[]),
    ] {
        proxy.get("/item").await;
        assert!(proxy.has("api.test", "/item").await, "{method} {fields:?}");
        assert_eq!(proxy.ask(method, "/item", fields, "new").await.status, 200, "{method} {fields:?}");
        assert!(!proxy.has("api.test", "/item").await, "{method} {fields:?}");
    }
}
