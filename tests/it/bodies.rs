//! Bodies pass through as they come: whole, unchanged, and no faster than the other side takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::{Answer, Call, Client, Framing, Gate, H2, Origin, Proxy, until, within};

const BLOCK: usize = 64 << 10;

/// 64 MiB; with `PROXY_STONE_BIG=1` 1 GiB, and then the process's memory is watched.
fn large() -> (u64, bool) {
    let big = std::env::var_os("PROXY_STONE_BIG").is_some();
    (if big { 1 << 30 } else { 64 << 20 }, big)
}

/// Data that is the same nowhere.
struct Data {
    reader: blake3::OutputReader,
    left: u64,
}

impl Data {
    fn new(length: u64) -> Self {
        Self { reader: blake3::Hasher::new().finalize_xof(), left: length }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let now = self.left.min(BLOCK as u64);
        self.left -= now;
        let mut block = vec![0; usize::try_from(now).unwrap()];
        self.reader.fill(&mut block);
        (now > 0).then_some(block)
    }

    fn hash(length: u64) -> blake3::Hash {
        let (mut data, mut hash) = (Self::new(length), blake3::Hasher::new());
        while let Some(block) = data.next() {
            hash.update(&block);
        }
        hash.finalize()
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().map_or(0, |kib| kib << 10)
}

fn assert_lean(before: u64, watched: bool) {
    if watched {
        let grown = resident().saturating_sub(before);
        assert!(grown < 32 << 20, "memory grew by {} KiB", grown >> 10);
    }
}

/// An origin that answers an upload with its hash.
async fn hashing() -> Origin {
    Origin::start(async |call: &mut Call| {
        let mut hash = blake3::Hasher::new();
        let whole = call.each(|part| {
            hash.update(part);
        });
        if whole.await {
            call.answer(&Answer::ok(hash.finalize().to_hex().to_string())).await;
        } else {
            call.cut();
        }
    })
    .await
}

/// An origin that sends `length` bytes, framed as the target says.
async fn sending(length: u64) -> Origin {
    Origin::start(async move |call: &mut Call| {
        let chunked = call.target() == "/chunked";
        let framing = match call.target() {
            "/length" => format!("content-length: {length}\r\n"),
            "/chunked" => "transfer-encoding: chunked\r\n".to_owned(),
            _ => "connection: close\r\n".to_owned(),
        };
        call.say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n")).await;
        let mut data = Data::new(length);
        while let Some(block) = data.next() {
            let taken = if chunked { call.chunk(&block).await } else { call.say(&block).await };
            if !taken {
                return call.cut();
            }
        }
        match call.target() {
            "/chunked" => {
                call.say("0\r\n\r\n").await;
            }
            "/close" => call.cut(),
            _ => {}
        }
    })
    .await
}

#[tokio::test]
async fn a_large_upload_keeps_its_bytes() {
    let (length, watched) = large();
    let expected = Data::hash(length).to_hex();
    let origin = hashing().await;
    let proxy = Proxy::passing(&origin).await;
    let before = resident();
    let mut client = proxy.connect().await;
    for chunked in [false, true] {
        let framing =
            if chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {length}") };
        client.say(format!("POST /up HTTP/1.1\r\nhost: api.test\r\n{framing}\r\n\r\n")).await;
        let mut data = Data::new(length);
        while let Some(block) = data.next() {
            if chunked {
                client.say(format!("{:x}\r\n", block.len())).await;
            }
            client.say(&block).await;
            if chunked {
                client.say("\r\n").await;
            }
        }
        if chunked {
            client.say("0\r\n\r\n").await;
        }
        assert_eq!(client.reply("POST").await.text(), &*expected);
    }
    assert_lean(before, watched);
    assert_eq!(proxy.finished(2).await[0].received, length);
}

#[tokio::test]
async fn a_large_download_keeps_its_bytes() {
    let (length, watched) = large();
    let expected = Data::hash(length);
    let origin = sending(length).await;
    let proxy = Proxy::passing(&origin).await;
    let before = resident();
    for target in ["/length", "/chunked", "/close"] {
        let mut client = proxy.connect().await;
        client.say(format!("GET {target} HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
        let head = client.head().await;
        let framing = head.reply_framing("GET");
        assert_eq!(framing == Framing::Length(length), target == "/length");
        let mut hash = blake3::Hasher::new();
        let ended = client.wire.each(framing, |part| {
            hash.update(part);
        });
        assert!(ended.await.whole, "{target}");
        assert_eq!(hash.finalize(), expected, "{target}");
    }
    assert_lean(before, watched);
}

#[tokio::test]
async fn a_large_body_passes_over_http2_both_ways() {
    let length = 16 << 20;
    let (up, down) = (hashing().await, sending(length).await);
    let config = format!(
        "cache = false\nupstream = \"{}\"\n[[routes]]\nmatch = {{ path = \"/up\" }}\nupstream = \"{}\"",
        down.url(),
        up.url()
    );
    let proxy = Proxy::of(config).start().await;
    let client = proxy.connect_h2().await;
    let mut data = Data::new(length);
    let frames = std::iter::from_fn(move || data.next().map(|block| Ok(Frame::data(Bytes::from(block)))));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = http::Request::post("http://api.test/up").body(body).unwrap();
    assert_eq!(client.ask(request).await.text(), &*Data::hash(length).to_hex());
    let reply = client.get("/chunked").await;
    assert!(reply.whole);
    assert_eq!(blake3::hash(&reply.body), Data::hash(length));
}

#[tokio::test]
async fn an_origin_that_does_not_read_stalls_the_client() {
    let (gate, done) = (Gate::new(), Gate::new());
    let (pass, tell) = (gate.clone(), done.clone());
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        assert!(call.body().await.whole);
        tell.open();
        call.answer(&Answer::ok("done")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    let length: u64 = 64 << 20;
    client.say(format!("POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: {length}\r\n\r\n")).await;
    origin.hit(1).await;
    let sent = push_until_stalled(&mut client, length).await;
    assert!(sent < 40 << 20, "{sent} bytes went in while nobody read");
    gate.open();
    let rest = async {
        let mut left = length - sent;
        let block = vec![b'x'; BLOCK];
        while left > 0 {
            let now = usize::try_from(left).unwrap().min(BLOCK);
            client.say(&block[..now]).await;
            left -= now as u64;
        }
        client.reply("POST").await
    };
    assert_eq!(rest.await.text(), "done");
    done.pass().await;
}

/// Writes until the socket has taken nothing for a good while; how much it took.
async fn push_until_stalled(client: &mut Client, most: u64) -> u64 {
    let block = vec![b'x'; BLOCK];
    let mut sent = 0;
    let quiet = std::time::Duration::from_millis(300);
    while sent < most {
        let now = usize::try_from(most - sent).unwrap().min(BLOCK);
        match tokio::time::timeout(quiet, client.wire.try_say(&block[..now])).await {
            Ok(taken) => sent += taken.unwrap() as u64,
            Err(_) => break,
        }
    }
    sent
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_the_origin() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let length: u64 = 64 << 20;
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
        let block = vec![b'x'; BLOCK];
        let mut left = length;
        while left > 0 {
            let now = usize::try_from(left).unwrap().min(BLOCK);
            match call.wire.try_say(&block[..now]).await {
                Ok(taken) => left -= taken as u64,
                Err(_) => return call.cut(),
            }
            counter.store(length - left, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = Client::connect_narrow(proxy.address).await;
    client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let stalled = settled(&sent).await;
    assert!(stalled < 32 << 20, "{stalled} bytes were taken while nobody read");
    let head = client.head().await;
    let mut got = 0;
    let ended = client.wire.each(head.reply_framing("GET"), |part| got += part.len() as u64);
    assert!(ended.await.whole);
    assert_eq!(got, length);
}

/// What a counter stands at once it has not moved for a good while.
async fn settled(counter: &AtomicU64) -> u64 {
    until("something moves", || counter.load(Ordering::SeqCst) > 0).await;
    loop {
        let before = counter.load(Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if counter.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[tokio::test]
async fn what_comes_in_parts_goes_on_in_parts() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for part in ["data: one\n\n", "data: two\n\n"] {
            call.chunk(part).await;
            pass.pass().await;
        }
        call.say("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET /events HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    for part in ["data: one\n\n", "data: two\n\n"] {
        assert_eq!(within(client.wire.chunk()).await.unwrap(), part, "before the origin went on");
        gate.open();
    }
    assert_eq!(within(client.wire.chunk()).await.unwrap(), "");
}

#[tokio::test]
async fn an_upload_goes_on_while_it_comes() {
    let got = Gate::new();
    let tell = got.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        assert_eq!(call.wire.chunk().await.unwrap(), "first");
        tell.open();
        assert!(call.body().await.whole);
        call.answer(&Answer::ok("")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    got.pass().await;
    client.say("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(client.reply("POST").await.status, 200);
}

#[tokio::test]
async fn trailers_go_up_and_down() {
    let origin = Origin::start(async |call: &mut Call| {
        let body = call.body().await;
        let sum = body.trailers.get("x-sum").unwrap_or("none").to_owned();
        call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n").await;
        call.chunk(format!("sum={sum}")).await;
        call.say(format!("0\r\nx-back: {sum}\r\n\r\n")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client
        .say(
            "POST / HTTP/1.1\r\nhost: api.test\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n",
        )
        .await;
    let reply = client.reply("POST").await;
    assert_eq!(reply.text(), "sum=6");
    assert_eq!(reply.trailers.get("x-back"), Some("6"));
}

#[tokio::test]
async fn trailers_pass_over_http2() {
    let origin = Origin::start(async |call: &mut Call| {
        let body = call.body().await;
        let sum = body.trailers.get("x-sum").unwrap_or("none").to_owned();
        call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n").await;
        call.say(format!("0\r\nx-back: {sum}\r\n\r\n")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "6".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = http::Request::post("http://api.test/").header("te", "trailers").header("trailer", "x-sum");
    let reply = proxy.connect_h2().await.ask(request.body(body).unwrap()).await;
    assert_eq!(reply.trailers.get("x-back"), Some("6"), "{reply:?}");
}

#[tokio::test]
async fn http_1_0_clients_get_a_body_that_ends_with_the_connection() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.0\r\nhost: api.test\r\n\r\n").await;
    let text = client.closed().await;
    let text = std::str::from_utf8(&text).unwrap().to_ascii_lowercase();
    assert!(text.ends_with("\r\n\r\nabc"), "{text}");
    assert!(!text.contains("transfer-encoding"), "{text}");
    assert_eq!(origin.last().fields.get("via"), Some("1.0 proxy-stone"));
}

#[tokio::test]
async fn http_1_0_origins_end_their_bodies_with_the_connection() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nabc").await;
        call.cut();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        let reply = client.get("/").await;
        assert_eq!((reply.text(), reply.whole), ("abc", true));
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_with_its_length() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ncontent-length: 4711\r\netag: \"a\"\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        let reply = client.ask("HEAD", "/", &[], "").await;
        assert_eq!(reply.field("content-length"), Some("4711"));
        assert_eq!(reply.field("etag"), Some("\"a\""));
    }
    assert!(client.wire.surplus().is_empty());
    let reply = proxy.connect_h2().await.ask(H2::request("HEAD", "/", "")).await;
    assert_eq!((reply.field("content-length"), reply.body.len()), (Some("4711"), 0));
}

#[tokio::test]
async fn replies_without_a_body_leave_the_connection_usable() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/204" => Answer::new(204),
        "/304" => Answer::new(304).field("etag", "\"a\""),
        _ => Answer::ok("text"),
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for (target, status, text) in
        [("/204", 204, ""), ("/304", 304, ""), ("/", 200, "text"), ("/204", 204, "")]
    {
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (status, text));
    }
    assert_eq!(origin.connections(), 1, "the upstream's connection was kept");
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let origin = Origin::start(async |call: &mut Call| {
        let body = call.body().await;
        call.answer(&Answer::ok(body.bytes)).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.ask("GET", "/", &[], "question").await.text(), "question");
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let reply = proxy.ask("GET", "/", &["transfer-encoding: chunked"], chunked).await;
    assert_eq!(reply.text(), "hello");
}

#[tokio::test]
async fn a_body_above_the_route_s_limit_is_refused() {
    let origin = hashing().await;
    let config =
        format!("cache = false\n[[routes]]\nupstream = \"{}\"\nmax_request_body = \"1KiB\"", origin.url());
    let proxy = Proxy::of(config).start().await;
    let body = "x".repeat(1025);
    let reply = proxy.ask("POST", "/", &[], &body).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    let chunked = format!("401\r\n{body}\r\n0\r\n\r\n");
    let reply = proxy.ask("POST", "/", &["transfer-encoding: chunked"], &chunked).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    let reply = proxy.ask("POST", "/", &[], &body[..1024]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
