//! What replies say of the way that they came: `Cache-Status` (RFC 9211), `Via`, `Date`, `Warning` and `Max-Forwards`.

use proxy_stone::cache::key::Digest;

use super::{Table, case, tables};
use crate::support::{Answer, Origin, Proxy, noon};

tables!(cache_status, fields, max_forwards);

const FRESH: &str = "Cache-Control: max-age=60";

/// RFC 9211 2: every reply has our member, behind those of caches nearer to the origin.
fn cache_status() -> Table {
    const RULE: &str = "RFC 9211 2";
    let said = "cache-status";
    Table::of(vec![
        case("RFC 9211 2.1", "a hit, and how long it is fresh (2.4)")
            .says(&[FRESH])
            .get()
            .field(said, "proxy-stone; fwd=uri-miss; stored")
            .pass(20)
            .get()
            .hits()
            .field(said, "proxy-stone; hit; ttl=40"),
        case(RULE, "caches before us come first")
            .says(&[FRESH, "Cache-Status: inner; hit; ttl=9"])
            .get()
            .fields(said, &["inner; hit; ttl=9", "proxy-stone; fwd=uri-miss; stored"])
            .get()
            .hits()
            .fields(said, &["inner; hit; ttl=9", "proxy-stone; hit; ttl=60"]),
        case("RFC 9211 2.2", "a method").says(&[]).asks("PUT", &[]).field(said, "proxy-stone; fwd=method"),
        case("RFC 9211 2.2", "what the request forbids")
            .says(&[FRESH])
            .get()
            .misses()
            .pass(1)
            .get_with(&["Cache-Control: max-age=0"])
            .field(said, "proxy-stone; fwd=request; stored"),
        case("RFC 9211 2.2", "what is stale")
            .says(&["Cache-Control: max-age=1"])
            .get()
            .pass(2)
            .get()
            .field(said, "proxy-stone; fwd=stale; stored"),
        case("RFC 9211 2.3", "what the origin said, where it is not what is sent")
            .says(&["Cache-Control: max-age=1", "ETag: \"a\""])
            .get()
            .pass(2)
            .get()
            .field(said, "proxy-stone; fwd=stale; fwd-status=304; stored"),
        case("RFC 9211 2.8", "why it is not stored")
            .says(&["Cache-Control: no-store"])
            .get()
            .field(said, "proxy-stone; fwd=uri-miss; detail=no-store"),
        case(RULE, "a failure")
            .says_nothing()
            .get()
            .status(502)
            .field(said, "proxy-stone; fwd=uri-miss; detail=connection_terminated"),
        case(RULE, "what never went forward")
            .get_with(&["Cache-Control: only-if-cached"])
            .status(504)
            .field(said, "proxy-stone; detail=only-if-cached"),
        case(RULE, "a 304 and HEAD as well")
            .says(&[FRESH, "ETag: \"a\""])
            .get()
            .get_with(&["If-None-Match: \"a\""])
            .status(304)
            .field(said, "proxy-stone; hit; ttl=60")
            .asks("HEAD", &[])
            .field(said, "proxy-stone; hit; ttl=60"),
    ])
}

/// RFC 9211 2.7: the key, where the route says so: the digest that `cache show` takes.
#[tokio::test]
async fn the_key_is_told_where_the_route_says_so() {
    let origin = Origin::always(Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    let config = format!("upstream = \"{}\"\ncache = {{ show_key = true }}", origin.url());
    let proxy = Proxy::of(config).clock(&noon()).start().await;
    let miss = proxy.get("/a").await.cache_status().to_owned();
    let key =
        miss.strip_prefix("proxy-stone; fwd=uri-miss; stored; key=\"").expect(&miss).trim_end_matches('"');
    assert!(Digest::from_hex(key).is_some(), "{miss}");
    assert_eq!(proxy.get("/a").await.cache_status(), format!("proxy-stone; hit; ttl=60; key=\"{key}\""));
    assert!(!proxy.get("/b").await.cache_status().contains(key));
    assert_eq!(proxy.ask("PUT", "/a", &[], "").await.cache_status(), "proxy-stone; fwd=method");
}

/// RFC 9110 7.6.3, 6.6.1, RFC 9111 5.5.
fn fields() -> Table {
    let old = "HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\nx";
    Table::of(vec![
        case("RFC 9110 7.6.3", "the version that the reply came by, when it came and from the store")
            .says_and_closes(old)
            .get()
            .misses()
            .field("via", "1.0 proxy-stone")
            .get()
            .hits()
            .field("via", "1.0 proxy-stone"),
        case("RFC 9110 7.6.3", "behind those before")
            .says(&[FRESH, "Via: 1.0 inner"])
            .get()
            .fields("via", &["1.0 inner", "1.1 proxy-stone"])
            .get()
            .hits()
            .fields("via", &["1.0 inner", "1.1 proxy-stone"]),
        case("RFC 9110 7.6.3", "once, however often it is validated")
            .says(&["Cache-Control: max-age=1", "ETag: \"a\""])
            .get()
            .pass(5)
            .get()
            .validates()
            .field("via", "1.1 proxy-stone")
            .pass(5)
            .get()
            .validates()
            .field("via", "1.1 proxy-stone"),
        case("RFC 9110 6.6.1", "a Date is not touched")
            .says(&[FRESH, "Date: {-9}"])
            .get()
            .field("date", "{-9}")
            .pass(1)
            .get()
            .hits()
            .field("date", "{-10}"),
        case("RFC 9110 6.6.1", "not even one that is none")
            .says(&[FRESH, "Date: odd"])
            .get()
            .field("date", "odd")
            .get()
            .hits()
            .field("date", "odd"),
        case("RFC 9110 6.6.1", "a reply without one gets that of its arrival")
            .says(&[FRESH])
            .get()
            .field("date", "{0}")
            .pass(5)
            .get()
            .hits()
            .field("date", "{-5}"),
        case("RFC 9111 5.5", "no warning of ours on what is stale")
            .says(&["Cache-Control: max-age=1, stale-while-revalidate=60"])
            .get()
            .pass(5)
            .get()
            .lacks("warning"),
        case("RFC 9111 5.5", "those of others are fields like any other")
            .says(&[FRESH, "Warning: 110 inner \"stale\""])
            .get()
            .field("warning", "110 inner \"stale\"")
            .get()
            .hits()
            .field("warning", "110 inner \"stale\""),
    ])
}

/// RFC 9110 7.6.2.
fn max_forwards() -> Table {
    const RULE: &str = "RFC 9110 7.6.2";
    Table::of(vec![
        case(RULE, "one hop less")
            .says(&[])
            .asks("OPTIONS", &["Max-Forwards: 5"])
            .misses()
            .forwards("max-forwards", "4"),
        case(RULE, "TRACE as well")
            .says(&[])
            .asks("TRACE", &["Max-Forwards: 1"])
            .misses()
            .forwards("max-forwards", "0"),
        case(RULE, "none left: we are the final recipient")
            .asks("OPTIONS", &["Max-Forwards: 0"])
            .hits()
            .status(200)
            .body(""),
        case("RFC 9110 9.3.8", "which says what came, but no secrets")
            .asks("TRACE", &["Max-Forwards: 0", "Cookie: secret", "X-Own: 1"])
            .hits()
            .status(200)
            .field("content-type", "message/http"),
        case(RULE, "other methods do not count hops")
            .says(&[])
            .get_with(&["Max-Forwards: 0"])
            .misses()
            .forwards("max-forwards", "0"),
    ])
}
