//! The client's own conditions and ranges, answered from a stored response (RFC 9111 4.3.2, RFC 9110 13, 14).

use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE, TRAILER,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::entry::EntryHead;
use crate::clock::Timestamp;
use crate::http::date;
use crate::http::etag::{Comparison, ETag, Matched, matched};
use crate::http::range::{self, ByteRange, Resolved};

/// How a usable stored response answers a request with conditions or ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The whole stored response.
    Full,
    /// 304 with [`not_modified_headers`].
    NotModified,
    /// 206 with these ranges, in the order asked for; several make a `multipart/byteranges`.
    Partial(Vec<ByteRange>),
    /// 416 with `Content-Range: bytes */LENGTH`.
    Unsatisfiable,
    /// `If-Match` or `If-Unmodified-Since` does not hold for what is stored: only the origin can say.
    Forward,
}

/// Applies the request's conditions and `Range` to a stored response with a body of `length` bytes, in the order of
/// RFC 9110 13.2.2. Only for requests that have such fields: see `RequestPolicy::conditional` and `range`.
pub fn answer(method: &Method, request: &HeaderMap, entry: &EntryHead, length: u64) -> Answer {
    // Conditions are about a success (RFC 9110 13.2.1); other stored replies are sent as they are.
    if !entry.status.is_success() {
        return Answer::Full;
    }
    if !origins_conditions_hold(request, entry) {
        return Answer::Forward;
    }
    if not_modified(request, entry) {
        return Answer::NotModified;
    }
    asked(method, request, entry, length)
}

/// What a request's `Range` asks for, its other conditions apart: the whole, ranges, or what is not there.
pub fn asked(method: &Method, request: &HeaderMap, entry: &EntryHead, length: u64) -> Answer {
    // Range is defined for GET alone (RFC 9110 14.2).
    if method == Method::GET && entry.status == StatusCode::OK {
        return ranges(request, entry, length);
    }
    Answer::Full
}

/// `If-Match`, else `If-Unmodified-Since` (RFC 9110 13.1.1, 13.1.4). They are meant for the origin (RFC 9111 4.3.2), but where
/// they hold for what is stored and fresh, there is nothing to ask it.
fn origins_conditions_hold(request: &HeaderMap, entry: &EntryHead) -> bool {
    if request.contains_key(IF_MATCH) {
        return matched(request, IF_MATCH, ETag::of(&entry.headers), Comparison::Strong) != Matched::None;
    }
    if request.contains_key(IF_UNMODIFIED_SINCE) {
        let since = date_field(request, &IF_UNMODIFIED_SINCE, entry.response_time);
        let modified = date_field(&entry.headers, &LAST_MODIFIED, entry.response_time);
        return modified.zip(since).is_some_and(|(modified, since)| modified <= since);
    }
    true
}

/// `If-None-Match`, else `If-Modified-Since` (RFC 9110 13.1.2, 13.1.3, RFC 9111 4.3.2).
fn not_modified(request: &HeaderMap, entry: &EntryHead) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        return matched(request, IF_NONE_MATCH, ETag::of(&entry.headers), Comparison::Weak) != Matched::None;
    }
    let mut lines = request.get_all(IF_MODIFIED_SINCE).iter();
    // What is no date, or several, is ignored (RFC 9110 13.1.3).
    let (Some(value), None) = (lines.next(), lines.next()) else { return false };
    let Some(since) = date::parse(value.as_bytes(), entry.response_time) else { return false };
    let stands_since = match entry.headers.get(LAST_MODIFIED) {
        Some(modified) => date::parse(modified.as_bytes(), entry.response_time),
        None => Some(date_field(&entry.headers, &DATE, entry.response_time).unwrap_or(entry.response_time)),
    };
    stands_since.is_some_and(|stands_since| stands_since <= since)
}

/// `Range`, if `If-Range` allows (RFC 9110 13.1.5, 14.2).
fn ranges(request: &HeaderMap, entry: &EntryHead, length: u64) -> Answer {
    let mut lines = request.get_all(RANGE).iter();
    let specs = match (lines.next(), lines.next()) {
        (Some(line), None) => range::parse(line.as_bytes()),
        _ => None,
    };
    let Some(specs) = specs else { return Answer::Full };
    if !if_range_holds(request, entry) {
        return Answer::Full;
    }
    match range::resolve(&specs, length) {
        Resolved::Ranges(ranges) => Answer::Partial(range::coalesced(ranges)),
        Resolved::Unsatisfiable => Answer::Unsatisfiable,
        Resolved::Whole => Answer::Full,
    }
}

