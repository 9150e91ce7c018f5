//! Finished exchanges one behind the other: what each of them has in the same form, and their texts in one piece.
//!
//! An exchange that is written down so allocates nothing, and is forgotten with all the others. Events of their own cost
//! their thread a search for room, and another one to be freed when nothing of them was at hand any more.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::account::{Account, Id};
use super::caching::Caching;
use super::event::{CacheOutcome, End, Protocol, Series};
use crate::clock::Timestamp;
use crate::tls::Session;

/// Bytes of a target that ring and followers keep.
pub(super) const CLIP: usize = 2048;

/// Exchanges in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    events: Vec<Packed>,
    texts: String,
    seldom: Vec<Seldom>,
    /// Most of those that follow each other came over the same connection.
    sessions: Vec<Arc<Session>>,
    /// A text is longer than ring and followers keep.
    is_long: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// Nil where another is among what is seldom.
    id: Uuid,
    at: Timestamp,
    duration: Nanos,
    first_byte: Nanos,
    upstream_first_byte: Nanos,
    received: u64,
    sent: u64,
    caching: Caching,
    series: Series,
    attempts: u32,
    /// Where its texts begin, which stand one behind the other; those that it may have not say so by their length.
    texts: u32,
    method: u32,
    host: u32,
    target: u32,
    route: Length,
    upstream: Length,
    endpoint: Length,
    reply: Length,
    /// Its place among [`Batch::seldom`].
    seldom: Option<Place>,
    /// Its place among [`Batch::sessions`].
    session: Option<Place>,
    status: u16,
    client: IpAddr,
    protocol: Protocol,
    cache: CacheOutcome,
    end: End,
    lasting: bool,
}

/// What few exchanges have.
#[derive(Clone, Copy, Debug)]
struct Seldom {
    error: Option<&'static str>,
    /// Behind the texts that all have.
    id: Length,
    user: Length,
    limit: Length,
    limit_dry_run: Length,
}

/// Places are counted from one.
type Place = std::num::NonZeroU32;

/// The length of a text, where there is one.
#[derive(Clone, Copy, Debug)]
struct Length(u32);

/// A duration, where there is one: of up to five hundred years.
#[derive(Clone, Copy, Debug)]
struct Nanos(u64);

impl Length {
    fn of(text: Option<&str>) -> Self {
        Self(text.map_or(u32::MAX, length))
    }
}

impl Nanos {
    fn of(duration: Option<Duration>) -> Self {
        Self(duration.map_or(u64::MAX, |duration| {
            duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
        }))
    }

    fn get(self) -> Option<Duration> {
        (self.0 != u64::MAX).then(|| Duration::from_nanos(self.0))
    }
}

/// No batch holds more text than that.
fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX - 1)
}

/// Texts, as they are read again.
struct Texts<'a>(&'a str);

impl<'a> Texts<'a> {
    fn next(&mut self, length: u32) -> &'a str {
        let (text, rest) = self.0.split_at_checked(length as usize).unwrap_or_default();
        self.0 = rest;
        text
    }

    fn next_if(&mut self, length: Length) -> Option<&'a str> {
        (length.0 != u32::MAX).then(|| self.next(length.0))
    }
}

/// How many bytes an exchange takes.
pub(super) fn weight(account: &Account<'_>) -> usize {
    let maybe = |text: Option<&str>| text.map_or(0, str::len);
    let texts = account.method.len() + account.host.len() + account.target.len();
    let more =
        maybe(account.route) + maybe(account.upstream) + maybe(account.endpoint) + maybe(account.reply);
    let seldom = match has_seldom(account) {
        false => 0,
        true => {
            let id = if let Id::Given(id) = account.id { id.len() } else { 0 };
            id + maybe(account.user)
                + maybe(account.limit)
                + maybe(account.limit_dry_run)
                + size_of::<Seldom>()
        }
    };
    size_of::<Packed>() + texts + more + seldom
}

fn has_seldom(account: &Account<'_>) -> bool {
    let is_named = account.user.is_some() || account.limit.is_some() || account.limit_dry_run.is_some();
    is_named || account.error.is_some() || matches!(account.id, Id::Given(_))
}

