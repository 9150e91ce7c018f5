//! The rules by what they name, so that what does not concern an entry is not looked at.
//!
//! | criterion | how its rules are found |
//! |---|---|
//! | key, URL, tag, route, host | by a hash |
//! | prefix, glob with a literal beginning | by the beginnings of the target, under its host and under none |
//! | glob that begins with `*`, or has one in its host; age | one after the other |
//!
//! Every kind knows its newest sequence: an entry that was tested up to there passes it by.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::criterion::{Criterion, Subject};
use super::prefixes::Prefixes;
use super::rules::{Rule, Verdict};
use crate::cache::key::Digest;

/// The newest hard and soft rule for one criterion; zero where there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hard: u64,
    soft: u64,
}

impl Slot {
    fn add(&mut self, rule: &Rule) {
        let side = if rule.soft { &mut self.soft } else { &mut self.hard };
        *side = rule.sequence.max(*side);
    }

    /// Takes a rule out unless a newer one has taken its place; says whether nothing is left.
    fn clear(&mut self, rule: &Rule) -> bool {
        let side = if rule.soft { &mut self.soft } else { &mut self.hard };
        if *side == rule.sequence {
            *side = 0;
        }
        self.hard == 0 && self.soft == 0
    }

    const fn verdict(self, sequence: u64) -> Verdict {
        if self.hard > sequence {
            Verdict::Gone
        } else if self.soft > sequence {
            Verdict::Soft
        } else {
            Verdict::Stands
        }
    }
}

/// Rules whose criteria are compared one by one.
type Bucket = Vec<(Criterion, Slot)>;

/// Where a criterion's rules are.
enum Kind<'c> {
    Key(&'c Digest),
    Url(&'c str, &'c str),
    Tag(&'c str),
    Route(&'c str),
    Host(&'c str),
    /// Under a host, or under any; and how the targets begin.
    Below(Option<&'c str>, &'c str),
    All,
    Listed,
}

impl Criterion {
    fn kind(&self) -> Kind<'_> {
        match self {
            Self::Key(digest) => Kind::Key(digest),
            Self::Url { authority, target } => Kind::Url(authority, target),
            Self::Tag(tag) => Kind::Tag(tag),
            Self::Route(route) => Kind::Route(route),
            Self::Host(host) => Kind::Host(host),
            Self::Prefix { authority, target } => Kind::Below(authority.as_deref(), target),
            Self::Glob(pattern) => match Self::literal(pattern) {
                Some((host, target)) => Kind::Below(host, target),
                None => Kind::Listed,
            },
            Self::Before(_) => Kind::Listed,
            Self::All => Kind::All,
        }
    }

    /// Whether its rules are looked at one after the other, so that their number matters.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self.kind(), Kind::Listed)
    }
}

/// Rules of one kind, and the newest sequence among all that it ever had.
#[derive(Debug, Default)]
struct Of<T> {
    rules: T,
    newest: u64,
}

impl<T> Of<T> {
    /// The rules, unless none is newer.
    fn since(&self, sequence: u64) -> Option<&T> {
        (self.newest > sequence).then_some(&self.rules)
    }

    fn adding(&mut self, rule: &Rule) -> &mut T {
        self.newest = self.newest.max(rule.sequence);
        &mut self.rules
    }
}

/// All rules that are tested.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    keys: Of<HashMap<Digest, Slot>>,
    /// By the hash of authority and target; the criteria are compared.
    urls: Of<HashMap<u64, Bucket>>,
    tags: Of<HashMap<Box<str>, Slot>>,
    routes: Of<HashMap<Box<str>, Slot>>,
    hosts: Of<HashMap<Box<str>, Slot>>,
    below: Of<HashMap<Box<str>, Prefixes<Bucket>>>,
    anywhere: Of<Prefixes<Bucket>>,
    listed: Of<Bucket>,
    all: Slot,
    hasher: RandomState,
}

impl RuleSet {
    /// How many rules are looked at one after the other.
    pub(super) fn listed(&self) -> usize {
        self.listed.rules.len()
    }

