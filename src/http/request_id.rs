//! `X-Request-Id`: a name for one exchange that client, log and upstream share.

use http::{HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

use super::written::written;
use crate::clock::Timestamp;
use crate::telemetry::event::RequestId;

/// The field's name.
pub static NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of an id that was made here.
pub const LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;

/// The longest id that is taken over, in characters.
const MAX_LENGTH: usize = 128;

/// A UUIDv7 (RFC 9562 5.7) of this time. Its random part keeps ids apart and is no secret, so it comes from the
/// thread's own generator rather than from a system call or behind a lock.
pub fn new_id(now: Timestamp) -> Uuid {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    Builder::from_unix_timestamp_millis(now.millis(), &random).into_uuid()
}

/// The id that a field gives, if it is fit for logs and headers: 1 to 128 visible ASCII characters.
pub fn valid(given: &HeaderValue) -> Option<&str> {
    let fits = (1..=MAX_LENGTH).contains(&given.len()) && given.as_bytes().iter().all(u8::is_ascii_graphic);
    given.to_str().ok().filter(|_| fits)
}

/// An id as it is written; `buffer` is for those that were made here.
pub fn text<'a>(id: &'a RequestId, buffer: &'a mut [u8; LENGTH]) -> &'a str {
    match id {
        RequestId::Own(uuid) => uuid.hyphenated().encode_lower(buffer),
        RequestId::Given(id) => id,
    }
}

/// An id as field value.
pub fn to_value(id: &RequestId) -> HeaderValue {
    let text = written(|out| out.extend_from_slice(text(id, &mut [0; LENGTH]).as_bytes()));
    // Digits, hyphens, or what `valid` let through.
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_tell_their_time() {
        let now = Timestamp::from_millis(1_700_000_000_123);
        let id = new_id(now);
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(id.get_timestamp().map(|time| time.to_unix()), Some((1_700_000_000, 123_000_000)));
        assert_ne!(id, new_id(now));
        assert_eq!(to_value(&RequestId::Own(id)), id.to_string());
    }

    #[test]
    fn only_fit_ids_are_taken_over() {
        let long = "a".repeat(129);
        for (given, fit) in [
            ("a", true),
            ("req-1/2:3", true),
            (&long[..128], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a\tb", false),
        ] {
            let value = HeaderValue::from_str(given).unwrap();
            assert_eq!(valid(&value), fit.then_some(given), "{given}");
        }
        assert_eq!(valid(&HeaderValue::from_bytes(b"\xff").unwrap()), None);
        assert_eq!(to_value(&RequestId::Given("abc".into())), "abc");
    }
}
