//! Replies that are made of parts: of what is stored in several entries, of several ranges, and of stored bytes with those
//! that are fetched between them (RFC 9110 14, 15.3.7, RFC 9111 3.3, 3.4).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH, TRAILER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};

use super::Proxy;
use super::ask::Asking;
use super::exchange::Exchange;
use super::flight::{Landing, Shared, Streaming};
use super::pass;
use super::pieces::{Piece, Pieces};
use super::reply::Source;
use super::respond::Reply;
use super::stored::{NoReply, set_age, unsatisfiable};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::flight::Ticket;
use crate::cache::policy::partial::{self, FromParts, Missing};
use crate::cache::policy::{Answer, conditional};
use crate::cache::spool::SpoolReader;
use crate::clock::Timestamp;
use crate::http::cache_status::CacheStatus;
use crate::http::range::ByteRange;

/// How the origin is asked where what is stored is but a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OfPart {
    /// Whether that still holds: it has all that is wanted.
    Validate,
    /// For what is missing.
    Gap(Missing),
    /// As if nothing were stored.
    Anew,
}

/// Settles how the origin is asked where what is stored has the bytes of these places.
pub(super) fn of_part(request: &request::Parts, entry: &Entry, places: &[Range<u64>]) -> OfPart {
    let has_validator = partial::if_range(&entry.head.headers).is_some();
    match partial::from_parts(&request.method, &request.headers, &entry.head, entry.complete(), places) {
        // Its tag may be sent only where it has the whole of what is asked for (RFC 9111 4.3.1).
        FromParts::Answer(..) if has_validator => OfPart::Validate,
        FromParts::Missing(Some(missing)) if has_validator && !has_conditions(&request.headers) => {
            OfPart::Gap(missing)
        }
        _ => OfPart::Anew,
    }
}

impl Proxy {
    /// The entries that have bytes of the representation that `entry` is a part of.
    fn places(&self, entry: &Arc<Entry>) -> Vec<Arc<Entry>> {
        match entry.part.is_some() && partial::if_range(&entry.head.headers).is_some() {
            true => self.cache.parts(entry),
            // Without a strong validator a part is alone.
            false => vec![entry.clone()],
        }
    }

    /// Settles how the origin is asked where what is stored is but a part: to validate it, where it has all that is
    /// wanted; for what is missing; or as if nothing were stored.
    pub(super) fn consider_parts(&self, asking: &mut Asking<'_>) {
        let Some(entry) = asking.stale.as_ref().filter(|entry| entry.part.is_some()) else { return };
        let places: Vec<_> = self.places(entry).iter().map(|place| place.bytes()).collect();
        match of_part(&asking.inbound.head, entry, &places) {
            OfPart::Validate => {}
            OfPart::Gap(missing) => asking.gap = Some(Box::new(missing)),
            OfPart::Anew => asking.stale = None,
        }
    }

