//! What may be served: the simulation's own account of what was stored and what was purged, in plain maps.

use std::collections::HashMap;

use crate::cache::purge::Criterion;
use crate::clock::Timestamp;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: u64,
    pub(super) path: u64,
    /// Which variant; zero where the path does not vary.
    pub(super) language: u64,
}

impl Target {
    pub(super) fn authority(self) -> String {
        format!("h{}.test", self.host)
    }

    pub(super) fn path(self) -> String {
        format!("/{}/{}", self.path % 3, self.path)
    }

    pub(super) fn varies(self) -> bool {
        !self.path.is_multiple_of(4)
    }

    pub(super) fn route(self) -> String {
        format!("r{}", self.host % 2)
    }

    pub(super) fn tag(self) -> String {
        format!("t{}", self.path % 5)
    }

    /// The same URL, whatever the variant.
    fn url(self) -> (u64, u64) {
        (self.host, self.path)
    }
}

/// A reply, or what a 304 made of it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) target: Target,
    /// Which body it has, and how long that is.
    pub(super) serial: u64,
    pub(super) length: usize,
    /// When it was asked for, on the simulation's own count; read after the purge sequence was.
    pub(super) began: u64,
    pub(super) response_time: Timestamp,
    pub(super) initial_age: u64,
    pub(super) lifetime: u64,
    pub(super) while_revalidate: u64,
    pub(super) must_revalidate: bool,
    pub(super) keep_until: Timestamp,
}

impl Life {
    fn age(&self, now: Timestamp) -> u64 {
        self.initial_age + now.since(self.response_time).as_secs()
    }

    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now) < self.lifetime
    }

    pub(super) fn may_be_stale(&self, now: Timestamp) -> bool {
        let staleness = self.age(now).saturating_sub(self.lifetime);
        !self.must_revalidate && self.while_revalidate > 0 && staleness <= self.while_revalidate
    }
}

/// When each thing was purged last.
#[derive(Debug, Default)]
pub(super) struct Purges {
    url: HashMap<(u64, u64), u64>,
    directory: HashMap<(u64, u64), u64>,
    host: HashMap<u64, u64>,
    tag: HashMap<u64, u64>,
    route: HashMap<u64, u64>,
    /// Time of the reply, and when it was purged: only those that take something which none of the others does.
    before: Vec<(Timestamp, u64)>,
    all: u64,
}

/// A purge, as the model and the cache know it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purge {
    Key(Target),
    Url(Target),
    Directory(Target),
    Glob(Target),
    Host(Target),
    Tag(Target),
    Route(Target),
    Before(Timestamp),
    All,
}

impl Purge {
    /// `digest`: that of the target, whatever its variant.
    pub(super) fn criterion(self, digest: crate::cache::key::Digest) -> Criterion {
        match self {
            Self::Key(_) => Criterion::Key(digest),
            Self::Url(target) => {
                Criterion::Url { authority: target.authority().into(), target: target.path().into() }
            }
            Self::Directory(target) => Criterion::Prefix {
                authority: Some(target.authority().into()),
                target: format!("/{}/", target.path % 3).into(),
            },
            Self::Glob(target) => {
                Criterion::Glob(format!("{}/{}/*", target.authority(), target.path % 3).into())
            }
            Self::Host(target) => Criterion::Host(target.authority().into()),
            Self::Tag(target) => Criterion::Tag(target.tag().into()),
            Self::Route(target) => Criterion::Route(target.route().into()),
            Self::Before(time) => Criterion::Before(time),
            Self::All => Criterion::All,
        }
    }
}

impl Purges {
    /// `at`: a count that was reached before the purge began.
    pub(super) fn add(&mut self, purge: Purge, at: u64) {
        let last = match purge {
            Purge::Key(target) | Purge::Url(target) => self.url.entry(target.url()).or_default(),
            Purge::Directory(target) | Purge::Glob(target) => {
                self.directory.entry((target.host, target.path % 3)).or_default()
            }
            Purge::Host(target) => self.host.entry(target.host).or_default(),
            Purge::Tag(target) => self.tag.entry(target.path % 5).or_default(),
            Purge::Route(target) => self.route.entry(target.host % 2).or_default(),
            Purge::Before(time) => return self.add_before(time, at),
            Purge::All => &mut self.all,
        };
        *last = at.max(*last);
    }

    /// A purge that takes older replies, or came earlier, than another one in both respects says nothing any more: without
    /// that the list would grow with the steps, and each look at it too.
    fn add_before(&mut self, time: Timestamp, at: u64) {
        if self.before.iter().any(|(other, after)| *other >= time && *after >= at) {
            return;
        }
        self.before.retain(|(other, after)| *other > time || *after > at);
        self.before.push((time, at));
    }

    /// What has been purged of a target so far.
    pub(super) fn of(&self, target: Target) -> Purged {
        let last = |found: Option<&u64>| found.copied().unwrap_or(0);
        let latest = last(self.url.get(&target.url()))
            .max(last(self.directory.get(&(target.host, target.path % 3))))
            .max(last(self.host.get(&target.host)))
            .max(last(self.tag.get(&(target.path % 5))))
            .max(last(self.route.get(&(target.host % 2))))
            .max(self.all);
        Purged { latest, before: self.before.clone() }
    }

    /// Whether a reply was purged after it was asked for.
    pub(super) fn take(&self, life: &Life) -> bool {
        self.of(life.target).takes(life)
    }
}

/// What had been purged of a target at some moment.
pub(super) struct Purged {
    latest: u64,
    before: Vec<(Timestamp, u64)>,
}

impl Purged {
    /// Whether it takes a reply for the target.
    pub(super) fn takes(&self, life: &Life) -> bool {
        let aged = |(time, at): &(Timestamp, u64)| life.response_time < *time && *at > life.began;
        self.takes_of_any_age(life) || self.before.iter().any(aged)
    }

    /// The same, but for purges by age.
    pub(super) fn takes_of_any_age(&self, life: &Life) -> bool {
        self.latest > life.began
    }
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) lives: HashMap<u64, Life>,
    /// The newest life stored for each target.
    pub(super) standing: HashMap<Target, u64>,
    pub(super) hard: Purges,
    pub(super) soft: Purges,
}

/// What was seen to happen, so that a simulation in which nothing happens fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) fresh: u64,
    pub(super) stale: u64,
    pub(super) missed: u64,
    pub(super) freshened: u64,
    pub(super) purged_in_flight: u64,
    pub(super) aborted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purges_by_age_that_say_nothing_any_more_are_dropped() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut kept, mut all, mut most) = (Purges::default(), Vec::new(), 0);
        for at in 1..2_000_u64 {
            let time = Timestamp::from_secs(1_000 + at / 10 - random.u64(0..60));
            kept.add(Purge::Before(time), at);
            all.push((time, at));
            most = most.max(kept.before.len());
            let purged = Purged { latest: 0, before: kept.before.clone() };
            let everything = Purged { latest: 0, before: all.clone() };
            let began = random.u64(0..=at);
            let life = life(began, Timestamp::from_secs(1_000 + at / 10 - random.u64(0..60)));
            assert_eq!(purged.takes(&life), everything.takes(&life), "{life:?} at {at}");
        }
        assert!(most < 60, "{most} were kept at one time");
    }

    fn life(began: u64, response_time: Timestamp) -> Life {
        Life {
            target: Target { host: 0, path: 0, language: 0 },
            serial: 0,
            length: 0,
            began,
            response_time,
            initial_age: 0,
            lifetime: 0,
            while_revalidate: 0,
            must_revalidate: false,
            keep_until: Timestamp::default(),
        }
    }
}
