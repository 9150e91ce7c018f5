//! A store without a disk, for replaying logs: the RAM tier is the real one, and what the disk would hold is kept as
//! an account of names and weights, from which the real rules evict. Bodies have a length and no bytes of their own.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use super::engine::Usage;
use super::eviction::{Coldest, is_full, is_worth_a_place, used};
use super::memory::{Memory, Resource};
use super::record::{self, MAX_INLINE};
use super::{EntryId, Inserted};
use crate::cache::Settings;
use crate::cache::entry::{BodyRef, Entry, FileBody};
use crate::cache::key::Digest;
use crate::clock::Timestamp;

/// Entries that eviction looks at in one go, as the writer does.
const SLICE: usize = 64;
/// Inserts after which the counts of requests are fitted to the number of entries.
const FIT_EVERY: u64 = 256;
/// What every body is a part of.
static NOTHING: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; 1 << 20]));

/// A simulated store.
#[derive(Debug)]
pub struct Simulated {
    settings: Settings,
    memory: Memory,
    disk: BTreeMap<EntryId, Kept>,
    bytes: u64,
    hand: Option<EntryId>,
    coldest: Coldest,
    full: bool,
    inserts: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    weight: u64,
}

/// What a simulated store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes in RAM.
    pub memory_bytes: u64,
    /// Entries on disk.
    pub disk_entries: u64,
    /// Live bytes on disk.
    pub disk_bytes: u64,
    /// Entries that made room for others on disk.
    pub evicted: u64,
}

impl Simulated {
    /// An empty store with these limits.
    pub fn new(settings: Settings) -> Self {
        Self {
            memory: Memory::new(settings.memory, &settings.quotas),
            settings,
            disk: BTreeMap::new(),
            bytes: 0,
            hand: None,
            coldest: Coldest::default(),
            full: false,
            inserts: 0,
            evicted: 0,
        }
    }

    /// A body of this length, which takes no room of its own.
    pub fn body(&self, length: u64) -> BodyRef {
        let in_memory = length <= self.memory.max_body().max(MAX_INLINE as u64);
        match usize::try_from(length) {
            Ok(len) if in_memory && len <= NOTHING.len() => BodyRef::Bytes(NOTHING.slice(..len)),
            _ => BodyRef::File(FileBody { hash: [0; 32], len: length }),
        }
    }

    /// What is stored under a digest, newest first; counted as a request for it.
    pub fn lookup(&self, digest: Digest) -> Vec<Arc<Entry>> {
        if let Some(resource) = self.memory.get(&digest) {
            resource.touch();
            return resource.variants.clone();
        }
        let Some(resource) = self.resource(digest, self.on_disk(digest)) else { return Vec::new() };
        resource.touch();
        let variants = resource.variants.clone();
        self.memory.put(resource);
        variants
    }

    /// Stores an entry in place of the same variant.
    pub fn insert(&mut self, entry: Entry, now: Timestamp) -> Inserted {
        let digest = entry.key.digest();
        let id = EntryId::of(digest, &entry);
        let lasts = self.settings.disk > 0;
        if !lasts && matches!(entry.body, BodyRef::File(_)) {
            return Inserted::TooLarge;
        }
        let mut variants = match self.memory.peek(&digest) {
            Some(resource) => resource.variants.clone(),
            None => self.on_disk(digest),
        };
        let known = self.memory.frequency().add(digest, 1);
        let admitted = !variants.is_empty() || is_worth_a_place(self.full, known, false);
        self.inserts += 1;
        if self.inserts.is_multiple_of(FIT_EVERY) {
            self.memory.frequency().fit(self.disk.len() as u64);
        }
        if !admitted && matches!(entry.body, BodyRef::File(_)) {
            return Inserted::Unproven;
        }
        variants.retain(|standing| EntryId::of(digest, standing) != id);
        let entry = Arc::new(entry);
        variants.insert(0, entry.clone());
        let over = variants.split_off(self.settings.max_variants.clamp(1, variants.len()));
        if let Some(resource) = self.resource(digest, variants) {
            self.memory.put(resource);
        }
        for entry in over {
            self.forget(EntryId::of(digest, &entry));
        }
        if !lasts || !admitted {
            return Inserted::MemoryOnly;
        }
        self.forget(id);
        let weight = weight(id, &entry);
        self.bytes += weight;
        self.disk.insert(id, Kept { entry, weight });
        self.make_room(now);
        Inserted::Stored
    }

    /// Removes all that is stored under a digest.
    pub fn remove(&mut self, digest: Digest) {
        self.memory.remove(&digest);
        for entry in self.on_disk(digest) {
            self.forget(EntryId::of(digest, &entry));
        }
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        Held {
            memory_bytes: self.memory.bytes(),
            disk_entries: self.disk.len() as u64,
            disk_bytes: self.bytes,
            evicted: self.evicted,
        }
    }

