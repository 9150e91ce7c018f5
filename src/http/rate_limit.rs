//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10): how much a client may ask for, and how
//! much of it is left. Structured fields (RFC 9651), one member for each policy.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// How a client stands.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What holds for it.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `"name";q=100;w=60`: so many requests in so many seconds. A name that no String may hold makes an empty value.
pub fn policy(name: &str, quota: u32, window: Duration) -> HeaderValue {
    value(format!("\"{name}\";q={quota};w={}", seconds(window)))
}

/// `"name";r=5;t=30`: so many requests are left, and in so many seconds there are more.
pub fn standing(name: &str, remaining: u32, reset: Duration) -> HeaderValue {
    value(format!("\"{name}\";r={remaining};t={}", seconds(reset)))
}

/// Whole seconds, begun ones counted: who waits so long is not too early.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_strings_with_parameters() {
        assert_eq!(policy("api", 100, Duration::from_secs(60)), "\"api\";q=100;w=60");
        assert_eq!(standing("api", 5, Duration::from_millis(29_001)), "\"api\";r=5;t=30");
        assert_eq!(seconds(Duration::ZERO), 0);
    }
}
