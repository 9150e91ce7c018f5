//! Between a socket and who reads from it: only what a [`Reader`] has let pass goes on.

use std::io;
use std::mem::MaybeUninit;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::reader::{Limits, Reader, Stop};

/// What may be kept until a request is answered.
const MAX_AHEAD: usize = 64 << 10;

/// The inlet of one connection.
#[derive(Debug)]
pub struct Inlet {
    reader: Reader,
    /// Read, and not handed on yet: the beginning of a line mostly.
    held: BytesMut,
    /// So many of them may go on.
    passed: usize,
    /// Whether all of them have been looked at.
    seen: bool,
    stop: Option<Stop>,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Bytes.
    Some,
    /// The other side has closed.
    End,
    /// Nothing more goes on.
    Stopped(Stop),
}

impl Inlet {
    /// With nothing read yet.
    pub fn new(reader: Reader) -> Self {
        Self { reader, held: BytesMut::new(), passed: 0, seen: true, stop: None }
    }

    /// Whether nothing is under way: a new inlet, told of the heads so far, would go on just so.
    pub fn is_clean(&self) -> bool {
        self.held.is_empty() && self.stop.is_none() && self.reader.is_between()
    }

    /// Goes on with another connection, where this one [is clean](Self::is_clean); so many heads of its have been read.
    pub fn turn_to(&mut self, limits: Limits, heads: u64) {
        self.reader.turn_to(limits, heads);
    }

    /// The reader.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Whether something was read that has not gone on.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the beginning of a line was read that belongs to a head.
    pub fn holds_head(&self) -> bool {
        self.holds() && self.reader.is_in_head()
    }

    /// Gives back the beginning of a message that was handed on, or was read past this inlet.
    pub fn put_back(&mut self, bytes: &[u8]) {
        let held = self.held.split();
        self.held.extend_from_slice(bytes);
        self.held.extend_from_slice(&held);
        (self.passed, self.seen) = (0, false);
        self.reader.rewind();
    }

    /// Goes on behind a request that asked for another protocol.
    pub fn resume(&mut self, switched: bool) {
        self.reader.resume(switched);
        if self.stop == Some(Stop::Undecided) {
            (self.stop, self.seen) = (None, false);
        }
    }

    /// Fills `buffer` with what may go on; `read` reads from the socket.
    pub fn poll_fill(
        &mut self,
        buffer: &mut ReadBuf<'_>,
        mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<Filled>> {
        loop {
            if !self.seen {
                (self.passed, self.stop) = self.reader.feed(&self.held);
                self.seen = true;
                if self.is_over() {
                    self.held.truncate(self.passed);
                }
            }
            if self.passed > 0 {
                let taken = self.passed.min(buffer.remaining());
                buffer.put_slice(&self.held[..taken]);
                self.held.advance(taken);
                self.passed -= taken;
                if self.held.is_empty() {
                    // Nor its memory, which a connection would keep while it rests.
                    self.held = BytesMut::new();
                }
                return Poll::Ready(Ok(Filled::Some));
            }
            if let Some(stop) = self.stop {
                return Poll::Ready(Ok(Filled::Stopped(stop)));
            }
            let ended = if self.held.is_empty() {
                let before = buffer.filled().len();
                ready!(read(buffer))?;
                let fresh = buffer.filled().len() - before;
                if self.pass(buffer, before) > 0 {
                    return Poll::Ready(Ok(Filled::Some));
                }
                fresh == 0
            } else {
                !ready!(self.read_more(&mut read))?
            };
            if ended {
                return Poll::Ready(Ok(Filled::End));
            }
        }
    }

    /// Looks at what was just read behind `before`, and takes back what must not go on. How much may.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> usize {
        let fresh = &buffer.filled()[before..];
        let (passed, stop) = self.reader.feed(fresh);
        self.stop = stop;
        if passed < fresh.len() {
            if !self.is_over() {
                self.held.extend_from_slice(&fresh[passed..]);
            }
            buffer.set_filled(before + passed);
        }
        passed
    }

    /// Whether what has not been passed never will be.
    fn is_over(&self) -> bool {
        self.stop.is_some_and(|stop| stop != Stop::Undecided)
    }

    /// Reads behind what is held; `false` at the end.
    fn read_more(
        &mut self,
        read: &mut impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<bool>> {
        let mut scratch = [MaybeUninit::uninit(); 4096];
        let mut more = ReadBuf::uninit(&mut scratch);
        ready!(read(&mut more))?;
        self.held.extend_from_slice(more.filled());
        self.seen = false;
        Poll::Ready(Ok(!more.filled().is_empty()))
    }

    /// While a request is not answered: reads what comes, which tells whether the other side is still there. Ready at its
    /// end.
    pub fn poll_ahead(
        &mut self,
        mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        while self.held.len() < MAX_AHEAD {
            if !ready!(self.read_more(&mut read))? {
                return Poll::Ready(Ok(()));
            }
            self.seen = true;
        }
        Poll::Pending
    }

    /// What was read ahead is looked at from now on.
    pub fn go_on(&mut self) {
        // What is refused stays so.
        self.seen = self.held.is_empty() || self.is_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads these bytes, and nothing more then.
    fn reading<'a>(mut bytes: &'a [u8]) -> impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>> + 'a {
        move |buffer| match std::mem::take(&mut bytes) {
            b"" => Poll::Pending,
            some => {
                buffer.put_slice(some);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// What comes while a request waits is not read as another one, where something before it was refused.
    #[test]
    fn what_is_refused_stays_refused_whatever_is_read_ahead() {
        const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut inlet = Inlet::new(Reader::new(Limits { bytes: 1 << 16, fields: 100 }));
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        let both = [ASKED, b"GET / HTTP/1.1\nHost: a\n\n"].concat();
        let filled = inlet.poll_fill(&mut buffer, reading(&both)).map(Result::unwrap);
        assert_eq!((filled, buffer.filled()), (Poll::Ready(Filled::Some), ASKED));
        assert!(!inlet.is_clean());
        assert!(inlet.poll_ahead(reading(ASKED)).is_pending());
        inlet.go_on();
        buffer.clear();
        let filled = inlet.poll_fill(&mut buffer, reading(ASKED)).map(Result::unwrap);
        assert!(matches!(filled, Poll::Ready(Filled::Stopped(Stop::Head(_)))), "{filled:?}");
        assert!(buffer.filled().is_empty());
    }
}
