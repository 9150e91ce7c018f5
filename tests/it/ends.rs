//! How an exchange's end is told in logs and metrics.

use crate::support::{Answer, Call, Origin, Proxy, numbered};
use proxy_stone::telemetry::event::End;

/// How the exchanges of `proxy` ended, once there are `count`.
async fn ends(proxy: &Proxy, count: usize) -> Vec<End> {
    proxy.finished(count).await.iter().map(|event| event.end).collect()
}

#[tokio::test]
async fn a_reply_of_known_length_that_arrived_whole_is_complete() {
    for cache_control in ["max-age=60", "no-store"] {
        for length in [5, 3 << 20] {
            let answer = Answer::ok(numbered(length)).field("Cache-Control", cache_control);
            let origin = Origin::always(answer).await;
            let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
            for _ in 0..2 {
                assert_eq!(proxy.get("/").await.body.len(), length);
            }
            assert_eq!(ends(&proxy, 2).await, [End::Complete; 2], "{cache_control}, {length} bytes");
        }
    }
}

#[tokio::test]
async fn a_chunked_reply_with_trailers_that_arrived_whole_is_complete() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n").await;
        call.say("Cache-Control: max-age=60\r\n\r\n").await;
        call.chunk("some").await;
        call.say("0\r\nX-Sum: 4\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.ask("GET", "/", &["TE: trailers"], "").await.text(), "some");
    assert_eq!(ends(&proxy, 1).await, [End::Complete]);
}
