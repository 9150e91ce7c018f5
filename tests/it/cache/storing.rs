//! What is not stored, and why; what is stored for whom.

use crate::support::{Answer, Gate, Origin, Proxy, Reply, noon, pass, until};

/// Asks twice and says what the cache said of the first reply, and how often the origin was asked.
async fn twice(config: &str, request: &[&str], reply: &[(&str, &str)]) -> (String, usize) {
    let answer = reply.iter().fold(Answer::ok("x"), |answer, (name, value)| answer.field(name, *value));
    let origin = Origin::always(answer).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{config}", origin.url())).start().await;
    let first = proxy.ask("GET", "/", request, "").await;
    let second = proxy.ask("GET", "/", request, "").await;
    assert_eq!((first.text(), second.text()), ("x", "x"));
    (first.cache_status().to_owned(), origin.hits())
}

const MAX_AGE: (&str, &str) = ("Cache-Control", "max-age=60");

#[tokio::test]
async fn what_is_not_stored_says_why() {
    for (reply, why) in [
        (&[("Cache-Control", "no-store")][..], "no-store"),
        (&[("Cache-Control", "max-age=60, no-store")], "no-store"),
        (&[("Cache-Control", "private, max-age=60")], "private"),
        (&[MAX_AGE, ("Vary", "*")], "vary-star"),
        (&[MAX_AGE, ("Vary", "Accept, *")], "vary-star"),
        (&[("Cache-Control", "no-cache")], "no-cache"),
        (&[("Cache-Control", "max-age=0")], "stale"),
        (&[], "no-freshness"),
    ] {
        let (said, hits) = twice("", &[], reply).await;
        assert_eq!((said, hits), (format!("proxy-stone; fwd=uri-miss; detail={why}"), 2), "{reply:?}");
    }
}

#[tokio::test]
async fn a_client_s_no_store_stores_nothing_but_may_take_what_is_stored() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    for hits in [1, 2] {
        proxy.ask("GET", "/", &["Cache-Control: no-store"], "").await;
        assert_eq!(origin.hits(), hits);
    }
    proxy.get("/").await;
    let reply = proxy.ask("GET", "/", &["Cache-Control: no-store"], "").await;
    assert!(reply.cache_status().contains("; hit; "), "{}", reply.cache_status());
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_reply_to_credentials_is_shared_only_where_its_origin_says_so() {
    const CREDENTIALS: [&str; 1] = ["Authorization: Bearer secret"];
    for (cache_control, shared) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ] {
        let (said, hits) = twice("", &CREDENTIALS, &[("Cache-Control", cache_control)]).await;
        let expected = if shared { "stored" } else { "detail=authorization" };
        assert_eq!(said, format!("proxy-stone; fwd=uri-miss; {expected}"), "{cache_control}");
        assert_eq!(hits, if shared { 1 } else { 2 }, "{cache_control}");
    }
}

#[tokio::test]
async fn a_policy_s_ttl_is_neither_for_cookies_nor_for_replies_that_set_them() {
    const TTL: &str = "cache = \"60s\"";
    const COVERED: &str = "cache = { ttl = \"60s\", cookies = true }";
    const COOKIE: [&str; 1] = ["Cookie: id=7"];
    let set_cookie = [("Set-Cookie", "id=7")];
    let fresh = [("Set-Cookie", "id=7"), MAX_AGE];
    for (config, request, reply, hits) in [
        (TTL, &COOKIE[..], &[][..], 2),
        (TTL, &[], &set_cookie, 2),
        (TTL, &COOKIE, &[MAX_AGE], 1),
        (TTL, &[], &fresh, 1),
        (COVERED, &COOKIE, &[], 1),
        (COVERED, &[], &set_cookie, 1),
    ] {
        let (said, asked) = twice(config, request, reply).await;
        assert_eq!(asked, hits, "{config} {request:?} {reply:?}: {said}");
    }
}

