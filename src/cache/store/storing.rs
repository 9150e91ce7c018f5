//! Storing: a reply that has come, in RAM at once and on disk behind; and what a validation makes of one that is stored.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::EntryId;
use super::eviction::is_worth_a_place;
use super::queue::{Op, Write};
use super::record::MAX_INLINE;
use super::shared::Loaded;
use super::tiered::Cache;
use crate::cache::entry::{BodyRef, Entry, EntryHead, FileBody, Part, VaryKey};
use crate::cache::key::{Digest, StoredKey};
use crate::cache::policy::partial;
use crate::cache::purge::Subject;
use crate::cache::purge::rules::Verdict;
use crate::cache::spool::{Spool, SpooledBody};
use crate::clock::Timestamp;
use crate::http::etag::ETag;

/// As how many requests it counts that somebody wants an entry stored.
const WANTED: u8 = 4;
/// Replies that a full disk does not take, after which the writer looks at it nevertheless.
const LOOK_EVERY: u64 = 64;

/// A response to be stored; its body is in a [`SpooledBody`].
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it answers.
    pub key: StoredKey,
    /// Which variant it is.
    pub vary: VaryKey,
    /// Which part of the representation its body is; `None`: all of it.
    pub part: Option<Part>,
    /// Status, fields, freshness.
    pub head: EntryHead,
    /// Names by which it can be purged.
    pub tags: Vec<Box<str>>,
    /// The route that stores it.
    pub route: Box<str>,
    /// [`Cache::sequence`] as it was when the fetch began.
    pub sequence: u64,
    /// Until when it is worth keeping.
    pub keep_until: Timestamp,
    /// Somebody wants it stored (it is warmed): it need not be asked for first.
    pub wanted: bool,
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// In RAM and on its way to disk.
    Stored,
    /// In RAM only: no disk tier, or too many writes are waiting, or the disk is full and nobody asked for it before.
    MemoryOnly,
    /// Nowhere: RAM holds no body of that size, the disk is full, and nobody asked for it before.
    Unproven,
    /// A purge came between the fetch and now.
    Purged,
    /// A part of what is stored already, or of what a later reply has replaced.
    Superseded,
    /// Larger than RAM holds, with no disk to take it, or none that keeps up.
    TooLarge,
}

/// A head that replaces a stored one after validation (RFC 9111 4.3.4).
#[derive(Clone, Debug)]
pub struct Freshened {
    /// The merged head.
    pub head: EntryHead,
    /// The names by which it can be purged now.
    pub tags: Vec<Box<str>>,
    /// Until when the entry is worth keeping now.
    pub keep_until: Timestamp,
    /// [`Cache::sequence`] as it was when the validation began.
    pub sequence: u64,
}

impl Cache {
    /// Begins to collect a body that streams through; `expected` is its length where the head tells, `new` what it belongs
    /// to where nothing is stored for that key.
    pub fn spool(&self, expected: Option<u64>, new: Option<&NewEntry>) -> Spool {
        let tier = self.shared.disk.load();
        let open = self.shared.storing.load(Acquire);
        let window = self.shared.memory.max_body().max(MAX_INLINE as u64);
        // What will stand in the record needs no file, nor what will be in RAM only.
        let needs_none = expected.is_some_and(|len| {
            len <= MAX_INLINE as u64 || len <= window && open && new.is_some_and(|new| self.will_refuse(new))
        });
        let files = tier.as_ref().filter(|_| open && !needs_none).map(|tier| tier.files.clone());
        Spool::new(files, window)
    }

    /// Whether the disk would not take it now.
    fn will_refuse(&self, new: &NewEntry) -> bool {
        let full = self.shared.is_full(&new.route);
        !is_worth_a_place(full, full && self.shared.memory.frequency().knows(new.key.digest()), new.wanted)
    }

