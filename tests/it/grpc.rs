//! gRPC calls, from clients to services that speak HTTP/2.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request};
use http_body::Frame as BodyFrame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use crate::support::{Gate, H2, H2Call, H2Origin, Proxy, closed_address, within};

type Messages = mpsc::UnboundedSender<Bytes>;

/// A message as gRPC frames it.
fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes.into()
}

/// A call whose messages come one by one, until the sender is dropped.
fn call(
    path: &str,
    fields: &[(&str, &str)],
) -> (Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>, Messages) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((Ok(BodyFrame::data(next)), receiver))
    });
    let mut request = Request::post(format!("http://api.test{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    (request.body(BodyExt::boxed(StreamBody::new(frames))).unwrap(), sender)
}

fn ended(code: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    trailers.insert("grpc-message", "told".parse().unwrap());
    trailers
}

/// Echoes messages as they come, or does as the path says.
async fn service() -> H2Origin {
    H2Origin::start(async |mut call: H2Call| match call.path() {
        "/trailers-only" => {
            let reply = http::Response::builder().header("content-type", "application/grpc");
            let reply = reply.header("grpc-status", "5").header("grpc-message", "none").body(()).unwrap();
            call.respond.send_response(reply, true).unwrap();
        }
        "/silent" => {
            assert_eq!(call.reset().await, Reason::CANCEL);
        }
        _ => {
            let mut sender =
                call.begin(200, &[("content-type", "application/grpc"), ("cache-control", "max-age=60")]);
            while let Some(part) = call.part().await {
                let Ok(part) = part else { return };
                if sender.send_data(part, false).is_err() {
                    return;
                }
            }
            sender.send_trailers(ended("0")).unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn messages_pass_both_ways_as_they_come() {
    let service = service().await;
    let proxy = Proxy::of(service.config("")).start().await;
    let (request, messages) = call("/echo", &[]);
    let mut reply = proxy.connect_h2().await.begin(request).await.unwrap().into_body();
    // Neither side has ended, and each has heard the other.
    for text in ["one", "two", "three"] {
        messages.send(message(text)).unwrap();
        let mut got = Vec::new();
        while got.len() < message(text).len() {
            got.extend(within(reply.frame()).await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(got, message(text));
    }
    drop(messages);
    let trailers = within(reply.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"0".parse().unwrap(), &"told".parse().unwrap())
    );
    assert_eq!(service.last().headers()["te"], "trailers");
}

#[tokio::test]
async fn a_call_that_ends_in_its_head_stays_so() {
    let service = service().await;
    let proxy = Proxy::of(service.config("")).start().await;
    let (request, messages) = call("/trailers-only", &[]);
    drop(messages);
    let reply = proxy.connect_h2().await.ask(request).await;
    assert_eq!((reply.status, reply.field("grpc-status"), reply.body.len()), (200, Some("5"), 0));
}

#[tokio::test]
async fn a_deadline_that_passes_before_the_reply() {
    let service = service().await;
    let proxy = Proxy::of(service.config("")).start().await;
    let (request, messages) = call("/silent", &[("grpc-timeout", "50m")]);
    let reply = proxy.connect_h2().await.ask(request).await;
    assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("4")), "{reply:?}");
    assert_eq!(reply.field("content-type"), Some("application/grpc"));
    assert_eq!(service.last().headers()["grpc-timeout"], "50m");
    drop(messages);
}

#[tokio::test]
async fn a_deadline_that_passes_within_the_reply() {
    let service = service().await;
    for (asked, route) in [("200m", ""), ("1H", "timeout = \"200ms\"")] {
        let config = service.config("").replace("cache = false\n", "");
        let proxy = Proxy::of(format!("{config}[[routes]]\nname = \"all\"\nupstream = \"api\"\n{route}\n"));
        let proxy = proxy.start().await;
        let (request, messages) = call("/echo", &[("grpc-timeout", asked)]);
        messages.send(message("one")).unwrap();
        let reply = proxy.connect_h2().await.ask(request).await;
        assert_eq!((reply.body, reply.trailers.get("grpc-status")), (message("one"), Some("4")), "{asked}");
        drop(messages);
    }
}

#[tokio::test]
async fn what_fails_here_is_told_as_a_call_s_end() {
    let url = format!("http://{}", closed_address());
    let config = format!(
        "[[routes]]\nname = \"api\"\nmatch = {{ path = \"/api/*\" }}\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{url}\"\nprotocol = \"h2\"\n"
    );
    let proxy = Proxy::of(config).start().await;
    let client = proxy.connect_h2().await;
    for (path, code) in [("/api/x", "14"), ("/other", "12")] {
        let (request, messages) = call(path, &[]);
        drop(messages);
        let reply = client.ask(request).await;
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some(code)), "{path}");
        assert_eq!((reply.body.len(), reply.field("content-type")), (0, Some("application/grpc")));
        assert!(reply.field("grpc-message").is_some_and(|text| !text.is_empty()));
    }
    // Anyone else gets the problem.
    assert_eq!(client.ask(H2::request("POST", "/api/x", "")).await.status, 502);
}

#[tokio::test]
async fn calls_are_never_answered_from_the_cache() {
    let service = service().await;
    let config =
        service.config("").replace("cache = false\n", "cache = { ttl = \"60s\", key = { body = true } }\n");
    let proxy = Proxy::of(config).start().await;
    for _ in 0..2 {
        let (request, messages) = call("/echo", &[]);
        messages.send(message("same")).unwrap();
        drop(messages);
        assert_eq!(proxy.connect_h2().await.ask(request).await.body, message("same"));
    }
    assert_eq!(service.hits(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_its_call() {
    let gate = Gate::new();
    let tell = gate.clone();
    let service = H2Origin::start(async move |mut call: H2Call| {
        let mut sender = call.begin(200, &[]);
        sender.send_data(message("one"), false).unwrap();
        assert_eq!(std::future::poll_fn(|cx| sender.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
        tell.open();
    })
    .await;
    let proxy = Proxy::of(service.config("")).start().await;
    let (request, messages) = call("/", &[]);
    let reply = proxy.connect_h2().await.begin(request).await.unwrap();
    drop(reply);
    drop(messages);
    gate.pass().await;
}

#[tokio::test]
async fn grpc_web_passes() {
    let service = H2Origin::start(async |mut call: H2Call| {
        let (body, _) = call.whole().await.unwrap();
        let mut sender = call.begin(200, &[("content-type", "application/grpc-web+proto")]);
        let end = b"\x80\0\0\0\x0fgrpc-status:0\r\n";
        sender.send_data([&body[..], end].concat().into(), true).unwrap();
    })
    .await;
    let proxy = Proxy::of(service.config("")).start().await;
    let reply = proxy.ask("POST", "/", &["content-type: application/grpc-web+proto"], "\0\0\0\0\x01x").await;
    assert_eq!(reply.body, &b"\0\0\0\0\x01x\x80\0\0\0\x0fgrpc-status:0\r\n"[..]);
}
