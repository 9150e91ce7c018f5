//! What clients are told when it goes wrong: a status that fits, a problem (RFC 9457) that says which kind of failure
//! it was (RFC 9209), and nothing about the inside.

use std::time::Duration;

use crate::support::{Answer, Call, Gate, Origin, Proxy, Reply, closed_address, within};
use proxy_stone::telemetry::event::End;

/// A proxy that passes everything on to an upstream with these settings.
async fn with(url: &str, upstream: &str, route: &str) -> Proxy {
    let config = format!(
        "cache = false\n[[routes]]\nname = \"all\"\nupstream = \"api\"\n{route}\n[upstreams.api]\nurl = \"{url}\"\n{upstream}"
    );
    Proxy::of(config).start().await
}

fn assert_problem(reply: &Reply, status: u16, error: &str, inside: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.field("content-type"), Some("application/problem+json"));
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let told = reply.field("proxy-status").expect("a Proxy-Status");
    assert!(told.starts_with("proxy-stone"), "{told}");
    assert!(told.contains(&format!("error={error}")), "{told}");
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"].as_str(), reply.field("x-request-id"));
    for word in ["title", "detail"] {
        assert!(problem[word].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    let all = format!("{:?} {}", reply.fields, reply.text());
    for secret in [inside, "127.0.0.1", "src/", "os error"] {
        assert!(!all.contains(secret), "{secret} shows in {all}");
    }
}

#[tokio::test]
async fn an_origin_that_is_not_there() {
    let address = closed_address().to_string();
    let proxy = with(&format!("http://{address}"), "", "").await;
    for reply in [proxy.get("/").await, proxy.connect_h2().await.get("/").await] {
        assert_problem(&reply, 502, "connection_refused", &address);
    }
    let reply = proxy.ask("POST", "/", &[], "body").await;
    assert_problem(&reply, 502, "connection_refused", &address);
    let reply = proxy.ask("HEAD", "/", &[], "").await;
    assert_eq!((reply.status, reply.body.len()), (502, 0));
    let finished = proxy.finished(4).await;
    assert!(finished.iter().all(|exchange| exchange.error == Some("connection_refused")));
    assert!(finished.iter().all(|exchange| exchange.endpoint.as_deref() == Some(&*address)));
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let proxy = with("http://no-such-host.invalid", "", "").await;
    assert_problem(&proxy.get("/").await, 502, "dns_error", "no-such-host");
}

/// A listener whose queue is full: Linux leaves further connects unanswered.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_origin_that_does_not_take_connections() {
    use socket2::{Domain, Socket, Type};

    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    let _queued = [(); 4].map(|()| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // "In progress" is all that is to be had.
        let _ = socket.connect(&address);
        socket
    });
    let address = address.as_socket().unwrap().to_string();
    let proxy = with(&format!("http://{address}"), "connect_timeout = \"200ms\"", "").await;
    assert_problem(&proxy.get("/").await, 504, "connection_timeout", &address);
}

#[tokio::test]
async fn an_origin_that_does_not_answer() {
    let origin = Origin::start(async |call: &mut Call| call.gone().await).await;
    let proxy = with(&origin.url(), "first_byte_timeout = \"150ms\"", "").await;
    for method in ["GET", "POST"] {
        let reply = proxy.ask(method, "/", &[], "body").await;
        assert_problem(&reply, 504, "http_response_timeout", &origin.address.to_string());
    }
    assert_eq!(origin.hits(), 2, "a time-out is not tried again");
}

#[tokio::test]
async fn an_origin_that_goes_away_before_it_answers() {
    let origin = Origin::start(async |call: &mut Call| call.cut()).await;
    let proxy = with(&origin.url(), "", "").await;
    let reply = proxy.get("/").await;
    assert_problem(&reply, 502, "connection_terminated", &origin.address.to_string());
}

