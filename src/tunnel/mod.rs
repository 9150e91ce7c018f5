//! Tunnels: what a connection is once its protocol was changed (RFC 9110 7.8).
//!
//! Bytes pass both ways unread, each direction at the pace of its slower end, until both have come to their end or
//! a limit is reached. Of a WebSocket (RFC 6455) the frames' headers are followed, so that one that is ended from here
//! is told so between two frames. The pipeline makes a tunnel when the upstream has agreed; the task of the client's
//! connection drives it.
//!
//! ```text
//! client ─▶ flow (16 KiB at most) ─▶ upstream
//!        ◀─ flow (16 KiB at most) ◀─
//! ```

mod counts;
mod flow;
mod frame;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

pub use counts::{Place, Tunnels};
use flow::{Broken, Flow};
use frame::Farewell;

/// How long a tunnel may stay whose one direction has ended while nothing moves in the other.
const HALF_OPEN: Duration = Duration::from_secs(60);

/// How long farewells are waited for.
const FAREWELL: Duration = Duration::from_secs(5);

/// Bytes that are counted together.
const COUNTED: u64 = 256 << 10;

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// In all; `None`: no limit.
    pub whole: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(3600), whole: None }
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Both sides closed in good order, the client first.
    ClientClosed,
    /// Both sides closed in good order, the upstream first.
    UpstreamClosed,
    /// The client's connection broke.
    ClientBroke,
    /// The upstream's connection broke.
    UpstreamBroke,
    /// Nothing moved for too long.
    Idle,
    /// It lasted for as long as it may.
    Expired,
    /// The instance is stopping, and said so.
    Drained,
    /// It was cut: the instance has stopped.
    Cut,
}

impl Reason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::ClientClosed,
        Self::UpstreamClosed,
        Self::ClientBroke,
        Self::UpstreamBroke,
        Self::Idle,
        Self::Expired,
        Self::Drained,
        Self::Cut,
    ];

    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::ClientBroke => "client_broke",
            Self::UpstreamBroke => "upstream_broke",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Drained => "drained",
            Self::Cut => "cut",
        }
    }
}

/// What became of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub reason: Reason,
    /// Bytes that the client was sent.
    pub to_client: u64,
    /// Bytes that the upstream was sent.
    pub to_upstream: u64,
}

/// Is told once how a tunnel ended; dropped without that where it never began.
pub trait Witness: Send {
    /// It has ended.
    fn ended(self: Box<Self>, ended: Ended);
}

/// What a tunnel's other end is made on.
pub trait Upstream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Upstream for IO {}

/// A tunnel to an upstream that has agreed, and that its client is about to hear of.
pub struct Tunnel {
    upstream: Box<dyn Upstream>,
    /// To the client.
    down: Flow,
    /// To the upstream.
    up: Flow,
    over: Over,
    limits: Limits,
    begun: Instant,
    moved_at: Instant,
    timer: Pin<Box<Sleep>>,
    closing: Option<Closing>,
    place: Place,
    /// Bytes that were counted already.
    counted: (u64, u64),
    witness: Option<Box<dyn Witness>>,
}

/// Directions that have come to their end.
#[derive(Clone, Copy, Debug, Default)]
struct Over {
    down: bool,
    up: bool,
    /// Which was first.
    first: Option<Reason>,
}

/// It is being ended from here.
#[derive(Clone, Copy, Debug)]
struct Closing {
    reason: Reason,
    until: Option<Instant>,
}

impl Tunnel {
    /// A tunnel that begins now.
    pub fn new(
        upstream: Box<dyn Upstream>,
        websocket: bool,
        limits: Limits,
        place: Place,
        witness: Box<dyn Witness>,
    ) -> Self {
        let now = Instant::now();
        Self {
            upstream,
            down: Flow::new(websocket),
            up: Flow::new(websocket),
            over: Over::default(),
            limits,
            begun: now,
            moved_at: now,
            timer: Box::pin(sleep_until(now)),
            closing: None,
            place,
            counted: (0, 0),
            witness: Some(witness),
        }
    }

    /// Bytes that were read from the client already.
    pub fn begin_with(&mut self, bytes: &[u8]) {
        self.up.begin_with(bytes);
    }

