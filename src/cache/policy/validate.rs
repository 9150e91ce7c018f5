//! Asking the origin whether a stored response still holds, and merging its 304 (RFC 9111 4.3).

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue};

use super::store::{Storable, decide, stored_headers};
use super::{Directed, RequestPolicy, ResponseHead, Rules, SkipReason};
use crate::cache::entry::EntryHead;
use crate::http::date;
use crate::http::etag::ETag;

/// Tags of more variants than fit are left out; those that come first matter most.
const MAX_TAG_BYTES: usize = 4096;

/// Sets the conditional fields that validate `candidates` (the entry to be sent first, then other variants) on a
/// request, in place of the client's own conditions and range (RFC 9111 4.3.1): a 200 is to replace the entry whole.
/// Returns false if none has a validator; the request is then left as it is.
pub fn validation_fields<'e>(
    candidates: impl IntoIterator<Item = &'e EntryHead>,
    request: &mut HeaderMap,
) -> bool {
    let mut tags: Vec<u8> = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    let (mut count, mut modified) = (0, None);
    for candidate in candidates {
        count += 1;
        // With several candidates one date would speak for the wrong ones.
        modified = candidate.headers.get(LAST_MODIFIED).filter(|_| count == 1);
        let Some(value) = candidate.headers.get(ETAG).map(|value| value.as_bytes().trim_ascii()) else {
            continue;
        };
        let fits = tags.is_empty() || tags.len() + value.len() <= MAX_TAG_BYTES;
        if ETag::parse(value).is_some() && fits && !seen.contains(&value) {
            seen.push(value);
            if !tags.is_empty() {
                tags.extend_from_slice(b", ");
            }
            tags.extend_from_slice(value);
        }
    }
    let tags = HeaderValue::from_bytes(&tags).ok().filter(|tags| !tags.is_empty());
    if tags.is_none() && modified.is_none() {
        return false;
    }
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
    if let Some(tags) = tags {
        request.insert(IF_NONE_MATCH, tags);
    }
    if let Some(modified) = modified {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    true
}

/// Which of the validated entries a 304 freshens, by position (RFC 9111 4.3.4): all with the same strong tag, else the
/// newest with the same weak validator. A 304 without any validator freshens the only entry that was asked about.
/// None: the 304 says nothing of what is stored, and the origin must be asked without conditions.
pub fn select_freshened(candidates: &[&EntryHead], not_modified: &HeaderMap) -> Vec<usize> {
    let with_tag = |equal: fn(&ETag<'_>, &ETag<'_>) -> bool, tag: &ETag<'_>| -> Vec<usize> {
        let has = |entry: &&EntryHead| ETag::of(&entry.headers).is_some_and(|stored| equal(&stored, tag));
        (0..candidates.len()).filter(|&at| has(&candidates[at])).collect()
    };
    match (ETag::of(not_modified), not_modified.get(LAST_MODIFIED)) {
        (Some(tag), _) if !tag.weak => with_tag(|stored, tag| stored.strong_eq(tag), &tag),
        (Some(tag), _) => newest(candidates, with_tag(|stored, tag| stored.weak_eq(tag), &tag)),
        (None, Some(modified)) => {
            let same = |at: &usize| candidates[*at].headers.get(LAST_MODIFIED) == Some(modified);
            newest(candidates, (0..candidates.len()).filter(same).collect())
        }
        (None, None) if candidates.len() == 1 => vec![0],
        (None, None) => Vec::new(),
    }
}

fn newest(candidates: &[&EntryHead], matching: Vec<usize>) -> Vec<usize> {
    // Of equally new ones the first: it is the one to be sent.
    matching.into_iter().rev().max_by_key(|&at| candidates[at].response_time).into_iter().collect()
}

/// A stored response updated from a 304 or a HEAD's 200.
#[derive(Clone, Debug, PartialEq)]
pub struct Freshened {
    /// The updated head: it may answer the request that validated it, whatever becomes of the stored one. Where its `Vary`
    /// changed, its variant key must be made anew.
    pub head: EntryHead,
    /// What becomes of the stored one.
    pub upkeep: Upkeep,
}

/// What becomes of a stored response that was validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Its head is replaced by the updated one.
    Replace,
    /// It stays as it is: this request's answer may not be stored (its own `no-store`, credentials, cookies).
    Leave(SkipReason),
    /// It goes: the origin no longer allows it to be stored.
    Remove(SkipReason),
}

