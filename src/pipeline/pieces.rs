//! A reply's body that is put together: bytes at hand, bytes of stored entries, and bytes that are still being fetched, one
//! after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::flight::Shared;
use super::reply::ReplyError;
use super::slices::Slices;
use crate::cache::Cache;
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::store::{BodyError, BodyReader};

/// One of the pieces.
pub(super) enum Piece {
    /// At hand.
    Bytes(Bytes),
    /// Bytes of an entry's body, by their place in the body.
    Stored(Arc<Entry>, Range<u64>),
    /// What a fetch brings.
    Shared(Box<Shared>),
    /// What comes slice by slice.
    Slices(Box<Slices>),
}

/// The body. It holds no more than one piece open, and ends in an error where one is gone: its length was promised.
pub(super) struct Pieces {
    cache: Arc<Cache>,
    waiting: VecDeque<Piece>,
    open: Option<Open>,
    left: u64,
}

type Opening = Pin<Box<dyn Future<Output = Result<BodyReader, BodyError>> + Send>>;

enum Open {
    Bytes(Bytes),
    Opening(Opening),
    File(Box<BodyReader>),
    Shared(Box<Shared>),
    Slices(Box<Slices>),
}

impl Piece {
    /// `range` of the representation out of an entry that has those bytes.
    pub(super) fn stored(entry: &Arc<Entry>, range: &Range<u64>) -> Self {
        let first = entry.bytes().start;
        Self::Stored(entry.clone(), range.start - first..range.end - first)
    }

    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(_, range) => range.end - range.start,
            Self::Shared(shared) => shared.size_hint().exact().unwrap_or(0),
            Self::Slices(slices) => slices.len(),
        }
    }
}

impl Pieces {
    /// The body that these make; the first piece that must be opened is, so that the head need not be sent for a body that
    /// is gone.
    pub(super) async fn open(cache: &Arc<Cache>, pieces: Vec<Piece>) -> Result<Self, BodyError> {
        let left = pieces.iter().map(Piece::len).sum();
        let mut waiting: VecDeque<Piece> = pieces.into();
        let mut open = None;
        if matches!(waiting.front(), Some(Piece::Stored(..)))
            && let Some(Piece::Stored(entry, range)) = waiting.pop_front()
        {
            open = Some(match at_hand(&entry, &range) {
                Some(bytes) => Open::Bytes(bytes),
                None => Open::File(Box::new(cache.read_body(&entry, range).await?)),
            });
        }
        Ok(Self { cache: cache.clone(), waiting, open, left })
    }

    /// Bytes still to come.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReplyError>>> {
        while self.left > 0 {
            let next = match &mut self.open {
                None => {
                    let Some(piece) = self.waiting.pop_front() else { break };
                    self.open = Some(self.begin(piece));
                    continue;
                }
                Some(Open::Bytes(bytes)) => Some(Ok(std::mem::take(bytes)))
                    .filter(|bytes| bytes.as_ref().is_ok_and(|bytes: &Bytes| !bytes.is_empty())),
                Some(Open::Opening(opening)) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(reader) => {
                        self.open = Some(Open::File(Box::new(reader)));
                        continue;
                    }
                    Err(error) => Some(Err(ReplyError::from(error))),
                },
                Some(Open::File(reader)) => {
                    ready!(reader.poll_next(cx)).map(|read| read.map_err(ReplyError::from))
                }
                Some(Open::Slices(slices)) => ready!(slices.poll_next(cx)),
                Some(Open::Shared(shared)) => match ready!(shared.poll_frame(cx)) {
                    Some(Ok(frame)) => frame.into_data().ok().map(Ok),
                    Some(Err(_)) => Some(Err(ReplyError::Shared)),
                    None => None,
                },
            };
            match next {
                None => self.open = None,
                Some(Ok(bytes)) => {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => {
                    (self.left, self.open) = (0, None);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        // Fewer bytes than were promised must not look whole.
        let short = std::mem::take(&mut self.left) > 0;
        Poll::Ready(short.then_some(Err(ReplyError::Shared)))
    }

    fn begin(&self, piece: Piece) -> Open {
        match piece {
            Piece::Bytes(bytes) => Open::Bytes(bytes),
            Piece::Shared(shared) => Open::Shared(shared),
            Piece::Slices(slices) => Open::Slices(slices),
            Piece::Stored(entry, range) => match at_hand(&entry, &range) {
                Some(bytes) => Open::Bytes(bytes),
                None => {
                    let cache = self.cache.clone();
                    Open::Opening(Box::pin(async move { cache.read_body(&entry, range).await }))
                }
            },
        }
    }
}

/// Bytes of a body that is in RAM.
fn at_hand(entry: &Entry, range: &Range<u64>) -> Option<Bytes> {
    let BodyRef::Bytes(bytes) = &entry.body else { return None };
    let at = |position: u64| usize::try_from(position).map_or(bytes.len(), |at| at.min(bytes.len()));
    Some(bytes.slice(at(range.start)..at(range.end)))
}
