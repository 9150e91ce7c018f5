//! What is on its way to the client: frames, gathered so that many leave in one write.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::server::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, LARGEST};

/// Content up to this size is copied behind its frame's head: to tell the kernel of more pieces costs more.
const SMALL: usize = 4 << 10;

/// With so much waiting, nothing more is begun.
pub(super) const ENOUGH: usize = 128 << 10;

/// Pieces of one write.
const PIECES: usize = 16;

/// Memory that a worker's connections gather in, in turn; one that has grown beyond this is not kept.
const KEPT: usize = 256 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Whole frames, in their order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Before what is gathered.
    pieces: VecDeque<Bytes>,
    gathered: Vec<u8>,
    /// So much of it has left.
    left: usize,
    /// Of the pieces.
    size: usize,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.size + self.gathered.len() - self.left
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= ENOUGH
    }

    fn head(&mut self, length: usize, kind: u8, flags: u8, stream: u32) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        let [_, l1, l2, l3] = (length as u32).to_be_bytes();
        let [s1, s2, s3, s4] = stream.to_be_bytes();
        self.gathered.extend_from_slice(&[l1, l2, l3, kind, flags, s1, s2, s3, s4]);
    }

    /// A frame.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.head(payload.len(), kind, flags, stream);
        self.gathered.extend_from_slice(payload);
    }

    /// A field block (RFC 9113 6.2), in as many frames as it takes.
    pub(super) fn block(&mut self, stream: u32, block: &[u8], ends: bool) {
        let end = if ends { END_STREAM } else { 0 };
        let (first, mut rest) = block.split_at(block.len().min(LARGEST as usize));
        let whole = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
        self.frame(HEADERS, end | whole(rest), stream, first);
        while !rest.is_empty() {
            let (next, behind) = rest.split_at(rest.len().min(LARGEST as usize));
            self.frame(CONTINUATION, whole(behind), stream, next);
            rest = behind;
        }
    }

    /// Content, which one frame can take.
    pub(super) fn data(&mut self, stream: u32, content: Bytes, ends: bool) {
        self.head(content.len(), DATA, if ends { END_STREAM } else { 0 }, stream);
        if content.len() <= SMALL {
            return self.gathered.extend_from_slice(&content);
        }
        let before = Bytes::copy_from_slice(&self.gathered[self.left..]);
        self.gathered.clear();
        self.left = 0;
        self.size += before.len() + content.len();
        self.pieces.extend([before, content]);
    }

    /// Sends all.
    pub(super) fn poll_send<IO>(&mut self, cx: &mut Context<'_>, io: &mut IO) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        while self.len() > 0 {
            let written = match self.pieces.is_empty() {
                true => Pin::new(&mut *io).poll_write(cx, &self.gathered[self.left..]),
                false => {
                    let mut slices = [IoSlice::new(&[]); PIECES];
                    let gathered: &[u8] = &self.gathered[self.left..];
                    let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([gathered]);
                    let count = slices
                        .iter_mut()
                        .zip(pieces)
                        .map(|(slice, piece)| *slice = IoSlice::new(piece))
                        .count();
                    Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count])
                }
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent(written),
            }
        }
        self.gathered.clear();
        self.left = 0;
        if self.gathered.capacity() > 0 {
            let gathered = std::mem::take(&mut self.gathered);
            if gathered.capacity() <= KEPT {
                SPARE.set(gathered);
            }
        }
        Pin::new(io).poll_flush(cx)
    }

    fn sent(&mut self, mut written: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let of_it = written.min(first.len());
            first.advance(of_it);
            self.size -= of_it;
            written -= of_it;
            if !first.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.left += written;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWrite;

    use super::*;

    /// Takes so many bytes per write and remembers the writes.
    #[derive(Default)]
    struct Sink {
        per_write: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
            let taken = b.len().min(self.per_write);
            self.writes.push(b[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn sent(out: &mut Outgoing, per_write: usize) -> Sink {
        let mut sink = Sink { per_write, ..Sink::default() };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(out.poll_send(&mut cx, &mut sink).is_ready());
        assert_eq!(out.len(), 0);
        sink
    }

    #[test]
    fn small_frames_leave_as_one() {
        let mut out = Outgoing::default();
        (0..10).for_each(|stream| out.data(stream, Bytes::from_static(&[b'x'; 100]), true));
        assert_eq!((out.len(), sent(&mut out, usize::MAX).writes.len()), (1090, 1));
    }

    #[test]
    fn order_holds_whatever_the_socket_takes() {
        for per_write in [7, 1000, 5000, usize::MAX] {
            let (mut out, mut expected) = (Outgoing::default(), Vec::new());
            for (stream, size) in [(1, 10), (3, 6000), (5, 4096), (7, 9000), (9, 16_384), (11, 0)] {
                out.data(stream, vec![stream as u8; size].into(), stream == 9);
                expected.extend(&(size as u32).to_be_bytes()[1..]);
                expected.extend([0, u8::from(stream == 9), 0, 0, 0, stream as u8]);
                expected.extend(vec![stream as u8; size]);
            }
            assert_eq!(out.len(), expected.len());
            assert_eq!(sent(&mut out, per_write).writes.concat(), expected, "{per_write}");
        }
    }

    #[test]
    fn a_long_block_is_continued() {
        let mut out = Outgoing::default();
        out.block(1, &vec![b'x'; 40_000], true);
        let bytes = sent(&mut out, usize::MAX).writes.concat();
        let heads: Vec<&[u8]> = [0, 16_393, 32_786].iter().map(|at| &bytes[*at..*at + 9]).collect();
        assert_eq!(heads[0], [0, 0x40, 0, HEADERS, END_STREAM, 0, 0, 0, 1]);
        assert_eq!(heads[1], [0, 0x40, 0, CONTINUATION, 0, 0, 0, 0, 1]);
        assert_eq!(heads[2], [0, 0x1c, 0x40, CONTINUATION, END_HEADERS, 0, 0, 0, 1]);
    }
}
