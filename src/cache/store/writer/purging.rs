//! The removal behind a purge: rules come first, this makes them true on disk and retires them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{SLICE, SLICE_TIME, Writer};
use crate::cache::entry::Entry;
use crate::cache::purge::rules::{Rule, Verdict};
use crate::cache::purge::{Criterion, Subject};
use crate::cache::store::EntryId;
use crate::cache::store::engine::{StoreError, Walk};
use crate::cache::store::shared::Tier;

/// Entries that are read in one go: of those that are removed each may take a while.
const PART: usize = 16;
/// URLs that are looked at in one go.
const URLS: usize = 128;
/// A walk of RAM may take this part of the thread's time.
const MEMORY_SHARE: u32 = 64;

/// The rules whose removal is under way, and how far it is.
#[derive(Debug)]
pub(super) struct Batch {
    rules: Vec<Rule>,
    /// What is walked, one after the other.
    walks: Vec<By>,
    cursor: Option<Vec<u8>>,
    swept_memory: bool,
}

/// What a walk finds entries by.
#[derive(Debug, PartialEq, Eq)]
enum By {
    /// What a rule names.
    Rule(Criterion),
    /// The URLs of all, as the index has them: for all rules that go by URL.
    Url,
    /// All are read: for all rules.
    Reading,
}

impl By {
    /// The walks that find what these rules take.
    fn of(rules: &[Rule]) -> Vec<Self> {
        let criteria = || rules.iter().rev().map(|rule| &rule.criterion);
        if !criteria().any(Criterion::has_no_index) {
            return criteria().cloned().map(Self::Rule).collect();
        }
        if criteria().any(|criterion| matches!(criterion, Criterion::Before(_) | Criterion::All)) {
            return vec![Self::Reading];
        }
        let others = criteria().filter(|criterion| !criterion.goes_by_url()).cloned().map(Self::Rule);
        std::iter::once(Self::Url).chain(others).collect()
    }
}

impl Writer {
    /// Takes up the rules that wait, unless a batch is under way.
    pub(super) fn begin_batch(&mut self) {
        if self.batch.is_some() {
            return;
        }
        let rules = self.shared.rules.active();
        if rules.is_empty() {
            return;
        }
        if let Some(journal) = self.shared.journal.load_full()
            && let Err(error) = journal.commit_blocking()
        {
            // The rules hold in RAM; without them on disk the removal is all that would last.
            tracing::warn!(%error, "store: purge rules could not be written to the journal");
        }
        let swept_memory = self.sweep_memory(false);
        let walks = By::of(&rules);
        self.batch = Some(Batch { rules, walks, cursor: None, swept_memory });
    }

