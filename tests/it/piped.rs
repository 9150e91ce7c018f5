//! Long content that is passed on as it comes, which the kernel moves from socket to socket: nobody may see a difference.

use bytes::Bytes;
use proxy_stone::telemetry::event::End;

use crate::support::{Call, Client, Framing, Gate, Origin, Proxy, numbered, until};

const MIB: usize = 1 << 20;

/// An origin that says as many bytes as the target does, but for as many as stand behind a `-`.
async fn measured() -> Origin {
    Origin::start(async |call: &mut Call| {
        let asked = call.target().trim_start_matches('/').to_owned();
        let (length, missing) = asked.split_once('-').unwrap_or((&asked, "0"));
        let (length, missing): (usize, usize) = (length.parse().unwrap(), missing.parse().unwrap());
        call.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
        call.say(numbered(length).slice(..length - missing)).await;
        if missing > 0 {
            call.cut();
        }
    })
    .await
}

#[tokio::test]
async fn long_and_short_replies_take_turns_on_a_connection() {
    let origin = measured().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    let lengths = [100_000, 5, 0, 3 * MIB, 32_768, 32_769, 4096, 70_000, 100_000, 8_192, 131_072, 1];
    for length in lengths.into_iter().chain(lengths) {
        let reply = client.get(&format!("/{length}")).await;
        assert_eq!((reply.status, reply.whole), (200, true), "{length}");
        assert!(reply.body == numbered(length), "{length}");
    }
    assert_eq!(origin.connections(), 1);
    for (finished, length) in proxy.finished(24).await.iter().zip(lengths.into_iter().chain(lengths)) {
        assert_eq!((finished.sent, finished.end), (length as u64, End::Complete), "{length}");
    }
}

#[tokio::test]
async fn replies_to_requests_that_came_together_keep_their_order() {
    let origin = measured().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    let lengths = [MIB, 3, 200_000, 50_000, 7];
    for length in lengths {
        client.say(format!("GET /{length} HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
    }
    for length in lengths {
        let reply = client.reply("GET").await;
        assert!(reply.body == numbered(length), "{length}");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it() {
    let (length, origin) = (12 * MIB, measured().await);
    let proxy = Proxy::passing(&origin).await;
    let mut slow = Client::connect_narrow(proxy.address).await;
    for _ in 0..2 {
        slow.say(format!("GET /{length} HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
        let head = slow.head().await;
        // Meanwhile others are served, long replies included.
        for _ in 0..3 {
            assert!(proxy.get("/300000").await.body == numbered(300_000));
        }
        let reply = slow.rest_of(head).await;
        assert!(reply.whole && reply.body == numbered(length));
    }
}

#[tokio::test]
async fn what_comes_bit_by_bit_leaves_as_it_comes() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let content = numbered(200_000);
        call.say("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n").await;
        for part in content.chunks(20_000) {
            pass.pass().await;
            call.say(part).await;
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
        for part in numbered(200_000).chunks(20_000) {
            gate.open_for(1);
            assert!(client.wire.body(Framing::Length(20_000)).await.bytes == part);
        }
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn what_is_cut_short_is_cut_short() {
    let origin = measured().await;
    let proxy = Proxy::passing(&origin).await;
    // The second time on a connection to the origin that there is already.
    for warm in [false, true] {
        if warm {
            proxy.get("/1").await;
        }
        let reply = proxy.get("/300000-100000").await;
        assert!(!reply.whole && numbered(300_000).starts_with(&reply.body), "{warm}");
    }
    for finished in proxy.finished(3).await.iter().filter(|finished| &*finished.target != "/1") {
        assert_eq!((finished.sent, finished.end), (200_000, End::UpstreamAborted));
    }
}

#[tokio::test]
async fn a_pause_in_it_is_bounded_and_so_is_all_of_it() {
    for (upstream, route, error) in [
        ("idle_timeout = \"150ms\"", "", "connection_read_timeout"),
        ("", "timeout = \"500ms\"", "http_response_timeout"),
    ] {
        let origin = Origin::start(async |call: &mut Call| {
            if call.target() == "/1" {
                call.say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").await;
                return;
            }
            call.say("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n").await;
            call.say(numbered(100_000)).await;
            call.gone().await;
        })
        .await;
        let proxy = Proxy::of(format!(
            "cache = false\n[[routes]]\nupstream = \"api\"\n{route}\n[upstreams.api]\nurl = \"{}\"\n{upstream}",
            origin.url()
        ));
        let proxy = proxy.start().await;
        // The second time on a connection to the origin that there is already.
        for warm in [false, true] {
            if warm {
                assert_eq!(proxy.get("/1").await.body, "1");
            }
            let reply = proxy.get("/long").await;
            assert!(!reply.whole && reply.body == numbered(100_000), "{error} {warm}");
        }
        for finished in proxy.finished(3).await.iter().filter(|finished| &*finished.target != "/1") {
            assert_eq!((finished.sent, finished.end), (100_000, End::TimedOut));
            assert_eq!(finished.error, Some(error));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_amid_it_cancels_it() {
    let left = Gate::new();
    let tell = left.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
        if call.target() == "/long" {
            // More than all sockets on the way hold.
            while call.say(Bytes::from(vec![b'x'; MIB])).await {}
            tell.open();
        }
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET /long HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.wire.body(Framing::Length(MIB as u64)).await.bytes.len(), MIB);
    drop(client);
    left.pass().await;
    let finished = proxy.finished(1).await;
    assert_eq!((finished[0].status, finished[0].end), (200, End::ClientAborted));
    assert!(finished[0].sent >= MIB as u64);
    until("its connection is closed", || origin.closed() == 1).await;
}
