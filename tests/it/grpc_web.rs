//! gRPC-Web from browsers, on routes that translate it, to services that speak gRPC.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use proxy_stone::telemetry::event::End;

use crate::support::{Client, Gate, H2, H2Call, H2Origin, Proxy, Reply, closed_address, within};

/// A message as gRPC frames it.
fn message(text: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// The frame that ends a reply.
fn end(trailers: &str) -> Vec<u8> {
    let mut bytes = vec![0x80];
    bytes.extend((trailers.len() as u32).to_be_bytes());
    bytes.extend(trailers.as_bytes());
    bytes
}

fn trailers(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    trailers.insert("grpc-message", "told".parse().unwrap());
    trailers
}

/// Does as the path says; else says what it was told, and ends.
async fn service() -> H2Origin {
    H2Origin::start(async |mut call: H2Call| {
        let grpc = ("content-type", "application/grpc");
        match call.path() {
            "/trailers-only" => {
                let reply = http::Response::builder().header(grpc.0, grpc.1);
                let reply = reply.header("grpc-status", "5").header("grpc-message", "none").body(()).unwrap();
                call.respond.send_response(reply, true).unwrap();
            }
            "/no-grpc" => {
                let mut sender = call.begin(503, &[("content-type", "text/html")]);
                sender.send_data(Bytes::from_static(b"<p>later"), true).unwrap();
            }
            "/no-end" => {
                let mut sender = call.begin(200, &[grpc]);
                sender.send_data(message("one").into(), true).unwrap();
            }
            "/silent" => {
                let mut sender = call.begin(200, &[grpc]);
                sender.send_data(message("one").into(), false).unwrap();
                let _ = std::future::poll_fn(|cx| sender.poll_reset(cx)).await;
            }
            "/amid" => {
                let mut sender = call.begin(200, &[grpc]);
                sender.send_data(message("one")[..6].to_vec().into(), false).unwrap();
                let _ = std::future::poll_fn(|cx| sender.poll_reset(cx)).await;
            }
            _ => {
                let Ok((told, _)) = call.whole().await else { return };
                let mut sender = call.begin(200, &[grpc, ("cache-control", "max-age=60"), ("x-own", "1")]);
                sender.send_data(told.into(), false).unwrap();
                sender.send_trailers(trailers("0")).unwrap();
            }
        }
    })
    .await
}

async fn proxy_of(service: &H2Origin, route: &str) -> Proxy {
    let config = service.config("").replace("cache = false\n", "");
    Proxy::of(format!("{config}[[routes]]\nname = \"all\"\nupstream = \"api\"\ngrpc_web = true\n{route}\n"))
        .start()
        .await
}

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A call over HTTP/1.1.
async fn call(proxy: &Proxy, path: &str, media_type: &str, fields: &[&str], body: &[u8]) -> Reply {
    let mut client = proxy.connect().await;
    begin(&mut client, path, media_type, fields, body).await;
    client.reply("POST").await
}

async fn begin(client: &mut Client, path: &str, media_type: &str, fields: &[&str], body: &[u8]) {
    let length = body.len();
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n"
    );
    for field in fields {
        head += &format!("{field}\r\n");
    }
    client.say([head.as_bytes(), b"\r\n", body].concat()).await;
}