#[tokio::test]
async fn an_origin_that_pauses_within_its_reply() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        call.gone().await;
    })
    .await;
    let proxy = with(&origin.url(), "idle_timeout = \"150ms\"", "").await;
    for reply in [proxy.get("/").await, proxy.connect_h2().await.get("/").await] {
        assert_eq!((reply.status, reply.text(), reply.whole), (200, "hello", false));
    }
    for exchange in proxy.finished(2).await {
        assert_eq!((exchange.end, exchange.error), (End::TimedOut, Some("connection_read_timeout")));
    }
}

#[tokio::test]
async fn an_exchange_that_takes_too_long_before_its_reply() {
    let origin = Origin::start(async |call: &mut Call| call.gone().await).await;
    let proxy = with(&origin.url(), "", "timeout = \"150ms\"").await;
    let reply = proxy.get("/").await;
    assert_problem(&reply, 504, "http_response_timeout", &origin.address.to_string());
}

#[tokio::test]
async fn an_exchange_that_takes_too_long_in_its_reply() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        // Never idle, never done.
        while call.chunk("x").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        call.cut();
    })
    .await;
    let proxy = with(&origin.url(), "", "timeout = \"300ms\"").await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.status, reply.whole), (200, false));
    assert_eq!(proxy.finished(1).await[0].end, End::TimedOut);
}

#[tokio::test]
async fn a_client_that_pauses_within_its_request() {
    let gone = Gate::new();
    let tell = gone.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        assert!(!call.body().await.whole);
        call.cut();
        tell.open();
    })
    .await;
    let proxy = with(&origin.url(), "", "request_idle_timeout = \"150ms\"").await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 10\r\n\r\nhello").await;
    let reply = client.reply("POST").await;
    assert_problem(&reply, 408, "http_request_error", &origin.address.to_string());
    gone.pass().await;
    assert!(client.closed().await.is_empty(), "what the client still sends is no next request");
}

#[tokio::test]
async fn more_requests_than_may_wait() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        call.answer(&Answer::ok("")).await;
    })
    .await;
    let proxy = with(&origin.url(), "max_connections = 1\nmax_pending = 0", "").await;
    let mut first = proxy.connect().await;
    first.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    let reply = proxy.get("/").await;
    assert_problem(&reply, 503, "connection_limit_reached", &origin.address.to_string());
    assert_eq!(reply.field("retry-after"), Some("1"));
    gate.open();
    assert_eq!(first.reply("GET").await.status, 200);
}

#[tokio::test]
async fn a_request_that_no_route_takes() {
    let origin = Origin::always(Answer::ok("")).await;
    let config = format!("[[routes]]\nmatch = {{ path = \"/api/*\" }}\nupstream = \"{}\"", origin.url());
    let proxy = Proxy::of(config).start().await;
    let reply = proxy.get("/other").await;
    assert_problem(&reply, 404, "destination_not_found", &origin.address.to_string());
    assert_eq!(proxy.get("/api/x").await.status, 200);
    let finished = proxy.finished(2).await;
    let unrouted = finished.iter().find(|event| event.status == 404).expect("the refused one");
    assert_eq!(unrouted.route, None);
}

#[tokio::test]
async fn a_host_that_is_none() {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::passing(&origin).await;
    for fields in
        ["", "host: a\r\nhost: b\r\n", "host: user@api.test\r\n", "host: a b\r\n", "host: api.test:99999\r\n"]
    {
        let mut client = proxy.connect().await;
        client.say(format!("GET / HTTP/1.1\r\n{fields}\r\n")).await;
        let reply = client.reply("GET").await;
        assert_problem(&reply, 400, "http_request_error", &origin.address.to_string());
        assert!(client.closed().await.is_empty(), "{fields:?}: closed");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn connect_is_not_served() {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n").await;
    assert_eq!(within(client.wire.head()).await.unwrap().status(), 501);
    assert_eq!(origin.hits(), 0);
}
