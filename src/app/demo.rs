//! The built-in origin of `serve --demo`: one endpoint for each thing that the proxy can show, without a network.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// What each endpoint shows, as `/` lists it.
const ENDPOINTS: &[(&str, &str)] = &[
    ("/plain", "cacheable for 60 s, with ETag and Last-Modified"),
    ("/slow?ms=800", "takes its time, then cacheable for 10 s: ask many times at once to see one fetch"),
    ("/fail?status=503", "answers with the status asked for (400 to 599)"),
    ("/flaky", "fails every second time: a stale reply may stand in"),
    ("/uncacheable", "no-store, another value every time"),
    ("/vary", "a greeting in the language of Accept-Language (en, de, fr, es)"),
    ("/validate", "stale at once, with an ETag: every use is validated, the origin answers 304"),
    ("/tags", "tagged by Surrogate-Key: purge it with `cache purge --tag greeting`"),
    ("/stream?n=10", "a line every 200 ms, chunked"),
    ("/events?n=60", "server-sent events, one a second"),
    ("/large?bytes=1048576", "so many bytes (4 GiB at most), the same every time"),
    ("/echo", "what arrived: method, target, header fields, length of the body"),
];

const ETAG: &str = "\"demo-1\"";
const MAX_WAIT_MS: u64 = 60_000;
const MAX_LINES: u64 = 3_600;
const MAX_LARGE: u64 = 4 << 30;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// Starts the origin on a free loopback port, as a task of the current runtime.
///
/// # Errors
/// When no loopback port can be had.
pub async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    Ok(address)
}

/// Answers what comes to `listener`, for ever.
pub async fn serve(listener: TcpListener) {
    let origin = Arc::new(Origin { started: SystemTime::now(), flaky: AtomicU64::new(0) });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, origin.clone()));
            }
            Err(error) => {
                warn!(%error, "the demo origin cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, origin: Arc<Origin>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(origin.answer(request).await) }
    });
    // How a connection of the demo ends is of no interest.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

struct Origin {
    started: SystemTime,
    flaky: AtomicU64,
}

impl Origin {
    async fn answer(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let path = request.uri().path();
        if path == "/echo" {
            return echo(request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let body = json!({ "error": "only /echo takes other methods than GET and HEAD" });
            return with(json_reply(405, &body), header::ALLOW, "GET, HEAD");
        }
        let query = request.uri().query().unwrap_or_default();
        match path {
            "/" => index(),
            "/plain" => self.validated(request.headers(), "max-age=60", "hello from the demo origin\n"),
            "/validate" => self.validated(request.headers(), "max-age=0", "validated on every use\n"),
            "/slow" => slow(number(query, "ms", 800).min(MAX_WAIT_MS)).await,
            "/fail" => fail(number(query, "status", 503)),
            "/flaky" => self.flaky(),
            "/uncacheable" => uncacheable(),
            "/vary" => greeting(request.headers()),
            "/tags" => {
                with(cacheable("hello, tagged\n"), HeaderName::from_static("surrogate-key"), "greeting demo")
            }
            "/stream" => lines(number(query, "n", 10).min(MAX_LINES)),
            "/events" => events(number(query, "n", 60).min(MAX_LINES)),
            "/large" => large(number(query, "bytes", 1 << 20).min(MAX_LARGE)),
            _ => json_reply(404, &json!({ "error": "no such endpoint", "see": "/" })),
        }
    }

    /// A reply with validators, or 304 where the client has it (RFC 9110 13.1.2).
    fn validated(
        &self,
        request: &HeaderMap,
        freshness: &'static str,
        body: &'static str,
    ) -> Response<ReplyBody> {
        let known = request.get_all(header::IF_NONE_MATCH).iter().any(|field| {
            field.to_str().is_ok_and(|list| {
                list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == ETAG)
            })
        });
        let reply = match known {
            true => reply(304, Full::default()),
            false => text(200, body),
        };
        let reply = with(with(reply, header::CACHE_CONTROL, freshness), header::ETAG, ETAG);
        with(reply, header::LAST_MODIFIED, &httpdate::fmt_http_date(self.started))
    }

    fn flaky(&self) -> Response<ReplyBody> {
        let count = self.flaky.fetch_add(1, Ordering::Relaxed) + 1;
        match count % 2 {
            0 => text(503, format!("request {count} fails, the next one works\n")),
            _ => with(text(200, format!("request {count} works\n")), header::CACHE_CONTROL, "max-age=1"),
        }
    }
}

