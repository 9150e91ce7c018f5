//! An origin that speaks HTTP/2 by prior knowledge.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::until;

/// Answers until it is dropped, on a thread of its own.
pub struct H2Origin {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    leaving: watch::Sender<bool>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request<()>>>,
}

impl H2Origin {
    /// Answers each request as `serve` does.
    pub async fn start<S>(serve: S) -> Self
    where
        S: AsyncFn(H2Call) + Send + 'static,
    {
        Self::with(Builder::new(), serve).await
    }

    /// Answers each request as `serve` does, on connections of this kind.
    pub async fn with<S>(builder: Builder, serve: S) -> Self
    where
        S: AsyncFn(H2Call) + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let (leaving, leave) = watch::channel(false);
        let shared = seen.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, builder, shared, Rc::new(serve), leave) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, seen, leaving, _stop: stop }
    }

    /// Answers everything with 200 and this body.
    pub async fn always(body: &'static str) -> Self {
        Self::start(async move |mut call: H2Call| call.answer(200, body)).await
    }

    /// A config whose upstream it is; `upstream` is more of that upstream's table.
    pub fn config(&self, upstream: &str) -> String {
        format!(
            "workers = 1\nupstream = \"api\"\ncache = false\n[upstreams.api]\nurl = \"http://{}\"\nprotocol = \"h2\"\n{upstream}",
            self.address
        )
    }

    /// Says GOAWAY on every connection.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
        self.leaving.send_replace(false);
    }

    pub fn hits(&self) -> usize {
        self.seen.requests.lock().len()
    }

    /// Waits for so many requests.
    pub async fn hit(&self, count: usize) {
        until("the origin is asked", || self.hits() >= count).await;
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub fn last(&self) -> Request<()> {
        self.seen.requests.lock().last().expect("the origin was asked").clone()
    }
}

async fn accept<S>(
    listener: TcpListener,
    builder: Builder,
    seen: Arc<Seen>,
    serve: Rc<S>,
    leave: watch::Receiver<bool>,
) where
    S: AsyncFn(H2Call) + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, serve, builder, mut leave) = (seen.clone(), serve.clone(), builder.clone(), leave.clone());
        // What was said before concerns the connections that there were.
        leave.mark_unchanged();
        tokio::task::spawn_local(async move {
            let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
            loop {
                let accepted = tokio::select! {
                    accepted = connection.accept() => accepted,
                    changed = leave.changed() => {
                        if changed.is_ok() {
                            connection.graceful_shutdown();
                        }
                        continue;
                    }
                };
                let Some(Ok((request, respond))) = accepted else { break };
                let (head, body) = request.into_parts();
                let head = Request::from_parts(head, ());
                seen.requests.lock().push(head.clone());
                let call = H2Call { request: head, body, respond };
                let serve = serve.clone();
                tokio::task::spawn_local(async move { serve(call).await });
            }
        });
    }
}

/// A request at the origin.
pub struct H2Call {
    pub request: Request<()>,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
}

impl H2Call {
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// A whole reply.
    pub fn answer(&mut self, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        let mut sender = self.begin(status, &[]);
        // Whoever has gone does not hear it.
        let _ = sender.send_data(body, true);
    }

    /// The head of a reply.
    pub fn begin(&mut self, status: u16, fields: &[(&'static str, &str)]) -> SendStream<Bytes> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        self.respond.send_response(response.body(()).expect("a reply"), false).expect("sent")
    }

    /// The next part of the body.
    pub async fn part(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let part = self.body.data().await?;
        if let Ok(data) = &part {
            let _ = self.body.flow_control().release_capacity(data.len());
        }
        Some(part)
    }

    /// The whole body, and what follows it.
    pub async fn whole(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let mut all = Vec::new();
        while let Some(part) = self.part().await {
            all.extend(part?);
        }
        Ok((all, self.body.trailers().await?))
    }

    /// Waits until the proxy resets the stream, and says with which code.
    pub async fn reset(&mut self) -> Reason {
        std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await.unwrap_or(Reason::INTERNAL_ERROR)
    }
}