    /// Counts a request for what is stored now, and says whether it is written to disk; where something `stands` that is
    /// replaced it is in any case.
    fn admit(&self, new: &NewEntry, digest: Digest, stands: bool) -> bool {
        let shared = &*self.shared;
        let full = shared.is_full(&new.route);
        let times = if new.wanted { WANTED } else { 1 };
        let known = shared.memory.frequency().add(digest, times);
        let admitted = stands || is_worth_a_place(full, known, new.wanted);
        if !admitted && shared.counters.refused.fetch_add(1, Relaxed).is_multiple_of(LOOK_EVERY) {
            // Counts age, and something may be past its use.
            self.wake_once();
        }
        admitted
    }

    /// Stores a response: in RAM at once, on disk behind.
    pub fn insert(&self, new: NewEntry, body: SpooledBody) -> Inserted {
        let shared = &*self.shared;
        let digest = new.key.digest();
        let id = EntryId::named(digest, &new.vary, new.part.map(|part| (part.first, body.len())));
        let storing = shared.storing.load(Acquire);
        let len = body.len();
        let in_memory =
            body.bytes.filter(|bytes| bytes.len() as u64 <= shared.memory.max_body().max(MAX_INLINE as u64));
        // What is larger than all that its route may take would only push out the rest.
        let fits = shared.settings.load().disk_quota(&new.route).is_none_or(|quota| len <= quota);
        let lasts = storing && fits && (body.pin.is_some() || len <= MAX_INLINE as u64);
        let body_ref = match (in_memory, &body.pin) {
            (Some(bytes), _) => BodyRef::Bytes(bytes),
            (None, Some(pin)) if storing && fits => BodyRef::File(pin.body.clone()),
            (None, _) => {
                self.unwritten(storing && fits);
                return Inserted::TooLarge;
            }
        };
        // A body in a file is only as good as the record that keeps the file.
        let needs_disk = matches!(body_ref, BodyRef::File(_));

        let _stripe = shared.stripe(digest);
        if needs_disk && !shared.waiting.has_room() {
            shared.counters.dropped.fetch_add(1, Relaxed);
            return Inserted::TooLarge;
        }
        let mut loaded = shared.load(digest, shared.memory.peek(&digest));
        let admitted = !storing || self.admit(&new, digest, !loaded.variants.is_empty());
        let on_disk = body.pin.as_ref().filter(|_| !needs_disk).map(|pin| Box::new(pin.body.clone()));
        let mut entry = entry(new, body_ref, on_disk, body.trailers);
        let book = shared.rules.read();
        match book.test_new(&Subject::of(digest, &entry), entry.sequence) {
            Verdict::Gone => {
                shared.counters.purged_in_flight.fetch_add(1, Relaxed);
                return Inserted::Purged;
            }
            Verdict::Soft => entry.soft_purged = true,
            Verdict::Stands => {}
        }
        if loaded.variants.iter().any(|standing| partial::is_superfluous(&entry, standing)) {
            return Inserted::Superseded;
        }
        self.unwritten(storing && fits && admitted && !lasts);
        if needs_disk && !admitted {
            return Inserted::Unproven;
        }
        let entry = Arc::new(entry);
        let over = replace(&mut loaded, id, entry.clone(), shared.settings.load().max_variants);
        let resource = shared.keep(digest, loaded);
        drop(book);
        shared.counters.inserts.fetch_add(1, Relaxed);
        if !lasts || !admitted {
            return Inserted::MemoryOnly;
        }
        for id in over {
            shared.submit(&self.queue, Write::Remove { id, body: None }, resource.clone());
        }
        match shared.submit(&self.queue, Write::Put { id, entry, file: body.pin }, resource) {
            true => Inserted::Stored,
            false => Inserted::MemoryOnly,
        }
    }

    /// A body's file could not be written although storing is on: no room, most likely.
    fn unwritten(&self, is_so: bool) {
        if is_so {
            self.wake(Op::Unwritten);
        }
    }

