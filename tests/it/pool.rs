//! Connections to the upstream: kept, shared over workers, bounded; and requests that are sent again where that is
//! safe.

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy, closed_address, until};
use proxy_stone::upstream::{EndpointSnapshot, EndpointState};
use tokio::io::AsyncWriteExt;

/// A proxy that passes everything on to these endpoints.
async fn with(endpoints: &[String], upstream: &str) -> Proxy {
    let endpoints = endpoints.join(", ");
    let config =
        format!("upstream = \"api\"\ncache = false\n[upstreams.api]\nendpoints = [{endpoints}]\n{upstream}");
    Proxy::of(config).start().await
}

fn url(origin: &Origin) -> String {
    format!("\"{}\"", origin.url())
}

fn endpoints(proxy: &Proxy) -> Vec<EndpointSnapshot> {
    proxy.instance.upstreams.get("api").expect("the upstream").snapshot().endpoints
}

/// So many connections that both workers have some.
async fn clients(proxy: &Proxy, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(proxy.connect().await);
    }
    clients
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let origin = Origin::always(Answer::ok("x")).await;
    let proxy = with(&[url(&origin)], "").await;
    let mut client = proxy.connect().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((origin.hits(), origin.connections()), (10, 1));
    assert_eq!(endpoints(&proxy)[0].reused, 9);
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_a_while() {
    let origin = Origin::always(Answer::ok("x")).await;
    let proxy = with(&[url(&origin)], "keepalive = \"100ms\"").await;
    proxy.get("/").await;
    until("the connection is closed", || origin.closed() == 1).await;
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_the_origin_closes_is_not_used_again() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx").await;
        call.cut();
    })
    .await;
    let proxy = with(&[url(&origin)], "").await;
    let mut client = proxy.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "x");
    }
    assert_eq!((origin.hits(), origin.connections()), (5, 5));
}

/// Answers the first request of each connection and goes away at the second.
async fn tiring() -> Origin {
    let last = std::cell::Cell::new(usize::MAX);
    Origin::start(async move |call: &mut Call| {
        if last.replace(call.connection) == call.connection {
            return call.cut();
        }
        call.answer(&Answer::ok("x")).await;
    })
    .await
}

#[tokio::test]
async fn a_get_on_a_connection_that_was_closing_is_sent_again() {
    let origin = tiring().await;
    let proxy = with(&[url(&origin)], "").await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!((origin.hits(), origin.connections()), (3, 2));
    assert_eq!(proxy.finished(2).await[1].attempts, 2);
}

#[tokio::test]
async fn a_post_on_a_connection_that_was_closing_is_not_sent_again() {
    let origin = tiring().await;
    let proxy = with(&[url(&origin)], "").await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.ask("POST", "/", &[], "pay").await.status, 502);
    assert_eq!((origin.hits(), origin.connections()), (2, 1));
}

#[tokio::test]
async fn nothing_is_sent_again_without_retries() {
    let origin = tiring().await;
    let proxy = with(&[url(&origin)], "retries = 0").await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 502);
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let origin = Origin::start(async |call: &mut Call| {
        call.answer(&Answer::ok("x")).await;
        call.cut();
    })
    .await;
    let proxy = with(&[url(&origin)], "retries = 0").await;
    let mut client = proxy.connect().await;
    for n in 1..=5 {
        assert_eq!(client.ask("POST", "/", &[], "pay").await.status, 200);
        until("the pool has noticed", || endpoints(&proxy)[0].connections == 0).await;
        assert_eq!(origin.hits(), n);
    }
}

#[tokio::test]
async fn endpoints_get_their_exact_shares_over_all_workers() {
    let (one, two) = (Origin::always(Answer::ok("")).await, Origin::always(Answer::ok("")).await);
    let second = format!("{{ url = {}, weight = 2 }}", url(&two));
    let proxy = with(&[url(&one), second], "").await;
    let mut clients = clients(&proxy, 6).await;
    for _ in 0..10 {
        for client in &mut clients {
            assert_eq!(client.get("/").await.status, 200);
        }
    }
    assert_eq!((one.hits(), two.hits()), (20, 40));
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_skipped() {
    let origin = Origin::always(Answer::ok("")).await;
    let refusing = format!("\"http://{}\"", closed_address());
    let proxy = with(&[refusing, url(&origin)], "").await;
    for method in ["GET", "POST"] {
        for _ in 0..10 {
            assert_eq!(proxy.ask(method, "/", &[], "body").await.status, 200);
        }
    }
    let endpoints = endpoints(&proxy);
    assert_eq!(endpoints[0].state, EndpointState::Skipped);
    assert_eq!(endpoints[0].connect_failures, 3, "after three it is left alone");
    assert_eq!(origin.hits(), 20);
}

#[tokio::test]
async fn the_only_endpoint_is_never_skipped() {
    let proxy = with(&[format!("\"http://{}\"", closed_address())], "").await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.status, 502);
    }
    assert_eq!(endpoints(&proxy)[0].connect_failures, 6);
}

#[tokio::test]
async fn a_backup_takes_over_where_nobody_else_can_be_reached() {
    let (main, backup) =
        (Origin::always(Answer::ok("main")).await, Origin::always(Answer::ok("backup")).await);
    let second = format!("{{ url = {}, backup = true }}", url(&backup));
    let proxy = with(&[url(&main), second.clone()], "").await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.text(), "main");
    }
    let proxy = with(&[format!("\"http://{}\"", closed_address()), second], "").await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.text(), "backup");
    }
}

#[tokio::test]
async fn who_finds_all_connections_in_use_waits() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        call.answer(&Answer::ok("x")).await;
    })
    .await;
    let proxy = with(&[url(&origin)], "max_connections = 2").await;
    let mut clients = clients(&proxy, 6).await;
    for client in &mut clients {
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    }
    until("four wait", || endpoints(&proxy)[0].pending == 4).await;
    origin.hit(2).await;
    assert_eq!((origin.connections(), origin.hits()), (2, 2));
    gate.open_for(6);
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.text(), "x");
    }
    assert_eq!((origin.connections(), origin.hits()), (2, 6));
}

#[tokio::test]
async fn who_leaves_the_line_frees_its_place() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        call.answer(&Answer::ok("x")).await;
    })
    .await;
    let proxy = with(&[url(&origin)], "max_connections = 1\nmax_pending = 1").await;
    let mut clients = clients(&proxy, 3).await;
    for client in &mut clients[..2] {
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    }
    until("one waits", || endpoints(&proxy)[0].pending == 1).await;
    let waiting = if origin.hits() == 1 { clients.remove(1) } else { clients.remove(0) };
    drop(waiting);
    until("it has left", || endpoints(&proxy)[0].pending == 0 || origin.closed() > 0).await;
    gate.open_for(3);
    let mut last = clients.pop().unwrap();
    assert_eq!(last.get("/").await.text(), "x");
}

#[tokio::test]
async fn a_connection_idle_on_one_worker_serves_the_other_at_the_cap() {
    let origin = Origin::always(Answer::ok("x")).await;
    let proxy = with(&[url(&origin)], "max_connections = 1").await;
    for client in &mut clients(&proxy, 8).await {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(origin.hits(), 8);
    assert!(endpoints(&proxy)[0].connections <= 1);
}

#[tokio::test]
async fn tls_to_a_plain_origin_is_a_502() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let proxy = with(&[format!("\"https://{address}\"")], "").await;
    let reply = proxy.get("/").await;
    assert_eq!(reply.status, 502);
    assert!(reply.field("proxy-status").unwrap().contains("tls_protocol_error"), "{reply:?}");
}
