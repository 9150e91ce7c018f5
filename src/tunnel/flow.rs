//! One direction of a tunnel: bytes read on one side are written on the other, and no more is read than was written.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{Farewell, Frames};

/// The most that is read before it is written.
const PART: usize = 16 << 10;

/// Rounds before others have their turn.
const ROUNDS: usize = 16;

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// Read, and not written yet. Empty without memory while nothing flows.
    pending: Vec<u8>,
    /// So much of it is written.
    written: usize,
    /// What was written has to be flushed.
    unflushed: bool,
    /// The source has come to its end.
    ended: bool,
    /// Bytes written.
    moved: u64,
    /// What is written, followed frame by frame.
    frames: Option<Frames>,
    course: Course,
}

#[derive(Clone, Copy, Debug)]
enum Course {
    /// Bytes pass.
    Passing,
    /// They pass to the end of the frame under way; then comes the farewell.
    Stopping(Farewell),
    /// So much of the farewell is written.
    Parting(Farewell, usize),
    /// Nothing more is written; what comes is read until the other side has said farewell as well.
    Parted,
}

/// Which end failed.
#[derive(Debug)]
pub(super) enum Broken {
    /// It cannot be read.
    Source,
    /// It cannot be written.
    Sink,
}

impl Flow {
    /// Bytes that were read already come first.
    pub(super) fn new(websocket: bool) -> Self {
        Self {
            pending: Vec::new(),
            written: 0,
            unflushed: false,
            ended: false,
            moved: 0,
            frames: websocket.then(Frames::new),
            course: Course::Passing,
        }
    }

    /// What was read before the tunnel was.
    pub(super) fn begin_with(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Bytes written so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether it can be ended between two frames.
    pub(super) fn can_part(&self) -> bool {
        self.frames.is_some_and(|frames| !frames.lost())
    }

    /// Whether a whole Close frame was written.
    pub(super) fn said_farewell(&self) -> bool {
        self.frames.is_some_and(|frames| frames.closed())
    }

    /// Ends it between two frames, with a farewell where none has passed.
    pub(super) fn part(&mut self, farewell: Farewell) {
        if matches!(self.course, Course::Passing) {
            self.course = Course::Stopping(farewell);
        }
    }

    /// Whether nothing more will be written.
    pub(super) fn parted(&self) -> bool {
        matches!(self.course, Course::Parted)
    }

    /// Ready when nothing more will come of it: the source has ended and the sink was told, or both have said farewell.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        for _ in 0..ROUNDS {
            match self.course {
                Course::Parted => {
                    if self.heard_farewell() || self.ended {
                        return Poll::Ready(Ok(()));
                    }
                    ready!(self.poll_read(cx, source, sink))?;
                }
                Course::Parting(farewell, written) => {
                    let rest = farewell.rest(written);
                    if rest.is_empty() {
                        ready!(self.poll_flush(cx, sink))?;
                        self.course = Course::Parted;
                    } else {
                        let more = ready!(poll_write(cx, sink, rest))?;
                        self.unflushed = true;
                        self.course = Course::Parting(farewell, written + more);
                    }
                }
                Course::Stopping(farewell) if self.at_boundary() => {
                    // Behind a Close frame nothing may come (RFC 6455 5.5.1).
                    let closed = self.frames.is_some_and(|frames| frames.closed());
                    self.course = if closed { Course::Parted } else { Course::Parting(farewell, 0) };
                    if closed {
                        ready!(self.poll_flush(cx, sink))?;
                    }
                }
                Course::Passing | Course::Stopping(_) if self.written < self.pending.len() => {
                    let last = self.may_write();
                    let more = ready!(poll_write(cx, sink, &self.pending[self.written..last]))?;
                    self.note(more);
                }
                Course::Passing | Course::Stopping(_) if self.ended => {
                    ready!(self.poll_flush(cx, sink))?;
                    // Who is gone already need not be told.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    return Poll::Ready(Ok(()));
                }
                Course::Passing | Course::Stopping(_) => ready!(self.poll_read(cx, source, sink))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn at_boundary(&self) -> bool {
        self.frames.is_some_and(|frames| frames.at_boundary())
    }

    /// Up to where what is pending may be written.
    fn may_write(&self) -> usize {
        match (self.course, &self.frames) {
            (Course::Stopping(_), Some(frames)) => {
                self.written + frames.of_this_frame(&self.pending[self.written..])
            }
            _ => self.pending.len(),
        }
    }

    /// So much more of what is pending is written.
    fn note(&mut self, more: usize) {
        let written = self.written + more;
        if let Some(frames) = &mut self.frames {
            frames.follow(&self.pending[self.written..written]);
        }
        self.moved += more as u64;
        self.unflushed = true;
        self.written = written;
        if written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
        }
    }

    /// Whether the other side's Close frame has come, behind what is not passed on any more.
    fn heard_farewell(&mut self) -> bool {
        let Some(frames) = &mut self.frames else { return true };
        frames.follow(&self.pending[self.written..]);
        self.pending = Vec::new();
        self.written = 0;
        // Malformed ones end it, too.
        frames.closed() || frames.lost()
    }

    /// Reads a part. What can be written at once is not copied.
    fn poll_read<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut scratch = [MaybeUninit::<u8>::uninit(); PART];
        let mut part = ReadBuf::uninit(&mut scratch);
        match Pin::new(source).poll_read(cx, &mut part) {
            Poll::Pending => {
                self.pending = Vec::new();
                ready!(self.poll_flush(cx, sink))?;
                return Poll::Pending;
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Source)),
            Poll::Ready(Ok(())) => {}
        }
        let part = part.filled();
        if part.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let mut passed = 0;
        if matches!(self.course, Course::Passing)
            && let Poll::Ready(written) = poll_write(cx, sink, part)
        {
            passed = written?;
            if let Some(frames) = &mut self.frames {
                frames.follow(&part[..passed]);
            }
            self.moved += passed as u64;
            self.unflushed = true;
        }
        self.pending.extend_from_slice(&part[passed..]);
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| Broken::Sink)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_write<W: AsyncWrite + Unpin + ?Sized>(
    cx: &mut Context<'_>,
    sink: &mut W,
    bytes: &[u8],
) -> Poll<Result<usize, Broken>> {
    let written: io::Result<usize> = ready!(Pin::new(sink).poll_write(cx, bytes));
    Poll::Ready(match written {
        Ok(0) | Err(_) => Err(Broken::Sink),
        Ok(written) => Ok(written),
    })
}
