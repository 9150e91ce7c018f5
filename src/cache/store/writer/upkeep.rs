//! What can wait: making room, removing what is of no more use, tidying after a crash, salvaging.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::{SLICE, Writer};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::purge::rules::Verdict;
use crate::cache::purge::{Criterion, Subject};
use crate::cache::store::EntryId;
use crate::cache::store::disk::salvage::salvage;
use crate::cache::store::engine::StoreError;
use crate::cache::store::eviction::{Coldest, is_full, used};
use crate::cache::store::shared::Tier;

/// Writes after which expired entries are looked for.
const EXPIRE_EVERY: u32 = 256;
/// Writes that a slice of expired entries makes up for: two go for each that comes.
const EXPIRE_FOR: u32 = SLICE as u32 / 2;

/// What waits to be done.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Limits or expiry should be looked at.
    pub due: bool,
    /// Something grows that is over its limit.
    pressing: bool,
    /// Among all entries.
    hand: Hand,
    /// Among the entries of a route that has a quota.
    hands: HashMap<Box<str>, Hand>,
    since_expiry: u32,
    /// There was more that had expired.
    expiring: bool,
    tidying: Tidying,
    salvage: Option<Salvage>,
}

/// Eviction among some entries.
#[derive(Debug, Default)]
struct Hand {
    /// Where it looked last.
    at: Option<Vec<u8>>,
    /// What it found there to go next.
    coldest: Coldest,
    /// What they may take.
    limits: (u64, u64),
    /// How far beyond that they have been at the least.
    least: u64,
}

/// When something is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// At once: it is for the writes that come.
    AtOnce,
    /// When there is time.
    InTime,
}

#[derive(Debug, Default)]
enum Tidying {
    #[default]
    Done,
    At(Option<Vec<u8>>),
}

/// Entries that come from databases set aside.
#[derive(Debug)]
pub(super) struct Salvage {
    entries: Receiver<Salvaged>,
}

#[derive(Debug)]
enum Salvaged {
    Entry(PathBuf, EntryId, Box<Entry>),
    /// One database was walked to its end, or could not be.
    End(PathBuf, bool),
}

