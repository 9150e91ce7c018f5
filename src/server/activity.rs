//! What goes on on one connection, told by wire and service to the task that drives it.
//!
//! All on one thread, one writer per fact at a time: the atomics are plain cells that a `Send` future may hold.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::http::h1::Violation;
use crate::tunnel::{Handover, Tunnel};

/// Facts about one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// How a refusal calls this proxy.
    name: Arc<str>,
    /// Exchanges between request head and the last frame of the reply.
    in_flight: AtomicU32,
    /// Requests handed to the handler so far.
    requests: AtomicU64,
    /// Requests in a row of which hyper did not hear.
    at_once: AtomicU32,
    /// Whether the last request had a body, which may not have been read to its end.
    had_body: AtomicBool,
    /// Whether the last request was HTTP/1.0, whose replies may end with the connection.
    ends_by_closing: AtomicBool,
    /// Whether bytes have arrived since the last exchange ended: a head has begun.
    head_begun: AtomicBool,
    /// Whether the client does not take what is written.
    write_blocked: AtomicBool,
    /// Whether the connection is being shut down.
    closing: AtomicBool,
    /// Whether the shutdown has taken long enough.
    abandoned: AtomicBool,
    /// The status of the last HTTP/1 head written.
    last_status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
    /// Bytes of content sent in frames of HTTP/2.
    data_sent: AtomicU64,
    /// Replies of which a part waits for the client to take it (its windows, in HTTP/2).
    offered: AtomicU32,
    /// The last request whose reply's head is there, and whether that goes over to another protocol.
    answered: AtomicU64,
    switched: AtomicBool,
    /// Whether the wire keeps something back until the exchanges in flight are over.
    keeps_back: AtomicBool,
    /// Whether the client left in the middle of a head.
    cut_short: AtomicBool,
    /// Whether a request was refused.
    refuses: AtomicBool,
    /// Whether there is something in `refused`.
    has_refused: AtomicBool,
    /// What few connections have.
    seldom: Mutex<Option<Box<Seldom>>>,
}

#[derive(Debug, Default)]
struct Seldom {
    /// What the wire has refused, until it is told.
    refused: Refused,
    /// What the connection becomes once its reply has left.
    tunnel: Option<Handover>,
}

/// What the wire has refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) head: Option<(Refusal, Uuid)>,
    pub(super) content: Option<Violation>,
}

