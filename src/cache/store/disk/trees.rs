//! The sled side of the disk tier: one record per entry, and the rows that find it.
//!
//! Plain writes only, from one thread: sled's recovery gives an exact prefix of one writer's operations, across
//! trees too. Order: body file, index rows, entry; on removal entry, rows, file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::files::Files;
use super::index::{self, ID, Rows, Way};
use super::routes::Routes;
use super::walks::{from, over};
use crate::cache::entry::Entry;
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, Subject};
use crate::cache::store::EntryId;
use crate::cache::store::engine::{Fault, Inspected, RouteUsage, Store, StoreError, Usage, Walk};
use crate::cache::store::record::{self, Overflow, RecordError};
use crate::clock::Timestamp;

/// Rows that are looked at in one go.
const SWEEP: usize = 64;
/// Written at a clean close: the counters, so that opening need not walk.
const COUNTERS: &[u8] = b"counters";
/// The same by route.
const ROUTES: &[u8] = b"routes";
/// There: every entry has its row by route.
const HAS_ROUTES: &[u8] = b"has-routes";

/// An open sled database and the body files beside it.
#[derive(Debug)]
pub(crate) struct Trees {
    db: sled::Db,
    pub(in crate::cache::store) entries: sled::Tree,
    pub(in crate::cache::store) overflow: sled::Tree,
    pub(in crate::cache::store) by_path: sled::Tree,
    pub(in crate::cache::store) by_tag: sled::Tree,
    pub(in crate::cache::store) by_expiry: sled::Tree,
    pub(in crate::cache::store) by_body: sled::Tree,
    pub(in crate::cache::store) by_route: sled::Tree,
    pub(in crate::cache::store) meta: sled::Tree,
    /// The bodies.
    pub(crate) files: Arc<Files>,
    pub(super) count: AtomicU64,
    record_bytes: AtomicU64,
    file_bytes: AtomicU64,
    routes: Routes,
    pub(super) orphans: AtomicU64,
    pub(super) corrupt: AtomicU64,
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        use std::io::ErrorKind;
        match error {
            // sled wraps some of what it finds damaged as I/O errors of these kinds.
            sled::Error::Io(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput
                ) =>
            {
                Self::Io(error)
            }
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<RecordError> for StoreError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::TooLarge => Self::TooLarge,
            RecordError::Damaged => Self::Corrupt(error.to_string()),
        }
    }
}

/// sled can panic on damaged files; here that is an answer like another.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::Corrupt("the engine panicked".to_owned())))
}

impl Trees {
    /// The trees of an open database. Unless it was closed in order its entries are counted, which takes a
    /// second per million.
    pub(crate) fn new(db: sled::Db, files: Arc<Files>) -> Result<Self, StoreError> {
        let mut trees = Self {
            entries: db.open_tree("entries")?,
            overflow: db.open_tree("overflow")?,
            by_path: db.open_tree("by_path")?,
            by_tag: db.open_tree("by_tag")?,
            by_expiry: db.open_tree("by_expiry")?,
            by_body: db.open_tree("by_body")?,
            by_route: db.open_tree("by_route")?,
            meta: db.open_tree("meta")?,
            db,
            files,
            count: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            routes: Routes::default(),
            orphans: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
        };
        let counters = trees.meta.remove(COUNTERS)?.as_deref().and_then(read_counters);
        let routes = trees.meta.remove(ROUTES)?.as_deref().and_then(Routes::from_bytes);
        let indexed = trees.meta.contains_key(HAS_ROUTES)?;
        match (counters, routes) {
            (Some([count, records, files]), Some(routes)) if indexed => {
                trees.count.store(count, Relaxed);
                trees.record_bytes.store(records, Relaxed);
                trees.file_bytes.store(files, Relaxed);
                trees.routes = routes;
            }
            _ => trees.count_all(indexed)?,
        }
        if !indexed {
            trees.meta.insert(HAS_ROUTES, &[])?;
        }
        Ok(trees)
    }

