//! Parts of a representation: which 206 may be stored, which belong together, and what of a request they answer
//! (RFC 9111 3.3, 3.4, RFC 9110 14, 15.3.7).
//!
//! Each part is an entry of its own, beside others of the same variant. They are read as one where a strong validator says that
//! they are parts of the very same bytes; the newest one's head speaks for all.

use std::ops::Range;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, Method, StatusCode};

use super::conditional::{self, Answer};
use super::{Directed, Plan, RequestPolicy, ResponseHead, Rules, SkipReason, Storable, store, validate};
use crate::cache::entry::{Entry, EntryHead, Part};
use crate::http::date;
use crate::http::etag::ETag;
use crate::http::range::{self, ByteRange, ContentRange};

/// Parts that are kept under one key; the oldest goes first.
pub const MAX_PARTS: usize = 64;

/// Which bytes a 206 has; `None` where it is not one part that a cache can understand (RFC 9110 15.3.7): several parts in
/// one body, another unit, or more than one word on it.
pub fn content_range(status: StatusCode, headers: &HeaderMap) -> Option<ContentRange> {
    let several = headers.get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..20).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/byteranges"))
    });
    let mut lines = headers.get_all(CONTENT_RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) if status == StatusCode::PARTIAL_CONTENT && !several => {
            ContentRange::parse(line.as_bytes())
        }
        _ => None,
    }
}

/// The head with which a 206 is to be stored: that of the 200 whose part it is. Where parts of the same representation are
/// stored, `stored` being the newest one's head, its fields are updated by the new ones (RFC 9111 3.4).
pub fn part_head(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    stored: Option<&EntryHead>,
    rules: &Rules,
) -> Result<EntryHead, SkipReason> {
    if let Some(stored) = stored {
        let updated = validate::freshen(stored, request, response, rules);
        return match updated.upkeep {
            validate::Upkeep::Replace => Ok(updated.head),
            validate::Upkeep::Leave(reason) | validate::Upkeep::Remove(reason) => Err(reason),
        };
    }
    let mut headers = response.headers.clone();
    headers.remove(CONTENT_RANGE);
    headers.remove(CONTENT_LENGTH);
    let whole = ResponseHead { status: StatusCode::OK, headers: &headers, ..*response };
    match store::decide(request, &whole, &Directed::of(&headers, rules), rules) {
        Storable::Store(plan) => Ok(Plan::entry_head(&plan, &whole)),
        Storable::Skip(reason) => Err(reason),
    }
}

/// Whether two replies have the same strong validator, so that parts of one are parts of the other (RFC 9111 3.4,
/// RFC 9110 8.8.1). A date is one only where no tag says otherwise and it lies before the reply itself (8.8.2.2).
pub fn is_same(one: &HeaderMap, other: &HeaderMap) -> bool {
    match (one.contains_key(ETAG), other.contains_key(ETAG)) {
        (true, true) => ETag::of(one).zip(ETag::of(other)).is_some_and(|(one, other)| one.strong_eq(&other)),
        (false, false) => {
            one.get(LAST_MODIFIED) == other.get(LAST_MODIFIED) && is_date_strong(one) && is_date_strong(other)
        }
        _ => false,
    }
}

/// The value with which `If-Range` asks for more of the same (RFC 9110 13.1.5); `None` without a strong validator.
pub fn if_range(headers: &HeaderMap) -> Option<&http::HeaderValue> {
    match headers.get(ETAG) {
        Some(tag) => ETag::parse(tag.as_bytes()).filter(|tag| !tag.weak).map(|_| tag),
        None => headers.get(LAST_MODIFIED).filter(|_| is_date_strong(headers)),
    }
}

fn is_date_strong(headers: &HeaderMap) -> bool {
    let at = |name| date::parse(headers.get(name)?.as_bytes(), crate::clock::Timestamp::default());
    at(LAST_MODIFIED).zip(at(DATE)).is_some_and(|(modified, sent)| modified < sent)
}

/// Whether two entries of one key and variant have bytes of the same representation.
fn combine(one: &Entry, other: &Entry) -> bool {
    let lengths = one.complete().zip(other.complete());
    is_same(&one.head.headers, &other.head.headers)
        && one.head.status == other.head.status
        && lengths.is_none_or(|(one, other)| one == other)
}

