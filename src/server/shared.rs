//! What all workers share: the count of connections and its cap, the limits for new ones, and the end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Settings;
use super::stream::LOCAL;

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Requests are welcome.
    Serving,
    /// Each reply is the last of its connection.
    Leaving,
    /// What is in flight may finish.
    Draining,
    /// Connections are cut.
    Aborted,
}

/// State of the server as a whole.
#[derive(Debug)]
pub(super) struct Shared {
    phase: AtomicU8,
    open: AtomicUsize,
    /// Loops that accept connections, or may still take what is queued.
    accepting: AtomicUsize,
    handshakes: AtomicUsize,
    /// Connections by client, where that is limited. Touched when a connection opens and closes.
    clients: Mutex<HashMap<IpAddr, usize>>,
    limits: ArcSwap<Limits>,
    emptied: Notify,
    /// The tasks of open connections, woken when the phase changes. Touched when a connection opens and closes.
    tasks: Mutex<HashMap<u64, Waker>>,
    last_task: AtomicU64,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Serving as u8),
            open: AtomicUsize::new(0),
            accepting: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            clients: Mutex::default(),
            limits: ArcSwap::from_pointee(limits),
            emptied: Notify::new(),
            tasks: Mutex::default(),
            last_task: AtomicU64::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            2 => Phase::Draining,
            _ => Phase::Aborted,
        }
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    pub(super) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more connection; `None` when there are as many as there may be.
    pub(super) fn admit(self: &Arc<Self>, max: usize) -> Option<Place> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place { shared: self.clone(), client: None };
        (before < max).then_some(place)
    }

    /// A place for one more handshake; `None` when there are as many as there may be.
    pub(super) fn begin_handshake(self: &Arc<Self>, max: usize) -> Option<Shaking> {
        let before = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let place = Shaking(self.clone());
        (before < max).then_some(place)
    }

    fn uncount(&self, client: IpAddr) {
        let mut clients = self.clients.lock();
        if let Some(held) = clients.get_mut(&client) {
            *held -= 1;
            if *held == 0 {
                clients.remove(&client);
            }
        }
    }

    pub(super) fn leave(&self) {
        self.enter(Phase::Leaving);
    }

    /// Takes leaving back; what is further on stays so.
    pub(super) fn stay(&self) {
        let (leaving, serving) = (Phase::Leaving as u8, Phase::Serving as u8);
        // An error is another phase, which is not to be left.
        let _ = self.phase.compare_exchange(leaving, serving, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(super) fn drain(&self) {
        self.enter(Phase::Draining);
    }

    pub(super) fn abort(&self) {
        self.enter(Phase::Aborted);
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        let tasks: Vec<Waker> = self.tasks.lock().values().cloned().collect();
        tasks.into_iter().for_each(Waker::wake);
    }

    /// A loop that accepts connections begins; it has ended when the result is dropped.
    pub(super) fn begin_accepting(self: &Arc<Self>) -> Accepting {
        self.accepting.fetch_add(1, Ordering::SeqCst);
        Accepting(self.clone())
    }

    fn tell_emptied(&self) {
        if self.phase() != Phase::Serving {
            self.emptied.notify_waiters();
            // A waiter that has looked at the counts but does not wait yet finds the permit.
            self.emptied.notify_one();
        }
    }

    /// Waits until no connection is open, and none is taken any more.
    pub(super) async fn emptied(&self) {
        loop {
            let told = self.emptied.notified();
            // In this order: what is taken last is counted before its loop has ended.
            if self.accepting.load(Ordering::SeqCst) == 0 && self.connections() == 0 {
                return;
            }
            told.await;
        }
    }

    /// Lets `task` be woken when the phase changes, until the registration is dropped.
    pub(super) fn register(self: &Arc<Self>, task: &Waker) -> Registration {
        let id = self.last_task.fetch_add(1, Ordering::Relaxed);
        self.tasks.lock().insert(id, task.clone());
        Registration { shared: self.clone(), id }
    }
}

/// One connection's place under the cap.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    /// Whose connections it counts among.
    client: Option<IpAddr>,
}

/// The address that stands for all that one client is likely to have: with IPv6, of its /64.
fn one_client(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => (address & Ipv6Addr::from(!u128::from(u64::MAX))).into(),
    }
}

impl Place {
    /// Counts the connection among those of its client; `false` when that has as many as it may.
    pub(super) fn is_among(&mut self, peer: SocketAddr, settings: &Settings) -> bool {
        let Some(most) = settings.max_connections_per_client else { return true };
        let address = peer.ip().to_canonical();
        // Whoever speaks for many, on a Unix socket too, is not one client.
        if peer == LOCAL || settings.many_clients.iter().any(|network| network.contains(&address)) {
            return true;
        }
        let client = one_client(address);
        let mut clients = self.shared.clients.lock();
        let held = clients.get(&client).copied().unwrap_or_default();
        if held >= most {
            return false;
        }
        clients.insert(client, held + 1);
        self.client = Some(client);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.shared.uncount(client);
        }
        if self.shared.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shared.tell_emptied();
        }
    }
}

/// A loop that accepts connections.
#[derive(Debug)]
pub(super) struct Accepting(Arc<Shared>);

impl Drop for Accepting {
    fn drop(&mut self) {
        if self.0.accepting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.tell_emptied();
        }
    }
}

/// One handshake's place under the cap.
#[derive(Debug)]
pub(super) struct Shaking(Arc<Shared>);

impl Drop for Shaking {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's task that hears of phase changes.
#[derive(Debug)]
pub(super) struct Registration {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.tasks.lock().remove(&self.id);
    }
}

/// The settings, with hyper's builder made of them.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) settings: Settings,
    pub(super) http1: http1::Builder,
}

/// hyper's least buffer, and what suffices to stream bodies at full speed.
const BODY_BUFFER: usize = 64 << 10;

impl Limits {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), http1: http1_builder(settings) }
    }

    /// Whether the request with this number, from 1, is the last that its connection may carry.
    pub(super) fn is_last(&self, number: u64) -> bool {
        self.settings.max_requests_per_connection.is_some_and(|most| number >= most)
    }
}

/// hyper's own header time-out stays off: it takes a timer per request and would also end idle connections.
fn http1_builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .half_close(false)
        .writev(true)
        .max_header_size(settings.max_header_bytes)
        .max_buf_size(settings.max_header_bytes.max(BODY_BUFFER));
    // hyper keeps 100 fields on the stack and allocates for any number that is set.
    if settings.max_headers != Settings::default().max_headers {
        builder.max_headers(settings.max_headers);
    }
    builder
}
