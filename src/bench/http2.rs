//! HTTP/2: many requests at a time on a connection, which a task drives.

use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;

use super::cached;
use super::failure::{self, Failure, Trouble};
use super::stream::Stream;
use super::tally::Reply;

/// What may be under way to us on a stream, and on all of a connection: so much that the window is never what is measured.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A connection; a clone asks on the same one.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
}

impl Http2 {
    pub(super) async fn open(stream: Stream) -> Result<Self, Trouble> {
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false);
        let shaken = builder.handshake(stream).await;
        let (sender, mut connection) = shaken.map_err(|error| failure::http2(&error))?;
        // The server's settings come first (RFC 9113 3.4): how many streams it allows is known from then on, and that it
        // speaks HTTP/2 at all.
        let mut ping = connection.ping_pong();
        let driver = tokio::task::spawn_local(async move { connection.await.err() });
        if let Some(ping) = &mut ping
            && let Err(error) = ping.ping(h2::Ping::opaque()).await
        {
            let ended = driver.await.ok().flatten();
            return Err(failure::http2(&ended.unwrap_or(error)));
        }
        Ok(Self { sender })
    }

    /// How many requests at a time the server takes.
    pub(super) fn streams(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Waits until another request can be sent; whether one can.
    pub(super) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await.is_ok()
    }

    /// Sends a request and reads the reply to its end.
    pub(super) async fn exchange(&mut self, request: Request<()>, content: Bytes) -> Result<Reply, Trouble> {
        let failed = |error: h2::Error| failure::http2(&error);
        let (mut reply, stream) = self.sender.send_request(request, content.is_empty()).map_err(failed)?;
        let mut sending = std::pin::pin!(send(stream, content));
        let mut sent = false;
        // A reply may come before all has been sent (RFC 9113 8.1).
        let head = std::future::poll_fn(|cx| {
            if !sent && let Poll::Ready(result) = sending.as_mut().poll(cx) {
                sent = true;
                if let Err(error) = result {
                    return Poll::Ready(Err(error));
                }
            }
            std::pin::Pin::new(&mut reply).poll(cx)
        });
        let (head, mut body) = head.await.map_err(failed)?.into_parts();
        let bytes = read(&mut body).await.map_err(failed)?;
        if head.status.is_informational() {
            return Err((Failure::Protocol, format!("an interim reply ({}) came last", head.status)));
        }
        Ok(Reply { status: head.status.as_u16(), cached: cached::of(&head.headers), bytes })
    }
}

async fn send(mut stream: SendStream<Bytes>, mut content: Bytes) -> Result<(), h2::Error> {
    while !content.is_empty() {
        stream.reserve_capacity(content.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(0)) => {}
            Some(Ok(capacity)) => {
                let piece = content.split_to(capacity.min(content.len()));
                stream.send_data(piece, content.is_empty())?;
            }
            Some(Err(error)) => return Err(error),
            // The server wants no more; its reply says why.
            None => return Ok(()),
        }
    }
    Ok(())
}

async fn read(body: &mut RecvStream) -> Result<u64, h2::Error> {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let length = data?.len();
        bytes += length as u64;
        body.flow_control().release_capacity(length)?;
    }
    body.trailers().await?;
    Ok(bytes)
}
