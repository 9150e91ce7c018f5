//! A stream that carries another protocol (RFC 8441 5): bytes both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::content::Received;
use super::session::Gone;
use crate::server::frames::Code;

/// The client's end.
#[derive(Debug)]
pub(in crate::server) struct Channel {
    content: Received,
    /// Come, not yet read.
    rest: Bytes,
    /// We have said our end.
    ended: bool,
}

impl Channel {
    pub(super) fn new(content: Received) -> Self {
        Self { content, rest: Bytes::new(), ended: false }
    }

    /// Ends it so that it is not taken for an orderly end.
    pub(in crate::server) fn cut(self) {
        self.content.session.lock().reset(self.content.stream, Code::CANCEL);
    }
}

fn broken(Gone: Gone) -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            let next = self.content.session.lock().poll_content(self.content.stream, cx);
            match ready!(next).transpose().map_err(broken)?.map(http_body::Frame::into_data) {
                Some(Ok(bytes)) => self.rest = bytes,
                // Trailers say nothing here.
                Some(Err(_)) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..taken]);
        self.rest.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (mut session, stream) = (self.content.session.lock(), self.content.stream);
        let room = ready!(session.poll_room(stream, cx)).map_err(broken)?;
        let taken = bytes.len().min(room);
        session.send_content(stream, Bytes::copy_from_slice(&bytes[..taken]), false);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.content.session.lock().send_content(self.content.stream, Bytes::new(), true);
        }
        Poll::Ready(Ok(()))
    }
}