impl Salvage {
    /// Walks the databases on a thread of its own; `None` where there are none.
    pub(super) fn start(found: Vec<PathBuf>) -> Option<Self> {
        if found.is_empty() {
            return None;
        }
        let (out, entries) = sync_channel(SLICE);
        let walk = move || {
            for path in found {
                let whole = salvage(&path, |id, entry| {
                    out.send(Salvaged::Entry(path.clone(), id, Box::new(entry))).is_ok()
                });
                if out.send(Salvaged::End(path, whole)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("store-salvage".to_owned()).spawn(walk).ok()?;
        Some(Self { entries })
    }
}

impl Upkeep {
    pub(super) fn opened(&mut self, salvage: Option<Salvage>) {
        *self = Self {
            due: true,
            since_expiry: EXPIRE_EVERY,
            tidying: Tidying::At(None),
            salvage,
            ..Self::default()
        };
    }

    /// Ends the salvaging thread, too.
    pub(super) fn closing(&mut self) {
        *self = Self::default();
    }

    pub(super) fn wrote(&mut self) {
        self.since_expiry += 1;
        self.due = true;
    }

    /// Whether entries still come from a database that was set aside.
    pub(super) fn is_salvaging(&self) -> bool {
        self.salvage.is_some()
    }

    /// Whether writes need room that there is not.
    pub(super) const fn is_pressing(&self) -> bool {
        self.pressing
    }

    pub(super) fn has_work(&self) -> bool {
        self.due || self.salvage.is_some() || !matches!(self.tidying, Tidying::Done)
    }
}

impl Writer {
    /// Keeps up with the writes: what they add to what is over its limit goes before the next.
    pub(super) fn make_room_at_once(&mut self, tier: &Tier) -> Result<(), StoreError> {
        if self.upkeep.due {
            self.upkeep.pressing = false;
            self.upkeep.due = self.make_room(tier, When::AtOnce)?;
        }
        Ok(())
    }

    /// One slice: room first, then the rest in turn.
    pub(super) fn upkeep_slice(&mut self, tier: &Tier) -> Result<(), StoreError> {
        if self.upkeep.due {
            self.upkeep.due = self.make_room(tier, When::InTime)?;
            return Ok(());
        }
        if let Some(salvage) = self.upkeep.salvage.take() {
            return self.take_salvaged(tier, salvage);
        }
        // Only now: until all is salvaged, a body without an entry may yet get one.
        if let Tidying::At(at) = std::mem::take(&mut self.upkeep.tidying)
            && let Some(next) = tier.store.tidy(at)?
        {
            self.upkeep.tidying = Tidying::At(Some(next));
        }
        Ok(())
    }

    /// A slice of what brings everything below its limit; says whether there is more to do.
    fn make_room(&mut self, tier: &Tier, when: When) -> Result<bool, StoreError> {
        Ok(match when {
            When::AtOnce => {
                self.keep_limits(tier, when)? | self.keep_quotas(tier, when)? | self.expire(tier, when)?
            }
            When::InTime => {
                self.keep_limits(tier, when)? || self.keep_quotas(tier, when)? || self.expire(tier, when)?
            }
        })
    }

    /// Evicts while the limits of all are exceeded.
    fn keep_limits(&mut self, tier: &Tier, when: When) -> Result<bool, StoreError> {
        let settings = self.shared.settings.load_full();
        let limits = (settings.disk, settings.max_entries);
        let excess = || {
            let usage = tier.store.usage();
            let mean = (usage.bytes / usage.entries.max(1)).max(1);
            let entries = usage.entries.saturating_sub(settings.max_entries).saturating_mul(mean);
            usage.bytes.saturating_sub(settings.disk).max(entries)
        };
        self.shared.memory.frequency().fit(tier.store.usage().entries);
        let over = excess() > 0;
        let mut hand = std::mem::take(&mut self.upkeep.hand);
        let more = self.evict(tier, &Criterion::All, when, (&mut hand, limits), excess);
        self.upkeep.hand = hand;
        let full = is_full(self.shared.is_disk_full(), over, used(tier.store.usage(), &settings));
        self.shared.set_full(None, full);
        more
    }

    /// The same for the routes that may take only so much; each makes room among its own.
    fn keep_quotas(&mut self, tier: &Tier, when: When) -> Result<bool, StoreError> {
        let settings = self.shared.settings.load_full();
        let mut more = false;
        for quota in &settings.quotas {
            let Some(limit) = quota.disk else { continue };
            let excess = || tier.store.route_usage(&quota.route).bytes.saturating_sub(limit);
            let over = excess() > 0;
            let mut hand = self.upkeep.hands.remove(&quota.route).unwrap_or_default();
            let among = Criterion::Route(quota.route.clone());
            let evicted = self.evict(tier, &among, when, (&mut hand, (limit, 0)), excess);
            self.upkeep.hands.insert(quota.route.clone(), hand);
            let used = [(tier.store.route_usage(&quota.route).bytes, limit)];
            let full = is_full(self.shared.is_route_full(&quota.route), over, used);
            self.shared.set_full(Some(&quota.route), full);
            more |= evicted?;
        }
        Ok(more)
    }

    /// Looks at the next entries that `among` takes, and evicts of them the coldest while there is an `excess`. Says
    /// whether there is more to do. At once goes only what has been added: where a limit was lowered, or is exceeded
    /// from the start, there is time.
    fn evict(
        &mut self,
        tier: &Tier,
        among: &Criterion,
        when: When,
        (hand, limits): (&mut Hand, (u64, u64)),
        excess: impl Fn() -> u64,
    ) -> Result<bool, StoreError> {
        if hand.limits != limits {
            (hand.limits, hand.least) = (limits, u64::MAX);
        }
        let over = excess();
        if over == 0 || (when == When::AtOnce && over <= hand.least) {
            hand.least = over;
            return Ok(over > 0);
        }
        let more = self.evict_some(tier, among, hand, || excess() > 0)?;
        let over = excess();
        // Where nothing more can go, nothing is pressing.
        self.upkeep.pressing |= more && over > hand.least;
        hand.least = hand.least.min(over);
        Ok(more)
    }

    /// Evicts the coldest that are known, and looks at some more where none is.
    fn evict_some(
        &self,
        tier: &Tier,
        among: &Criterion,
        hand: &mut Hand,
        is_over: impl Fn() -> bool,
    ) -> Result<bool, StoreError> {
        let asked_for = |digest| self.shared.memory.asked_for(digest);
        let mut looked = false;
        while is_over() {
            let Some(id) = hand.coldest.next(asked_for) else {
                if looked {
                    return Ok(true);
                }
                looked = true;
                let from_start = hand.at.is_none();
                let mut walk = tier.store.candidates(among, hand.at.as_deref(), SLICE)?;
                hand.at = walk.next;
                walk.entries.retain(|(id, entry)| among.takes(&Subject::of(id.digest, entry)));
                let all = from_start && hand.at.is_none();
                if all && walk.entries.is_empty() {
                    // Without an entry left nothing more can go.
                    return Ok(false);
                }
                let seen = walk.entries.into_iter().map(|(id, entry)| (id, entry.keep_until));
                hand.coldest = Coldest::of(seen, all, self.shared.clock.now(), asked_for);
                continue;
            };
            if tier.store.remove(id)? {
                self.shared.forget(id);
                self.shared.counters.evicted.fetch_add(1, Relaxed);
            }
        }
        Ok(false)
    }

    /// Removes what is past its `keep_until`; says whether there is more.
    fn expire(&mut self, tier: &Tier, when: When) -> Result<bool, StoreError> {
        let every = if self.upkeep.expiring { EXPIRE_FOR } else { EXPIRE_EVERY };
        let in_time = when == When::InTime && self.upkeep.expiring;
        if self.upkeep.since_expiry < every && !in_time {
            return Ok(self.upkeep.expiring);
        }
        let now = self.shared.clock.now();
        let mut removed = 0;
        for (keep_until, id) in tier.store.soonest_expiring(SLICE)? {
            if keep_until >= now {
                break;
            }
            tier.store.remove(id)?;
            self.shared.forget(id);
            self.shared.counters.expired.fetch_add(1, Relaxed);
            removed += 1;
        }
        self.upkeep.since_expiry = 0;
        self.upkeep.expiring = removed == SLICE;
        Ok(self.upkeep.expiring)
    }

    fn take_salvaged(&mut self, tier: &Tier, salvage: Salvage) -> Result<(), StoreError> {
        for taken in 0..SLICE {
            // The first is waited for, a little: an idle writer must not spin while the other thread reads.
            let next = if taken == 0 {
                salvage.entries.recv_timeout(std::time::Duration::from_millis(5)).map_err(|error| match error
                {
                    std::sync::mpsc::RecvTimeoutError::Timeout => TryRecvError::Empty,
                    std::sync::mpsc::RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                })
            } else {
                salvage.entries.try_recv()
            };
            match next {
                Ok(Salvaged::Entry(path, id, entry)) => self.readmit(tier, &path, id, *entry)?,
                Ok(Salvaged::End(path, whole)) => self.end_salvage(&path, whole),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.shared.salvaging.store(false, Release);
                    return Ok(());
                }
            }
        }
        self.upkeep.salvage = Some(salvage);
        Ok(())
    }

    /// Copies an entry back unless something newer stands there, a purge took it or its body is gone.
    fn readmit(&self, tier: &Tier, from: &PathBuf, id: EntryId, mut entry: Entry) -> Result<(), StoreError> {
        if entry.keep_until < self.shared.clock.now() || tier.store.contains(id)? {
            return Ok(());
        }
        if let BodyRef::File(file) = &entry.body
            && !tier.files.exists(file)
        {
            return Ok(());
        }
        match self.shared.rules.read().test_new(&Subject::of(id.digest, &entry), entry.sequence) {
            Verdict::Gone => return Ok(()),
            Verdict::Soft => entry.soft_purged = true,
            Verdict::Stands => {}
        }
        tier.store.put(id, &entry)?;
        // RAM may say that there is no such variant.
        let _stripe = self.shared.stripe(id.digest);
        if self.shared.waiting.get(id.digest).is_none() {
            self.shared.memory.remove(&id.digest);
        }
        if let Some(quarantine) =
            self.shared.quarantines.lock().iter_mut().find(|quarantine| quarantine.path == *from)
        {
            quarantine.salvaged += 1;
        }
        Ok(())
    }

    fn end_salvage(&self, path: &PathBuf, whole: bool) {
        let mut quarantines = self.shared.quarantines.lock();
        let salvaged = quarantines
            .iter()
            .find(|quarantine| quarantine.path == *path)
            .map_or(0, |quarantine| quarantine.salvaged);
        if !whole {
            drop(quarantines);
            let message = format!(
                "{salvaged} entries were copied back from {}; the rest cannot be read, and it can be deleted",
                path.display()
            );
            self.shared.tell("salvage-incomplete", message);
            return;
        }
        quarantines.retain(|quarantine| quarantine.path != *path);
        drop(quarantines);
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!(%error, "store: a salvaged index could not be deleted");
        }
        self.shared.tell("salvaged", format!("{salvaged} entries were copied back from the index set aside"));
    }
}
