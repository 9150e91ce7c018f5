//! Asking the origin whether a stored response still holds, and merging its 304 (RFC 9111 4.3).

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue};

use super::store::{Storable, decide, stored_headers};
use super::{Directed, RequestPolicy, ResponseHead, Rules, SkipReason};
use crate::cache::entry::EntryHead;
use crate::http::date;
use crate::http::etag::ETag;

/// Tags of more variants than fit are left out; those that come first matter most.
const MAX_TAG_BYTES: usize = 4096;

/// Another stored response of the same key than the one to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Other<'e> {
    /// The response.
    pub head: &'e EntryHead,
    /// Its request fields match, so that it could have been chosen for the request too (RFC 9111 4.1).
    pub suits: bool,
}

/// Sets the conditional fields that validate what is stored on a request, in place of the client's own conditions and
/// range (RFC 9111 4.3.1): a 200 is to replace the entry whole. `chosen` is the entry to be sent, if there is one; the
/// tags of `others` tell the origin what else need not be sent again. Of those that other requests asked for only strong
/// ones do: a weak tag may also be that of the same thing in a coding which this client does not take.
/// Returns false if nothing has a validator; the request is then left as it is.
pub fn validation_fields<'e>(
    chosen: Option<&'e EntryHead>,
    others: impl IntoIterator<Item = Other<'e>>,
    request: &mut HeaderMap,
) -> bool {
    let mut tags = Tags::default();
    let own = chosen.is_some_and(|chosen| tags.add(chosen));
    let modified = chosen.and_then(|chosen| chosen.headers.get(LAST_MODIFIED));
    // A tag hides the date, by which alone such an entry can be validated (RFC 9110 13.1.3).
    if own || modified.is_none() {
        for other in others {
            if other.suits || ETag::of(&other.head.headers).is_some_and(|tag| !tag.weak) {
                tags.add(other.head);
            }
        }
    }
    // With several nominated one date would speak for the wrong ones (4.3.1).
    let modified = modified.filter(|_| tags.seen.len() <= 1);
    let tags = HeaderValue::from_bytes(&tags.list).ok().filter(|tags| !tags.is_empty());
    if tags.is_none() && modified.is_none() {
        return false;
    }
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE] {
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

/// The list of tags for `If-None-Match`.
#[derive(Default)]
struct Tags<'e> {
    list: Vec<u8>,
    seen: Vec<&'e [u8]>,
}

impl<'e> Tags<'e> {
    /// Adds an entry's tag, if it has one and there is room; says whether it stands in the list.
    fn add(&mut self, entry: &'e EntryHead) -> bool {
        let value = entry.headers.get(ETAG).map(|value| value.as_bytes().trim_ascii());
        let Some(value) = value.filter(|value| ETag::parse(value).is_some()) else { return false };
        if self.seen.contains(&value) {
            return true;
        }
        if !self.list.is_empty() && self.list.len() + value.len() > MAX_TAG_BYTES {
            return false;
        }
        if !self.list.is_empty() {
            self.list.extend_from_slice(b", ");
        }
        self.list.extend_from_slice(value);
        self.seen.push(value);
        true
    }
}

/// Which of the entries that could have been chosen for a request its 304 freshens, by position (RFC 9111 4.3.4): all with
/// the same strong validator, else the newest with the same weak one. A 304 without any freshens the only entry that was
/// asked about, if it is `alone`: there are no others.
pub fn select_freshened(candidates: &[&EntryHead], not_modified: &HeaderMap, alone: bool) -> Vec<usize> {
    let all = |holds: &dyn Fn(&EntryHead) -> bool| -> Vec<usize> {
        (0..candidates.len()).filter(|&at| holds(candidates[at])).collect()
    };
    let modified = not_modified.get(LAST_MODIFIED);
    let same_date = |entry: &EntryHead| modified.is_some() && entry.headers.get(LAST_MODIFIED) == modified;
    match ETag::of(not_modified) {
        // An entry that has no tag to compare is known by its date, where that is a strong validator (RFC 9110 8.8.2.2).
        Some(tag) if !tag.weak => all(&|entry| match ETag::of(&entry.headers) {
            Some(stored) => stored.strong_eq(&tag),
            None => same_date(entry) && is_date_strong(entry),
        }),
        Some(tag) => newest(
            candidates,
            all(&|entry| match ETag::of(&entry.headers) {
                Some(stored) => stored.weak_eq(&tag),
                None => same_date(entry),
            }),
        ),
        None if modified.is_some() => newest(candidates, all(&same_date)),
        None if alone && candidates.len() == 1 => vec![0],
        None => Vec::new(),
    }
}

