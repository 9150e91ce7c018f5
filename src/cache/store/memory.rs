//! The RAM tier: what is hot, weighed in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::EntryId;
use super::frequency::{Frequency, MAX_COUNT};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::Digest;

/// What an entry takes beside its texts: structs, maps, the cache's own bookkeeping.
const OVERHEAD: u64 = 512;
/// A shard smaller than this would refuse bodies of ordinary size.
const MIN_SHARD: u64 = 8 << 20;
const MAX_SHARDS: u64 = 64;

/// All that is stored for one key.
#[derive(Debug)]
pub struct Resource {
    /// The key's digest.
    pub digest: Digest,
    /// Its variants, the newest first (by `Date`, then by when they came); never empty.
    pub variants: Vec<Arc<Entry>>,
    /// All variants have one key, so that comparing one compares all.
    pub(super) uniform: bool,
    /// Which opening of the disk tier it was read from: variants on disk are not missing since.
    pub(super) epoch: u64,
    /// The purge rules were tested up to here.
    pub(super) checked: AtomicU64,
    /// Hits that are not in [`Frequency`] yet.
    hits: AtomicU8,
    weight: u64,
}

impl Resource {
    /// The resource that these variants make, newest first; `None` without any.
    pub(super) fn new(
        digest: Digest,
        mut variants: Vec<Arc<Entry>>,
        epoch: u64,
        checked: u64,
    ) -> Option<Self> {
        if variants.len() > 1 {
            // RFC 9111 4. Stable: among equals the one that came first stays first.
            variants
                .sort_by_cached_key(|entry| std::cmp::Reverse((entry.head.date(), entry.head.response_time)));
        }
        let first = variants.first()?;
        let uniform = variants.iter().all(|entry| entry.key == first.key);
        let weight = variants.iter().map(|entry| weight(entry)).sum();
        Some(Self {
            digest,
            variants,
            uniform,
            epoch,
            checked: AtomicU64::new(checked),
            hits: AtomicU8::new(0),
            weight,
        })
    }

    /// Bytes that it takes in RAM.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    /// Counts a hit. Two at a time may count as one; a hot resource is only looked at, not written to.
    pub(super) fn touch(&self) {
        let hits = self.hits.load(Ordering::Relaxed);
        if hits < MAX_COUNT {
            self.hits.store(hits + 1, Ordering::Relaxed);
        }
    }

    fn take_hits(&self) -> u8 {
        match self.hits.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.hits.swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn is_checked(&self, latest: u64) -> bool {
        self.checked.load(Ordering::Acquire) >= latest
    }

    pub(super) fn find(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.variants.iter().find(|entry| EntryId::of(self.digest, entry) == id)
    }
}

fn weight(entry: &Entry) -> u64 {
    let fields = |headers: &http::HeaderMap| {
        headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + 64) as u64).sum::<u64>()
    };
    let body = match &entry.body {
        BodyRef::Bytes(bytes) => bytes.len() as u64,
        BodyRef::File(_) => 0,
    };
    OVERHEAD
        + body
        + (entry.key.target.len() + entry.key.authority.len()) as u64
        + entry.tags.iter().map(|tag| tag.len() as u64 + 16).sum::<u64>()
        + fields(&entry.head.headers)
        + entry.trailers.as_deref().map_or(0, fields)
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<Digest, Arc<Resource>> for Weigh {
    fn weight(&self, _: &Digest, resource: &Arc<Resource>) -> u64 {
        resource.weight.max(1)
    }
}

/// Adds up the hits of what leaves RAM, for whatever reason but a removal.
#[derive(Clone, Debug)]
struct Leaving(Arc<Frequency>);

impl Lifecycle<Digest, Arc<Resource>> for Leaving {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), digest: Digest, resource: Arc<Resource>) {
        self.0.add(digest, resource.take_hits());
    }
}

/// The RAM tier.
#[derive(Debug)]
pub(super) struct Memory {
    cache: Cache<Digest, Arc<Resource>, Weigh, DefaultHashBuilder, Leaving>,
    frequency: Arc<Frequency>,
}

impl Memory {
    /// Holds `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let shards = (capacity / MIN_SHARD).clamp(1, MAX_SHARDS);
        let options = OptionsBuilder::new()
            .shards(shards as usize)
            .weight_capacity(capacity.max(1))
            // Grows as needed; this only sizes the first tables and the ghost list.
            .estimated_items_capacity((capacity / 4096).clamp(16, 1 << 20) as usize)
            .build();
        let frequency = Arc::new(Frequency::default());
        let (hasher, leaving) = (DefaultHashBuilder::default(), Leaving(frequency.clone()));
        let cache = match options {
            Ok(options) => Cache::with_options(options, Weigh, hasher, leaving),
            Err(_) => Cache::with(16, capacity.max(1), Weigh, hasher, leaving),
        };
        Self { cache, frequency }
    }

    /// How often keys are asked for.
    pub(super) const fn frequency(&self) -> &Arc<Frequency> {
        &self.frequency
    }

    /// How often this key was asked for, hits in RAM included.
    pub(super) fn asked_for(&self, digest: Digest) -> u8 {
        if let Some(resource) = self.cache.peek(&digest) {
            self.frequency.add(digest, resource.take_hits());
        }
        self.frequency.estimate(digest)
    }

    /// The largest body that is worth a place in RAM: a few must fit into a shard.
    pub(super) fn max_body(&self) -> u64 {
        (self.cache.shard_capacity() / 4).min(1 << 20)
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Resource>> {
        self.cache.get(digest)
    }

    pub(super) fn peek(&self, digest: &Digest) -> Option<Arc<Resource>> {
        self.cache.peek(digest)
    }

    pub(super) fn put(&self, resource: Arc<Resource>) {
        // What it replaces leaves its hits to the count.
        self.cache.insert(resource.digest, resource);
    }

    pub(super) fn remove(&self, digest: &Digest) {
        self.cache.remove(digest);
    }

    /// Keeps what `keep` says; each part of it is locked while it is asked.
    pub(super) fn retain(&self, keep: impl Fn(&Arc<Resource>) -> bool) {
        self.cache.retain(|_, resource| keep(resource));
    }

    /// All resources, cheaply cloned.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arc<Resource>> + '_ {
        self.cache.iter().map(|(_, resource)| resource)
    }

    pub(super) fn resize(&self, capacity: u64) {
        self.cache.set_capacity(capacity.max(1));
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(super) fn capacity(&self) -> u64 {
        self.cache.capacity()
    }
}