    /// Counts everything; also makes the rows by route where an earlier version wrote none.
    fn count_all(&self, indexed: bool) -> Result<(), StoreError> {
        for (key, value) in over(&self.entries) {
            self.count.fetch_add(1, Relaxed);
            self.record_bytes.fetch_add((key.len() + value.len()) as u64, Relaxed);
            let Some(id) = index::id(&key) else { continue };
            let Ok(entry) = record::decode(id, &value, |place| self.chunks(id, place)) else { continue };
            self.routes.add(&entry, ID + value.len());
            if !indexed {
                self.by_route.insert(Rows::of(id, &entry).route, &[])?;
            }
        }
        for (key, value) in over(&self.overflow) {
            self.record_bytes.fetch_add((key.len() + value.len()) as u64, Relaxed);
        }
        let mut last = None;
        for (key, value) in over(&self.by_body) {
            let hash = key.get(..32).map(<[u8]>::to_vec);
            if hash != last {
                self.file_bytes.fetch_add(body_len(&value), Relaxed);
                last = hash;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, id: EntryId, value: &[u8]) -> Option<Entry> {
        let entry = record::decode(id, value, |place| self.chunks(id, place)).ok();
        if entry.is_none() {
            self.corrupt.fetch_add(1, Relaxed);
        }
        entry
    }

    pub(super) fn chunks(&self, id: EntryId, place: Overflow) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for index in 0..place.chunks {
            all.extend_from_slice(&self.overflow.get(chunk_key(id, place.generation, index)).ok()??);
        }
        Some(all)
    }

    fn put_guarded(&self, id: EntryId, entry: &Entry) -> Result<(), StoreError> {
        let encoded = record::encode(id, entry, fastrand::u64(..))?;
        let key = index::key(id);
        let old = self.entries.get(key)?;
        let rows = Rows::of(id, entry);
        if let Some((place, chunks)) = &encoded.overflow {
            for (index, chunk) in chunks.iter().enumerate() {
                let key = chunk_key(id, place.generation, index as u16);
                self.overflow.insert(key.as_slice(), chunk.as_slice())?;
                self.grown(key.len() + chunk.len());
            }
        }
        self.add_rows(&rows)?;
        let len = encoded.record.len();
        self.entries.insert(key, encoded.record)?;
        self.grown(ID + len);
        self.routes.add(entry, ID + len);
        match old {
            None => {
                self.count.fetch_add(1, Relaxed);
            }
            Some(old) => self.drop_old(id, &old, Some(&rows))?,
        }
        Ok(())
    }

    fn add_rows(&self, rows: &Rows) -> Result<(), StoreError> {
        self.by_path.insert(rows.path.as_slice(), &[])?;
        for tag in &rows.tags {
            self.by_tag.insert(tag.as_slice(), &[])?;
        }
        self.by_expiry.insert(rows.expiry.as_slice(), &[])?;
        self.by_route.insert(rows.route.as_slice(), &[])?;
        if let Some((row, len)) = &rows.body {
            self.add_body_row(row, *len)?;
        }
        Ok(())
    }

    pub(super) fn add_body_row(&self, row: &[u8], len: u64) -> Result<(), StoreError> {
        if !self.is_body_used(&row[..32])? {
            self.file_bytes.fetch_add(len, Relaxed);
        }
        self.by_body.insert(row, &len.to_le_bytes())?;
        Ok(())
    }

    /// Bytes of records and bodies, without what the engine takes beside them.
    pub(super) fn live_bytes(&self) -> u64 {
        self.record_bytes.load(Relaxed) + self.file_bytes.load(Relaxed)
    }

    pub(super) fn remove_guarded(&self, id: EntryId) -> Result<bool, StoreError> {
        let Some(old) = self.entries.remove(index::key(id))? else { return Ok(false) };
        lower(&self.count, 1);
        self.drop_old(id, &old, None)?;
        Ok(true)
    }

    /// Lets go of what a removed or replaced record had beside it, except the rows of the one that replaced it.
    fn drop_old(&self, id: EntryId, old: &[u8], new: Option<&Rows>) -> Result<(), StoreError> {
        self.shrunk(ID + old.len());
        // Of a record that cannot be read the rows stay behind, and are removed when someone comes upon them.
        let mut overflow = None;
        let entry = record::decode(id, old, |place| {
            overflow = Some(place);
            self.chunks(id, place)
        });
        if let Some(place) = overflow {
            self.drop_chunks(id, place)?;
        }
        let Ok(entry) = entry else { return Ok(()) };
        self.routes.remove(&entry, ID + old.len());
        let rows = Rows::of(id, &entry);
        if new.is_none_or(|new| new.route != rows.route) {
            self.by_route.remove(&rows.route)?;
        }
        if new.is_none_or(|new| new.path != rows.path) {
            self.by_path.remove(&rows.path)?;
        }
        for tag in rows.tags.iter().filter(|tag| new.is_none_or(|new| !new.tags.contains(tag))) {
            self.by_tag.remove(tag)?;
        }
        if new.is_none_or(|new| new.expiry != rows.expiry) {
            self.by_expiry.remove(&rows.expiry)?;
        }
        if let Some((row, _)) = rows.body.filter(|body| new.is_none_or(|new| new.body.as_ref() != Some(body)))
        {
            self.drop_body_row(&row)?;
        }
        Ok(())
    }

    fn drop_chunks(&self, id: EntryId, place: Overflow) -> Result<(), StoreError> {
        for index in 0..place.chunks {
            let key = chunk_key(id, place.generation, index);
            if let Some(chunk) = self.overflow.remove(&key)? {
                self.shrunk(key.len() + chunk.len());
            }
        }
        Ok(())
    }

    pub(super) fn drop_body_row(&self, row: &[u8]) -> Result<(), StoreError> {
        let Some(len) = self.by_body.remove(row)? else { return Ok(()) };
        let Ok(hash) = <[u8; 32]>::try_from(&row[..32]) else { return Ok(()) };
        if !self.is_body_used(&hash)? {
            lower(&self.file_bytes, body_len(&len));
            self.files.remove_unless(&hash, || self.is_body_used(&hash))?;
        }
        Ok(())
    }

    pub(super) fn is_body_used(&self, hash: &[u8]) -> Result<bool, StoreError> {
        Ok(self.by_body.scan_prefix(hash).next().transpose()?.is_some())
    }

    /// Removes a body file that no entry names, and rows whose entry is gone.
    fn sweep_body(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        for row in self.by_body.scan_prefix(hash) {
            let (row, _) = row?;
            let named = index::id(&row).map(|id| self.entries.contains_key(index::key(id))).transpose()?;
            if named != Some(true) {
                self.drop_body_row(&row)?;
            }
        }
        if self.files.remove_unless(hash, || self.is_body_used(hash))? {
            self.orphans.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Removes chunks of heads whose entry does not name them; a part of the walk, `None` at its end.
    fn sweep_overflow(&self, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut last = None;
        for row in from(&self.overflow, Some(after)).take(SWEEP) {
            let (key, chunk) = row?;
            if !self.is_chunk_named(&key)? {
                self.overflow.remove(&key)?;
                self.shrunk(key.len() + chunk.len());
            }
            last = Some(key.to_vec());
        }
        Ok(last)
    }

    pub(super) fn is_chunk_named(&self, key: &[u8]) -> Result<bool, StoreError> {
        let Some(id) = key.get(..ID).and_then(index::id) else { return Ok(false) };
        let Some(generation) = key.get(ID..ID + 8) else { return Ok(false) };
        let Some(record) = self.entries.get(index::key(id))? else { return Ok(false) };
        Ok(record::overflow(id, &record).is_some_and(|place| place.generation.to_be_bytes() == generation))
    }

    pub(super) fn grown(&self, by: usize) {
        self.record_bytes.fetch_add(by as u64, Relaxed);
    }

    pub(super) fn shrunk(&self, by: usize) {
        lower(&self.record_bytes, by as u64);
    }
}

impl Store for Trees {
    fn get(&self, digest: Digest) -> Result<Vec<Entry>, StoreError> {
        guarded(|| {
            let mut found = Vec::new();
            for row in self.entries.scan_prefix(digest.0) {
                let (key, value) = row?;
                found.extend(index::id(&key).and_then(|id| self.read(id, &value)));
            }
            Ok(found)
        })
    }

    fn has(&self, digest: Digest) -> Result<bool, StoreError> {
        guarded(|| Ok(self.entries.scan_prefix(digest.0).next().transpose()?.is_some()))
    }

    fn contains(&self, id: EntryId) -> Result<bool, StoreError> {
        guarded(|| Ok(self.entries.contains_key(index::key(id))?))
    }

    fn put(&self, id: EntryId, entry: &Entry) -> Result<(), StoreError> {
        guarded(|| self.put_guarded(id, entry))
    }

    fn remove(&self, id: EntryId) -> Result<bool, StoreError> {
        guarded(|| self.remove_guarded(id))
    }

    fn candidates(
        &self,
        criterion: &Criterion,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        guarded(|| match Way::of(criterion) {
            Way::Entries(prefix) => self.walk_entries(&prefix, after, limit),
            Way::Paths(prefix) => self.walk_rows(&self.by_path, &prefix, after, limit),
            Way::Tags(prefix) => self.walk_rows(&self.by_tag, &prefix, after, limit),
            Way::Routes(prefix) => self.walk_rows(&self.by_route, &prefix, after, limit),
        })
    }

    fn candidates_by_url(
        &self,
        wanted: &dyn Fn(&Subject<'_>) -> bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        guarded(|| self.walk_urls(wanted, after, limit))
    }

    fn soonest_expiring(&self, limit: usize) -> Result<Vec<(Timestamp, EntryId)>, StoreError> {
        guarded(|| {
            let mut soonest = Vec::new();
            for row in self.by_expiry.iter() {
                let (row, _) = row?;
                let Some((time, id)) = index::expiry(&row).zip(index::id(&row)) else { continue };
                if self.is_expiry_row_true(id, time)? {
                    soonest.push((time, id));
                } else {
                    self.by_expiry.remove(&row)?;
                }
                if soonest.len() >= limit {
                    break;
                }
            }
            Ok(soonest)
        })
    }

    fn usage(&self) -> Usage {
        // 3.5: what sled's files take for a live byte, measured under churn.
        let records = self.record_bytes.load(Relaxed);
        Usage {
            entries: self.count.load(Relaxed),
            bytes: records.saturating_mul(7) / 2 + self.file_bytes.load(Relaxed),
            orphans: self.orphans.load(Relaxed),
            corrupt: self.corrupt.load(Relaxed),
        }
    }

    fn routes(&self) -> Vec<(Box<str>, RouteUsage)> {
        self.routes.all()
    }

    fn route_usage(&self, route: &str) -> RouteUsage {
        self.routes.get(route)
    }

    fn inspect(&self, now: Timestamp, after: Option<&[u8]>, limit: usize) -> Result<Inspected, StoreError> {
        guarded(|| self.inspect_part(now, after, limit))
    }

    fn is_fault(&self, now: Timestamp, fault: &Fault) -> Result<bool, StoreError> {
        guarded(|| self.is_fault_now(now, fault))
    }

    fn mend(&self, fault: &Fault) -> Result<u64, StoreError> {
        guarded(|| self.mend_now(fault))
    }

    fn flush(&self) -> Result<(), StoreError> {
        guarded(|| Ok(self.db.flush().map(drop)?))
    }

    fn release(&self, body: &[u8; 32]) -> Result<(), StoreError> {
        guarded(|| self.sweep_body(body))
    }

    /// First the 256 body folders, then the chunks of large heads.
    fn tidy(&self, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| {
            let after = after.unwrap_or_else(|| vec![0, 0]);
            match after.split_first_chunk::<2>() {
                Some(([0, folder], _)) => {
                    for hash in self.files.folder(*folder) {
                        self.sweep_body(&hash)?;
                    }
                    Ok(Some(folder.checked_add(1).map_or_else(|| vec![1, 0], |next| vec![0, next])))
                }
                Some((_, row)) => Ok(self.sweep_overflow(row)?.map(|row| [&[1, 0], &row[..]].concat())),
                None => Ok(None),
            }
        })
    }

    fn seal(&self) -> Result<(), StoreError> {
        guarded(|| {
            let counters = [&self.count, &self.record_bytes, &self.file_bytes];
            let bytes: Vec<u8> =
                counters.iter().flat_map(|counter| counter.load(Relaxed).to_le_bytes()).collect();
            self.meta.insert(COUNTERS, bytes)?;
            self.meta.insert(ROUTES, self.routes.to_bytes())?;
            self.db.flush()?;
            Ok(())
        })
    }
}

impl Trees {
    /// Whether the entry is there and keeps that long; a record that cannot be read is worth removing soonest.
    fn is_expiry_row_true(&self, id: EntryId, time: Timestamp) -> Result<bool, StoreError> {
        let Some(value) = self.entries.get(index::key(id))? else { return Ok(false) };
        Ok(self.read(id, &value).is_none_or(|entry| entry.keep_until == time))
    }
}

pub(super) fn chunk_key(id: EntryId, generation: u64, index: u16) -> Vec<u8> {
    [&index::key(id)[..], &generation.to_be_bytes(), &index.to_be_bytes()].concat()
}

fn body_len(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_le_bytes)
}

fn read_counters(bytes: &[u8]) -> Option<[u64; 3]> {
    let numbers: [u8; 24] = bytes.try_into().ok()?;
    let at = |index: usize| numbers[index * 8..][..8].try_into().ok().map(u64::from_le_bytes);
    Some([at(0)?, at(1)?, at(2)?])
}

pub(super) fn lower(counter: &AtomicU64, by: u64) {
    let _ = counter.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_sub(by)));
}
