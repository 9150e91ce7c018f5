//! The cache's door: RAM over disk, under the purge rules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::oneshot;

use super::EntryId;
use super::disk::directory::{self, ClaimError, Directory};
use super::memory::Resource;
use super::near::Near;
use super::queue::{Op, Write};
use super::report::{Closed, Finding, Quarantine, RouteStats, State, Stats};
use super::shared::{Shared, Traffic};
use super::writer::Writer;
use crate::cache::Settings;
use crate::cache::entry::Entry;
use crate::cache::key::{Digest, KeyParts, Secret, StoredKey};
use crate::cache::leak::Leaks;
use crate::cache::policy::partial;
use crate::cache::purge::journal::Journal;
use crate::cache::purge::{Criterion, PurgeError, PurgeReport};
use crate::clock::Clock;

/// How long a purge waits until the process that takes over has it.
const HEIR_PATIENCE: Duration = Duration::from_secs(10);
/// A purge rule as it was added.
struct Added {
    sequence: u64,
    journal: Option<Arc<Journal>>,
    /// Hears when the process that takes over has it.
    told: Option<oneshot::Receiver<()>>,
}

/// Why the cache cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("store directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no random numbers, or no thread.
    #[error("cannot start the store: {0}")]
    System(#[source] std::io::Error),
}

