//! One policy's limiter: its table, its hash, and what is told of it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rate::{Algorithm, Quota, Rate, Taken};
use super::table::{Asker, Label, Seen, Table};
use crate::clock::Timestamp;

/// What a limiter counts by. While none of it changes, its counts survive a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The policy's name.
    pub name: Arc<str>,
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// By tier; the first is that of everyone else, and there always is one.
    pub quotas: Vec<Quota>,
    /// Keys that are remembered.
    pub max_keys: usize,
    /// What the keys are made of, in the config's words.
    pub key: Box<str>,
}

/// Counts the requests of one policy, for all workers.
#[derive(Debug)]
pub struct Limiter {
    settings: Settings,
    table: Table,
    hasher: RandomState,
    exempt: AtomicU64,
}

/// How a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How it is shown.
    pub label: Label,
    /// Which tier it is in; 0: none.
    pub tier: u16,
    /// The most that it may send at once.
    pub limit: u32,
    /// Requests refused since it has its place in the table.
    pub refused: u32,
    /// What would come of a request now.
    pub now: Taken,
}

/// What was counted since the start, or since the policy was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were within the quota.
    pub allowed: u64,
    /// Requests refused.
    pub limited: u64,
    /// Requests that would have been refused.
    pub dry_run: u64,
    /// Requests that are not limited.
    pub exempt: u64,
    /// Keys that made room though their quota was not whole.
    pub evicted: u64,
    /// Requests that were counted against a quota shared by those who found no room.
    pub shared: u64,
    /// Keys in the table.
    pub keys: usize,
}

impl Limiter {
    /// A limiter that has counted nothing.
    pub fn new(settings: Settings) -> Self {
        let rates = settings.quotas.iter().map(|quota| Rate { algorithm: settings.algorithm, quota: *quota });
        let table = Table::new(settings.max_keys, rates.collect());
        Self { settings, table, hasher: RandomState::new(), exempt: AtomicU64::new(0) }
    }

    /// The one among `kept` with these settings, counts and all, or a new one.
    pub fn keep_or_new(settings: Settings, kept: &[Arc<Self>]) -> Arc<Self> {
        let same = kept.iter().find(|limiter| limiter.settings == settings);
        same.cloned().unwrap_or_else(|| Arc::new(Self::new(settings)))
    }

    /// What it counts by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A hash that nobody outside can foresee, for keys of this limiter.
    pub fn hasher(&self, tier: u16) -> impl Hasher + use<> {
        let mut hasher = self.hasher.build_hasher();
        // A request of another tier is counted apart: it has another quota.
        hasher.write_u16(tier);
        hasher
    }

    /// Counts a request, if it fits; `dry_run` says that it passes even if not.
    pub fn take(
        &self,
        hash: u64,
        tier: u16,
        now: Timestamp,
        dry_run: bool,
        label: impl FnOnce() -> Label,
    ) -> Taken {
        self.table.take(Asker { hash, tier }, now, dry_run, label)
    }

    /// How a key stands, nothing counted.
    pub fn look(&self, hash: u64, tier: u16, now: Timestamp) -> Taken {
        self.table.look(Asker { hash, tier }, now)
    }

    /// Gives back what an allowed request took: it was refused after all, by another policy.
    pub fn give_back(&self, hash: u64, tier: u16) {
        self.table.give_back(Asker { hash, tier });
    }

    /// Counts a request that is not limited.
    pub fn exempt(&self) {
        self.exempt.fetch_add(1, Ordering::Relaxed);
    }

    /// The most that a key of this tier may send at once.
    pub fn limit(&self, tier: u16) -> u32 {
        let quota = self.settings.quotas.get(usize::from(tier)).or(self.settings.quotas.first());
        quota.map_or(0, |quota| quota.limit(self.settings.algorithm))
    }

    /// The most bytes that it ever takes.
    pub fn max_bytes(&self) -> usize {
        self.table.max_bytes()
    }

