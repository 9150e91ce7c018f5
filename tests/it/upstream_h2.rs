//! Origins that are spoken to in HTTP/2: one connection for many requests, and what becomes of them when streams or
//! connections end otherwise than they should.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;
use http_body::Frame as BodyFrame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, RST_STREAM,
};
use crate::support::{Gate, H2, H2Call, H2Origin, Origin, Proxy, until, within};
use proxy_stone::upstream::EndpointSnapshot;

async fn proxy(origin: &H2Origin, upstream: &str) -> Proxy {
    Proxy::of(origin.config(upstream)).start().await
}

fn endpoint(proxy: &Proxy) -> EndpointSnapshot {
    proxy.instance.upstreams.get("api").expect("the upstream").snapshot().endpoints.remove(0)
}

/// An origin that is played frame by frame.
async fn raw(upstream: &str) -> (TcpListener, Proxy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let proxy = Proxy::of(format!(
        "workers = 1\nupstream = \"api\"\ncache = false\n[upstreams.api]\nurl = \"{url}\"\nprotocol = \"h2\"\n{upstream}"
    ));
    (listener, proxy.start().await)
}

/// GETs on connections of their own.
fn ask(proxy: &Proxy, count: usize) -> Vec<tokio::task::JoinHandle<u16>> {
    let address = proxy.address;
    let get = |n| async move { H2::connect(address).await.get(&format!("/{n}")).await.status };
    (0..count).map(|n| tokio::spawn(get(n))).collect()
}

async fn statuses(asked: Vec<tokio::task::JoinHandle<u16>>) -> Vec<u16> {
    within(join_all(asked)).await.into_iter().map(Result::unwrap).collect()
}

const OK: u8 = END_STREAM | END_HEADERS;

fn ok(stream: u32) -> Frame {
    Frame::new(HEADERS, OK, stream, [0x88])
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = H2Origin::start(async move |mut call: H2Call| {
        pass.pass().await;
        call.answer(200, call.path().to_owned());
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let asked = ask(&proxy, 60);
    origin.hit(60).await;
    let seen = endpoint(&proxy);
    assert_eq!((seen.connections, seen.http2_connections, seen.streams, seen.idle), (1, 1, 60, 0));
    gate.open_for(60);
    assert!(statuses(asked).await.iter().all(|status| *status == 200));
    assert_eq!(origin.connections(), 1);
    until("streams end", || endpoint(&proxy).streams == 0).await;
    assert_eq!(endpoint(&proxy).reused, 59);
}

#[tokio::test]
async fn at_the_peer_s_stream_limit_another_connection_is_made_up_to_the_cap() {
    let gate = Gate::new();
    let pass = gate.clone();
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4);
    let origin = H2Origin::with(builder, async move |mut call: H2Call| {
        pass.pass().await;
        call.answer(200, "");
    })
    .await;
    let proxy = proxy(&origin, "max_connections = 3").await;
    let asked = ask(&proxy, 20);
    origin.hit(12).await;
    until("the rest waits", || endpoint(&proxy).pending == 8).await;
    let seen = endpoint(&proxy);
    assert_eq!((origin.connections(), seen.streams), (3, 12));
    gate.open_for(20);
    assert_eq!(statuses(asked).await, [200; 20]);
    assert_eq!((origin.connections(), origin.hits()), (3, 20), "nothing was refused");
}

#[tokio::test]
async fn a_limit_that_changes_is_honoured() {
    let (listener, proxy) = raw("max_connections = 1").await;
    let asked = ask(&proxy, 3);
    let mut peer = Frames::accept(&listener, &[(3, 1)]).await;
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 1);
    until("two wait", || endpoint(&proxy).pending == 2).await;
    peer.settings(&[(3, 2)]).await;
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 3);
    assert_eq!(endpoint(&proxy).pending, 1);
    peer.settings(&[(3, 1)]).await;
    peer.send(&ok(1)).await;
    peer.send(&Frame::new(PING, 0, 0, [7; 8])).await;
    assert_eq!(peer.until(PING).await.unwrap().flags, ACK, "nothing was sent before it");
    assert_eq!(endpoint(&proxy).pending, 1, "there is one under way already");
    peer.send(&ok(3)).await;
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 5);
    peer.send(&ok(5)).await;
    assert_eq!(statuses(asked).await, [200; 3]);
}