    pub(super) fn add(&mut self, rule: &Rule) {
        let criterion = &rule.criterion;
        match criterion.kind() {
            Kind::Key(digest) => self.keys.adding(rule).entry(*digest).or_default().add(rule),
            Kind::Tag(tag) => self.tags.adding(rule).entry(tag.into()).or_default().add(rule),
            Kind::Route(route) => self.routes.adding(rule).entry(route.into()).or_default().add(rule),
            Kind::Host(host) => self.hosts.adding(rule).entry(host.into()).or_default().add(rule),
            Kind::All => self.all.add(rule),
            Kind::Url(authority, target) => {
                let hash = self.hasher.hash_one((authority, target));
                slot(self.urls.adding(rule).entry(hash).or_default(), criterion).add(rule);
            }
            Kind::Below(Some(host), target) => {
                let prefixes = self.below.adding(rule).entry(host.into()).or_default();
                slot(prefixes.entry(target), criterion).add(rule);
            }
            Kind::Below(None, target) => {
                slot(self.anywhere.adding(rule).entry(target), criterion).add(rule);
            }
            Kind::Listed => {
                let listed = self.listed.adding(rule);
                listed.retain(|(standing, slot)| !stands_for(rule, standing, *slot));
                slot(listed, criterion).add(rule);
            }
        }
    }

    pub(super) fn remove(&mut self, rule: &Rule) {
        let criterion = &rule.criterion;
        match criterion.kind() {
            Kind::Key(digest) => {
                if self.keys.rules.get_mut(digest).is_some_and(|slot| slot.clear(rule)) {
                    self.keys.rules.remove(digest);
                }
            }
            Kind::Tag(tag) => clear_named(&mut self.tags.rules, tag, rule),
            Kind::Route(route) => clear_named(&mut self.routes.rules, route, rule),
            Kind::Host(host) => clear_named(&mut self.hosts.rules, host, rule),
            Kind::All => drop(self.all.clear(rule)),
            Kind::Url(authority, target) => {
                let hash = self.hasher.hash_one((authority, target));
                if self.urls.rules.get_mut(&hash).is_some_and(|bucket| clear(bucket, rule)) {
                    self.urls.rules.remove(&hash);
                }
            }
            Kind::Below(Some(host), target) => {
                let Some(prefixes) = self.below.rules.get_mut(host) else { return };
                prefixes.update(target, |bucket| clear(bucket, rule));
                if prefixes.is_empty() {
                    self.below.rules.remove(host);
                }
            }
            Kind::Below(None, target) => self.anywhere.rules.update(target, |bucket| clear(bucket, rule)),
            Kind::Listed => drop(clear(&mut self.listed.rules, rule)),
        }
    }

    /// The worst that a rule newer than `sequence` says.
    pub(super) fn test(&self, subject: &Subject<'_>, sequence: u64) -> Verdict {
        let mut verdict = self.all.verdict(sequence);
        let mut worse = |slot: Option<&Slot>| {
            verdict = verdict.max(slot.map_or(Verdict::Stands, |slot| slot.verdict(sequence)));
        };
        if let Some(keys) = self.keys.since(sequence) {
            worse(keys.get(&subject.digest));
        }
        if let Some(tags) = self.tags.since(sequence) {
            subject.tags.iter().for_each(|tag| worse(tags.get(tag)));
        }
        if let Some(routes) = self.routes.since(sequence) {
            worse(routes.get(subject.route));
        }
        if let Some(hosts) = self.hosts.since(sequence) {
            worse(hosts.get(&subject.key.authority));
            worse(Criterion::without_port(&subject.key.authority).and_then(|host| hosts.get(host)));
        }
        let (authority, target) = (&*subject.key.authority, &*subject.key.target);
        let mut among = |bucket: &Bucket| verdict = verdict.max(worst(bucket, subject, sequence));
        if let Some(urls) = self.urls.since(sequence)
            && let Some(bucket) = urls.get(&self.hasher.hash_one((authority, target)))
        {
            among(bucket);
        }
        if let Some(prefixes) = self.below.since(sequence).and_then(|below| below.get(authority)) {
            prefixes.each(target.as_bytes(), &mut among);
        }
        if let Some(prefixes) = self.anywhere.since(sequence) {
            prefixes.each(target.as_bytes(), &mut among);
        }
        if let Some(listed) = self.listed.since(sequence) {
            among(listed);
        }
        verdict
    }
}

/// Whether a new rule takes all that an older one by age does.
fn stands_for(new: &Rule, standing: &Criterion, slot: Slot) -> bool {
    let (Criterion::Before(new_time), Criterion::Before(time)) = (&new.criterion, standing) else {
        return false;
    };
    let older = slot.hard.max(slot.soft) < new.sequence;
    older && time < new_time && (!new.soft || slot.hard == 0)
}

