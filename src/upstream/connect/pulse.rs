//! Whether the other end of an HTTP/2 connection is still there (RFC 9113 6.7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};

use crate::upstream::alarm::Alarm;
use crate::upstream::settings::Http2Settings;

/// Asks by PING when there is a doubt, or when it has been silent for too long. Whatever arrives is a sign of life: an
/// answer may stand behind much else.
pub(super) struct Pulse {
    pings: Option<PingPong>,
    received: Arc<AtomicU64>,
    seen: u64,
    since: Instant,
    asked: bool,
    interval: Option<Duration>,
    timeout: Duration,
    alarm: Alarm,
}

impl Pulse {
    pub(super) fn new(pings: Option<PingPong>, received: Arc<AtomicU64>, settings: &Http2Settings) -> Self {
        Self {
            pings,
            received,
            seen: 0,
            since: Instant::now(),
            asked: false,
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            alarm: Alarm::default(),
        }
    }

    /// Ready once the other end must be taken for dead. `busy`: requests are under way.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, busy: bool, doubted: bool) -> Poll<()> {
        self.listen(cx);
        if doubted && !self.asked {
            self.ask();
        }
        loop {
            let patience = match (self.asked, self.interval) {
                (true, _) => self.timeout,
                (false, Some(interval)) if busy => interval,
                _ => return Poll::Pending,
            };
            std::task::ready!(self.alarm.poll(cx, self.since + patience));
            if self.asked {
                return Poll::Ready(());
            }
            self.ask();
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) {
        let received = self.received.load(Ordering::Relaxed);
        if received != self.seen {
            self.seen = received;
            self.since = Instant::now();
        }
        if self.asked && self.pings.as_mut().is_some_and(|pings| pings.poll_pong(cx).is_ready()) {
            self.asked = false;
        }
    }

    fn ask(&mut self) {
        // It fails only when the connection has ended, or while one is under way that nobody waits for any more.
        if let Some(pings) = &mut self.pings {
            let _ = pings.send_ping(Ping::opaque());
        }
        self.asked = true;
        self.since = Instant::now();
    }
}
