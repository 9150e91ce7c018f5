//! HTTP/2 from clients, over one connection, to origins that speak HTTP/1.1.

use futures_util::future::join_all;
use http_body_util::BodyExt;

use crate::support::{Answer, Call, Gate, H2, Origin, Proxy, within};
use proxy_stone::telemetry::event::Protocol;

#[tokio::test]
async fn streams_are_answered_as_their_replies_come() {
    let gates: Vec<Gate> = (0..40).map(|_| Gate::new()).collect();
    let passes = gates.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let number: usize = call.target()[1..].parse().unwrap();
        passes[number].pass().await;
        call.answer(&Answer::ok(number.to_string())).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    let asked: Vec<_> = (0..gates.len())
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("/{n}")).await })
        })
        .collect();
    origin.hit(gates.len()).await;
    let mut asked: Vec<_> = asked.into_iter().enumerate().collect();
    // The last one first: no stream waits for another.
    while let Some((n, reply)) = asked.pop() {
        gates[n].open();
        assert_eq!(within(reply).await.unwrap().text(), n.to_string());
    }
    assert_eq!(proxy.instance.connections(), 1);
    let finished = proxy.finished(gates.len()).await;
    assert!(finished.iter().all(|exchange| exchange.protocol == Protocol::Http2));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_does_not_hold_up_the_others() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/large" => Answer::ok(vec![b'x'; 8 << 20]),
        _ => Answer::ok("small"),
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    let unread = client.begin(H2::request("GET", "/large", "")).await.unwrap();
    let small = join_all((0..10).map(|_| client.get("/small"))).await;
    assert!(small.iter().all(|reply| reply.text() == "small"));
    assert_eq!(H2::rest_of(unread).await.body.len(), 8 << 20);
}

#[tokio::test]
async fn cookies_in_several_fields_become_one() {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut request = H2::request("GET", "/", "");
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    proxy.connect_h2().await.ask(request).await;
    assert_eq!(origin.last().fields.get("cookie"), Some("a=1; b=2; c=3"));
}

#[tokio::test]
async fn an_upload_that_the_origin_refuses_is_answered() {
    let origin = Origin::start(async |call: &mut Call| {
        call.answer(&Answer::new(413).body("too much")).await;
        call.cut();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    let forever = futures_util::stream::pending();
    let body = http_body_util::StreamBody::new(forever).boxed();
    let request = http::Request::post("http://api.test/").body(body).unwrap();
    let response = client.begin(request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(client.get("/").await.status, 413, "the connection goes on");
}

#[tokio::test]
async fn host_and_authority_must_agree() {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::passing(&origin).await;
    let client = proxy.connect_h2().await;
    let mut request = H2::request("GET", "/", "");
    request.headers_mut().insert("host", "other.test".parse().unwrap());
    assert_eq!(client.ask(request).await.status, 400);
    assert_eq!(origin.hits(), 0);
    assert_eq!(client.get("/").await.status, 200);
}