fn worst(bucket: &Bucket, subject: &Subject<'_>, sequence: u64) -> Verdict {
    bucket
        .iter()
        .map(|(criterion, slot)| (criterion, slot.verdict(sequence)))
        // The criterion is the dear part: asked only where it would matter.
        .filter(|(criterion, verdict)| *verdict != Verdict::Stands && criterion.takes(subject))
        .map(|(_, verdict)| verdict)
        .max()
        .unwrap_or(Verdict::Stands)
}

fn slot<'a>(bucket: &'a mut Bucket, criterion: &Criterion) -> &'a mut Slot {
    let at = bucket.iter().position(|(standing, _)| standing == criterion).unwrap_or_else(|| {
        bucket.push((criterion.clone(), Slot::default()));
        bucket.len() - 1
    });
    &mut bucket[at].1
}

/// Takes a rule out of a bucket; says whether nothing is left.
fn clear(bucket: &mut Bucket, rule: &Rule) -> bool {
    bucket.retain_mut(|(criterion, slot)| *criterion != rule.criterion || !slot.clear(rule));
    bucket.is_empty()
}

fn clear_named(rules: &mut HashMap<Box<str>, Slot>, name: &str, rule: &Rule) {
    if rules.get_mut(name).is_some_and(|slot| slot.clear(rule)) {
        rules.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::key::StoredKey;
    use crate::clock::Timestamp;

    fn key(authority: &str, target: &str) -> StoredKey {
        StoredKey {
            upstream: "u".into(),
            scheme: "http".into(),
            authority: authority.into(),
            target: target.into(),
            fields: Vec::new(),
        }
    }

    fn criteria() -> impl Strategy<Value = Criterion> {
        let host = || "[ab](:8[01])?".prop_map(Into::<Box<str>>::into);
        let target = || "/[xy/]{0,3}".prop_map(Into::<Box<str>>::into);
        prop_oneof![
            (host(), target()).prop_map(|(host, target)| Criterion::Key(key(&host, &target).digest())),
            (host(), target()).prop_map(|(authority, target)| Criterion::Url { authority, target }),
            (proptest::option::of(host()), target())
                .prop_map(|(authority, target)| Criterion::Prefix { authority, target }),
            "[ab*]{0,1}(:80)?/[xy/*]{0,4}".prop_map(|glob| Criterion::Glob(glob.into())),
            "[ab](:80)?".prop_map(|host| Criterion::Host(host.into())),
            "[rs]".prop_map(|route| Criterion::Route(route.into())),
            "[tu]".prop_map(|tag| Criterion::Tag(tag.into())),
            (0u64..4).prop_map(|secs| Criterion::Before(Timestamp::from_secs(secs))),
            Just(Criterion::All),
        ]
    }

    proptest! {
        /// However rules come and go, they say of any entry what looking at each of them would.
        #[test]
        fn as_looking_at_each_would(
            given in proptest::collection::vec((criteria(), any::<bool>(), any::<bool>()), 0..12),
            authority in "[ab](:8[01])?",
            target in "/[xy/]{0,4}",
            tags in proptest::collection::vec("[tu]", 0..2),
            route in "[rs]",
            (secs, sequence) in (0u64..4, 0u64..12),
        ) {
            let mut set = RuleSet::default();
            let mut standing: Vec<Rule> = Vec::new();
            for (at, (criterion, soft, goes)) in given.into_iter().enumerate() {
                // Rules by age stand for older ones, and go with them: they stay here.
                let goes = goes && !matches!(criterion, Criterion::Before(_));
                let rule = Rule { sequence: at as u64 + 1, soft, criterion };
                set.add(&rule);
                standing.push(rule);
                if goes {
                    let rule = standing.remove(standing.len() / 2);
                    if matches!(rule.criterion, Criterion::Before(_)) {
                        standing.push(rule);
                    } else {
                        set.remove(&rule);
                        // An older rule with the same criterion was merged into it.
                        standing.retain(|older| {
                            older.criterion != rule.criterion || older.soft != rule.soft || older.sequence > rule.sequence
                        });
                    }
                }
            }
            let key = key(&authority, &target);
            let tags: Vec<Box<str>> = tags.into_iter().map(Into::into).collect();
            let subject = Subject {
                digest: key.digest(),
                key: &key,
                tags: &tags,
                route: &route,
                response_time: Timestamp::from_secs(secs),
            };
            let each = |rule: &&Rule| rule.sequence > sequence && rule.criterion.takes(&subject);
            let expected = standing
                .iter()
                .filter(each)
                .map(|rule| if rule.soft { Verdict::Soft } else { Verdict::Gone })
                .max()
                .unwrap_or(Verdict::Stands);
            prop_assert_eq!(set.test(&subject, sequence), expected);
        }
    }
}
