//! A stored response.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::key::{FieldHash, StoredKey};
use crate::clock::Timestamp;
use crate::http::date;

/// A stored response without its body: what the policy reads.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryHead {
    /// The status that the origin sent.
    pub status: StatusCode,
    /// The fields that may be stored (hop-by-hop and the like are gone), values exact.
    pub headers: HeaderMap,
    /// When the request that brought the response began (RFC 9111 4.2.3 `request_time`).
    pub request_time: Timestamp,
    /// When its head arrived (RFC 9111 4.2.3 `response_time`).
    pub response_time: Timestamp,
    /// Freshness, computed once when the response was stored or validated.
    pub freshness: Freshness,
}

/// How long a stored response may be used, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Age in seconds when the head arrived (RFC 9111 4.2.3 `corrected_initial_age`).
    pub initial_age: u64,
    /// Seconds from age zero for which the response is fresh (RFC 9111 4.2.1).
    pub lifetime: u64,
    /// Who gave the lifetime.
    pub source: Source,
    /// Seconds past freshness in which it may be served while it is refreshed (RFC 5861 3).
    pub stale_while_revalidate: u64,
    /// Seconds past freshness in which it may be served when the origin fails (RFC 5861 4); `None`: nobody said,
    /// so that only RFC 9111 4.2.4 (disconnected) allows it.
    pub stale_if_error: Option<u64>,
    /// Serving it stale is forbidden: must-revalidate, proxy-revalidate, s-maxage (RFC 9111 4.2.4).
    pub must_revalidate: bool,
    /// Every reuse needs validation: `no-cache` without field names (RFC 9111 5.2.2.4).
    pub no_cache: bool,
}

/// Where a lifetime came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// A targeted field such as `CDN-Cache-Control` (RFC 9213).
    Targeted = 0,
    /// `Cache-Control: s-maxage`.
    SMaxage = 1,
    /// `Cache-Control: max-age`.
    MaxAge = 2,
    /// `Expires`.
    Expires = 3,
    /// The route's policy.
    Policy = 4,
    /// A tenth of the time since `Last-Modified` (RFC 9111 4.2.2).
    Heuristic = 5,
    /// Nobody: stored only to be validated.
    None = 6,
    /// The route's `override_ttl`, beyond what the origin said.
    Override = 7,
    /// The route's `min_ttl`, beyond what the origin (or a guess) said.
    Floor = 8,
    /// The origin's own, shortened by the route's `max_ttl` or `override_ttl`.
    Cap = 9,
}

impl Source {
    /// Whether the origin itself said so (or more than that), as against a policy or a guess.
    pub const fn is_explicit(self) -> bool {
        matches!(self, Self::Targeted | Self::SMaxage | Self::MaxAge | Self::Expires | Self::Cap)
    }

    /// Whether the route asked for it.
    pub const fn is_configured(self) -> bool {
        matches!(self, Self::Policy | Self::Override | Self::Floor)
    }

    /// The word for logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Targeted => "targeted",
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::Policy => "policy",
            Self::Heuristic => "heuristic",
            Self::None => "none",
            Self::Override => "override",
            Self::Floor => "min-ttl",
            Self::Cap => "max-ttl",
        }
    }

    /// What `Cache-Status` says of a fresh reply whose origin would call it stale.
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::Override => Some("override-ttl"),
            Self::Floor => Some("min-ttl"),
            _ => None,
        }
    }

    /// From its number in a stored record.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Targeted,
            1 => Self::SMaxage,
            2 => Self::MaxAge,
            3 => Self::Expires,
            4 => Self::Policy,
            5 => Self::Heuristic,
            6 => Self::None,
            7 => Self::Override,
            8 => Self::Floor,
            9 => Self::Cap,
            _ => return None,
        })
    }
}

impl EntryHead {
    /// The response's age at `now`, in seconds (RFC 9111 4.2.3 `current_age`).
    pub fn age(&self, now: Timestamp) -> u64 {
        self.freshness.initial_age.saturating_add(now.since(self.response_time).as_secs())
    }

    /// When it was sent: its `Date`, or when it came if that cannot be read (RFC 9111 4: the newest is the one to use).
    pub fn date(&self) -> Timestamp {
        let date = self.headers.get(http::header::DATE);
        date.and_then(|value| date::parse(value.as_bytes(), self.response_time)).unwrap_or(self.response_time)
    }

