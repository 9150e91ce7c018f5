//! Origins that code by themselves.

use proxy_stone::http::accept_encoding::Coding;

use super::{ask_h2, coded, config, content, text, texts};
use crate::support::{Answer, Origin, Proxy};

fn in_gzip(content: &str) -> Answer {
    Answer::ok(coded(Coding::Gzip, content))
        .field("content-type", "text/plain")
        .field("content-encoding", "gzip")
        .field("etag", "\"g\"")
        .field("cache-control", "max-age=60")
}

#[tokio::test]
async fn what_the_origin_codes_is_passed_as_it_is() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.get("accept-encoding") {
            Some("gzip") => in_gzip(&text(5000)),
            _ => texts(5000),
        };
        answer.field("vary", "Accept-Encoding")
    })
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    for accept in ["gzip", "gzip;q=0.5, deflate", "x-gzip", "br", "br, gzip;q=0.9", "", "deflate", "identity"]
    {
        let reply = proxy.ask("GET", "/", &[&format!("Accept-Encoding: {accept}")], "").await;
        assert_eq!(content(&reply), text(5000), "{accept}");
        assert_eq!(reply.fields.all("vary"), ["Accept-Encoding"]);
        if reply.fields.get("content-encoding") == Some("gzip") {
            assert_eq!(
                (reply.fields.get("etag"), &reply.body[..]),
                (Some("\"g\""), &*coded(Coding::Gzip, &text(5000)))
            );
        }
    }
    let asked: Vec<_> =
        origin.requests().iter().map(|head| head.fields.get("accept-encoding").map(str::to_owned)).collect();
    let expected = ["gzip", "br", "identity"].map(|value| Some(value.to_owned()));
    assert_eq!(asked, expected, "three variants, however clients spell it");
}

#[tokio::test]
async fn who_does_not_take_it_gets_it_decoded() {
    let origin = Origin::always(in_gzip(&text(5000))).await;
    let proxy = Proxy::of(config(&origin)).start().await;
    for round in 0..2 {
        for (accept, coding, etag) in [
            ("gzip", Some("gzip"), "\"g\""),
            ("identity", None, "W/\"g\""),
            ("", None, "W/\"g\""),
            ("br", Some("br"), "W/\"g\""),
            ("zstd, *;q=0", Some("zstd"), "W/\"g\""),
        ] {
            let reply = proxy.ask("GET", "/", &[&format!("Accept-Encoding: {accept}")], "").await;
            assert_eq!(
                (reply.fields.get("content-encoding"), reply.fields.get("etag")),
                (coding, Some(etag)),
                "{accept}"
            );
            assert_eq!(
                (content(&reply), reply.fields.get("vary")),
                (text(5000), Some("Accept-Encoding")),
                "{accept}"
            );
            proxy.stored(if round == 0 && accept == "gzip" { 1 } else { 0 }).await;
        }
    }
    let forbidden = proxy.ask("GET", "/", &["Cache-Control: no-transform"], "").await;
    assert_eq!(forbidden.fields.get("content-encoding"), Some("gzip"));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn bombs_are_cut() {
    let zeros = "0".repeat(8 << 20);
    for coding in Coding::ALL {
        let bomb = coded(coding, &zeros);
        let origin = Origin::always(
            Answer::ok(bomb)
                .field("content-type", "text/plain")
                .field("content-encoding", coding.as_str())
                .field("cache-control", "max-age=60"),
        )
        .await;
        for compress in ["true", "{ max_decoded = \"1MiB\" }"] {
            let proxy =
                Proxy::of(format!("upstream = \"{}\"\ncompress = {compress}", origin.url())).start().await;
            for _ in 0..2 {
                let reply = proxy.ask("GET", "/", &["Accept-Encoding: identity"], "").await;
                assert!(!reply.whole && reply.body.len() < 4 << 20, "{coding:?} {}", reply.body.len());
            }
            assert!(!ask_h2(&proxy.connect_h2().await, "/", "identity").await.whole);
        }
    }
}

#[tokio::test]
async fn what_is_not_coded_as_it_says_is_cut() {
    let origin = Origin::always(
        Answer::ok(text(5000)).field("content-type", "text/plain").field("content-encoding", "gzip"),
    )
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    let reply = proxy.ask("GET", "/", &[], "").await;
    assert!(!reply.whole && reply.body.is_empty());
    let event = &proxy.finished(1).await[0];
    assert_eq!(event.error, Some("http_response_content_coding"));
    let passed = proxy.ask("GET", "/", &["Accept-Encoding: gzip"], "").await;
    assert_eq!((passed.whole, passed.text()), (true, &*text(5000)), "who takes it judges by itself");
}
