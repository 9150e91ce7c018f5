//! What becomes of a reply's content: a decision without I/O.

use http::header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Negotiated;
use super::settings::Compression;
use crate::coding::Change;
use crate::http::accept_encoding::{Choice, Coded, Coding};

/// What becomes of a reply's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing, whoever asks.
    Leave,
    /// Nothing, for this client.
    Vary,
    /// These changes, one after the other.
    Change(Vec<Change>),
}

/// Decides by the reply's head; `length` is that of its content, where that is known.
pub(super) fn decide(
    rules: &Compression,
    client: &Negotiated,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Decision {
    let kept = status.is_informational() || BODILESS.contains(&status) || is_untouchable(headers);
    if kept || length == Some(0) {
        return Decision::Leave;
    }
    let shrinks = is_of_type(rules, headers) && length.is_none_or(|length| length >= rules.min_size);
    let coded = Coded::of(headers);
    // The bytes of a range are those of the whole as the origin has it (RFC 9110 14.4).
    let part = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
    match coded {
        Coded::Otherwise => Decision::Leave,
        Coded::Plain if !shrinks => Decision::Leave,
        _ if part || client.no_transform => Decision::Vary,
        Coded::Plain => match client.choice {
            Choice::By(coding) => Decision::Change(vec![encode(rules, coding)]),
            Choice::Identity | Choice::Neither => Decision::Vary,
        },
        // Never twice: what the origin has coded goes on as it is to whoever takes that.
        Coded::By(coding) if client.accepted.takes(coding) => Decision::Vary,
        Coded::By(coding) => match client.choice {
            Choice::Identity => Decision::Change(vec![Change::Decode(coding, rules.max_decoded)]),
            Choice::By(other) if is_of_type(rules, headers) || !client.accepted.takes_identity() => {
                Decision::Change(vec![Change::Decode(coding, rules.max_decoded), encode(rules, other)])
            }
            Choice::By(_) => Decision::Change(vec![Change::Decode(coding, rules.max_decoded)]),
            Choice::Neither => Decision::Vary,
        },
    }
}

/// Statuses that have no content, or none of the representation (RFC 9110 6.4.1, 15.3.6).
const BODILESS: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

fn encode(rules: &Compression, coding: Coding) -> Change {
    Change::Encode(coding, rules.level(coding))
}

/// What nobody may change, or has frames of its own that are compressed one by one.
fn is_untouchable(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_grpc = media_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    is_grpc || forbids_change(headers)
}

/// `no-transform`, in a request or a reply (RFC 9111 5.2.1.6, 5.2.2.6).
pub(super) fn forbids_change(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

fn is_of_type(rules: &Compression, headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    given.is_some_and(|given| rules.types.iter().any(|pattern| pattern.takes(given)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Level;
    use crate::http::test_headers::headers;

    const JSON: &str = "content-type: application/json";

    fn decided(asked: &[&str], status: u16, reply: &[&str], length: Option<u64>) -> Decision {
        let mut head = http::Request::new(()).into_parts().0;
        head.headers = headers(asked);
        let rules = Compression { max_decoded: 7, ..Compression::default() };
        let client = Negotiated::of(&rules, &mut head, "a.example", false);
        decide(&rules, &client, StatusCode::from_u16(status).unwrap(), &headers(reply), length)
    }

    #[test]
    fn replies_are_coded_where_that_is_allowed_and_of_use() {
        use Decision::{Change as Made, Leave, Vary};
        let by = |coding| Made(vec![Change::Encode(coding, Level::usual(coding))]);
        let undone = |coding| Made(vec![Change::Decode(coding, 7)]);
        let gzip = &["accept-encoding: gzip"][..];
        let (big, coded) = (Some(5000), "content-encoding: gzip");
        for (asked, status, reply, length, expected) in [
            (gzip, 200, &[JSON][..], big, by(Coding::Gzip)),
            (gzip, 200, &[JSON], None, by(Coding::Gzip)),
            (gzip, 404, &[JSON], big, by(Coding::Gzip)),
            (gzip, 200, &[JSON], Some(1023), Leave),
            (gzip, 200, &[JSON], Some(0), Leave),
            (gzip, 200, &["content-type: image/png"], big, Leave),
            (gzip, 200, &[], big, Leave),
            (gzip, 204, &[JSON], None, Leave),
            (gzip, 206, &[JSON, "content-range: bytes 0-9/10"], big, Vary),
            (gzip, 200, &[JSON, "content-range: bytes 0-9/10"], big, Vary),
            (gzip, 416, &["content-range: bytes */10"], Some(0), Leave),
            (gzip, 200, &[JSON, "cache-control: max-age=1, No-Transform"], big, Leave),
            (&["accept-encoding: gzip", "cache-control: no-transform"], 200, &[JSON], big, Vary),
            (gzip, 200, &["content-type: application/grpc+proto"], big, Leave),
            (&[], 200, &[JSON], big, Vary),
            (&["accept-encoding: gzip;q=0"], 200, &[JSON], big, Vary),
            (&["accept-encoding: identity;q=0"], 200, &[JSON], big, Vary),
            // Coded by the origin.
            (gzip, 200, &[JSON, coded], big, Vary),
            (&["accept-encoding: br, gzip"], 200, &[JSON, coded], big, Vary),
            (&[], 200, &[JSON, coded], big, undone(Coding::Gzip)),
            (&[], 200, &["content-type: image/png", "content-encoding: br"], big, undone(Coding::Brotli)),
            (&[], 200, &[JSON, "content-encoding: gzip, gzip"], big, Leave),
            (&[], 200, &[JSON, "content-encoding: deflate"], big, Leave),
            (&[], 200, &[JSON, coded, "cache-control: no-transform"], big, Leave),
            (&["cache-control: no-transform"], 200, &[JSON, coded], big, Vary),
            (&[], 206, &[JSON, coded, "content-range: bytes 0-9/10"], big, Vary),
            (
                &["accept-encoding: br;q=0.5, identity;q=0"],
                200,
                &[JSON, coded],
                big,
                Made(vec![
                    Change::Decode(Coding::Gzip, 7),
                    Change::Encode(Coding::Brotli, Level::usual(Coding::Brotli)),
                ]),
            ),
            // Ranges are of what is stored.
            (&["accept-encoding: gzip", "range: bytes=0-1"], 200, &[JSON], big, Vary),
            (&["accept-encoding: gzip, *;q=0", "range: bytes=0-1"], 200, &[JSON], big, by(Coding::Gzip)),
        ] {
            assert_eq!(decided(asked, status, reply, length), expected, "{asked:?} {status} {reply:?}");
        }
    }

    #[test]
    fn a_request_is_brought_into_one_form() {
        for (given, expected) in [
            (&["accept-encoding: gzip, deflate, br"][..], &["accept-encoding: br"][..]),
            (&[], &["accept-encoding: identity"]),
            (&["accept-encoding: gzip", "accept-encoding: *;q=0"], &["accept-encoding: gzip"]),
            (&["accept-encoding: identity;q=0"], &["accept-encoding: identity;q=0"]),
            (
                &["accept-encoding: gzip", "range: bytes=0-"],
                &["accept-encoding: identity", "range: bytes=0-"],
            ),
            (&["accept-encoding: gzip, *;q=0", "range: bytes=0-"], &["accept-encoding: gzip"]),
            (
                &["if-none-match: W/\"a\", \"b\""],
                &["if-none-match: W/\"a\", \"b\"", "if-none-match: \"a\"", "accept-encoding: identity"],
            ),
            (&["if-match: W/\"a\""], &["if-match: W/\"a\"", "accept-encoding: identity"]),
        ] {
            let mut head = http::Request::new(()).into_parts().0;
            head.headers = headers(given);
            Negotiated::of(&Compression::default(), &mut head, "a.example", false);
            let mut lines = crate::http::test_headers::lines(&head.headers);
            let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            lines.sort();
            expected.sort();
            assert_eq!(lines, expected, "{given:?}");
        }
    }
}