    /// The same head in memory of its own, and no more of it than needed. Field values come as slices of the
    /// connection's read buffer: kept as they are, each entry would hold on to kilobytes that belong to nothing any
    /// more. A map that has grown is up to half empty: a copy has just its size.
    pub fn into_own(mut self) -> Self {
        let length = self.headers.values().map(|value| value.len()).sum();
        let mut all = BytesMut::with_capacity(length);
        for value in self.headers.values() {
            all.extend_from_slice(value.as_bytes());
        }
        let mut all = all.freeze();
        for value in self.headers.values_mut() {
            let own = all.split_to(value.len());
            // What was a value stays one.
            if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
                own.set_sensitive(value.is_sensitive());
                *value = own;
            }
        }
        self.headers = self.headers.clone();
        self
    }

    /// Until when it is fresh.
    pub fn fresh_until(&self) -> Timestamp {
        let left = self.freshness.lifetime.saturating_sub(self.freshness.initial_age);
        Timestamp::from_millis(self.response_time.millis().saturating_add(left.saturating_mul(1000)))
    }
}

/// The request fields that a response varies on, as the request that stored it had them (RFC 9111 4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VaryKey {
    /// Lower-case field name and the keyed hash of its normalised value; `None` where the field was absent.
    /// Sorted by name, each name once.
    pub fields: Vec<(Box<str>, Option<FieldHash>)>,
}

/// A stored response: key, head and where the body is.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it answers.
    pub key: StoredKey,
    /// Which of the key's variants it is.
    pub vary: VaryKey,
    /// Status, fields and freshness.
    pub head: EntryHead,
    /// Its body.
    pub body: BodyRef,
    /// The file that has the same body, where RAM holds one that is too large for a record.
    pub on_disk: Option<Box<FileBody>>,
    /// Which part of the representation the body is; `None`: all of it.
    pub part: Option<Part>,
    /// Trailer fields, kept apart from the head (RFC 9111 3.1).
    pub trailers: Option<Box<HeaderMap>>,
    /// Names by which it can be purged.
    pub tags: Vec<Box<str>>,
    /// The route that stored it.
    pub route: Box<str>,
    /// The purge sequence number that stood when its fetch began: rules with a higher one apply to it.
    pub sequence: u64,
    /// Until when it is worth keeping at all: past this it is neither fresh, nor of use for stale or validation.
    pub keep_until: Timestamp,
    /// Marked stale by a soft purge: fresh no more, but may be validated or served on error.
    pub soft_purged: bool,
}

/// Where a body stands that is but a part of its representation (RFC 9111 3.3). The head beside it is that of the 200 whose
/// part it is: without `Content-Range`, and without the part's own `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Offset of its first byte.
    pub first: u64,
    /// The length of the whole representation, where the origin said it.
    pub complete: Option<u64>,
}

impl Entry {
    /// Which bytes of the representation its body has.
    pub fn bytes(&self) -> Range<u64> {
        let first = self.part.map_or(0, |part| part.first);
        first..first.saturating_add(self.body.len())
    }

    /// The length of the whole representation, where it is known.
    pub fn complete(&self) -> Option<u64> {
        self.part.map_or(Some(self.body.len()), |part| part.complete)
    }
}

/// Where a body is.
#[derive(Clone, Debug)]
pub enum BodyRef {
    /// In RAM (and, if small, inside the record on disk).
    Bytes(Bytes),
    /// In a file of the store's body directory.
    File(FileBody),
}

/// A body in a content-addressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBody {
    /// BLAKE3 of the whole body; also the file's name.
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub len: u64,
}

impl BodyRef {
    /// The body's length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.len,
        }
    }

    /// The file that it is in, if it is in one.
    pub const fn file(&self) -> Option<&FileBody> {
        match self {
            Self::Bytes(_) => None,
            Self::File(file) => Some(file),
        }
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_its_own_says_the_same_and_holds_no_foreign_buffer() {
        let buffer = Bytes::from(b"max-age=60 and much more that was read beside it".to_vec());
        let mut headers = HeaderMap::new();
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).expect("a value");
        headers.append("cache-control", value(0..10));
        headers.append("x-a", value(0..3));
        headers.append("x-a", value(11..14));
        let head = EntryHead {
            status: StatusCode::OK,
            headers: headers.clone(),
            request_time: Timestamp::default(),
            response_time: Timestamp::default(),
            freshness: Freshness {
                initial_age: 0,
                lifetime: 60,
                source: Source::MaxAge,
                stale_while_revalidate: 0,
                stale_if_error: None,
                must_revalidate: false,
                no_cache: false,
            },
        };
        let own = head.into_own();
        assert_eq!(own.headers, headers);
        drop(headers);
        assert!(buffer.is_unique(), "the buffer is held by nobody else");
    }
}
