//! Ranges and conditions of the client, answered from what is stored.

use crate::support::{Answer, Origin, Proxy, http_date, noon, numbered, pass};

async fn stored(body: impl Into<bytes::Bytes>) -> (Origin, Proxy) {
    let answer = Answer::ok(body)
        .field("Cache-Control", "max-age=60")
        .field("Content-Type", "text/plain")
        .field("ETag", "\"v1\"")
        .field("Last-Modified", http_date(-100));
    let origin = Origin::always(answer).await;
    let config = format!("upstream = \"{}\"", origin.url());
    let proxy = Proxy::of(config).clock(&noon()).on_disk().start().await;
    proxy.get("/").await;
    proxy.stored(1).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_range_is_cut_from_a_stored_reply() {
    let (origin, proxy) = stored("0123456789").await;
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=0-0", 206, "0", Some("bytes 0-0/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=-0", 416, "", Some("bytes */10")),
        ("bytes=4-2", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=x", 200, "0123456789", None),
    ] {
        let reply = proxy.ask("GET", "/", &[&format!("Range: {range}")], "").await;
        assert_eq!((reply.status, reply.text()), (status, body), "{range}");
        assert_eq!(reply.field("content-range"), content_range, "{range}");
        assert_eq!(reply.field("content-length"), Some(body.len().to_string().as_str()), "{range}");
        assert_eq!(reply.cache_status(), "proxy-stone; hit; ttl=60", "{range}");
    }
    let several = proxy.ask("GET", "/", &["Range: bytes=0-1,5-6"], "").await;
    let kind = several.field("content-type").unwrap_or_default().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    let part = |range: &str, body: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{body}\r\n"
        )
    };
    let parts = format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("5-6", "56"));
    assert_eq!((several.status, several.text()), (206, parts.as_str()));
    assert_eq!(several.field("content-length"), Some(parts.len().to_string().as_str()));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_range_is_for_get_alone() {
    let (origin, proxy) = stored("0123456789").await;
    let head = proxy.ask("HEAD", "/", &["Range: bytes=2-4"], "").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn if_range_gives_the_part_only_of_the_very_same_reply() {
    let (origin, proxy) = stored("0123456789").await;
    let (same, other) = (http_date(-100), http_date(-99));
    for (validator, part) in [
        ("\"v1\"", true),
        ("W/\"v1\"", false),
        ("\"v2\"", false),
        (same.as_str(), true),
        (other.as_str(), false),
    ] {
        let fields = ["Range: bytes=2-4", &format!("If-Range: {validator}")];
        let reply = proxy.ask("GET", "/", &fields, "").await;
        let expected = if part { (206, "234") } else { (200, "0123456789") };
        assert_eq!((reply.status, reply.text()), expected, "{validator}");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn ranges_of_bodies_in_files_are_the_right_bytes() {
    for length in [6_000, 1_500_007] {
        let body = numbered(length);
        let (origin, proxy) = stored(body.clone()).await;
        let middle = length / 2;
        for (first, last) in
            [(0, 0), (1, 4096), (middle, middle + 999), (4_095, length - 1), (length - 1, length - 1)]
        {
            let reply = proxy.ask("GET", "/", &[&format!("Range: bytes={first}-{last}")], "").await;
            assert_eq!(reply.status, 206);
            assert_eq!(reply.field("content-range"), Some(format!("bytes {first}-{last}/{length}").as_str()));
            assert!(reply.whole && reply.body == body.slice(first..=last), "{first}-{last} of {length}");
        }
        let suffix = proxy.ask("GET", "/", &["Range: bytes=-5000"], "").await;
        assert!(suffix.body == body.slice(length - 5000..), "suffix of {length}");
        let beyond = proxy.ask("GET", "/", &[&format!("Range: bytes={length}-")], "").await;
        assert_eq!(beyond.status, 416);
        let whole = proxy.get("/").await;
        assert!(whole.whole && whole.body == body, "whole of {length}");
        assert_eq!(origin.hits(), 1, "{length}");
    }
}

#[tokio::test]
async fn a_client_that_has_the_stored_reply_gets_a_304_without_the_origin() {
    let (origin, proxy) = stored("0123456789").await;
    let (same, earlier) = (http_date(-100), http_date(-101));
    for (field, value, has_it) in [
        ("If-None-Match", "\"v1\"", true),
        ("If-None-Match", "W/\"v1\"", true),
        ("If-None-Match", "\"v0\", \"v1\"", true),
        ("If-None-Match", "*", true),
        ("If-None-Match", "\"v0\"", false),
        ("If-Modified-Since", same.as_str(), true),
        ("If-Modified-Since", earlier.as_str(), false),
    ] {
        let reply = proxy.ask("GET", "/", &[&format!("{field}: {value}")], "").await;
        assert_eq!(reply.status, if has_it { 304 } else { 200 }, "{field}: {value}");
        assert_eq!(reply.field("etag"), Some("\"v1\""));
        assert_eq!(reply.field("age"), Some("0"));
        if has_it {
            assert!(!reply.fields.has("content-type"), "{:?}", reply.fields);
            assert_eq!(reply.field("cache-control"), Some("max-age=60"));
        }
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn if_none_match_comes_before_if_modified_since() {
    let (origin, proxy) = stored("0123456789").await;
    let later = format!("If-Modified-Since: {}", http_date(0));
    let reply = proxy.ask("GET", "/", &["If-None-Match: \"v0\"", &later], "").await;
    assert_eq!((reply.status, origin.hits()), (200, 1));
}

#[tokio::test]
async fn a_condition_on_a_miss_is_the_origin_s_to_judge_and_the_next_one_fills_the_store() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.get("if-none-match") {
            Some("\"v1\"") => Answer::new(304),
            _ => Answer::ok("x"),
        };
        answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=60")
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for asked in [Some("\"v1\""), None] {
        let reply = proxy.ask("GET", "/", &["If-None-Match: \"v1\""], "").await;
        assert_eq!((reply.status, reply.body.len()), (304, 0));
        assert_eq!(origin.last().fields.get("if-none-match"), asked);
    }
    proxy.stored(1).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn preconditions_for_the_origin_are_left_to_it_unless_they_hold() {
    let origin = Origin::answering(|request| match request.fields.get("if-match") {
        Some("\"v2\"") => Answer::new(412),
        _ => Answer::ok("x").field("ETag", "\"v1\"").field("Cache-Control", "max-age=60"),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/").await;
    assert_eq!(proxy.ask("GET", "/", &["If-Match: \"v1\""], "").await.status, 200);
    assert_eq!(origin.hits(), 1);
    assert_eq!(proxy.ask("GET", "/", &["If-Match: \"v2\""], "").await.status, 412);
    assert_eq!(origin.last().fields.get("if-match"), Some("\"v2\""));
    assert_eq!(origin.hits(), 2);
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_condition_on_a_stale_reply_is_answered_once_the_origin_has_spoken() {
    let origin = Origin::answering(|request| {
        let version =
            if request.word(1) == "/changed" && request.fields.has("if-none-match") { "v2" } else { "v1" };
        let tag = format!("\"{version}\"");
        let answer = match request.fields.get("if-none-match") {
            Some(tags) if tags.contains(&tag) => Answer::new(304),
            _ => Answer::ok(version),
        };
        answer.field("ETag", tag).field("Cache-Control", "max-age=60")
    })
    .await;
    for (target, tag, status) in [
        ("/same", "\"v1\"", 304),
        ("/same", "\"v0\"", 200),
        ("/changed", "\"v2\"", 304),
        ("/changed", "\"v1\"", 200),
    ] {
        let clock = noon();
        let proxy = Proxy::caching_by(&clock, &origin).await;
        proxy.get(target).await;
        pass(&clock, 60);
        let reply = proxy.ask("GET", target, &[&format!("If-None-Match: {tag}")], "").await;
        assert_eq!(reply.status, status, "{target} {tag}: {}", reply.cache_status());
        assert_eq!(origin.last().fields.get("if-none-match"), Some("\"v1\""));
    }
}

#[tokio::test]
async fn a_range_of_a_stale_reply_is_right_once_the_origin_has_spoken() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.has("if-none-match") {
            true => Answer::new(304),
            false => Answer::ok("0123456789"),
        };
        answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=60")
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 60);
    let reply = proxy.ask("GET", "/", &["Range: bytes=2-4"], "").await;
    assert_eq!((reply.status, reply.text()), (206, "234"));
    assert!(!origin.last().fields.has("range"));
    assert_eq!(origin.hits(), 2);
}
