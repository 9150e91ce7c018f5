//! The rules that lookups and inserts are tested against.
//!
//! What matters of a rule is its criterion and the newest sequence at which it was given, so that equal rules
//! merge; `set` finds those that may concern an entry, however many there are. A rule stays testable after its removal
//! is done: entries in RAM, and fetches still in flight, are older than it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use super::criterion::{Criterion, Subject};
use super::set::RuleSet;
use crate::cache::key::{Digest, StoredKey};
use crate::clock::Timestamp;

/// Rules whose removal is not finished: with more, one that takes everything stands for all of them.
const MAX_ACTIVE: usize = 262_144;
/// Of those, the ones that are looked at one after the other.
const MAX_LISTED: usize = 16_384;
/// Finished rules that are still tested.
const MAX_RETIRED: usize = 65_536;
/// Of those, the ones that are looked at one after the other.
const MAX_RETIRED_LISTED: usize = 128;

/// A purge as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Entries whose fetch began before it are taken.
    pub sequence: u64,
    /// Marks stale instead of removing.
    pub soft: bool,
    /// What it takes.
    pub criterion: Criterion,
}

/// What the rules say of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// No rule takes it.
    Stands,
    /// Stale from now on.
    Soft,
    /// Gone.
    Gone,
}

/// All rules of an instance.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The newest sequence that was given out; also what a fetch begins with.
    latest: AtomicU64,
    /// The newest sequence of a rule that does not name one key or one URL.
    latest_wide: AtomicU64,
    book: RwLock<Book>,
}

/// The rules as one reader sees them; while it is held none is added or forgotten.
pub(crate) type Reading<'a> = RwLockReadGuard<'a, Book>;

/// The rules themselves.
#[derive(Debug, Default)]
pub(crate) struct Book {
    set: RuleSet,
    active: BTreeMap<u64, Rule>,
    retired: VecDeque<Rule>,
    retired_listed: usize,
    /// Rules up to here are no longer testable: what was fetched before must not be stored any more.
    forgotten: u64,
}