#[tokio::test]
async fn a_client_with_a_cookie_does_not_get_what_only_a_policy_made_fresh() {
    let origin = Origin::answering(|request| match request.fields.get("cookie") {
        Some(cookie) => Answer::ok(format!("for {cookie}")),
        None => Answer::ok("for all"),
    })
    .await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\ncache = \"60s\"", origin.url())).start().await;
    assert_eq!(proxy.get("/").await.text(), "for all");
    assert_eq!(proxy.ask("GET", "/", &["Cookie: id=7"], "").await.text(), "for id=7");
    assert_eq!(proxy.get("/").await.text(), "for all");
    assert_eq!(origin.hits(), 2);
}

/// An origin that answers in the language asked for.
async fn polyglot() -> Origin {
    Origin::answering(|request| {
        let language = request.fields.get("accept-language").unwrap_or("none").to_owned();
        let answer = Answer::ok(format!("in {language}")).field("Cache-Control", "max-age=60");
        answer.field("Vary", "Accept-Language").field("ETag", format!("\"{language}\""))
    })
    .await
}

#[tokio::test]
async fn variants_are_kept_apart_and_an_absent_field_is_none_of_them() {
    let origin = polyglot().await;
    let proxy = Proxy::caching(&origin).await;
    for (language, body, said, hits) in [
        (&["Accept-Language: de"][..], "in de", "fwd=uri-miss; stored", 1),
        (&["Accept-Language: en"], "in en", "fwd=vary-miss; stored", 2),
        (&[], "in none", "fwd=vary-miss; stored", 3),
        (&["Accept-Language: de"], "in de", "hit", 3),
        (&["accept-language:   de  "], "in de", "hit", 3),
        (&["Accept-Language: en"], "in en", "hit", 3),
        (&[], "in none", "hit", 3),
        (&["Accept-Language:"], "in ", "fwd=vary-miss; stored", 4),
    ] {
        let reply = proxy.ask("GET", "/", language, "").await;
        assert_eq!((reply.text(), origin.hits()), (body, hits), "{language:?}");
        assert!(reply.cache_status().contains(said), "{language:?}: {}", reply.cache_status());
    }
}

#[tokio::test]
async fn a_stale_variant_is_validated_with_the_tags_of_all() {
    let origin = Origin::answering(|request| {
        let language = request.fields.get("accept-language").unwrap_or("none").to_owned();
        let tag = format!("\"{language}\"");
        let answer = match request.fields.get("if-none-match") {
            Some(tags) if tags.contains(&tag) => Answer::new(304),
            _ => Answer::ok(format!("in {language}")),
        };
        answer.field("ETag", tag).field("Cache-Control", "max-age=60").field("Vary", "Accept-Language")
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    for language in ["Accept-Language: de", "Accept-Language: en"] {
        proxy.ask("GET", "/", &[language], "").await;
    }
    pass(&clock, 60);
    let validated = proxy.ask("GET", "/", &["Accept-Language: de"], "").await;
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"de\", \"en\""));
    assert_eq!(validated.cache_status(), "proxy-stone; fwd=stale; fwd-status=304; stored");
    assert_eq!(validated.text(), "in de");
    assert!(proxy.ask("GET", "/", &["Accept-Language: de"], "").await.cache_status().contains("; hit; "));
    assert_eq!(proxy.ask("GET", "/", &["Accept-Language: en"], "").await.text(), "in en");
    assert_eq!(origin.hits(), 4);
}

#[tokio::test]
async fn bytes_beyond_the_declared_length_spoil_nothing_but_their_connection() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello and more")
            .await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for target in ["/a", "/b"] {
        let miss = proxy.get(target).await;
        assert_eq!((miss.status, miss.text(), miss.whole), (200, "hello", true), "{target}");
        proxy.stored(origin.hits() as u64).await;
        assert_eq!(proxy.get(target).await.text(), "hello");
    }
    assert_eq!((origin.hits(), origin.connections()), (2, 2));
}

#[tokio::test]
async fn an_unknown_transfer_coding_is_read_to_the_end_and_neither_sent_on_nor_stored() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: strange\r\n\r\nhello")
            .await;
        call.cut();
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let miss = proxy.get("/").await;
    assert_eq!((miss.status, miss.text()), (200, "hello"));
    let hit = proxy.get("/").await;
    assert_eq!((hit.status, hit.text()), (200, "hello"));
    for reply in [miss, hit] {
        assert!(!reply.fields.all("transfer-encoding").contains(&"strange"), "{:?}", reply.fields);
    }
}

