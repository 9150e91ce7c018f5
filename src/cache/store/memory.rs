//! The RAM tier: what is hot, weighed in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::EntryId;
use super::frequency::{Frequency, MAX_COUNT};
use super::near::{self, Changes, Near};
use crate::cache::Quota;
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::{Digest, FieldHash};

/// The two counts of an `Arc`.
const ARC: usize = 16;
/// What a field takes in a map: hash, name, value, links.
const SLOT: usize = 104;
/// What a further value of the same field takes.
const EXTRA: usize = 72;
/// What a key takes beside its entries: the resource, its list, and the tier's own slot and tables.
const PER_KEY: u64 = allocated(size_of::<Resource>() + ARC) + 32 + 128;
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

/// Bytes that an entry takes, allocation by allocation: what is accounted is what is resident.
fn weight(entry: &Entry) -> u64 {
    let key = &entry.key;
    let texts = [&key.upstream, &key.scheme, &key.authority, &key.target, &entry.route];
    let body = match &entry.body {
        BodyRef::Bytes(bytes) => shared(bytes.len()),
        BodyRef::File(_) => 0,
    };
    PER_KEY
        + allocated(size_of::<Entry>() + ARC)
        + texts.into_iter().map(|text| allocated(text.len())).sum::<u64>()
        + named(&key.fields)
        + named(&entry.vary.fields)
        + allocated(size_of_val(&*entry.tags))
        + entry.tags.iter().map(|tag| allocated(tag.len())).sum::<u64>()
        + fields(&entry.head.headers)
        + entry.trailers.as_deref().map_or(0, |trailers| allocated(size_of_val(trailers)) + fields(trailers))
        + entry.on_disk.as_deref().map_or(0, |file| allocated(size_of_val(file)))
        + body
}

/// What the system's allocator takes for so many bytes.
const fn allocated(len: usize) -> u64 {
    if len == 0 {
        return 0;
    }
    let chunk = (len + 8).next_multiple_of(16);
    if chunk < 32 { 32 } else { chunk as u64 }
}

/// Bytes that can be handed out without a copy.
const fn shared(len: usize) -> u64 {
    allocated(len) + if len == 0 { 0 } else { allocated(24) }
}

fn named(fields: &[(Box<str>, Option<FieldHash>)]) -> u64 {
    allocated(size_of_val(fields)) + fields.iter().map(|(name, _)| allocated(name.len())).sum::<u64>()
}

/// A map of fields: its table, a slot for each field, one buffer of values, and the names that are not standard.
fn fields(headers: &HeaderMap) -> u64 {
    let table = (headers.keys_len() + headers.keys_len() / 3).next_power_of_two() * 4;
    let extra = headers.len() - headers.keys_len();
    let values = headers.values().map(|value| value.len()).sum();
    let names = headers.keys().filter(|name| !is_standard(name)).map(|name| shared(name.as_str().len()));
    allocated(table)
        + allocated(headers.keys_len() * SLOT)
        + allocated(extra * EXTRA)
        + shared(values)
        + names.sum::<u64>()
}

/// Nearly: the names that come with replies and that the library knows, which take no memory of their own.
fn is_standard(name: &HeaderName) -> bool {
    let name = name.as_str();
    !name.starts_with("x-")
        || matches!(name, "x-frame-options" | "x-xss-protection" | "x-content-type-options")
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
struct Leaving {
    frequency: Arc<Frequency>,
    changes: Arc<Changes>,
}

impl Lifecycle<Digest, Arc<Resource>> for Leaving {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), digest: Digest, resource: Arc<Resource>) {
        self.frequency.add(digest, resource.take_hits());
        self.changes.note(&digest);
    }
}

type Part = Cache<Digest, Arc<Resource>, Weigh, DefaultHashBuilder, Leaving>;

/// The RAM tier: one part that all routes share, and parts of their own for routes that may take only so much. What
/// those hold, the shared part leaves free.
#[derive(Debug)]
pub(super) struct Memory {
    shared: Part,
    own: ArcSwap<Vec<(Box<str>, Arc<Part>)>>,
    capacity: AtomicU64,
    frequency: Arc<Frequency>,
    changes: Arc<Changes>,
}

fn part(capacity: u64, leaving: Leaving) -> Part {
    let shards = (capacity / MIN_SHARD).clamp(1, MAX_SHARDS);
    let options = OptionsBuilder::new()
        .shards(shards as usize)
        .weight_capacity(capacity.max(1))
        // Grows as needed; this only sizes the first tables and the ghost list.
        .estimated_items_capacity((capacity / 4096).clamp(16, 1 << 20) as usize)
        .build();
    let hasher = DefaultHashBuilder::default();
    match options {
        Ok(options) => Cache::with_options(options, Weigh, hasher, leaving),
        Err(_) => Cache::with(16, capacity.max(1), Weigh, hasher, leaving),
    }
}

impl Memory {
    /// Holds `capacity` bytes, of which some routes may take only so much.
    pub(super) fn new(capacity: u64, quotas: &[Quota]) -> Self {
        let frequency = Arc::new(Frequency::default());
        let changes = Arc::new(Changes::new());
        let shared = part(capacity, Leaving { frequency: frequency.clone(), changes: changes.clone() });
        let (own, capacity_of) = (ArcSwap::default(), AtomicU64::new(capacity));
        let memory = Self { shared, own, capacity: capacity_of, frequency, changes };
        memory.resize(capacity, quotas);
        memory
    }