fn same_variant(one: &Entry, other: &Entry) -> bool {
    one.vary == other.vary && one.key == other.key
}

/// Whether a stored entry is another part of what `of` is a part of, or `of` itself.
pub fn are_parts_of_one(of: &Entry, entry: &Entry) -> bool {
    of.part.is_some()
        && entry.part.is_some()
        && same_variant(of, entry)
        && (combine(of, entry) || (of.part == entry.part && of.head == entry.head))
}

/// Whether a new entry takes a stored one's place: all of a representation, that of every part and of what was before; a
/// part, that of what it contains and of other representations (RFC 9111 3.4: they can't be combined, and are older).
pub fn supersedes(new: &Entry, stored: &Entry) -> bool {
    if !same_variant(new, stored) {
        return false;
    }
    match (new.part, stored.part) {
        (None, _) => true,
        (Some(_), None) => !combine(new, stored),
        (Some(_), Some(_)) => !combine(new, stored) || contains(&new.bytes(), &stored.bytes()),
    }
}

/// Whether a new part is not worth its place beside a stored entry: that has all of it, or came later and is of another
/// representation.
pub fn is_superfluous(new: &Entry, stored: &Entry) -> bool {
    new.part.is_some()
        && same_variant(new, stored)
        && match combine(new, stored) {
            true => stored.part.is_none(),
            false => stored.head.response_time > new.head.response_time,
        }
}

const fn contains(outer: &Range<u64>, inner: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Bytes of a representation that stand in one of several places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which place.
    pub place: usize,
    /// Which bytes of the representation.
    pub bytes: Range<u64>,
}

/// What places hold of a wanted run of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// What they hold, in order and each byte once.
    pub pieces: Vec<Piece>,
    /// From the first to the last byte that they don't.
    pub missing: Option<Range<u64>>,
}

/// Finds the bytes of `want` in `places`.
pub fn cover(places: &[Range<u64>], want: Range<u64>) -> Cover {
    let mut found = Cover::default();
    let mut at = want.start;
    while at < want.end {
        let holding = places.iter().enumerate().filter(|(_, bytes)| bytes.contains(&at));
        if let Some((place, bytes)) = holding.max_by_key(|(_, bytes)| bytes.end) {
            let end = bytes.end.min(want.end);
            found.pieces.push(Piece { place, bytes: at..end });
            at = end;
            continue;
        }
        let next = places.iter().map(|bytes| bytes.start).filter(|start| *start > at).min();
        let end = next.unwrap_or(want.end).min(want.end);
        found.missing = Some(found.missing.map_or(at, |missing| missing.start)..end);
        at = end;
    }
    found
}

/// What stored parts are to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromParts {
    /// They answer it: with the pieces of all of it, or of each of the ranges.
    Answer(Answer, Vec<Vec<Piece>>),
    /// They don't. What would have to be fetched to answer it, where that is one run of bytes in a larger one that is
    /// wanted.
    Missing(Option<Missing>),
}

/// What is missing of what a request wants, in a representation of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// All that is wanted.
    pub want: Range<u64>,
    /// What is not there of it.
    pub gap: Range<u64>,
}

/// Whether parts with these bytes answer a request. Incomplete, they do only for ranges that lie wholly within them
/// (RFC 9111 3.3); only then do the client's conditions matter (4.3.2).
pub fn from_parts(
    method: &Method,
    request: &HeaderMap,
    head: &EntryHead,
    complete: Option<u64>,
    places: &[Range<u64>],
) -> FromParts {
    let whole = complete.map(|length| 0..length);
    let is_whole = whole.clone().is_some_and(|whole| cover(places, whole).missing.is_none());
    // Without a known length what ends with the representation lies beyond all that is stored.
    let length = complete.unwrap_or(u64::MAX);
    let answer = conditional::answer(method, request, head, length);
    let asked = conditional::asked(method, request, head, length);
    let wanted: Vec<Range<u64>> = match (&asked, whole) {
        (Answer::Partial(ranges), _) => ranges.iter().map(|range| range.first..range.last + 1).collect(),
        (Answer::Unsatisfiable, _) if is_whole => Vec::new(),
        (Answer::Unsatisfiable, _) => return FromParts::Missing(None),
        (_, Some(whole)) if is_whole || method == Method::GET => vec![whole],
        _ => return FromParts::Missing(None),
    };
    let covers: Vec<Cover> = wanted.iter().map(|want| cover(places, want.clone())).collect();
    match (&covers[..], &wanted[..]) {
        _ if covers.iter().all(|cover| cover.missing.is_none()) => {
            FromParts::Answer(answer, covers.into_iter().map(|cover| cover.pieces).collect())
        }
        ([Cover { pieces, missing: Some(gap) }], [want]) if !pieces.is_empty() && complete.is_some() => {
            FromParts::Missing(Some(Missing { want: want.clone(), gap: gap.clone() }))
        }
        _ => FromParts::Missing(None),
    }
}

