//! What is known of one stream, and the table of them.

use std::task::Waker;

use bytes::BytesMut;
use http::HeaderMap;

/// A stream whose request is being answered, or still read.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What the client takes of it (RFC 9113 6.9.1); below zero after settings that made it smaller.
    pub(super) window: i64,
    /// Whoever answers, where it waits.
    pub(super) waker: Option<Waker>,
    /// It stands in the queue for the connection's window, or for room.
    pub(super) queued: bool,
    /// What it may send before others have their turn, where it stood there.
    pub(super) share: Option<usize>,
    /// The reply's end has been sent.
    pub(super) replied: bool,
    /// Where the request has content. Boxed: few have.
    pub(super) content: Option<Box<Receiving>>,
}

/// The content of a request, as far as it has come and was not read.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// What the client may still send, and what was read of it and not told.
    pub(super) window: i64,
    pub(super) unreleased: u32,
    /// What is still to come of the length that was told (RFC 9113 8.1.1).
    pub(super) left: Option<u64>,
    pub(super) bytes: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
    /// The client has said that this is all.
    pub(super) ended: bool,
    /// Somebody may read it.
    pub(super) reading: bool,
    pub(super) waker: Option<Waker>,
}

impl Stream {
    /// The client may still send content.
    pub(super) fn is_open(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.ended)
    }

    /// Nobody has to do with it any more.
    pub(super) fn is_over(&self) -> bool {
        self.replied && !self.content.as_ref().is_some_and(|content| content.reading)
    }

    /// Has everybody look who waits for it.
    pub(super) fn wake(&mut self) {
        let content = self.content.as_mut().and_then(|content| content.waker.take());
        for waker in [self.waker.take(), content].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Streams by their numbers, which only grow: the newest is at the end.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<(u32, Stream)>);

impl Streams {
    fn position(&self, stream: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&stream, |(number, _)| *number)
    }

    pub(super) fn get(&mut self, stream: u32) -> Option<&mut Stream> {
        let at = self.position(stream).ok()?;
        Some(&mut self.0[at].1)
    }

    pub(super) fn contains(&self, stream: u32) -> bool {
        self.position(stream).is_ok()
    }

    /// Puts one in that is newer than all others.
    pub(super) fn push(&mut self, number: u32, stream: Stream) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < number));
        self.0.push((number, stream));
    }

    pub(super) fn remove(&mut self, stream: u32) -> Option<Stream> {
        let at = self.position(stream).ok()?;
        let removed = self.0.remove(at).1;
        if self.0.is_empty() {
            // A connection that is quiet holds nothing.
            self.0 = Vec::new();
        }
        Some(removed)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut().map(|(_, stream)| stream)
    }
}
