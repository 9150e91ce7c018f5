//! What makes two requests the same, where a route says so.

use crate::support::{Answer, Origin, Proxy};

/// An origin that says which target, host and cookies it was asked with.
async fn echo() -> Origin {
    Origin::answering(|request| {
        let cookie = request.fields.get("cookie").unwrap_or("-").to_owned();
        Answer::ok(format!("{} {cookie}", request.word(1)))
    })
    .await
}

async fn keyed(origin: &Origin, cache: &str) -> Proxy {
    Proxy::of(format!("upstream = \"{}\"\ncache = {{ ttl = \"60s\", {cache} }}", origin.url())).start().await
}

/// Asks for each target and holds the reply against that of the request which it shall share a key with.
async fn check(cache: &str, table: &[(&str, &str, usize)]) {
    let origin = echo().await;
    let proxy = keyed(&origin, cache).await;
    for (target, body, hits) in table {
        let reply = proxy.get(target).await;
        assert_eq!((reply.text(), origin.hits()), (&*format!("{body} -"), *hits), "{cache}: {target}");
    }
}

#[tokio::test]
async fn only_picked_parameters_count_and_all_reach_the_origin() {
    let table = [
        ("/a?id=1&x=1", "/a?id=1&x=1", 1),
        ("/a?x=2&id=1", "/a?id=1&x=1", 1),
        ("/a?id=2", "/a?id=2", 2),
        ("/a?id=1&page_size=5", "/a?id=1&page_size=5", 3),
        // What some origin takes for `id` or for two parameters is not left out.
        ("/a?id=1&%69d=3", "/a?id=1&%69d=3", 4),
        ("/a?id=1&x=1;id=3", "/a?id=1&x=1;id=3", 5),
        ("/a?x", "/a?x", 6),
        ("/a", "/a?x", 6),
    ];
    check("key = { query = [\"id\", \"page_*\"] }", &table).await;
}

#[tokio::test]
async fn order_case_and_empty_values_count_as_the_route_says() {
    let sorted = [
        ("/a?b=1&a=2", "/a?b=1&a=2", 1),
        ("/a?a=2&b=1", "/a?b=1&a=2", 1),
        ("/a?a=1&a=2", "/a?a=1&a=2", 2),
        ("/a?a=2&a=1", "/a?a=2&a=1", 3),
    ];
    check("key = { sort_query = true }", &sorted).await;
    let names = [("/a?B=X", "/a?B=X", 1), ("/a?b=X", "/a?B=X", 1), ("/a?b=x", "/a?b=x", 2)];
    check("key = { query_case = \"names\" }", &names).await;
    check("key = { query_case = \"all\" }", &[("/a?B=X", "/a?B=X", 1), ("/a?b=x", "/a?B=X", 1)]).await;
    let empty = [("/a?", "/a?", 1), ("/a", "/a?", 1), ("/a?x=&y", "/a?", 1), ("/a?x=1", "/a?x=1", 2)];
    check("key = { ignore_empty_query = true }", &empty).await;
    check("", &[("/a?", "/a?", 1), ("/a", "/a", 2), ("/a?x=", "/a?x=", 3)]).await;
}

#[tokio::test]
async fn a_cookie_of_the_key_makes_a_difference_and_others_stay_private() {
    let origin = echo().await;
    let proxy = keyed(&origin, "key = { cookies = [\"lang\"] }").await;
    for (cookie, body, hits) in [
        ("Cookie: lang=de", "/a lang=de", 1),
        ("Cookie: lang=de", "/a lang=de", 1),
        ("Cookie: lang=fr", "/a lang=fr", 2),
        ("X-None: 1", "/a -", 3),
        ("X-None: 2", "/a -", 3),
        // What only a TTL made fresh is not for requests that have other cookies too.
        ("Cookie: lang=de; id=7", "/a lang=de; id=7", 4),
        ("Cookie: lang=de; id=8", "/a lang=de; id=8", 5),
        ("Cookie: lang=de", "/a lang=de", 5),
    ] {
        let reply = proxy.ask("GET", "/a", &[cookie], "").await;
        assert_eq!((reply.text(), origin.hits()), (body, hits), "{cookie}");
    }
    let covered = keyed(&origin, "cookies = true, key = { cookies = [\"lang\"] }").await;
    for (cookie, body) in [("lang=de; id=7", "/b lang=de; id=7"), ("id=8; lang=de", "/b lang=de; id=7")] {
        let reply = covered.ask("GET", "/b", &[&format!("Cookie: {cookie}")], "").await;
        assert_eq!(reply.text(), body, "{cookie}");
    }
}

#[tokio::test]
async fn hosts_share_replies_where_they_make_no_difference() {
    let origin = echo().await;
    let proxy = keyed(&origin, "key = { host = false }").await;
    for host in ["Host: a.test", "Host: b.test:81"] {
        assert_eq!(proxy.ask("GET", "/a", &[host], "").await.text(), "/a -");
    }
    assert_eq!(origin.hits(), 1);
    // A write through one name ends what is stored for all.
    assert_eq!(proxy.ask("PUT", "/a", &["Host: c.test"], "x").await.status, 200);
    proxy.ask("GET", "/a", &["Host: a.test"], "").await;
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_key_with_the_method_keeps_head_from_what_get_stored() {
    let origin = echo().await;
    let proxy = keyed(&origin, "key = { method = true }").await;
    for (method, hits) in [("GET", 1), ("GET", 1), ("HEAD", 2), ("HEAD", 3), ("GET", 3)] {
        assert_eq!(proxy.ask(method, "/a", &[], "").await.status, 200);
        assert_eq!(origin.hits(), hits, "{method}");
    }
}

#[tokio::test]
async fn a_write_ends_what_is_stored_without_what_the_key_leaves_out() {
    let origin = echo().await;
    let proxy = keyed(&origin, "key = { query = [\"id\"], sort_query = true }").await;
    proxy.get("/a?id=1&x=1").await;
    assert_eq!(proxy.ask("DELETE", "/a?y=2&id=1", &[], "").await.status, 200);
    proxy.get("/a?id=1").await;
    assert_eq!(origin.hits(), 3);
}
