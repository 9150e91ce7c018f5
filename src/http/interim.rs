//! Interim replies (RFC 9110 15.2) on their way to a client: 102 and 103, as they arrive from an origin.
//!
//! hyper's server cannot send them, so the connection's own IO layer does. The handle may be used on any
//! thread; what it queues is written by the connection's task, behind every earlier reply.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

/// The most bytes of interim replies that wait for a slow client; what comes beyond is dropped, which an
/// interim reply may always be.
const MAX_QUEUED: usize = 64 << 10;

/// Sends interim replies ahead of one exchange's final reply.
#[derive(Clone, Debug)]
pub struct Interim {
    queue: Arc<InterimQueue>,
    exchange: u64,
}

impl Interim {
    /// Queues an interim reply. `false` when it will not be sent: the status is none that may be passed on
    /// here (not 1xx, or 100 and 101, which are the connection's own), the exchange is over, or the client
    /// reads too slowly.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if !status.is_informational() || status.as_u16() <= 101 {
            return false;
        }
        let mut state = self.queue.state.lock();
        if state.exchange != Some(self.exchange) || state.bytes.len() > MAX_QUEUED {
            return false;
        }
        write_head(&mut state.bytes, status, headers);
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
        true
    }

    /// Waits until everything queued has been written (or never will be, because the exchange is over). The
    /// final reply is held back until then, so that it does not overtake.
    pub async fn drained(&self) {
        poll_fn(|cx| {
            let mut state = self.queue.state.lock();
            if state.exchange != Some(self.exchange) || state.bytes.is_empty() {
                return Poll::Ready(());
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The connection's side: one queue per HTTP/1.1 connection, in which one exchange at a time may write.
#[derive(Debug, Default)]
pub struct InterimQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The exchange that may queue; `None` between exchanges and once the final reply has begun.
    exchange: Option<u64>,
    /// What is queued and not yet taken by the socket.
    bytes: BytesMut,
    /// Whether a part of `bytes` has left already: the rest has to follow before anything else.
    begun: bool,
    /// The connection's task.
    task: Option<Waker>,
    /// Who waits in [`Interim::drained`].
    waiting: Option<Waker>,
}

impl InterimQueue {
    /// A queue without an exchange.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Names the task to wake when something is queued.
    pub fn set_task(&self, task: &Waker) {
        let mut state = self.state.lock();
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            state.task = Some(task.clone());
        }
    }

    /// Opens the queue for exchange number `exchange` of the connection.
    pub fn open(self: &Arc<Self>, exchange: u64) -> Interim {
        self.state.lock().exchange = Some(exchange);
        Interim { queue: self.clone(), exchange }
    }

    /// Ends the exchange's turn: its final reply begins (or it is given up). What has not begun to leave is
    /// dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.exchange = None;
        if !state.begun {
            state.bytes.clear();
        }
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// Hands what is queued to `write`, which says how many bytes it took, until nothing is left. With
    /// `only_begun` nothing new is begun: only the rest of what has left in part goes out.
    pub fn poll_drain<E>(
        &self,
        only_begun: bool,
        mut write: impl FnMut(&[u8]) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<(), E>> {
        let mut state = self.state.lock();
        if only_begun && !state.begun {
            return Poll::Ready(Ok(()));
        }
        while !state.bytes.is_empty() {
            match write(&state.bytes) {
                Poll::Ready(Ok(taken)) => {
                    let taken = taken.min(state.bytes.len());
                    state.bytes.advance(taken);
                    state.begun = !state.bytes.is_empty();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(()))
    }
}

/// An HTTP/1.1 head (RFC 9112 4). Names and values are valid by their types.
fn write_head(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderValue;

    use super::*;

    fn drain(queue: &InterimQueue) -> Vec<u8> {
        let mut out = Vec::new();
        let done = queue.poll_drain(false, |bytes| {
            out.extend_from_slice(bytes);
            Poll::Ready(Ok::<_, Infallible>(bytes.len()))
        });
        assert!(done.is_ready());
        out
    }

    #[test]
    fn a_103_is_written_as_the_wire_has_it() {
        let queue = InterimQueue::new();
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_static("</a.css>; rel=preload"));
        headers.append("link", HeaderValue::from_static("</b.js>; rel=preload"));
        assert!(queue.open(1).send(StatusCode::EARLY_HINTS, &headers));
        let expected =
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n";
        assert_eq!(drain(&queue), expected.as_bytes());
        assert!(drain(&queue).is_empty());
    }

    #[test]
    fn what_may_not_be_passed_on_is_not() {
        let queue = InterimQueue::new();
        let interim = queue.open(1);
        for status in [100, 101, 200, 404] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(!interim.send(status, &HeaderMap::new()), "{status}");
        }
        assert!(interim.send(StatusCode::PROCESSING, &HeaderMap::new()));
    }

    #[test]
    fn an_exchange_that_is_over_cannot_write_into_the_next() {
        let queue = InterimQueue::new();
        let first = queue.open(1);
        first.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        queue.close();
        assert!(drain(&queue).is_empty(), "dropped: the final reply has begun");
        let _second = queue.open(2);
        assert!(!first.send(StatusCode::EARLY_HINTS, &HeaderMap::new()));
    }

    #[test]
    fn what_has_left_in_part_is_finished() {
        let queue = InterimQueue::new();
        queue.open(1).send(StatusCode::EARLY_HINTS, &HeaderMap::new());
        let mut room = 5;
        let done = queue.poll_drain(false, |_| match std::mem::take(&mut room) {
            0 => Poll::<Result<usize, Infallible>>::Pending,
            n => Poll::Ready(Ok(n)),
        });
        assert!(done.is_pending());
        queue.close();
        assert_eq!(drain(&queue), b"1.1 103 Early Hints\r\n\r\n");
    }

    #[test]
    fn the_queue_is_bounded() {
        let queue = InterimQueue::new();
        let interim = queue.open(1);
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_bytes(&[b'a'; 4096]).expect("a value"));
        let sent = (0..100).filter(|_| interim.send(StatusCode::EARLY_HINTS, &headers)).count();
        assert!((15..=17).contains(&sent), "{sent}");
    }
}
