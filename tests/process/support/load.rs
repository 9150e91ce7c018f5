//! A steady load of clients as they are: kept connections and new ones, HTTP/1.1 and HTTP/2, plain and over TLS. Whatever
//! does not get a whole reply with 200 is a failure, and none is tried again.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::LIMIT;

/// Where a load goes.
pub struct Aim {
    pub plain: SocketAddr,
    /// The same behind TLS, and who is trusted there.
    pub tls: Option<(SocketAddr, Arc<rustls::ClientConfig>, Arc<rustls::ClientConfig>)>,
    /// Whether a balancer would send new connections there; while nobody is ready, the first one is asked.
    pub ready: AtomicBool,
}

impl Aim {
    pub fn plain(plain: SocketAddr) -> Self {
        Self { plain, tls: None, ready: AtomicBool::new(true) }
    }

    /// TLS too, with a certificate for localhost of this authority.
    #[allow(dead_code)]
    pub fn with_tls(plain: SocketAddr, tls: SocketAddr, ca: &std::path::Path) -> Self {
        use rustls_pki_types::pem::PemObject;
        let config = |protocol: &[u8]| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Self { tls: Some((tls, config(b"http/1.1"), config(b"h2"))), ..Self::plain(plain) }
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Tally {
    pub requests: AtomicU64,
    pub connections: AtomicU64,
    /// What was answered while the connection said that it closes, or by one that did not take any more.
    pub moved: AtomicU64,
    pub failures: Mutex<Vec<String>>,
    pub slowest_ms: AtomicU64,
}

/// A load that runs until it is told to end.
pub struct Load {
    pub tally: Arc<Tally>,
    ending: Arc<AtomicBool>,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Way {
    Kept,
    New,
    Http2,
}

impl Load {
    /// So many requests a second, for `target`, spread over every kind of client.
    pub fn start(aims: Arc<Vec<Aim>>, rate: u32, target: &'static str) -> Self {
        let (tally, ending) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let (told, end) = (tally.clone(), ending.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(aims, rate, target, told, end));
        });
        Self { tally, ending, began: Instant::now(), thread: Some(thread) }
    }

    /// Waits until so many more have been answered.
    #[track_caller]
    pub fn goes_on(&self, more: u64) {
        let wanted = self.tally.requests.load(SeqCst) + more;
        super::eventually("requests are answered", || {
            (self.tally.requests.load(SeqCst) >= wanted).then_some(())
        });
    }

    /// Ends it, and holds that nothing failed. What it came to, for the record.
    #[track_caller]
    pub fn end(mut self) -> String {
        self.ending.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let took = self.began.elapsed();
        let failures = self.tally.failures.lock().unwrap();
        let requests = self.tally.requests.load(SeqCst);
        let said = format!(
            "{requests} requests in {took:.1?} ({:.0}/s), {} failed; {} connections, {} requests moved on, slowest {} ms",
            requests as f64 / took.as_secs_f64(),
            failures.len(),
            self.tally.connections.load(SeqCst),
            self.tally.moved.load(SeqCst),
            self.tally.slowest_ms.load(SeqCst),
        );
        assert!(failures.is_empty(), "{said}: {:?}", &failures[..failures.len().min(8)]);
        said
    }
}

async fn run(aims: Arc<Vec<Aim>>, rate: u32, target: &'static str, tally: Arc<Tally>, end: Arc<AtomicBool>) {
    let ways = [Way::Kept, Way::New, Way::Http2, Way::Kept, Way::Kept, Way::Http2, Way::Kept, Way::Http2];
    let tls = aims.iter().all(|aim| aim.tls.is_some());
    const CLIENTS: u32 = 40;
    let pause = Duration::from_secs(1) * CLIENTS / rate;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let way = ways[number as usize % ways.len()];
        let client = Caller {
            aims: aims.clone(),
            // Handshakes cost much; one in eight new connections is enough to see them.
            tls: tls && number % 3 == 0 && (!matches!(way, Way::New) || number % 8 == 1),
            target,
            tally: tally.clone(),
            turn: number as usize,
        };
        let end = end.clone();
        tasks.spawn(async move {
            tokio::time::sleep(pause * number / CLIENTS).await;
            client.go_on(way, pause, &end).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

struct Caller {
    aims: Arc<Vec<Aim>>,
    tls: bool,
    target: &'static str,
    tally: Arc<Tally>,
    turn: usize,
}

trait Duplex: tokio::io::AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
type Stream = BufReader<Box<dyn Duplex>>;

impl Caller {
    async fn go_on(mut self, way: Way, pause: Duration, end: &AtomicBool) {
        let mut tick = tokio::time::interval(pause);
        let mut kept: Option<Stream> = None;
        let mut h2: Option<SendRequest<Empty<Bytes>>> = None;
        while !end.load(SeqCst) {
            tick.tick().await;
            let began = Instant::now();
            let asked = async {
                match way {
                    Way::Kept => self.kept(&mut kept).await,
                    Way::New => self.new_one().await,
                    Way::Http2 => self.http2(&mut h2).await,
                }
            };
            let done = tokio::time::timeout(LIMIT, asked).await;
            self.tally.requests.fetch_add(1, SeqCst);
            self.tally.slowest_ms.fetch_max(began.elapsed().as_millis() as u64, SeqCst);
            if let Err(error) = done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                (kept, h2) = (None, None);
                let what = match way {
                    Way::Kept => "kept",
                    Way::New => "new",
                    Way::Http2 => "HTTP/2",
                };
                self.tally.failures.lock().unwrap().push(format!("{what}, TLS {}: {error}", self.tls));
            }
        }
    }

    async fn connect(&mut self, http2: bool) -> io::Result<Box<dyn Duplex>> {
        self.tally.connections.fetch_add(1, SeqCst);
        self.turn += 1;
        let count = self.aims.len();
        let choice = (0..count).map(|n| (self.turn + n) % count);
        let ready = choice.into_iter().find(|n| self.aims[*n].ready.load(SeqCst));
        let aim = &self.aims[ready.unwrap_or(0)];
        let stage = |what: &'static str| {
            move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        let Some((address, http1, h2)) = aim.tls.as_ref().filter(|_| self.tls) else {
            let stream = TcpStream::connect(aim.plain).await.map_err(stage("connect"))?;
            stream.set_nodelay(true)?;
            return Ok(Box::new(stream));
        };
        let stream = TcpStream::connect(address).await.map_err(stage("connect"))?;
        stream.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(if http2 { h2.clone() } else { http1.clone() });
        Ok(Box::new(connector.connect(name, stream).await.map_err(stage("handshake"))?))
    }

    async fn kept(&mut self, kept: &mut Option<Stream>) -> io::Result<()> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => BufReader::new(self.connect(false).await?),
        };
        let closes = exchange(&mut stream, self.target, "").await?;
        if closes {
            self.tally.moved.fetch_add(1, SeqCst);
        } else {
            *kept = Some(stream);
        }
        Ok(())
    }

    async fn new_one(&mut self) -> io::Result<()> {
        let mut stream = BufReader::new(self.connect(false).await?);
        exchange(&mut stream, self.target, "connection: close\r\n").await.map(drop)
    }

    async fn http2(&mut self, kept: &mut Option<SendRequest<Empty<Bytes>>>) -> io::Result<()> {
        // A connection that says it takes no more before a request was sent on it has failed nobody.
        let mut sender = loop {
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => {
                    let stream = TokioIo::new(self.connect(true).await?);
                    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
                    let (sender, connection) = shaken.map_err(io::Error::other)?;
                    tokio::spawn(connection);
                    sender
                }
            };
            if sender.ready().await.is_ok() {
                break sender;
            }
            self.tally.moved.fetch_add(1, SeqCst);
        };
        let uri = format!("http{}://localhost{}", if self.tls { "s" } else { "" }, self.target);
        let request = http::Request::get(uri).body(Empty::new()).unwrap();
        let reply = match sender.send_request(request).await {
            Ok(reply) => reply,
            // It was not sent, or was not looked at: a GOAWAY came between the two (RFC 9113 6.8). Requests that the server
            // has begun with end otherwise.
            Err(error) if error.is_canceled() || is_told_to_go(&error) => {
                self.tally.moved.fetch_add(1, SeqCst);
                return Box::pin(self.http2(kept)).await;
            }
            Err(error) => return Err(io::Error::other(format!("{error:?}"))),
        };
        let status = reply.status();
        let body = reply.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        if status != 200 || body.is_empty() {
            return Err(io::Error::other(format!("{status} with {} bytes", body.len())));
        }
        *kept = Some(sender);
        Ok(())
    }
}

fn is_told_to_go(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// One exchange of HTTP/1.1; whether the connection closes behind it.
async fn exchange(stream: &mut Stream, target: &str, fields: &str) -> io::Result<bool> {
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let (mut length, mut closes, mut status) = (0, false, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed, after {status:?}")));
        }
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_empty() {
            status = line;
            continue;
        }
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("connection", "close")) => closes = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if !status.contains(" 200 ") || length == 0 {
        return Err(io::Error::other(format!("{status}, {length} bytes")));
    }
    Ok(closes)
}
