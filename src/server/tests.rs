//! The room as a whole, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::connection::Facts;
use super::shared::{Limits, Place, Shared};
use super::stream::Stream;
use super::*;
use crate::http::ClientConn;
use crate::http::content::Content;
use crate::http::h1::Violation;
use crate::http::head::HeadWriter;
use crate::telemetry::{ConnectionRefused, HandshakeFailure};
use crate::tls::{Session, Terminators};

/// Answers by path and remembers what it was told.
#[derive(Default)]
struct Origin {
    refused: Mutex<Vec<Refusal>>,
    over_cap: AtomicUsize,
    opened: AtomicUsize,
    closed: Mutex<Vec<ConnectionTotals>>,
    begun: Notify,
    release: Notify,
    dropped: Arc<Notify>,
    told: Notify,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn reply(status: u16, body: impl Into<Bytes>) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

impl Handler for Origin {
    type Body = BoxBody<Bytes, Infallible>;

    async fn handle(self: Arc<Self>, request: ClientRequest) -> Response<Self::Body> {
        let ClientRequest { request, client, interim } = request;
        match request.uri().path() {
            "/hello" => reply(200, format!("hello over {}", client.protocol.as_str())),
            "/echo" => match request.into_body().collect().await {
                Ok(body) => reply(200, body.to_bytes()),
                Err(_) => reply(400, "broken"),
            },
            "/early" => {
                if let Some(interim) = &interim {
                    let mut hints = HeaderMap::new();
                    hints.insert("link", HeaderValue::from_static("</a.css>"));
                    // As an upstream's connection would: from another thread.
                    let sender = interim.clone();
                    let _ = tokio::task::spawn_blocking(move || sender.send(StatusCode::EARLY_HINTS, &hints))
                        .await;
                    interim.drained().await;
                }
                reply(200, "final")
            }
            "/wait" => {
                self.begun.notify_one();
                self.release.notified().await;
                reply(200, "waited")
            }
            "/never" => {
                let _guard = OnDrop(self.dropped.clone());
                self.begun.notify_one();
                std::future::pending().await
            }
            "/panic" => panic!("as asked"),
            "/reject" => {
                let mut response = reply(413, "too large");
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                response
            }
            "/big" | "/at-once/big" => reply(200, vec![b'x'; 8 << 20]),
            "/at-once" => reply(200, "long way"),
            _ => reply(404, "no"),
        }
    }

    fn at_once(
        &self,
        request: &Parts,
        _: &ClientConn,
        mut reply: HeadWriter<'_>,
        room: usize,
    ) -> Option<Content> {
        let body = match request.uri.path() {
            "/at-once" => Bytes::from_static(b"at once"),
            "/at-once/big" => vec![b'x'; 8 << 20].into(),
            _ => return None,
        };
        if body.len() > room {
            return None;
        }
        reply.status(StatusCode::OK);
        reply.field(&CONTENT_LENGTH, body.len().to_string().as_bytes());
        reply.end();
        Some(body.into())
    }

    fn refused(&self, _: &ClientConn, refusal: Refusal, _: uuid::Uuid) {
        self.refused.lock().push(refusal);
        self.told.notify_one();
    }

    fn content_refused(&self, _: Violation) {}

    fn connection_opened(&self, _: SocketAddr) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn connection_closed(&self, _: SocketAddr, totals: ConnectionTotals) {
        self.closed.lock().push(totals);
        self.told.notify_one();
    }

    fn handshake_done(&self, _: &Session) {}

    fn handshake_failed(&self, _: SocketAddr, _: HandshakeFailure) {}

