//! What the cache's door and its writer thread share, and how a key's variants are read under the purge rules.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use super::EntryId;
use super::disk::directory::Directory;
use super::engine::{Store, StoreError};
use super::files::Files;
use super::memory::{Memory, Resource};
use super::ordered::Listings;
use super::queue::{Op, Waiting, Write};
use super::report::{Finding, Quarantine, State};
use super::tally::Tally;
use crate::cache::Settings;
use crate::cache::entry::Entry;
use crate::cache::key::{Digest, Secret};
use crate::cache::purge::Subject;
use crate::cache::purge::heir::Heir;
use crate::cache::purge::journal::Journal;
use crate::cache::purge::rules::{Book, Rules, Verdict};
use crate::clock::Clock;

const MAX_FINDINGS: usize = 64;
const STRIPES: usize = 256;

/// An open disk tier. The directory's lock goes with its last user.
#[derive(Debug)]
pub(super) struct Tier {
    pub store: Box<dyn Store>,
    pub files: Arc<Files>,
    pub _directory: Arc<Directory>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub settings: ArcSwap<Settings>,
    pub clock: Clock,
    pub secret: Secret,
    pub dir: Option<PathBuf>,
    pub rules: Rules,
    pub memory: Memory,
    pub waiting: Waiting,
    pub disk: ArcSwapOption<Tier>,
    /// Counts openings of the disk tier.
    pub epoch: AtomicU64,
    pub journal: ArcSwapOption<Journal>,
    /// The process that takes over, while one does.
    pub heir: ArcSwapOption<Heir>,
    pub state: watch::Sender<State>,
    /// A copy of `state` being [`State::Open`], for the hot path.
    pub storing: AtomicBool,
    pub findings: Mutex<VecDeque<Finding>>,
    pub quarantines: Mutex<Vec<Quarantine>>,
    /// Entries are being copied back from databases that were set aside.
    pub salvaging: AtomicBool,
    /// Listings that are being paged through.
    pub listings: Listings,
    /// Somebody walks over everything that is stored.
    pub inspecting: AtomicBool,
    /// One who changes what stands under a key at a time.
    stripes: Box<[Mutex<()>]>,
    pub counters: Counters,
    /// What comes takes the place of another: on the whole disk, or among the entries of a route with a quota.
    full: AtomicBool,
    full_routes: RwLock<Vec<Box<str>>>,
    /// The writer has been told to look at the rules and limits, and has not begun to.
    pub woken: AtomicBool,
    /// Reads that failed since the disk tier was opened: the writer looks at them.
    pub read_failures: ReadFailures,
    /// To whom background work gives way.
    pub traffic: OnceLock<Traffic>,
}

/// Those who serve clients.
pub(super) struct Traffic {
    pub workers: u32,
    /// How long they have been busy, all together.
    pub busy: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").field("workers", &self.workers).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct ReadFailures {
    pub io: AtomicU64,
    pub corrupt: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub memory_hits: Tally,
    pub disk_hits: AtomicU64,
    pub misses: AtomicU64,
    pub inserts: AtomicU64,
    pub dropped: AtomicU64,
    pub refused: AtomicU64,
    pub purged_in_flight: AtomicU64,
    pub evicted: AtomicU64,
    pub expired: AtomicU64,
    pub purged: AtomicU64,
    pub corrupt_bodies: AtomicU64,
    /// What earlier openings of the disk tier counted.
    pub corrupt_before: AtomicU64,
    pub orphans_before: AtomicU64,
}

