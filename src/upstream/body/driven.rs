//! A reply whose request is still being sent on the same connection.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::upstream::connect::{Conn, Http1};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::error::Cause;

type Next = Result<Frame<Bytes>, Cause>;

/// The content of such a reply. A task of its own moves both directions, each as fast as it goes: a client may read what it
/// is answered only once it has sent everything.
#[derive(Debug)]
pub(crate) struct Driven {
    frames: mpsc::Receiver<Next>,
    /// What is still to come, where that is known.
    left: Option<u64>,
    /// The task, for as long as this has not come to its end.
    task: Option<AbortHandle>,
}

impl Driven {
    /// On a connection whose reply has begun; in the end it goes back to the pool of its endpoint.
    pub(crate) fn on(conn: Http1, endpoint: Arc<Endpoint>) -> Self {
        let left = conn.left().exact();
        // One piece at a time, as the reader takes them.
        let (sender, frames) = mpsc::channel(1);
        let task = tokio::spawn(drive(conn, sender, endpoint)).abort_handle();
        Self { frames, left, task: Some(task) }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let next = ready!(self.frames.poll_recv(cx));
        match &next {
            Some(Ok(frame)) => {
                let taken = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(taken));
                if self.is_end_stream() {
                    self.task = None;
                }
            }
            // What is left of the request may still go.
            None => self.task = None,
            Some(Err(_)) => {}
        }
        Poll::Ready(next)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn left(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // Nobody wants the rest: the connection closes, which tells the origin.
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn drive(mut conn: Http1, frames: mpsc::Sender<Next>, endpoint: Arc<Endpoint>) {
    loop {
        let (mut place, mut room) = (None, pin!(frames.reserve()));
        let next = poll_fn(|cx| {
            // A failure is told with the next piece.
            let _ = conn.poll_send(cx);
            if place.is_none() {
                match ready!(room.as_mut().poll(cx)) {
                    Ok(permit) => place = Some(permit),
                    Err(_) => return Poll::Ready(None),
                }
            }
            conn.poll_frame(cx)
        });
        let Some(next) = next.await else { break };
        let broken = next.is_err();
        if let Some(place) = place {
            place.send(next);
        }
        if broken {
            return;
        }
        if conn.is_read() {
            break;
        }
    }
    drop(frames);
    if !conn.is_over() && conn.is_read() && poll_fn(|cx| conn.poll_send(cx)).await.is_ok() {
        endpoint.pool.put(Conn::Http1(conn));
    }
}
