//! What the wire sends past hyper: answers that are at hand, and replies to requests that are under way.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::{Socket, Wire, noted, poll_socket};
use crate::http::content::{Content, FileContent};
use crate::piped::Piped;
use crate::server::prompt::{Answer, OnItsWay};
use crate::server::underway::{Piece, Then};

/// Bytes that are sent before others have their turn.
const TURN: u64 = 2 << 20;

/// The most memory that is kept to write to.
const KEPT: usize = 256 << 10;

thread_local! {
    /// What a worker's connections write to in turn.
    static OUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<IO: Socket> Wire<IO> {
    /// Takes the request whose head this is, if hyper need not hear of it.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, head: &[u8]) -> io::Result<bool> {
        let Some(prompt) = self.prompt.take() else { return Ok(false) };
        let answered = match self.looks.0.are_worth_it() {
            true => prompt.answer(head, &mut |begin, rest| self.begin_answer(cx, begin, rest)),
            false => Ok(false),
        };
        if let Ok(false) = answered {
            self.underway = prompt.clone().begin(head, &mut self.looks.1);
        }
        self.prompt = Some(prompt);
        Ok(answered? || self.underway.is_some())
    }

    /// Sends an answer, as far as the socket takes it at once.
    fn begin_answer(&mut self, cx: &mut Context<'_>, begin: &[u8], rest: Content) -> io::Result<()> {
        self.flushed = self.activity.requests();
        self.looks.0.paid();
        match rest {
            Content::Bytes(rest) => self.begin_piece(cx, begin, rest, b""),
            Content::File(content) => self.begin_file(cx, begin, content),
        }
    }

    /// The same where the content is at hand, or a piece of it.
    fn begin_piece(
        &mut self,
        cx: &mut Context<'_>,
        begin: &[u8],
        rest: Bytes,
        after: &'static [u8],
    ) -> io::Result<()> {
        let io = Pin::new(&mut self.io);
        let written = match rest.is_empty() {
            true => io.poll_write(cx, begin),
            false => {
                let pieces = [IoSlice::new(begin), IoSlice::new(&rest), IoSlice::new(after)];
                // Empty slices cost some writers a record, and most of all where they stand first.
                let pieces = &pieces[usize::from(begin.is_empty())..3 - usize::from(after.is_empty())];
                io.poll_write_vectored(cx, pieces)
            }
        };
        let sent = match noted(&self.activity, written)? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(sent) => sent,
            Poll::Pending => 0,
        };
        if sent == begin.len() + rest.len() + after.len() {
            return self.flush(cx);
        }
        let mut answer = Answer { body: rest, after, ..Answer::default() };
        if sent < begin.len() {
            answer.head = Bytes::copy_from_slice(&begin[sent..]);
        } else {
            answer.advance(sent - begin.len());
        }
        self.unsent = self.send(cx, answer)?.map(Box::new);
        Ok(())
    }

    /// The same where the content lies in a pipe.
    fn begin_piped(&mut self, cx: &mut Context<'_>, begin: &[u8], piped: Piped) -> io::Result<()> {
        let mut answer = Answer { piped: Some(piped), ..Answer::default() };
        if !begin.is_empty() {
            let sent = match noted(&self.activity, self.io.poll_write_more(cx, begin))? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => sent,
                Poll::Pending => 0,
            };
            if sent < begin.len() {
                answer.head = Bytes::copy_from_slice(&begin[sent..]);
            }
        }
        self.unsent = self.send(cx, answer)?.map(Box::new);
        Ok(())
    }

    /// What is under way past hyper goes on; ready when nothing is, or the client has left.
    pub(super) fn poll_underway(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.activity.sent();
        loop {
            ready!(self.poll_unsent(cx))?;
            let Some(underway) = &mut self.underway else { return Poll::Ready(Ok(())) };
            // Others want their turn.
            if self.activity.sent() - before >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut out = OUT.take();
            out.clear();
            let next = underway.poll_next(cx, &mut out, self.io.sends_files());
            let sent = match next {
                Poll::Ready(piece) => Poll::Ready(self.send_next(cx, &out, piece)),
                Poll::Pending => Poll::Pending,
            };
            if out.capacity() <= KEPT {
                OUT.set(out);
            }
            match sent {
                Poll::Ready(sent) => sent?,
                Poll::Pending => {
                    if self.poll_interim(cx, false)?.is_ready() {
                        self.flush(cx)?;
                    }
                    return self.poll_left(cx);
                }
            }
        }
    }

    fn send_next(&mut self, cx: &mut Context<'_>, out: &[u8], piece: Piece) -> io::Result<()> {
        if piece.then != Then::More {
            self.end_underway();
            self.flushed = self.activity.requests();
            self.ends = piece.then == Then::Close;
        }
        if let Some(piped) = piece.piped {
            return self.begin_piped(cx, out, piped);
        }
        if out.is_empty() && piece.content.is_empty() {
            return Ok(());
        }
        self.begin_piece(cx, out, piece.content, piece.after)
    }

    /// Reads on while an exchange is under way: whoever leaves ends it.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, activity, inlet, .. } = self;
        let Some(inlet) = inlet else { return Poll::Pending };
        let left = ready!(inlet.poll_ahead(|buffer| poll_socket(io, activity, cx, buffer)));
        // Who has asked for more, and then said that this was all, waits for it.
        if left.is_ok() && inlet.holds() {
            return Poll::Pending;
        }
        self.end_underway();
        self.ends = true;
        Poll::Ready(left)
    }

    fn end_underway(&mut self) {
        self.underway = None;
        if let Some(inlet) = &mut self.inlet {
            inlet.go_on();
            if inlet.holds() {
                // What was read ahead is at least the beginning of one.
                self.activity.set_head_begun();
            }
        }
    }

    /// The same where the content stands in a file.
    fn begin_file(
        &mut self,
        cx: &mut Context<'_>,
        begin: &[u8],
        content: Box<dyn FileContent>,
    ) -> io::Result<()> {
        let file = Some(OnItsWay { content, _in_flight: self.activity.hold() });
        let answer = Answer { head: Bytes::copy_from_slice(begin), file, ..Answer::default() };
        self.unsent = self.send(cx, answer)?.map(Box::new);
        Ok(())
    }

    /// Sends an answer; what the socket does not take of it, or what must be waited for, is returned.
    fn send(&mut self, cx: &mut Context<'_>, mut answer: Answer) -> io::Result<Option<Answer>> {
        if answer.file.is_some() && self.poll_file(cx, &mut answer)?.is_pending() {
            return Ok(Some(answer));
        }
        if answer.piped.is_some() && self.poll_piped(cx, &mut answer)?.is_pending() {
            return Ok(Some(answer));
        }
        while answer.len() > 0 {
            if self.poll_piece(cx, &mut answer)?.is_pending() {
                return Ok(Some(answer));
            }
        }
        self.flush(cx)?;
        Ok(None)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx)?;
        self.activity.set_write_blocked(flushed.is_pending());
        Ok(())
    }

    /// Sends what lies in a pipe, and what comes before it.
    fn poll_piped(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<io::Result<()>> {
        let Self { io, activity, .. } = self;
        while answer.head.has_remaining() {
            match ready!(noted(activity, io.poll_write_more(cx, &answer.head)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => answer.head.advance(sent),
            }
        }
        while let Some(piped) = answer.piped.as_mut().filter(|piped| !piped.is_empty()) {
            if ready!(noted(activity, io.poll_send_piped(cx, piped)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        answer.piped = None;
        Poll::Ready(Ok(()))
    }

    /// Sends something of what is in hand.
    fn poll_piece(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<io::Result<()>> {
        let Self { io, activity, .. } = self;
        let slices = [IoSlice::new(&answer.head), IoSlice::new(&answer.body), IoSlice::new(answer.after)];
        // An empty slice in front would be all that some write.
        let empty = slices.iter().take_while(|slice| slice.is_empty()).count();
        let slices = &slices[empty..];
        match ready!(noted(activity, Pin::new(io).poll_write_vectored(cx, slices)))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => answer.advance(sent),
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what stands in a file, up to what was read of it last; that is left in hand.
    fn poll_file(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<io::Result<()>> {
        let mut sent = 0;
        loop {
            let Answer { head, body, file, .. } = &mut *answer;
            let Some(OnItsWay { content, .. }) = file else { return Poll::Ready(Ok(())) };
            if content.remaining() == 0 {
                *file = None;
                continue;
            }
            // Others want their turn.
            if sent >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = content.remaining();
            let span = if self.io.sends_files() { content.span() } else { None };
            let in_hand = if head.is_empty() { &mut *body } else { head };
            match span {
                Some(span) if in_hand.is_empty() => {
                    match ready!(noted(&self.activity, self.io.poll_send_file(cx, span)))? {
                        // It was cut off meanwhile.
                        0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        taken => content.sent(taken),
                    }
                }
                Some(_) => match ready!(noted(&self.activity, self.io.poll_write_more(cx, in_hand)))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    taken => in_hand.advance(taken),
                },
                None if body.is_empty() => match ready!(content.poll_read(cx)) {
                    Some(read) => *body = read?,
                    None => *file = None,
                },
                None => {
                    ready!(self.poll_piece(cx, answer))?;
                    continue;
                }
            }
            sent += answer.file.as_ref().map_or(0, |file| before - file.content.remaining());
        }
    }

    /// What is left of an answer comes before anything else.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(answer) = self.unsent.take()
            && let Some(rest) = self.send(cx, *answer)?
        {
            self.unsent = Some(Box::new(rest));
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}
