//! An origin that says exactly what a test wants, byte by byte where that matters.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::message::{Framing, Head};
use super::until;
use super::wire::{Body, Wire, chunked};

/// Answers until it is dropped, on a thread of its own.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: Mutex<Vec<Head>>,
}

impl Origin {
    /// Answers each request as `serve` does. What it leaves unread of a request's body is read after it; then the
    /// connection goes on, unless it was cut.
    pub async fn start<S>(serve: S) -> Self
    where
        S: AsyncFn(&mut Call) + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let shared = seen.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, shared, Rc::new(serve)) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, seen, _stop: stop }
    }

    /// Answers everything alike.
    pub async fn always(answer: Answer) -> Self {
        Self::start(async move |call: &mut Call| call.answer(&answer).await).await
    }

    /// Answers each request with what `answer` makes of it.
    pub async fn answering(answer: impl Fn(&Head) -> Answer + Send + 'static) -> Self {
        Self::start(async move |call: &mut Call| {
            let answer = answer(&call.request);
            call.answer(&answer).await;
        })
        .await
    }

    /// `http://` and its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests whose head has come.
    pub fn hits(&self) -> usize {
        self.seen.requests.lock().len()
    }

    /// Waits for so many requests.
    pub async fn hit(&self, count: usize) {
        until("the origin is asked", || self.hits() >= count).await;
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that have ended.
    pub fn closed(&self) -> usize {
        self.seen.closed.load(Ordering::SeqCst)
    }

    /// The heads of all requests, as they came.
    pub fn requests(&self) -> Vec<Head> {
        self.seen.requests.lock().clone()
    }

    /// The head of the last request.
    pub fn last(&self) -> Head {
        self.requests().pop().expect("the origin was asked")
    }
}

async fn accept<S>(listener: TcpListener, seen: Arc<Seen>, serve: Rc<S>)
where
    S: AsyncFn(&mut Call) + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let connection = seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, serve) = (seen.clone(), serve.clone());
        tokio::task::spawn_local(async move {
            serve_connection(Wire::new(stream), connection, &seen, &*serve).await;
            seen.closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

async fn serve_connection<S: AsyncFn(&mut Call)>(mut wire: Wire, connection: usize, seen: &Seen, serve: &S) {
    while let Some(request) = wire.head().await {
        let nth = {
            let mut requests = seen.requests.lock();
            requests.push(request.clone());
            requests.len()
        };
        let framing = Some(request.request_framing());
        let mut call = Call { request, nth, connection, wire, framing, cut: None };
        serve(&mut call).await;
        match call.cut {
            Some(Cut::Close) => return,
            Some(Cut::Reset) => return call.wire.reset(),
            None => {}
        }
        if let Some(framing) = call.framing
            && !call.wire.each(framing, |_| {}).await.whole
        {
            return;
        }
        wire = call.wire;
    }
}

/// A request at the origin, and the connection that it came on.
pub struct Call {
    /// Its head.
    pub request: Head,
    /// How many came up to it, itself included.
    pub nth: usize,
    /// How many connections came before its own.
    pub connection: usize,
    /// The connection.
    pub wire: Wire,
    framing: Option<Framing>,
    cut: Option<Cut>,
}

#[derive(Clone, Copy)]
enum Cut {
    Close,
    Reset,
}

impl Call {
    /// The method.
    pub fn method(&self) -> &str {
        self.request.word(0)
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.request.word(1)
    }

    /// Reads the body.
    pub async fn body(&mut self) -> Body {
        let framing = self.framing.take().expect("the body was read before");
        self.wire.body(framing).await
    }

    /// Reads the body part by part.
    pub async fn each(&mut self, take: impl FnMut(&[u8])) -> bool {
        let framing = self.framing.take().expect("the body was read before");
        self.wire.each(framing, take).await.whole
    }

    /// Says these bytes. That the proxy has gone is seen on the test's own side.
    pub async fn say(&mut self, text: impl AsRef<[u8]>) -> bool {
        self.wire.say(text.as_ref()).await.is_ok()
    }

    /// Says a chunk.
    pub async fn chunk(&mut self, data: impl AsRef<[u8]>) -> bool {
        self.say(chunked(data.as_ref())).await
    }

    /// Says a whole reply.
    pub async fn answer(&mut self, answer: &Answer) {
        let head_only = self.method() == "HEAD";
        self.say(answer.to_bytes(head_only)).await;
    }

    /// Closes the connection once the handler returns.
    pub fn cut(&mut self) {
        self.cut = Some(Cut::Close);
    }

    /// Resets the connection once the handler returns.
    pub fn reset(&mut self) {
        self.cut = Some(Cut::Reset);
    }

    /// Waits until the proxy has closed the connection, which ends it here too.
    pub async fn gone(&mut self) {
        self.wire.gone().await;
        self.cut();
    }
}

/// A plain reply, framed by its length.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    /// A reply without a body.
    pub fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Bytes::new() }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::new(200).body(body)
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn to_bytes(&self, head_only: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        if self.status != 204 && self.status != 304 {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        let mut bytes = (text + "\r\n").into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}
