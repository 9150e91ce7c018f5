//! Lifetimes that a route gives, lifts and cuts, and replies that are fetched anew before they have expired.

use proxy_stone::cache::store::ListQuery;

use crate::support::{Answer, Call, Gate, Origin, Proxy, noon, pass};

fn config(origin: &Origin, policy: &str) -> String {
    format!("upstream = \"{}\"\ncache = \"p\"\n[policies.p]\n{policy}", origin.url())
}

/// Answers with the status that the path names, and with the directives of the request's `X-Say`.
async fn obedient() -> Origin {
    Origin::answering(|request| {
        let status = request.word(1).trim_start_matches('/').split('?').next().unwrap_or_default();
        let answer = Answer::new(status.parse().unwrap_or(200)).body("said");
        match request.fields.get("x-say") {
            Some(said) => answer.field("Cache-Control", said),
            None => answer,
        }
    })
    .await
}

#[tokio::test]
async fn negative_replies_are_kept_for_as_long_as_their_status_says() {
    let origin = obedient().await;
    let clock = noon();
    let policy = "ttl = { default = '60s', 404 = '10s', 5xx = '1s' }";
    let proxy = Proxy::of(config(&origin, policy)).clock(&clock).start().await;
    for (path, ttl) in [("/200", 60), ("/404", 10), ("/410", 60), ("/503", 1)] {
        proxy.get(path).await;
        let hit = proxy.get(path).await;
        assert_eq!(hit.cache_status(), format!("proxy-stone; hit; ttl={ttl}"), "{path}");
        assert_eq!(hit.status, path[1..].parse::<u16>().unwrap());
    }
    assert_eq!(origin.hits(), 4);
    pass(&clock, 10);
    for (path, hits) in [("/404", 5), ("/503", 6), ("/200", 6)] {
        proxy.get(path).await;
        assert_eq!(origin.hits(), hits, "{path}");
    }
    // The origin's own word comes before.
    proxy.ask("GET", "/404?own", &["X-Say: max-age=30"], "").await;
    assert_eq!(proxy.get("/404?own").await.cache_status(), "proxy-stone; hit; ttl=30");
}

