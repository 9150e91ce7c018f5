//! Requests that never became one: answered or cut below, and told to log and metrics all the same.

use std::time::Duration;

use crate::support::{Answer, Origin, Proxy, until, within};
use proxy_stone::telemetry::event::End;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn strict() -> (Origin, Proxy) {
    let origin = Origin::always(Answer::ok("fine")).await;
    let config = format!(
        "upstream = \"{}\"\ncache = false\n[server]\nheader_timeout = \"200ms\"\nmax_header_bytes = \"8KiB\"\nmax_headers = 20",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    (origin, proxy)
}

#[tokio::test]
async fn what_is_no_request_is_answered_logged_and_counted() {
    let (origin, proxy) = strict().await;
    let long = format!("GET / HTTP/1.1\r\nhost: api.test\r\nx-long: {}\r\n\r\n", "x".repeat(20 << 10));
    let many: String = (0..30).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: api.test\r\n{many}\r\n");
    for (count, (request, status, reason)) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed_field_name"),
        ("GET /a b HTTP/1.1\r\nhost: api.test\r\n\r\n", 400, "malformed_request_line"),
        ("GET / HTTP/3.7\r\nhost: api.test\r\n\r\n", 505, "unsupported_version"),
        ("GET / HTTP/1.1\r\nhost: api.test\r\nx y: 1\r\n\r\n", 400, "malformed_field_name"),
        (long.as_str(), 431, "head_too_large"),
        (many.as_str(), 431, "head_too_large"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxy.connect().await;
        client.say(request).await;
        let head = client.head().await;
        assert_eq!(head.status(), status, "{:.60}", request);
        let id = head.fields.get("x-request-id").expect("an id").to_owned();
        assert_eq!(head.fields.get("content-type"), Some("application/problem+json"));
        assert_eq!(head.fields.get("connection"), Some("close"));
        let problem: serde_json::Value = serde_json::from_slice(&client.closed().await).expect("a problem");
        assert_eq!((&problem["status"], &problem["request_id"]), (&status.into(), &id.into()));
        // Told at once: the client has not left yet.
        let finished = proxy.finished(count + 1).await;
        drop(client);
        let last = &finished[count];
        assert_eq!(
            (last.status, last.error, last.end),
            (status, Some(reason), End::Refused),
            "{:.60}",
            request
        );
    }
    assert_eq!(origin.hits(), 0);
    let total = proxy.instance.telemetry.snapshot().total;
    assert_eq!((total.requests, total.ends["refused"]), (6, 6));
    let refused = proxy.instance.telemetry.snapshot().refused;
    let counts = |reason: &str| refused[reason];
    assert_eq!((counts("malformed_field_name"), counts("head_too_large")), (2, 2));
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_a_408() {
    let (_origin, proxy) = strict().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api").await;
    assert_eq!(client.head().await.status(), 408);
    assert!(String::from_utf8_lossy(&client.closed().await).contains("\"status\":408"));
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].status, finished[0].error), (408, Some("header_timeout")));
}

#[tokio::test]
async fn a_second_head_that_does_not_come_to_its_end_is_a_408() {
    let (_origin, proxy) = strict().await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "fine");
    client.say("GET / HT").await;
    assert_eq!(client.head().await.status(), 408);
    assert_eq!(proxy.finished(2).await[1].error, Some("header_timeout"));
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_head_is_told_too() {
    let (_origin, proxy) = strict().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api").await;
    drop(client);
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].status, finished[0].error), (0, Some("head_cut_short")));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_no_request() {
    let (_origin, proxy) = strict().await;
    let mut client = proxy.connect().await;
    assert!(client.closed().await.is_empty(), "closed in time, without a word");
    until("it is closed", || proxy.instance.connections() == 0).await;
    let snapshot = proxy.instance.telemetry.snapshot();
    assert_eq!((snapshot.total.requests, snapshot.connections.opened), (0, 1));
}

#[tokio::test]
async fn a_client_that_breaks_http2_is_cut_and_told() {
    let (_origin, proxy) = strict().await;
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.unwrap();
    // DATA on stream 0 (RFC 9113 6.1).
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0x")
        .await
        .unwrap();
    let mut said = Vec::new();
    // GOAWAY, and the end.
    let _ = within(stream.read_to_end(&mut said)).await;
    drop(stream);
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].end, finished[0].error), (End::Refused, Some("http2_violation")));
}

/// Heads that two implementations may read differently (RFC 9112 6.3, 11.2): nothing of them may reach the origin.
#[tokio::test]
async fn what_could_smuggle_a_request_does_not_reach_the_origin_as_two() {
    let mut taken = Vec::new();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: api.test\r\n\r\n";
    for framing in [
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: 4, 5\r\n",
        "content-length: +4\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\u{b}chunked\r\n",
        "content-length : 4\r\n",
        " content-length: 4\r\n",
    ] {
        let (origin, proxy) = strict().await;
        let mut client = proxy.connect().await;
        client.say(format!("POST / HTTP/1.1\r\nhost: api.test\r\n{framing}\r\n0\r\n\r\n{smuggled}")).await;
        let status = client.head().await.status();
        client.closed().await;
        if (status, origin.hits()) != (400, 0) {
            taken.push((framing, status, origin.requests()));
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
}

#[tokio::test]
async fn quiet_connections_outlive_the_time_for_a_head() {
    let (_origin, proxy) = strict().await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "fine");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.get("/").await.text(), "fine");
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_and_counted() {
    let origin = Origin::always(Answer::ok("fine")).await;
    let config = format!("upstream = \"{}\"\n[server]\nmax_connections = 2", origin.url());
    let proxy = Proxy::of(config).start().await;
    let (mut one, mut two) = (proxy.connect().await, proxy.connect().await);
    assert_eq!((one.get("/").await.status, two.get("/").await.status), (200, 200));
    let mut three = proxy.connect().await;
    assert!(three.closed().await.is_empty());
    let refused = || proxy.instance.telemetry.snapshot().connections.refused.values().sum::<u64>();
    until("it is counted", || refused() == 1).await;
    drop(one);
    until("there is room again", || proxy.instance.connections() == 1).await;
    assert_eq!(proxy.get("/").await.text(), "fine");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let origin = Origin::always(Answer::ok("fine")).await;
    let config = format!("upstream = \"{}\"\n[server]\nkeepalive = \"150ms\"", origin.url());
    let proxy = Proxy::of(config).start().await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "fine");
    assert!(client.closed().await.is_empty());
}
