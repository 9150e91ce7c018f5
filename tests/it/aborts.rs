//! Whoever breaks off: the other side learns of it, and nobody takes half a body for a whole one.

use http_body_util::BodyExt;

use crate::support::frames::{DATA, Frame, Frames, RST_STREAM, request};
use crate::support::{Answer, Call, Gate, H2, Origin, Proxy, until, within};
use proxy_stone::telemetry::event::End;

#[tokio::test]
async fn a_client_that_leaves_before_the_reply_cancels_the_request() {
    let left = Gate::new();
    let tell = left.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.gone().await;
        tell.open();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    drop(client);
    left.pass().await;
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].status, finished[0].end), (0, End::ClientAborted));
}

#[tokio::test]
async fn a_client_that_leaves_amid_the_reply_cancels_it() {
    let left = Gate::new();
    let tell = left.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbegin").await;
        call.gone().await;
        tell.open();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.wire.some().await, "begin");
    drop(client);
    left.pass().await;
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].status, finished[0].end), (200, End::ClientAborted));
    assert_eq!(finished[0].sent, 5);
}

#[tokio::test]
async fn a_reset_stream_cancels_its_request_and_no_other() {
    let (left, gate) = (Gate::new(), Gate::new());
    let (tell, pass) = (left.clone(), gate.clone());
    let origin = Origin::start(async move |call: &mut Call| {
        if call.target() == "/cancelled" {
            call.gone().await;
            tell.open();
        } else {
            pass.pass().await;
            call.answer(&Answer::ok("fine")).await;
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    let other = tokio::spawn({
        let client = client.clone();
        async move { client.get("/other").await }
    });
    let cancelled = tokio::spawn({
        let client = client.clone();
        async move { client.get("/cancelled").await }
    });
    origin.hit(2).await;
    cancelled.abort();
    left.pass().await;
    gate.open();
    assert_eq!(within(other).await.unwrap().text(), "fine");
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_upload_ends_it_at_the_origin() {
    let left = Gate::new();
    let tell = left.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let body = call.body().await;
        assert!(!body.whole, "half an upload must not look whole");
        call.cut();
        tell.open();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut client = proxy.connect().await;
        client.say(format!("POST / HTTP/1.1\r\nhost: api.test\r\n{framing}\r\n\r\n5\r\nhello\r\n")).await;
        until("the body is on its way", || origin.hits() > 0).await;
        drop(client);
        left.pass().await;
    }
}

/// What the origin says before it goes away in the middle of its reply.
const BROKEN: [&str; 3] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello",
];

/// Says what is broken at the place that the target names, then goes away in one way or the other.
async fn breaking() -> Origin {
    Origin::start(async |call: &mut Call| {
        let which = call.target().as_bytes()[1] - b'0';
        call.say(BROKEN[usize::from(which)]).await;
        match call.target().ends_with("reset") {
            true => call.reset(),
            false => call.cut(),
        }
    })
    .await
}

#[tokio::test]
async fn a_reply_cut_short_is_seen_to_be_cut_short() {
    let origin = breaking().await;
    let proxy = Proxy::passing(&origin).await;
    for target in ["/0", "/1", "/2", "/0reset", "/1reset"] {
        let reply = proxy.get(target).await;
        assert!(!reply.whole, "{target}: {reply:?}");
        assert!(reply.body.len() <= 5, "{target}: {reply:?}");
    }
    let finished = proxy.finished(5).await;
    assert!(finished.iter().all(|exchange| exchange.end == End::UpstreamAborted), "{finished:?}");
}

#[tokio::test]
async fn a_reply_cut_short_is_seen_to_be_cut_short_by_http_1_0_where_that_can_be() {
    let origin = breaking().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET /0 HTTP/1.0\r\nhost: api.test\r\n\r\n").await;
    assert!(!client.reply("GET").await.whole);
}

#[tokio::test]
async fn an_http_1_0_client_sees_a_reset_where_an_orderly_close_would_end_the_reply() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = breaking().await;
    let proxy = Proxy::passing(&origin).await;
    let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /1 HTTP/1.0\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    let end = within(stream.read_to_end(&mut got)).await;
    assert!(end.is_err(), "an orderly end after {:?}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn a_reply_cut_short_resets_its_stream() {
    let origin = breaking().await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    for target in ["/0", "/1", "/2", "/0reset"] {
        let reply = client.get(target).await;
        assert!(!reply.whole, "{target}: {reply:?}");
    }
    let response = client.begin(H2::request("GET", "/1", "")).await.unwrap();
    let error = within(response.into_body().collect()).await.unwrap_err();
    assert!(!error.is_closed(), "the stream ends, not the connection: {error:?}");
}

#[tokio::test]
async fn a_reply_cut_short_in_the_cache_s_way_is_not_stored() {
    let origin = Origin::start(async |call: &mut Call| {
        if call.nth == 1 {
            call.say("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nhello").await;
            call.cut();
        } else {
            call.answer(&Answer::ok("hello, all").field("cache-control", "max-age=60")).await;
        }
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    assert!(!proxy.get("/").await.whole);
    let reply = proxy.get("/").await;
    assert_eq!((reply.text(), reply.whole, origin.hits()), ("hello, all", true, 2));
    assert_eq!(proxy.get("/").await.text(), "hello, all");
    assert_eq!(origin.hits(), 2, "now it is stored");
}

#[tokio::test]
async fn a_reset_before_the_reply_is_a_502_and_not_tried_twice_on_a_new_connection() {
    let origin = Origin::start(async |call: &mut Call| call.reset()).await;
    let proxy = Proxy::passing(&origin).await;
    let reply = proxy.get("/").await;
    assert_eq!(reply.status, 502);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn surplus_bytes_never_answer_the_next_request() {
    let origin = Origin::start(async |call: &mut Call| {
        let surplus = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        call.say(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood{surplus}")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "good");
    }
}

#[tokio::test]
async fn a_head_that_is_no_head_is_a_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 2000 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    ] {
        let origin = Origin::start(async move |call: &mut Call| {
            call.say(garbage).await;
            call.cut();
        })
        .await;
        let proxy = Proxy::passing(&origin).await;
        let reply = proxy.get("/").await;
        assert_eq!(reply.status, 502, "{garbage:?}: {reply:?}");
        assert!(!reply.text().contains("SSH"));
    }
}

/// To hyper a stream that is reset with NO_ERROR has ended well.
#[tokio::test]
async fn a_body_whose_stream_is_reset_is_not_whole_whatever_the_code() {
    let gate = Gate::new();
    let tell = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        assert!(!call.body().await.whole);
        tell.open();
        call.cut();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    for (nth, code) in [0, 8].into_iter().enumerate() {
        let mut client = Frames::connect(proxy.address).await;
        client.send(&Frame::headers(1, 0, &request("POST", "/"))).await;
        client.send(&Frame::new(DATA, 0, 1, *b"half")).await;
        origin.hit(nth + 1).await;
        client.send(&Frame::new(RST_STREAM, 0, 1, [0, 0, 0, code])).await;
        gate.pass().await;
    }
}
