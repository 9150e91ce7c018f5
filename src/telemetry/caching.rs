//! What the cache found and did for an exchange, as it is told afterwards: for `cache explain --request`, for the
//! log, and for replaying the log under another config.
//!
//! What every exchange carries is `Copy`: a hit pays a few stores for it. Only a reply that came from the origin brings
//! fields along, and of those only what caching goes by. Values that may be secret are not among them.

use std::cell::{Cell, RefCell};

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, DATE, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName};

use crate::http::cache_status::{CacheStatus, Forward};

/// The longest value of a field that is kept, in bytes.
const MAX_VALUE: usize = 256;

/// What the cache found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// The digest of the key, where one was made.
    pub key: Option<[u8; 16]>,
    /// Why the request went to the origin.
    pub forward: Option<Forward>,
    /// The status of the origin's reply, where it is not the status sent.
    pub forward_status: Option<u16>,
    /// Whether the reply was stored.
    pub stored: bool,
    /// Why not, and the like: the word of `Cache-Status`.
    pub detail: Option<&'static str>,
    /// The stored response that the request asked for.
    pub found: Option<Found>,
    /// What the request said that caching goes by.
    pub asks: Asks,
}

/// The numbers of a stored response when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its age in seconds.
    pub age: u32,
    /// Its lifetime in seconds.
    pub lifetime: u32,
    /// Who gave the lifetime, in a word.
    pub source: &'static str,
}

/// What a request said that caching goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// It came over TLS, as far as is believed.
    pub secure: bool,
    /// It had `Cookie`.
    pub cookie: bool,
    /// It had `Authorization`.
    pub authorization: bool,
    /// It had `Range`.
    pub range: bool,
    /// It had a conditional field.
    pub conditional: bool,
    /// `no-cache`, or `max-age=0`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
}

/// The fields of a reply that caching goes by; of those that may be secret, or say nothing more, only that they were there.
/// Lines of `name:value`, in one piece: every request that goes to an origin leaves them in the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyFields(Box<str>);

impl Caching {
    /// Takes over what the reply says in `Cache-Status`.
    pub fn replied(&mut self, status: &CacheStatus<'static>) {
        self.forward = status.forward;
        self.forward_status = status.forward_status;
        self.stored = status.stored;
        self.detail = status.detail;
    }
}

impl Found {
    /// From what is counted in 64 bits; beyond 136 years it makes no difference.
    pub fn new(age: u64, lifetime: u64, source: &'static str) -> Self {
        let clamp = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self { age: clamp(age), lifetime: clamp(lifetime), source }
    }
}

impl Asks {
    /// The words for those that hold.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        [
            (self.cookie, "cookie"),
            (self.authorization, "authorization"),
            (self.range, "range"),
            (self.conditional, "conditional"),
            (self.no_cache, "no-cache"),
            (self.no_store, "no-store"),
            (self.only_if_cached, "only-if-cached"),
        ]
        .into_iter()
        .filter_map(|(holds, word)| holds.then_some(word))
    }
}

impl ReplyFields {
    /// Of a reply; `targets` are the route's targeted fields (RFC 9213).
    pub fn of(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        thread_local! {
            static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
        }
        TEXT.with_borrow_mut(|text| {
            text.clear();
            write(text, headers, targets);
            Self(text.as_str().into())
        })
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        lines(&self.0)
    }

    /// As it is written: see [`lines`].
    pub fn as_lines(&self) -> &str {
        &self.0
    }

    /// Reads that again.
    pub fn of_lines(text: &str) -> Self {
        Self(text.into())
    }
}

/// Name and value of each field in lines of `name:value`.
pub fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    // Neither a name nor a value has a line break in it.
    text.split('\n').filter_map(|line| line.split_once(':'))
}

/// Gathers those fields one by one.
#[derive(Debug)]
pub struct Gathering {
    text: String,
    /// The fields that were told, by their place in [`TOLD`].
    told: u16,
}

/// What [`Gathering`] tells, and knows again.
const TOLD: [&str; 10] = [
    "cache-control",
    "vary",
    "expires",
    "date",
    "age",
    "last-modified",
    "content-length",
    "pragma",
    "etag",
    "set-cookie",
];