/// Whether a text of it is longer than ring and followers keep.
fn is_long(account: &Account<'_>) -> bool {
    account.target.len() > CLIP || account.host.len() > CLIP
}

/// Runs `keep` with texts that are not longer than [`CLIP`]; a cut one ends in `…`.
pub(super) fn clipped<R>(account: &Account<'_>, keep: impl FnOnce(&Account<'_>) -> R) -> R {
    if !is_long(account) {
        return keep(account);
    }
    let (host, target) = (clip(account.host), clip(account.target));
    keep(&Account { host: &host, target: &target, ..*account })
}

fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= CLIP {
        return Cow::Borrowed(text);
    }
    let mut end = CLIP;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that those in it take.
    pub(super) fn weight(&self) -> usize {
        let seldom = self.seldom.len() * size_of::<Seldom>();
        self.events.len() * size_of::<Packed>() + self.texts.len() + seldom
    }

    /// See [`CLIP`].
    pub(super) fn is_long(&self) -> bool {
        self.is_long
    }

    /// Whether it has memory for much more.
    pub(super) fn is_sparse(&self) -> bool {
        let half = |length: usize, capacity: usize| length < capacity / 2;
        half(self.events.len(), self.events.capacity()) || half(self.texts.len(), self.texts.capacity())
    }

    /// Writes one down. There must be room: texts of all together take less than 4 GiB.
    pub(super) fn push(&mut self, account: &Account<'_>) {
        let Account { id, series, status, client, protocol, cache, end, lasting, .. } = *account;
        let begin = self.texts.len() as u32;
        for text in [account.method, account.host, account.target] {
            self.texts.push_str(text);
        }
        for text in [account.route, account.upstream, account.endpoint, account.reply].into_iter().flatten() {
            self.texts.push_str(text);
        }
        let seldom = if has_seldom(account) { self.push_seldom(account) } else { None };
        self.is_long |= is_long(account);
        let session = account.session.and_then(|session| self.session(session));
        self.events.push(Packed {
            id: if let Id::Own(id) = id { id } else { Uuid::nil() },
            at: account.at,
            duration: Nanos::of(Some(account.duration)),
            first_byte: Nanos::of(Some(account.first_byte)),
            upstream_first_byte: Nanos::of(account.upstream_first_byte),
            received: account.received,
            sent: account.sent,
            caching: account.caching,
            series,
            attempts: account.attempts,
            texts: begin,
            method: length(account.method),
            host: length(account.host),
            target: length(account.target),
            route: Length::of(account.route),
            upstream: Length::of(account.upstream),
            endpoint: Length::of(account.endpoint),
            reply: Length::of(account.reply),
            seldom,
            session,
            status,
            client,
            protocol,
            cache,
            end,
            lasting,
        });
    }

    #[inline(never)]
    fn push_seldom(&mut self, account: &Account<'_>) -> Option<Place> {
        let id = if let Id::Given(id) = account.id { Some(id) } else { None };
        for text in [id, account.user, account.limit, account.limit_dry_run].into_iter().flatten() {
            self.texts.push_str(text);
        }
        self.seldom.push(Seldom {
            error: account.error,
            id: Length::of(id),
            user: Length::of(account.user),
            limit: Length::of(account.limit),
            limit_dry_run: Length::of(account.limit_dry_run),
        });
        Place::new(self.seldom.len() as u32)
    }

    fn session(&mut self, session: &Arc<Session>) -> Option<Place> {
        if !self.sessions.last().is_some_and(|last| Arc::ptr_eq(last, session)) {
            self.sessions.push(session.clone());
        }
        Place::new(self.sessions.len() as u32)
    }

    /// What was written down at that place.
    pub(super) fn get(&self, at: usize) -> Option<Account<'_>> {
        let packed = self.events.get(at)?;
        let mut texts = Texts(self.texts.get(packed.texts as usize..).unwrap_or_default());
        let (method, host, target) =
            (texts.next(packed.method), texts.next(packed.host), texts.next(packed.target));
        let (route, upstream) = (texts.next_if(packed.route), texts.next_if(packed.upstream));
        let (endpoint, reply) = (texts.next_if(packed.endpoint), texts.next_if(packed.reply));
        let seldom = packed.seldom.and_then(|place| self.seldom.get(place.get() as usize - 1));
        let id = seldom.and_then(|seldom| texts.next_if(seldom.id));
        Some(Account {
            id: id.map_or(Id::Own(packed.id), Id::Given),
            at: packed.at,
            duration: packed.duration.get().unwrap_or_default(),
            first_byte: packed.first_byte.get().unwrap_or_default(),
            client: packed.client,
            session: packed.session.and_then(|place| self.sessions.get(place.get() as usize - 1)),
            user: seldom.and_then(|seldom| texts.next_if(seldom.user)),
            protocol: packed.protocol,
            method,
            host,
            target,
            status: packed.status,
            route,
            series: packed.series,
            upstream,
            endpoint,
            attempts: packed.attempts,
            upstream_first_byte: packed.upstream_first_byte.get(),
            cache: packed.cache,
            received: packed.received,
            sent: packed.sent,
            end: packed.end,
            lasting: packed.lasting,
            error: seldom.and_then(|seldom| seldom.error),
            limit: seldom.and_then(|seldom| texts.next_if(seldom.limit)),
            limit_dry_run: seldom.and_then(|seldom| texts.next_if(seldom.limit_dry_run)),
            caching: packed.caching,
            reply,
        })
    }

    /// All from that place on.
    pub(super) fn from(&self, begin: usize) -> impl DoubleEndedIterator<Item = Account<'_>> {
        (begin..self.len()).filter_map(|at| self.get(at))
    }

    /// Forgets all of them, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.texts.clear();
        self.seldom.clear();
        self.sessions.clear();
        self.is_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::caching::ReplyFields;
    use crate::telemetry::event::{Finished, RequestId};
    use crate::telemetry::testing::finished;

    fn odd() -> Finished {
        Finished {
            id: RequestId::Given("from elsewhere".into()),
            user: Some("alice".into()),
            method: http::Method::from_bytes(b"BREW").unwrap(),
            host: "".into(),
            target: "/ä?b".into(),
            route: None,
            upstream: Some("".into()),
            endpoint: None,
            upstream_first_byte: None,
            duration: Duration::from_secs(1 << 32),
            error: Some("connection_refused"),
            limit: Some("api".into()),
            limit_dry_run: Some("new".into()),
            reply: Some(ReplyFields::of_lines("cache-control:no-store\netag:")),
            ..finished()
        }
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let events = [finished(), odd(), finished(), Finished { reply: None, ..odd() }];
        let mut batch = Batch::default();
        for _ in 0..2 {
            let mut weight = 0;
            for event in &events {
                batch.push(&event.into());
                weight += super::weight(&event.into());
            }
            let read: Vec<String> =
                batch.from(0).map(|account| format!("{:?}", account.to_finished())).collect();
            let written: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
            assert_eq!(read, written);
            assert_eq!((batch.len(), batch.weight(), batch.from(3).count()), (4, weight, 1));
            assert!(batch.get(4).is_none());
            batch.clear();
        }
    }

    #[test]
    fn long_texts_are_clipped_for_who_asks_for_it() {
        let long = Finished { target: "ä".repeat(CLIP).into(), host: "a".repeat(CLIP).into(), ..finished() };
        let mut batch = Batch::default();
        batch.push(&(&finished()).into());
        assert!(!batch.is_long());
        batch.push(&(&long).into());
        assert!(batch.is_long());
        let target = clipped(&batch.get(1).unwrap(), |account| account.target.to_owned());
        assert_eq!((target.len(), target.ends_with('…')), (CLIP + '…'.len_utf8(), true));
        assert_eq!(batch.get(1).unwrap().target.len(), 2 * CLIP);
    }

    /// What every exchange pays for: it is written, and what others were written to has long left the core by then.
    #[test]
    fn an_event_stays_small() {
        assert!(size_of::<Packed>() <= 232, "{}", size_of::<Packed>());
        assert!(size_of::<Account<'_>>() <= 400, "{}", size_of::<Account<'_>>());
    }
}