    fn connection_refused(&self, reason: ConnectionRefused) {
        assert_eq!(reason, ConnectionRefused::Limit);
        self.over_cap.fetch_add(1, Ordering::SeqCst);
        self.told.notify_one();
    }
}

struct Site {
    origin: Arc<Origin>,
    running: Running,
    address: SocketAddr,
}

fn site_with(workers: usize, settings: Settings) -> Site {
    let any = ListenerSettings::at("127.0.0.1:0".parse().expect("an address"));
    let bound = bind(&[any], workers).expect("bound");
    let address = bound.local_addrs()[0].tcp().expect("TCP");
    let origin = Arc::new(Origin::default());
    let running = start(bound, &settings, &Terminators::new(), &origin).expect("started");
    Site { origin, running, address }
}

fn site() -> Site {
    site_with(1, Settings::default())
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

impl Site {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.expect("connected")
    }

    /// Sends `request` and reads until the server closes.
    async fn talk(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_all(&mut stream).await
    }

    async fn refusal(&self) -> Refusal {
        within(async {
            loop {
                if let Some(refusal) = self.origin.refused.lock().first() {
                    return *refusal;
                }
                self.origin.told.notified().await;
            }
        })
        .await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.expect("read");
    String::from_utf8(all).expect("text")
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).ends_with(end) {
        let mut chunk = [0; 4096];
        let n = within(stream.read(&mut chunk)).await.expect("read");
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8(all).expect("text")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn last(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let site = site();
    let mut stream = site.connect().await;
    for _ in 0..3 {
        stream.write_all(get("/hello").as_bytes()).await.expect("sent");
        let reply = read_until(&mut stream, "hello over 1.1").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    }
    assert_eq!(site.running.connections(), 1);
    drop(stream);
    within(async {
        while site.origin.closed.lock().is_empty() {
            site.origin.told.notified().await;
        }
    })
    .await;
    let totals = site.origin.closed.lock()[0];
    assert_eq!(totals.requests, 3);
    assert_eq!(totals.received, 3 * get("/hello").len() as u64);
    assert!(totals.sent > 3 * 14);
    assert_eq!(site.origin.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_at_hand_is_answered_at_once_between_other_exchanges() {
    let site = site();
    let mut stream = site.connect().await;
    let put = "PUT /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\necho";
    let asked = [
        (get("/at-once"), "at once"),
        (get("/hello"), "hello over 1.1"),
        (get("/at-once"), "at once"),
        (get("/at-once"), "at once"),
        (put.to_owned(), "echo"),
        (get("/early"), "final"),
        (get("/at-once"), "at once"),
    ];
    for (request, end) in &asked {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let reply = read_until(&mut stream, end).await;
        assert!(reply.starts_with("HTTP/1.1 "), "{reply}");
    }
    stream.write_all(last("/at-once").as_bytes()).await.expect("sent");
    assert!(read_all(&mut stream).await.ends_with("long way"), "the last one's reply says so");
    // Who sends more than one request at a time has them all go that way, in their order.
    let reply = site.talk(&(get("/at-once") + &last("/at-once"))).await;
    assert_eq!(reply.matches("long way").count(), 2, "{reply}");
    within(async {
        while site.origin.closed.lock().len() < 2 {
            site.origin.told.notified().await;
        }
    })
    .await;
    assert_eq!(site.origin.closed.lock()[0].requests, 1 + asked.len() as u64);
}

#[tokio::test]
async fn who_asks_for_other_things_is_looked_at_now_and_then() {
    let site = site();
    let mut stream = site.connect().await;
    let mut ask = async |path: &str, ends: [&str; 2]| {
        stream.write_all(get(path).as_bytes()).await.expect("sent");
        let mut reply = String::new();
        while !ends.iter().any(|end| reply.ends_with(end)) {
            let mut byte = [0];
            within(stream.read_exact(&mut byte)).await.expect("read");
            reply.push(byte[0].into());
        }
        reply.ends_with("at once")
    };
    for _ in 0..40 {
        assert!(!ask("/hello", ["hello over 1.1"; 2]).await);
    }
    let mut asked = 0;
    while !ask("/at-once", ["at once", "long way"]).await {
        asked += 1;
        assert!(asked < 16);
    }
    assert!(ask("/at-once", ["at once", "long way"]).await);
}

#[tokio::test]
async fn a_large_answer_at_once_leaves_whole() {
    let site = site();
    let mut stream = site.connect().await;
    for _ in 0..2 {
        stream.write_all(get("/at-once/big").as_bytes()).await.expect("sent");
        // More comes in while it is being sent.
        stream.write_all(get("/hello").as_bytes()).await.expect("sent");
        let reply = read_until(&mut stream, "hello over 1.1").await;
        let body = reply.split_once("\r\n\r\n").expect("a head").1;
        assert!(body.starts_with('x') && body.rfind('x') == Some((8 << 20) - 1), "{}", body.len());
    }
}

#[tokio::test]
async fn answers_at_once_count_among_a_connection_s_requests() {
    let site = site_with(1, Settings { max_requests_per_connection: Some(3), ..Settings::default() });
    let mut stream = site.connect().await;
    for _ in 0..2 {
        stream.write_all(get("/at-once").as_bytes()).await.expect("sent");
        read_until(&mut stream, "at once").await;
    }
    stream.write_all(get("/at-once").as_bytes()).await.expect("sent");
    let reply = read_all(&mut stream).await;
    assert!(reply.contains("connection: close") && reply.ends_with("long way"), "{reply}");
}

#[tokio::test]
async fn an_interim_reply_stands_between_pipelined_ones_in_order() {
    let site = site();
    let reply = site.talk(&[get("/hello"), get("/early"), last("/hello")].concat()).await;
    let heads: Vec<_> = reply.match_indices("HTTP/1.1 ").map(|(at, _)| &reply[at + 9..at + 12]).collect();
    assert_eq!(heads, ["200", "103", "200", "200"], "{reply}");
    assert!(
        reply.contains("hello over 1.1HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn an_interim_reply_leaves_while_the_final_one_is_awaited() {
    let site = site();
    for _ in 0..20 {
        let mut stream = site.connect().await;
        stream.write_all(get("/early").as_bytes()).await.expect("sent");
        let reply = read_until(&mut stream, "final").await;
        assert!(
            reply.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200"),
            "{reply}"
        );
    }
}

#[tokio::test]
async fn http_1_0_gets_no_interim_reply() {
    let site = site();
    let reply = site.talk("GET /early HTTP/1.0\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.0 200 OK"), "{reply}");
    assert!(!reply.contains("103"));
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge() {
    let site = site_with(2, Settings::default());
    let io = TokioIo::new(site.connect().await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
    tokio::spawn(connection);
    let asks = (0..50).map(|n| {
        let mut sender = sender.clone();
        async move {
            let path = if n % 10 == 0 { "http://a/big" } else { "http://a/hello" };
            let request = Request::get(path).body(Empty::<Bytes>::new()).expect("a request");
            let reply = sender.send_request(request).await.expect("a reply");
            assert_eq!(reply.status(), 200);
            reply.into_body().collect().await.expect("a body").to_bytes()
        }
    });
    let bodies = within(futures_util::future::join_all(asks)).await;
    assert_eq!(bodies[1], "hello over 2");
    assert_eq!(bodies[10].len(), 8 << 20);
}

#[tokio::test]
async fn a_panic_resets_its_stream_and_no_other() {
    let site = site_with(1, Settings::default());
    let io = TokioIo::new(site.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
    tokio::spawn(connection);
    let mut ask = |path: &str| {
        let request = Request::get(format!("http://a{path}")).body(Empty::<Bytes>::new()).expect("a request");
        sender.send_request(request)
    };
    let waiting = ask("/wait");
    assert!(within(ask("/panic")).await.is_err());
    site.origin.release.notify_one();
    assert_eq!(within(waiting).await.expect("a reply").status(), 200);
}

#[tokio::test]
async fn a_head_sent_in_single_bytes_is_understood() {
    let site = site();
    for head in [
        last("/hello"),
        "PUT /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into(),
    ] {
        let mut stream = site.connect().await;
        stream.set_nodelay(true).expect("set");
        for byte in head.as_bytes() {
            stream.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        assert!(read_all(&mut stream).await.ends_with("hello over 1.1"));
    }
}

#[tokio::test]
async fn a_partial_head_gets_408_and_is_told() {
    let settings = Settings { header_timeout: Duration::from_millis(100), ..Settings::default() };
    for begun in ["G", "PRI * HT", "GET /hello HTTP/1.1\r\nhost: a\r\n"] {
        let site = site_with(1, settings.clone());
        let reply = site.talk(begun).await;
        assert!(reply.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{begun}: {reply}");
        assert_eq!(site.refusal().await, Refusal { status: 408, reason: RefusalReason::HeaderTimeout });
    }
}

#[tokio::test]
async fn a_second_head_that_does_not_end_gets_408_too() {
    let (header_timeout, keepalive) = (Duration::from_millis(100), Duration::from_millis(600));
    let site = site_with(1, Settings { header_timeout, keepalive, ..Settings::default() });
    let reply = site.talk(&(get("/hello") + "GET /he")).await;
    assert!(reply.contains("hello over 1.1"), "{reply}");
    assert!(reply.contains("HTTP/1.1 408"), "its beginning came with the request before: {reply}");
    let mut stream = site.connect().await;
    stream.write_all(get("/hello").as_bytes()).await.expect("sent");
    read_until(&mut stream, "hello over 1.1").await;
    stream.write_all(b"GET /he").await.expect("sent");
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_connection_that_has_fallen_quiet_wakes_up_again() {
    let site = site_with(1, Settings { keepalive: Duration::from_millis(400), ..Settings::default() });
    let mut stream = site.connect().await;
    for _ in 0..3 {
        stream.write_all(get("/early").as_bytes()).await.expect("sent");
        let reply = read_until(&mut stream, "final").await;
        assert!(reply.starts_with("HTTP/1.1 103"), "{reply}");
        // Longer than it takes to fall quiet, shorter than to be closed.
        tokio::time::sleep(Duration::from_millis(260)).await;
    }
    assert_eq!(read_all(&mut stream).await, "", "closed when idle for too long");
}

#[tokio::test]
async fn a_quiet_connection_is_closed_by_draining() {
    let site = site_with(1, Settings { keepalive: Duration::from_secs(1), ..Settings::default() });
    let mut stream = site.connect().await;
    stream.write_all(get("/hello").as_bytes()).await.expect("sent");
    read_until(&mut stream, "hello over 1.1").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    site.running.drain();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn silence_is_closed_in_silence() {
    let short = Duration::from_millis(100);
    let site = site_with(1, Settings { header_timeout: short, keepalive: short, ..Settings::default() });
    assert_eq!(site.talk("").await, "");
    let reply = site.talk(&get("/hello")).await;
    assert!(reply.ends_with("hello over 1.1"), "{reply}");
    assert!(site.origin.refused.lock().is_empty());
}

#[tokio::test]
async fn a_malformed_head_is_told() {
    let long = "x".repeat(70_000);
    let cases = [
        ("GET / HTTP/1.1\r\nhost a\r\n\r\n".to_owned(), 400, RefusalReason::Violation(Violation::FieldName)),
        ("GARBAGE\r\n\r\n".to_owned(), 400, RefusalReason::Violation(Violation::RequestLine)),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            414,
            RefusalReason::Violation(Violation::TargetTooLong),
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            431,
            RefusalReason::Violation(Violation::HeadTooLarge),
        ),
    ];
    for (head, status, reason) in cases {
        let site = site();
        let mut stream = site.connect().await;
        stream.write_all(head.as_bytes()).await.expect("sent");
        let reply = read_all(&mut stream).await;
        let told = site.refusal().await;
        assert_eq!(told, Refusal { status, reason }, "{:.20}", head);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_a_head_is_told() {
    let site = site();
    let mut stream = site.connect().await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nho").await.expect("sent");
    stream.shutdown().await.expect("shut down");
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(site.refusal().await, Refusal { status: 0, reason: RefusalReason::HeadCutShort });
}

#[tokio::test]
async fn a_client_that_leaves_drops_the_exchange() {
    let site = site();
    let mut stream = site.connect().await;
    stream.write_all(get("/never").as_bytes()).await.expect("sent");
    within(site.origin.begun.notified()).await;
    drop(stream);
    within(site.origin.dropped.notified()).await;
}

#[tokio::test]
async fn an_http_2_reset_drops_the_exchange() {
    let site = site();
    let io = TokioIo::new(site.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::get("http://a/never").body(Empty::<Bytes>::new()).expect("a request");
    let asked = tokio::spawn(sender.send_request(request));
    within(site.origin.begun.notified()).await;
    asked.abort();
    within(site.origin.dropped.notified()).await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let site = site();
    assert_eq!(site.talk(&get("/panic")).await, "");
    assert!(site.talk(&last("/hello")).await.ends_with("hello over 1.1"));
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_at_once() {
    let site = site_with(2, Settings { max_connections: 2, ..Settings::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = site.connect().await;
        stream.write_all(get("/hello").as_bytes()).await.expect("sent");
        read_until(&mut stream, "hello over 1.1").await;
        held.push(stream);
    }
    let mut third = site.connect().await;
    let mut byte = [0];
    assert!(!matches!(within(third.read(&mut byte)).await, Ok(1..)), "closed");
    assert_eq!(site.origin.over_cap.load(Ordering::SeqCst), 1);
    assert_eq!(site.running.connections(), 2);
    drop(held.pop());
    within(async {
        while site.running.connections() == 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(site.talk(&last("/hello")).await.ends_with("hello over 1.1"));
}

#[tokio::test]
async fn a_reply_reaches_a_client_that_still_sends() {
    let site = site();
    let mut stream = site.connect().await;
    let size = 64 << 20;
    let head = format!("POST /reject HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Part of the body is under way when the reply comes; none of it is read by the handler.
    stream.write_all(&vec![b'x'; 100 << 10]).await.expect("sent");
    let reply = read_until(&mut stream, "too large").await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
}

#[tokio::test]
async fn draining_closes_the_idle_and_lets_the_busy_finish() {
    let site = site_with(2, Settings::default());
    let mut idle = site.connect().await;
    idle.write_all(get("/hello").as_bytes()).await.expect("sent");
    read_until(&mut idle, "hello over 1.1").await;
    let mut silent = site.connect().await;
    let mut busy = site.connect().await;
    busy.write_all(get("/wait").as_bytes()).await.expect("sent");
    within(site.origin.begun.notified()).await;
    site.running.drain();
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(read_all(&mut silent).await, "");
    // Those that were closed may be counted for a moment longer.
    let busy_alone = async { while site.running.drained(Duration::from_millis(1)).await != 1 {} };
    within(busy_alone).await;
    site.origin.release.notify_one();
    let reply = read_all(&mut busy).await;
    assert!(reply.contains("connection: close\r\n") && reply.ends_with("waited"), "{reply}");
    assert_eq!(within(site.running.drained(Duration::from_secs(10))).await, 0);
    assert!(TcpStream::connect(site.address).await.is_err(), "no longer listening");
    site.running.join();
}

#[tokio::test]
async fn draining_lets_http_2_streams_finish() {
    let site = site();
    let io = TokioIo::new(site.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/wait").body(Empty::<Bytes>::new()).expect("a request");
    let asked = tokio::spawn(sender.send_request(request));
    within(site.origin.begun.notified()).await;
    site.running.drain();
    site.origin.release.notify_one();
    let reply = within(asked).await.expect("not cancelled").expect("a reply");
    assert_eq!(reply.into_body().collect().await.expect("a body").to_bytes(), "waited");
    drop(sender);
    let _ = within(connection).await;
    assert_eq!(within(site.running.drained(Duration::from_secs(10))).await, 0);
}

#[tokio::test]
async fn abort_cuts_what_does_not_end() {
    let site = site();
    let mut stream = site.connect().await;
    stream.write_all(get("/never").as_bytes()).await.expect("sent");
    within(site.origin.begun.notified()).await;
    site.running.drain();
    assert_eq!(site.running.drained(Duration::from_millis(20)).await, 1);
    site.running.abort();
    within(site.origin.dropped.notified()).await;
    assert_eq!(within(site.running.drained(Duration::from_secs(10))).await, 0);
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_reload_swaps_listeners_and_keeps_connections() {
    let site = site();
    let mut stream = site.connect().await;
    stream.write_all(get("/hello").as_bytes()).await.expect("sent");
    read_until(&mut stream, "hello over 1.1").await;
    let other = ListenerSettings::at("127.0.0.2:0".parse().expect("an address"));
    let prepared = site.running.prepare(std::slice::from_ref(&other)).expect("bound");
    let new = prepared.local_addrs()[0].tcp().expect("TCP");
    site.running.apply(prepared, &Settings::default(), &Terminators::new());
    assert_eq!(site.running.local_addrs(), [ListenAddress::Tcp(new)]);
    stream.write_all(last("/hello").as_bytes()).await.expect("sent");
    assert!(read_all(&mut stream).await.ends_with("hello over 1.1"), "the old connection goes on");
    let mut fresh = within(TcpStream::connect(new)).await.expect("connected");
    fresh.write_all(last("/hello").as_bytes()).await.expect("sent");
    assert!(read_all(&mut fresh).await.ends_with("hello over 1.1"));
    within(async {
        while TcpStream::connect(site.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What is held already is not bound again.
    let again = site.running.prepare(std::slice::from_ref(&other)).expect("held");
    assert!(again.local_addrs().is_empty());
}

#[tokio::test]
async fn a_reload_to_an_occupied_port_changes_nothing() {
    let site = site();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = other.local_addr().expect("bound");
    let error = site.running.prepare(&[ListenerSettings::at(address)]).expect_err("taken");
    assert_eq!(error.kind, BindErrorKind::InUse);
    assert_eq!(site.running.local_addrs(), [ListenAddress::Tcp(site.address)]);
    assert!(site.talk(&last("/hello")).await.ends_with("hello over 1.1"));
}

#[tokio::test]
async fn http_2_garbage_ends_the_connection_and_is_told() {
    let site = site();
    let mut stream = site.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    // A DATA frame on stream 0 (RFC 9113 6.1).
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("sent");
    stream.write_all(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await.expect("sent");
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert_eq!(site.refusal().await, Refusal { status: 0, reason: RefusalReason::Http2Violation });
}

#[tokio::test]
async fn bodies_pass_both_ways() {
    let site = site();
    let body = "0123456789".repeat(20_000);
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = site.connect().await;
    stream.write_all(head.as_bytes()).await.expect("sent");
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(body.as_bytes()).await.expect("sent");
    assert!(read_all(&mut stream).await.ends_with(&body));
}

fn size_of_output<F: Future, A>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

/// What ten thousand clients that say nothing cost, besides their sockets: this and a few small allocations each.
#[test]
fn the_future_of_a_quiet_connection_stays_small() {
    type Given = (Stream, Facts, Place, Arc<Limits>, Arc<Shared>, Arc<Origin>);
    let size = size_of_output(|given: Given| {
        let (stream, facts, place, limits, shared, handler) = given;
        connection::serve(stream, facts, place, limits, shared, handler)
    });
    assert!(size <= 480, "{size} bytes");
}