thread_local! {
    static GATHERED: Cell<String> = const { Cell::new(String::new()) };
}

impl Gathering {
    /// Of the next reply.
    pub fn begin() -> Self {
        let mut text = GATHERED.take();
        text.clear();
        Self { text, told: 0 }
    }

    /// Those of a reply that said the same, of which [`as_lines`](Self::as_lines) told this.
    pub fn again(lines: &str) -> Self {
        let mut gathering = Self::begin();
        gathering.text.push_str(lines);
        gathering
    }

    /// A field whose value is told; `None` where it came before: all lines of a field are told as one.
    pub fn tell(&mut self, name: &'static str, value: &[u8]) -> Option<()> {
        let start = self.line(name)?;
        push(&mut self.text, value);
        cut(&mut self.text, start);
        Some(())
    }

    /// Whether it was told.
    pub fn has(&self, name: &'static str) -> bool {
        TOLD.iter().position(|known| *known == name).is_some_and(|place| self.told & (1 << place) != 0)
    }

    /// A field of which is told that it was there.
    pub fn name(&mut self, name: &'static str) {
        // Once says it.
        let _ = self.line(name);
    }

    /// All of them, in lines of `name:value`.
    pub fn as_lines(&self) -> &str {
        &self.text
    }

    /// Begins a line; `None` where it is there already.
    fn line(&mut self, name: &'static str) -> Option<usize> {
        let place = TOLD.iter().position(|known| *known == name)?;
        if self.told & (1 << place) != 0 {
            return None;
        }
        self.told |= 1 << place;
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(name);
        self.text.push(':');
        Some(self.text.len())
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        // A thread that ends has no use for it.
        let _ = GATHERED.try_with(|gathered| gathered.set(std::mem::take(&mut self.text)));
    }
}

fn write(text: &mut String, headers: &HeaderMap, targets: &[HeaderName]) {
    let (mut last, mut start): (Option<&HeaderName>, _) = (None, 0);
    for (name, value) in headers {
        let told = match *name {
            CACHE_CONTROL | VARY | EXPIRES | DATE | AGE | LAST_MODIFIED | CONTENT_LENGTH | PRAGMA => true,
            ETAG | SET_COOKIE => false,
            _ if targets.contains(name) => true,
            _ => continue,
        };
        // All lines of a field come one after the other, and are told as one.
        let again = last.is_some_and(|last| std::ptr::eq(last, name));
        if !again {
            if last.is_some() {
                text.push('\n');
            }
            text.push_str(name.as_str());
            text.push(':');
            (last, start) = (Some(name), text.len());
        }
        if told && text.len() - start < MAX_VALUE {
            if again {
                text.push_str(", ");
            }
            push(text, value.as_bytes());
            cut(text, start);
        }
    }
}

fn push(text: &mut String, value: &[u8]) {
    // As nearly all are; what is not is looked at closer.
    match std::str::from_utf8(value) {
        Ok(value) => text.push_str(value),
        Err(_) => text.push_str(&String::from_utf8_lossy(value)),
    }
}

/// Cuts a value that is too long.
fn cut(text: &mut String, start: usize) {
    if text.len() - start > MAX_VALUE {
        let end = (start..=start + MAX_VALUE).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_caching_goes_by_is_kept_and_nothing_secret() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "max-age=60"),
            ("cache-control", "public"),
            ("cdn-cache-control", "max-age=9"),
            ("set-cookie", "session=secret"),
            ("etag", "\"tag\""),
            ("x-other", "secret"),
            ("vary", &"x".repeat(1000)),
            ("vary", "y"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let targets = [HeaderName::from_static("cdn-cache-control")];
        let fields = ReplyFields::of(&headers, &targets);
        let shown = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        assert_eq!(shown("cache-control"), Some("max-age=60, public"));
        assert_eq!(shown("cdn-cache-control"), Some("max-age=9"));
        assert_eq!((shown("set-cookie"), shown("etag")), (Some(""), Some("")));
        assert_eq!(shown("vary").map(str::len), Some(MAX_VALUE));
        assert_eq!(fields.iter().count(), 5, "{fields:?}");
    }

    #[test]
    fn it_stays_small_and_free_to_copy() {
        assert!(size_of::<Caching>() <= 88, "{}", size_of::<Caching>());
    }
}
