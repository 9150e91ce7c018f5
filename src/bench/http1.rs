//! HTTP/1.1: one request at a time, its connection polled in the same task.
//!
//! hyper wants its connections driven by a task of their own, which costs two wake-ups per request; here whoever waits for the
//! reply drives the connection as well.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::cached;
use super::failure::{self, Failure, Trouble};
use super::stream::Stream;
use super::tally::Reply;

/// A connection.
pub(super) struct Http1 {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// The connection's own work; `None` once that has ended.
struct Driver(Option<Connection<TokioIo<Stream>, Full<Bytes>>>);

impl Driver {
    /// Goes on with it. Whether there may be more to come.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(connection) = &mut self.0 else { return false };
        if Pin::new(connection).poll(cx).is_ready() {
            // What went wrong is told to whoever waits for the reply.
            self.0 = None;
        }
        self.0.is_some()
    }
}

impl Http1 {
    pub(super) async fn open(stream: Stream) -> Result<Self, Trouble> {
        let (sender, connection) = Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error: hyper::Error| failure::http1(&error))?;
        Ok(Self { sender, driver: Driver(Some(connection)) })
    }

    /// Waits until another request can be sent; whether one can.
    pub(super) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            let alive = self.driver.drive(cx);
            match self.sender.poll_ready(cx) {
                Poll::Ready(ready) => Poll::Ready(alive && ready.is_ok()),
                Poll::Pending if alive => Poll::Pending,
                Poll::Pending => Poll::Ready(false),
            }
        })
        .await
    }

    /// Sends a request and reads the reply to its end.
    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Trouble> {
        let Self { sender, driver } = self;
        let mut reply = std::pin::pin!(sender.send_request(request));
        let head = std::future::poll_fn(|cx| {
            driver.drive(cx);
            reply.as_mut().poll(cx)
        });
        let (head, mut body) = head.await.map_err(|error| failure::http1(&error))?.into_parts();
        let mut bytes = 0;
        while !body.is_end_stream() {
            let next = std::future::poll_fn(|cx| next_frame(driver, &mut body, cx));
            match next.await {
                None => break,
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(error)) => return Err(failure::http1(&error)),
            }
        }
        // 101 and the like: what follows is no HTTP, and the connection can't be used again.
        if head.status.is_informational() {
            return Err((Failure::Protocol, format!("an interim reply ({}) came last", head.status)));
        }
        Ok(Reply { status: head.status.as_u16(), cached: cached::of(&head.headers), bytes })
    }
}

/// hyper reads on only once the body has been asked for: asked first, then driven, then asked again.
fn next_frame(
    driver: &mut Driver,
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
        return Poll::Ready(frame);
    }
    driver.drive(cx);
    Pin::new(body).poll_frame(cx)
}
