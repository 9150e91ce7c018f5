//! `Via` (RFC 9110 7.6.3): who passed a message on.

use std::cell::RefCell;

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// How often a request may name us before it counts as one that goes in a circle. Not one: instances behind each
/// other often go by the same name.
const PASSES: usize = 4;

/// Adds this proxy after those before it. `version` is that of the message as we received it; a `name` that is no
/// pseudonym adds nothing.
pub fn append(headers: &mut HeaderMap, version: Version, name: &str) {
    if let Some(value) = member(version, name) {
        headers.append(VIA, value);
    }
}

/// What [`append`] adds.
pub fn member(version: Version, name: &str) -> Option<HeaderValue> {
    let protocol = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    kept(protocol, name)
}

/// Our member of the list; those that were made last are kept per thread, since there are few.
fn kept(protocol: &'static str, name: &str) -> Option<HeaderValue> {
    const KEPT: usize = 4;
    thread_local! {
        static LAST: RefCell<Vec<(&'static str, Box<str>, HeaderValue)>> = const { RefCell::new(Vec::new()) };
    }
    LAST.with_borrow_mut(|last| {
        if let Some((.., value)) = last.iter().find(|(of, by, _)| *of == protocol && **by == *name) {
            return Some(value.clone());
        }
        let value = HeaderValue::try_from(format!("{protocol} {name}")).ok()?;
        last.truncate(KEPT - 1);
        last.insert(0, (protocol, name.into(), value.clone()));
        Some(value)
    })
}

/// Whether the request has come by so often that it must be going in a circle.
pub fn loops(headers: &HeaderMap, name: &str) -> bool {
    headers.contains_key(VIA) && passes(headers, name) >= PASSES
}

/// How often `Via` names this proxy.
fn passes(headers: &HeaderMap, name: &str) -> usize {
    let lines = headers.get_all(VIA).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(members).filter(|member| received_by(member) == Some(name)).count()
}

/// The members of the list; a comma within a comment separates nothing.
fn members(line: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut escaped) = (0usize, false);
    line.split(move |char| {
        match char {
            _ if escaped => escaped = false,
            '\\' if depth > 0 => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' => return depth == 0,
            _ => {}
        }
        false
    })
}

/// `1.1 NAME (comment)`
fn received_by(member: &str) -> Option<&str> {
    member.split_ascii_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    #[test]
    fn we_come_after_those_before_us() {
        let mut given = headers(&["via: 1.0 fred"]);
        append(&mut given, Version::HTTP_11, "proxy-stone");
        append(&mut given, Version::HTTP_2, "edge");
        append(&mut given, Version::HTTP_11, "two\nlines");
        assert_eq!(lines(&given), ["via: 1.0 fred", "via: 1.1 proxy-stone", "via: 2 edge"]);
    }

    #[test]
    fn a_circle_is_noticed() {
        for (given, count) in [
            (&[][..], 0),
            (&["via: 1.1 us"], 1),
            (&["via: 1.1 us, 1.0 other (us), HTTP/1.1  us\t(a, \\), 1.1 us)"], 2),
            (&["via: 1.1 us (a", "via: 1.1 us", "via: us 1.1, 1.1 us-too, ,"], 2),
        ] {
            assert_eq!(passes(&headers(given), "us"), count, "{given:?}");
        }
        assert!(!loops(&headers(&["via: 1.1 us, 1.1 us, 1.1 us"]), "us"));
        assert!(loops(&headers(&["via: 1.1 us, 1.1 us, 1.1 us", "via: 1.1 us"]), "us"));
    }
}
