//! When a stored reply answers, when the origin is asked whether it still holds, and what the client is told of it.

use crate::support::{Answer, Origin, Proxy, http_date, noon, numbered, pass};

/// An origin whose reply has an entity tag, and which answers 304 to it.
async fn tagged(cache_control: &'static str) -> Origin {
    Origin::answering(move |request| {
        let answer = match request.fields.get("if-none-match") {
            Some("\"v1\"") => Answer::new(304),
            _ => Answer::ok("the body").field("Content-Type", "text/plain"),
        };
        answer.field("ETag", "\"v1\"").field("Cache-Control", cache_control)
    })
    .await
}

#[tokio::test]
async fn a_miss_is_stored_and_the_next_is_a_hit_with_its_age() {
    let origin = Origin::always(Answer::ok("hello").field("Cache-Control", "max-age=60")).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    let miss = proxy.get("/a").await;
    assert_eq!((miss.status, miss.text()), (200, "hello"));
    assert_eq!(miss.cache_status(), "proxy-stone; fwd=uri-miss; stored");
    assert_eq!(miss.field("age"), None);
    pass(&clock, 10);
    let hit = proxy.get("/a").await;
    assert_eq!((hit.status, hit.text()), (200, "hello"));
    assert_eq!(hit.cache_status(), "proxy-stone; hit; ttl=50");
    assert_eq!(hit.field("age"), Some("10"));
    assert_eq!(hit.field("content-length"), Some("5"));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn http_2_and_http_1_share_what_is_stored() {
    let origin = Origin::always(Answer::ok("hello").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.connect_h2().await.get("/a").await.text(), "hello");
    assert_eq!(proxy.get("/a").await.text(), "hello");
    assert_eq!(proxy.connect_h2().await.get("/a").await.text(), "hello");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn the_age_that_the_origin_s_side_gave_goes_on_counting() {
    let answer = Answer::ok("x").field("Cache-Control", "max-age=60").field("Age", "20");
    let origin = Origin::always(answer).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    assert_eq!(proxy.get("/").await.field("age"), Some("20"));
    pass(&clock, 30);
    let hit = proxy.get("/").await;
    assert_eq!((hit.field("age"), hit.cache_status()), (Some("50"), "proxy-stone; hit; ttl=10"));
    pass(&clock, 10);
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; fwd=stale; stored");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn an_expired_reply_is_validated_and_a_304_makes_it_fresh_again() {
    let origin = tagged("max-age=60").await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/a").await;
    pass(&clock, 61);
    let validated = proxy.get("/a").await;
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"v1\""));
    assert_eq!((validated.status, validated.text()), (200, "the body"));
    assert_eq!(validated.cache_status(), "proxy-stone; fwd=stale; fwd-status=304; stored");
    assert_eq!(validated.field("age"), Some("0"));
    assert_eq!(validated.field("content-type"), Some("text/plain"));
    pass(&clock, 59);
    let hit = proxy.get("/a").await;
    assert_eq!((hit.cache_status(), hit.field("age")), ("proxy-stone; hit; ttl=1", Some("59")));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_304_updates_the_stored_fields() {
    let origin = Origin::answering(|request| match request.fields.has("if-none-match") {
        true => Answer::new(304)
            .field("ETag", "\"v1\"")
            .field("X-Version", "2")
            .field("Cache-Control", "max-age=9"),
        false => Answer::ok("x")
            .field("ETag", "\"v1\"")
            .field("X-Version", "1")
            .field("Cache-Control", "max-age=5"),
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    assert_eq!(proxy.get("/").await.field("x-version"), Some("1"));
    pass(&clock, 6);
    assert_eq!(proxy.get("/").await.field("x-version"), Some("2"));
    pass(&clock, 8);
    let hit = proxy.get("/").await;
    assert_eq!((hit.field("x-version"), hit.cache_status()), (Some("2"), "proxy-stone; hit; ttl=1"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn an_expired_reply_is_replaced_by_a_200() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        let version = call.nth;
        let answer = Answer::ok(format!("version {version}")).field("Cache-Control", "max-age=60");
        call.answer(&answer.field("ETag", format!("\"v{version}\""))).await;
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    assert_eq!(proxy.get("/").await.text(), "version 1");
    pass(&clock, 60);
    let replaced = proxy.get("/").await;
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"v1\""));
    assert_eq!((replaced.text(), replaced.cache_status()), ("version 2", "proxy-stone; fwd=stale; stored"));
    assert_eq!(proxy.get("/").await.text(), "version 2");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_reply_with_only_a_modification_date_is_validated_by_it() {
    let modified = http_date(-1000);
    let expected = modified.clone();
    let origin = Origin::answering(move |request| {
        let answer = match request.fields.get("if-modified-since") {
            Some(since) if since == modified => Answer::new(304),
            _ => Answer::ok("dated"),
        };
        answer.field("Last-Modified", modified.clone()).field("Cache-Control", "max-age=60")
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 60);
    let reply = proxy.get("/").await;
    assert_eq!(origin.last().fields.get("if-modified-since"), Some(expected.as_str()));
    assert_eq!(
        (reply.text(), reply.cache_status()),
        ("dated", "proxy-stone; fwd=stale; fwd-status=304; stored")
    );
}

#[tokio::test]
async fn expires_minus_date_is_a_lifetime() {
    let answer = Answer::ok("x").field("Date", http_date(0)).field("Expires", http_date(30));
    let origin = Origin::always(answer).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 29);
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; hit; ttl=1");
    pass(&clock, 1);
    proxy.get("/").await;
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_tenth_of_the_time_since_the_last_change_stands_in_unless_the_route_says_no() {
    let origin = Origin::always(Answer::ok("x").field("Last-Modified", http_date(-1000))).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; hit; ttl=100");
    let config = format!("upstream = \"{}\"\ncache = {{ heuristics = false }}", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    proxy.get("/").await;
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; fwd=stale; stored");
}

#[tokio::test]
async fn a_policy_s_ttl_is_for_origins_that_say_nothing() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/silent" => Answer::ok("x"),
        "/short" => Answer::ok("x").field("Cache-Control", "max-age=5"),
        "/broken" => Answer::new(500).body("x"),
        _ => Answer::ok("x").field("Cache-Control", "no-store"),
    })
    .await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\ncache = \"100s\"", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    for (target, then) in [
        ("/silent", "proxy-stone; hit; ttl=90"),
        ("/short", "proxy-stone; fwd=stale; stored"),
        ("/broken", "proxy-stone; fwd=uri-miss; detail=status"),
        ("/never", "proxy-stone; fwd=uri-miss; detail=no-store"),
    ] {
        proxy.get(target).await;
        pass(&clock, 10);
        assert_eq!(proxy.get(target).await.cache_status(), then, "{target}");
    }
}

#[tokio::test]
async fn no_cache_of_the_origin_is_stored_and_always_validated() {
    let origin = tagged("no-cache, max-age=60").await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; fwd=uri-miss; stored");
    for _ in 0..2 {
        let reply = proxy.get("/").await;
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=stale; fwd-status=304; stored");
        assert_eq!(reply.text(), "the body");
    }
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn no_cache_of_the_client_asks_the_origin_although_the_reply_is_fresh() {
    let origin = tagged("max-age=60").await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/").await;
    for field in ["Cache-Control: no-cache", "Pragma: no-cache", "Cache-Control: max-age=0"] {
        let reply = proxy.ask("GET", "/", &[field], "").await;
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=request; fwd-status=304; stored", "{field}");
    }
    assert_eq!(origin.hits(), 4);
    let config = format!("upstream = \"{}\"\ncache = {{ honor_request_directives = false }}", origin.url());
    let proxy = Proxy::of(config).start().await;
    proxy.get("/").await;
    let reply = proxy.ask("GET", "/", &["Cache-Control: no-cache"], "").await;
    assert!(reply.cache_status().starts_with("proxy-stone; hit; ttl="), "{}", reply.cache_status());
}

#[tokio::test]
async fn what_a_client_s_no_cache_brings_is_for_everyone() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        let answer = Answer::ok(format!("version {}", call.nth)).field("Cache-Control", "max-age=60");
        call.answer(&answer).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/").await;
    let reply = proxy.ask("GET", "/", &["Cache-Control: no-cache"], "").await;
    assert_eq!((reply.text(), reply.cache_status()), ("version 2", "proxy-stone; fwd=request; stored"));
    assert_eq!(proxy.get("/").await.text(), "version 2");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn max_stale_and_min_fresh_of_the_client_are_heard() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 70);
    let stale = proxy.ask("GET", "/", &["Cache-Control: max-stale=15"], "").await;
    assert_eq!(
        (stale.cache_status(), stale.field("age")),
        ("proxy-stone; hit; ttl=-10; detail=max-stale", Some("70"))
    );
    let fresh = proxy.ask("GET", "/", &["Cache-Control: max-stale=5"], "").await;
    assert_eq!(fresh.cache_status(), "proxy-stone; fwd=stale; stored");
    pass(&clock, 50);
    let fresh = proxy.ask("GET", "/", &["Cache-Control: min-fresh=11"], "").await;
    assert_eq!(fresh.cache_status(), "proxy-stone; fwd=request; stored");
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn only_if_cached_never_asks_the_origin() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    let only_if_cached = ["Cache-Control: only-if-cached"];
    let nothing = proxy.ask("GET", "/", &only_if_cached, "").await;
    assert_eq!(nothing.status, 504);
    assert_eq!(nothing.field("content-type"), Some("application/problem+json"));
    assert!(!nothing.cache_status().contains("fwd="), "{}", nothing.cache_status());
    assert_eq!(origin.hits(), 0);
    proxy.get("/").await;
    assert_eq!(proxy.ask("GET", "/", &only_if_cached, "").await.text(), "x");
    pass(&clock, 60);
    assert_eq!(proxy.ask("GET", "/", &only_if_cached, "").await.status, 504);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_get_never_from_a_head() {
    let origin = Origin::always(Answer::ok("hello").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    let head = proxy.ask("HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some("5"));
    assert_eq!(origin.last().word(0), "HEAD");
    assert_eq!(proxy.get("/").await.text(), "hello");
    assert_eq!(origin.hits(), 2);
    let head = proxy.ask("HEAD", "/", &[], "").await;
    assert!(head.cache_status().contains("; hit; "), "{}", head.cache_status());
    assert_eq!((head.field("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_chunked_reply_is_stored_and_served_with_its_length() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for part in ["one ", "two ", "three"] {
            call.chunk(part).await;
        }
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let miss = proxy.get("/").await;
    assert_eq!((miss.text(), miss.whole), ("one two three", true));
    proxy.stored(1).await;
    let hit = proxy.get("/").await;
    assert_eq!((hit.text(), hit.field("content-length")), ("one two three", Some("13")));
    assert_eq!(hit.fields.all("transfer-encoding").len(), 0);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn trailers_reach_who_waits_for_them_and_are_kept_apart_from_the_head() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        call.chunk("counted").await;
        call.say("0\r\nx-sum: 7\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let miss = proxy.connect_h2().await.get("/").await;
    assert_eq!((miss.text(), miss.trailers.get("x-sum")), ("counted", Some("7")));
    proxy.stored(1).await;
    let hit = proxy.connect_h2().await.get("/").await;
    assert_eq!((hit.text(), hit.field("x-sum")), ("counted", None));
    assert_eq!(origin.hits(), 1);
    let page =
        proxy.instance.cache.list(proxy_stone::cache::store::ListQuery { limit: 9, ..Default::default() });
    let kept = page.await.entries[0].entry.trailers.clone().expect("kept");
    assert_eq!(kept["x-sum"], "7");
}

#[tokio::test]
async fn redirects_errors_and_empty_replies_are_stored_where_their_origin_says_so() {
    for status in [204, 301, 302, 404, 410, 503, 299, 499] {
        let origin = Origin::always(Answer::new(status).field("Cache-Control", "max-age=60")).await;
        let proxy = Proxy::caching(&origin).await;
        proxy.get("/").await;
        let hit = proxy.get("/").await;
        assert_eq!(hit.status, status);
        assert!(hit.cache_status().contains("; hit; "), "{status}: {}", hit.cache_status());
        assert_eq!(origin.hits(), 1, "{status}");
    }
}

#[tokio::test]
async fn mode_off_neither_stores_nor_reuses() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let url = origin.url();
    let proxy = Proxy::of(format!("upstream = \"{url}\"\nmode = \"off\"")).start().await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; fwd=bypass");
    }
    assert_eq!(origin.hits(), 2);
    let config =
        format!("upstream = \"{url}\"\n[[routes]]\nmatch = {{ path = \"/live/*\" }}\nmode = \"off\"");
    let proxy = Proxy::of(config).start().await;
    for (target, then) in [("/live/a", "proxy-stone; fwd=bypass"), ("/a", "proxy-stone; hit; ttl=60")] {
        proxy.get(target).await;
        assert_eq!(proxy.get(target).await.cache_status(), then, "{target}");
    }
}

#[tokio::test]
async fn a_reload_that_turns_the_cache_off_and_on_keeps_what_is_warm() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let url = origin.url();
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    proxy.reload(&format!("upstream = \"{url}\"\nmode = \"off\"")).unwrap();
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; fwd=bypass");
    proxy.reload(&format!("upstream = \"{url}\"")).unwrap();
    assert_eq!(proxy.get("/").await.cache_status(), "proxy-stone; hit; ttl=60");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn ignored_parameters_and_fields_of_the_key_make_requests_the_same_or_not() {
    let origin = Origin::answering(|request| {
        let tenant = request.fields.get("x-tenant").unwrap_or("nobody").to_owned();
        Answer::ok(format!("{tenant} {}", request.word(1))).field("Cache-Control", "max-age=60")
    })
    .await;
    let policy = "cache = { key = { ignore_query = [\"utm_*\", \"session\"], headers = [\"x-tenant\"] } }";
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{policy}", origin.url())).start().await;
    for (target, tenant, body, hits) in [
        ("/a?q=1&utm_source=mail", "X-Tenant: one", "one /a?q=1&utm_source=mail", 1),
        ("/a?utm_medium=x&q=1", "X-Tenant: one", "one /a?q=1&utm_source=mail", 1),
        ("/a?q=1&session=9", "X-Tenant: one", "one /a?q=1&utm_source=mail", 1),
        ("/a?q=2", "X-Tenant: one", "one /a?q=2", 2),
        ("/a?q=1", "X-Tenant: two", "two /a?q=1", 3),
        ("/a?q=1", "X-Other: two", "nobody /a?q=1", 4),
        ("/a?q=1", "X-Tenant: two", "two /a?q=1", 4),
    ] {
        let reply = proxy.ask("GET", target, &[tenant], "").await;
        assert_eq!((reply.text(), origin.hits()), (body, hits), "{target} of {tenant}");
    }
}

#[tokio::test]
async fn what_one_host_or_upstream_said_never_answers_for_another() {
    let said = |name: &'static str| {
        Origin::answering(move |request| {
            let host = request.fields.get("x-forwarded-host").unwrap_or_default().to_owned();
            Answer::ok(format!("{name} for {host}")).field("Cache-Control", "max-age=60")
        })
    };
    let (blue, green) = (said("blue").await, said("green").await);
    let config = format!(
        "upstream = \"green\"\n[upstreams.green]\nurl = \"{}\"\n[upstreams.blue]\nurl = \"{}\"\n\
         [[routes]]\nname = \"blue\"\nupstream = \"blue\"\nmatch = {{ headers = {{ x-env = \"blue\" }} }}\n",
        green.url(),
        blue.url()
    );
    let proxy = Proxy::of(config).start().await;
    for _ in 0..2 {
        for (host, env, body) in [
            ("Host: one.test", "X-Env: blue", "blue for one.test"),
            ("Host: one.test", "X-Env: any", "green for one.test"),
            ("Host: two.test", "X-Env: any", "green for two.test"),
            ("Host: two.test:8080", "X-Env: any", "green for two.test:8080"),
            ("Host: TWO.test", "X-Env: any", "green for two.test"),
            ("Host: two.test:80", "X-Env: any", "green for two.test"),
        ] {
            let reply = proxy.ask("GET", "/same", &[host, env], "").await;
            assert_eq!(reply.text(), body, "{host} {env}");
        }
    }
    assert_eq!((blue.hits(), green.hits()), (1, 3));
}

#[tokio::test]
async fn bodies_of_every_size_come_back_from_the_store_byte_by_byte() {
    let origin = Origin::answering(|request| {
        let length: usize = request.word(1)[1..].parse().unwrap();
        Answer::ok(numbered(length)).field("Cache-Control", "max-age=60")
    })
    .await;
    let url = origin.url();
    let ram = Proxy::of(format!("upstream = \"{url}\"")).start().await;
    let disk = Proxy::of(format!("upstream = \"{url}\"")).on_disk().start().await;
    let sizes = [0, 1, 4096, 4097, 65_536, 1_000_000];
    for proxy in [&ram, &disk] {
        let before = origin.hits();
        for (at, size) in sizes.into_iter().enumerate() {
            let target = format!("/{size}");
            assert!(proxy.get(&target).await.body == numbered(size), "{size} missed");
            proxy.stored(at as u64 + 1).await;
            let hit = proxy.get(&target).await;
            assert!(hit.body == numbered(size) && hit.whole, "{size} hit");
            assert_eq!(hit.field("content-length"), Some(size.to_string().as_str()));
        }
        assert_eq!(origin.hits() - before, sizes.len());
    }
}
