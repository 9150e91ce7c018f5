//! What is no handshake ends soon, is told and counted, and nobody else notices.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Caller;
use super::pki::{Pki, edge};
use crate::support::{Answer, Origin, Proxy, until, within};

async fn proxy(pki: &Pki, origin: &Origin, more: &str) -> Proxy {
    pki.issue("a", &["a.test"]);
    Proxy::of(pki.config(&origin.url(), &format!("{}{more}", edge("a")))).start().await
}

/// Sends these bytes; what comes back until the proxy closes.
async fn say(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    let _ = within(socket.read_to_end(&mut reply)).await;
    reply
}

async fn counted(proxy: &Proxy, reason: &str, count: u64) {
    let failed = || proxy.instance.telemetry.snapshot().handshakes.failed.get(reason).copied();
    until(reason, || failed() == Some(count)).await;
}

#[tokio::test]
async fn a_plain_request_to_the_tls_port_is_answered() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = proxy(&pki, &origin, "").await;
    let reply = say(&proxy, b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await;
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
    assert!(reply.contains("https://"), "{reply}");
    assert!(reply.contains("cache-status: proxy-stone; detail=plain_http\r\n"), "{reply}");
    counted(&proxy, "plain_http", 1).await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn garbage_is_closed_and_counted() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = proxy(&pki, &origin, "").await;
    say(&proxy, b"\x00\x01\x02\x03").await;
    say(&proxy, b"\xff\xff\xff\xff").await;
    counted(&proxy, "not_tls", 2).await;
    // It begins like a record, and is none.
    say(&proxy, b"\x16\x03\x01\x00\x05hello and more that makes no sense at all").await;
    counted(&proxy, "not_tls", 3).await;
    drop(TcpStream::connect(proxy.address).await.unwrap());
    counted(&proxy, "closed", 1).await;
    assert_eq!(Caller::new(&pki).ask(proxy.address, "a.test").await.unwrap().1.status, 200);
    until("their places are free", || proxy.instance.connections() == 0).await;
}

#[tokio::test]
async fn a_slow_handshake_is_given_up() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = proxy(&pki, &origin, "handshake_timeout = '50ms'\n").await;
    let mut silent = TcpStream::connect(proxy.address).await.unwrap();
    let mut begun = TcpStream::connect(proxy.address).await.unwrap();
    begun.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    for socket in [&mut silent, &mut begun] {
        assert_eq!(within(socket.read(&mut [0; 64])).await.unwrap_or(0), 0);
    }
    counted(&proxy, "timed_out", 2).await;
}

#[tokio::test]
async fn handshakes_in_flight_are_bounded() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = proxy(&pki, &origin, "[server]\nmax_handshakes = 2\n").await;
    let mut first = TcpStream::connect(proxy.address).await.unwrap();
    let second = TcpStream::connect(proxy.address).await.unwrap();
    until("both are under way", || proxy.instance.connections() == 2).await;
    assert!(say(&proxy, b"").await.is_empty(), "closed at once");
    counted(&proxy, "too_many", 1).await;
    drop(second);
    counted(&proxy, "closed", 1).await;
    assert_eq!(Caller::new(&pki).ask(proxy.address, "a.test").await.unwrap().1.status, 200);
    let _ = first.write_all(b"\x00").await;
}

#[tokio::test]
async fn tls_to_the_plain_port_is_told_in_its_own_words() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = Proxy::passing(&origin).await;
    let error = Caller::new(&pki).connect(proxy.address, "a.test").await.map(drop).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let event = proxy.finished(1).await[0].clone();
    assert_eq!((event.status, event.error), (0, Some("tls_to_plain")));
}

#[tokio::test]
async fn closing_and_draining_say_goodbye() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let proxy = proxy(&pki, &origin, "").await;
    let (mut idle, _) = Caller::new(&pki).ask(proxy.address, "a.test").await.unwrap();
    let mut fresh = Caller::new(&pki).connect(proxy.address, "a.test").await.unwrap();
    until("both are open", || proxy.instance.connections() == 2).await;
    proxy.instance.drain();
    for line in [&mut idle, &mut fresh] {
        // Without close_notify this would be an error: the connection might have been cut (RFC 8446 6.1).
        let read = within(line.stream.read(&mut [0; 64])).await;
        assert_eq!(read.expect("an orderly end"), 0);
    }
    until("all have left", || proxy.instance.connections() == 0).await;
}