#[tokio::test]
async fn rfc_9113_6_8_goaway_loses_no_request() {
    let (listener, proxy) = raw("retries = 0").await;
    let post = |proxy: &Proxy| {
        let address = proxy.address;
        tokio::spawn(async move { H2::connect(address).await.ask(H2::request("POST", "/", "")).await.status })
    };
    let mut asked = vec![post(&proxy)];
    let mut peer = Frames::accept(&listener, &[]).await;
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 1);
    asked.extend([post(&proxy), post(&proxy)]);
    for stream in [3, 5] {
        assert_eq!(peer.until(HEADERS).await.unwrap().stream, stream);
    }
    peer.send(&Frame::new(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0])).await;
    let mut next = Frames::accept(&listener, &[]).await;
    for stream in [1, 3] {
        assert_eq!(next.until(HEADERS).await.unwrap().stream, stream);
        next.send(&ok(stream)).await;
    }
    // The one that was looked at ends where it began, and the connection with it.
    peer.send(&ok(1)).await;
    assert_eq!(statuses(asked).await, [200; 3]);
    while peer.next().await.is_some() {}
    assert_eq!(endpoint(&proxy).failures, 2, "counted, for all that");
}

#[tokio::test]
async fn a_graceful_goaway_under_load_fails_nothing() {
    let origin = H2Origin::always("fine").await;
    let proxy = proxy(&origin, "").await;
    let address = proxy.address;
    let clients = (0..8).map(|_| {
        tokio::spawn(async move {
            let client = H2::connect(address).await;
            for _ in 0..50 {
                // An origin that closes with a request unread may reset the connection, and its GOAWAY with it: only what
                // is idempotent is sure to be sent again then.
                let reply = client.ask(H2::request("GET", "/", "")).await;
                assert_eq!((reply.status, reply.body), (200, "fine".into()));
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for round in 1..6 {
        origin.hit(round * 60).await;
        origin.leave();
    }
    join_all(clients).await.into_iter().for_each(Result::unwrap);
    assert!(origin.connections() > 1);
}

#[tokio::test]
async fn rfc_9113_7_what_is_served_over_http_1_1_alone_is_asked_so() {
    let (listener, proxy) = raw("retries = 0").await;
    let address = proxy.address;
    let asked =
        tokio::spawn(
            async move { H2::connect(address).await.ask(H2::request("POST", "/a", "")).await.status },
        );
    let mut peer = Frames::accept(&listener, &[]).await;
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 1);
    peer.send(&Frame::new(RST_STREAM, 0, 1, [0, 0, 0, 0xd])).await;
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        assert!(within(stream.read_buf(&mut said)).await.unwrap() > 0, "{said:?}");
    }
    assert!(said.starts_with(b"POST /a HTTP/1.1\r\n"), "{said:?}");
    within(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await.unwrap();
    assert_eq!(statuses(vec![asked]).await, [200]);
}

#[tokio::test]
async fn rfc_9113_8_7_a_refused_stream_is_sent_again_whatever_it_is() {
    let (listener, proxy) = raw("retries = 0").await;
    let address = proxy.address;
    let asked =
        tokio::spawn(
            async move { H2::connect(address).await.ask(H2::request("POST", "/", "")).await.status },
        );
    let mut peer = Frames::accept(&listener, &[]).await;
    for stream in [1, 3] {
        assert_eq!(peer.until(HEADERS).await.unwrap().stream, stream);
        peer.send(&Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 7])).await;
    }
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 5);
    peer.send(&ok(5)).await;
    assert_eq!(within(asked).await.unwrap(), 200);
}

#[tokio::test]
async fn who_refuses_everything_is_not_asked_for_ever() {
    let (listener, proxy) = raw("").await;
    let asked = ask(&proxy, 1);
    let mut peer = Frames::accept(&listener, &[]).await;
    let mut refused = 0;
    let refusing = async {
        while let Some(frame) = peer.until(HEADERS).await {
            refused += 1;
            peer.send(&Frame::new(RST_STREAM, 0, frame.stream, [0, 0, 0, 7])).await;
        }
    };
    tokio::select! {
        () = refusing => {}
        status = statuses(asked) => assert_eq!(status, [502]),
    }
    assert_eq!(refused, 9);
}

#[tokio::test]
async fn a_reset_of_one_stream_does_not_hurt_the_others() {
    let (listener, proxy) = raw("retries = 0").await;
    let asked = ask(&proxy, 3);
    let mut peer = Frames::accept(&listener, &[]).await;
    for _ in 0..3 {
        peer.until(HEADERS).await.unwrap();
    }
    peer.send(&Frame::new(RST_STREAM, 0, 3, [0, 0, 0, 2])).await;
    peer.send(&ok(1)).await;
    peer.send(&ok(5)).await;
    let mut got = statuses(asked).await;
    got.sort_unstable();
    assert_eq!(got, [200, 200, 502]);
}

#[tokio::test]
async fn a_connection_that_dies_takes_its_own_requests_only_and_those_are_sent_again_where_that_is_safe() {
    let (listener, proxy) = raw("").await;
    let first = ask(&proxy, 1);
    let mut peer = Frames::accept(&listener, &[]).await;
    peer.until(HEADERS).await.unwrap();
    peer.send(&ok(1)).await;
    statuses(first).await;
    let address = proxy.address;
    let post =
        tokio::spawn(
            async move { H2::connect(address).await.ask(H2::request("POST", "/", "")).await.status },
        );
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 3);
    let get = ask(&proxy, 1);
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, 5);
    drop(peer);
    assert_eq!(within(post).await.unwrap(), 502);
    let mut next = Frames::accept(&listener, &[]).await;
    assert_eq!(next.until(HEADERS).await.unwrap().stream, 1);
    next.send(&ok(1)).await;
    assert_eq!(statuses(get).await, [200]);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_and_nothing_else() {
    let (reset, gate) = (Gate::new(), Gate::new());
    let (tell, pass) = (reset.clone(), gate.clone());
    let origin = H2Origin::start(async move |mut call: H2Call| match call.path() {
        "/before" => {
            assert_eq!(call.reset().await, Reason::CANCEL);
            tell.open();
        }
        "/amid" => {
            let mut sender = call.begin(200, &[]);
            sender.send_data(Bytes::from_static(b"begin"), false).unwrap();
            let reason = std::future::poll_fn(|cx| sender.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::CANCEL);
            tell.open();
        }
        _ => {
            pass.pass().await;
            call.answer(200, "fine");
        }
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let other = ask(&proxy, 1);
    origin.hit(1).await;
    let mut client = proxy.connect().await;
    client.say("GET /before HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(2).await;
    drop(client);
    reset.pass().await;
    let mut client = proxy.connect().await;
    client.say("GET /amid HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    client.head().await;
    drop(client);
    reset.pass().await;
    gate.open();
    assert_eq!(statuses(other).await, [200]);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_upload_that_its_client_breaks_off_is_never_taken_for_whole() {
    let gate = Gate::new();
    let tell = gate.clone();
    let origin = H2Origin::start(async move |mut call: H2Call| {
        assert!(call.whole().await.is_err());
        tell.open();
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    origin.hit(1).await;
    drop(client);
    gate.pass().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_its_stream_only() {
    let origin = H2Origin::start(async |mut call: H2Call| match call.path() {
        "/large" => call.answer(200, vec![b'x'; 64 << 20]),
        _ => call.answer(200, "small"),
    })
    .await;
    let proxy = proxy(&origin, "http2 = { stream_window = \"256KiB\" }").await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.connect().await;
        client.say("GET /large HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
        unread.push(client);
    }
    for _ in 0..10 {
        assert_eq!(proxy.get("/small").await.text(), "small");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_large_body_keeps_its_bytes_both_ways() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let mut sender = call.begin(200, &[]);
        while let Some(part) = call.part().await {
            let mut part = part.unwrap();
            while !part.is_empty() {
                sender.reserve_capacity(part.len());
                let room = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap();
                sender.send_data(part.split_to(room.min(part.len())), false).unwrap();
            }
        }
        sender.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let sent = crate::support::numbered(8 << 20);
    let parts: Vec<_> = sent.chunks(10_000).map(|part| Ok(BodyFrame::data(sent.slice_ref(part)))).collect();
    let body = StreamBody::new(futures_util::stream::iter(parts)).boxed();
    let request = http::Request::post("http://api.test/").body(body).unwrap();
    let reply = proxy.connect_h2().await.ask(request).await;
    assert!(reply.whole && reply.body == sent, "{} of {}", reply.body.len(), sent.len());
}

#[tokio::test]
async fn an_origin_that_does_not_read_stalls_the_client() {
    let origin = H2Origin::start(async |call: H2Call| {
        let _held = call;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 200000000\r\n\r\n").await;
    let part = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), client.wire.say(&part)).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "{sent} MiB were taken");
    }
}

#[tokio::test]
async fn the_head_is_one_of_http2() {
    let origin = H2Origin::always("").await;
    let proxy = proxy(&origin, "").await;
    let fields =
        ["Te: trailers", "Connection: te, x-hop", "X-Hop: 1", "Cookie: a=1; b=2", "Upgrade: h2c", "X-Up: 1"];
    proxy.ask("GET", "/a?b=c", &fields, "").await;
    let head = origin.last();
    let own = origin.address.to_string();
    assert_eq!(head.uri().to_string(), format!("http://{own}/a?b=c"));
    let headers = head.headers();
    for gone in ["host", "connection", "upgrade", "x-hop", "transfer-encoding", "content-length"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    for (name, value) in
        [("te", "trailers"), ("cookie", "a=1; b=2"), ("x-up", "1"), ("via", "1.1 proxy-stone")]
    {
        assert_eq!(headers[name], value);
    }
    proxy.ask("OPTIONS", "*", &[], "").await;
    assert_eq!(origin.last().uri().path(), "*");
}

#[tokio::test]
async fn a_get_s_body_of_unknown_length_is_kept() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let (body, _) = call.whole().await.unwrap();
        call.answer(200, body);
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    client
        .say("GET / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.reply("GET").await.text(), "abc");
    assert_eq!(client.ask("GET", "/", &["content-length: 2"], "de").await.text(), "de");
    assert_eq!(origin.last().headers()["content-length"], "2");
    assert_eq!(client.ask("POST", "/", &["content-length: 0"], "").await.text(), "");
    assert_eq!(origin.last().headers()["content-length"], "0");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let (_, trailers) = call.whole().await.unwrap();
        let mut sender = call.begin(200, &[("trailer", "x-back")]);
        let mut back = http::HeaderMap::new();
        back.insert("x-back", trailers.expect("trailers")["x-sum"].clone());
        sender.send_trailers(back).unwrap();
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    client
        .say(
            "POST / HTTP/1.1\r\nhost: api.test\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n",
        )
        .await;
    assert_eq!(client.reply("POST").await.trailers.get("x-back"), Some("6"));
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = StreamBody::new(futures_util::stream::iter([Ok(BodyFrame::trailers(trailers))])).boxed();
    let request = http::Request::post("http://api.test/").header("te", "trailers").body(body).unwrap();
    let reply = proxy.connect_h2().await.ask(request).await;
    assert_eq!(reply.trailers.get("x-back"), Some("7"));
}

#[tokio::test]
async fn interim_replies_pass_and_ask_for_the_body() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let hint = http::Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
        call.respond.send_informational(hint).unwrap();
        if call.request.headers().contains_key("expect") {
            call.respond.send_informational(http::Response::builder().status(100).body(()).unwrap()).unwrap();
            let (body, _) = call.whole().await.unwrap();
            assert_eq!(body, b"body");
        }
        call.answer(200, "final");
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    let reply = client.ask("GET", "/", &[], "").await;
    assert_eq!((reply.interim.len(), reply.interim[0].status(), reply.text()), (1, 103, "final"));
    client
        .say("POST / HTTP/1.1\r\nhost: api.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    let mut asked = client.head().await.status();
    if asked == 103 {
        asked = client.head().await.status();
    }
    assert_eq!(asked, 100);
    client.say("body").await;
    assert_eq!(client.reply("POST").await.text(), "final");
}

#[tokio::test]
async fn rfc_9113_8_1_an_early_reply_ends_the_upload() {
    let (listener, proxy) = raw("").await;
    let forever = futures_util::stream::once(async { Ok(BodyFrame::data(Bytes::from_static(b"part"))) });
    let forever = futures_util::StreamExt::chain(forever, futures_util::stream::pending());
    let request = http::Request::post("http://api.test/").body(StreamBody::new(forever).boxed()).unwrap();
    let client = proxy.connect_h2().await;
    let asked = tokio::spawn(async move { client.ask(request).await });
    let mut peer = Frames::accept(&listener, &[]).await;
    peer.until(DATA).await.unwrap();
    peer.send(&Frame::headers(1, 0, &[(":status", "413"), ("content-length", "5")])).await;
    peer.send(&Frame::new(DATA, END_STREAM, 1, *b"large")).await;
    peer.send(&Frame::new(RST_STREAM, 0, 1, [0; 4])).await;
    let reply = within(asked).await.unwrap();
    assert_eq!((reply.status, reply.text(), reply.whole), (413, "large", true));
}

#[tokio::test]
async fn a_reply_that_is_cut_is_never_taken_for_whole() {
    let (listener, proxy) = raw("").await;
    let address = proxy.address;
    for code in [0, 2, 8] {
        let mut client = Frames::connect(address).await;
        client.get(1, "/").await;
        let mut peer = Frames::accept(&listener, &[]).await;
        let stream = peer.until(HEADERS).await.unwrap().stream;
        peer.send(&Frame::headers(stream, 0, &[(":status", "200")])).await;
        peer.send(&Frame::new(DATA, 0, stream, *b"half")).await;
        assert_eq!(client.until(DATA).await.unwrap().payload, b"half");
        peer.send(&Frame::new(RST_STREAM, 0, stream, [0, 0, 0, code])).await;
        assert_eq!(
            client.until(RST_STREAM).await.unwrap().code(),
            2,
            "INTERNAL_ERROR, whatever it was there"
        );
        drop(peer);
        until("the connection is gone", || endpoint(&proxy).connections == 0).await;
    }
}

#[tokio::test]
async fn replies_that_break_the_rules_are_bad_replies() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("no status", &[("x", "1")]),
        ("101", &[(":status", "101")]),
        ("connection-specific", &[(":status", "200"), ("connection", "close")]),
        ("transfer-encoding", &[(":status", "200"), ("transfer-encoding", "chunked")]),
        ("upper case", &[(":status", "200"), ("X-Up", "1")]),
        ("CRLF", &[(":status", "200"), ("x", "a\r\nb: c")]),
        ("differing lengths", &[(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
        ("unknown pseudo-field", &[(":status", "200"), (":x", "1")]),
        ("pseudo-field behind a field", &[("x", "1"), (":status", "200")]),
    ];
    let (listener, proxy) = raw("retries = 0").await;
    for (what, fields) in cases {
        let asked = ask(&proxy, 1);
        let mut peer = Frames::accept(&listener, &[]).await;
        let stream = peer.until(HEADERS).await.unwrap().stream;
        peer.send(&Frame::headers(stream, END_STREAM, fields)).await;
        assert_eq!(statuses(asked).await, [502], "{what}");
        drop(peer);
        until("the connection is gone", || endpoint(&proxy).connections == 0).await;
    }
}

#[tokio::test]
async fn an_origin_that_speaks_no_http2_gives_no_reply() {
    let origin = Origin::always(crate::support::Answer::ok("")).await;
    let config = format!(
        "upstream = \"api\"\ncache = false\n[upstreams.api]\nurl = \"{}\"\nprotocol = \"h2\"",
        origin.url()
    );
    assert_eq!(Proxy::of(config).start().await.get("/").await.status, 502);
}

#[tokio::test]
async fn an_origin_that_stays_silent_times_out_and_is_asked_for_a_sign_of_life() {
    let (listener, proxy) = raw("first_byte_timeout = \"50ms\"\nhttp2 = { ping_timeout = \"50ms\" }").await;
    let asked = ask(&proxy, 1);
    let mut peer = Frames::accept(&listener, &[]).await;
    let stream = peer.until(HEADERS).await.unwrap().stream;
    let reset = peer.until(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (stream, 8), "CANCEL");
    assert_eq!(statuses(asked).await, [504]);
    let ping = peer.until(PING).await.unwrap();
    peer.send(&Frame::new(PING, ACK, 0, ping.payload)).await;
    // It lives: the next one goes there, too. This time nothing comes back at all.
    let asked = ask(&proxy, 1);
    assert_eq!(peer.until(HEADERS).await.unwrap().stream, stream + 2);
    assert_eq!(statuses(asked).await, [504]);
    peer.until(PING).await.unwrap();
    until("the connection is given up", || endpoint(&proxy).connections == 0).await;
}

#[tokio::test]
async fn a_silent_connection_is_asked_for_a_sign_of_life_where_that_is_wanted() {
    let (listener, proxy) = raw("http2 = { ping_interval = \"30ms\", ping_timeout = \"5s\" }").await;
    let asked = ask(&proxy, 1);
    let mut peer = Frames::accept(&listener, &[]).await;
    peer.until(HEADERS).await.unwrap();
    for _ in 0..3 {
        let ping = peer.until(PING).await.unwrap();
        peer.send(&Frame::new(PING, ACK, 0, ping.payload)).await;
    }
    peer.send(&ok(1)).await;
    assert_eq!(statuses(asked).await, [200]);
}

#[tokio::test]
async fn an_unused_connection_is_closed_in_good_order() {
    let (listener, proxy) = raw("keepalive = \"60ms\"").await;
    let asked = ask(&proxy, 1);
    let mut peer = Frames::accept(&listener, &[]).await;
    peer.until(HEADERS).await.unwrap();
    peer.send(&ok(1)).await;
    statuses(asked).await;
    assert_eq!(peer.until(GOAWAY).await.unwrap().code(), 0);
    assert!(peer.next().await.is_none());
    until("its place is free", || endpoint(&proxy).connections == 0).await;
}

#[tokio::test]
async fn head_and_bodiless_replies_leave_the_connection_usable() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let status: u16 = call.path()[1..].parse().unwrap();
        let reply = http::Response::builder().status(status).header("content-length", "5").body(()).unwrap();
        call.respond.send_response(reply, true).unwrap();
    })
    .await;
    let proxy = proxy(&origin, "").await;
    let mut client = proxy.connect().await;
    let reply = client.ask("HEAD", "/200", &[], "").await;
    assert_eq!((reply.status, reply.field("content-length")), (200, Some("5")));
    assert_eq!(client.get("/304").await.status, 304);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn replies_are_stored_as_they_are_from_http_1_1() {
    let origin = H2Origin::start(async |mut call: H2Call| {
        let mut sender = call.begin(200, &[("cache-control", "max-age=60")]);
        sender.send_data(Bytes::from_static(b"stored"), true).unwrap();
    })
    .await;
    let config = origin.config("").replace("cache = false\n", "");
    let proxy = Proxy::of(config).start().await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "stored");
    }
    assert_eq!(origin.hits(), 1);
}
