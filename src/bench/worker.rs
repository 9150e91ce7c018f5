//! One request at a time, over and over: on a connection of its own, or on a stream of one that others use as well.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http_body_util::Full;
use tokio::time::Sleep;

use super::connect::Link;
use super::failure::{Failure, Trouble};
use super::http1::Http1;
use super::http2::Http2;
use super::tally::Reply;
use super::thread::{Lane, Thread};

/// After a connection could not be made; doubled each time until it is.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What a worker asks on.
pub(super) enum Line {
    /// An HTTP/1.1 connection.
    Own(Option<Box<Http1>>),
    /// An HTTP/2 connection, and a hold on it.
    Shared(Rc<Lane>, Option<Http2>),
}

/// Asks, one request after the other.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) thread: Rc<Thread>,
    pub(super) line: Line,
}

impl Worker {
    /// Works until there is no more to do.
    pub(super) async fn run(mut self) {
        let thread = self.thread.clone();
        let mut patience = Patience::new(thread.plan.timeout);
        let mut pause = FIRST_PAUSE;
        while let Some(mut turn) = thread.turn(self.number).await {
            let began = Instant::now();
            thread.begin(self.number, &mut turn, began);
            let outcome = match self.line.ready(&thread).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    let sent = Instant::now();
                    thread.sent(self.number, &mut turn, sent);
                    patience.bound(sent, self.line.exchange(&thread)).await
                }
                Err(trouble) => {
                    thread.failed(self.number, &turn, trouble);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            match outcome {
                Ok(reply) => thread.replied(self.number, &turn, &reply),
                Err(trouble) => {
                    thread.failed(self.number, &turn, trouble);
                    self.line.broken();
                }
            }
        }
    }
}

impl Line {
    /// Sees to a connection that a request can be sent on.
    async fn ready(&mut self, thread: &Thread) -> Result<(), Trouble> {
        match self {
            Self::Own(link) => {
                if let Some(link) = link
                    && link.is_ready().await
                {
                    return Ok(());
                }
                *link = None;
                match thread.open().await? {
                    Link::Http1(fresh) => *link = Some(fresh),
                    Link::Http2(_) => return Err(wrong_version()),
                }
                Ok(())
            }
            Self::Shared(lane, link) => {
                if let Some(link) = link
                    && link.is_ready().await
                {
                    return Ok(());
                }
                *link = None;
                let mut fresh = lane.link(thread).await?;
                // Other streams may have taken all that the server allows.
                match fresh.is_ready().await {
                    true => *link = Some(fresh),
                    false => return Err(gone()),
                }
                Ok(())
            }
        }
    }

    async fn exchange(&mut self, thread: &Thread) -> Result<Reply, Trouble> {
        let target = &thread.plan.target;
        let url = thread.next_url();
        match self {
            Self::Own(Some(link)) => link.exchange(target.request(url, Full::new(target.body()))).await,
            Self::Shared(_, Some(link)) => link.exchange(target.request(url, ()), target.body()).await,
            Self::Own(None) | Self::Shared(_, None) => Err(gone()),
        }
    }

    /// An exchange failed: over HTTP/1.1 its connection can't be used again.
    fn broken(&mut self) {
        if let Self::Own(link) = self {
            *link = None;
        }
    }
}

fn gone() -> Trouble {
    (Failure::Closed, "the connection is gone".to_owned())
}

pub(super) fn wrong_version() -> Trouble {
    (Failure::Protocol, "the connection speaks another version".to_owned())
}

/// A time-out without a timer per request: the one timer goes off for a request long past, and is then set anew.
struct Patience {
    sleep: Pin<Box<Sleep>>,
    limit: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(limit)), limit }
    }

    async fn bound(
        &mut self,
        began: Instant,
        work: impl Future<Output = Result<Reply, Trouble>>,
    ) -> Result<Reply, Trouble> {
        let mut work = std::pin::pin!(work);
        let end = tokio::time::Instant::from(began + self.limit);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            while self.sleep.as_mut().poll(cx).is_ready() {
                if tokio::time::Instant::now() >= end {
                    let late = format!("not within {:?}", self.limit);
                    return Poll::Ready(Err((Failure::Timeout, late)));
                }
                self.sleep.as_mut().reset(end);
            }
            Poll::Pending
        })
        .await
    }
}