    /// The keys whose quota is not whole (or only those who have none left), nearest to their limit first, `most` at
    /// most; and how many there are in all.
    pub fn nearest(&self, now: Timestamp, limited: bool, most: usize) -> (Vec<Standing>, usize) {
        let (mut found, mut total) = (Vec::new(), 0);
        let order = |standings: &mut Vec<Standing>| {
            standings.sort_by_key(|standing| (nearness(standing), standing.label.to_string()));
            standings.truncate(most);
        };
        self.table.each(now, |seen| {
            let Seen { label, tier, refused, now } = seen;
            if limited && now.remaining > 0 {
                return;
            }
            total += 1;
            found.push(Standing { label, tier, limit: self.limit(tier), refused, now });
            // What is held here stays bounded, however many there are.
            if found.len() >= most.saturating_mul(2).max(1024) {
                order(&mut found);
            }
        });
        order(&mut found);
        (found, total)
    }

    /// Forgets the keys that are shown so, or all; how many there were.
    pub fn forget(&self, label: Option<&str>) -> usize {
        self.table.forget(label)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let tally = self.table.tally();
        Counts {
            allowed: tally.allowed,
            limited: tally.limited,
            dry_run: tally.dry_run,
            exempt: self.exempt.load(Ordering::Relaxed),
            evicted: tally.evicted,
            shared: tally.shared,
            keys: self.table.len(),
        }
    }
}

/// Sorts who is limited first, by who waits longest, then by the share that is left.
fn nearness(standing: &Standing) -> (u64, std::cmp::Reverse<std::time::Duration>) {
    let left = u64::from(standing.now.remaining) * 1_000_000 / u64::from(standing.limit.max(1));
    (left, std::cmp::Reverse(standing.now.retry))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn settings(requests: u32) -> Settings {
        let quota = |requests| Quota { requests, window: Duration::from_secs(60), burst: requests };
        Settings {
            name: "api".into(),
            algorithm: Algorithm::Gcra,
            quotas: vec![quota(requests), quota(requests * 10)],
            max_keys: 100,
            key: "client".into(),
        }
    }

    fn ask(limiter: &Limiter, key: &str, tier: u16) -> bool {
        let mut hasher = limiter.hasher(tier);
        hasher.write(key.as_bytes());
        limiter.take(hasher.finish(), tier, START, false, || Label::text(key.to_owned())).allowed
    }

    #[test]
    fn counts_are_kept_while_the_settings_are_the_same() {
        let first = Limiter::keep_or_new(settings(2), &[]);
        assert!(ask(&first, "a", 0) && ask(&first, "a", 0) && !ask(&first, "a", 0));
        let kept = Limiter::keep_or_new(settings(2), std::slice::from_ref(&first));
        assert!(!ask(&kept, "a", 0) && Arc::ptr_eq(&first, &kept));
        assert!(ask(&Limiter::keep_or_new(settings(3), &[first]), "a", 0));
    }

    #[test]
    fn tiers_have_quotas_of_their_own() {
        let limiter = Limiter::new(settings(2));
        assert_eq!((0..50).filter(|_| ask(&limiter, "a", 1)).count(), 20);
        assert_eq!((0..50).filter(|_| ask(&limiter, "a", 0)).count(), 2);
    }

    #[test]
    fn who_is_limited_comes_first() {
        let limiter = Limiter::new(settings(4));
        for (key, times) in [("one", 1), ("all", 5), ("three", 3)] {
            for _ in 0..times {
                ask(&limiter, key, 0);
            }
        }
        let (near, total) = limiter.nearest(START, false, 2);
        let shown: Vec<_> = near
            .iter()
            .map(|standing| (standing.label.to_string(), standing.now.remaining, standing.refused))
            .collect();
        assert_eq!(shown, [("all".to_owned(), 0, 1), ("three".to_owned(), 1, 0)]);
        assert_eq!((total, limiter.nearest(START, true, 9).1), (3, 1));
        let counts = limiter.counts();
        assert_eq!((counts.allowed, counts.limited, counts.keys), (8, 1, 3));
    }
}