#[tokio::test]
async fn a_call_goes_on_in_grpc_and_its_answer_comes_back() {
    let service = service().await;
    let proxy = proxy_of(&service, "").await;
    let fields = ["grpc-timeout: 9S", "x-grpc-web: 1", "x-user-agent: grpc-web-javascript/0.1"];
    for hits in 1..=2 {
        let reply = call(&proxy, "/svc/Method", BINARY, &fields, &message("hello")).await;
        assert_eq!(
            (reply.status, reply.field("content-type"), reply.field("x-own")),
            (200, Some(BINARY), Some("1"))
        );
        assert_eq!(reply.body, [message("hello"), end("grpc-status:0\r\ngrpc-message:told\r\n")].concat());
        assert!(!reply.fields.has("grpc-status") && !reply.fields.has("content-length"));
        let asked = service.last();
        let field = |name: &str| asked.headers().get(name).map(|value| value.to_str().unwrap());
        for (name, value) in [
            ("content-type", Some("application/grpc+proto")),
            ("te", Some("trailers")),
            ("grpc-timeout", Some("9S")),
            ("x-grpc-web", Some("1")),
            ("content-length", None),
        ] {
            assert_eq!(field(name), value, "{name}");
        }
        assert_eq!((asked.method().as_str(), service.hits()), ("POST", hits), "never from the cache");
    }
}

#[tokio::test]
async fn text_is_base64_both_ways() {
    let service = service().await;
    let proxy = proxy_of(&service, "").await;
    // Padded in the middle, as by a client that flushes.
    let sent = message("hello");
    let asked = [BASE64_STANDARD.encode(&sent[..4]), BASE64_STANDARD.encode(&sent[4..])].concat();
    let told = [message("hello"), end("grpc-status:0\r\ngrpc-message:told\r\n")];
    let text = told.iter().map(|part| BASE64_STANDARD.encode(part)).collect::<String>();
    let reply = call(&proxy, "/", TEXT, &["Accept: application/grpc-web-text"], asked.as_bytes()).await;
    assert_eq!((reply.field("content-type"), reply.text()), (Some(TEXT), &*text));
    let reply =
        call(&proxy, "/", "application/grpc-web-text", &["Accept: application/grpc-web"], asked.as_bytes());
    let reply = reply.await;
    assert_eq!(
        (reply.field("content-type"), &reply.body),
        (Some("application/grpc-web"), &told.concat().into())
    );
    let over_h2 = http::Request::post("http://api.test/")
        .header("content-type", TEXT)
        .body(http_body_util::BodyExt::boxed(http_body_util::Full::new(Bytes::from(asked))));
    let reply = proxy.connect_h2().await.ask(over_h2.unwrap()).await;
    assert_eq!((reply.field("content-type"), reply.text()), (Some(TEXT), &*text));
}

#[tokio::test]
async fn messages_of_a_stream_come_as_they_are_said() {
    let gate = Gate::new();
    let pass = gate.clone();
    let service = H2Origin::start(async move |mut call: H2Call| {
        let mut sender = call.begin(200, &[("content-type", "application/grpc+proto")]);
        for text in ["a", "bc", "def"] {
            sender.send_data(message(text).into(), false).unwrap();
            pass.pass().await;
        }
        sender.send_trailers(trailers("0")).unwrap();
    })
    .await;
    let proxy = proxy_of(&service, "").await;
    for media_type in [BINARY, TEXT] {
        let mut client = proxy.connect().await;
        let text = media_type == TEXT;
        let body = if text { BASE64_STANDARD.encode(message("x")).into_bytes() } else { message("x") };
        begin(&mut client, "/", media_type, &[], &body).await;
        assert_eq!(client.head().await.status(), 200);
        let form = |bytes: Vec<u8>| if text { BASE64_STANDARD.encode(bytes).into_bytes() } else { bytes };
        for said in ["a", "bc", "def"] {
            let heard = within(client.wire.chunk()).await.unwrap();
            assert_eq!(heard, form(message(said)), "the next one has not even been said");
            gate.open();
        }
        let last = within(client.wire.chunk()).await.unwrap();
        assert_eq!(last, form(end("grpc-status:0\r\ngrpc-message:told\r\n")));
        assert!(within(client.wire.chunk()).await.is_some_and(|rest| rest.is_empty()), "it ended in order");
    }
}