/// Adds for a single writer: no locked instruction.
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Activity {
    /// Nothing has happened yet.
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            in_flight: Default::default(),
            requests: Default::default(),
            at_once: Default::default(),
            had_body: Default::default(),
            ends_by_closing: Default::default(),
            head_begun: Default::default(),
            write_blocked: Default::default(),
            closing: Default::default(),
            abandoned: Default::default(),
            last_status: Default::default(),
            received: Default::default(),
            sent: Default::default(),
            data_sent: Default::default(),
            offered: Default::default(),
            answered: Default::default(),
            switched: Default::default(),
            keeps_back: Default::default(),
            cut_short: Default::default(),
            refuses: Default::default(),
            has_refused: Default::default(),
            seldom: Default::default(),
        }
    }

    /// How a refusal calls this proxy.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A request begins; its number on this connection, from 1.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> (u64, InFlight) {
        add(&self.requests, 1);
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.had_body.store(has_body, Relaxed);
        self.head_begun.store(false, Relaxed);
        (self.requests.load(Relaxed), InFlight(self.clone()))
    }

    /// A request was answered before anything else heard of it.
    pub(super) fn answered_at_once(&self) {
        add(&self.requests, 1);
        self.begun_past_hyper();
        self.answered.store(self.requests.load(Relaxed), Relaxed);
        self.switched.store(false, Relaxed);
        self.head_begun.store(false, Relaxed);
        self.had_body.store(false, Relaxed);
    }

    /// hyper does not hear of a request.
    pub(super) fn begun_past_hyper(&self) {
        self.at_once.store(self.at_once.load(Relaxed).wrapping_add(1), Relaxed);
        self.ends_by_closing.store(false, Relaxed);
    }

    /// hyper has a request, or will have the next.
    pub(super) fn begin_stretch(&self) {
        self.at_once.store(0, Relaxed);
    }

    /// Of how many requests hyper did not hear since it had one.
    pub(super) fn at_once(&self) -> u32 {
        self.at_once.load(Relaxed)
    }

    /// Something goes on beside requests, until the guard is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> InFlight {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        InFlight(self.clone())
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn had_body(&self) -> bool {
        self.had_body.load(Relaxed)
    }

    pub(super) fn ends_by_closing(&self) -> bool {
        self.ends_by_closing.load(Relaxed)
    }

    pub(super) fn set_ends_by_closing(&self, does: bool) {
        self.ends_by_closing.store(does, Relaxed);
    }

    pub(super) fn head_begun(&self) -> bool {
        self.head_begun.load(Relaxed)
    }

    /// A head has begun: a part of it was read together with the request before.
    pub(super) fn set_head_begun(&self) {
        self.head_begun.store(true, Relaxed);
    }

    pub(super) fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Relaxed);
    }

    pub(super) fn closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    pub(super) fn set_closing(&self) {
        self.closing.store(true, Relaxed);
    }

    pub(super) fn abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    /// Nothing more is waited for: hyper's connection comes to its end, and says how it went.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }

    pub(super) fn last_status(&self) -> u16 {
        self.last_status.load(Relaxed)
    }

    pub(super) fn set_last_status(&self, status: u16) {
        self.last_status.store(status, Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn data_sent(&self) -> u64 {
        self.data_sent.load(Relaxed)
    }

    pub(super) fn set_data_sent(&self, bytes: u64) {
        self.data_sent.store(bytes, Relaxed);
    }

    pub(super) fn offered(&self) -> u32 {
        self.offered.load(Relaxed)
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    pub(super) fn switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// The head of request `number`'s reply is about to leave.
    pub(super) fn set_answered(&self, number: u64, switched: bool) {
        self.answered.store(number, Relaxed);
        self.switched.store(switched, Relaxed);
    }

    /// What the connection becomes.
    pub(super) fn hand_over(&self, tunnel: Handover) {
        self.seldom.lock().get_or_insert_default().tunnel = Some(tunnel);
    }

    /// What the connection becomes, asked once.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.switched().then(|| self.seldom.lock().as_mut()?.tunnel.take()?.take()).flatten()
    }

    pub(super) fn keep_back(&self) {
        self.keeps_back.store(true, Relaxed);
    }

    /// Whether the wire may now go on with what it kept back. Asked once.
    pub(super) fn may_go_on(&self) -> bool {
        self.keeps_back.load(Relaxed) && self.in_flight() == 0 && self.keeps_back.swap(false, Relaxed)
    }

    pub(super) fn cut_short(&self) -> bool {
        self.cut_short.load(Relaxed)
    }

    pub(super) fn set_cut_short(&self) {
        self.cut_short.store(true, Relaxed);
    }

    /// A request is refused.
    pub(super) fn refuse(&self, refusal: Refusal, id: Uuid) {
        self.refuses.store(true, Relaxed);
        self.seldom.lock().get_or_insert_default().refused.head = Some((refusal, id));
        self.has_refused.store(true, Relaxed);
    }

    /// The content of a request is refused.
    pub(super) fn refuse_content(&self, violation: Violation) {
        self.seldom.lock().get_or_insert_default().refused.content = Some(violation);
        self.has_refused.store(true, Relaxed);
    }

    /// Whether the wire has refused a request, whose refusal may not have left yet.
    pub(super) fn refuses(&self) -> bool {
        self.refuses.load(Relaxed)
    }

    /// What was refused since this was asked last.
    pub(super) fn take_refused(&self) -> Option<Refused> {
        if !self.has_refused.load(Relaxed) {
            return None;
        }
        self.has_refused.store(false, Relaxed);
        self.seldom.lock().as_mut().map(|seldom| std::mem::take(&mut seldom.refused))
    }

    /// Bytes came from the client. Between exchanges they begin a head.
    pub(super) fn count_received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
        if self.in_flight() == 0 && bytes > 0 {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// The client's socket took bytes.
    pub(super) fn count_sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
        self.set_write_blocked(false);
    }
}

/// An exchange in flight, until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let cell = &self.0.in_flight;
        cell.store(cell.load(Relaxed).saturating_sub(1), Relaxed);
    }
}

pin_project! {
    /// A reply's body that keeps its exchange in flight until it is dropped.
    pub(super) struct Reply<B> {
        #[pin]
        body: B,
        offered: Offered,
    }
}

/// Whether what was last taken from a body may still wait for the client.
#[derive(Debug)]
pub(super) struct Offered {
    in_flight: InFlight,
    waits: bool,
}

impl Offered {
    /// Nothing has been taken.
    pub(super) fn new(in_flight: InFlight) -> Self {
        Self { in_flight, waits: false }
    }

    /// Something has, which is the last.
    pub(super) fn waiting(in_flight: InFlight) -> Self {
        let mut offered = Self::new(in_flight);
        offered.set(true);
        offered
    }

    pub(super) fn set(&mut self, waits: bool) {
        let cell = &self.in_flight.0.offered;
        match (self.waits, waits) {
            (false, true) => cell.store(cell.load(Relaxed) + 1, Relaxed),
            (true, false) => cell.store(cell.load(Relaxed).saturating_sub(1), Relaxed),
            _ => {}
        }
        self.waits = waits;
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl<B> Reply<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, offered: Offered::new(in_flight) }
    }
}

impl<B: Body> Body for Reply<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let next = this.body.poll_frame(cx);
        this.offered.set(matches!(next, Poll::Ready(Some(Ok(_)))));
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
