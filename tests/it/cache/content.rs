//! Requests whose body belongs to the key: queries by POST, QUERY and GET.

use crate::support::{Answer, Call, Client, Origin, Proxy, noon, numbered, pass};

const ROUTE: &str =
    "[[routes]]\nmatch = { path = \"/q\" }\ncache = { key = { body = true, max_body = \"1KiB\" } }\n";

/// An origin that says which body it got, with these fields.
async fn echo(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(async move |call: &mut Call| {
        let body = call.body().await;
        let text = format!("{} got {}: {}", call.method(), body.bytes.len(), blake3::hash(&body.bytes));
        let answer = fields.iter().fold(Answer::ok(text), |answer, (name, value)| answer.field(name, *value));
        call.answer(&answer).await;
    })
    .await
}

fn said(method: &str, body: &[u8]) -> String {
    format!("{method} got {}: {}", body.len(), blake3::hash(body))
}

async fn proxy(origin: &Origin) -> Proxy {
    Proxy::of(format!("upstream = \"{}\"\n{ROUTE}", origin.url())).start().await
}

const FRESH: &[(&str, &str)] = &[("Cache-Control", "max-age=60")];

#[tokio::test]
async fn a_query_is_answered_by_what_the_same_method_and_body_brought() {
    let origin = echo(FRESH).await;
    let proxy = proxy(&origin).await;
    for (method, fields, body, hits) in [
        ("POST", &["Content-Type: a/b"][..], "one", 1),
        ("POST", &["Content-Type: a/b"], "one", 1),
        ("POST", &["Content-Type: a/b"], "two", 2),
        ("POST", &["Content-Type: a/c"], "one", 3),
        ("POST", &["Content-Type: a/b", "Content-Encoding: x"], "one", 4),
        ("POST", &[], "one", 5),
        ("QUERY", &["Content-Type: a/b"], "one", 6),
        ("QUERY", &["Content-Type: a/b"], "one", 6),
        ("GET", &["Content-Type: a/b"], "one", 7),
        ("GET", &["Content-Type: a/b"], "one", 7),
        ("GET", &[], "", 8),
        ("GET", &[], "", 8),
        ("POST", &[], "", 9),
        ("POST", &["Content-Length: 0"], "", 9),
        ("HEAD", &[], "", 9),
    ] {
        let reply = proxy.ask(method, "/q", fields, body).await;
        if method != "HEAD" {
            assert_eq!(reply.text(), said(method, body.as_bytes()), "{method} {fields:?} {body}");
        }
        assert_eq!(origin.hits(), hits, "{method} {fields:?} {body}: {}", reply.cache_status());
    }
}

#[tokio::test]
async fn a_post_is_stored_on_nobody_s_guess_and_never_validated() {
    let clock = noon();
    let origin = echo(&[("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"), ("ETag", "\"a\"")]).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{ROUTE}", origin.url())).clock(&clock).start().await;
    for hits in [1, 2] {
        let reply = proxy.ask("POST", "/q", &[], "x").await;
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=uri-miss; detail=no-freshness");
        assert_eq!(origin.hits(), hits);
    }
    let lasting = echo(&[("Cache-Control", "max-age=60"), ("ETag", "\"a\"")]).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{ROUTE}", lasting.url())).clock(&clock).start().await;
    proxy.ask("POST", "/q", &[], "x").await;
    pass(&clock, 100);
    assert_eq!(proxy.ask("POST", "/q", &[], "x").await.text(), said("POST", b"x"));
    assert!(!lasting.last().fields.has("if-none-match"), "a precondition of POST means something else");
    // What the client itself asks conditionally is for the origin to judge.
    let reply = proxy.ask("POST", "/q", &["If-None-Match: \"a\""], "x").await;
    assert!(reply.cache_status().starts_with("proxy-stone; fwd=request"), "{}", reply.cache_status());
    assert!(lasting.last().fields.has("if-none-match"));
}

#[tokio::test]
async fn what_is_too_large_for_a_key_goes_on_whole() {
    let origin = echo(FRESH).await;
    let proxy = proxy(&origin).await;
    let large = numbered(300_000);
    for round in [1, 2] {
        let mut client = proxy.connect().await;
        client.say(format!("POST /q HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", large.len())).await;
        client.say(&large).await;
        let reply = client.reply("POST").await;
        assert_eq!(reply.text(), said("POST", &large));
        assert!(reply.cache_status().starts_with("proxy-stone; fwd=method"), "{}", reply.cache_status());
        // Its length is not known before it is too late.
        let reply = chunked(&mut client, &large, "").await;
        assert_eq!(reply, said("POST", &large));
        assert_eq!(origin.hits(), round * 2);
    }
    let mut client = proxy.connect().await;
    for hits in [5, 6] {
        assert_eq!(chunked(&mut client, b"small", "x-sum: 1\r\n").await, said("POST", b"small"));
        assert_eq!(origin.hits(), hits, "trailers belong to no key");
    }
    for _ in 0..2 {
        assert_eq!(chunked(&mut client, b"small", "").await, said("POST", b"small"));
        assert_eq!(origin.hits(), 7);
    }
}

/// POSTs in two chunks; what the reply says.
async fn chunked(client: &mut Client, body: &[u8], trailers: &str) -> String {
    client.say("POST /q HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (start, rest) = body.split_at(body.len() / 2);
    for part in [start, rest] {
        client.say(format!("{:x}\r\n", part.len())).await;
        client.say(part).await;
        client.say("\r\n").await;
    }
    client.say(format!("0\r\n{trailers}\r\n")).await;
    client.reply("POST").await.text().to_owned()
}

#[tokio::test]
async fn a_query_ends_nothing_and_a_write_ends_all_queries() {
    let origin = echo(FRESH).await;
    let proxy = proxy(&origin).await;
    proxy.get("/q").await;
    proxy.ask("POST", "/q", &[], "a").await;
    proxy.ask("POST", "/q", &[], "b").await;
    proxy.ask("POST", "/q", &[], "a").await;
    proxy.get("/q").await;
    assert_eq!(origin.hits(), 3);
    proxy.ask("PUT", "/q", &[], "x").await;
    for (method, body, hits) in [("GET", "", 5), ("POST", "a", 6), ("POST", "b", 7)] {
        proxy.ask(method, "/q", &[], body).await;
        assert_eq!(origin.hits(), hits, "{method} {body}");
    }
}

#[tokio::test]
async fn a_query_that_no_route_keys_is_passed_on_and_ends_nothing() {
    let origin = echo(FRESH).await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/q").await;
    for hits in [2, 3] {
        assert_eq!(proxy.ask("QUERY", "/q", &[], "a").await.text(), said("QUERY", b"a"));
        assert_eq!(origin.hits(), hits);
    }
    proxy.get("/q").await;
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_client_s_fault_and_reaches_nobody() {
    let origin = echo(FRESH).await;
    let proxy = proxy(&origin).await;
    let mut client = proxy.connect().await;
    client
        .say("POST /q HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
        .await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, origin.hits()), (400, 0));
    let finished = proxy.finished(1).await;
    assert_eq!(finished[0].error, Some("http_request_error"));
}

#[tokio::test]
async fn equal_queries_at_once_are_asked_once() {
    let origin = echo(FRESH).await;
    let proxy = proxy(&origin).await;
    let asks = (0..8).map(|_| proxy.ask("POST", "/q", &[], "same"));
    let replies = futures_util::future::join_all(asks).await;
    assert!(replies.iter().all(|reply| reply.text() == said("POST", b"same")));
    assert_eq!(origin.hits(), 1);
}
