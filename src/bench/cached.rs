//! What the cache nearest to us says of a reply (`Cache-Status`, RFC 9211).
//!
//! Read leniently and without allocating, since it is read for every reply: the last member counts (2: caches nearer to the
//! client come last), and of that whether it has `hit`, `collapsed`, or which `fwd`.

use http::HeaderMap;
use serde::Serialize;

/// How a cache came to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// From what it had stored.
    Hit,
    /// By another request's fetch.
    Collapsed,
    /// It had to ask.
    Miss,
    /// It was not to answer this one: `fwd=bypass`, `fwd=method`.
    Pass,
}

/// Replies by what their cache said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheCounts {
    /// From what it had stored.
    pub hit: u64,
    /// By another request's fetch.
    pub collapsed: u64,
    /// It had to ask.
    pub miss: u64,
    /// It was not to answer.
    pub pass: u64,
}

impl CacheCounts {
    pub(super) fn count(&mut self, cached: Cached) {
        *match cached {
            Cached::Hit => &mut self.hit,
            Cached::Collapsed => &mut self.collapsed,
            Cached::Miss => &mut self.miss,
            Cached::Pass => &mut self.pass,
        } += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.hit += other.hit;
        self.collapsed += other.collapsed;
        self.miss += other.miss;
        self.pass += other.pass;
    }

    /// Replies that said something.
    pub fn all(&self) -> u64 {
        self.hit + self.collapsed + self.miss + self.pass
    }
}

/// What a reply says of it; `None` where it says nothing.
pub(super) fn of(headers: &HeaderMap) -> Option<Cached> {
    let line = headers.get_all("cache-status").iter().next_back()?;
    let member = pieces(line.as_bytes(), b',').last()?;
    let mut forward = None;
    let mut collapsed = false;
    for parameter in pieces(member, b';').skip(1) {
        match parameter {
            b"hit" | b"hit=?1" => return Some(Cached::Hit),
            b"collapsed" | b"collapsed=?1" => collapsed = true,
            b"fwd=bypass" | b"fwd=method" => forward = Some(Cached::Pass),
            _ if parameter.starts_with(b"fwd=") => forward = Some(Cached::Miss),
            _ => {}
        }
    }
    if collapsed { Some(Cached::Collapsed) } else { forward }
}

/// The pieces between separators that do not stand within quotes.
fn pieces(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        if escaped {
            escaped = false;
        } else {
            match byte {
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                byte if *byte == separator && !quoted => return true,
                _ => {}
            }
        }
        false
    })
    .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::http::cache_status::{CacheStatus, Forward};

    fn of_lines(lines: &[&str]) -> Option<Cached> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("cache-status", HeaderValue::from_str(line).unwrap());
        }
        of(&headers)
    }

    #[test]
    fn the_last_member_counts() {
        for (lines, cached) in [
            (&[][..], None),
            (&["proxy-stone; hit; ttl=5"], Some(Cached::Hit)),
            (&["proxy-stone;hit"], Some(Cached::Hit)),
            (&["proxy-stone; fwd=uri-miss; stored"], Some(Cached::Miss)),
            (&["proxy-stone; fwd=stale; fwd-status=304; collapsed"], Some(Cached::Collapsed)),
            (&["proxy-stone; fwd=bypass; detail=method"], Some(Cached::Pass)),
            (&["origin; hit, proxy-stone; fwd=miss"], Some(Cached::Miss)),
            (&["origin; fwd=miss", "\"a, b; fwd=miss\"; hit"], Some(Cached::Hit)),
            (&["a; key=\"x; hit\\\", b; hit\"; fwd=method"], Some(Cached::Pass)),
            (&["a; detail=hit"], None),
            (&["\"open; hit"], None),
        ] {
            assert_eq!(of_lines(lines), cached, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn what_this_proxy_writes_is_read_as_it_was_meant(
            name in "\\PC{0,20}", key in proptest::option::of("\\PC{0,40}"), hit in any::<bool>(), pass in any::<bool>(),
        ) {
            let forward = (!hit).then_some(if pass { Forward::Bypass } else { Forward::UriMiss });
            let status = CacheStatus { hit, forward, key: key.as_deref(), ..CacheStatus::default() };
            let mut headers = HeaderMap::new();
            headers.append("cache-status", HeaderValue::from_static("other; fwd=miss, odd"));
            headers.append("cache-status", status.to_value(&name));
            let expected = if hit { Cached::Hit } else if pass { Cached::Pass } else { Cached::Miss };
            prop_assert_eq!(of(&headers), Some(expected));
        }
    }
}
