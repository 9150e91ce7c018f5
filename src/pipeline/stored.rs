//! Replies made from what is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request};

use super::Proxy;
use super::reply::Source;
use super::respond::Reply;
use crate::cache::entry::{BodyRef, Entry, EntryHead};
use crate::cache::policy::{Answer, conditional};
use crate::http::cache_status::CacheStatus;
use crate::http::range::ByteRange;

/// Why a stored entry gives no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// Its body is gone or damaged.
    Gone,
    /// Only the origin can say.
    Forward,
}

/// Which part of a body a reply has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// None of it.
    Nothing,
    /// All of it.
    Whole,
    /// One range.
    Range(Range<u64>),
}

/// Status, fields and part of the body that a request's own conditions and range leave of a reply, which has `headers`;
/// `None`: only the origin can say. A range of what has no known length yet is answered by the whole.
pub(super) fn shape(
    request: &request::Parts,
    head: &EntryHead,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Option<(StatusCode, HeaderMap, Part)> {
    let answer = conditional::answer(&request.method, &request.headers, head, length.unwrap_or(u64::MAX));
    Some(match (answer, length) {
        (Answer::Forward, _) => return None,
        (Answer::NotModified, _) => {
            (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(head), Part::Nothing)
        }
        (Answer::Unsatisfiable, Some(length)) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, unsatisfiable(length), Part::Nothing)
        }
        (Answer::Partial(ranges), Some(length)) if ranges.len() == 1 => {
            let ByteRange { first, last } = ranges[0];
            let headers = partial(headers, ranges[0], length);
            (StatusCode::PARTIAL_CONTENT, headers, Part::Range(first..last + 1))
        }
        // Several ranges may be answered by the whole (RFC 9110 14.2).
        _ => (head.status, headers.clone(), Part::Whole),
    })
}

impl Proxy {
    /// A reply from an entry, with the client's own conditions and range applied.
    pub(super) async fn stored_reply(
        &self,
        request: &request::Parts,
        entry: &Arc<Entry>,
        age: u64,
        cache_status: CacheStatus<'static>,
    ) -> Result<Reply, NoReply> {
        let length = entry.body.len();
        let shaped = shape(request, &entry.head, &entry.head.headers, Some(length));
        let Some((status, mut headers, part)) = shaped else {
            return Err(NoReply::Forward);
        };
        let range = match part {
            Part::Nothing => None,
            Part::Whole => {
                // A 204 has none (RFC 9110 8.6).
                if status != StatusCode::NO_CONTENT && !headers.contains_key(header::CONTENT_LENGTH) {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                Some(0..length)
            }
            Part::Range(range) => Some(range),
        };
        // Trailers are kept apart from the body and not sent with a stored one: none are announced.
        headers.remove(header::TRAILER);
        set_age(&mut headers, age);
        let wanted = range.filter(|range| !range.is_empty() && request.method != http::Method::HEAD);
        let source = match wanted {
            None => Source::Empty,
            Some(range) => match self.source(entry, range).await {
                Some(source) => source,
                None => return Err(NoReply::Gone),
            },
        };
        Ok(Reply { status, headers, source, cache_status, deadline: None })
    }

    /// The bytes of an entry's body; `None` where they are gone.
    async fn source(&self, entry: &Arc<Entry>, range: Range<u64>) -> Option<Source> {
        match &entry.body {
            BodyRef::Bytes(bytes) => Some(Source::Full(slice(bytes, range))),
            BodyRef::File(_) => match Box::pin(self.cache.read_body(entry, range)).await {
                Ok(reader) => Some(Source::File(Box::new(reader))),
                Err(error) => {
                    tracing::warn!(%error, url = %entry.key.url(), "stored body not usable, asking the origin");
                    None
                }
            },
        }
    }
}

/// Sets `Age` (RFC 9111 5.1), in place of one that the origin sent.
pub(super) fn set_age(headers: &mut HeaderMap, age: u64) {
    // Larger ages are told as the largest that every recipient understands (RFC 9111 1.2.2).
    headers.insert(header::AGE, HeaderValue::from(age.min(1 << 31)));
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    // A range was resolved against this very length.
    let at = |position: u64| usize::try_from(position).map_or(bytes.len(), |at| at.min(bytes.len()));
    bytes.slice(at(range.start)..at(range.end))
}

fn partial(whole: &HeaderMap, range: ByteRange, length: u64) -> HeaderMap {
    let mut headers = whole.clone();
    let content_range = format!("bytes {}-{}/{length}", range.first, range.last);
    if let Ok(value) = HeaderValue::try_from(content_range) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.last - range.first + 1));
    headers
}

fn unsatisfiable(length: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    headers
}
