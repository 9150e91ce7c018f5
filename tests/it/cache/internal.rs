//! Requests of the instance's own: they warm and refresh what clients are answered from.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use proxy_stone::pipeline::internal::{InternalReply, InternalRequest};
use proxy_stone::telemetry::event::CacheOutcome;

use crate::support::{Answer, Call, Origin, Proxy, noon, pass, until, within};

fn request(target: &'static str, refresh: bool) -> InternalRequest {
    InternalRequest {
        secure: false,
        authority: HeaderValue::from_static("a.example"),
        target: PathAndQuery::from_static(target),
        headers: HeaderMap::new(),
        refresh,
    }
}

async fn asks(proxy: &Proxy, request: InternalRequest) -> InternalReply {
    within(proxy.instance.proxy.clone().ask_itself(request, 1024)).await
}

async fn client(proxy: &Proxy, target: &str) -> (String, String) {
    let reply = proxy.ask("GET", target, &["Host: a.example"], "").await;
    (reply.text().to_owned(), reply.cache_status().to_owned())
}

/// Says 304 to its own tag, else which request this is.
async fn validating() -> Origin {
    Origin::start(async |call: &mut Call| {
        let answer = match call.request.fields.get("if-none-match") {
            Some("\"t\"") => Answer::new(304),
            _ => Answer::ok(format!("version {}", call.nth)),
        };
        call.answer(&answer.field("ETag", "\"t\"").field("Cache-Control", "max-age=100")).await;
    })
    .await
}

#[tokio::test]
async fn what_is_warmed_answers_clients_of_the_same_scheme_and_host() {
    let origin = validating().await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    let first = asks(&proxy, request("/a", false)).await;
    assert_eq!((first.status.as_u16(), first.cache, first.bytes), (200, CacheOutcome::Miss, 9));
    assert!(first.cache_status.stored && first.broken.is_none());
    assert_eq!(first.body, b"version 1");
    assert_eq!(client(&proxy, "/a").await, ("version 1".into(), "proxy-stone; hit; ttl=100".into()));
    assert!(asks(&proxy, request("/a", false)).await.cache_status.hit);
    // Another scheme is another key.
    asks(&proxy, InternalRequest { secure: true, ..request("/a", false) }).await;
    assert_eq!(origin.hits(), 2);
    // Clients are who is counted.
    proxy.finished(4).await;
    assert_eq!(proxy.instance.telemetry.snapshot().total.requests, 1);
}

#[tokio::test]
async fn a_refresh_validates_what_is_fresh_even_where_clients_may_not() {
    let origin = validating().await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\ncache = {{ honor_request_directives = false }}", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    client(&proxy, "/a").await;
    pass(&clock, 40);
    let reply = asks(&proxy, request("/a", true)).await;
    assert_eq!((reply.cache, reply.body.as_slice()), (CacheOutcome::Revalidated, &b"version 1"[..]));
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"t\""));
    assert_eq!(client(&proxy, "/a").await, ("version 1".into(), "proxy-stone; hit; ttl=100".into()));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_refresh_that_fails_says_so_and_leaves_what_is_stored() {
    let origin = Origin::start(async |call: &mut Call| match call.nth {
        1 => call.answer(&Answer::ok("kept").field("Cache-Control", "max-age=100")).await,
        _ => call.answer(&Answer::new(500)).await,
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    client(&proxy, "/a").await;
    let reply = asks(&proxy, request("/a", true)).await;
    assert_eq!((reply.status.as_u16(), reply.cache_status.stored), (500, false));
    assert_eq!(client(&proxy, "/a").await.0, "kept");
    drop(origin);
    let reply = asks(&proxy, request("/b", true)).await;
    assert_eq!((reply.status.as_u16(), reply.error), (502, Some("connection_refused")));
}

#[tokio::test]
async fn a_full_disk_takes_what_is_warmed_and_not_what_a_client_asks_for_once() {
    let origin = validating().await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\n[store]\nmax_entries = 4", origin.url());
    let proxy = Proxy::of(config.clone()).clock(&clock).on_disk().start().await;
    for target in ["/1", "/2", "/3", "/4", "/5"] {
        client(&proxy, target).await;
    }
    until("it is full", || proxy.instance.cache.stats().evicted > 0).await;
    proxy.written().await;
    client(&proxy, "/once").await;
    proxy.stored(6).await;
    assert!(asks(&proxy, request("/warmed", false)).await.cache_status.stored);
    proxy.stored(7).await;
    assert_eq!(proxy.instance.cache.stats().refused, 1);
    assert!(proxy.has("a.example", "/once").await, "RAM has it");
    proxy.close().await;

    let proxy = Proxy::of(config).clock(&clock).on_disk_of(&proxy).start().await;
    assert!(proxy.has("a.example", "/warmed").await && !proxy.has("a.example", "/once").await);
    proxy.close().await;
}