/// Updates a stored head from a 304, or from a 200 to HEAD (RFC 9111 3.2).
pub fn freshen(
    stored: &EntryHead,
    request: &RequestPolicy,
    update: &ResponseHead<'_>,
    rules: &Rules,
) -> Freshened {
    let headers = updated_headers(&stored.headers, update);
    let merged = ResponseHead { status: stored.status, headers: &headers, ..*update };
    let directed = Directed::of(&headers, rules);
    let upkeep = match decide(request, &merged, &directed, rules) {
        Storable::Store(_) => Upkeep::Replace,
        Storable::Skip(reason) => match reason {
            SkipReason::RequestNoStore
            | SkipReason::Authorization
            | SkipReason::Cookie
            | SkipReason::SetCookie
            | SkipReason::Partial => Upkeep::Leave(reason),
            reason => Upkeep::Remove(reason),
        },
    };
    let freshness = super::freshness::freshness(request, &merged, &directed, rules);
    let headers = stored_headers(&headers, &directed.directives.withheld);
    let head = EntryHead {
        status: stored.status,
        headers,
        request_time: update.request_time,
        response_time: update.response_time,
        freshness,
    };
    Freshened { head, upkeep }
}

/// Every field of the update replaces the stored one of its name, but those that are never stored, `Content-Length`, and
/// `Content-Range`, which speaks of one message. `Content-Type` and `Content-Encoding` are no exceptions: the body is
/// stored as it came (RFC 9111 3.2).
fn updated_headers(stored: &HeaderMap, update: &ResponseHead<'_>) -> HeaderMap {
    let mut headers = stored.clone();
    // The old message's age and date say nothing about the new one's.
    headers.remove(AGE);
    headers.insert(DATE, date::header_value(update.response_time));
    let fields = stored_headers(update.headers, &[]);
    for name in fields.keys().filter(|name| **name != CONTENT_LENGTH && **name != CONTENT_RANGE) {
        headers.remove(name);
        for value in fields.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// What a 200 to HEAD does to a stored GET (RFC 9111 4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// It describes the stored response: [`freshen`] it.
    Freshen,
    /// It does not: the stored response is to be considered stale.
    Invalidate,
}

/// What a 200 to HEAD does to a stored GET of `length` bytes, where that is known (RFC 9111 4.3.5): each validator and
/// the length that it has must be the stored ones.
pub fn head_update(stored: &EntryHead, length: Option<u64>, head: &HeaderMap) -> HeadUpdate {
    let same = |name| head.get(&name).is_none_or(|value| stored.headers.get(&name) == Some(value));
    let as_long = length
        .zip(head.get(CONTENT_LENGTH))
        .is_none_or(|(length, value)| value.to_str().is_ok_and(|text| text.trim().parse() == Ok(length)));
    if same(ETAG) && same(LAST_MODIFIED) && as_long { HeadUpdate::Freshen } else { HeadUpdate::Invalidate }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};

    use super::super::request::MethodKind;
    use super::super::tests::{NOW, entry, http_date, map};
    use super::*;

    const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);

    #[test]
    fn rfc_9111_4_3_1_every_tag_is_sent_and_a_date_only_for_one() {
        let date = http_date(-9);
        let one = entry(&[("etag", "\"a\""), ("last-modified", &date)]);
        let two = entry(&[("etag", "W/\"b\""), ("last-modified", &date)]);
        let mut request =
            map(&[("if-none-match", "\"mine\""), ("range", "bytes=0-1"), ("if-range", "\"x\""), ("x", "y")]);
        assert!(validation_fields([&one], &mut request));
        assert_eq!(request, map(&[("x", "y"), ("if-none-match", "\"a\""), ("if-modified-since", &date)]));
        let mut request = HeaderMap::new();
        assert!(validation_fields([&one, &two, &one], &mut request));
        assert_eq!(request, map(&[("if-none-match", "\"a\", W/\"b\"")]));
        let mut request = map(&[("if-none-match", "\"mine\"")]);
        assert!(!validation_fields([&entry(&[])], &mut request));
        assert_eq!(request, map(&[("if-none-match", "\"mine\"")]));
    }

    #[test]
    fn rfc_9111_4_3_4_which_entries_a_304_freshens() {
        let date = http_date(-9);
        let strong = entry(&[("etag", "\"a\""), ("last-modified", &date)]);
        let mut newer = entry(&[("etag", "\"a\"")]);
        newer.response_time = NOW.plus(Duration::from_secs(9));
        let weak = entry(&[("etag", "W/\"a\"")]);
        let bare = entry(&[]);
        let candidates = [&strong, &newer, &weak, &bare];
        for (fields, expected) in [
            (&[("etag", "\"a\"")][..], &[0, 1][..]),
            (&[("etag", "\"b\""), ("last-modified", date.as_str())], &[]),
            (&[("etag", "W/\"a\"")], &[1]),
            (&[("etag", "W/\"b\"")], &[]),
            (&[("last-modified", date.as_str())], &[0]),
            (&[("last-modified", "other")], &[]),
            (&[], &[]),
        ] {
            assert_eq!(select_freshened(&candidates, &map(fields)), expected, "{fields:?}");
        }
        assert_eq!(select_freshened(&[&strong], &HeaderMap::new()), [0]);
        assert_eq!(select_freshened(&[&weak], &map(&[("etag", "\"a\"")])), [0usize; 0]);
        assert_eq!(select_freshened(&[], &HeaderMap::new()), [0usize; 0]);
    }

    fn freshened(stored: &[(&str, &str)], update: &[(&str, &str)], request: RequestPolicy) -> Freshened {
        let headers = map(update);
        let at = NOW.plus(Duration::from_secs(100));
        let update = ResponseHead {
            status: StatusCode::NOT_MODIFIED,
            headers: &headers,
            request_time: at,
            response_time: at,
        };
        freshen(&entry(stored), &request, &update, &Rules::default())
    }

    #[test]
    fn rfc_9111_3_2_which_fields_are_updated() {
        let stored = [
            ("cache-control", "max-age=60"),
            ("age", "50"),
            ("content-length", "5"),
            ("content-type", "a/b"),
            ("content-encoding", "br"),
            ("x-kept", "1"),
            ("x-new", "1"),
            ("x-new", "2"),
        ];
        let update = [
            ("cache-control", "max-age=90"),
            ("content-length", "0"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "c/d"),
            ("content-encoding", "gzip"),
            ("connection", "x-kept"),
            ("x-kept", "2"),
            ("x-new", "3"),
            ("x-more", "4"),
        ];
        let Freshened { head, upkeep } = freshened(&stored, &update, GET);
        assert_eq!(upkeep, Upkeep::Replace);
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers[CACHE_CONTROL], "max-age=90");
        assert_eq!(head.headers[CONTENT_LENGTH], "5");
        assert_eq!(head.headers[CONTENT_TYPE], "c/d");
        assert_eq!(head.headers[CONTENT_ENCODING], "gzip");
        assert_eq!(head.headers["x-kept"], "1");
        assert!(head.headers.get_all("x-new").iter().eq(["3"]));
        assert_eq!(head.headers["x-more"], "4");
        assert_eq!(head.headers[DATE], http_date(100));
        for name in [AGE, CONTENT_RANGE, CONNECTION] {
            assert!(!head.headers.contains_key(&name), "{name}");
        }
        assert_eq!((head.freshness.initial_age, head.freshness.lifetime), (0, 90));
    }

    #[test]
    fn a_304_without_freshness_renews_the_stored_lifetime() {
        let head = freshened(&[("cache-control", "max-age=60"), ("date", &http_date(-500))], &[], GET).head;
        assert_eq!((head.freshness.initial_age, head.freshness.lifetime), (0, 60));
        let head = freshened(&[("cache-control", "max-age=60")], &[("age", "7")], GET).head;
        assert_eq!(head.freshness.initial_age, 7);
    }

    #[test]
    fn a_304_may_end_what_is_stored_or_leave_it() {
        let upkeep = |update: (&str, &str), request| {
            freshened(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], &[update], request).upkeep
        };
        let none = ("x", "y");
        assert_eq!(upkeep(none, GET), Upkeep::Replace);
        assert_eq!(upkeep(none, RequestPolicy::plain(MethodKind::Head)), Upkeep::Replace);
        assert_eq!(upkeep(("cache-control", "no-store"), GET), Upkeep::Remove(SkipReason::NoStore));
        assert_eq!(upkeep(("cache-control", "private"), GET), Upkeep::Remove(SkipReason::Private));
        assert_eq!(upkeep(("vary", "*"), GET), Upkeep::Remove(SkipReason::VaryStar));
        let no_store = RequestPolicy { no_store: true, ..GET };
        assert_eq!(upkeep(none, no_store), Upkeep::Leave(SkipReason::RequestNoStore));
        let authorized = RequestPolicy { authorization: true, ..GET };
        assert_eq!(upkeep(none, authorized), Upkeep::Leave(SkipReason::Authorization));
    }

    #[test]
    fn rfc_9111_4_3_5_head() {
        let stored = entry(&[("etag", "\"a\""), ("last-modified", "x")]);
        for (fields, expected) in [
            (&[][..], HeadUpdate::Freshen),
            (&[("etag", "\"a\""), ("last-modified", "x"), ("content-length", "5")], HeadUpdate::Freshen),
            (&[("etag", "\"b\"")], HeadUpdate::Invalidate),
            (&[("last-modified", "y")], HeadUpdate::Invalidate),
            (&[("content-length", "6")], HeadUpdate::Invalidate),
            (&[("content-length", "x")], HeadUpdate::Invalidate),
        ] {
            assert_eq!(head_update(&stored, Some(5), &map(fields)), expected, "{fields:?}");
        }
        assert_eq!(head_update(&entry(&[]), Some(5), &map(&[("etag", "\"a\"")])), HeadUpdate::Invalidate);
    }
}
