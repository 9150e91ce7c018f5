//! Connections that speak another protocol: WebSockets and whatever else a route permits (RFC 9110 7.8, RFC 6455).

use std::time::Duration;

use proxy_stone::http::websocket;
use proxy_stone::telemetry::event::End;

use crate::support::{Answer, Call, Client, Gate, Head, Origin, Proxy, numbered, until, within};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake with these fields beside the usual ones.
fn handshake(target: &str, fields: &[&str]) -> String {
    let mut text = format!(
        "GET {target} HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    for field in fields {
        text += field;
        text += "\r\n";
    }
    text + "\r\n"
}

/// A 101 with these fields.
fn switching(protocol: &str, fields: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{fields}\r\n")
}

fn agreed() -> String {
    switching("websocket", &format!("Sec-WebSocket-Accept: {ACCEPT}\r\n"))
}

/// Agrees, and repeats what it is told until the end.
async fn echo(call: &mut Call) {
    if !call.request.fields.has("upgrade") {
        return call.answer(&Answer::ok("plain").field("cache-control", "max-age=60")).await;
    }
    call.say(agreed()).await;
    loop {
        let heard = call.wire.some().await;
        if heard.is_empty() || !call.say(&heard).await {
            return call.cut();
        }
    }
}

async fn proxy_of(origin: &Origin, rest: &str) -> Proxy {
    Proxy::of(format!("upstream = \"{}\"\n{rest}", origin.url())).start().await
}

/// A client whose handshake was answered with 101.
async fn open(proxy: &Proxy) -> (Client, Head) {
    let mut client = proxy.connect().await;
    client.say(handshake("/ws", &[])).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101, "{head:?}");
    (client, head)
}

async fn hear(client: &mut Client, length: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < length {
        let more = client.wire.some().await;
        assert!(!more.is_empty(), "it ended after {} bytes", heard.len());
        heard.extend_from_slice(&more);
    }
    heard
}

/// Whatever a stored reply would spare the origin, a tunnel costs it.
#[tokio::test]
async fn a_websocket_counts_towards_limits_of_the_origin() {
    let origin = Origin::start(echo).await;
    let limit = "[rate_limits.origin]\nrate = '2/h'\ncounts = 'origin'\nevery_route = true\n";
    let proxy = proxy_of(&origin, limit).await;
    for hit in [false, true, true] {
        assert_eq!(proxy.get("/a").await.cache_status().contains("hit"), hit);
        proxy.stored(1).await;
    }
    let (_held, _) = open(&proxy).await;
    let mut client = proxy.connect().await;
    client.say(handshake("/ws", &[])).await;
    assert_eq!(client.head().await.status(), 429);
    assert_eq!(proxy.get("/a").await.status, 200, "what is stored costs the origin nothing");
}

