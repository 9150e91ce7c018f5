//! Fetches over real sockets, from origins that misbehave.

mod asking;
mod bodies;
mod endpoints;
mod exchanges;
mod origin;
mod piped;
mod pooling;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::runtime::Handle;

use super::*;
use origin::{Origin, Peer, origin};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn endpoint(address: SocketAddr) -> EndpointSettings {
    EndpointSettings {
        tls: false,
        host: address.ip().to_string().into(),
        port: address.port(),
        weight: 1,
        backup: false,
    }
}

fn settings(endpoints: &[SocketAddr]) -> Settings {
    let mut settings = Settings::new("api", endpoint(endpoints[0]));
    settings.endpoints = endpoints.iter().map(|address| endpoint(*address)).collect();
    settings
}

fn upstream(settings: Settings) -> Arc<Upstream> {
    let upstreams = Upstreams::new(Handle::current());
    upstreams.apply(&[settings]);
    upstreams.get("api").unwrap()
}

fn request(method: Method, target: &'static str) -> FetchRequest {
    FetchRequest::new(method, PathAndQuery::from_static(target))
}

fn get() -> FetchRequest {
    request(Method::GET, "/")
}

fn post(body: &'static str) -> FetchRequest {
    FetchRequest {
        body: RequestBody::Full(Bytes::from_static(body.as_bytes())),
        ..request(Method::POST, "/")
    }
}

async fn text(fetched: Fetched) -> Result<String, BodyError> {
    let bytes = fetched.response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Fetches and reads all of it.
async fn ask(upstream: &Upstream, request: FetchRequest) -> String {
    text(upstream.fetch(request).await.unwrap()).await.unwrap()
}

fn only(upstream: &Upstream) -> EndpointSnapshot {
    upstream.snapshot().endpoints.remove(0)
}

/// Lets other tasks run until it holds.
async fn until(holds: impl FnMut() -> bool) {
    until_or(holds, String::new).await;
}

/// The same; else it says what it has `seen`.
async fn until_or(mut holds: impl FnMut() -> bool, seen: impl Fn() -> String) {
    // Long enough for a kernel that sends again what was lost, at longer and longer intervals.
    let patience = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    assert!(patience.await.is_ok(), "it never came to hold: {}", seen());
}

/// An origin that answers everything with `OK`.
async fn good() -> Origin {
    origin(async |mut peer: Peer| {
        while peer.head().await.is_some() {
            peer.say(OK).await;
        }
    })
    .await
}

/// An address where nobody listens, nor will as long as the tests run: a port that was given back would soon be another
/// test's.
pub(in crate::upstream) fn closed() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    Box::leak(Box::new(socket)).local_addr().unwrap().as_socket().unwrap()
}