/// What the system refuses today and may grant tomorrow: the directory is tried again, and nobody need wait for it.
fn may_pass(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// What [`Cache::at_hand`] finds.
#[derive(Debug)]
pub struct AtHand {
    /// The key's variants.
    pub resource: Near,
    from_disk: bool,
}

/// The cache of an instance: entries in RAM and on disk, under purge rules.
#[derive(Debug)]
pub struct Cache {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Sender<Op>,
    leaks: Leaks,
}

impl Cache {
    /// Starts with what RAM holds (nothing), and opens `dir` behind; without `dir`, or with a disk limit of zero,
    /// RAM is all there is. Returns at once. Purges that were answered before hold from the start.
    pub fn open(settings: Settings, dir: Option<PathBuf>, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let Some(dir) = dir.filter(|_| settings.disk > 0) else { return Self::in_memory(settings, clock) };
        let failed = |source| OpenError::Directory { path: dir.clone(), source };
        let claimed = Directory::claim(&dir).and_then(|claimed| Ok((directory::secret(&dir)?, claimed)));
        let (secret, claimed) = match claimed {
            Ok((secret, claimed)) => (secret, Ok(claimed)),
            Err(ClaimError::Io(source)) if !may_pass(&source) => return Err(failed(source)),
            // Not ours for now: nothing is written there.
            Err(refused) => match directory::read_secret(&dir.join("secret")) {
                Ok(Some(secret)) => (secret, Err(refused)),
                _ => (directory::fresh_secret().map_err(OpenError::System)?, Err(refused)),
            },
        };
        let base = Writer::sequence_base(&clock);
        let shared = Arc::new(Shared::new(settings, Some(dir.clone()), secret, clock, base));
        let (queue, ops) = std::sync::mpsc::channel();
        let mut writer = Writer::new(shared.clone(), ops);
        let adopted = claimed.and_then(|directory| Ok(writer.adopt(directory)?));
        match adopted {
            Ok(()) => {}
            Err(ClaimError::Io(source)) if !may_pass(&source) => return Err(failed(source)),
            Err(refused) => {
                writer.refused(refused);
            }
        }
        writer.start().map_err(OpenError::System)?;
        Ok(Arc::new(Self { shared, queue, leaks: Leaks::default() }))
    }

    /// A cache in RAM alone.
    pub fn in_memory(settings: Settings, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let secret = directory::fresh_secret().map_err(OpenError::System)?;
        let base = Writer::sequence_base(&clock);
        let shared = Arc::new(Shared::new(settings, None, secret, clock, base));
        let (queue, ops) = std::sync::mpsc::channel();
        Writer::new(shared.clone(), ops).start().map_err(OpenError::System)?;
        Ok(Arc::new(Self { shared, queue, leaks: Leaks::default() }))
    }

    /// Background work on disk rests the more, the busier these workers are: `busy` says for how long they have been,
    /// all together. To be called once; without it such work goes at full speed.
    pub fn give_way_to(&self, workers: u32, busy: impl Fn() -> Duration + Send + Sync + 'static) {
        let _ = self.shared.traffic.set(Traffic { workers, busy: Box::new(busy) });
    }

    /// What the leak guard knows.
    pub fn leaks(&self) -> &Leaks {
        &self.leaks
    }

    /// The secret with which field values are hashed in keys and variants.
    pub fn secret(&self) -> &Secret {
        &self.shared.secret
    }

    /// New limits, after a reload. They hold from now on; what is over them goes in the background. Whether there
    /// is a disk tier at all is settled when the cache opens.
    pub fn reconfigure(&self, settings: Settings) {
        self.shared.memory.resize(settings.memory, &settings.quotas);
        self.shared.settings.store(Arc::new(settings));
        self.wake_once();
    }

    /// The limits that hold now.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// How the disk tier stands.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// Waits until opening has come to an end, and says how.
    pub async fn wait_open(&self) -> State {
        let mut states = self.shared.state.subscribe();
        // The sender lives in `shared`, so that waiting cannot fail.
        match states.wait_for(State::is_settled).await {
            Ok(state) => state.clone(),
            Err(_) => self.state(),
        }
    }

    /// What the directory's owner should know, oldest first; bounded.
    pub fn findings(&self) -> Vec<Finding> {
        self.shared.findings.lock().iter().cloned().collect()
    }

    /// What was set aside and not yet salvaged.
    pub fn quarantines(&self) -> Vec<Quarantine> {
        self.shared.quarantines.lock().clone()
    }

    /// What is stored for a key, purge rules applied. Never another key's entry: the whole key is compared.
    pub fn lookup(&self, key: &KeyParts<'_>, digest: Digest) -> Option<Arc<Resource>> {
        let found = match self.shared.memory.get(&digest) {
            Some(resource) if self.shared.is_current(&resource) => {
                resource.touch();
                self.shared.counters.memory_hits.add(1);
                Some(resource)
            }
            known => self.lookup_further(digest, known),
        };
        self.of_key(key, found?)
    }

    /// What is stored under a digest and nothing has taken since, if it `has_key`: all of it has one key. No look-up of its
    /// own, until it is [counted](Self::count_hit).
    pub fn at_hand(&self, digest: Digest, has_key: impl FnOnce(&Arc<Resource>) -> bool) -> Option<AtHand> {
        let (resource, from_disk) = match self.shared.memory.get_near(&digest) {
            Some(resource) => (resource, false),
            None => (Near::Shared(self.at_hand_on_disk(digest)?), true),
        };
        let stands = resource.uniform && self.shared.is_current(&resource);
        (stands && has_key(resource.shared())).then_some(AtHand { resource, from_disk })
    }

    /// What RAM does not know; it does not come to know it by this.
    #[inline(never)]
    fn at_hand_on_disk(&self, digest: Digest) -> Option<Arc<Resource>> {
        let loaded = self.shared.load_from_disk(digest)?;
        Resource::new(digest, loaded.variants, loaded.epoch, loaded.checked).map(Arc::new)
    }

    /// What was at hand answers a request.
    pub fn count_hit(&self, at_hand: &AtHand) {
        let AtHand { resource, from_disk } = at_hand;
        resource.touch();
        if !from_disk {
            self.shared.counters.memory_hits.add(1);
            return;
        }
        let shared = &*self.shared;
        shared.counters.disk_hits.fetch_add(1, Relaxed);
        shared.memory.frequency().add(resource.digest, 1);
        if shared.memory.has_room_for(resource) {
            // Read once more: it may have changed, and who puts something in must keep others from doing so.
            let _stripe = shared.stripe(resource.digest);
            shared.keep(resource.digest, shared.load(resource.digest, shared.memory.peek(&resource.digest)));
        }
    }

    /// What stands under a key now, where that is not what a [look-up](Self::lookup) has just `found`. It is no
    /// look-up of its own: neither the hit ratio nor what is kept goes by it.
    pub fn lookup_again(
        &self,
        key: &KeyParts<'_>,
        digest: Digest,
        found: Option<&Arc<Resource>>,
    ) -> Option<Arc<Resource>> {
        let shared = &*self.shared;
        let stands = match shared.memory.peek(&digest).filter(|resource| shared.is_current(resource)) {
            Some(stands) => stands,
            None if found.is_none() && shared.is_nowhere(digest) => return None,
            None => {
                let _stripe = shared.stripe(digest);
                shared.keep(digest, shared.load(digest, shared.memory.peek(&digest)))?
            }
        };
        let is_news = found.is_none_or(|found| !Arc::ptr_eq(found, &stands));
        is_news.then(|| self.of_key(key, stands))?
    }

    /// What of a resource has this very key: two may have one digest.
    fn of_key(&self, key: &KeyParts<'_>, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        if resource.uniform {
            return key.matches(&resource.variants[0].key, &self.shared.secret).then_some(resource);
        }
        let variants = resource.variants.iter().filter(|entry| key.matches(&entry.key, &self.shared.secret));
        Resource::new(resource.digest, variants.cloned().collect(), resource.epoch, 0).map(Arc::new)
    }

    fn lookup_further(&self, digest: Digest, known: Option<Arc<Resource>>) -> Option<Arc<Resource>> {
        let shared = &*self.shared;
        if let Some(resource) = &known
            && shared.stands_unchanged(resource)
        {
            resource.touch();
            shared.counters.memory_hits.add(1);
            return known;
        }
        // Most that RAM does not know is nowhere: no need to keep others from the key.
        let nowhere = known.is_none() && shared.is_nowhere(digest);
        self.report_failures();
        if nowhere {
            shared.counters.misses.fetch_add(1, Relaxed);
            return None;
        }
        let _stripe = shared.stripe(digest);
        let loaded = shared.load(digest, shared.memory.peek(&digest));
        match (loaded.variants.is_empty(), loaded.from_disk) {
            (true, _) => shared.counters.misses.fetch_add(1, Relaxed),
            (false, true) => shared.counters.disk_hits.fetch_add(1, Relaxed),
            (false, false) => shared.counters.memory_hits.add(1),
        };
        let resource = shared.keep(digest, loaded)?;
        resource.touch();
        Some(resource)
    }

    /// A read that failed may mean that the disk tier must be closed: the writer decides.
    fn report_failures(&self) {
        let failures = &self.shared.read_failures;
        if failures.io.load(Relaxed) + failures.corrupt.load(Relaxed) > 0 {
            self.wake(Op::Failed);
        }
    }

    /// The purge sequence; to be taken before a fetch begins (and before the lookup that leads to it) and handed to
    /// [`Cache::insert`].
    pub fn sequence(&self) -> u64 {
        self.shared.rules.latest()
    }

    /// Whether a fetch for `key` that began at `since` was spared by every purge since then.
    pub fn spared(&self, digest: Digest, key: &StoredKey, since: u64) -> bool {
        self.shared.rules.spare(digest, key, since)
    }

    /// The parts of the representation that `of` is one of, in the order of their places, purge rules applied.
    pub fn parts(&self, of: &Entry) -> Vec<Arc<Entry>> {
        let digest = of.key.digest();
        let _stripe = self.shared.stripe(digest);
        let mut found = self.shared.load(digest, self.shared.memory.peek(&digest)).variants;
        found.retain(|entry| entry.key == of.key && partial::are_parts_of_one(of, entry));
        found.sort_by_key(|entry| entry.bytes().start);
        found
    }

    /// Removes one variant.
    pub fn remove(&self, id: EntryId) {
        let shared = &*self.shared;
        let digest = id.digest;
        let _stripe = shared.stripe(digest);
        let mut loaded = shared.load(digest, shared.memory.peek(&digest));
        loaded.variants.retain(|entry| EntryId::of(digest, entry) != id);
        let resource = shared.keep(digest, loaded);
        if shared.disk.load().is_some() {
            shared.submit(&self.queue, Write::Remove { id, body: None }, resource);
        }
    }

    /// The names by which what is stored under a key can be purged.
    pub fn tags(&self, key: &StoredKey) -> Vec<Box<str>> {
        let digest = key.digest();
        let shared = &*self.shared;
        let loaded = {
            let _stripe = shared.stripe(digest);
            shared.load(digest, shared.memory.peek(&digest))
        };
        let own = loaded.variants.iter().filter(|entry| entry.key == *key);
        own.flat_map(|entry| entry.tags.iter().cloned()).collect()
    }

    /// Purges: holds on every worker from now on and, once answered, across `kill -9`. `soft` marks stale instead.
    pub async fn purge(&self, criterion: Criterion, soft: bool) -> Result<PurgeReport, PurgeError> {
        self.purge_all([criterion], soft).await
    }

    /// As [`Cache::purge`], by several criteria in one go.
    pub async fn purge_all(
        &self,
        criteria: impl IntoIterator<Item = Criterion>,
        soft: bool,
    ) -> Result<PurgeReport, PurgeError> {
        let mut report = PurgeReport { sequence: self.sequence(), durable: true };
        let (mut last, mut confirmed) = (None, None);
        for criterion in criteria {
            let Added { sequence, journal, told } = self.add_rule(criterion, soft);
            report.sequence = sequence;
            report.durable &= journal.is_some() || told.is_some();
            (last, confirmed) = (journal, told);
        }
        if let Some(journal) = last {
            journal.commit(report.sequence).await.map_err(PurgeError::NotDurable)?;
        }
        if let Some(confirmed) = confirmed {
            // Confirmed in order: with the last one all are. If the other process fails, this one's journal gets them.
            report.durable = matches!(tokio::time::timeout(HEIR_PATIENCE, confirmed).await, Ok(Ok(())));
        }
        Ok(report)
    }

    /// Purges without waiting for the journal: what an unsafe method invalidates (RFC 9111 4.4).
    pub fn invalidate(&self, criterion: Criterion) {
        self.add_rule(criterion, false);
    }

    fn add_rule(&self, criterion: Criterion, soft: bool) -> Added {
        let (mut journal, mut told) = (None, None);
        let sequence = self.shared.rules.add(criterion, soft, |rule| {
            // Under the rules' lock: whoever takes the journal over sees the rule in one place or the other.
            journal = self.shared.journal.load_full();
            if let Some(journal) = &journal {
                journal.append(rule);
            }
            told = self.shared.heir.load().as_ref().map(|heir| heir.tell(rule));
        });
        self.wake_once();
        Added { sequence, journal, told }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let shared = &*self.shared;
        let settings = shared.settings.load();
        let counters = &shared.counters;
        let usage = shared.disk.load().as_ref().map(|tier| tier.store.usage()).unwrap_or_default();
        Stats {
            memory_resources: shared.memory.len(),
            memory_bytes: shared.memory.bytes(),
            memory_limit: shared.memory.capacity(),
            disk_entries: usage.entries,
            max_entries: settings.max_entries,
            disk_bytes: usage.bytes,
            disk_limit: settings.disk,
            memory_hits: counters.memory_hits.sum(),
            disk_hits: counters.disk_hits.load(Relaxed),
            misses: counters.misses.load(Relaxed),
            inserts: counters.inserts.load(Relaxed),
            queue_depth: shared.waiting.len(),
            queue_dropped: counters.dropped.load(Relaxed),
            purged_in_flight: counters.purged_in_flight.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            evicted: counters.evicted.load(Relaxed),
            expired: counters.expired.load(Relaxed),
            purged: counters.purged.load(Relaxed),
            rules_active: shared.rules.active_len() as u64,
            corrupt: usage.corrupt
                + counters.corrupt_before.load(Relaxed)
                + counters.corrupt_bodies.load(Relaxed),
            orphans: usage.orphans + counters.orphans_before.load(Relaxed),
        }
    }

    /// What each route takes on disk and, where it has a part of its own, in RAM; by name.
    pub fn routes(&self) -> Vec<RouteStats> {
        let shared = &*self.shared;
        let settings = shared.settings.load();
        let usage = shared.disk.load().as_ref().map(|tier| tier.store.routes()).unwrap_or_default();
        let mut routes: BTreeMap<Box<str>, RouteStats> = usage
            .into_iter()
            .map(|(route, usage)| {
                let known = RouteStats {
                    route: route.clone(),
                    disk_entries: usage.entries,
                    disk_bytes: usage.bytes,
                    ..RouteStats::default()
                };
                (route, known)
            })
            .collect();
        for quota in &settings.quotas {
            let known = routes.entry(quota.route.clone()).or_default();
            known.route = quota.route.clone();
            known.disk_limit = quota.disk;
            known.memory_limit = quota.memory;
            known.memory_bytes = quota.memory.and_then(|_| shared.memory.part_bytes(&quota.route));
        }
        routes.into_values().collect()
    }

    /// Writes what waits, flushes and lets go of the directory. RAM goes on answering.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.wake(Op::Close(done));
        // An error means that the writer is gone already.
        let _ = closed.await;
    }

    /// The entries that RAM holds, and what they weigh, counted one by one.
    #[cfg(test)]
    pub(in crate::cache) fn held(&self) -> (Vec<Arc<Entry>>, u64) {
        let resources = self.shared.memory.iter();
        resources.fold((Vec::new(), 0), |(mut entries, weight), resource| {
            entries.extend(resource.variants.iter().cloned());
            (entries, weight + resource.weight())
        })
    }

    /// Has the writer look at the rules and limits: one word for all that came before it looks.
    pub(super) fn wake_once(&self) {
        if !self.shared.woken.swap(true, AcqRel) {
            self.wake(Op::Wake);
        }
    }

    pub(super) fn wake(&self, op: Op) {
        // The writer ends only after the cache, or by a panic that it reports itself.
        let _ = self.queue.send(op);
    }
}

impl State {
    /// The state that a refusal of the directory means.
    pub(super) fn refused(refused: &ClaimError) -> Self {
        Self::Closed(match refused {
            ClaimError::Locked(pid) => Closed::Locked(*pid),
            ClaimError::Newer(version) => Closed::Newer(*version),
            ClaimError::Io(error) => Closed::Io(error.to_string()),
        })
    }
}