fn index() -> Response<ReplyBody> {
    let endpoints: Map<_, _> =
        ENDPOINTS.iter().map(|(path, shows)| ((*path).to_owned(), Value::from(*shows))).collect();
    let body = json!({ "about": "the demo origin of proxy-stone", "endpoints": endpoints });
    with(json_reply(200, &body), header::CACHE_CONTROL, "max-age=60")
}

async fn slow(ms: u64) -> Response<ReplyBody> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    with(text(200, format!("that took {ms} ms\n")), header::CACHE_CONTROL, "max-age=10")
}

fn fail(status: u64) -> Response<ReplyBody> {
    let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status)).unwrap_or(503);
    json_reply(status, &json!({ "error": "as asked", "status": status }))
}

fn uncacheable() -> Response<ReplyBody> {
    with(text(200, format!("{:016x}\n", fastrand::u64(..))), header::CACHE_CONTROL, "no-store")
}

fn greeting(request: &HeaderMap) -> Response<ReplyBody> {
    let wanted = request.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("en");
    let language = wanted.trim_start().get(..2).unwrap_or("en").to_ascii_lowercase();
    let (language, body) = match language.as_str() {
        "de" => ("de", "Hallo\n"),
        "fr" => ("fr", "Bonjour\n"),
        "es" => ("es", "Hola\n"),
        _ => ("en", "Hello\n"),
    };
    let reply = with(cacheable(body), header::VARY, "Accept-Language");
    with(reply, header::CONTENT_LANGUAGE, language)
}

/// `n` lines, one every 200 ms; of unknown length, so chunked.
fn lines(n: u64) -> Response<ReplyBody> {
    let body = paced(n, Duration::from_millis(200), move |i| format!("line {i} of {n}\n"));
    with(plain(200, body), header::CACHE_CONTROL, "max-age=10")
}

fn events(n: u64) -> Response<ReplyBody> {
    let body =
        paced(n, Duration::from_secs(1), |i| format!("id: {i}\nevent: tick\ndata: {{\"tick\":{i}}}\n\n"));
    let reply = with(reply(200, body), header::CONTENT_TYPE, "text/event-stream");
    with(reply, header::CACHE_CONTROL, "no-cache")
}

/// `n` pieces: the first at once, the others `every` so often.
fn paced(
    n: u64,
    every: Duration,
    piece: impl Fn(u64) -> String + Send + Copy + 'static,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    StreamBody::new(stream::unfold(1, move |i| async move {
        if i > n {
            return None;
        }
        if i > 1 {
            tokio::time::sleep(every).await;
        }
        Some((Ok(Frame::data(Bytes::from(piece(i)))), i + 1))
    }))
}

fn large(bytes: u64) -> Response<ReplyBody> {
    let reply = with(reply(200, Pattern { left: bytes }), header::CONTENT_TYPE, "application/octet-stream");
    with(reply, header::CACHE_CONTROL, "max-age=60")
}

/// Bytes 0 to 250, over and over: any slice tells its offset, and a checksum is the same every time.
struct Pattern {
    left: u64,
}

/// A whole number of periods, so that each piece begins as the first one does.
static PERIODS: LazyLock<Bytes> = LazyLock::new(|| (0..=250_u8).cycle().take(251 * 256).collect());

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = usize::try_from(self.left).map_or(PERIODS.len(), |left| left.min(PERIODS.len()));
        self.left -= piece as u64;
        Poll::Ready(Some(Ok(Frame::data(PERIODS.slice(..piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Tells what arrived. The body is counted, not kept.
async fn echo(request: Request<Incoming>) -> Response<ReplyBody> {
    let (head, mut body) = request.into_parts();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => return json_reply(400, &json!({ "error": "the request's body broke off" })),
        }
    }
    let mut fields = Map::new();
    for (name, value) in &head.headers {
        let value = Value::from(String::from_utf8_lossy(value.as_bytes()));
        if let Some(Value::Array(values)) =
            Some(fields.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new())))
        {
            values.push(value);
        }
    }
    let body = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": fields,
        "body_bytes": length,
    });
    with(json_reply(200, &body), header::CACHE_CONTROL, "no-store")
}

/// The number that a query names, or `default` where it names none.
fn number(query: &str, name: &str, default: u64) -> u64 {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    values.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok()).unwrap_or(default)
}