    /// A reply from an entry that is a part and from the others of the same representation, or of several ranges of one that
    /// is whole.
    pub(super) async fn reply_from_parts(
        &self,
        request: &request::Parts,
        entry: &Arc<Entry>,
        age: u64,
        cache_status: CacheStatus<'static>,
    ) -> Result<Reply, NoReply> {
        let places = self.places(entry);
        let bytes: Vec<_> = places.iter().map(|place| place.bytes()).collect();
        let complete = entry.complete();
        let verdict = partial::from_parts(&request.method, &request.headers, &entry.head, complete, &bytes);
        let FromParts::Answer(answer, pieces) = verdict else { return Err(NoReply::Partial) };
        let pieces: Vec<Vec<Piece>> = pieces
            .iter()
            .map(|of| of.iter().map(|piece| Piece::stored(&places[piece.place], &piece.bytes)).collect())
            .collect();
        let stored = &entry.head;
        let (status, mut headers, pieces) = match answer {
            Answer::Forward => return Err(NoReply::Forward),
            Answer::NotModified => {
                (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(stored), Vec::new())
            }
            Answer::Unsatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, unsatisfiable(complete.unwrap_or_default()), Vec::new())
            }
            Answer::Full => {
                let mut headers = stored.headers.clone();
                headers.insert(CONTENT_LENGTH, HeaderValue::from(complete.unwrap_or_default()));
                (stored.status, headers, pieces.into_iter().flatten().collect())
            }
            Answer::Partial(ranges) => ranged(&stored.headers, &ranges, complete, pieces),
        };
        headers.remove(TRAILER);
        set_age(&mut headers, age);
        let body = match request.method == Method::HEAD {
            true => Vec::new(),
            false => pieces,
        };
        self.assembled(status, headers, body, cache_status).await
    }

    async fn assembled(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        pieces: Vec<Piece>,
        cache_status: CacheStatus<'static>,
    ) -> Result<Reply, NoReply> {
        let source = match pieces.is_empty() {
            true => Source::Empty,
            false => match Pieces::open(&self.cache, pieces).await {
                Ok(pieces) => Source::Pieces(Box::new(pieces)),
                Err(error) => {
                    tracing::warn!(%error, "stored part not usable, asking the origin");
                    return Err(NoReply::Gone);
                }
            },
        };
        Ok(Reply { status, headers, source, cache_status, deadline: None })
    }

    /// The reply to a request whose range, or what was missing of it, is being fetched and stored; `None` where it can't be
    /// made of that.
    pub(super) async fn part_reply(
        &self,
        exchange: &Exchange,
        asking: &Asking<'_>,
        streaming: &Streaming,
        ticket: Ticket<Landing>,
        reader: Option<SpoolReader>,
        (headers, age): (&HeaderMap, Option<u64>),
        cache_status: CacheStatus<'static>,
    ) -> Option<Reply> {
        let bytes = streaming.bytes()?;
        let reader = reader.or_else(|| streaming.body.reader(0).ok())?;
        let shared = Box::new(Shared::new(reader, Some(bytes.end - bytes.start), ticket));
        let deadline = pass::deadline(asking.to.route, exchange);
        if let Some(missing) = asking.gap.as_ref().filter(|_| streaming.completes) {
            let reply = self.completed(asking, streaming, missing, shared, cache_status).await?;
            return Some(Reply { deadline, ..reply });
        }
        if streaming.completes {
            return None;
        }
        let (client, complete) = (&asking.inbound.head, streaming.part.and_then(|part| part.complete));
        let length = complete.unwrap_or(u64::MAX);
        // Its conditions did not go to the origin where ours did.
        let has_it = asking.stale.is_some()
            && conditional::answer(&client.method, &client.headers, &streaming.head, length)
                == Answer::NotModified;
        let (status, mut headers) = match has_it {
            true => (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(&streaming.head)),
            // Asked for with this very field: whatever of it came is the reply (RFC 9110 15.3.7).
            false => (StatusCode::PARTIAL_CONTENT, part_headers(headers, &bytes, complete)),
        };
        if let Some(age) = age {
            set_age(&mut headers, age);
        }
        let source = if has_it { Source::Empty } else { Source::Shared(shared) };
        let forward_status = has_it.then_some(StatusCode::PARTIAL_CONTENT.as_u16());
        let cache_status = CacheStatus { forward_status, ..cache_status };
        Some(Reply { status, headers, source, cache_status, deadline })
    }

    /// The whole that was wanted: what is stored of it, and what is coming in.
    async fn completed(
        &self,
        asking: &Asking<'_>,
        streaming: &Streaming,
        missing: &Missing,
        shared: Box<Shared>,
        cache_status: CacheStatus<'static>,
    ) -> Option<Reply> {
        let Missing { want, gap } = missing;
        let places = self.cache.parts(&self.entry_of(asking, streaming));
        let bytes: Vec<_> = places.iter().map(|place| place.bytes()).collect();
        let stored = |range: Range<u64>| {
            let cover = partial::cover(&bytes, range);
            let pieces = cover.pieces.into_iter();
            let pieces: Vec<_> =
                pieces.map(|piece| Piece::stored(&places[piece.place], &piece.bytes)).collect();
            // It may have gone since.
            cover.missing.is_none().then_some(pieces)
        };
        let mut pieces = stored(want.start..gap.start)?;
        pieces.push(Piece::Shared(shared));
        pieces.extend(stored(gap.end..want.end)?);
        // As the stored parts have it, where the last one to come does not say it.
        let said = |entry: &Arc<Entry>| entry.complete();
        let complete = streaming.part.and_then(|part| part.complete).or_else(|| places.iter().find_map(said));
        let client = &asking.inbound.head;
        let head = &streaming.head;
        let asked = conditional::asked(&client.method, &client.headers, head, complete?);
        let (status, mut headers) = match asked {
            Answer::Partial(ranges) if ranges[..] == [partial::byte_range(want)] => {
                (StatusCode::PARTIAL_CONTENT, part_headers(&head.headers, want, complete))
            }
            Answer::Full if *want == (0..complete?) => {
                let mut headers = head.headers.clone();
                headers.insert(CONTENT_LENGTH, HeaderValue::from(complete?));
                (head.status, headers)
            }
            _ => return None,
        };
        headers.remove(TRAILER);
        set_age(&mut headers, head.age(self.clock.now()));
        let forwarded = StatusCode::PARTIAL_CONTENT;
        let forward_status = (status != forwarded).then_some(forwarded.as_u16());
        let cache_status = CacheStatus { forward_status, ..cache_status };
        self.assembled(status, headers, pieces, cache_status).await.ok()
    }

    /// A stand-in for the entry that a part will be when it has come in, by which the others are found.
    fn entry_of(&self, asking: &Asking<'_>, streaming: &Streaming) -> Entry {
        Entry {
            key: asking.parts().to_stored(self.cache.secret()),
            vary: streaming.vary.clone(),
            head: streaming.head.clone(),
            body: BodyRef::Bytes(Bytes::new()),
            on_disk: None,
            part: streaming.part,
            trailers: None,
            tags: Vec::new(),
            route: Box::default(),
            sequence: 0,
            keep_until: Timestamp::default(),
            soft_purged: false,
        }
    }
}