/// The variants under a key as they stand, purge rules applied.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub variants: Vec<Arc<Entry>>,
    pub epoch: u64,
    /// Rules were tested up to here.
    pub checked: u64,
    pub from_disk: bool,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        dir: Option<PathBuf>,
        secret: Secret,
        clock: Clock,
        base: u64,
    ) -> Self {
        let state = if dir.is_some() { State::Opening } else { State::Off };
        Self {
            memory: Memory::new(settings.memory, &settings.quotas),
            settings: ArcSwap::from_pointee(settings),
            clock,
            secret,
            dir,
            rules: Rules::new(base),
            waiting: Waiting::default(),
            disk: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            journal: ArcSwapOption::empty(),
            heir: ArcSwapOption::empty(),
            state: watch::Sender::new(state),
            storing: AtomicBool::new(false),
            findings: Mutex::default(),
            quarantines: Mutex::default(),
            salvaging: AtomicBool::new(false),
            listings: Listings::default(),
            inspecting: AtomicBool::new(false),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            counters: Counters::default(),
            full: AtomicBool::new(false),
            full_routes: RwLock::default(),
            woken: AtomicBool::new(false),
            read_failures: ReadFailures::default(),
            traffic: OnceLock::new(),
        }
    }

    pub(super) fn set_state(&self, state: State) {
        self.storing.store(state == State::Open, Release);
        self.state.send_replace(state);
    }

    pub(super) fn tell(&self, code: &'static str, message: String) {
        let mut findings = self.findings.lock();
        if findings.back().is_some_and(|last| last.code == code && last.message == message) {
            return;
        }
        tracing::warn!(code, "store: {message}");
        if findings.len() >= MAX_FINDINGS {
            findings.pop_front();
        }
        findings.push_back(Finding { at: self.clock.now(), code, message });
    }

    /// Whoever holds it may change what stands under the key.
    pub(super) fn stripe(&self, digest: Digest) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(digest.0[1]) % STRIPES].lock()
    }

    /// Whether a resource in RAM can be used as it is.
    pub(super) fn is_current(&self, resource: &Resource) -> bool {
        resource.is_checked(self.rules.latest()) && resource.epoch == self.epoch.load(Acquire)
    }

    /// Whether the rules that came since leave a resource as it is; then they need not be tested again.
    pub(super) fn stands_unchanged(&self, resource: &Resource) -> bool {
        if resource.epoch != self.epoch.load(Acquire) {
            return false;
        }
        let book = self.rules.read();
        let latest = self.rules.latest();
        let checked = resource.checked.load(Acquire);
        let stands = resource.variants.iter().all(|entry| {
            match book.test(&Subject::of(resource.digest, entry), entry.sequence.max(checked)) {
                Verdict::Stands => true,
                Verdict::Soft => entry.soft_purged,
                Verdict::Gone => false,
            }
        });
        if stands {
            resource.checked.fetch_max(latest, AcqRel);
        }
        stands
    }

    /// Whether what comes anew takes the place of another entry on disk.
    pub(super) fn is_full(&self, route: &str) -> bool {
        self.is_disk_full() || self.is_route_full(route)
    }

    /// Whether a route's quota on disk is used up.
    pub(super) fn is_route_full(&self, route: &str) -> bool {
        self.full_routes.read().iter().any(|full| **full == *route)
    }

    /// Whether the whole disk is full.
    pub(super) fn is_disk_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// The writer has looked at the limits; without a `route` at those of the whole disk.
    pub(super) fn set_full(&self, route: Option<&str>, full: bool) {
        let Some(route) = route else { return self.full.store(full, Relaxed) };
        let mut routes = self.full_routes.write();
        routes.retain(|known| **known != *route);
        if full {
            routes.push(route.into());
        }
    }

    /// What stands under a key; the caller holds its stripe.
    pub(super) fn load(&self, digest: Digest, in_memory: Option<Arc<Resource>>) -> Loaded {
        let epoch = self.epoch.load(Acquire);
        let near = in_memory.map(Some).or_else(|| self.waiting.get(digest));
        let whole = near.as_ref().is_some_and(|near| near.as_ref().is_none_or(|near| near.epoch == epoch));
        let mut variants = near.flatten().map(|near| near.variants.clone()).unwrap_or_default();
        let mut from_disk = false;
        if !whole {
            let on_disk = self.read_disk(digest);
            from_disk = !on_disk.is_empty();
            merge(digest, &mut variants, on_disk);
        }
        let book = self.rules.read();
        let checked = self.rules.latest();
        let variants = variants.into_iter().filter_map(|entry| judged(&book, digest, entry)).collect();
        Loaded { variants, epoch, checked, from_disk }
    }

    /// What stands under a key that RAM does not know and nobody has just changed; not to be [kept](Self::keep), since
    /// nobody was kept from changing it.
    pub(super) fn load_from_disk(&self, digest: Digest) -> Option<Loaded> {
        let epoch = self.epoch.load(Acquire);
        if self.waiting.get(digest).is_some() {
            return None;
        }
        let on_disk = self.read_disk(digest);
        if on_disk.is_empty() {
            return None;
        }
        let book = self.rules.read();
        let checked = self.rules.latest();
        let entries = on_disk.into_iter().map(Arc::new);
        let variants = entries.filter_map(|entry| judged(&book, digest, entry)).collect();
        Some(Loaded { variants, epoch, checked, from_disk: true })
    }

    /// Whether nothing is stored under a key that RAM does not know.
    pub(super) fn is_nowhere(&self, digest: Digest) -> bool {
        self.waiting.get(digest).is_none() && !self.ask_disk(|store| store.has(digest))
    }

    /// The entries on disk; an error is told to the writer and is a miss.
    pub(super) fn read_disk(&self, digest: Digest) -> Vec<Entry> {
        self.ask_disk(|store| store.get(digest))
    }

    /// Asks the disk tier, where there is one.
    fn ask_disk<T: Default>(&self, ask: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> T {
        let tier = self.disk.load();
        let Some(tier) = tier.as_deref() else { return T::default() };
        ask(&*tier.store).unwrap_or_else(|error| {
            tracing::debug!(%error, "a read of the index failed");
            match error {
                StoreError::Io(_) => self.read_failures.io.fetch_add(1, Relaxed),
                _ => self.read_failures.corrupt.fetch_add(1, Relaxed),
            };
            T::default()
        })
    }

    /// Puts what stands under a key into RAM; the caller holds its stripe and has held the rules since the test.
    pub(super) fn keep(&self, digest: Digest, loaded: Loaded) -> Option<Arc<Resource>> {
        let resource = Resource::new(digest, loaded.variants, loaded.epoch, loaded.checked).map(Arc::new);
        match &resource {
            Some(resource) => self.memory.put(resource.clone()),
            None => self.memory.remove(&digest),
        }
        resource
    }

    /// Drops a key from RAM after its entry was removed on disk.
    pub(super) fn forget(&self, id: EntryId) {
        let _stripe = self.stripe(id.digest);
        let stands = self.memory.peek(&id.digest).is_some_and(|resource| resource.find(id).is_some());
        if stands {
            self.memory.remove(&id.digest);
        }
    }

    /// Walks RAM and drops what the rules took. Whoever was reading a key when it begins has done so before, so
    /// that nothing which the rules of now take is in RAM afterwards.
    pub(super) fn sweep_memory(&self) {
        for stripe in &self.stripes {
            drop(stripe.lock());
        }
        self.memory.retain(|resource| {
            // Read anew for each: a rule that is being given must not wait for the whole walk, nor lookups for it.
            // A part of RAM is locked here, which an insert asks for while it reads the rules.
            let book = self.rules.read_under_lock();
            resource
                .variants
                .iter()
                .any(|entry| book.test(&Subject::of(resource.digest, entry), entry.sequence) != Verdict::Gone)
        });
    }

    /// Hands a write to the writer thread, if it may wait there. The caller holds the key's stripe.
    pub(super) fn submit(
        &self,
        queue: &std::sync::mpsc::Sender<Op>,
        write: Write,
        stands: Option<Arc<Resource>>,
    ) -> bool {
        if !self.waiting.has_room() {
            self.counters.dropped.fetch_add(1, Relaxed);
            return false;
        }
        let digest = write.id().digest;
        let weight = self.waiting.enter(digest, stands);
        let sent = queue.send(Op::Write(write, weight)).is_ok();
        if !sent {
            self.waiting.leave(digest, weight);
        }
        sent
    }

    /// Removes an entry whose body is gone or damaged, unless another body stands there by now.
    pub(super) fn damaged(&self, queue: &std::sync::mpsc::Sender<Op>, entry: &Entry, hash: [u8; 32]) {
        self.counters.corrupt_bodies.fetch_add(1, Relaxed);
        let id = EntryId::of(entry.key.digest(), entry);
        let _stripe = self.stripe(id.digest);
        self.memory.remove(&id.digest);
        if self.storing.load(Acquire) {
            self.submit(queue, Write::Remove { id, body: Some(hash) }, None);
        }
    }

    pub(super) fn store_dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

/// Adds what is on disk to what is nearer; of two responses for one variant the newer stands.
fn merge(digest: Digest, variants: &mut Vec<Arc<Entry>>, on_disk: Vec<Entry>) {
    for mut entry in on_disk {
        // A record is read into memory of every size.
        entry.head = entry.head.into_own();
        let id = EntryId::of(digest, &entry);
        match variants.iter_mut().find(|near| EntryId::of(digest, near) == id) {
            Some(near) if near.head.response_time >= entry.head.response_time => {}
            Some(near) => *near = Arc::new(entry),
            None => variants.push(Arc::new(entry)),
        }
    }
}

/// The entry as the rules leave it.
pub(super) fn judged(book: &Book, digest: Digest, entry: Arc<Entry>) -> Option<Arc<Entry>> {
    match book.test(&Subject::of(digest, &entry), entry.sequence) {
        Verdict::Gone => None,
        Verdict::Soft if !entry.soft_purged => {
            Some(Arc::new(Entry { soft_purged: true, ..(*entry).clone() }))
        }
        Verdict::Soft | Verdict::Stands => Some(entry),
    }
}
