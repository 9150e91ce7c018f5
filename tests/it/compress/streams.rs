//! Content that comes bit by bit.

use bytes::Bytes;
use http_body_util::BodyExt;
use proxy_stone::coding::{Change, Coder};
use proxy_stone::http::accept_encoding::Coding;

use super::{config, content, text};
use crate::support::{Gate, H2, Origin, Proxy, within};

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";

#[tokio::test]
async fn events_are_sent_as_they_happen() {
    for (coding, accept) in [(Coding::Gzip, "gzip"), (Coding::Brotli, "br"), (Coding::Zstd, "zstd")] {
        for cached in ["", "cache-control: max-age=60\r\n"] {
            let gate = Gate::new();
            let held = gate.clone();
            let origin = Origin::start(async move |call| {
                call.say(format!("{HEAD}content-type: text/event-stream\r\n{cached}\r\n")).await;
                for event in 0..4 {
                    held.pass().await;
                    call.chunk(format!("data: {event}\n\n")).await;
                }
                call.say("0\r\n\r\n").await;
            })
            .await;
            let proxy = Proxy::of(config(&origin)).start().await;
            let mut request = H2::request("GET", "/", "");
            request.headers_mut().insert("accept-encoding", accept.parse().expect("a value"));
            let mut body = proxy.connect_h2().await.begin(request).await.expect("a reply").into_body();
            let mut decoder = Coder::new(Change::Decode(coding, 1 << 20));
            for event in 0..4 {
                gate.open_for(1);
                let expected = format!("data: {event}\n\n");
                let mut read = Vec::new();
                while read.len() < expected.len() {
                    let frame = within(body.frame()).await.expect("more").expect("no error");
                    let mut data: Bytes = frame.into_data().expect("data");
                    read.extend_from_slice(&decoder.push(&mut data).expect("coded"));
                }
                assert_eq!(read, expected.as_bytes(), "{accept} {cached}");
            }
            while let Some(frame) = within(body.frame()).await {
                frame.expect("no error");
            }
        }
    }
}

#[tokio::test]
async fn trailers_are_kept() {
    let origin = Origin::start(async |call| {
        call.say(format!(
            "{HEAD}content-type: text/plain\r\ncache-control: max-age=60\r\ntrailer: x-sum\r\n\r\n"
        ))
        .await;
        call.chunk(text(5000)).await;
        call.say("0\r\nx-sum: 7\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    for round in 0..3 {
        let fields = ["Accept-Encoding: gzip", "TE: trailers", "Connection: TE"];
        let reply = proxy.ask("GET", "/", &fields, "").await;
        assert_eq!((content(&reply), reply.trailers.get("x-sum")), (text(5000), Some("7")), "{round}");
        assert_eq!(reply.fields.get("content-encoding"), Some("gzip"));
        let without = proxy.ask("GET", "/", &["Accept-Encoding: gzip"], "").await;
        assert_eq!(content(&without), text(5000));
        proxy.stored(2).await;
    }
    assert_eq!(origin.hits(), 1);
}

/// RFC 9530 2, 3: digests may come in trailers, and are of the content as it was.
#[tokio::test]
async fn digests_in_trailers_go_with_the_content_that_they_are_of() {
    let origin = Origin::start(async |call| {
        call.say(format!(
            "{HEAD}content-type: text/plain\r\ncache-control: max-age=60\r\ntrailer: x-sum, content-digest\r\n\r\n"
        ))
        .await;
        call.chunk(text(5000)).await;
        let sum = if call.target() == "/both" { "x-sum: 7\r\n" } else { "" };
        call.say(format!("0\r\n{sum}content-digest: sha-256=:AA==:\r\nrepr-digest: sha-256=:AA==:\r\n\r\n")).await;
    })
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    for (at, (target, sum)) in [("/both", Some("7")), ("/alone", None)].into_iter().enumerate() {
        for round in 0..3 {
            for (accept, coding) in [("gzip", Some("gzip")), ("identity", None)] {
                let accept = format!("Accept-Encoding: {accept}");
                let reply = proxy.ask("GET", target, &[&accept, "TE: trailers", "Connection: TE"], "").await;
                let told = ["x-sum", "content-digest"].map(|name| reply.trailers.get(name));
                let digest = coding.is_none().then_some("sha-256=:AA==:");
                assert_eq!(
                    (reply.fields.get("content-encoding"), told),
                    (coding, [sum, digest]),
                    "{target} {round}"
                );
                assert!(content(&reply) == text(5000));
                let mut request = H2::request("GET", target, "");
                request
                    .headers_mut()
                    .insert("accept-encoding", coding.unwrap_or("identity").parse().unwrap());
                request.headers_mut().insert("te", "trailers".parse().unwrap());
                let reply = proxy.connect_h2().await.ask(request).await;
                let told = ["x-sum", "repr-digest"].map(|name| reply.trailers.get(name));
                assert_eq!(told, [sum, digest], "{target} {round} over HTTP/2");
                assert!(content(&reply) == text(5000));
                proxy.stored(at as u64 * 2 + 2).await;
            }
        }
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn calls_are_left_alone() {
    let origin = Origin::start(async |call| {
        call.say(format!("{HEAD}content-type: application/grpc-web+proto\r\n\r\n")).await;
        call.chunk(text(5000)).await;
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy =
        Proxy::of(format!("upstream = \"{}\"\ncompress = {{ types = ['*/*'] }}", origin.url())).start().await;
    let reply = proxy.ask("POST", "/", &["Accept-Encoding: gzip"], "some").await;
    assert_eq!((reply.fields.get("content-encoding"), reply.text()), (None, &*text(5000)));
}