#[tokio::test]
async fn a_websocket_passes_through_a_route_that_caches() {
    let origin = Origin::start(echo).await;
    let proxy = Proxy::caching(&origin).await;
    let (mut client, head) = open(&proxy).await;
    assert_eq!(head.fields.get("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(
        (head.fields.get("upgrade"), head.fields.get("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    for gone in ["content-length", "transfer-encoding"] {
        assert!(!head.fields.has(gone), "{head:?}");
    }
    let asked = origin.last();
    assert_eq!(
        (asked.fields.get("upgrade"), asked.fields.get("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    assert_eq!(asked.fields.get("sec-websocket-key"), Some(KEY));
    assert!(asked.fields.has("x-forwarded-for") && asked.fields.has("via"));
    for message in [&b"\x81\x85abcdHELLO"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff\n\n"] {
        client.say(message).await;
        assert_eq!(hear(&mut client, message.len()).await, message);
    }
    assert_eq!(proxy.instance.proxy.tunnels().open(), 1);
    assert_eq!(proxy.get("/ws").await.text(), "plain", "nothing was stored of it");
    drop(client);
    let finished = proxy.finished(2).await;
    let tunnel = finished.iter().find(|event| event.status == 101).unwrap();
    assert_eq!((tunnel.received, tunnel.sent, tunnel.lasting), (33, 33, true));
    assert_eq!(tunnel.end, End::Complete);
    let metrics = proxy.instance.telemetry.openmetrics();
    for line in [
        "proxy_stone_tunnels 0",
        "proxy_stone_tunnel_bytes{direction=\"to_client\"} 33",
        "proxy_stone_tunnels_ended{reason=\"client_closed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// An origin that says the same back, once the gate lets it.
async fn gated() -> (Gate, Origin, Proxy) {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        echo(call).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    (gate, origin, proxy)
}

#[tokio::test]
async fn what_the_client_says_early_is_kept_for_the_other_protocol() {
    let (gate, origin, proxy) = gated().await;
    let mut client = proxy.connect().await;
    let early = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    client.say(handshake("/ws", &[]) + early).await;
    origin.hit(1).await;
    gate.open_for(2);
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(hear(&mut client, early.len()).await, early.as_bytes());
    assert_eq!(origin.hits(), 1, "nobody has read it as a request");
}

#[tokio::test]
async fn a_refusal_passes_as_it_is_and_the_connection_goes_on() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/ws" => Answer::new(403).field("cache-control", "max-age=60").body("no"),
        _ => Answer::ok("yes"),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let mut client = proxy.connect().await;
    for hits in 1..=2 {
        client
            .say(
                handshake("/ws", &[])
                    + "GET /next HTTP/1.1\r\nHost: api.test\r\nCache-Control: no-store\r\n\r\n",
            )
            .await;
        let reply = client.reply("GET").await;
        assert_eq!((reply.status, reply.text()), (403, "no"));
        assert!(!reply.fields.has("upgrade"));
        assert_eq!(client.reply("GET").await.text(), "yes", "what came early was a request after all");
        assert_eq!(
            origin.requests().iter().filter(|head| head.word(1) == "/ws").count(),
            hits,
            "never stored"
        );
    }
    assert_eq!(proxy.instance.proxy.tunnels().open(), 0);
}

#[tokio::test]
async fn a_malformed_handshake_is_refused_here() {
    let origin = Origin::start(echo).await;
    let proxy = Proxy::passing(&origin).await;
    let of = |version: &str, key: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{version}{key}\r\n"
        )
    };
    let (version, key) = ("Sec-WebSocket-Version: 13\r\n", format!("Sec-WebSocket-Key: {KEY}\r\n"));
    for (request, status) in [
        (of(version, ""), 400),
        (of(version, "Sec-WebSocket-Key: dGhl\r\n"), 400),
        (of(version, &format!("{key}{key}")), 400),
        (of("", &key), 426),
        (of("Sec-WebSocket-Version: 8\r\n", &key), 426),
    ] {
        let mut client = proxy.connect().await;
        client.say(&request).await;
        let reply = client.reply("GET").await;
        assert_eq!((reply.status, reply.field("sec-websocket-version")), (status, Some("13")), "{request}");
        assert_eq!(reply.field("upgrade"), (status == 426).then_some("websocket"));
        assert_eq!(client.get("/next").await.text(), "plain", "the connection goes on");
    }
    assert!(origin.requests().iter().all(|head| head.word(1) == "/next"));
}

#[tokio::test]
async fn an_upstream_that_agrees_wrongly_is_a_bad_gateway() {
    let wrong = [
        switching("websocket", "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"),
        switching("websocket", ""),
        switching("other", &format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        switching(
            "websocket",
            &format!("Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: evil\r\n"),
        ),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        ),
    ];
    for answer in wrong {
        let said = answer.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            call.say(&said).await;
            call.gone().await;
        })
        .await;
        let proxy = Proxy::passing(&origin).await;
        let mut client = proxy.connect().await;
        client.say(handshake("/ws", &["Sec-WebSocket-Protocol: chat"])).await;
        assert_eq!(client.reply("GET").await.status, 502, "{answer}");
        until("its connection is closed", || origin.closed() == 1).await;
        assert_eq!(proxy.instance.proxy.tunnels().open(), 0);
    }
}

#[tokio::test]
async fn the_subprotocol_that_was_chosen_passes() {
    let origin = Origin::start(async |call: &mut Call| {
        let fields = format!("Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: chat\r\n");
        call.say(switching("WebSocket", &fields)).await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say(handshake("/ws", &["Sec-WebSocket-Protocol: super, chat"])).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.fields.get("sec-websocket-protocol")), (101, Some("chat")));
}

#[tokio::test]
async fn what_is_not_permitted_is_a_request_like_any_other() {
    let origin =
        Origin::answering(|request| Answer::ok(format!("{:?}", request.fields.get("upgrade")))).await;
    let proxy = Proxy::passing(&origin).await;
    let websocket = "Upgrade: websocket";
    let fields = |upgrade| {
        [
            upgrade,
            "Connection: Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "Sec-WebSocket-Version: 13",
        ]
    };
    for (method, upgrade, body) in [
        ("GET", "Upgrade: h2c", ""),
        ("GET", "Upgrade: TLS/1.0, HTTP/2.0", ""),
        ("GET", "Upgrade: other", ""),
        ("POST", websocket, ""),
        ("HEAD", websocket, ""),
        ("GET", websocket, "a body"),
    ] {
        let mut client = proxy.connect().await;
        let reply = client.ask(method, "/", &fields(upgrade), body).await;
        assert_eq!(reply.status, 200, "{method} {upgrade}");
        assert_eq!(reply.text(), if method == "HEAD" { "" } else { "None" }, "{method} {upgrade}");
        assert!(!origin.last().fields.has("http2-settings"));
        assert_eq!(client.get("/next").await.text(), "None", "the connection goes on");
    }
    let mut old = proxy.connect().await;
    old.say(handshake("/", &[]).replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(old.reply("GET").await.text(), "None");
    let reply = proxy.ask("GET", "/", &[websocket], "").await;
    assert_eq!(reply.text(), "None", "Connection does not say so");
}

#[tokio::test]
async fn a_route_permits_others_or_none() {
    let origin = Origin::start(async |call: &mut Call| {
        let Some(protocol) = call.request.fields.get("upgrade").map(str::to_owned) else {
            return call.answer(&Answer::ok("plain")).await;
        };
        call.say(switching(&protocol, "")).await;
        call.say("ready").await;
        call.gone().await;
    })
    .await;
    let proxy = proxy_of(
        &origin,
        "[[routes]]\nmatch = { path = \"/exec/*\" }\nupgrade = [\"SPDY/3.1\", \"tcp\"]\n\
         [[routes]]\nmatch = { path = \"/none\" }\nupgrade = []",
    )
    .await;
    let mut client = proxy.connect().await;
    client.say("POST /exec/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: foo, TCP\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.fields.get("upgrade")), (101, Some("tcp")));
    assert_eq!(hear(&mut client, 5).await, b"ready");
    let mut none = proxy.connect().await;
    none.say(handshake("/none", &[])).await;
    assert_eq!(none.reply("GET").await.text(), "plain");
    let mut other = proxy.connect().await;
    other.say(handshake("/exec/2", &[])).await;
    assert_eq!(other.reply("GET").await.text(), "plain");
}

#[tokio::test]
async fn who_does_not_read_holds_up_only_who_writes_to_it() {
    const MUCH: usize = 64 << 20;
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(agreed()).await;
        let part = numbered(64 << 10);
        while count.load(std::sync::atomic::Ordering::SeqCst) < MUCH {
            let Ok(more) = call.wire.try_say(&part).await else { return };
            count.fetch_add(more, std::sync::atomic::Ordering::SeqCst);
        }
        call.cut();
    })
    .await;
    let other = Origin::start(echo).await;
    let proxy = proxy_of(
        &origin,
        &format!("workers = 1\n[[routes]]\nmatch = {{ path = \"/echo\" }}\nupstream = \"{}\"", other.url()),
    )
    .await;
    let mut slow = Client::connect_narrow(proxy.address).await;
    slow.say(handshake("/ws", &[])).await;
    let so_far = || written.load(std::sync::atomic::Ordering::SeqCst);
    // It stands still once all buffers on the way are full.
    let (mut last, mut still) = (0, 0);
    while still < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = so_far();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    assert!(last < MUCH / 2, "{last}: the system's own buffers, and 16 KiB of ours");
    let mut client = proxy.connect().await;
    client.say(handshake("/echo", &[])).await;
    assert_eq!(client.head().await.status(), 101);
    client.say("other clients go on").await;
    assert_eq!(hear(&mut client, 19).await, b"other clients go on");
    assert_eq!(slow.head().await.status(), 101);
    let mut read = 0;
    loop {
        let more = slow.wire.some().await.len();
        if more == 0 {
            break;
        }
        read += more;
    }
    assert_eq!(read, so_far());
}

#[tokio::test]
async fn draining_says_1001_between_two_frames() {
    let gate = Gate::new();
    let pass = gate.clone();
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let note = heard.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(agreed()).await;
        // A frame of 100 000 bytes, in two parts.
        let mut frame = vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0x86, 0xa0];
        frame.extend_from_slice(&numbered(100_000));
        call.say(&frame[..50_000]).await;
        pass.pass().await;
        call.say(&frame[50_000..]).await;
        call.say([0x81, 1, b'x']).await;
        let bytes = call.wire.some().await;
        note.lock().extend_from_slice(&bytes);
        call.say([0x88, 2, 0x03, 0xe9]).await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let (mut client, _) = open(&proxy).await;
    hear(&mut client, 50_000).await;
    proxy.instance.drain();
    gate.open();
    let rest = hear(&mut client, 50_010 + 4).await;
    assert_eq!(rest[50_010..], [0x88, 2, 0x03, 0xe9]);
    assert_eq!(rest[..50_010], numbered(100_000)[49_990..]);
    until("the origin is told, too", || heard.lock().len() == 8).await;
    let told = heard.lock().clone();
    assert_eq!(told[..2], [0x88, 0x82]);
    assert_eq!([told[6] ^ told[2], told[7] ^ told[3]], 1001_u16.to_be_bytes());
    client.say([0x88, 0x82, 1, 1, 1, 1, 0x02, 0xe8]).await;
    assert!(client.closed().await.is_empty());
    assert_eq!(proxy.instance.drained(Duration::from_secs(10)).await, 0);
    assert_eq!(proxy.finished(1).await[0].end, End::Complete);
}

#[tokio::test]
async fn other_protocols_are_cut_when_the_grace_is_over() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say(switching("tcp", "")).await;
        call.gone().await;
    })
    .await;
    let proxy = proxy_of(&origin, "[[routes]]\nupgrade = \"tcp\"").await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 101);
    proxy.instance.drain();
    assert_eq!(proxy.instance.drained(Duration::from_millis(50)).await, 1);
    proxy.close().await;
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn an_idle_one_is_ended_and_pings_keep_one_alive() {
    let origin = Origin::start(echo).await;
    let proxy = proxy_of(&origin, "[[routes]]\ntunnel_idle_timeout = \"400ms\"").await;
    let (mut client, _) = open(&proxy).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        client.say(b"\x89\x80abcd").await;
        assert_eq!(hear(&mut client, 6).await, b"\x89\x80abcd");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hear(&mut client, 4).await, [0x88, 2, 0x03, 0xe9]);
    client.say(b"\x88\x80abcd").await;
    assert!(client.closed().await.is_empty());
    assert_eq!(proxy.finished(1).await[0].end, End::TimedOut);
}

