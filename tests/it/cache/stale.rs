//! Stale replies: while they are refreshed, and when the origin fails (RFC 5861, RFC 9111 4.2.4).

use crate::support::{Answer, Call, Gate, Origin, Proxy, noon, pass, until, waiting};

/// Answers `version N` with these directives; each request waits at the gate.
async fn versions(cache_control: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(async move |call: &mut Call| {
        let version = call.nth;
        gate.pass().await;
        let answer = Answer::ok(format!("version {version}")).field("Cache-Control", cache_control);
        call.answer(&answer).await;
    })
    .await
}

#[tokio::test]
async fn a_stale_reply_answers_at_once_while_it_is_refreshed_once() {
    let gate = Gate::new();
    let origin = versions("max-age=10, stale-while-revalidate=30", &gate).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    gate.open();
    assert_eq!(proxy.get("/").await.text(), "version 1");
    pass(&clock, 15);
    // The origin does not answer yet: who would wait for it would wait for ever.
    for _ in 0..5 {
        let reply = proxy.get("/").await;
        assert_eq!(reply.text(), "version 1");
        assert_eq!(reply.cache_status(), "proxy-stone; hit; ttl=-5; detail=stale-while-revalidate");
        assert_eq!(reply.field("age"), Some("15"));
    }
    origin.hit(2).await;
    gate.open();
    proxy.stored(2).await;
    let fresh = proxy.get("/").await;
    assert_eq!((fresh.text(), fresh.cache_status()), ("version 2", "proxy-stone; hit; ttl=10"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn clients_on_all_workers_make_one_refresh() {
    let gate = Gate::new();
    let origin = versions("max-age=10, stale-while-revalidate=30", &gate).await;
    let clock = noon();
    let config = format!("workers = 3\nupstream = \"{}\"", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    gate.open();
    proxy.get("/").await;
    pass(&clock, 15);
    let address = proxy.address;
    let asking: Vec<_> = (0..60)
        .map(|_| tokio::spawn(async move { crate::support::Client::connect(address).await.get("/").await }))
        .collect();
    for reply in asking {
        assert_eq!(reply.await.unwrap().text(), "version 1");
    }
    gate.open();
    proxy.stored(2).await;
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_refresh_goes_on_when_its_client_has_left_and_carries_its_fields() {
    let gate = Gate::new();
    let origin = versions("max-age=10, stale-while-revalidate=30", &gate).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    gate.open();
    proxy.get("/").await;
    pass(&clock, 15);
    proxy.ask("GET", "/", &["X-Own: 7", "Connection: close"], "").await;
    origin.hit(2).await;
    assert_eq!(origin.last().fields.get("x-own"), Some("7"));
    until("the client has gone", || proxy.instance.connections() == 0).await;
    gate.open();
    proxy.stored(2).await;
    assert_eq!(proxy.get("/").await.text(), "version 2");
}

#[tokio::test]
async fn a_head_refreshes_the_stored_get() {
    let gate = Gate::new();
    gate.open_for(9);
    let origin = versions("max-age=10, stale-while-revalidate=30", &gate).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 15);
    let head = proxy.ask("HEAD", "/", &[], "").await;
    assert_eq!(head.cache_status(), "proxy-stone; hit; ttl=-5; detail=stale-while-revalidate");
    origin.hit(2).await;
    assert_eq!(origin.last().word(0), "GET");
    proxy.stored(2).await;
    assert_eq!(proxy.get("/").await.text(), "version 2");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn past_the_window_the_origin_is_waited_for() {
    let gate = Gate::new();
    gate.open_for(9);
    let origin = versions("max-age=10, stale-while-revalidate=30", &gate).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 41);
    let reply = proxy.get("/").await;
    assert_eq!((reply.text(), reply.cache_status()), ("version 2", "proxy-stone; fwd=stale; stored"));
}

#[tokio::test]
async fn a_refresh_by_304_makes_the_stored_reply_fresh() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.has("if-none-match") {
            true => Answer::new(304),
            false => Answer::ok("x"),
        };
        answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=10, stale-while-revalidate=30")
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 15);
    proxy.get("/").await;
    origin.hit(2).await;
    until("the refresh ends", || proxy.instance.proxy.flights() == 0).await;
    let fresh = proxy.get("/").await;
    assert_eq!((fresh.text(), fresh.cache_status()), ("x", "proxy-stone; hit; ttl=10"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_policy_gives_the_windows_where_the_origin_is_silent_and_the_origin_may_forbid_them() {
    for (cache_control, expected) in [
        ("max-age=10", "proxy-stone; hit; ttl=-5; detail=stale-while-revalidate"),
        ("max-age=10, must-revalidate", "proxy-stone; fwd=stale; stored"),
        ("max-age=10, proxy-revalidate", "proxy-stone; fwd=stale; stored"),
        ("s-maxage=10", "proxy-stone; fwd=stale; stored"),
        ("max-age=10, stale-while-revalidate=2", "proxy-stone; fwd=stale; stored"),
    ] {
        let origin = Origin::always(Answer::ok("x").field("Cache-Control", cache_control)).await;
        let clock = noon();
        let policy = "cache = { stale_while_revalidate = \"30s\" }";
        let proxy =
            Proxy::of(format!("upstream = \"{}\"\n{policy}", origin.url())).clock(&clock).start().await;
        proxy.get("/").await;
        pass(&clock, 15);
        assert_eq!(proxy.get("/").await.cache_status(), expected, "{cache_control}");
    }
}

/// Without it every stale use is forbidden beside `s-maxage` (RFC 9111 5.2.2.10).
#[tokio::test]
async fn by_a_switch_of_the_route_the_origin_s_windows_hold_beside_s_maxage() {
    let field = "s-maxage=10, stale-while-revalidate=30, stale-if-error=60";
    for (switch, expected) in [
        ("true", "proxy-stone; hit; ttl=-5; detail=stale-while-revalidate"),
        ("false", "proxy-stone; fwd=stale; stored"),
    ] {
        let origin = Origin::always(Answer::ok("x").field("Cache-Control", field)).await;
        let clock = noon();
        let policy = format!("cache = {{ stale_despite_s_maxage = {switch} }}");
        let proxy =
            Proxy::of(format!("upstream = \"{}\"\n{policy}", origin.url())).clock(&clock).start().await;
        proxy.get("/").await;
        pass(&clock, 15);
        assert_eq!(proxy.get("/").await.cache_status(), expected, "{switch}");
    }
}

/// How an origin fails after its first, good reply.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Status(u16),
    Reset,
    Silent,
}

/// Gives one reply with these directives, and then only fails.
async fn failing(how: Failing, cache_control: &'static str) -> Origin {
    Origin::start(async move |call: &mut Call| match how {
        _ if call.nth == 1 => {
            let answer = Answer::ok("good").field("Cache-Control", cache_control);
            call.answer(&answer.field("ETag", "\"v1\"")).await;
        }
        Failing::Status(status) => call.answer(&Answer::new(status).body("bad")).await,
        Failing::Reset => call.reset(),
        Failing::Silent => call.gone().await,
    })
    .await
}

fn impatient(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "upstream = \"api\"\n[upstreams.api]\nurl = \"{url}\"\nretries = 0\nfirst_byte_timeout = \"100ms\""
    )
}

#[tokio::test]
async fn a_stale_reply_stands_in_for_an_origin_that_fails() {
    for (how, said, error) in [
        (Failing::Status(500), "fwd=stale; fwd-status=500; ttl=-15; detail=stale-if-error", None),
        (Failing::Status(503), "fwd=stale; fwd-status=503; ttl=-15; detail=stale-if-error", None),
        (Failing::Reset, "fwd=stale; ttl=-15; detail=stale-if-error", Some("connection_terminated")),
        (Failing::Silent, "fwd=stale; ttl=-15; detail=stale-if-error", Some("http_response_timeout")),
    ] {
        let origin = failing(how, "max-age=10, stale-if-error=60").await;
        let clock = noon();
        let proxy = Proxy::of(impatient(&origin)).clock(&clock).start().await;
        proxy.get("/").await;
        pass(&clock, 25);
        let reply = proxy.get("/").await;
        assert_eq!((reply.status, reply.text(), reply.field("age")), (200, "good", Some("25")), "{how:?}");
        assert_eq!(reply.cache_status(), format!("proxy-stone; {said}"), "{how:?}");
        let told = &proxy.finished(2).await[1];
        assert_eq!((told.cache.as_str(), told.error), ("stale", error), "{how:?}");
    }
}

#[tokio::test]
async fn a_stale_reply_stands_in_for_an_origin_that_refuses() {
    let origin = failing(Failing::Reset, "max-age=10, stale-if-error=60").await;
    let clock = noon();
    let proxy = Proxy::of(impatient(&origin)).clock(&clock).start().await;
    proxy.get("/").await;
    pass(&clock, 25);
    let address = origin.address;
    drop(origin);
    until("the origin is gone", || std::net::TcpStream::connect(address).is_err()).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.status, reply.text()), (200, "good"));
    assert_eq!(reply.cache_status(), "proxy-stone; fwd=stale; ttl=-15; detail=stale-if-error");
}

#[tokio::test]
async fn past_the_window_or_where_it_is_forbidden_the_failure_is_told() {
    for (how, cache_control, later, status) in [
        (Failing::Status(503), "max-age=10, stale-if-error=60", 71, 503),
        (Failing::Reset, "max-age=10, stale-if-error=60", 71, 502),
        (Failing::Silent, "max-age=10, stale-if-error=60", 71, 504),
        (Failing::Reset, "max-age=10, must-revalidate", 25, 504),
        (Failing::Status(503), "s-maxage=10", 25, 503),
        (Failing::Status(404), "max-age=10, stale-if-error=60", 25, 404),
    ] {
        let origin = failing(how, cache_control).await;
        let clock = noon();
        let proxy = Proxy::of(impatient(&origin)).clock(&clock).start().await;
        proxy.get("/").await;
        pass(&clock, later);
        let reply = proxy.get("/").await;
        assert_eq!(reply.status, status, "{how:?} {cache_control}");
        assert_ne!(reply.body, "good", "{how:?} {cache_control}");
    }
}

#[tokio::test]
async fn everyone_who_waits_gets_the_stale_reply_when_the_origin_fails() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.nth == 1 {
            let answer = Answer::ok("good").field("Cache-Control", "max-age=10, stale-if-error=60");
            return call.answer(&answer).await;
        }
        at_origin.pass().await;
        call.answer(&Answer::new(503)).await;
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 25);
    let address = proxy.address;
    let asking: Vec<_> = (0..8)
        .map(|_| tokio::spawn(async move { crate::support::Client::connect(address).await.get("/").await }))
        .collect();
    waiting(&proxy, 8).await;
    gate.open();
    for reply in asking {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, "good"), "{}", reply.cache_status());
    }
    assert_eq!(origin.hits(), 2);
}