/// The `Range` that asks for a gap: open where it goes on to the end.
pub fn gap_range(gap: &Range<u64>, complete: Option<u64>) -> http::HeaderValue {
    range::field(gap.start, (complete != Some(gap.end)).then_some(gap.end - 1))
}

/// Whether a 206 is what was missing: of the same representation as what is stored, and beginning and ending where it was
/// asked to.
pub fn fills(gap: &Range<u64>, stored: &Entry, response: &ResponseHead<'_>) -> bool {
    let Some(got) = content_range(response.status, response.headers) else { return false };
    let bytes = got.range.first..got.range.last + 1;
    let lengths = got.complete.zip(stored.complete());
    bytes == *gap
        && lengths.is_none_or(|(got, stored)| got == stored)
        && is_same(&stored.head.headers, response.headers)
}

impl From<ContentRange> for Part {
    fn from(range: ContentRange) -> Self {
        Self { first: range.range.first, complete: range.complete }
    }
}

/// The range that bytes make.
pub fn byte_range(bytes: &Range<u64>) -> ByteRange {
    ByteRange { first: bytes.start, last: bytes.end.saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::MethodKind;
    use super::super::tests::{NOW, entry as head, http_date, map};
    use super::*;
    use crate::cache::store::tests::entry as stored;

    const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);

    fn part(first: u64, len: usize, complete: Option<u64>, fields: &[(&str, &str)]) -> Entry {
        Entry { part: Some(Part { first, complete }), head: head(fields), ..stored("/a", &vec![b'x'; len]) }
    }

    fn whole(len: usize, fields: &[(&str, &str)]) -> Entry {
        Entry { head: head(fields), ..stored("/a", &vec![b'x'; len]) }
    }

    #[test]
    fn rfc_9111_3_3_only_one_understood_part_is_stored() {
        let range = |fields: &[(&str, &str)]| content_range(StatusCode::PARTIAL_CONTENT, &map(fields));
        assert!(range(&[("content-range", "bytes 0-4/10")]).is_some());
        assert!(range(&[("content-range", "bytes 0-4/*")]).is_some());
        for refused in [
            &[][..],
            &[("content-range", "bytes */10")],
            &[("content-range", "lines 0-4/10")],
            &[("content-range", "bytes 0-4/10"), ("content-range", "bytes 0-4/10")],
            &[("content-range", "bytes 0-4/10"), ("content-type", "Multipart/ByteRanges; boundary=x")],
        ] {
            assert_eq!(range(refused), None, "{refused:?}");
        }
        assert_eq!(content_range(StatusCode::OK, &map(&[("content-range", "bytes 0-4/10")])), None);
    }

    #[test]
    fn rfc_9111_3_4_the_new_part_s_fields_update_the_stored_ones() {
        let newer = map(&[
            ("content-range", "bytes 5-9/10"),
            ("content-length", "5"),
            ("etag", "\"a\""),
            ("x-new", "2"),
            ("date", &http_date(9)),
        ]);
        let response = ResponseHead {
            status: StatusCode::PARTIAL_CONTENT,
            headers: &newer,
            request_time: NOW,
            response_time: NOW,
        };
        let before =
            head(&[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-new", "1"), ("x-old", "1")]);
        let merged = part_head(&GET, &response, Some(&before), &Rules::default()).unwrap();
        assert_eq!(merged.status, StatusCode::OK);
        assert_eq!(
            (merged.headers["x-new"].as_bytes(), merged.headers["x-old"].as_bytes()),
            (&b"2"[..], &b"1"[..])
        );
        assert_eq!(merged.freshness.lifetime, 60);
        let alone = part_head(&GET, &response, None, &Rules::default()).unwrap();
        for head in [&merged, &alone] {
            assert!(!head.headers.contains_key(CONTENT_RANGE) && !head.headers.contains_key(CONTENT_LENGTH));
        }
        let refused = map(&[("cache-control", "no-store")]);
        let response = ResponseHead { headers: &refused, ..response };
        assert_eq!(part_head(&GET, &response, None, &Rules::default()), Err(SkipReason::NoStore));
    }

    #[test]
    fn rfc_9111_3_4_only_the_same_strong_validator_combines() {
        let date = ("date", &*http_date(0));
        let modified = ("last-modified", &*http_date(-60));
        let same = |one: &[(&str, &str)], other: &[(&str, &str)]| is_same(&map(one), &map(other));
        assert!(same(&[("etag", "\"a\"")], &[("etag", "\"a\"")]));
        assert!(same(&[modified, date], &[modified, date]));
        assert!(!same(&[("etag", "\"a\"")], &[("etag", "\"b\"")]));
        assert!(!same(&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")]));
        assert!(!same(&[("etag", "\"a\"")], &[modified, date]));
        assert!(!same(&[("last-modified", &http_date(0)), date], &[("last-modified", &http_date(0)), date]));
        assert!(!same(&[], &[]));
        assert_eq!(if_range(&map(&[("etag", "W/\"a\""), modified, date])), None);
        assert_eq!(if_range(&map(&[("etag", "\"a\""), modified, date])).unwrap(), "\"a\"");
        assert_eq!(if_range(&map(&[modified, date])).unwrap(), modified.1);
    }

    #[test]
    fn what_a_new_entry_supersedes() {
        let (a, b) = (&[("etag", "\"a\"")][..], &[("etag", "\"b\"")][..]);
        let ten = Some(10);
        for (new, stands, expected) in [
            (whole(10, a), part(0, 5, ten, a), true),
            (whole(10, a), whole(10, b), true),
            (part(0, 5, ten, a), part(0, 5, ten, a), true),
            (part(0, 5, ten, a), part(1, 4, None, a), true),
            (part(0, 5, ten, a), part(1, 5, ten, a), false),
            (part(0, 5, ten, a), part(1, 5, ten, b), true),
            (part(0, 5, ten, a), part(1, 5, Some(11), a), true),
            (part(0, 5, ten, a), whole(10, a), false),
            (part(0, 5, ten, a), whole(10, b), true),
            (part(0, 5, ten, &[]), part(5, 5, ten, &[]), true),
        ] {
            assert_eq!(supersedes(&new, &stands), expected, "{:?} {:?}", new.part, stands.part);
        }
        let mut other = part(0, 5, ten, a);
        other.vary.fields.push(("accept".into(), None));
        assert!(!supersedes(&whole(10, a), &other));
        assert!(is_superfluous(&part(0, 5, ten, a), &whole(10, a)));
        assert!(!is_superfluous(&part(0, 5, ten, a), &whole(10, b)));
        let mut later = whole(10, b);
        later.head.response_time = NOW.plus(std::time::Duration::from_secs(1));
        assert!(is_superfluous(&part(0, 5, ten, a), &later));
    }

    #[test]
    fn rfc_9111_3_3_incomplete_parts_answer_only_what_lies_within() {
        let entry = head(&[("etag", "\"a\"")]);
        let ask = |places: &[Range<u64>], complete, request: &[(&str, &str)]| {
            from_parts(&Method::GET, &map(request), &entry, complete, places)
        };
        let (some, ten) = ([0..3, 3..6], Some(10));
        let answered = |verdict: &FromParts| matches!(verdict, FromParts::Answer(..));
        for (range, within) in
            [("0-5", true), ("2-4", true), ("5-5", true), ("4-6", false), ("6-", false), ("-4", false)]
        {
            let verdict = ask(&some, ten, &[("range", &format!("bytes={range}"))]);
            assert_eq!(answered(&verdict), within, "{range}: {verdict:?}");
        }
        let gap = |want, gap| FromParts::Missing(Some(Missing { want, gap }));
        assert_eq!(ask(&some, ten, &[]), gap(0..10, 6..10));
        assert_eq!(ask(&some, ten, &[("range", "bytes=4-7")]), gap(4..8, 6..8));
        assert_eq!(ask(&[2..4, 6..7], ten, &[]), gap(0..10, 0..10));
        assert_eq!(ask(&some, None, &[]), FromParts::Missing(None));
        assert!(answered(&ask(&some, None, &[("range", "bytes=1-5")])));
        assert_eq!(ask(&some, None, &[("range", "bytes=1-")]), FromParts::Missing(None));
        assert_eq!(ask(&some, ten, &[("range", "bytes=10-")]), FromParts::Missing(None));
        assert_eq!(ask(&some, ten, &[("range", "bytes=0-1,7-8")]), FromParts::Missing(None));
        assert!(answered(&ask(&some, ten, &[("range", "bytes=0-1,4-5")])));
        // A condition says nothing where the parts do not answer.
        let tag = ("if-none-match", "\"a\"");
        assert_eq!(ask(&some, ten, &[tag]), gap(0..10, 6..10));
        assert_eq!(
            ask(&some, ten, &[tag, ("range", "bytes=0-1")]),
            FromParts::Answer(Answer::NotModified, vec![vec![Piece { place: 0, bytes: 0..2 }]])
        );
        // Together they are the whole.
        let all = [0..6, 4..10];
        assert!(answered(&ask(&all, ten, &[])));
        assert!(matches!(
            ask(&all, ten, &[("range", "bytes=10-")]),
            FromParts::Answer(Answer::Unsatisfiable, _)
        ));
        let head_of =
            |places: &[Range<u64>]| from_parts(&Method::HEAD, &HeaderMap::new(), &entry, ten, places);
        assert!(answered(&head_of(&all)) && head_of(&some) == FromParts::Missing(None));
    }

    #[test]
    fn what_fills_a_gap() {
        let stands = part(0, 5, Some(10), &[("etag", "\"a\"")]);
        let fits = |range: &str, tag: &str| {
            let headers = map(&[("content-range", range), ("etag", tag)]);
            let status = StatusCode::PARTIAL_CONTENT;
            fills(
                &(5..10),
                &stands,
                &ResponseHead { status, headers: &headers, request_time: NOW, response_time: NOW },
            )
        };
        assert!(fits("bytes 5-9/10", "\"a\"") && fits("bytes 5-9/*", "\"a\""));
        for (range, tag) in [
            ("bytes 5-9/10", "\"b\""),
            ("bytes 5-9/10", "W/\"a\""),
            ("bytes 5-8/10", "\"a\""),
            ("bytes 4-9/10", "\"a\""),
            ("bytes 5-9/11", "\"a\""),
        ] {
            assert!(!fits(range, tag), "{range} {tag}");
        }
        assert_eq!(gap_range(&(5..10), Some(10)), "bytes=5-");
        assert_eq!(gap_range(&(5..9), Some(10)), "bytes=5-8");
    }

    proptest! {
        #[test]
        fn a_cover_has_every_byte_once_or_knows_that_it_is_missing(
            places in proptest::collection::vec((0u64..60, 1u64..20), 0..8),
            start in 0u64..60,
            len in 1u64..30,
        ) {
            let places: Vec<Range<u64>> = places.into_iter().map(|(at, len)| at..at + len).collect();
            let want = start..start + len;
            let found = cover(&places, want.clone());
            let mut held: Vec<u64> = Vec::new();
            for piece in &found.pieces {
                prop_assert!(contains(&places[piece.place], &piece.bytes) && !piece.bytes.is_empty());
                held.extend(piece.bytes.clone());
            }
            prop_assert!(held.is_sorted_by(|one, other| one < other));
            for at in want.clone() {
                let there = places.iter().any(|place| place.contains(&at));
                prop_assert_eq!(held.contains(&at), there);
                if !there {
                    prop_assert!(found.missing.as_ref().is_some_and(|missing| missing.contains(&at)));
                }
            }
            if let Some(missing) = found.missing {
                prop_assert!(contains(&want, &missing));
                let there = |at| places.iter().any(|place: &Range<u64>| place.contains(&at));
                prop_assert!(!there(missing.start) && !there(missing.end - 1));
            }
        }
    }
}