#[tokio::test]
async fn variants_of_one_url_are_bounded() {
    let origin = polyglot().await;
    let config = format!("upstream = \"{}\"\n[store]\nmax_variants = 3", origin.url());
    let clock = noon();
    let proxy = Proxy::of(config).clock(&clock).start().await;
    for number in 0..5 {
        pass(&clock, 1);
        proxy.ask("GET", "/", &[&format!("Accept-Language: l{number}")], "").await;
    }
    assert_eq!(origin.hits(), 5);
    for number in [4, 3, 2] {
        let reply = proxy.ask("GET", "/", &[&format!("Accept-Language: l{number}")], "").await;
        assert!(reply.cache_status().contains("hit"), "{number}: {}", reply.cache_status());
    }
    proxy.ask("GET", "/", &["Accept-Language: l0"], "").await;
    assert_eq!(origin.hits(), 6);
}

#[tokio::test]
async fn a_body_larger_than_the_policy_stores_passes_whole_and_unstored() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        if call.target() == "/known" {
            return call.answer(&Answer::ok("x".repeat(200)).field("Cache-Control", "max-age=60")).await;
        }
        call.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..4 {
            call.chunk("x".repeat(50)).await;
        }
        call.say("0\r\n\r\n").await;
    })
    .await;
    let config = format!("upstream = \"{}\"\ncache = {{ max_body = \"100B\" }}", origin.url());
    let proxy = Proxy::of(config).start().await;
    let known = proxy.get("/known").await;
    assert_eq!(known.cache_status(), "proxy-stone; fwd=uri-miss; detail=too-large");
    assert_eq!((known.body.len(), known.whole), (200, true));
    for hits in [2, 3] {
        let unknown = proxy.get("/unknown").await;
        assert_eq!((unknown.body.len(), unknown.whole, origin.hits()), (200, true, hits));
        until("the fetch ends", || proxy.instance.proxy.flights() == 0).await;
    }
    assert_eq!(proxy.instance.cache.stats().inserts, 0);
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_seen_to_and_never_stored() {
    let length = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello";
    let chunks =
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for text in [length, chunks] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(async move |call: &mut crate::support::Call| {
            call.say(text).await;
            at_origin.pass().await;
            call.cut();
        })
        .await;
        let proxy = Proxy::caching(&origin).await;
        for hits in [1, 2] {
            let mut client = proxy.connect().await;
            client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
            let head = client.head().await;
            gate.open();
            let reply = client.rest_of(head).await;
            assert!(!reply.whole, "it looked whole: {reply:?}");
            until("the fetch ends", || proxy.instance.proxy.flights() == 0).await;
            assert_eq!(origin.hits(), hits);
        }
        assert_eq!(proxy.instance.cache.stats().inserts, 0);
    }
}

