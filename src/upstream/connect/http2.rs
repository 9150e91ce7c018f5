//! An HTTP/2 connection: many exchanges at once, driven by one task on the worker that made it (RFC 9113).

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::SendStream;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::Request;

use super::Conn;
use super::http1::READ_BUFFER;
use super::pulse::Pulse;
use super::transport::Transport;
use crate::upstream::error::Failure;
use crate::upstream::pool::{Permit, Pool, Shared, Worker};
use crate::upstream::settings::Http2Settings;

/// What h2 takes for the peer's limit before the peer has told it: a number that no peer can tell.
const UNTOLD: usize = usize::MAX - 1;

/// Streams that we reset and whose late frames are still expected: clients leave, and nothing may come of that for those
/// who stay.
const REMEMBERED_RESETS: usize = 1024;

/// What an exchange may have waiting to be written.
const SEND_BUFFER: usize = 128 << 10;

/// A connection, as the pool keeps it. When the last of its clones and streams is gone it closes, with a GOAWAY.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    facts: Arc<Facts>,
    sender: SendRequest<Bytes>,
}

/// What connection, streams and pool know of each other.
#[derive(Debug)]
struct Facts {
    /// Streams that are taken.
    streams: AtomicUsize,
    /// How many there may be: what the peer says (RFC 9113 5.1.2) and the config allows. One, until the peer has spoken.
    limit: AtomicUsize,
    /// How many there may be since the peer refused one.
    cap: AtomicUsize,
    /// It takes no more.
    over: AtomicBool,
    served: AtomicBool,
    doubted: AtomicBool,
    driver: AtomicWaker,
    made: Instant,
    /// When its last stream ended, in milliseconds after `made`.
    idle_since: AtomicU64,
    generation: AtomicU64,
    home: Worker,
    peer: SocketAddr,
    pool: Weak<Pool<Conn>>,
}

impl Facts {
    fn places(&self) -> usize {
        self.limit.load(Ordering::Acquire).min(self.cap.load(Ordering::Relaxed))
    }

    fn release(&self) {
        if self.streams.fetch_sub(1, Ordering::SeqCst) == 1 {
            let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.idle_since.store(now, Ordering::Relaxed);
        }
    }
}

impl Shared<Conn> for Http2 {
    fn join(&self) -> Option<Conn> {
        self.stream().map(Conn::Http2)
    }

    fn is_over(&self) -> bool {
        self.facts.over.load(Ordering::Acquire)
    }

    fn streams(&self) -> usize {
        self.facts.streams.load(Ordering::Relaxed)
    }

    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let since = self.facts.made + Duration::from_millis(self.facts.idle_since.load(Ordering::Relaxed));
        (self.streams() == 0).then(|| now.saturating_duration_since(since))
    }

    fn home(&self) -> Worker {
        self.facts.home
    }
}

impl Http2 {
    /// A place for a stream, unless there are as many as there may be, or the peer is going away.
    fn stream(&self) -> Option<Stream> {
        let facts = &self.facts;
        if self.is_over() {
            return None;
        }
        let places = facts.places();
        let more = |streams: usize| (streams < places).then_some(streams + 1);
        facts.streams.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        let mut sender = self.sender.clone();
        // A GOAWAY, or no more stream ids.
        if !matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))) {
            facts.over.store(true, Ordering::Release);
            facts.release();
            return None;
        }
        let place = Place { facts: Some(Arc::clone(facts)) };
        Some(Stream { place, sender, reused: facts.served.swap(true, Ordering::Relaxed) })
    }
}

/// A stream's place on a connection, from before its request until its reply has been read.
#[derive(Debug)]
pub(crate) struct Stream {
    place: Place,
    sender: SendRequest<Bytes>,
    /// Whether others came before it.
    pub(crate) reused: bool,
}

#[derive(Debug)]
struct Place {
    /// `None` once it was given back.
    facts: Option<Arc<Facts>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(facts) = self.facts.take() else { return };
        facts.release();
        if let Some(pool) = facts.pool.upgrade() {
            pool.freed();
        }
    }
}

impl Stream {
    /// Sends a request's head; `ends`: there is nothing more to it. An error: nothing was sent.
    pub(crate) fn send(
        &mut self,
        head: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender.send_request(head, ends)
    }

