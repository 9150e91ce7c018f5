use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use http_body::Frame;

use super::*;
use crate::http::h1::Violation;

async fn replying(reply: &'static str) -> Origin {
    origin(async move |mut peer: Peer| {
        peer.head().await;
        peer.say(reply).await;
    })
    .await
}

#[tokio::test]
async fn a_reply_cut_short_is_an_error() {
    let replies = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for reply in replies {
        let origin = replying(reply).await;
        let upstream = upstream(settings(&[origin.address]));
        let fetched = upstream.fetch(get()).await.unwrap();
        assert!(matches!(text(fetched).await, Err(BodyError::Incomplete(_))), "{reply}");
        let seen = only(&upstream);
        assert_eq!((seen.failures, seen.last_error), (1, Some("http_response_incomplete")));
    }
}

#[tokio::test]
async fn a_reply_whose_framing_breaks_off_is_an_error() {
    let origin =
        replying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n").await;
    let upstream = upstream(settings(&[origin.address]));
    let fetched = upstream.fetch(get()).await.unwrap();
    assert!(matches!(text(fetched).await, Err(BodyError::Malformed(Violation::ChunkSize))));
    let seen = only(&upstream);
    assert_eq!((seen.failures, seen.last_error), (1, Some("http_protocol_error")));
    assert_eq!(seen.violations, [("malformed_chunk_size", 1)]);
}

#[tokio::test]
async fn surplus_bytes_spoil_the_connection_but_not_the_reply() {
    let origin = replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more").await;
    let upstream = upstream(settings(&[origin.address]));
    assert_eq!(ask(&upstream, get()).await, "ok");
    assert_eq!(ask(&upstream, get()).await, "ok");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_reply_that_ends_with_its_connection_is_whole() {
    for reply in ["HTTP/1.1 200 OK\r\n\r\nall", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nall"] {
        let origin = replying(reply).await;
        let upstream = upstream(settings(&[origin.address]));
        assert_eq!(ask(&upstream, get()).await, "all");
        until(|| only(&upstream).connections == 0).await;
    }
}

#[tokio::test]
async fn an_http_1_0_connection_is_not_kept() {
    let origin = origin(async |mut peer: Peer| {
        while peer.head().await.is_some() {
            peer.say("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    assert_eq!(ask(&upstream, get()).await, "ok");
    until(|| only(&upstream).connections == 0).await;
    assert_eq!(ask(&upstream, get()).await, "ok");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_request_goes_on_while_nobody_reads_its_reply() {
    const UP: usize = 8 << 20;
    const DOWN: usize = 8 << 20;
    let uploads = Arc::new(AtomicUsize::new(0));
    let uploaded = Arc::clone(&uploads);
    let origin = origin(async move |mut peer: Peer| {
        while peer.head().await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWN}\r\n\r\n");
            let reply = [head.as_bytes(), &vec![b'x'; DOWN][..]].concat();
            peer.both_ways(&reply, UP, |read| uploaded.store(read, Ordering::SeqCst)).await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for nth in 1..=2 {
        uploads.store(0, Ordering::SeqCst);
        let pieces =
            (0..UP >> 16).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0; 1 << 16]))));
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
        let body = RequestBody::from(StreamBody::boxed(body, Duration::from_secs(20), None));
        let mut asked = FetchRequest { body, ..request(Method::POST, "/") };
        asked.headers.insert("content-length", HeaderValue::from(UP));
        let fetched = upstream.fetch(asked).await.unwrap();
        let seen = || format!("{nth}: {} read, {:?}", uploads.load(Ordering::SeqCst), only(&upstream));
        until_or(|| uploads.load(Ordering::SeqCst) == UP, seen).await;
        assert_eq!(fetched.response.into_body().collect().await.unwrap().to_bytes().len(), DOWN);
        until_or(|| only(&upstream).idle == 1, seen).await;
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_pause_within_a_body_is_bounded() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        peer.closed().await;
    })
    .await;
    let idle_timeout = Duration::from_millis(50);
    let upstream = upstream(Settings { idle_timeout, ..settings(&[origin.address]) });
    let fetched = upstream.fetch(get()).await.unwrap();
    assert!(matches!(text(fetched).await, Err(BodyError::IdleTimeout)));
    until(|| only(&upstream).connections == 0).await;
}

#[tokio::test]
async fn dropping_a_body_closes_its_connection() {
    let origin = origin(async |mut peer: Peer| {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        peer.closed().await;
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    drop(upstream.fetch(get()).await.unwrap());
    until(|| only(&upstream).connections == 0).await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = origin(async |mut peer: Peer| {
        while let Some(head) = peer.head().await {
            assert!(head.contains("te: trailers\r\n") && head.contains("connection: TE\r\n"), "{head}");
            assert_eq!(peer.through("sum: 1\r\n\r\n").await.unwrap(), "1\r\na\r\n0\r\nsum: 1\r\n\r\n");
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n").await;
            peer.say("2\r\nok\r\n0\r\nSum: 2\r\n\r\n").await;
        }
    })
    .await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..2 {
        let sum = HeaderMap::from_iter([("sum".parse().unwrap(), HeaderValue::from_static("1"))]);
        let frames =
            [Frame::data(Bytes::from_static(b"a")), Frame::trailers(sum)].map(Ok::<_, std::io::Error>);
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let body = RequestBody::from(StreamBody::boxed(body, Duration::from_secs(5), None));
        let mut asked = FetchRequest { body, ..request(Method::POST, "/") };
        asked.headers.insert("te", HeaderValue::from_static("trailers"));
        asked.headers.insert("trailer", HeaderValue::from_static("sum"));
        let fetched = upstream.fetch(asked).await.unwrap();
        let collected = fetched.response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["sum"], "2");
        assert_eq!(collected.to_bytes(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}