    /// Lets bytes pass; ready when it has ended. `stopping`: the instance is, so both sides of a WebSocket are told, each
    /// at the end of the frame under way.
    pub fn poll<IO>(&mut self, cx: &mut Context<'_>, client: &mut IO, stopping: bool) -> Poll<Reason>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if stopping && self.closing.is_none() && self.can_part() {
            self.part(Reason::Drained, None);
        }
        loop {
            if let Some(reason) = self.pass(cx, client) {
                return Poll::Ready(reason);
            }
            let Some(due) = self.due() else { return Poll::Pending };
            std::task::ready!(self.poll_due(cx, due));
            match self.overdue() {
                Some(reason) if self.closing.is_none() && self.can_part() => {
                    self.part(reason, Some(Instant::now() + FAREWELL));
                }
                Some(reason) => return Poll::Ready(reason),
                None => {}
            }
        }
    }

    /// Tells how it ended, to whom it concerns.
    pub fn end(mut self, reason: Reason) {
        self.count(0);
        let (to_client, to_upstream) = (self.down.moved(), self.up.moved());
        self.place.ended(reason);
        if let Some(witness) = self.witness.take() {
            witness.ended(Ended { reason, to_client, to_upstream });
        }
    }

    /// Both directions, as far as they go.
    fn pass<IO>(&mut self, cx: &mut Context<'_>, client: &mut IO) -> Option<Reason>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let before = (self.down.moved(), self.up.moved());
        let (mut broken, upstream) = (None, &mut *self.upstream);
        if !self.over.down {
            match self.down.poll(cx, upstream, client) {
                Poll::Ready(Ok(())) => self.over.down(),
                Poll::Ready(Err(Broken::Source)) => broken = Some(Reason::UpstreamBroke),
                Poll::Ready(Err(Broken::Sink)) => broken = Some(Reason::ClientBroke),
                Poll::Pending => {}
            }
        }
        if !self.over.up && broken.is_none() {
            match self.up.poll(cx, client, upstream) {
                Poll::Ready(Ok(())) => self.over.up(),
                Poll::Ready(Err(Broken::Source)) => broken = Some(Reason::ClientBroke),
                Poll::Ready(Err(Broken::Sink)) => broken = Some(Reason::UpstreamBroke),
                Poll::Pending => {}
            }
        }
        if (self.down.moved(), self.up.moved()) != before {
            self.moved_at = Instant::now();
            self.count(COUNTED);
        }
        if broken.is_none() && !(self.over.down && self.over.up) {
            return None;
        }
        let own = self.closing.map(|closing| closing.reason);
        own.or(broken.map(|broken| self.forgiven(broken))).or(self.over.first)
    }

    /// A side whose Close frame has passed may end its connection as it likes (RFC 6455 7.1.1).
    fn forgiven(&self, broken: Reason) -> Reason {
        match broken {
            Reason::ClientBroke if self.up.said_farewell() => Reason::ClientClosed,
            Reason::UpstreamBroke if self.down.said_farewell() => Reason::UpstreamClosed,
            broken => broken,
        }
    }

    fn can_part(&self) -> bool {
        self.down.can_part() && self.up.can_part()
    }

    /// Ends both directions of a WebSocket between two frames.
    fn part(&mut self, reason: Reason, until: Option<Instant>) {
        self.down.part(Farewell::to_client());
        self.up.part(Farewell::to_upstream());
        self.closing = Some(Closing { reason, until });
    }

    /// When there is something to be done if nothing happens.
    fn due(&mut self) -> Option<Instant> {
        if let Some(closing) = &mut self.closing {
            if closing.until.is_none() && self.down.parted() && self.up.parted() {
                closing.until = Some(Instant::now() + FAREWELL);
            }
            if closing.until.is_some() {
                return closing.until;
            }
        }
        let half_open = self.over.first.is_some();
        let idle = if half_open { self.limits.idle.min(HALF_OPEN) } else { self.limits.idle };
        let whole = self.limits.whole.and_then(|whole| self.begun.checked_add(whole));
        let idle = self.moved_at.checked_add(idle);
        [idle, whole].into_iter().flatten().min()
    }

    /// The timer is moved only when it would ring too late.
    fn poll_due(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        loop {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            if self.timer.is_elapsed() || self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
        }
    }

    /// What has lasted for too long.
    fn overdue(&self) -> Option<Reason> {
        let now = Instant::now();
        match self.closing {
            Some(Closing { reason, until: Some(until) }) if now >= until => return Some(reason),
            Some(Closing { until: Some(_), .. }) => return None,
            _ => {}
        }
        let expired = self.limits.whole.is_some_and(|whole| now.duration_since(self.begun) >= whole);
        if expired {
            return Some(Reason::Expired);
        }
        let idle = if self.over.first.is_some() { self.limits.idle.min(HALF_OPEN) } else { self.limits.idle };
        if now.duration_since(self.moved_at) < idle {
            return None;
        }
        // Who has closed has left nothing to wait for.
        Some(self.over.first.unwrap_or(Reason::Idle))
    }

    /// Tells the counters of what has moved, where it is that much.
    fn count(&mut self, least: u64) {
        let (down, up) = (self.down.moved(), self.up.moved());
        let (down_before, up_before) = self.counted;
        if down - down_before + up - up_before >= least {
            self.place.moved(down - down_before, up - up_before);
            self.counted = (down, up);
        }
    }
}

impl Over {
    fn down(&mut self) {
        self.down = true;
        self.first.get_or_insert(Reason::UpstreamClosed);
    }

    fn up(&mut self) {
        self.up = true;
        self.first.get_or_insert(Reason::ClientClosed);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("down", &self.down).field("up", &self.up).finish_non_exhaustive()
    }
}

/// A tunnel on its way to the task that will drive it: an extension of the reply that says so.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Tunnel>>>);

impl Handover {
    /// Of this tunnel.
    pub fn of(tunnel: Tunnel) -> Self {
        Self(Arc::new(Mutex::new(Some(tunnel))))
    }

    /// The tunnel, for the first who asks.
    pub fn take(&self) -> Option<Tunnel> {
        self.0.lock().take()
    }
}

#[cfg(test)]
mod tests;