    /// Replaces the head of a stored variant in both tiers. `None` when it is gone or was purged meanwhile, or when what
    /// stands in its place is another reply than the one that was `validated`.
    pub fn freshen(&self, id: EntryId, validated: &EntryHead, with: Freshened) -> Option<Arc<Entry>> {
        let shared = &*self.shared;
        let digest = id.digest;
        let _stripe = shared.stripe(digest);
        let mut loaded = shared.load(digest, shared.memory.peek(&digest));
        let old = loaded.variants.iter().find(|entry| EntryId::of(digest, entry) == id)?.clone();
        if !is_same_reply(&old.head, validated) {
            return None;
        }
        let book = shared.rules.read();
        match book.test(&Subject::of(digest, &old), old.sequence) {
            Verdict::Gone => return None,
            Verdict::Soft | Verdict::Stands => {}
        }
        if old.sequence > with.sequence {
            // It was validated again since, after a purge that this validation knows nothing of.
            return Some(old);
        }
        let mut entry = Entry {
            head: with.head.into_own(),
            tags: with.tags,
            keep_until: with.keep_until,
            sequence: with.sequence,
            soft_purged: false,
            ..(*old).clone()
        };
        // By its new tags: a purge of one of them may have come while the validation was under way.
        match book.test(&Subject::of(digest, &entry), entry.sequence) {
            Verdict::Gone => return None,
            Verdict::Soft => entry.soft_purged = true,
            Verdict::Stands => {}
        }
        let entry = Arc::new(entry);
        swap(&mut loaded, id, entry.clone());
        let resource = shared.keep(digest, loaded);
        drop(book);
        if shared.storing.load(Acquire) {
            let write = Write::Freshen { id, entry: entry.clone(), old: Box::new(old.head.clone()) };
            shared.submit(&self.queue, write, resource);
        }
        Some(entry)
    }
}

/// Whether two heads belong to the same body: they are equal, or a strong tag says so (RFC 9110 8.8.1).
fn is_same_reply(one: &EntryHead, other: &EntryHead) -> bool {
    let tags = ETag::of(&one.headers).zip(ETag::of(&other.headers));
    one == other || tags.is_some_and(|(one, other)| one.strong_eq(&other))
}

fn entry(
    new: NewEntry,
    body: BodyRef,
    on_disk: Option<Box<FileBody>>,
    trailers: Option<Box<http::HeaderMap>>,
) -> Entry {
    Entry {
        key: new.key,
        vary: new.vary,
        head: new.head.into_own(),
        body,
        on_disk,
        part: new.part,
        trailers,
        tags: new.tags,
        route: new.route,
        sequence: new.sequence,
        keep_until: new.keep_until,
        soft_purged: false,
    }
}

/// Puts `entry` in the place of `id` and of what it supersedes. Says which of those are to be removed, and which variants
/// and parts are over their limits, the oldest first.
fn replace(loaded: &mut Loaded, id: EntryId, entry: Arc<Entry>, limit: usize) -> Vec<EntryId> {
    let (superseded, stays): (Vec<_>, Vec<_>) = std::mem::take(&mut loaded.variants)
        .into_iter()
        .filter(|standing| EntryId::of(id.digest, standing) != id)
        .partition(|standing| partial::supersedes(&entry, standing));
    loaded.variants = stays;
    put_first(loaded, entry);
    let mut gone: Vec<_> = superseded.iter().map(|entry| EntryId::of(id.digest, entry)).collect();
    let (mut wholes, mut parts) = (0, 0);
    loaded.variants.retain(|entry| {
        let (count, limit) = match entry.part {
            None => (&mut wholes, limit.max(1)),
            Some(_) => (&mut parts, partial::MAX_PARTS),
        };
        *count += 1;
        if *count > limit {
            gone.push(EntryId::of(id.digest, entry));
        }
        *count <= limit
    });
    gone
}

/// Puts `entry` in the place of `id`, and leaves the rest as it is.
pub(super) fn swap(loaded: &mut Loaded, id: EntryId, entry: Arc<Entry>) {
    loaded.variants.retain(|standing| EntryId::of(id.digest, standing) != id);
    put_first(loaded, entry);
}

fn put_first(loaded: &mut Loaded, entry: Arc<Entry>) {
    loaded.variants.insert(0, entry);
    loaded.variants[1..].sort_by_key(|entry| std::cmp::Reverse(entry.head.response_time));
}
