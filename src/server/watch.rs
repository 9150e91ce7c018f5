//! The clock of one connection: what it is doing, since when, and how long it may.
//!
//! One timer per connection, moved only when it would ring too late: a request that is answered at once
//! touches no timer at all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::Settings;
use super::activity::Activity;

/// How long a client may leave a full socket untouched before it is cut off (nginx: `send_timeout`).
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the end of a connection may take, lingering included.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing.
    Idle,
    /// Receiving a request head.
    Head,
    /// Exchanging; the pipeline has its own time-outs.
    Exchange,
    /// Waiting for the client to read.
    Blocked,
    /// Ending.
    Closing,
}

impl Stage {
    /// What `activity` amounts to.
    fn of(activity: &Activity) -> Self {
        if activity.closing() {
            Self::Closing
        } else if activity.write_blocked() {
            Self::Blocked
        } else if activity.in_flight() > 0 {
            Self::Exchange
        } else if activity.head_begun() && !activity.had_body() {
            // Behind a request with a body, what arrives may be the rest of that body, which the exchange did
            // not wait for: then it only counts as not idle for longer than `keepalive`.
            Self::Head
        } else {
            Self::Idle
        }
    }
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Watch {
    seen: (Stage, u64, u64),
    since: Instant,
    timer: Pin<Box<Sleep>>,
    polled: bool,
    heads: bool,
}

impl Watch {
    /// A watch that starts now.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            seen: (Stage::Head, 0, 0),
            since: now,
            timer: Box::pin(sleep_until(now)),
            polled: false,
            heads: true,
        }
    }

    /// From now on bytes between exchanges are frames of HTTP/2, not the beginning of a head.
    pub(super) fn expect_frames(&mut self) {
        self.heads = false;
    }

    /// Lets the present stage begin anew.
    pub(super) fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Takes note of what is going on. A stage that is as it was, but with another request or (where the
    /// client reads slowly) with more bytes sent in between, has begun anew.
    pub(super) fn note(&mut self, activity: &Activity) -> Stage {
        let stage = match Stage::of(activity) {
            Stage::Head if !self.heads => Stage::Idle,
            // The socket takes what there is, but the client's windows do not (RFC 9113 5.2).
            Stage::Exchange if !self.heads && activity.offered() > 0 => Stage::Blocked,
            stage => stage,
        };
        let (requests, progress) = match stage {
            // More requests are no sign that replies are read.
            Stage::Blocked if !self.heads => (0, activity.data_sent()),
            Stage::Blocked => (activity.requests(), activity.sent()),
            _ => (activity.requests(), 0),
        };
        let now_seen = (stage, requests, progress);
        if now_seen != self.seen {
            self.seen = now_seen;
            // An exchange may last: nobody asks how long it has.
            if stage != Stage::Exchange {
                self.since = Instant::now();
            }
        }
        stage
    }

    /// How long `stage` may last; `idle` is the caller's own limit for idling.
    pub(super) fn limit(stage: Stage, settings: &Settings, idle: Duration) -> Option<Duration> {
        match stage {
            Stage::Idle => Some(idle),
            Stage::Head => Some(settings.header_timeout),
            Stage::Exchange => None,
            Stage::Blocked => Some(SEND_TIMEOUT),
            Stage::Closing => Some(CLOSE_TIMEOUT),
        }
    }

    /// Ready once the present stage has lasted for `limit`.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, limit: Option<Duration>) -> Poll<()> {
        let Some(deadline) = limit.and_then(|limit| self.since.checked_add(limit)) else {
            return Poll::Pending;
        };
        // A timer that rings early costs one look; only one that would ring late has to be moved.
        if self.polled && !self.timer.is_elapsed() && self.timer.deadline() <= deadline {
            return Poll::Pending;
        }
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        self.timer.as_mut().reset(deadline);
        self.polled = true;
        self.timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::Waker;

    use bytes::Bytes;
    use http_body::{Body as _, Frame};
    use http_body_util::StreamBody;

    use super::*;
    use crate::server::activity::Reply;

    /// A reply of which a part was taken from its body and has not left.
    #[tokio::test(start_paused = true)]
    async fn replies_that_wait_for_windows_do_not_wait_for_ever() {
        let settings = Settings::default();
        let activity = Arc::new(Activity::new("proxy-stone".into()));
        let (_, in_flight) = activity.begin(false);
        let part = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"part")));
        let endless = futures_util::StreamExt::chain(
            futures_util::stream::iter([part]),
            futures_util::stream::pending(),
        );
        let mut reply = Box::pin(Reply::new(StreamBody::new(endless), in_flight));
        let mut cx = Context::from_waker(Waker::noop());
        let mut watch = Watch::new();
        watch.expect_frames();
        assert_eq!(watch.note(&activity), Stage::Exchange);
        assert!(reply.as_mut().poll_frame(&mut cx).is_ready());
        let mut over = |watch: &mut Watch| {
            let stage = watch.note(&activity);
            (stage, watch.poll_over(&mut cx, Watch::limit(stage, &settings, Duration::MAX)).is_ready())
        };
        assert_eq!(over(&mut watch), (Stage::Blocked, false));
        tokio::time::advance(SEND_TIMEOUT / 2).await;
        activity.set_data_sent(1);
        assert_eq!(over(&mut watch), (Stage::Blocked, false), "it moves");
        tokio::time::advance(SEND_TIMEOUT / 2).await;
        let _another = activity.begin(false);
        assert_eq!(over(&mut watch), (Stage::Blocked, false));
        tokio::time::advance(SEND_TIMEOUT / 2).await;
        assert_eq!(over(&mut watch), (Stage::Blocked, true));
        assert!(reply.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(watch.note(&activity), Stage::Exchange, "all was taken");
    }
}