    fn leaving(&self) -> Leaving {
        Leaving { frequency: self.frequency.clone(), changes: self.changes.clone() }
    }

    /// How often keys are asked for.
    pub(super) const fn frequency(&self) -> &Arc<Frequency> {
        &self.frequency
    }

    /// How often this key was asked for, hits in RAM included.
    pub(super) fn asked_for(&self, digest: Digest) -> u8 {
        if let Some(resource) = self.peek(&digest) {
            self.frequency.add(digest, resource.take_hits());
        }
        self.frequency.estimate(digest)
    }

    /// The largest body that is worth a place in RAM: a few must fit into a shard.
    pub(super) fn max_body(&self) -> u64 {
        (self.shared.shard_capacity() / 4).min(1 << 20)
    }

    /// Whether it is not larger than all that it may take.
    pub(super) fn has_room_for(&self, resource: &Resource) -> bool {
        resource.weight() <= self.shared.shard_capacity()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Resource>> {
        self.shared.get(digest).or_else(|| self.own.load().iter().find_map(|(_, part)| part.get(digest)))
    }

    /// As [`get`](Self::get), by way of what this thread has found of late.
    pub(super) fn get_near(&self, digest: &Digest) -> Option<Near> {
        near::find(&self.changes, digest, || self.get(digest))
    }

    pub(super) fn peek(&self, digest: &Digest) -> Option<Arc<Resource>> {
        self.shared.peek(digest).or_else(|| self.own.load().iter().find_map(|(_, part)| part.peek(digest)))
    }

    pub(super) fn put(&self, resource: Arc<Resource>) {
        let digest = resource.digest;
        self.put_in(digest, resource);
        self.changes.note(&digest);
    }

    fn put_in(&self, digest: Digest, resource: Arc<Resource>) {
        let own = self.own.load();
        if own.is_empty() {
            // What it replaces leaves its hits to the count.
            self.shared.insert(digest, resource);
            return;
        }
        let route = resource.variants.first().map_or("", |entry| &entry.route);
        let mine = own.iter().position(|(name, _)| **name == *route);
        // It may have come to another route since it was put in.
        for (_, part) in own.iter().enumerate().filter(|(at, _)| Some(*at) != mine).map(|(_, part)| part) {
            part.remove(&digest);
        }
        match mine {
            Some(at) => {
                self.shared.remove(&digest);
                own[at].1.insert(digest, resource);
                self.share_the_rest(&own);
            }
            None => self.shared.insert(digest, resource),
        }
    }

    pub(super) fn remove(&self, digest: &Digest) {
        self.shared.remove(digest);
        for (_, part) in self.own.load().iter() {
            part.remove(digest);
        }
        self.changes.note(digest);
    }

    /// Keeps what `keep` says; each part of it is locked while it is asked.
    pub(super) fn retain(&self, keep: impl Fn(&Arc<Resource>) -> bool) {
        self.shared.retain(|_, resource| keep(resource));
        for (_, part) in self.own.load().iter() {
            part.retain(|_, resource| keep(resource));
        }
        self.changes.note_all();
    }

    /// All resources, cheaply cloned.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arc<Resource>> + '_ {
        let own = self.own.load_full();
        let of_routes: Vec<_> =
            own.iter().flat_map(|(_, part)| part.iter().map(|(_, resource)| resource)).collect();
        self.shared.iter().map(|(_, resource)| resource).chain(of_routes)
    }

    /// New limits. What a route has in a part of its own stays where that stays.
    pub(super) fn resize(&self, capacity: u64, quotas: &[Quota]) {
        self.capacity.store(capacity, Ordering::Relaxed);
        let before = self.own.load_full();
        let limits = quotas.iter().filter_map(|quota| Some((&quota.route, quota.memory?.min(capacity))));
        let own: Vec<_> = limits
            .map(|(route, limit)| match before.iter().find(|(name, _)| name == route) {
                Some((_, known)) => {
                    known.set_capacity(limit.max(1));
                    (route.clone(), known.clone())
                }
                None => (route.clone(), Arc::new(part(limit, self.leaving()))),
            })
            .collect();
        self.shared.set_capacity(capacity.saturating_sub(held(&own)).max(1));
        self.own.store(Arc::new(own));
        // A route's own part may be gone, and all in it.
        self.changes.note_all();
    }

    /// Gives the shared part what the routes' own do not hold; not for every entry, since it takes all its locks.
    fn share_the_rest(&self, own: &[(Box<str>, Arc<Part>)]) {
        let capacity = self.capacity.load(Ordering::Relaxed);
        let rest = capacity.saturating_sub(held(own)).max(1);
        if self.shared.capacity().abs_diff(rest) > capacity / 64 {
            self.shared.set_capacity(rest);
        }
    }

    pub(super) fn len(&self) -> u64 {
        let own = self.own.load().iter().map(|(_, part)| part.len()).sum::<usize>();
        (self.shared.len() + own) as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.shared.weight() + held(&self.own.load())
    }

    /// Bytes of a route that has a part of its own.
    pub(super) fn part_bytes(&self, route: &str) -> Option<u64> {
        self.own.load().iter().find(|(name, _)| **name == *route).map(|(_, part)| part.weight())
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }
}

fn held(own: &[(Box<str>, Arc<Part>)]) -> u64 {
    own.iter().map(|(_, part)| part.weight()).sum()
}
