//! Replies on their way to frames, as the client's windows and the room for them let them.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Gone, LARGEST_WINDOW, Session, wait};
use crate::http::hpack;
use crate::server::frames::{Code, LARGEST, RST_STREAM};
use crate::server::http2::outgoing::ENOUGH;

/// What a stream may send while others wait for the same.
const SHARE: usize = 32 << 10;

impl Session {
    /// What a reply may have that is to leave at once; `None`: it could not.
    pub(in crate::server::http2) fn room(&self) -> Option<usize> {
        let room = ENOUGH.checked_sub(self.out.len())?;
        usize::try_from(self.initial.min(self.window)).ok().map(|window| window.min(room))
    }

    /// Answers a request without content at once, by content that there is room for.
    pub(in crate::server::http2) fn answer(&mut self, stream: u32, block: &[u8], mut content: Bytes) {
        self.head(stream, block, content.is_empty());
        while !content.is_empty() {
            let next = content.split_to(content.len().min(LARGEST as usize));
            self.send(stream, next, content.is_empty());
        }
    }

    /// The head of a reply, or a trailer section.
    pub(in crate::server::http2) fn reply(
        &mut self,
        stream: u32,
        block: &[u8],
        ends: bool,
    ) -> Result<(), Gone> {
        let open = self.streams.get(stream).ok_or(Gone)?;
        open.replied |= ends;
        self.head(stream, block, ends);
        self.settle(stream);
        Ok(())
    }

    /// The head of a reply and all of its content, where there is room for both and nobody waits for that; else the head, and
    /// what is left is returned.
    pub(in crate::server::http2) fn reply_whole(
        &mut self,
        stream: u32,
        block: &[u8],
        content: Bytes,
    ) -> Result<Option<Bytes>, Gone> {
        let (window, free) = (self.window, self.waiting.is_empty() && !self.out.is_full());
        let open = self.streams.get(stream).ok_or(Gone)?;
        let room = open.window.min(window).min(i64::from(LARGEST));
        let fits = free && open.content.is_none() && content.len() as i64 <= room;
        if content.is_empty() || !fits {
            self.reply(stream, block, content.is_empty())?;
            return Ok(Some(content).filter(|content| !content.is_empty()));
        }
        self.remove(stream);
        self.head(stream, block, false);
        self.send(stream, content, true);
        Ok(None)
    }

    pub(super) fn head(&mut self, stream: u32, block: &[u8], ends: bool) {
        match self.resize.take() {
            None => self.out.block(stream, block, ends),
            Some(most) => {
                let mut all = Vec::new();
                hpack::write_resize(most, &mut all);
                all.extend_from_slice(block);
                self.out.block(stream, &all, ends);
            }
        }
        if ends {
            self.meter.answered();
        }
    }

    pub(super) fn send(&mut self, stream: u32, content: Bytes, ends: bool) {
        self.window -= content.len() as i64;
        self.meter.sent(content.len());
        self.out.data(stream, content, ends);
        if ends {
            self.meter.answered();
        }
    }

    /// How much content of a stream may be sent now.
    pub(in crate::server::http2) fn poll_room(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, Gone>> {
        let (window, full, alone) = (self.window, self.out.is_full(), self.waiting.is_empty());
        let Some(open) = self.streams.get(stream) else { return Poll::Ready(Err(Gone)) };
        let room = open.window.min(window).min(i64::from(LARGEST));
        let has_had_turn = open.share == Some(0) && !alone;
        if room > 0 && !full && !has_had_turn {
            return Poll::Ready(Ok(room as usize));
        }
        wait(&mut open.waker, cx);
        if open.window > 0 && !open.queued {
            open.queued = true;
            self.waiting.push_back(stream);
        }
        Poll::Pending
    }

    /// Sends content, for which there must be room, and its end.
    pub(in crate::server::http2) fn send_content(&mut self, stream: u32, content: Bytes, ends: bool) {
        let Some(open) = self.streams.get(stream) else { return };
        open.window -= content.len() as i64;
        open.share = open.share.map(|share| share.saturating_sub(content.len()));
        open.replied |= ends;
        self.send(stream, content, ends);
        self.settle(stream);
    }

    /// Sends content as far as there is room, and with the last of it the end, if that `ends` it.
    pub(in crate::server::http2) fn poll_content_sent(
        &mut self,
        stream: u32,
        content: &mut Bytes,
        ends: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        if content.is_empty() && ends {
            self.send_content(stream, Bytes::new(), true);
        }
        while !content.is_empty() {
            let room = std::task::ready!(self.poll_room(stream, cx))?;
            let next = content.split_to(content.len().min(room));
            self.send_content(stream, next, ends && content.is_empty());
        }
        Poll::Ready(Ok(()))
    }

    /// Has those go on that waited longest for the connection's window, or for room; whether there are any. No more than
    /// there is room for: who is not woken keeps its place, and who has sent its share stands behind all others.
    pub(in crate::server::http2) fn wake_waiting(&mut self) -> bool {
        if self.window <= 0 || self.out.is_full() || self.waiting.is_empty() {
            return false;
        }
        let turns = (ENOUGH - self.out.len()).div_ceil(SHARE).min(self.waiting.len());
        for stream in self.waiting.drain(..turns) {
            let Some(open) = self.streams.get(stream) else { continue };
            open.queued = false;
            open.share = Some(SHARE);
            if let Some(waker) = open.waker.take() {
                waker.wake();
            }
        }
        true
    }

    /// RFC 9113 6.9: the client takes more.
    pub(super) fn opened(&mut self, stream: u32, by: u32) {
        if stream == 0 {
            self.window += i64::from(by);
            if self.window > LARGEST_WINDOW {
                return self.offend(Code::FLOW_CONTROL);
            }
            self.wake_waiting();
            return;
        }
        let Some(open) = self.streams.get(stream) else { return };
        open.window += i64::from(by);
        if open.window > LARGEST_WINDOW {
            return self.fail(stream, Code::FLOW_CONTROL);
        }
        if let Some(waker) = open.waker.take() {
            waker.wake();
        }
    }

    /// RFC 9113 6.9.2: windows of streams change by as much.
    pub(super) fn resized(&mut self, initial: i64) {
        let by = initial - self.initial;
        self.initial = initial;
        let mut over = false;
        for stream in self.streams.all() {
            stream.window += by;
            over |= stream.window > LARGEST_WINDOW;
            if by > 0
                && let Some(waker) = stream.waker.take()
            {
                waker.wake();
            }
        }
        if over {
            self.offend(Code::FLOW_CONTROL);
        }
    }

    /// Lets go of a stream that nobody has to do with any more.
    pub(super) fn settle(&mut self, stream: u32) {
        let Some(open) = self.streams.get(stream).filter(|open| open.is_over()) else { return };
        // RFC 9113 8.1: the rest of the request is not wanted.
        let unwanted = open.is_open();
        self.remove(stream);
        if unwanted {
            self.out.frame(RST_STREAM, 0, stream, &Code::NONE.0.to_be_bytes());
            self.forget(stream);
            self.wake();
        }
    }
}
