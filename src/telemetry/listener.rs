//! The plain listener for machines: `/metrics`, `/livez` and `/readyz`, for monitoring and orchestrators.
//!
//! It tells nothing that a neighbour on the network must not know, takes no bodies, and is bounded in
//! connections and in how long a head may take.

use std::convert::Infallible;
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Telemetry;

/// Connections at one time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 64;
/// For a request head, and for a connection that says nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole connection, so that one that never reads its reply is not held for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// After an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whether the instance can take traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for these reasons (one plain line each).
    NotReady(Vec<String>),
}

/// Says whether the instance is ready, each time it is asked.
pub type ReadyCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

struct Facts {
    telemetry: Arc<Telemetry>,
    ready: ReadyCheck,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Facts")
    }
}

/// Serves `/metrics`, `/livez` and `/readyz` on a bound socket until the future is dropped, which also ends
/// its connections.
///
/// # Errors
/// When the socket cannot be handed to the runtime.
pub async fn serve(
    listener: TcpListener,
    telemetry: Arc<Telemetry>,
    ready: ReadyCheck,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let facts = Arc::new(Facts { telemetry, ready });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the telemetry listener could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let facts = facts.clone();
        connections.spawn(async move {
            // How a connection ends is no concern of ours.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, converse(stream, facts)).await;
            drop(place);
        });
    }
}

async fn converse(stream: tokio::net::TcpStream, facts: Arc<Facts>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = answer(&facts, request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// hyper leaves out the body of a reply to HEAD and keeps its length.
fn answer(facts: &Facts, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(path, "/metrics" | "/livez" | "/readyz") {
        return reply(StatusCode::NOT_FOUND, PLAIN, "not found; here are /metrics, /livez and /readyz\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => reply(StatusCode::OK, OPENMETRICS, facts.telemetry.openmetrics()),
        "/livez" => reply(StatusCode::OK, PLAIN, "ok\n"),
        _ => match (facts.ready)() {
            Readiness::Ready => reply(StatusCode::OK, PLAIN, "ready\n"),
            Readiness::NotReady(reasons) => {
                reply(StatusCode::SERVICE_UNAVAILABLE, PLAIN, reasons.join("\n") + "\n")
            }
        },
    }
}

fn reply(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::clock::Clock;
    use crate::telemetry::Settings;

    async fn ask(address: std::net::SocketAddr, line: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn machines_get_plain_answers() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let telemetry = Telemetry::start(&Settings::default(), Clock::System).unwrap();
        let is_ready = Arc::new(AtomicBool::new(false));
        let asked = is_ready.clone();
        let ready: ReadyCheck = Arc::new(move || match asked.load(Ordering::SeqCst) {
            true => Readiness::Ready,
            false => Readiness::NotReady(vec!["the store is opening".into(), "starting".into()]),
        });
        let server = tokio::spawn(serve(socket, telemetry, ready));

        let reply = ask(address, "GET /livez").await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("\r\n\r\nok\n"), "{reply}");
        let reply = ask(address, "GET /readyz").await;
        assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
        assert!(reply.ends_with("\r\n\r\nthe store is opening\nstarting\n"), "{reply}");
        is_ready.store(true, Ordering::SeqCst);
        assert!(ask(address, "GET /readyz?verbose").await.starts_with("HTTP/1.1 200"));
        let reply = ask(address, "GET /metrics").await;
        assert!(reply.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(reply.ends_with("# EOF\n"), "{reply}");
        let head = ask(address, "HEAD /metrics").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        let reply = ask(address, "POST /livez").await;
        assert!(reply.starts_with("HTTP/1.1 405") && reply.contains("allow: GET, HEAD"), "{reply}");
        server.abort();
    }
}
