//! `Expect: 100-continue` and the replies before the reply (RFC 9110 10.1.1, 15.2).

use crate::support::{Answer, Call, Gate, Origin, Proxy};

const EXPECTING: &str =
    "POST /up HTTP/1.1\r\nhost: api.test\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_client_is_asked_for_its_body_when_the_origin_asks() {
    let (gate, asked) = (Gate::new(), Gate::new());
    let (pass, tell) = (gate.clone(), asked.clone());
    let origin = Origin::start(async move |call: &mut Call| {
        if call.method() == "GET" {
            return call.answer(&Answer::ok("")).await;
        }
        assert_eq!(call.request.fields.get("expect"), Some("100-continue"));
        tell.open();
        pass.pass().await;
        call.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = call.body().await;
        call.answer(&Answer::ok(body.bytes)).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say(EXPECTING).await;
    asked.pass().await;
    gate.open();
    assert_eq!(client.head().await.status(), 100);
    client.say("body").await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, reply.text()), (200, "body"));
    assert!(reply.interim.is_empty(), "one 100 is enough: {:?}", reply.interim);
    assert_eq!(client.get("/").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_final_reply_comes_without_the_body_having_been_asked_for() {
    let origin = Origin::start(async |call: &mut Call| {
        call.answer(&Answer::new(403).body("no")).await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say(EXPECTING).await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, reply.text()), (403, "no"));
    assert!(reply.interim.is_empty(), "nobody asked for the body: {:?}", reply.interim);
    assert_eq!(proxy.finished(1).await[0].received, 0);
}

#[tokio::test]
async fn an_origin_that_never_asks_gets_the_body_after_a_while() {
    let origin = Origin::start(async |call: &mut Call| {
        let body = call.body().await;
        call.answer(&Answer::ok(body.bytes)).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say(EXPECTING).await;
    assert_eq!(client.head().await.status(), 100);
    client.say("body").await;
    assert_eq!(client.reply("POST").await.text(), "body");
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_100_is_served_too() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = call.body().await;
        call.answer(&Answer::ok(body.bytes)).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say(format!("{EXPECTING}body")).await;
    assert_eq!(client.reply("POST").await.text(), "body");
}

#[tokio::test]
async fn an_early_reply_reaches_a_client_that_is_still_sending() {
    let origin = Origin::start(async |call: &mut Call| {
        call.answer(&Answer::new(413).body("too much")).await;
        call.cut();
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1000000\r\n\r\nbegin").await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, reply.text()), (413, "too much"));
}

#[tokio::test]
async fn early_hints_are_passed_on_as_they_come() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n")
            .await;
        pass.pass().await;
        call.say("HTTP/1.1 102 Processing\r\n\r\n").await;
        call.answer(&Answer::ok("final")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        let hint = client.head().await;
        assert_eq!((hint.status(), hint.fields.get("link")), (103, Some("</a.css>; rel=preload")));
        assert!(!hint.fields.has("x-hop"));
        gate.open();
        let reply = client.reply("GET").await;
        assert_eq!(reply.text(), "final");
        assert_eq!(reply.interim.len(), 1);
        assert_eq!(reply.interim[0].status(), 102);
    }
}

#[tokio::test]
async fn interim_replies_do_not_reach_those_who_cannot_take_them() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await;
        call.answer(&Answer::ok("final")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.0\r\nhost: api.test\r\n\r\n").await;
    let text = client.closed().await;
    assert!(text.starts_with(b"HTTP/1.") && !text.windows(5).any(|w| w == b" 103 "), "{text:?}");
    assert_eq!(proxy.connect_h2().await.get("/").await.text(), "final");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::start(async |call: &mut Call| {
        let target = call.target().to_owned();
        call.say(format!("HTTP/1.1 103 Early Hints\r\nlink: <{target}>\r\n\r\n")).await;
        call.answer(&Answer::ok(target)).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    let all: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: api.test\r\n\r\n")).collect();
    client.say(all).await;
    for n in 0..5 {
        let reply = client.reply("GET").await;
        assert_eq!(reply.text(), format!("/{n}"));
        let links: Vec<_> = reply.interim.iter().map(|hint| hint.fields.get("link").unwrap()).collect();
        assert_eq!(links, [format!("</{n}>")]);
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_bad_reply() {
    let origin = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n").await;
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    assert_eq!(proxy.get("/").await.status, 502);
}
