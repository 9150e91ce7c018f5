//! A raw TCP origin that says exactly what a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens until the test's runtime ends.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heads: Arc<AtomicUsize>,
}

impl Origin {
    /// Connections taken so far.
    pub(super) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Request heads read so far.
    pub(super) fn requests(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }
}

/// An accepted connection.
pub(super) struct Peer {
    /// How many came before it.
    pub(super) nth: usize,
    stream: TcpStream,
    read: Vec<u8>,
    heads: Arc<AtomicUsize>,
}

impl Peer {
    /// The next request's head; `None`: the connection was closed.
    pub(super) async fn head(&mut self) -> Option<String> {
        let head = self.through("\r\n\r\n").await?;
        self.heads.fetch_add(1, Ordering::SeqCst);
        Some(head)
    }

    /// Reads up to and with `end`.
    pub(super) async fn through(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self.read.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let part: Vec<u8> = self.read.drain(..at + end.len()).collect();
                return Some(String::from_utf8(part).unwrap());
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// What was read beyond the last part.
    pub(super) fn beyond(&self) -> usize {
        self.read.len()
    }

    pub(super) async fn say(&mut self, text: &str) {
        // The other side may be gone: the test sees that on its own side.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Writes `said` and reads `length` bytes, each as fast as it goes; tells how many it has read.
    pub(super) async fn both_ways(&mut self, said: &[u8], length: usize, tell: impl Fn(usize)) {
        let (mut from, mut to) = self.stream.split();
        let mut piece = vec![0; 64 << 10];
        let mut left = length - self.read.len();
        let read = async {
            while left > 0 {
                let read = from.read(&mut piece).await.unwrap();
                assert!(read > 0, "closed when {left} bytes were to come");
                left -= read;
                tell(length - left);
            }
        };
        tokio::join!(read, async { to.write_all(said).await.unwrap() });
        self.read.clear();
    }

    /// Until the other side closes.
    pub(super) async fn closed(&mut self) {
        while self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0 {
            self.read.clear();
        }
    }
}

/// An origin that treats each connection as `serve` says.
pub(super) async fn origin<S>(serve: S) -> Origin
where
    S: AsyncFn(Peer) + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = Origin { address, accepted: Arc::clone(&accepted), heads: Arc::clone(&heads) };
    // A thread of its own, so that it does not matter which runtimes the test uses.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let listener = {
            let listener = listener.into_std().unwrap();
            let _inside = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        let serve = std::rc::Rc::new(serve);
        local.block_on(&runtime, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let nth = accepted.fetch_add(1, Ordering::SeqCst);
                let peer = Peer { nth, stream, read: Vec::new(), heads: Arc::clone(&heads) };
                let serve = std::rc::Rc::clone(&serve);
                tokio::task::spawn_local(async move { serve(peer).await });
            }
        });
    });
    origin
}
