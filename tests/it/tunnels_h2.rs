//! WebSockets on streams of HTTP/2 (RFC 8441), to origins that speak HTTP/1.1.

use std::time::Duration;

use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proxy_stone::http::websocket;
use proxy_stone::telemetry::event::End;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::frames::{
    DATA, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::support::{Answer, Call, Gate, H2, Origin, Proxy, Sent, numbered, until, within};

const CANCEL: u32 = 8;

/// Agrees to the handshake, with these fields beside the usual ones.
async fn agree(call: &mut Call, fields: &str) {
    let accept = websocket::accept(call.request.fields.get("sec-websocket-key").unwrap_or_default());
    call.say(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
    ))
    .await;
}

/// Agrees, and repeats what it is told until the end.
async fn echo(call: &mut Call) {
    if !call.request.fields.has("upgrade") {
        return call.answer(&Answer::ok("plain")).await;
    }
    agree(call, "").await;
    loop {
        let heard = call.wire.some().await;
        if heard.is_empty() || !call.say(&heard).await {
            return call.cut();
        }
    }
}

fn connect(target: &str, protocol: &'static str, fields: &[(&str, &str)]) -> http::Request<Sent> {
    let mut request = H2::request("CONNECT", target, "");
    request.extensions_mut().insert(Protocol::from_static(protocol));
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, http::HeaderValue::from_str(value).unwrap());
    }
    request
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

/// A WebSocket on a stream of its own.
async fn open(client: &H2, target: &str) -> TokioIo<Upgraded> {
    let reply = client.begin(connect(target, "websocket", &[VERSION])).await.unwrap();
    assert_eq!(reply.status(), 200, "{reply:?}");
    TokioIo::new(within(hyper::upgrade::on(reply)).await.unwrap())
}

async fn hear(socket: &mut TokioIo<Upgraded>, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    within(socket.read_exact(&mut heard)).await.unwrap();
    heard
}

/// One that is looked at frame by frame, on stream 1.
async fn frames(proxy: &Proxy, settings: &[(u16, u32)]) -> Frames {
    let mut frames = Frames::bare(proxy.address).await;
    frames.raw(crate::support::frames::PREFACE).await;
    frames.settings(settings).await;
    frames.send(&Frame::headers(1, 0, &connecting("/ws"))).await;
    let head = frames.until(HEADERS).await.unwrap();
    assert_eq!((head.status(), head.flags & END_STREAM), (200, 0));
    frames
}

fn connecting(target: &str) -> [(&str, &str); 6] {
    [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "api.test"),
        (":path", target),
        VERSION,
    ]
}

#[tokio::test]
async fn a_websocket_passes_beside_requests() {
    let origin = Origin::start(async |call: &mut Call| {
        if !call.request.fields.has("upgrade") {
            return echo(call).await;
        }
        agree(call, "Sec-WebSocket-Protocol: chat\r\nX-Own: 1\r\n").await;
        loop {
            let heard = call.wire.some().await;
            if heard.is_empty() || !call.say(&heard).await {
                return call.cut();
            }
        }
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let client = proxy.connect_h2().await;
    let asked =
        [VERSION, ("sec-websocket-protocol", "super, chat"), ("sec-websocket-key", "mine"), ("x-a", "b")];
    let reply = client.begin(connect("/ws?a=1", "websocket", &asked)).await.unwrap();
    assert_eq!(reply.status(), 200);
    let field = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!((field("sec-websocket-protocol"), field("x-own")), (Some("chat"), Some("1")));
    for gone in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert_eq!(field(gone), None, "RFC 8441 5");
    }
    let head = origin.last();
    assert_eq!((head.word(0), head.word(1), head.word(2)), ("GET", "/ws?a=1", "HTTP/1.1"));
    assert_eq!(head.fields.all("sec-websocket-key").len(), 1);
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "super, chat"),
        ("x-a", "b"),
    ] {
        assert_eq!(head.fields.get(name), Some(value), "{name}");
    }
    let mut socket = TokioIo::new(within(hyper::upgrade::on(reply)).await.unwrap());
    for message in [&b"\x81\x85abcdHELLO"[..], b"\x00\xff", &numbered(200_000)] {
        let (mut read, mut write) = tokio::io::split(&mut socket);
        let mut heard = vec![0; message.len()];
        let (said, _) =
            within(async { tokio::join!(write.write_all(message), read.read_exact(&mut heard)) }).await;
        said.unwrap();
        assert_eq!(heard, message);
    }
    assert_eq!(client.get("/other").await.text(), "plain");
    assert_eq!((proxy.instance.proxy.tunnels().open(), proxy.instance.connections()), (1, 1));
    within(socket.shutdown()).await.unwrap();
    assert_eq!(within(socket.read_u8()).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let finished = proxy.finished(2).await;
    let tunnel = finished.iter().find(|event| event.lasting).unwrap();
    assert_eq!((tunnel.status, tunnel.received, tunnel.sent), (200, 200_013, 200_013));
    assert_eq!(tunnel.end, End::Complete);
    assert!(proxy.instance.telemetry.openmetrics().contains("tunnels_ended{reason=\"client_closed\"} 1"));
    assert_eq!(client.get("/other").await.text(), "plain", "the connection goes on");
    assert_eq!(proxy.instance.connections(), 1);
}

