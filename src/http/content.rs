//! Content that is sent by who speaks to the socket, without a body that is polled in between.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use bytes::Bytes;

/// Content up to this size is copied behind its head: to tell the kernel of two pieces costs more.
pub const COPIED: usize = 4 << 10;

/// What of a reply's content is not in hand together with its head.
#[derive(Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// What stands in a file.
    File(Box<dyn FileContent>),
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// Content that stands in a file. It may be taken either way, by turns; who drops it before its end has given up.
pub trait FileContent: Send + Sync + fmt::Debug {
    /// Bytes that have not been taken.
    fn remaining(&self) -> u64;

    /// Which of them, from the next one on, may be sent right from the file. `None`: they must be read.
    fn span(&self) -> Option<Span<'_>>;

    /// So many bytes of the span have been sent.
    fn sent(&mut self, bytes: usize);

    /// Reads the next ones; `None` at the end. An error ends it: there is no right byte to send.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
}

/// A part of a file.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The file.
    pub file: BorrowedFd<'a>,
    /// Where the part begins.
    pub start: u64,
    /// How long it is; not 0.
    pub len: usize,
}