#[tokio::test]
async fn errors_are_not_kept_unless_the_route_names_them() {
    let origin = obedient().await;
    let proxy = Proxy::of(config(&origin, "ttl = { default = '60s', 404 = '10s' }")).start().await;
    proxy.get("/503").await;
    assert!(proxy.get("/503").await.cache_status().contains("fwd=uri-miss"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_lifetime_beyond_the_origin_s_is_never_sent_without_saying_so() {
    let origin = obedient().await;
    let clock = noon();
    let policy = "override_ttl = { 200 = '60s' }\nmin_ttl = '20s'\nmax_ttl = '2m'";
    let proxy = Proxy::of(config(&origin, policy)).clock(&clock).start().await;
    let say = async |path: &str, directives: &str| {
        let field = format!("X-Say: {directives}");
        proxy.ask("GET", path, &[&field], "").await;
    };
    say("/200", "max-age=5").await;
    say("/404", "max-age=5").await;
    say("/410", "max-age=500").await;
    pass(&clock, 15);
    let hits = [
        ("/200", "proxy-stone; hit; ttl=45; detail=override-ttl", "max-age=5"),
        ("/404", "proxy-stone; hit; ttl=5; detail=min-ttl", "max-age=5"),
        // Shortened, so that there is nothing to announce.
        ("/410", "proxy-stone; hit; ttl=105", "max-age=500"),
    ];
    for (path, status, directives) in hits {
        let hit = proxy.get(path).await;
        assert_eq!(hit.cache_status(), status, "{path}");
        // What clients are told is the origin's word, and the true age.
        assert_eq!(hit.field("cache-control"), Some(directives), "{path}");
        assert_eq!(hit.field("age"), Some("15"), "{path}");
    }
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn an_override_never_beats_no_store_private_or_no_cache() {
    let origin = obedient().await;
    let proxy = Proxy::of(config(&origin, "override_ttl = '1h'\ncookies = true")).start().await;
    for directives in ["no-store", "private", "no-cache", "max-age=5, no-store"] {
        let (path, field) = (format!("/200?{}", directives.len()), format!("X-Say: {directives}"));
        let before = origin.hits();
        for _ in 0..2 {
            proxy.ask("GET", &path, &[&field], "").await;
        }
        assert_eq!(origin.hits() - before, 2, "{directives}");
    }
}

#[tokio::test]
async fn what_a_route_keeps_longer_is_nothing_to_requests_with_cookies() {
    let origin = obedient().await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin, "override_ttl = '1h'")).clock(&clock).start().await;
    proxy.ask("GET", "/200", &["X-Say: max-age=5"], "").await;
    let fields = ["X-Say: max-age=5", "Cookie: a=b"];
    let reply = proxy.ask("GET", "/200", &fields, "").await;
    assert_eq!(reply.cache_status(), "proxy-stone; fwd=request; stored");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_batch_that_came_together_does_not_expire_together() {
    let origin = obedient().await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin, "ttl = '1000s'\njitter = '50%'")).clock(&clock).start().await;
    let mut client = proxy.connect().await;
    for n in 0..40 {
        client.get(&format!("/200?{n}")).await;
    }
    let mut left = Vec::new();
    for n in 0..40 {
        let status = client.get(&format!("/200?{n}")).await.cache_status().to_owned();
        let ttl = status.strip_prefix("proxy-stone; hit; ttl=").expect("a hit").parse::<u64>().unwrap();
        assert!((501..=1000).contains(&ttl), "{ttl}");
        left.push(ttl);
    }
    left.sort_unstable();
    assert!(left[39] - left[0] > 250, "they are spread: {left:?}");
    left.dedup();
    assert!(left.len() > 20, "{left:?}");
}

#[tokio::test]
async fn keep_is_a_policy_s_own() {
    let origin =
        Origin::answering(|_| Answer::ok("a").field("ETag", "\"a\"").field("Cache-Control", "max-age=10"))
            .await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin, "keep = '5s'")).clock(&clock).start().await;
    proxy.get("/").await;
    proxy.stored(1).await;
    let listed = proxy.instance.cache.list(ListQuery { limit: 9, ..ListQuery::default() }).await;
    let entry = &listed.entries[0].entry;
    assert_eq!(entry.keep_until.since(entry.head.fresh_until()).as_secs(), 5);
}

#[tokio::test]
async fn a_hot_reply_is_fetched_anew_before_it_has_expired_and_a_cold_one_is_not() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let version = call.nth;
        waiting.pass().await;
        call.answer(&Answer::ok(format!("version {version}")).field("Cache-Control", "max-age=100")).await;
    })
    .await;
    let clock = noon();
    let proxy = Proxy::of(config(&origin, "prefetch = '10%'\nprefetch_hits = 3")).clock(&clock).start().await;
    gate.open_for(2);
    proxy.get("/hot").await;
    proxy.get("/cold").await;
    for _ in 0..5 {
        proxy.get("/hot").await;
    }
    pass(&clock, 89);
    proxy.get("/hot").await;
    assert_eq!(origin.hits(), 2, "not yet");
    pass(&clock, 2);
    // The origin does not answer yet: clients go on being answered, and it is asked once.
    for _ in 0..20 {
        assert_eq!(proxy.get("/hot").await.cache_status(), "proxy-stone; hit; ttl=9");
    }
    proxy.get("/cold").await;
    origin.hit(3).await;
    assert_eq!(origin.last().word(1), "/hot");
    gate.open();
    proxy.stored(3).await;
    pass(&clock, 20);
    let hot = proxy.get("/hot").await;
    assert_eq!((hot.text(), hot.cache_status()), ("version 3", "proxy-stone; hit; ttl=80"));
    assert_eq!(origin.hits(), 3, "the cold one has expired without being asked for");
}
