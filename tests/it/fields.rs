//! Which fields go on, which stay on their hop, and which are ours.

use crate::support::{Answer, Fields, H2, Origin, Proxy};

/// The fields that a request reaches the origin with.
async fn forwarded(config: &str, fields: &[&str]) -> Fields {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\ncache = false\n{config}", origin.url())).start().await;
    let reply = proxy.ask("GET", "/", fields, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    origin.last().fields
}

#[tokio::test]
async fn fields_of_the_client_s_hop_stay_there() {
    let sent = forwarded(
        "",
        &[
            "Connection: keep-alive, X-Hop, upgrade",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "Upgrade: h2c",
            "X-Hop: 1",
            "X-End: 2",
            "Accept: text/plain",
        ],
    )
    .await;
    for gone in ["connection", "keep-alive", "proxy-connection", "upgrade", "x-hop"] {
        assert!(!sent.has(gone), "{gone} went on: {sent:?}");
    }
    assert_eq!(sent.get("x-end"), Some("2"));
    assert_eq!(sent.get("accept"), Some("text/plain"));
}

#[tokio::test]
async fn fields_of_the_origin_s_hop_stay_there() {
    let answer = Answer::ok("x")
        .field("Connection", "X-Hop, keep-alive")
        .field("Keep-Alive", "timeout=5")
        .field("X-Hop", "1")
        .field("X-End", "2")
        .field("Set-Cookie", "a=1")
        .field("Set-Cookie", "b=2");
    let origin = Origin::always(answer).await;
    let proxy = Proxy::passing(&origin).await;
    for reply in [proxy.get("/").await, proxy.connect_h2().await.get("/").await] {
        for gone in ["x-hop", "keep-alive"] {
            assert!(!reply.fields.has(gone), "{gone} went on: {:?}", reply.fields);
        }
        assert_eq!(reply.field("x-end"), Some("2"));
        assert_eq!(reply.fields.all("set-cookie"), ["a=1", "b=2"]);
    }
}

#[tokio::test]
async fn field_values_arrive_byte_by_byte() {
    let sent = forwarded("", &["X-Odd: a\tb  c\u{e9}", "X-Empty:", "traceparent: 00-4bf92f-00f067-01"]).await;
    assert_eq!(sent.get("x-odd"), Some("a\tb  c\u{e9}"));
    assert_eq!(sent.get("x-empty"), Some(""));
    assert_eq!(sent.get("traceparent"), Some("00-4bf92f-00f067-01"));
}

#[tokio::test]
async fn via_names_this_proxy_behind_those_before_it_both_ways() {
    let origin = Origin::always(Answer::ok("").field("Via", "1.1 inner")).await;
    let config = format!("upstream = \"{}\"\ncache = false\nname = \"edge-1\"", origin.url());
    let proxy = Proxy::of(config).start().await;
    let reply = proxy.ask("GET", "/", &["Via: 1.0 outer"], "").await;
    let via = |fields: &Fields| fields.all("via").join(", ");
    assert_eq!(via(&origin.last().fields), "1.0 outer, 1.1 edge-1");
    assert_eq!(via(&reply.fields), "1.1 inner, 1.1 edge-1");
    let mut h2 = H2::request("GET", "/", "");
    h2.headers_mut().insert("via", "1.0 outer".parse().unwrap());
    proxy.connect_h2().await.ask(h2).await;
    assert_eq!(via(&origin.last().fields), "1.0 outer, 2 edge-1");
}

const CLAIMS: [&str; 6] = [
    "Forwarded: for=198.51.100.7;proto=https;host=victim.test",
    "X-Forwarded-For: 198.51.100.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: victim.test",
    "X-Forwarded-Port: 443",
    "X_Forwarded_For: 198.51.100.7",
];

#[tokio::test]
async fn what_an_untrusted_peer_claims_is_written_anew() {
    let sent = forwarded("", &CLAIMS).await;
    assert_eq!(sent.get("forwarded"), Some("for=127.0.0.1;host=api.test;proto=http"));
    assert_eq!(sent.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(sent.get("x-forwarded-proto"), Some("http"));
    assert_eq!(sent.get("x-forwarded-host"), Some("api.test"));
    assert_eq!(sent.get("x-forwarded-port"), Some("80"));
    assert!(!sent.has("x_forwarded_for"));
}

#[tokio::test]
async fn what_a_trusted_peer_says_is_kept_and_continued() {
    let sent = forwarded("trusted_proxies = [\"127.0.0.0/8\"]", &CLAIMS[..5]).await;
    let forwarded = "for=198.51.100.7;proto=https;host=victim.test, for=127.0.0.1;host=api.test;proto=http";
    assert_eq!(sent.get("forwarded"), Some(forwarded));
    assert_eq!(sent.get("x-forwarded-for"), Some("198.51.100.7, 127.0.0.1"));
    assert_eq!(sent.get("x-forwarded-proto"), Some("https"));
    assert_eq!(sent.get("x-forwarded-host"), Some("victim.test"));
    assert_eq!(sent.get("x-forwarded-port"), Some("443"));
}

#[tokio::test]
async fn the_log_names_the_client_that_a_trusted_peer_names() {
    let origin = Origin::always(Answer::ok("")).await;
    let config = format!("upstream = \"{}\"\ntrusted_proxies = [\"127.0.0.0/8\"]", origin.url());
    let proxy = Proxy::of(config).start().await;
    proxy.ask("GET", "/", &["X-Forwarded-For: 203.0.113.9, 198.51.100.7"], "").await;
    assert_eq!(proxy.finished(1).await[0].client.to_string(), "198.51.100.7");
}

#[tokio::test]
async fn an_exchange_has_one_id_for_client_origin_and_log() {
    let origin = Origin::always(Answer::ok("").field("X-Request-Id", "the-origin-s-own")).await;
    let proxy = Proxy::passing(&origin).await;
    let reply = proxy.ask("GET", "/", &["X-Request-Id: not-believed"], "").await;
    let id = reply.field("x-request-id").unwrap();
    let uuid = uuid::Uuid::try_parse(id).unwrap();
    assert_eq!(uuid.get_version_num(), 7);
    assert_eq!(origin.last().fields.get("x-request-id"), Some(id));
    proxy.finished(1).await;
    assert_eq!(proxy.instance.telemetry.find(id).expect("in the log").status, 200);
}

#[tokio::test]
async fn a_trusted_peer_s_request_id_is_kept() {
    let origin = Origin::always(Answer::ok("")).await;
    let config = format!("upstream = \"{}\"\ntrusted_proxies = [\"127.0.0.1/32\"]", origin.url());
    let proxy = Proxy::of(config).start().await;
    let reply = proxy.ask("GET", "/", &["X-Request-Id: edge-4711"], "").await;
    assert_eq!(reply.field("x-request-id"), Some("edge-4711"));
    assert_eq!(origin.last().fields.get("x-request-id"), Some("edge-4711"));
    let reply = proxy.ask("GET", "/", &["X-Request-Id: with space"], "").await;
    assert_ne!(reply.field("x-request-id"), Some("with space"));
}

#[tokio::test]
async fn host_is_the_upstream_s_own_unless_said_otherwise() {
    for (policy, expected) in [
        ("", None),
        ("host = \"upstream\"", None),
        ("host = \"client\"", Some("api.test")),
        ("host = \"fixed.test\"", Some("fixed.test")),
    ] {
        let origin = Origin::always(Answer::ok("")).await;
        let url = origin.url();
        let config = format!("upstream = \"api\"\ncache = false\n[upstreams.api]\nurl = \"{url}\"\n{policy}");
        let proxy = Proxy::of(config).start().await;
        let own = origin.address.to_string();
        proxy.get("/").await;
        assert_eq!(origin.last().fields.get("host"), Some(expected.unwrap_or(&own)), "{policy}");
        proxy.connect_h2().await.get("/").await;
        assert_eq!(origin.last().fields.get("host"), Some(expected.unwrap_or(&own)), "{policy} over HTTP/2");
    }
}

#[tokio::test]
async fn a_base_path_is_joined_and_taken_off_again() {
    let origin = Origin::start(async |call: &mut crate::support::Call| {
        let host = call.request.fields.get("host").unwrap().to_owned();
        let answer = match call.target() {
            "/base/own" => Answer::new(302).field("Location", format!("http://{host}/base/next?a=1#b")),
            "/base/path" => {
                Answer::new(201).field("Location", "/base/made/7").field("Content-Location", "/base/made/7")
            }
            "/base/outside" => Answer::new(302).field("Location", format!("http://{host}/elsewhere")),
            "/base/other" => Answer::new(302).field("Location", "https://other.test/base/x"),
            target => Answer::ok(target.to_owned()),
        };
        call.answer(&answer).await;
    })
    .await;
    let url = origin.url();
    let proxy = Proxy::of(format!("upstream = \"{url}/base\"\ncache = false")).start().await;
    assert_eq!(proxy.get("/a/b?c=%20d").await.text(), "/base/a/b?c=%20d");
    assert_eq!(proxy.get("/own").await.field("location"), Some("http://api.test/next?a=1#b"));
    let made = proxy.get("/path").await;
    assert_eq!(made.field("location"), Some("/made/7"));
    assert_eq!(made.field("content-location"), Some("/made/7"));
    let outside = format!("{url}/elsewhere");
    assert_eq!(proxy.get("/outside").await.field("location"), Some(outside.as_str()));
    assert_eq!(proxy.get("/other").await.field("location"), Some("https://other.test/base/x"));
}

#[tokio::test]
async fn a_request_that_goes_in_a_circle_is_stopped() {
    let origin = Origin::always(Answer::ok("")).await;
    let proxy = Proxy::passing(&origin).await;
    proxy.reload(&format!("upstream = \"http://{}\"\ncache = false", proxy.address)).unwrap();
    let reply = proxy.get("/").await;
    assert_eq!(reply.status, 508);
    assert!(reply.fields.all("proxy-status")[0].contains("proxy_loop_detected"), "{:?}", reply.fields);
    let finished = proxy.finished(2).await;
    assert!(finished.len() < 8, "{} passes", finished.len());
    assert_eq!(origin.hits(), 0);
}
