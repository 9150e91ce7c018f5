//! `Cache-Status` (RFC 9211): how this cache handled a request.

use std::cell::RefCell;
use std::fmt::Write as _;

use http::HeaderValue;

use super::decimal::Decimal;
use super::structured::{write_string, write_token_or_string};

/// The largest integer of Structured Fields.
const MAX_TTL: i64 = 999_999_999_999_999;

thread_local! {
    static TEXT: RefCell<String> = RefCell::new(String::with_capacity(256));
}

/// Why a request went forward (RFC 9211 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was configured not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing stored for the URI.
    UriMiss,
    /// Something stored for the URI, but no variant that matches.
    VaryMiss,
    /// Nothing stored; URI or variant not distinguished.
    Miss,
    /// A fresh response was stored, but the request's own directives forbade it.
    Request,
    /// A response was stored, but stale.
    Stale,
    /// A partial response was stored that does not hold all that is asked.
    Partial,
}

/// One member of `Cache-Status`: what this cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Answered from the store without going forward (exclusive with `forward`).
    pub hit: bool,
    /// Why it went forward.
    pub forward: Option<Forward>,
    /// The status of the origin's reply, where it is not the status sent.
    pub forward_status: Option<u16>,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
    /// Whether the reply was stored.
    pub stored: bool,
    /// Whether the request shared another's fetch.
    pub collapsed: bool,
    /// The cache key, where showing it was asked for.
    pub key: Option<&'a str>,
    /// A word of ours about why: a [`SkipReason`](crate::cache::policy::SkipReason) and the like.
    pub detail: Option<&'a str>,
}

impl Forward {
    /// The token of RFC 9211 2.2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

impl CacheStatus<'static> {
    /// As [`CacheStatus::to_value`], where much is said alike: what was said last is kept per thread.
    pub fn to_shared_value(&self, name: &str) -> HeaderValue {
        thread_local! {
            static LAST: RefCell<Option<(Box<str>, CacheStatus<'static>, HeaderValue)>> = const { RefCell::new(None) };
        }
        LAST.with_borrow_mut(|last| match last {
            Some((by, status, value)) if status == self && **by == *name => value.clone(),
            _ => {
                let value = self.to_value(name);
                *last = Some((name.into(), *self, value.clone()));
                value
            }
        })
    }
}

impl CacheStatus<'_> {
    /// The list member, `name` being this cache's name. It is to be appended: the caches nearer to the origin come first.
    pub fn to_value(&self, name: &str) -> HeaderValue {
        TEXT.with_borrow_mut(|text| {
            text.clear();
            self.write(name, text);
            // Built from tokens, digits and escaped printable ASCII.
            HeaderValue::from_bytes(text.as_bytes())
                .unwrap_or_else(|_| HeaderValue::from_static("proxy-stone"))
        })
    }

    fn write(&self, name: &str, out: &mut String) {
        write_token_or_string(out, name);
        if self.hit {
            out.push_str("; hit");
        } else if let Some(forward) = self.forward {
            out.push_str("; fwd=");
            out.push_str(forward.as_str());
        }
        if let Some(status) = self.forward_status {
            let _ = write!(out, "; fwd-status={status}");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(out, "; ttl={}", ttl.clamp(-MAX_TTL, MAX_TTL));
        }
        if self.stored {
            out.push_str("; stored");
        }
        if self.collapsed {
            out.push_str("; collapsed");
        }
        if let Some(key) = self.key {
            out.push_str("; key=");
            write_string(out, key);
        }
        if let Some(detail) = self.detail {
            out.push_str("; detail=");
            write_token_or_string(out, detail);
        }
    }
}

/// The member for a fresh reply from the store, as [`CacheStatus::to_value`] writes it.
pub fn write_hit(name: &str, ttl: i64, detail: Option<&str>, out: &mut Vec<u8>) {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write_token_or_string(text, name);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"; hit; ttl=");
        out.extend_from_slice(Decimal::of(ttl.clamp(0, MAX_TTL).unsigned_abs()).as_bytes());
        if let Some(detail) = detail {
            text.clear();
            write_token_or_string(text, detail);
            out.extend_from_slice(b"; detail=");
            out.extend_from_slice(text.as_bytes());
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::structured::List;

    fn value(status: CacheStatus<'_>, name: &str) -> String {
        let value = status.to_value(name);
        let text = value.to_str().unwrap().to_owned();
        assert!(List::parse(text.as_bytes()).is_some(), "{text}");
        text
    }

    #[test]
    fn the_examples_of_rfc_9211_4() {
        let none = CacheStatus::default();
        let hit = CacheStatus { hit: true, ttl: Some(376), ..none };
        assert_eq!(value(hit, "ExampleCache"), "ExampleCache; hit; ttl=376");
        let stale = CacheStatus { hit: true, ttl: Some(-412), ..none };
        assert_eq!(value(stale, "ExampleCache"), "ExampleCache; hit; ttl=-412");
        let missed = CacheStatus { forward: Some(Forward::UriMiss), stored: true, ..none };
        assert_eq!(value(missed, "ExampleCache"), "ExampleCache; fwd=uri-miss; stored");
        let validated =
            CacheStatus { forward: Some(Forward::Stale), forward_status: Some(304), collapsed: true, ..none };
        assert_eq!(value(validated, "ExampleCache"), "ExampleCache; fwd=stale; fwd-status=304; collapsed");
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_a_list_of_structured_fields(
            name in "\\PC{0,20}",
            key in proptest::option::of("\\PC{0,40}"),
            detail in proptest::option::of("\\PC{0,20}"),
            status in proptest::option::of(any::<u16>()),
            ttl in proptest::option::of(any::<i64>()),
            flags in any::<[bool; 4]>(),
        ) {
            let [hit, stored, collapsed, forward] = flags;
            let status = CacheStatus {
                hit,
                forward: forward.then_some(Forward::VaryMiss),
                forward_status: status,
                ttl,
                stored,
                collapsed,
                key: key.as_deref(),
                detail: detail.as_deref(),
            };
            let value = status.to_value(&name);
            let list = List::parse(value.as_bytes());
            prop_assert_eq!(list.map(|list| list.0.len()), Some(1), "{:?}", value);
        }
    }

    #[test]
    fn texts_are_tokens_or_escaped_strings() {
        let status =
            CacheStatus { key: Some("a\"b\u{e9}\n"), detail: Some("no-store"), ..CacheStatus::default() };
        assert_eq!(value(status, "my cache"), "\"my cache\"; key=\"a\\\"b??\"; detail=no-store");
        let far = CacheStatus { hit: true, ttl: Some(i64::MIN), ..CacheStatus::default() };
        assert_eq!(value(far, "c"), "c; hit; ttl=-999999999999999");
    }
}