impl Rules {
    /// No rules; sequences go on from `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self { latest: AtomicU64::new(base), latest_wide: AtomicU64::new(base), book: RwLock::default() }
    }

    /// The newest sequence.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Whether a fetch for this key that began at `since` can still be what someone who asks now must get. A rule that
    /// names neither key nor URL counts against it, since a reply that has not come yet tells no tags.
    pub(crate) fn spare(&self, digest: Digest, key: &StoredKey, since: u64) -> bool {
        if since >= self.latest() {
            return true;
        }
        let subject =
            Subject { digest, key, tags: &[], route: "", response_time: Timestamp::from_millis(u64::MAX) };
        since >= self.latest_wide.load(Ordering::Acquire)
            && self.read().test_new(&subject, since) == Verdict::Stands
    }

    /// For tests of several entries against one state of the rules.
    pub(crate) fn read(&self) -> Reading<'_> {
        self.book.read()
    }

    /// As [`Rules::read`], for whoever holds a lock that others take while they read the rules: it does not wait behind one
    /// who is about to add a rule, and who waits for those others.
    pub(crate) fn read_under_lock(&self) -> Reading<'_> {
        self.book.read_recursive()
    }

    /// Adds a rule, in force when this returns; `told` gets it under the lock, so that a journal has them in order.
    pub(crate) fn add(&self, criterion: Criterion, soft: bool, told: impl FnOnce(&Rule)) -> u64 {
        let mut book = self.book.write();
        let sequence = self.latest.load(Ordering::Acquire) + 1;
        let full =
            book.active.len() >= MAX_ACTIVE || (criterion.is_listed() && book.set.listed() >= MAX_LISTED);
        let rule = match full {
            false => Rule { sequence, soft, criterion },
            true => Rule { sequence, soft: false, criterion: Criterion::All },
        };
        if full {
            tracing::warn!("too many purges wait for their removal: everything stored so far is purged");
            for (_, rule) in std::mem::take(&mut book.active) {
                book.retire(rule);
            }
        }
        told(&rule);
        book.set.add(&rule);
        if !matches!(rule.criterion, Criterion::Key(_) | Criterion::Url { .. }) {
            self.latest_wide.store(sequence, Ordering::Release);
        }
        book.active.insert(sequence, rule);
        self.latest.store(sequence, Ordering::Release);
        sequence
    }

    /// Takes over what a journal holds: sequences stay as they are.
    pub(crate) fn restore(&self, active: Vec<Rule>, retired: Vec<Rule>, forgotten: u64, base: u64) {
        let mut book = self.book.write();
        for rule in active {
            book.set.add(&rule);
            book.active.insert(rule.sequence, rule);
        }
        for rule in retired {
            book.set.add(&rule);
            book.retire(rule);
        }
        book.forgotten = book.forgotten.max(forgotten);
        self.latest.fetch_max(base, Ordering::AcqRel);
    }

    /// Gives the active rules new sequences above `base`: they must also take what another process stored.
    pub(crate) fn renew(&self, base: u64) {
        let mut book = self.book.write();
        let mut sequence = self.latest.load(Ordering::Acquire).max(base);
        for (_, mut rule) in std::mem::take(&mut book.active) {
            sequence += 1;
            rule.sequence = sequence;
            book.set.add(&rule);
            book.active.insert(sequence, rule);
        }
        self.latest.store(sequence, Ordering::Release);
    }

    /// The rules whose removal is not finished, oldest first.
    pub(crate) fn active(&self) -> Vec<Rule> {
        self.book.read().active.values().cloned().collect()
    }

    /// How many those are.
    pub(crate) fn active_len(&self) -> usize {
        self.book.read().active.len()
    }

    /// How near they are to being so many that all is purged instead: 1 is that many.
    pub(crate) fn backlog(&self) -> f64 {
        let book = self.book.read();
        let part = |count: usize, most: usize| count as f64 / most as f64;
        part(book.active.len(), MAX_ACTIVE).max(part(book.set.listed(), MAX_LISTED))
    }

    /// Active and retired rules, and the newest forgotten sequence.
    pub(crate) fn all(&self) -> (Vec<Rule>, Vec<Rule>, u64) {
        let book = self.book.read();
        (book.active.values().cloned().collect(), book.retired.iter().cloned().collect(), book.forgotten)
    }

    /// The removal that these rules asked for is done and will survive a crash.
    pub(crate) fn retire(&self, sequences: &[u64]) {
        let mut book = self.book.write();
        for sequence in sequences {
            if let Some(rule) = book.active.remove(sequence) {
                book.retire(rule);
            }
        }
    }

    /// Whether so many finished rules are kept that some should be forgotten.
    pub(crate) fn is_crowded(&self) -> bool {
        let book = self.book.read();
        book.retired.len() > MAX_RETIRED || book.retired_listed > MAX_RETIRED_LISTED
    }

    /// The sequences of the rules whose removal is finished, in the order in which it was.
    pub(crate) fn retired(&self) -> Vec<u64> {
        self.book.read().retired.iter().map(|rule| rule.sequence).collect()
    }

    /// Forgets the older half of the finished rules. RAM must have been walked since they were given.
    pub(crate) fn forget(&self, up_to: u64) {
        let half = self.book.read().retired.len().div_ceil(2);
        self.forget_some(half, up_to);
    }

    /// Forgets the finished rules up to `up_to`. RAM must have been walked since they were given.
    pub(crate) fn forget_all(&self, up_to: u64) {
        self.forget_some(usize::MAX, up_to);
    }

    fn forget_some(&self, most: usize, up_to: u64) {
        let mut book = self.book.write();
        for _ in 0..most.min(book.retired.len()) {
            let Some(rule) = book.retired.pop_front() else { break };
            if rule.sequence > up_to {
                book.retired.push_front(rule);
                break;
            }
            book.forgotten = book.forgotten.max(rule.sequence);
            book.set.remove(&rule);
            if rule.criterion.is_listed() {
                book.retired_listed -= 1;
            }
        }
    }
}

impl Book {
    /// What the rules that are newer than `sequence` say.
    pub(crate) fn test(&self, subject: &Subject<'_>, sequence: u64) -> Verdict {
        self.set.test(subject, sequence)
    }

    /// As [`Book::test`], for what is about to be stored: in doubt it is gone.
    pub(crate) fn test_new(&self, subject: &Subject<'_>, sequence: u64) -> Verdict {
        if sequence < self.forgotten { Verdict::Gone } else { self.set.test(subject, sequence) }
    }

