//! Whether a request may have been made by somebody who reads the length of its reply (BREACH): a page of another site that
//! has the client's browser send its credentials, with guesses in the query that the reply repeats beside a secret.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, REFERER};
use http::{HeaderMap, HeaderValue};

/// Browsers say with it where a request comes from, and pages cannot change it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the request has credentials, and nothing that says that it comes from the site itself. `Referer` counts only where
/// browsers say nothing better: a page can keep it from being sent, but not make one up.
/// `known`: it has credentials elsewhere.
pub(super) fn is_doubtful(headers: &HeaderMap, authority: &str, known: bool) -> bool {
    if !known && !headers.contains_key(COOKIE) && !headers.contains_key(AUTHORIZATION) {
        return false;
    }
    match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        // "none": the user's own doing, such as a bookmark.
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => !is_own_referer(headers, authority),
    }
}

fn is_own_referer(headers: &HeaderMap, authority: &str) -> bool {
    let Some(referer) = headers.get(REFERER).and_then(|value| value.to_str().ok()) else { return false };
    let Some((scheme, rest)) = referer.split_once("://") else { return false };
    if !matches!(scheme, "http" | "https") {
        return false;
    }
    let named = rest.split(['/', '?', '#']).next().unwrap_or_default();
    named.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn credentials_from_elsewhere_are_doubtful() {
        for (given, expected) in [
            (&[][..], false),
            (&["sec-fetch-site: cross-site"], false),
            (&["cookie: s=1"], true),
            (&["authorization: Bearer x"], true),
            (&["cookie: s=1", "sec-fetch-site: same-origin"], false),
            (&["cookie: s=1", "sec-fetch-site: none"], false),
            (&["cookie: s=1", "sec-fetch-site: same-site"], true),
            (&["cookie: s=1", "sec-fetch-site: cross-site", "referer: https://a.example/"], true),
            (&["cookie: s=1", "referer: https://a.example/page?q"], false),
            (&["cookie: s=1", "referer: https://a.example:8443"], true),
            (&["cookie: s=1", "referer: https://a.example.evil/"], true),
            (&["cookie: s=1", "referer: https://evil/?://a.example/"], true),
            (&["cookie: s=1", "referer: a.example"], true),
        ] {
            assert_eq!(is_doubtful(&headers(given), "a.example", false), expected, "{given:?}");
        }
        // Of passwords that were taken out, and of certificates, the fields say nothing.
        for (given, expected) in [
            (&[][..], true),
            (&["sec-fetch-site: cross-site"], true),
            (&["sec-fetch-site: same-origin"], false),
        ] {
            assert_eq!(is_doubtful(&headers(given), "a.example", true), expected, "{given:?}");
        }
    }
}
