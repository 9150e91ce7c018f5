//! Limits of heads, bodies, methods, schemes and connections: each is answered, told and held over every worker.

use std::time::Duration;

use crate::support::{Answer, Call, Client, H2, Origin, Proxy, numbered, request, until, within};
use proxy_stone::telemetry::outcome::ConnectionRefused;

async fn bounded(server: &str, route: &str) -> (Origin, Proxy) {
    let origin = Origin::always(Answer::ok("fine")).await;
    let config = format!(
        "workers = 3\n[server]\n{server}\n[[routes]]\nupstream = \"{}\"\ncache = false\n{route}\n",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    (origin, proxy)
}

fn refused(proxy: &Proxy, reason: ConnectionRefused) -> u64 {
    let total = proxy.instance.telemetry.snapshot().connections;
    total.refused.get(reason.as_str()).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_method_that_a_route_does_not_serve_is_a_405() {
    let (origin, proxy) = bounded("", "allow_methods = [\"GET\", \"PUT\"]").await;
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 200), ("DELETE", 405), ("FETCH", 405)] {
        let reply = proxy.ask(method, "/", &[], "").await;
        assert_eq!(reply.status, status, "{method}");
        assert_eq!(reply.field("allow"), (status == 405).then_some("GET, PUT, HEAD"), "{method}");
    }
    assert_eq!(origin.hits(), 3);
    // Each worker tells of its own, so that they come in any order.
    let mut denied = proxy.finished(5).await;
    denied.retain(|event| event.status == 405);
    assert_eq!(denied.len(), 2);
    assert!(denied.iter().all(|event| event.error == Some("http_request_denied")));
}

#[tokio::test]
async fn a_scheme_that_a_route_does_not_serve_is_a_403() {
    let origin = Origin::always(Answer::ok("fine")).await;
    let config = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[[routes]]\nupstream = \"{}\"\nallow_schemes = \"https\"\n",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    assert_eq!(proxy.get("/").await.status, 403);
    assert_eq!(proxy.ask("GET", "/", &["x-forwarded-proto: https"], "").await.status, 200);
}

#[tokio::test]
async fn long_targets_and_many_fields_are_refused_in_both_versions() {
    let (origin, proxy) = bounded("max_target = \"1KiB\"\nmax_headers = 20", "").await;
    let (short, long) = (format!("/{}", "a".repeat(1023)), format!("/{}", "a".repeat(1024)));
    let h2 = proxy.connect_h2().await;
    for (target, status) in [(&short, 200), (&long, 414)] {
        assert_eq!(proxy.get(target).await.status, status);
        assert_eq!(h2.get(target).await.status, status);
    }
    let many: Vec<String> = (0..30).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(proxy.ask("GET", "/", &many, "").await.status, 431);
    let mut request = H2::request("GET", "/", "");
    for n in 0..30 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        request.headers_mut().insert(name, http::HeaderValue::from_static("1"));
    }
    assert_eq!(h2.ask(request).await.status, 431);
    assert_eq!(origin.hits(), 2);
}

/// Nothing is waited for, and the reply reaches a client that goes on sending.
#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_however_it_is_sent() {
    // It waits for the body, or its own reply might be there first.
    let origin = Origin::start(async |call: &mut Call| {
        assert!(!call.body().await.whole);
    })
    .await;
    let route = format!("[[routes]]\nupstream = \"{}\"\ncache = false\n", origin.url());
    let proxy = Proxy::of(format!("{route}max_request_body = \"64KiB\"\n")).start().await;
    let mut declared = proxy.connect().await;
    declared.say(request("POST", "/", &["content-length: 150000"], "")).await;
    let head = declared.head().await;
    assert_eq!(head.status(), 413);
    declared.say(numbered(140_000)).await;
    assert!(declared.rest_of(head).await.text().contains("larger than this route allows"));
    declared.closed().await;
    assert_eq!(origin.connections(), 0);

    let mut counted = proxy.connect().await;
    counted.say(request("POST", "/", &["transfer-encoding: chunked"], "")).await;
    for _ in 0..10 {
        counted.say(format!("4000\r\n{}\r\n", "x".repeat(0x4000))).await;
    }
    let head = counted.head().await;
    assert_eq!(head.status(), 413);
    counted.say(format!("4000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x4000))).await;
    assert!(counted.rest_of(head).await.text().contains("larger than this route allows"));
    counted.closed().await;
    let finished = proxy.finished(2).await;
    assert!(finished.iter().all(|event| event.status == 413 && event.error == Some("http_request_error")));
}

/// Every pause is short, and yet it would take for ever.
#[tokio::test]
async fn a_body_that_comes_too_slowly_is_a_408() {
    let origin = Origin::start(async move |call: &mut Call| {
        assert!(!call.body().await.whole);
    })
    .await;
    let slow = "request_idle_timeout = \"400ms\"\nmin_request_rate = \"1MiB\"";
    let config = format!("[[routes]]\nupstream = \"{}\"\ncache = false\n{slow}\n", origin.url());
    let proxy = Proxy::of(config).start().await;
    let mut client = proxy.connect().await;
    client.say(request("POST", "/", &["content-length: 100000"], "")).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let head = within(async {
        loop {
            tokio::select! {
                head = client.wire.head() => break head.expect("a reply"),
                _ = ticks.tick() => {}
            }
            client.say("x").await;
        }
    })
    .await;
    assert_eq!(head.status(), 408);
    // It goes on sending, and reads the reply all the same.
    client.say("x".repeat(1000)).await;
    assert!(client.rest_of(head).await.text().contains("did not come in time"));
    client.closed().await;
}

/// As many connections as there may be; more are refused, and counted as that.
async fn filled(proxy: &Proxy, most: usize, refusal: ConnectionRefused) -> Vec<Client> {
    let mut held = Vec::new();
    for _ in 0..most {
        let mut client = proxy.connect().await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    for _ in 0..20 {
        assert!(proxy.connect().await.closed().await.is_empty());
    }
    until("refusals are counted", || refused(proxy, refusal) == 20).await;
    held
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_no_more_over_all_workers() {
    let (_origin, proxy) = bounded("max_connections_per_client = 6", "").await;
    let mut held = filled(&proxy, 6, ConnectionRefused::ClientLimit).await;
    assert_eq!(held[0].get("/").await.status, 200);
    held.pop();
    until("its place is free", || proxy.instance.connections() == 5).await;
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more_over_all_workers() {
    let (_origin, proxy) = bounded("max_connections = 5", "").await;
    let mut held = filled(&proxy, 5, ConnectionRefused::Limit).await;
    assert_eq!(held[4].get("/").await.status, 200);
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_says_which_is_the_last() {
    let (origin, proxy) = bounded("max_requests_per_connection = 3", "").await;
    let mut client: Client = proxy.connect().await;
    for number in 1..=3 {
        let reply = client.get("/").await;
        assert_eq!((reply.status, reply.field("connection")), (200, (number == 3).then_some("close")));
    }
    assert!(client.closed().await.is_empty());

    let h2 = proxy.connect_h2().await;
    for _ in 0..3 {
        assert_eq!(h2.get("/").await.status, 200);
    }
    // GOAWAY: the client opens no further streams.
    within(async { while h2.begin(H2::request("GET", "/", "")).await.is_ok() {} }).await;
    assert!(origin.hits() >= 6);
    until("the connections are gone", || proxy.instance.connections() == 0).await;
}