#[tokio::test]
async fn a_part_is_never_stored_as_the_whole() {
    let origin = Origin::answering(|request| match request.fields.get("range") {
        Some(_) => Answer::new(206)
            .body("234")
            .field("Content-Range", "bytes 2-4/10")
            .field("Cache-Control", "max-age=60"),
        None => Answer::ok("0123456789").field("Cache-Control", "max-age=60"),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let part = proxy.ask("GET", "/", &["Range: bytes=2-4"], "").await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(origin.last().fields.get("range"), Some("bytes=2-4"));
    let whole = proxy.get("/").await;
    assert_eq!((whole.status, whole.text(), origin.hits()), (200, "0123456789", 2));
}

#[tokio::test]
async fn fields_of_the_connection_are_not_stored_and_all_others_are_as_they_came() {
    let answer = Answer::ok("x")
        .field("Cache-Control", "max-age=60")
        .field("Connection", "X-Hop")
        .field("X-Hop", "1")
        .field("Proxy-Authenticate", "Basic")
        .field("X-Two", "a")
        .field("X-Two", "b , c")
        .field("Set-Cookie", "a=1")
        .field("Set-Cookie", "b=2");
    let origin = Origin::always(answer).await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/").await;
    let hit: Reply = proxy.get("/").await;
    assert_eq!(origin.hits(), 1);
    assert!(!hit.fields.has("x-hop") && !hit.fields.has("proxy-authenticate"), "{:?}", hit.fields);
    assert_eq!(hit.fields.all("x-two"), ["a", "b , c"]);
    assert_eq!(hit.fields.all("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_qualified_private_keeps_its_field_from_the_store_alone() {
    let answer =
        Answer::ok("x").field("Cache-Control", "max-age=60, private=\"X-User\"").field("X-User", "7");
    let origin = Origin::always(answer).await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.get("/").await.field("x-user"), Some("7"));
    assert_eq!(proxy.get("/").await.field("x-user"), None);
    assert_eq!(origin.hits(), 1);
}

/// Stores `/a`, asks with `method`, and says whether `/a` is still stored.
async fn survives(method: &str, target: &str, answer: Answer) -> bool {
    let origin = Origin::answering(move |request| match request.word(0) {
        "GET" => Answer::ok("x").field("Cache-Control", "max-age=60"),
        _ => answer.clone(),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/a").await;
    proxy.ask(method, target, &[], "").await;
    proxy.has("api.test", "/a").await
}

#[tokio::test]
async fn a_successful_unsafe_request_ends_what_is_stored_for_its_target() {
    for (method, status, survived) in [
        ("POST", 200, false),
        ("PUT", 204, false),
        ("DELETE", 200, false),
        ("PATCH", 200, false),
        ("M-SEARCH", 200, false),
        ("POST", 303, false),
        ("POST", 404, true),
        ("PUT", 500, true),
        ("OPTIONS", 200, true),
    ] {
        assert_eq!(survives(method, "/a", Answer::new(status)).await, survived, "{method} {status}");
    }
}

#[tokio::test]
async fn a_successful_unsafe_request_ends_what_its_location_names_on_the_same_origin() {
    for (field, location, survived) in [
        ("Location", "/a", false),
        ("Location", "a", false),
        ("Location", "http://api.test/a", false),
        ("Content-Location", "/a", false),
        ("Location", "http://other.test/a", true),
        ("Location", "https://api.test/a", true),
        ("Location", "/b", true),
    ] {
        let answer = Answer::new(201).field(field, location);
        assert_eq!(survives("POST", "/items", answer).await, survived, "{field}: {location}");
    }
}

#[tokio::test]
async fn a_location_by_the_upstream_s_own_name_ends_what_is_stored_by_the_client_s() {
    let origin = Origin::answering(|request| match request.word(0) {
        "GET" => Answer::ok("x").field("Cache-Control", "max-age=60"),
        _ => {
            let own = request.fields.get("host").unwrap_or_default();
            Answer::new(201).field("Location", format!("http://{own}/a"))
        }
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/a").await;
    assert_eq!(proxy.ask("POST", "/items", &[], "x").await.field("location"), Some("http://api.test/a"));
    assert!(!proxy.has("api.test", "/a").await);
}

#[tokio::test]
async fn an_unsafe_request_by_a_route_without_a_cache_ends_what_another_route_stored() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let config = format!(
        "upstream = \"{}\"\n[[routes]]\nname = \"writes\"\nmatch = {{ methods = [\"PUT\"] }}\ncache = false",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    proxy.get("/a").await;
    assert!(proxy.has("api.test", "/a").await);
    assert_eq!(proxy.ask("PUT", "/a", &[], "new").await.cache_status(), "proxy-stone; fwd=bypass");
    assert!(!proxy.has("api.test", "/a").await);
}

#[tokio::test]
async fn replies_to_post_are_not_stored() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    for hits in [1, 2] {
        let reply = proxy.ask("POST", "/", &[], "question").await;
        assert_eq!((reply.cache_status(), origin.hits()), ("proxy-stone; fwd=method", hits));
    }
    proxy.get("/").await;
    assert_eq!(origin.hits(), 3);
}