/// Which of the entries that other requests asked for a 304 names as the one for this request too: the newest with its
/// strong tag, which no two representations share (RFC 9110 8.8.1).
pub fn select_named(others: &[&EntryHead], not_modified: &HeaderMap) -> Option<usize> {
    let tag = ETag::of(not_modified).filter(|tag| !tag.weak)?;
    let has = |at: &usize| ETag::of(&others[*at].headers).is_some_and(|stored| stored.strong_eq(&tag));
    newest(others, (0..others.len()).filter(has).collect()).first().copied()
}

/// Whether `Last-Modified` is at least a second older than the response itself.
fn is_date_strong(entry: &EntryHead) -> bool {
    let modified = entry.headers.get(LAST_MODIFIED);
    let modified = modified.and_then(|value| date::parse(value.as_bytes(), entry.response_time));
    modified.is_some_and(|modified| modified < entry.date())
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
            | SkipReason::Unauthorized
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
        let suits = |head| Other { head, suits: true };
        let other = |head| Other { head, suits: false };
        assert!(validation_fields(Some(&one), [], &mut request));
        assert_eq!(request, map(&[("x", "y"), ("if-none-match", "\"a\""), ("if-modified-since", &date)]));
        let mut request = HeaderMap::new();
        assert!(validation_fields(Some(&one), [suits(&two), suits(&one)], &mut request));
        assert_eq!(request, map(&[("if-none-match", "\"a\", W/\"b\"")]));
        let mut request = map(&[("if-none-match", "\"mine\"")]);
        let bare = entry(&[]);
        assert!(!validation_fields(Some(&bare), [other(&two)], &mut request));
        assert_eq!(request, map(&[("if-none-match", "\"mine\"")]));
        let mut request = HeaderMap::new();
        assert!(validation_fields(None, [other(&two), other(&one)], &mut request));
        assert_eq!(request, map(&[("if-none-match", "\"a\"")]), "a weak tag of another variant may deceive");
        let dated = entry(&[("last-modified", &date)]);
        let mut request = HeaderMap::new();
        assert!(validation_fields(Some(&dated), [other(&one)], &mut request));
        assert_eq!(request, map(&[("if-modified-since", &date)]), "a tag would hide the date");
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
            assert_eq!(select_freshened(&candidates, &map(fields), true), expected, "{fields:?}");
        }
        let none = [0usize; 0];
        assert_eq!(select_freshened(&[&strong], &HeaderMap::new(), true), [0]);
        assert_eq!(select_freshened(&[&strong], &HeaderMap::new(), false), none);
        assert_eq!(select_freshened(&[&weak], &map(&[("etag", "\"a\"")]), true), none);
        assert_eq!(select_freshened(&[], &HeaderMap::new(), true), none);
        // An entry without a tag is known by its date, which must be strong where the 304 has a strong tag.
        let at = http_date(0);
        let dated = entry(&[("last-modified", &date), ("date", &at)]);
        let just_now = entry(&[("last-modified", &at), ("date", &at)]);
        let told = |modified: &str| map(&[("etag", "\"a\""), ("last-modified", modified)]);
        assert_eq!(select_freshened(&[&dated], &told(&date), true), [0]);
        assert_eq!(select_freshened(&[&just_now], &told(&at), true), none);
    }

    #[test]
    fn a_304_may_name_what_another_request_asked_for_by_a_strong_tag_only() {
        let (strong, weak) = (entry(&[("etag", "\"a\"")]), entry(&[("etag", "W/\"b\"")]));
        let named = |tag: &str| select_named(&[&strong, &weak], &map(&[("etag", tag)]));
        assert_eq!(
            (named("\"a\""), named("W/\"a\""), named("W/\"b\""), named("\"c\"")),
            (Some(0), None, None, None)
        );
        assert_eq!(select_named(&[&strong], &HeaderMap::new()), None);
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