#[tokio::test]
async fn it_is_offered_in_the_settings() {
    let origin = Origin::start(echo).await;
    let proxy = Proxy::passing(&origin).await;
    let mut frames = Frames::connect(proxy.address).await;
    let settings = frames.until(SETTINGS).await.unwrap().payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
}

#[tokio::test]
async fn what_is_no_websocket_has_no_tunnel() {
    let origin = Origin::start(async |call: &mut Call| match call.target() {
        "/no" => call.answer(&Answer::new(403).body("no")).await,
        "/plain" => call.answer(&Answer::ok("a page")).await,
        "/empty" => call.answer(&Answer::new(204)).await,
        "/wrong" => {
            call.say(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await;
            call.gone().await;
        }
        _ => echo(call).await,
    })
    .await;
    let proxy = Proxy::of(format!(
        "upstream = \"{}\"\n[[routes]]\nmatch = {{ path = \"/own\" }}\nrespond = {{ body = \"fine\" }}\n\
         [[routes]]\nmatch = {{ path = \"/moved\" }}\nrespond = {{ status = 410 }}\n\
         [[routes]]\nmatch = {{ path = \"/never\" }}\nupgrade = []",
        origin.url()
    ))
    .start()
    .await;
    let client = proxy.connect_h2().await;
    for (target, protocol, version, status) in [
        ("/ws", "connect-udp", Some("13"), 501),
        ("/never", "websocket", Some("13"), 501),
        ("/own", "websocket", Some("13"), 501),
        ("/moved", "websocket", Some("13"), 410),
        ("/ws", "websocket", Some("8"), 400),
        ("/ws", "websocket", None, 400),
        ("/no", "websocket", Some("13"), 403),
        ("/plain", "websocket", Some("13"), 502),
        ("/empty", "websocket", Some("13"), 502),
        ("/wrong", "websocket", Some("13"), 502),
    ] {
        let fields: Vec<_> = version.map(|version| ("sec-websocket-version", version)).into_iter().collect();
        let reply = client.ask(connect(target, protocol, &fields)).await;
        assert_eq!(reply.status, status, "{target} {protocol} {version:?}");
        assert_eq!(reply.field("sec-websocket-version"), (status == 400).then_some("13"));
    }
    assert_eq!(client.get("/").await.text(), "plain", "the connection goes on");
    let asked: Vec<String> = origin.requests().iter().map(|head| head.word(1).to_owned()).collect();
    assert_eq!(asked, ["/no", "/plain", "/empty", "/wrong", "/"]);
    assert_eq!(proxy.instance.proxy.tunnels().open(), 0);
}

#[tokio::test]
async fn a_malformed_one_is_reset() {
    let origin = Origin::start(echo).await;
    let proxy = Proxy::passing(&origin).await;
    for without in [":scheme", ":path"] {
        let mut frames = Frames::connect(proxy.address).await;
        let fields: Vec<_> = connecting("/ws").into_iter().filter(|(name, _)| *name != without).collect();
        frames.send(&Frame::headers(1, 0, &fields)).await;
        assert_eq!(frames.until(RST_STREAM).await.unwrap().code(), 1, "RFC 8441 4: without {without}");
    }
    let mut frames = Frames::connect(proxy.address).await;
    let fields: Vec<_> = connecting("/ws")
        .into_iter()
        .map(|(name, value)| if name == ":method" { (name, "GET") } else { (name, value) })
        .collect();
    frames.send(&Frame::headers(1, 0, &fields)).await;
    assert_eq!(frames.until(RST_STREAM).await.unwrap().code(), 1);
    assert!(frames.works(3).await);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_is_gone() {
    let origin = Origin::start(async |call: &mut Call| {
        agree(call, "").await;
        call.say("ready").await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    for (code, others) in [(CANCEL, false), (0, false), (2, false), (CANCEL, true)] {
        let mut frames = frames(&proxy, &[]).await;
        if others {
            frames.send(&Frame::headers(3, 0, &connecting("/ws"))).await;
            assert_eq!(frames.until(HEADERS).await.unwrap().status(), 200);
        }
        frames.send(&Frame::new(RST_STREAM, 0, 1, code.to_be_bytes())).await;
        let left = usize::from(others);
        until("it has ended", || proxy.instance.proxy.tunnels().open() == left).await;
    }
    let finished = proxy.finished(4).await;
    assert!(finished.iter().all(|event| event.end == End::ClientAborted), "{finished:?}");
}

#[tokio::test]
async fn an_upstream_that_breaks_is_told_from_one_that_closes() {
    let origin = Origin::start(async |call: &mut Call| {
        agree(call, "").await;
        call.say([0x81, 1, b'x']).await;
        match call.target() {
            "/breaks" => call.reset(),
            _ => call.cut(),
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = Frames::connect(proxy.address).await;
    for (stream, target) in [(1, "/closes"), (3, "/breaks")] {
        client.send(&Frame::headers(stream, 0, &connecting(target))).await;
        assert_eq!(client.until(HEADERS).await.unwrap().status(), 200);
        let mut ended = false;
        loop {
            let frame = client.next().await.unwrap();
            match frame.kind {
                DATA if frame.flags & END_STREAM != 0 => {
                    ended = true;
                    client.send(&Frame::new(DATA, END_STREAM, stream, [])).await;
                    break;
                }
                RST_STREAM => {
                    assert_eq!((frame.stream, frame.code()), (3, CANCEL), "RFC 8441 5");
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(ended, target == "/closes");
    }
    let ends: Vec<End> = proxy.finished(2).await.iter().map(|event| event.end).collect();
    assert!(ends.contains(&End::Complete) && ends.contains(&End::UpstreamAborted), "{ends:?}");
    assert_eq!(proxy.instance.connections(), 1);
}

#[tokio::test]
async fn who_does_not_read_holds_up_only_itself() {
    const MUCH: usize = 64 << 20;
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.target() != "/ws" {
            return echo(call).await;
        }
        agree(call, "").await;
        let part = numbered(64 << 10);
        while count.load(std::sync::atomic::Ordering::SeqCst) < MUCH {
            let Ok(more) = call.wire.try_say(&part).await else { return };
            count.fetch_add(more, std::sync::atomic::Ordering::SeqCst);
        }
        call.cut();
    })
    .await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\nworkers = 1", origin.url())).start().await;
    // Its window takes a thousand bytes.
    let mut slow = frames(&proxy, &[(4, 1000)]).await;
    let so_far = || written.load(std::sync::atomic::Ordering::SeqCst);
    let (mut last, mut still) = (0, 0);
    while still < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = so_far();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    assert!(last < MUCH / 2, "{last}: the system's own buffers, and 64 KiB of ours");
    slow.send(&Frame::headers(3, 0, &connecting("/echo"))).await;
    let head = slow.until(HEADERS).await.unwrap();
    assert_eq!((head.stream, head.status()), (3, 200));
    slow.send(&Frame::new(DATA, 0, 3, *b"another goes on")).await;
    let other = loop {
        let frame = slow.until(DATA).await.unwrap();
        if frame.stream == 3 {
            break frame;
        }
    };
    assert_eq!(other.payload, b"another goes on");
    for stream in [0, 1] {
        slow.send(&Frame::new(WINDOW_UPDATE, 0, stream, (1_u32 << 30).to_be_bytes())).await;
    }
    let mut read = 1000;
    loop {
        let frame = slow.until(DATA).await.unwrap();
        read += frame.payload.len();
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(read, so_far());
}

#[tokio::test]
async fn draining_says_goaway_and_1001_between_two_frames() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        agree(call, "").await;
        call.say([0x82, 4, b'a', b'b']).await;
        pass.pass().await;
        call.say(b"cd").await;
        let told = call.wire.some().await;
        assert_eq!(told[..2], [0x88, 0x82]);
        call.say([0x88, 2, 0x03, 0xe9]).await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut frames = frames(&proxy, &[]).await;
    assert_eq!(frames.until(DATA).await.unwrap().payload, [0x82, 4, b'a', b'b']);
    proxy.instance.drain();
    assert_eq!(frames.until(GOAWAY).await.unwrap().code(), 0);
    gate.open();
    let mut heard = Vec::new();
    while heard.len() < 6 {
        heard.extend(frames.until(DATA).await.unwrap().payload);
    }
    assert_eq!(heard, *b"cd\x88\x02\x03\xe9");
    frames.send(&Frame::new(DATA, 0, 1, [0x88, 0x82, 1, 1, 1, 1, 0x02, 0xe8])).await;
    while frames.until(DATA).await.unwrap().flags & END_STREAM == 0 {}
    frames.send(&Frame::new(DATA, END_STREAM, 1, [])).await;
    assert_eq!(proxy.instance.drained(Duration::from_secs(10)).await, 0);
    assert_eq!(proxy.finished(1).await[0].end, End::Complete);
}

#[tokio::test]
async fn one_that_is_cut_is_no_orderly_end() {
    let origin = Origin::start(async |call: &mut Call| {
        agree(call, "").await;
        // Never a whole frame.
        call.say([0x82, 9]).await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut frames = frames(&proxy, &[]).await;
    frames.until(DATA).await.unwrap();
    proxy.instance.drain();
    assert_eq!(proxy.instance.drained(Duration::from_millis(50)).await, 1);
    proxy.close().await;
    while let Some(frame) = frames.next().await {
        assert!(frame.kind != DATA || frame.flags & END_STREAM == 0, "{frame:?}");
    }
    until("the origin's connection is closed", || origin.closed() == 1).await;
}

#[tokio::test]
async fn an_idle_one_is_ended_and_the_connection_is_not() {
    let origin = Origin::start(echo).await;
    let proxy =
        Proxy::of(format!("upstream = \"{}\"\n[[routes]]\ntunnel_idle_timeout = \"200ms\"", origin.url()))
            .start()
            .await;
    let client = proxy.connect_h2().await;
    let mut socket = open(&client, "/ws").await;
    assert_eq!(hear(&mut socket, 4).await, [0x88, 2, 0x03, 0xe9]);
    within(socket.write_all(b"\x88\x80abcd")).await.unwrap();
    assert_eq!(within(socket.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(proxy.finished(1).await[0].end, End::TimedOut);
    assert_eq!(client.get("/").await.text(), "plain");
    assert_eq!(proxy.instance.connections(), 1);
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be() {
    let origin = Origin::start(echo).await;
    let proxy =
        Proxy::of(format!("upstream = \"{}\"\n[server]\nmax_tunnels = 2", origin.url())).start().await;
    let client = proxy.connect_h2().await;
    let first = open(&client, "/1").await;
    let mut second = open(&client, "/2").await;
    let refused = client.ask(connect("/3", "websocket", &[VERSION])).await;
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    drop(first);
    until("there is room again", || proxy.instance.proxy.tunnels().open() == 1).await;
    let mut third = open(&client, "/3").await;
    for socket in [&mut second, &mut third] {
        within(socket.write_all(b"still")).await.unwrap();
        assert_eq!(hear(socket, 5).await, b"still");
    }
    drop(client);
    drop((second, third));
    until("nothing is left", || proxy.instance.proxy.tunnels().open() == 0 && origin.closed() == 3).await;
}