/// A tag must be the stored one by strong comparison; a date must be `Last-Modified` exactly, and a strong validator:
/// at least a second older than the response itself (RFC 9110 13.1.5, 8.8.2.2).
fn if_range_holds(request: &HeaderMap, entry: &EntryHead) -> bool {
    let Some(value) = request.get(IF_RANGE) else { return true };
    if let Some(since) = date::parse(value.as_bytes(), entry.response_time) {
        let modified = date_field(&entry.headers, &LAST_MODIFIED, entry.response_time);
        let sent = date_field(&entry.headers, &DATE, entry.response_time);
        return modified == Some(since) && sent.is_some_and(|sent| since < sent);
    }
    let stored = ETag::of(&entry.headers);
    ETag::parse(value.as_bytes()).zip(stored).is_some_and(|(asked, stored)| asked.strong_eq(&stored))
}

fn date_field(headers: &HeaderMap, name: &HeaderName, near: Timestamp) -> Option<Timestamp> {
    date::parse(headers.get(name)?.as_bytes(), near)
}

/// The fields of a 304 made from a stored response (RFC 9110 15.4.5): all but those that describe the content, which the
/// client has. `Last-Modified` stays only where there is no tag to go by.
pub fn not_modified_headers(entry: &EntryHead) -> HeaderMap {
    const CONTENT: [HeaderName; 8] = [
        CONTENT_TYPE,
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_RANGE,
        CONTENT_DISPOSITION,
        ACCEPT_RANGES,
        TRAILER,
    ];
    const DIGESTS: [&str; 4] = ["content-md5", "content-digest", "repr-digest", "digest"];
    let mut headers = entry.headers.clone();
    for name in &CONTENT {
        headers.remove(name);
    }
    for name in DIGESTS {
        headers.remove(name);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::tests::{entry, entry_of, http_date, map};
    use super::*;

    fn get(request: &[(&str, &str)], stored: &EntryHead) -> Answer {
        answer(&Method::GET, &map(request), stored, 10)
    }

    #[test]
    fn rfc_9110_13_1_2_if_none_match() {
        let stored = entry(&[("etag", "W/\"a,b\""), ("last-modified", &http_date(-50))]);
        let later = http_date(0);
        for (request, expected) in [
            (&[("if-none-match", "\"a,b\"")][..], Answer::NotModified),
            (&[("if-none-match", "W/\"a,b\"")], Answer::NotModified),
            (&[("if-none-match", "\"x\", \"y\" ,\"a,b\"")], Answer::NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], Answer::NotModified),
            (&[("if-none-match", "*")], Answer::NotModified),
            (&[("if-none-match", "\"a\"")], Answer::Full),
            (&[("if-none-match", "\"a\""), ("if-modified-since", later.as_str())], Answer::Full),
            (&[("if-none-match", "junk"), ("if-modified-since", later.as_str())], Answer::Full),
        ] {
            assert_eq!(get(request, &stored), expected, "{request:?}");
        }
        assert_eq!(get(&[("if-none-match", "\"a\"")], &entry(&[])), Answer::Full);
        assert_eq!(get(&[("if-none-match", "*")], &entry(&[])), Answer::NotModified);
    }

    #[test]
    fn rfc_9111_4_3_2_if_modified_since() {
        let modified = http_date(-50);
        let stored = entry(&[("last-modified", modified.as_str())]);
        for (since, expected) in [
            (http_date(-50), Answer::NotModified),
            (http_date(-49), Answer::NotModified),
            (http_date(-51), Answer::Full),
            ("yesterday".to_owned(), Answer::Full),
        ] {
            assert_eq!(get(&[("if-modified-since", &since)], &stored), expected, "{since}");
        }
        // Without Last-Modified, Date counts.
        let dated = entry(&[("date", &http_date(-20))]);
        assert_eq!(get(&[("if-modified-since", &http_date(-20))], &dated), Answer::NotModified);
        assert_eq!(get(&[("if-modified-since", &http_date(-21))], &dated), Answer::Full);
        let odd = entry(&[("last-modified", "odd")]);
        assert_eq!(get(&[("if-modified-since", "odd")], &odd), Answer::Full);
        let twice = http_date(0);
        let twice = [("if-modified-since", twice.as_str()), ("if-modified-since", twice.as_str())];
        assert_eq!(get(&twice, &stored), Answer::Full, "several dates are none");
        for form in
            ["Friday, 15-Jan-27 08:00:00 GMT", "Fri Jan 15 08:00:00 2027", "fri, 15 jan 2027 08:00:00 gmt"]
        {
            assert_eq!(get(&[("if-modified-since", form)], &stored), Answer::NotModified, "{form}");
        }
        assert_eq!(get(&[("if-modified-since", &http_date(0))], &odd), Answer::Full);
    }

    #[test]
    fn rfc_9110_13_2_1_conditions_are_about_successes() {
        let missing = entry_of(404, &[("etag", "\"a\"")], &Rules::default());
        assert_eq!(get(&[("if-none-match", "\"a\""), ("range", "bytes=0-1")], &missing), Answer::Full);
        assert_eq!(get(&[("if-match", "\"b\"")], &missing), Answer::Full);
    }

    #[test]
    fn rfc_9110_13_1_1_conditions_of_the_origin() {
        let stored = entry(&[("etag", "\"a\""), ("last-modified", &http_date(-50))]);
        for (name, value, expected) in [
            ("if-match", "\"a\"", Answer::Full),
            ("if-match", "*", Answer::Full),
            ("if-match", "\"b\"", Answer::Forward),
            ("if-match", "W/\"a\"", Answer::Forward),
            ("if-unmodified-since", &http_date(-50), Answer::Full),
            ("if-unmodified-since", &http_date(-51), Answer::Forward),
            ("if-unmodified-since", "odd", Answer::Forward),
        ] {
            assert_eq!(get(&[(name, value)], &stored), expected, "{name}: {value}");
        }
        let both = [("if-match", "\"a\""), ("if-none-match", "\"a\"")];
        assert_eq!(get(&both, &stored), Answer::NotModified);
    }

    #[test]
    fn rfc_9110_14_2_ranges() {
        let stored = entry(&[("etag", "\"a\"")]);
        let some = |first, last| ByteRange { first, last };
        for (value, expected) in [
            ("bytes=0-3", Answer::Partial(vec![some(0, 3)])),
            ("bytes=-3", Answer::Partial(vec![some(7, 9)])),
            ("bytes=7-", Answer::Partial(vec![some(7, 9)])),
            ("bytes=8-9,0-1", Answer::Partial(vec![some(8, 9), some(0, 1)])),
            ("bytes=10-", Answer::Unsatisfiable),
            ("bytes=3-2", Answer::Full),
            ("lines=0-3", Answer::Full),
        ] {
            assert_eq!(get(&[("range", value)], &stored), expected, "{value}");
        }
        let range = map(&[("range", "bytes=0-3")]);
        assert_eq!(answer(&Method::HEAD, &range, &stored, 10), Answer::Full);
        assert_eq!(get(&[("range", "bytes=0-3"), ("if-none-match", "\"a\"")], &stored), Answer::NotModified);
        assert_eq!(get(&[("range", "bytes=0-3"), ("range", "bytes=0-3")], &stored), Answer::Full);
    }

    #[test]
    fn rfc_9110_13_1_5_if_range() {
        let modified = http_date(-50);
        let stored =
            entry(&[("etag", "\"a\""), ("last-modified", modified.as_str()), ("date", &http_date(0))]);
        let partial = |stored: &EntryHead, value: &str| {
            matches!(get(&[("range", "bytes=0-3"), ("if-range", value)], stored), Answer::Partial(_))
        };
        assert!(partial(&stored, "\"a\""));
        assert!(!partial(&stored, "\"b\""));
        assert!(!partial(&stored, "W/\"a\""));
        assert!(!partial(&stored, "*"));
        assert!(partial(&stored, &modified));
        assert!(!partial(&stored, &http_date(-49)));
        assert!(!partial(&entry(&[("etag", "W/\"a\"")]), "W/\"a\""));
        let just_now = entry(&[("last-modified", &http_date(0)), ("date", &http_date(0))]);
        assert!(!partial(&just_now, &http_date(0)), "within its second a date is a weak validator");
        assert_eq!(get(&[("if-range", "\"b\"")], &stored), Answer::Full, "without Range it means nothing");
    }

    #[test]
    fn rfc_9110_15_4_5_the_fields_of_a_304() {
        let fields = [
            ("cache-control", "max-age=1"),
            ("content-location", "/x"),
            ("date", "d"),
            ("etag", "\"a\""),
            ("expires", "0"),
            ("vary", "accept"),
            ("x-own", "1"),
        ];
        let described = [
            ("content-type", "a/b"),
            ("content-length", "1"),
            ("last-modified", "x"),
            ("content-encoding", "br"),
        ];
        let stored = entry(&[&fields[..], &described].concat());
        assert_eq!(not_modified_headers(&stored), map(&fields));
        let tagless = not_modified_headers(&entry(&[("last-modified", "x")]));
        assert!(tagless.contains_key(LAST_MODIFIED));
    }
}