    fn resource(&self, digest: Digest, variants: Vec<Arc<Entry>>) -> Option<Arc<Resource>> {
        Resource::new(digest, variants, 0, 0).map(Arc::new)
    }

    fn on_disk(&self, digest: Digest) -> Vec<Arc<Entry>> {
        let first = EntryId { digest, variant: [0; 16] };
        let last = EntryId { digest, variant: [255; 16] };
        self.disk.range(first..=last).map(|(_, kept)| kept.entry.clone()).collect()
    }

    fn forget(&mut self, id: EntryId) {
        if let Some(kept) = self.disk.remove(&id) {
            self.bytes -= kept.weight;
        }
    }

    fn used(&self) -> [(u64, u64); 2] {
        let usage = Usage { entries: self.disk.len() as u64, bytes: self.bytes, ..Usage::default() };
        used(usage, &self.settings)
    }

    fn is_over(&self) -> bool {
        self.used().into_iter().any(|(used, limit)| used > limit)
    }

    /// A hand goes round over all entries, as the writer's does.
    fn make_room(&mut self, now: Timestamp) {
        let over = self.is_over();
        while self.is_over() && !self.disk.is_empty() {
            let Some(id) = self.coldest.next(|digest| self.memory.asked_for(digest)) else {
                self.look(now);
                continue;
            };
            if self.disk.contains_key(&id) {
                self.forget(id);
                self.memory.remove(&id.digest);
                self.evicted += 1;
            }
        }
        self.full = is_full(self.full, over, self.used());
    }

    fn look(&mut self, now: Timestamp) {
        let after = self.hand.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<(EntryId, Timestamp)> = self
            .disk
            .range((after, Bound::Unbounded))
            .take(SLICE)
            .map(|(id, kept)| (*id, kept.entry.keep_until))
            .collect();
        let all = self.hand.is_none() && seen.len() < SLICE;
        self.hand = seen.last().map(|(id, _)| *id).filter(|_| seen.len() == SLICE);
        self.coldest = Coldest::of(seen, all, now, |digest| self.memory.asked_for(digest));
    }
}

/// What an entry takes on disk: its record with the engine's overhead, and its file.
fn weight(id: EntryId, entry: &Entry) -> u64 {
    let large = entry.body.len() > MAX_INLINE as u64;
    let file = if large { entry.body.len() } else { 0 };
    let as_stored = match &entry.body {
        BodyRef::Bytes(_) if large => {
            Entry { body: BodyRef::File(FileBody { hash: [0; 32], len: file }), ..entry.clone() }
        }
        _ => entry.clone(),
    };
    // What can't be written as a record would not be stored; the head's texts are what there is to count.
    let record = record::encode(id, &as_stored, 0).map_or(0, |encoded| encoded.record.len() as u64);
    (record + size_of::<EntryId>() as u64).saturating_mul(7) / 2 + file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::tests::entry;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn digest(target: &str) -> Digest {
        entry(target, b"").key.digest()
    }

    #[test]
    fn what_is_asked_for_stays_when_others_come_once() {
        let settings = Settings { memory: 1 << 20, max_entries: 400, ..Settings::default() };
        let mut store = Simulated::new(settings);
        for number in 0..100 {
            store.insert(entry(&format!("/hot/{number}"), b"x"), NOW);
        }
        for crawled in 0..4000 {
            store.insert(entry(&format!("/once/{crawled}"), b"x"), NOW);
            store.lookup(digest(&format!("/hot/{}", crawled % 100)));
        }
        let held = store.held();
        assert!(held.disk_entries == 400 && held.evicted < 100, "{held:?}");
        let hot =
            (0..100).filter(|number| !store.lookup(digest(&format!("/hot/{number}"))).is_empty()).count();
        assert!(hot > 90, "{hot} of 100 are there");
    }

    #[test]
    fn limits_hold_and_large_bodies_take_no_memory() {
        let settings = Settings { memory: 1 << 20, disk: 10 << 20, ..Settings::default() };
        let mut store = Simulated::new(settings);
        for number in 0..100 {
            let large = Entry { body: store.body(1 << 20), ..entry(&format!("/{number}"), b"") };
            let room = number < 10;
            // Once there is none, the second request counts.
            let first = store.insert(large.clone(), NOW);
            assert_eq!(first, if room { Inserted::Stored } else { Inserted::Unproven });
            assert_eq!(store.insert(large, NOW), Inserted::Stored);
        }
        let held = store.held();
        assert!(held.disk_bytes <= 10 << 20 && (8..=10).contains(&held.disk_entries), "{held:?}");
        store.remove(digest("/99"));
        assert!(store.lookup(digest("/99")).is_empty());
        let alone = Settings { disk: 0, ..Settings::default() };
        let mut store = Simulated::new(alone);
        let large = Entry { body: store.body(1 << 30), ..entry("/", b"") };
        assert_eq!(store.insert(large, NOW), Inserted::TooLarge);
    }
}