fn reply(
    status: u16,
    body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Response<ReplyBody> {
    let mut reply = Response::new(body.boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply
}

fn plain(
    status: u16,
    body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Response<ReplyBody> {
    with(reply(status, body), header::CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn text(status: u16, body: impl Into<Bytes>) -> Response<ReplyBody> {
    plain(status, Full::new(body.into()))
}

fn cacheable(body: &'static str) -> Response<ReplyBody> {
    with(text(200, body), header::CACHE_CONTROL, "max-age=60")
}

fn json_reply(status: u16, body: &Value) -> Response<ReplyBody> {
    let mut pretty = format!("{body:#}");
    pretty.push('\n');
    with(reply(status, Full::new(pretty.into())), header::CONTENT_TYPE, "application/json")
}

fn with(mut reply: Response<ReplyBody>, name: HeaderName, value: &str) -> Response<ReplyBody> {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::client::conn::http1;

    use super::*;

    async fn ask(origin: SocketAddr, request: Request<Empty<Bytes>>) -> (http::response::Parts, Bytes) {
        let stream = TcpStream::connect(origin).await.expect("connected");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.expect("a reply").into_parts();
        (head, body.collect().await.expect("a body").to_bytes())
    }

    async fn get(origin: SocketAddr, target: &str) -> (http::response::Parts, Bytes) {
        ask(origin, Request::get(target).body(Empty::new()).expect("a request")).await
    }

    #[tokio::test]
    async fn every_endpoint_that_is_listed_answers() {
        let origin = start().await.expect("started");
        for (target, _) in ENDPOINTS {
            // Their default pace would take a while.
            let target = target.replace("n=10", "n=2").replace("n=60", "n=1").replace("ms=800", "ms=1");
            let (head, body) = get(origin, &target).await;
            let expected = if target.starts_with("/fail") { 503 } else { 200 };
            assert_eq!(head.status, expected, "{target}");
            assert!(!body.is_empty(), "{target}");
        }
        let (head, body) = get(origin, "/").await;
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
        let index: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(index["endpoints"].as_object().map(Map::len), Some(ENDPOINTS.len()));
        assert_eq!(get(origin, "/none").await.0.status, 404);
    }

    #[tokio::test]
    async fn a_known_entity_tag_gets_304() {
        let origin = start().await.expect("started");
        for target in ["/plain", "/validate"] {
            let request = Request::get(target)
                .header("if-none-match", format!("\"other\", W/{ETAG}"))
                .body(Empty::new())
                .expect("a request");
            let (head, body) = ask(origin, request).await;
            assert_eq!((head.status.as_u16(), body.len()), (304, 0), "{target}");
            assert_eq!(head.headers[header::ETAG], ETAG);
            assert!(head.headers.contains_key(header::LAST_MODIFIED));
        }
    }

    #[tokio::test]
    async fn large_bodies_are_bounded_and_tell_their_length() {
        let origin = start().await.expect("started");
        let (head, body) = get(origin, "/large?bytes=100000").await;
        assert_eq!(head.headers[header::CONTENT_LENGTH], "100000");
        assert!(body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
        let request = Request::head("/large?bytes=99999999999999").body(Empty::new()).expect("a request");
        let (head, _) = ask(origin, request).await;
        assert_eq!(head.headers[header::CONTENT_LENGTH], MAX_LARGE.to_string());
    }

    #[tokio::test]
    async fn odd_questions_get_sensible_answers() {
        let origin = start().await.expect("started");
        for (target, status) in [
            ("/fail?status=200", 503),
            ("/fail?status=x", 503),
            ("/fail?status=418", 418),
            ("/fail?status=99999999999999999999", 503),
        ] {
            assert_eq!(get(origin, target).await.0.status.as_u16(), status, "{target}");
        }
        let first = get(origin, "/flaky").await.0.status;
        let second = get(origin, "/flaky").await.0.status;
        assert_eq!((first.as_u16(), second.as_u16()), (200, 503));
        let request = Request::get("/vary").header("accept-language", "d\u{fc}");
        let (head, body) = ask(origin, request.body(Empty::new()).expect("a request")).await;
        assert_eq!(
            (head.headers[header::VARY].as_bytes(), &body[..]),
            (&b"Accept-Language"[..], &b"Hello\n"[..])
        );
        let request = Request::delete("/plain").body(Empty::new()).expect("a request");
        assert_eq!(ask(origin, request).await.0.status, 405);
    }
}