/// Whether a request has a condition on which all of its reply depends, `If-Range` apart.
pub(super) fn has_conditions(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE)
}

/// The fields of a 206 of one range (RFC 9110 15.3.7.1).
pub(super) fn part_headers(whole: &HeaderMap, bytes: &Range<u64>, complete: Option<u64>) -> HeaderMap {
    let mut headers = whole.clone();
    headers.insert(CONTENT_RANGE, partial::byte_range(bytes).content_range(complete));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    headers
}

/// A 206 of these ranges, each with its pieces: one as it is, several as `multipart/byteranges` (RFC 9110 15.3.7.2).
pub(super) fn ranged(
    whole: &HeaderMap,
    ranges: &[ByteRange],
    complete: Option<u64>,
    pieces: Vec<Vec<Piece>>,
) -> (StatusCode, HeaderMap, Vec<Piece>) {
    if let [range] = ranges {
        let headers = part_headers(whole, &(range.first..range.last + 1), complete);
        return (StatusCode::PARTIAL_CONTENT, headers, pieces.into_iter().flatten().collect());
    }
    // It must not occur in the body: nobody can have foreseen it.
    let boundary = format!("{:032x}", fastrand::u128(..));
    let mut all = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut length = 0;
    for (range, pieces) in ranges.iter().zip(pieces) {
        let before = part_start(&boundary, all.is_empty(), whole.get(CONTENT_TYPE), range, complete);
        length += before.len() as u64 + range.len();
        all.push(Piece::Bytes(before));
        all.extend(pieces);
    }
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    length += end.len() as u64;
    all.push(Piece::Bytes(end));
    let mut headers = whole.clone();
    // Each part says for itself what it is (RFC 9110 15.3.7.2).
    headers.remove(CONTENT_RANGE);
    if let Ok(value) = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}")) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    (StatusCode::PARTIAL_CONTENT, headers, all)
}

/// What stands before a part's bytes (RFC 9110 14.6).
fn part_start(
    boundary: &str,
    is_first: bool,
    content_type: Option<&HeaderValue>,
    range: &ByteRange,
    complete: Option<u64>,
) -> Bytes {
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(if is_first { b"--" } else { b"\r\n--" });
    text.extend_from_slice(boundary.as_bytes());
    if let Some(content_type) = content_type {
        text.extend_from_slice(b"\r\nContent-Type: ");
        text.extend_from_slice(content_type.as_bytes());
    }
    text.extend_from_slice(b"\r\nContent-Range: ");
    text.extend_from_slice(range.content_range(complete).as_bytes());
    text.extend_from_slice(b"\r\n\r\n");
    text.into()
}
