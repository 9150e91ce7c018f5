//! Fields as lines of text, for tests.

use http::{HeaderMap, HeaderName, HeaderValue};

/// From lines such as `name: value`.
pub fn headers(lines: &[&str]) -> HeaderMap {
    let pairs = lines.iter().map(|line| line.split_once(": ").unwrap());
    pairs
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

/// As lines such as `name: value`.
pub fn lines(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}
