//! Replies made from what is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request};

use super::Proxy;
use super::parts::part_headers;
use super::reply::{Source, Trailed};
use super::respond::Reply;
use crate::cache::entry::{BodyRef, Entry, EntryHead};
use crate::cache::policy::{Answer, conditional};
use crate::http::cache_status::CacheStatus;
use crate::http::{connection, range};

/// Why a stored entry gives no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// Its body is gone or damaged.
    Gone,
    /// Only the origin can say.
    Forward,
    /// It is a part, and more is asked for.
    Partial,
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
    /// Several.
    Several,
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
            let range = ranges[0].first..ranges[0].last + 1;
            let headers = part_headers(headers, &range, Some(length));
            (StatusCode::PARTIAL_CONTENT, headers, Part::Range(range))
        }
        (Answer::Partial(_), Some(_)) => (head.status, headers.clone(), Part::Several),
        _ => (head.status, headers.clone(), Part::Whole),
    })
}

/// What of a reply from an entry is not made without waiting.
pub(super) enum Unmade {
    /// These bytes of the body's file are still to be opened.
    File(Box<Reply>, Range<u64>),
    /// It is put together.
    Parts,
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
        // What is in RAM does not wait, and its reply has no place in the future that is moved about for it.
        let unmade = match prepared(request, entry, age, cache_status)? {
            Ok(mut reply) => {
                trail(&mut reply, request, entry);
                return Ok(reply);
            }
            Err(unmade) => unmade,
        };
        match unmade {
            Unmade::File(mut reply, range) => match Box::pin(self.cache.read_body(entry, range)).await {
                Ok(reader) => {
                    reply.source = Source::File(Box::new(reader));
                    trail(&mut reply, request, entry);
                    Ok(*reply)
                }
                Err(error) => {
                    tracing::warn!(%error, url = %entry.key.url(), "stored body not usable, asking the origin");
                    Err(NoReply::Gone)
                }
            },
            Unmade::Parts => Box::pin(self.reply_from_parts(request, entry, age, cache_status)).await,
        }
    }
}

/// A reply from an entry, as far as it can be made without waiting.
pub(super) fn prepared(
    request: &request::Parts,
    entry: &Entry,
    age: u64,
    cache_status: CacheStatus<'static>,
) -> Result<Result<Reply, Unmade>, NoReply> {
    if entry.part.is_some() {
        return Ok(Err(Unmade::Parts));
    }
    let length = entry.body.len();
    let shaped = shape(request, &entry.head, &entry.head.headers, Some(length));
    let (status, mut headers, part) = shaped.ok_or(NoReply::Forward)?;
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
        Part::Several => return Ok(Err(Unmade::Parts)),
    };
    // None are announced, unless they are put behind the body.
    headers.remove(header::TRAILER);
    set_age(&mut headers, age);
    let wanted = range.filter(|range| !range.is_empty() && request.method != Method::HEAD);
    let reply = |source| Reply { status, headers, source, cache_status, deadline: None };
    Ok(match (wanted, &entry.body) {
        (None, _) => Ok(reply(Source::Empty)),
        (Some(range), BodyRef::Bytes(bytes)) => Ok(reply(Source::Full(slice(bytes, range)))),
        (Some(range), BodyRef::File(_)) => Err(Unmade::File(Box::new(reply(Source::Empty)), range)),
    })
}

/// Puts the trailer fields that were stored behind a whole body, for a client that takes them (RFC 9110 6.5.1): over HTTP/1.1
/// where the reply announced them (RFC 9110 6.6.2), in place of its length.
fn trail(reply: &mut Reply, request: &request::Parts, entry: &Entry) {
    let Some(trailers) = entry.trailers.as_deref() else { return };
    let announced = entry.head.headers.get_all(header::TRAILER);
    let carries = match request.version {
        Version::HTTP_2 => true,
        Version::HTTP_11 => announced.iter().next().is_some(),
        _ => false,
    };
    let whole = reply.status == entry.head.status && reply.status != StatusCode::NO_CONTENT;
    if !carries || !whole || request.method != Method::GET || !connection::takes_trailers(&request.headers) {
        return;
    }
    for name in announced {
        reply.headers.append(header::TRAILER, name.clone());
    }
    if request.version == Version::HTTP_11 {
        reply.headers.remove(header::CONTENT_LENGTH);
    }
    let body = std::mem::replace(&mut reply.source, Source::Empty);
    reply.source = Source::Trailed(Box::new(Trailed { body, trailers: Some(trailers.clone()) }));
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

/// The fields of a 416 (RFC 9110 15.5.17).
pub(super) fn unsatisfiable(length: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::CONTENT_RANGE, range::unsatisfied(length));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    headers
}