    /// The peer refused this one (RFC 9113 8.7): it has enough with the others.
    pub(crate) fn refused(&self) {
        if let Some(facts) = self.facts() {
            let others = facts.streams.load(Ordering::Relaxed).saturating_sub(1).max(1);
            facts.cap.fetch_min(others, Ordering::Relaxed);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.facts().is_none_or(|facts| facts.over.load(Ordering::Acquire))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.facts().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |facts| facts.peer)
    }

    pub(super) fn home(&self) -> Worker {
        self.facts().map_or_else(Worker::current, |facts| facts.home)
    }

    pub(super) fn generation(&self) -> u64 {
        self.facts().map_or(0, |facts| facts.generation.load(Ordering::Relaxed))
    }

    pub(super) fn set_generation(&self, generation: u64) {
        if let Some(facts) = self.facts() {
            facts.generation.store(generation, Ordering::Relaxed);
        }
    }

    pub(super) fn forsake(&self) {
        if let Some(facts) = self.facts() {
            facts.over.store(true, Ordering::Release);
        }
    }

    pub(crate) fn doubt(&self) {
        if let Some(facts) = self.facts() {
            facts.doubted.store(true, Ordering::Release);
            facts.driver.wake();
        }
    }

    /// Without a look for who waits for it.
    pub(super) fn release_quietly(mut self) {
        if let Some(facts) = self.place.facts.take() {
            facts.release();
        }
    }

    fn facts(&self) -> Option<&Facts> {
        self.place.facts.as_deref()
    }
}

/// Speaks HTTP/2 on a transport that was just opened; the first stream on it.
pub(super) async fn open(
    transport: Transport,
    peer: SocketAddr,
    settings: &Http2Settings,
    pool: &Arc<Pool<Conn>>,
    permit: Permit<Conn>,
    generation: u64,
) -> Result<Stream, Failure> {
    let received = transport.received().unwrap_or_default();
    let shaken = builder(settings).handshake::<_, Bytes>(transport).await;
    let (sender, mut connection) = shaken.map_err(Failure::reset)?;
    let facts = Arc::new(Facts {
        streams: AtomicUsize::new(0),
        limit: AtomicUsize::new(1),
        cap: AtomicUsize::new(settings.max_streams.max(1)),
        over: AtomicBool::new(false),
        served: AtomicBool::new(false),
        doubted: AtomicBool::new(false),
        driver: AtomicWaker::new(),
        made: Instant::now(),
        idle_since: AtomicU64::new(0),
        generation: AtomicU64::new(generation),
        home: Worker::current(),
        peer,
        pool: Arc::downgrade(pool),
    });
    let shared = Http2 { facts: Arc::clone(&facts), sender };
    let first = shared.stream().ok_or_else(|| Failure::reset("closed at once"))?;
    let pulse = Pulse::new(connection.ping_pong(), received, settings);
    tokio::spawn(drive(connection, facts, permit, pulse));
    pool.share(shared);
    Ok(first)
}

fn builder(settings: &Http2Settings) -> Builder {
    let streams = u32::try_from(settings.max_streams).unwrap_or(u32::MAX);
    // The largest that there can be (RFC 9113 6.9.1).
    let all = settings.stream_window.saturating_mul(streams).clamp(65_535, i32::MAX.cast_unsigned());
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(all)
        .max_header_list_size(u32::try_from(READ_BUFFER).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        // Clients that leave make for late frames: that is no reason to end what others have under way.
        .max_local_error_reset_streams(None);
    builder
}

/// Drives the connection to its end.
async fn drive(
    mut connection: Connection<Transport, Bytes>,
    facts: Arc<Facts>,
    mut permit: Permit<Conn>,
    mut pulse: Pulse,
) {
    let mut told = UNTOLD;
    let ended = poll_fn(|cx| {
        facts.driver.register(cx.waker());
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended.err().map(|error| error.to_string()));
        }
        let limit = connection.max_concurrent_send_streams();
        if limit != told {
            told = limit;
            facts.limit.store(limit, Ordering::Release);
            permit.shared_by(facts.places());
        }
        let doubted = facts.doubted.swap(false, Ordering::AcqRel);
        let busy = facts.streams.load(Ordering::Relaxed) > 0;
        pulse.poll(cx, busy, doubted).map(|()| Some("no answer to a PING".to_owned()))
    })
    .await;
    facts.over.store(true, Ordering::Release);
    if let Some(why) = ended {
        tracing::debug!(why, peer = %facts.peer, "HTTP/2 connection ended");
    }
    // Streams under way learn of it here.
    drop(connection);
    drop(permit);
}