#[tokio::test]
async fn one_that_has_lasted_long_enough_is_ended() {
    let origin = Origin::start(echo).await;
    let proxy = proxy_of(&origin, "[[routes]]\ntunnel_timeout = \"100ms\"").await;
    let (mut client, _) = open(&proxy).await;
    assert_eq!(hear(&mut client, 4).await, [0x88, 2, 0x03, 0xe9]);
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be() {
    let origin = Origin::start(echo).await;
    let proxy = proxy_of(&origin, "[server]\nmax_tunnels = 1").await;
    let (client, _) = open(&proxy).await;
    let mut more = proxy.connect().await;
    more.say(handshake("/ws", &[])).await;
    let reply = more.reply("GET").await;
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    drop(client);
    until("there is room again", || proxy.instance.proxy.tunnels().open() == 0).await;
    open(&proxy).await;
}

#[tokio::test]
async fn its_upstream_connection_counts_and_never_serves_anything_else() {
    let origin = Origin::start(echo).await;
    let url = origin.url();
    let proxy = Proxy::of(format!(
        "upstream = \"api\"\ncache = false\n[upstreams.api]\nurl = \"{url}\"\nmax_connections = 1\nmax_pending = 0"
    ))
    .start()
    .await;
    assert_eq!(proxy.get("/before").await.status, 200);
    let (mut client, _) = open(&proxy).await;
    assert_eq!(proxy.get("/").await.status, 503, "the only connection is taken");
    client.say("still there").await;
    assert_eq!(hear(&mut client, 11).await, b"still there");
    drop(client);
    until("its place is free", || proxy.instance.upstreams.all()[0].snapshot().endpoints[0].connections == 0)
        .await;
    assert_eq!(proxy.get("/after").await.text(), "plain");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn an_end_on_either_side_is_the_end_on_both() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say(agreed()).await;
        match call.target() {
            "/closes" => call.cut(),
            "/resets" => call.reset(),
            _ => call.gone().await,
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    for target in ["/closes", "/resets", "/waits"] {
        let mut client = proxy.connect().await;
        client.say(handshake(target, &[])).await;
        if target == "/waits" {
            assert_eq!(client.head().await.status(), 101);
            client.wire.reset();
        } else {
            client.wire.gone().await;
        }
    }
    until("nothing is left", || proxy.instance.proxy.tunnels().open() == 0 && origin.closed() == 3).await;
    let ends: Vec<End> = proxy.finished(3).await.iter().map(|event| event.end).collect();
    assert!(ends.contains(&End::ClientAborted), "{ends:?}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_nothing() {
    let (gate, origin, proxy) = gated().await;
    let mut client = proxy.connect().await;
    client.say(handshake("/ws", &[])).await;
    origin.hit(1).await;
    assert_eq!(proxy.instance.proxy.tunnels().open(), 1);
    drop(client);
    until("its place is free", || proxy.instance.proxy.tunnels().open() == 0).await;
    gate.open();
    assert_eq!(proxy.finished(1).await[0].end, End::ClientAborted);
}

#[tokio::test]
async fn connect_is_refused() {
    let origin = Origin::always(Answer::ok("never asked")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await;
    let reply = client.reply("CONNECT").await;
    assert_eq!((reply.status, reply.field("connection")), (501, Some("close")));
    client.say("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert!(client.closed().await.is_empty());
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn events_come_as_they_happen_and_are_never_kept_when_cut() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: max-age=60\r\n\
             transfer-encoding: chunked\r\n\r\n",
        )
        .await;
        for n in 0..3 {
            call.chunk(format!("data: {n}\n\n")).await;
            pass.pass().await;
        }
        call.cut();
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for hits in 1..=2 {
        let mut client = proxy.connect().await;
        client.say("GET /events HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
        for n in 0..3 {
            let event = within(client.wire.chunk()).await.unwrap();
            assert_eq!(event, format!("data: {n}\n\n"), "the next one has not even been said");
            gate.open();
        }
        assert!(within(client.wire.chunk()).await.is_none(), "the client can tell that it was cut");
        assert_eq!(origin.hits(), hits, "it was not stored");
    }
    let finished = proxy.finished(2).await;
    assert!(finished.iter().all(|event| event.lasting && event.end == End::UpstreamAborted), "{finished:?}");
    let metrics = proxy.instance.telemetry.openmetrics();
    let slow = metrics.lines().find(|line| line.starts_with("proxy_stone_request_duration_seconds_count"));
    assert!(slow.is_none_or(|line| line.ends_with(" 0")), "{slow:?}");
}

#[test]
fn the_sample_of_the_rfc_is_what_these_tests_use() {
    assert_eq!(websocket::accept(KEY), ACCEPT);
}