    fn retire(&mut self, rule: Rule) {
        if rule.criterion.is_listed() {
            self.retired_listed += 1;
        }
        self.retired.push_back(rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::tests::entry;

    fn verdict(rules: &Rules, target: &str, sequence: u64) -> Verdict {
        let entry = entry(target, b"");
        rules.read().test(&Subject::of(entry.key.digest(), &entry), sequence)
    }

    fn url(target: &str) -> Criterion {
        Criterion::Url { authority: "example.com".into(), target: target.into() }
    }

    #[test]
    fn a_rule_takes_what_was_fetched_before_it() {
        for criterion in [
            url("/a"),
            Criterion::Key(entry("/a", b"").key.digest()),
            Criterion::Tag("red".into()),
            Criterion::Prefix { authority: None, target: "/a".into() },
        ] {
            let rules = Rules::new(10);
            assert_eq!(verdict(&rules, "/a", 0), Verdict::Stands);
            let soft = rules.add(criterion.clone(), true, |_| ());
            assert_eq!(verdict(&rules, "/a", soft - 1), Verdict::Soft, "{criterion:?}");
            let hard = rules.add(criterion.clone(), false, |_| ());
            assert_eq!(verdict(&rules, "/a", soft), Verdict::Gone, "{criterion:?}");
            assert_eq!(verdict(&rules, "/a", hard), Verdict::Stands, "{criterion:?}");
        }
    }

    #[test]
    fn a_retired_rule_is_tested_until_it_is_forgotten() {
        let rules = Rules::new(0);
        let first = rules.add(url("/a"), false, |_| ());
        rules.retire(&[first]);
        assert_eq!(rules.active_len(), 0);
        assert_eq!(verdict(&rules, "/a", 0), Verdict::Gone);
        rules.forget(rules.latest());
        assert_eq!(verdict(&rules, "/a", 0), Verdict::Stands);
        let entry = entry("/b", b"");
        let subject = Subject::of(entry.key.digest(), &entry);
        assert_eq!(rules.read().test_new(&subject, 0), Verdict::Gone);
        assert_eq!(rules.read().test_new(&subject, first), Verdict::Stands);
    }

    #[test]
    fn forgetting_an_old_rule_leaves_a_newer_equal_one() {
        let rules = Rules::new(0);
        let old = rules.add(url("/a"), false, |_| ());
        rules.add(url("/a"), false, |_| ());
        rules.retire(&[old]);
        rules.forget(rules.latest());
        assert_eq!(verdict(&rules, "/a", old), Verdict::Gone);
    }

    #[test]
    fn too_many_rules_become_one_that_takes_more() {
        let rules = Rules::new(0);
        for number in 0..=MAX_ACTIVE {
            rules.add(url(&format!("/{number}")), true, |_| ());
        }
        assert_eq!(rules.active_len(), 1);
        assert_eq!(verdict(&rules, "/elsewhere", 0), Verdict::Gone);
    }

    #[test]
    fn the_backlog_is_that_of_the_kind_that_has_the_least_room() {
        let rules = Rules::new(0);
        assert_eq!(rules.backlog(), 0.0);
        let first = rules.add(url("/a"), false, |_| ());
        assert_eq!(rules.backlog(), 1.0 / MAX_ACTIVE as f64);
        let second = rules.add(Criterion::Glob("*/a".into()), false, |_| ());
        assert_eq!(rules.backlog(), 1.0 / MAX_LISTED as f64);
        rules.retire(&[first, second]);
        rules.forget_all(second);
        assert_eq!(rules.backlog(), 0.0);
    }

    #[test]
    fn who_holds_a_lock_does_not_wait_behind_a_rule_that_waits_for_readers() {
        let rules = Rules::new(0);
        let reader = rules.read();
        std::thread::scope(|scope| {
            scope.spawn(|| rules.add(url("/a"), false, |_| ()));
            // It waits, and whoever comes now waits behind it.
            while rules.book.try_read().is_some() {
                std::thread::yield_now();
            }
            let (done, ended) = std::sync::mpsc::channel();
            let rules = &rules;
            scope.spawn(move || {
                drop(rules.read_under_lock());
                done.send(()).unwrap();
            });
            let ended = ended.recv_timeout(std::time::Duration::from_secs(20));
            drop(reader);
            ended.expect("it waits behind the rule");
        });
    }

    #[test]
    fn a_fetch_is_spared_by_purges_of_other_urls_and_by_no_wider_one() {
        let rules = Rules::new(10);
        let key = |target: &str| StoredKey {
            upstream: "api".into(),
            scheme: "http".into(),
            authority: "a".into(),
            target: target.into(),
            fields: Vec::new(),
        };
        let spare = |since| rules.spare(key("/x").digest(), &key("/x"), since);
        assert!(spare(10));
        let url = |target: &str| Criterion::Url { authority: "a".into(), target: target.into() };
        let other = rules.add(url("/y"), false, |_| {});
        assert!(spare(10), "another URL");
        let own = rules.add(url("/x"), false, |_| {});
        assert!(!spare(other) && spare(own), "its own URL");
        let tag = rules.add(Criterion::Tag("red".into()), true, |_| {});
        assert!(!spare(own) && spare(tag), "a tag that the reply may turn out to carry");
    }
}