    /// Takes the next entries of the batch, and ends it when there are none.
    pub(super) fn purge_slice(&mut self, tier: &Tier) -> Result<(), StoreError> {
        let Some(mut batch) = self.batch.take() else { return Ok(()) };
        let (mut left, began) = (SLICE, Instant::now());
        while left > 0 && began.elapsed() < SLICE_TIME {
            let Some(by) = batch.walks.last() else { return self.end_batch(tier, batch) };
            let walk = match self.walk(tier, by, &batch, left) {
                Ok(walk) => walk,
                Err(error @ StoreError::Corrupt(_)) => {
                    // An index that cannot be read may hide some: walk the entries themselves.
                    let read_all = *by == By::Reading;
                    batch.walks = vec![By::Reading];
                    batch.cursor = None;
                    // Walking passes unreadable leaves by; where even that fails, the rules stay.
                    self.batch = (!read_all).then_some(batch);
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            // Many rules for one key each are many walks with next to nothing on the way.
            left -= walk.entries.len().clamp(1, left);
            for (id, entry) in walk.entries {
                self.purge_entry(tier, id, entry)?;
            }
            batch.cursor = walk.next;
            if batch.cursor.is_none() {
                batch.walks.pop();
            }
        }
        self.batch = Some(batch);
        Ok(())
    }

    fn walk(&self, tier: &Tier, by: &By, batch: &Batch, left: usize) -> Result<Walk, StoreError> {
        let (after, part) = (batch.cursor.as_deref(), left.min(PART));
        match by {
            By::Rule(criterion) => tier.store.candidates(criterion, after, part),
            By::Reading => tier.store.candidates(&Criterion::All, after, part),
            By::Url => {
                // What is taken by older rules is gone; an entry that is newer is found out when it is read.
                let since = batch.rules.first().map_or(0, |oldest| oldest.sequence.saturating_sub(1));
                let wanted = |subject: &Subject<'_>| {
                    // Read anew for each, as in RAM.
                    self.shared.rules.read().test(subject, since) != Verdict::Stands
                };
                tier.store.candidates_by_url(&wanted, after, URLS)
            }
        }
    }

    /// Does with an entry what the rules say of it.
    fn purge_entry(&self, tier: &Tier, id: EntryId, entry: Entry) -> Result<(), StoreError> {
        let verdict = self.shared.rules.read().test(&Subject::of(id.digest, &entry), entry.sequence);
        match verdict {
            Verdict::Gone => {
                tier.store.remove(id)?;
                self.shared.forget(id);
                self.shared.counters.purged.fetch_add(1, Relaxed);
            }
            Verdict::Soft if !entry.soft_purged => {
                tier.store.put(id, &Entry { soft_purged: true, ..entry })?;
            }
            Verdict::Soft | Verdict::Stands => {}
        }
        Ok(())
    }

    /// A removal that was not flushed comes back after a crash: the rules go only after a flush.
    fn end_batch(&mut self, tier: &Tier, batch: Batch) -> Result<(), StoreError> {
        tier.store.flush()?;
        let sequences: Vec<u64> = batch.rules.iter().map(|rule| rule.sequence).collect();
        self.retire(&sequences, batch.swept_memory);
        self.begin_batch();
        Ok(())
    }

    fn retire(&mut self, sequences: &[u64], swept_memory: bool) {
        self.shared.rules.retire(sequences);
        if self.shared.rules.is_crowded() {
            let up_to = sequences.last().copied().unwrap_or_default();
            if !swept_memory {
                self.sweep_memory(true);
            }
            self.shared.rules.forget(up_to);
        }
        let Some(journal) = self.shared.journal.load_full() else { return };
        journal.retired(sequences);
        if journal.is_long()
            && let Err(error) = journal.compact(|| self.journal_contents())
        {
            tracing::warn!(%error, "store: the journal of purges could not be written anew");
        }
    }

    /// Without a disk tier: rules that nothing on disk waits for are done once RAM is clean.
    pub(super) fn purge_memory(&mut self) {
        let sequences: Vec<u64> = self.shared.rules.active().iter().map(|rule| rule.sequence).collect();
        if sequences.is_empty() {
            return;
        }
        let swept = self.sweep_memory(false);
        if self.shared.dir.is_none() {
            self.retire(&sequences, swept);
        }
    }

    /// Drops from RAM what the rules took. Lookups test them anyway, so that it can be left out when it would take
    /// too much of the time.
    pub(super) fn sweep_memory(&mut self, must: bool) -> bool {
        if !must && self.swept_memory.is_some_and(|(when, took)| when.elapsed() < took * MEMORY_SHARE) {
            return false;
        }
        let began = Instant::now();
        self.shared.sweep_memory();
        self.swept_memory = Some((Instant::now(), began.elapsed()));
        true
    }
}

impl Criterion {
    /// Whether only a walk over everything finds what it takes.
    fn has_no_index(&self) -> bool {
        match self {
            Self::Before(_) | Self::All | Self::Prefix { authority: None, .. } => true,
            Self::Glob(pattern) => !matches!(Self::literal(pattern), Some((Some(_), _))),
            _ => false,
        }
    }

    /// Whether the URL of an entry, and its key's digest, say if it takes it.
    const fn goes_by_url(&self) -> bool {
        match self {
            Self::Key(_) | Self::Url { .. } | Self::Prefix { .. } | Self::Glob(_) | Self::Host(_) => true,
            Self::Route(_) | Self::Tag(_) | Self::Before(_) | Self::All => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn what_no_index_finds_shares_one_walk() {
        let below = |authority: Option<&str>| Criterion::Prefix {
            authority: authority.map(Into::into),
            target: "/x".into(),
        };
        for (criterion, expected) in [
            (Criterion::All, true),
            (Criterion::Before(Timestamp::from_secs(1)), true),
            (below(None), true),
            (Criterion::Glob("/x/*".into()), true),
            (Criterion::Glob("*.example/x".into()), true),
            (Criterion::Glob("a.example/x/*".into()), false),
            (below(Some("a")), false),
            (Criterion::Host("a".into()), false),
            (Criterion::Tag("red".into()), false),
            (Criterion::Route("r".into()), false),
        ] {
            assert_eq!(criterion.has_no_index(), expected, "{criterion:?}");
        }
    }

    #[test]
    fn ten_thousand_rules_are_few_walks() {
        let rule = |criterion| Rule { sequence: 1, soft: false, criterion };
        let glob = |n| rule(Criterion::Glob(format!("*/{n}").into()));
        let tag = || Criterion::Tag("red".into());
        let key = || Criterion::Key(crate::cache::key::Digest([1; 16]));
        assert_eq!(By::of(&[rule(key()), rule(tag())]), [By::Rule(tag()), By::Rule(key())]);
        let mut rules: Vec<_> = (0..10_000).map(glob).collect();
        assert_eq!(By::of(&rules), [By::Url]);
        rules.extend([rule(key()), rule(tag())]);
        assert_eq!(By::of(&rules), [By::Url, By::Rule(tag())], "no URL tells the tags");
        rules.push(rule(Criterion::Before(Timestamp::from_secs(1))));
        assert_eq!(By::of(&rules), [By::Reading]);
    }
}