#[tokio::test]
async fn ends_without_messages_and_without_trailers() {
    let service = service().await;
    let proxy = proxy_of(&service, "").await;
    let reply = call(&proxy, "/trailers-only", BINARY, &[], &message("x")).await;
    assert_eq!((reply.status, reply.field("grpc-status"), reply.body.len()), (200, Some("5"), 0));
    assert_eq!(reply.field("content-type"), Some(BINARY));
    let reply = call(&proxy, "/no-end", BINARY, &[], &message("x")).await;
    assert!(reply.body.starts_with(&message("one")), "{reply:?}");
    let rest = &reply.body[message("one").len()..];
    assert!(rest[0] == 0x80 && rest[5..].starts_with(b"grpc-status:2\r\n"), "{rest:?}");
    let reply = call(&proxy, "/no-grpc", TEXT, &[], BASE64_STANDARD.encode(message("x")).as_bytes()).await;
    assert_eq!(
        (reply.status, reply.field("content-type"), reply.text()),
        (503, Some("text/html"), "<p>later")
    );
}

#[tokio::test]
async fn what_fails_here_is_told_as_the_call_s_end() {
    let config = format!(
        "[upstreams.api]\nurl = \"http://{}\"\nprotocol = \"h2\"\n\
         [[routes]]\nmatch = {{ path = \"/api/*\" }}\nupstream = \"api\"\ngrpc_web = true\n",
        closed_address()
    );
    let proxy = Proxy::of(config).start().await;
    for media_type in [BINARY, TEXT] {
        let reply = call(&proxy, "/api/x", media_type, &[], b"AAAAAAA=").await;
        assert_eq!((reply.status, reply.field("grpc-status"), reply.body.len()), (200, Some("14"), 0));
        assert_eq!(reply.field("content-type"), Some(media_type));
    }
    let service = service().await;
    let proxy = proxy_of(&service, "max_request_body = \"8B\"").await;
    for (body, code) in [("AAA!", "13"), ("AAAAA", "13"), ("AA=A", "13"), ("AAAAAAAAAAAA", "8")] {
        let reply = call(&proxy, "/", TEXT, &[], body.as_bytes()).await;
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some(code)), "{body}: {reply:?}");
        assert_eq!(reply.field("content-type"), Some(TEXT));
    }
}

#[tokio::test]
async fn a_deadline_that_passes_ends_the_call_between_two_messages() {
    let service = service().await;
    let proxy = proxy_of(&service, "").await;
    let reply = call(&proxy, "/silent", BINARY, &["grpc-timeout: 2S"], &message("x")).await;
    let rest = reply.body.strip_prefix(&message("one")[..]).unwrap();
    assert!(rest[0] == 0x80 && rest[5..].starts_with(b"grpc-status:4\r\n"), "{reply:?}");
    let reply = call(&proxy, "/amid", BINARY, &["grpc-timeout: 2S"], &message("x")).await;
    assert!(!reply.whole, "{reply:?}");
    let ends: Vec<End> = proxy.finished(2).await.iter().map(|event| event.end).collect();
    assert_eq!(ends, [End::TimedOut; 2]);
}

#[tokio::test]
async fn other_requests_stay_as_they_are() {
    let service = H2Origin::start(async |mut call: H2Call| {
        let given = call.request.headers().get("content-type").cloned();
        let (body, _) = call.whole().await.unwrap();
        let given = given.as_ref().map_or("", |given| given.to_str().unwrap());
        let mut sender = call.begin(200, &[("content-type", given)]);
        sender.send_data(body.into(), true).unwrap();
    })
    .await;
    let proxy = proxy_of(&service, "").await;
    for media_type in ["application/json", "application/grpc-webx"] {
        let reply = call(&proxy, "/", media_type, &[], b"{}").await;
        assert_eq!((reply.field("content-type"), reply.text()), (Some(media_type), "{}"));
        assert!(!service.last().headers().contains_key("te"));
    }
    assert_eq!(proxy.connect_h2().await.ask(H2::request("GET", "/", "")).await.status, 200);
}
