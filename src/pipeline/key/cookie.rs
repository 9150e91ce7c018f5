//! Cookies of a request, one by one (RFC 6265 5.4).

use http::{HeaderMap, header};

use crate::cache::key::{FieldHash, Secret};

/// The keyed hash of all values of a cookie, in their order; `None` where the request has no such cookie.
pub(super) fn value(headers: &HeaderMap, name: &str, secret: &Secret) -> Option<FieldHash> {
    let mut values =
        cookies(headers).filter(|(own, _)| *own == name.as_bytes()).map(|(_, value)| value).peekable();
    values.peek()?;
    Some(secret.hash(values))
}

/// The value of a cookie that the request has just once.
pub(in crate::pipeline) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = cookies(headers).filter(|(own, _)| *own == name.as_bytes()).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// Whether there are cookies, and each has a name that holds.
pub(super) fn all(headers: &HeaderMap, holds: impl Fn(&str) -> bool) -> bool {
    headers.contains_key(header::COOKIE)
        && cookies(headers).all(|(name, _)| std::str::from_utf8(name).is_ok_and(&holds))
}

/// Names and values. What has no `=` is a value without a name.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
        match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()),
            None => (&pair[..0], pair),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::headers;

    #[test]
    fn a_cookie_s_value_counts_wherever_it_stands() {
        let secret = Secret::new([1; 32]);
        let value = |lines: &[&str]| value(&headers(lines), "id", &secret);
        let seven = value(&["cookie: id=7"]);
        assert!(seven.is_some());
        for same in
            [&["cookie: a=1; id=7; b=2"][..], &["cookie: a=1;id=7"], &["cookie: x=id=8", "cookie: id = 7"]]
        {
            assert_eq!(value(same), seven, "{same:?}");
        }
        for other in
            [&["cookie: id=8"][..], &["cookie: id=7; id=7"], &["cookie: id="], &["cookie: ID=7"], &[]]
        {
            assert_ne!(value(other), seven, "{other:?}");
        }
        assert_eq!(value(&["cookie: ID=7; idx=7; id"]), None);
        assert_ne!(value(&["cookie: id=1; id=2"]), value(&["cookie: id=2; id=1"]));
    }

    #[test]
    fn all_cookies_are_covered_only_if_each_is() {
        let covered = |line: &str| all(&headers(&[line]), |name| matches!(name, "id" | "lang"));
        assert!(covered("cookie: id=1") && covered("cookie: lang=de; id=2"));
        assert!(!covered("cookie: id=1; _ga=2") && !covered("cookie: id=1; x") && !covered("accept: */*"));
    }
}
