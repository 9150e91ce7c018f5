//! Looks at everything that the disk tier keeps, part by part, and puts right what is wrong.
//!
//! Rows are written before their entry and removed after it. So a row that an entry lacks, while the entry stands
//! unchanged before and after the look, is missing; a row without its entry may be on its way, and only the thread
//! that writes can tell.

use std::sync::atomic::Ordering::Relaxed;

use super::index::{self, ID, Rows};
use super::trees::{Trees, lower};
use super::walks::{beyond, from};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::store::EntryId;
use crate::cache::store::engine::{Fault, FaultKind, Inspected, StoreError};
use crate::cache::store::record;
use crate::clock::Timestamp;

/// The phases of an inspection, in their order: the first byte of a place.
const ENTRIES: u8 = 0;
const BY_PATH: u8 = 1;
const BY_TAG: u8 = 2;
const BY_EXPIRY: u8 = 3;
const BY_BODY: u8 = 4;
const BY_ROUTE: u8 = 5;
const OVERFLOW: u8 = 6;
const BODIES: u8 = 7;

impl Trees {
    /// `after` and what goes on from here: the phase, then where in it.
    pub(super) fn inspect_part(
        &self,
        now: Timestamp,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Inspected, StoreError> {
        let (phase, after) =
            after.and_then(<[u8]>::split_first).map_or((ENTRIES, &[][..]), |(p, at)| (*p, at));
        let mut part = Inspected::default();
        let reached = match phase {
            ENTRIES => self.inspect_entries(now, after, limit, &mut part)?,
            BODIES => self.inspect_bodies(after, &mut part)?,
            _ => self.inspect_rows(phase, after, limit, &mut part)?,
        };
        part.next = match reached {
            Some(at) => Some([&[phase], &at[..]].concat()),
            None => (phase < BODIES).then(|| vec![phase + 1]),
        };
        Ok(part)
    }

    fn inspect_entries(
        &self,
        now: Timestamp,
        after: &[u8],
        limit: usize,
        part: &mut Inspected,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut at = after.to_vec();
        for (seen, row) in from(&self.entries, Some(after).filter(|after| !after.is_empty())).enumerate() {
            if seen >= limit {
                return Ok(Some(at));
            }
            let Ok((key, value)) = row else {
                part.faults.push(fault(FaultKind::Unreadable, None, ENTRIES, &at));
                return Ok(beyond(&at));
            };
            at = key.to_vec();
            part.entries += 1;
            part.bytes += (key.len() + value.len()) as u64;
            let id = index::id(&key).filter(|_| key.len() == ID);
            let Some((id, entry)) = id.and_then(|id| Some((id, self.decoded(id, &value)?))) else {
                part.faults.push(fault(FaultKind::Record, id, ENTRIES, &key));
                continue;
            };
            if entry.keep_until < now {
                part.faults.push(fault(FaultKind::Expired, Some(id), ENTRIES, &key));
            }
            let missing = self.missing_rows(id, &entry)?;
            if !missing.is_empty() && self.entries.get(&key)?.is_some_and(|stands| stands == value) {
                part.faults.extend(missing);
            }
            if let BodyRef::File(file) = entry.body {
                part.bodies.push((id, file));
            }
        }
        Ok(None)
    }

    fn inspect_rows(
        &self,
        phase: u8,
        after: &[u8],
        limit: usize,
        part: &mut Inspected,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(tree) = self.tree(phase) else { return Ok(None) };
        let mut at = after.to_vec();
        for (seen, row) in from(tree, Some(after).filter(|after| !after.is_empty())).enumerate() {
            if seen >= limit {
                return Ok(Some(at));
            }
            let Ok((row, value)) = row else {
                part.faults.push(fault(FaultKind::Unreadable, None, phase, &at));
                return Ok(beyond(&at));
            };
            at = row.to_vec();
            part.bytes += (row.len() + value.len()) as u64;
            if !self.is_row_named(phase, &row)? {
                part.faults.push(stray(phase, &row));
            }
        }
        Ok(None)
    }

    /// One of the 256 folders.
    fn inspect_bodies(&self, after: &[u8], part: &mut Inspected) -> Result<Option<Vec<u8>>, StoreError> {
        let folder = after.first().copied().unwrap_or(0);
        for hash in self.files.folder(folder) {
            if !self.is_body_used(&hash)? && !self.files.is_pinned(&hash) {
                let mut fault = fault(FaultKind::StrayBody, None, BODIES, &hash);
                fault.body = Some(hash);
                part.faults.push(fault);
            }
        }
        Ok(folder.checked_add(1).map(|next| vec![next]))
    }

    pub(super) fn is_fault_now(&self, now: Timestamp, fault: &Fault) -> Result<bool, StoreError> {
        let Some((phase, row)) = fault.place.split_first() else { return Ok(false) };
        Ok(match fault.kind {
            FaultKind::Record => self
                .entries
                .get(row)?
                .is_some_and(|value| fault.id.is_none_or(|id| self.decoded(id, &value).is_none())),
            FaultKind::Unreadable => self.tree(*phase).is_some_and(|tree| {
                from(tree, Some(row).filter(|row| !row.is_empty())).next().is_some_and(|row| row.is_err())
            }),
            FaultKind::Expired => self.standing(fault)?.is_some_and(|entry| entry.keep_until < now),
            FaultKind::BodyMissing | FaultKind::BodyDamaged => {
                self.standing(fault)?.is_some_and(|entry| match &entry.body {
                    BodyRef::File(file) if Some(file.hash) == fault.body => {
                        fault.kind == FaultKind::BodyDamaged || !self.files.exists(file)
                    }
                    _ => false,
                })
            }
            FaultKind::RowMissing => match (fault.id, self.standing(fault)?) {
                (Some(id), Some(entry)) => self.missing_rows(id, &entry)?.contains(fault),
                _ => false,
            },
            FaultKind::StrayRow | FaultKind::StrayChunk => match self.tree(*phase) {
                Some(tree) => tree.contains_key(row)? && !self.is_row_named(*phase, row)?,
                None => false,
            },
            FaultKind::StrayBody => match &fault.body {
                Some(hash) => {
                    self.files.file_len(hash).is_some()
                        && !self.files.is_pinned(hash)
                        && !self.is_body_used(hash)?
                }
                None => false,
            },
        })
    }

    pub(super) fn mend_now(&self, fault: &Fault) -> Result<u64, StoreError> {
        let Some((phase, row)) = fault.place.split_first() else { return Ok(0) };
        match fault.kind {
            // What it cannot read it cannot write either.
            FaultKind::Unreadable => Ok(0),
            FaultKind::Record => {
                let Some(value) = self.entries.remove(row)? else { return Ok(0) };
                lower(&self.count, 1);
                self.shrunk(row.len() + value.len());
                Ok((row.len() + value.len()) as u64)
            }
            FaultKind::Expired | FaultKind::BodyMissing | FaultKind::BodyDamaged => {
                let Some(id) = fault.id else { return Ok(0) };
                let before = self.live_bytes();
                self.remove_guarded(id)?;
                Ok(before.saturating_sub(self.live_bytes()))
            }
            FaultKind::RowMissing => self.add_missing_row(*phase, row, fault),
            FaultKind::StrayRow if *phase == BY_BODY => {
                let before = self.live_bytes();
                self.drop_body_row(row)?;
                Ok(before.saturating_sub(self.live_bytes()))
            }
            FaultKind::StrayRow | FaultKind::StrayChunk => {
                let Some(tree) = self.tree(*phase) else { return Ok(0) };
                let Some(value) = tree.remove(row)? else { return Ok(0) };
                let len = row.len() + value.len();
                if *phase == OVERFLOW {
                    self.shrunk(len);
                }
                Ok(len as u64)
            }
            FaultKind::StrayBody => {
                let Some(hash) = &fault.body else { return Ok(0) };
                let len = self.files.file_len(hash).unwrap_or(0);
                let removed = self.files.remove_unless(hash, || self.is_body_used(hash))?;
                self.orphans.fetch_add(u64::from(removed), Relaxed);
                Ok(if removed { len } else { 0 })
            }
        }
    }

    fn add_missing_row(&self, phase: u8, row: &[u8], fault: &Fault) -> Result<u64, StoreError> {
        let Some(tree) = self.tree(phase) else { return Ok(0) };
        let len = match self.standing(fault)?.map(|entry| entry.body) {
            Some(BodyRef::File(file)) if phase == BY_BODY => {
                self.add_body_row(row, file.len)?;
                return Ok(0);
            }
            _ => &[],
        };
        tree.insert(row, len)?;
        Ok(0)
    }

    fn standing(&self, fault: &Fault) -> Result<Option<Entry>, StoreError> {
        let Some(id) = fault.id else { return Ok(None) };
        let value = self.entries.get(index::key(id))?;
        Ok(value.and_then(|value| self.decoded(id, &value)))
    }

    fn decoded(&self, id: EntryId, value: &[u8]) -> Option<Entry> {
        record::decode(id, value, |place| self.chunks(id, place)).ok()
    }

    fn missing_rows(&self, id: EntryId, entry: &Entry) -> Result<Vec<Fault>, StoreError> {
        let rows = Rows::of(id, entry);
        let tags = rows.tags.iter().map(|row| (BY_TAG, row));
        let body = rows.body.iter().map(|(row, _)| (BY_BODY, row));
        let one = [(BY_PATH, &rows.path), (BY_EXPIRY, &rows.expiry), (BY_ROUTE, &rows.route)];
        let all = one.into_iter().chain(tags).chain(body);
        let mut missing = Vec::new();
        for (phase, row) in all {
            let Some(tree) = self.tree(phase) else { continue };
            if !tree.contains_key(row)? {
                missing.push(fault(FaultKind::RowMissing, Some(id), phase, row));
            }
        }
        Ok(missing)
    }

    /// Whether a row stands for what its entry says.
    fn is_row_named(&self, phase: u8, row: &[u8]) -> Result<bool, StoreError> {
        if phase == OVERFLOW {
            return self.is_chunk_named(row);
        }
        let Some(id) = index::id(row) else { return Ok(false) };
        let Some(value) = self.entries.get(index::key(id))? else { return Ok(false) };
        // The rows of a record that cannot be read are strays once the record is gone.
        let Some(entry) = self.decoded(id, &value) else { return Ok(true) };
        let rows = Rows::of(id, &entry);
        Ok(match phase {
            BY_PATH => rows.path == row,
            BY_TAG => rows.tags.iter().any(|tag| tag == row),
            BY_EXPIRY => rows.expiry == row,
            BY_ROUTE => rows.route == row,
            _ => rows.body.is_some_and(|(body, _)| body == row),
        })
    }

    fn tree(&self, phase: u8) -> Option<&sled::Tree> {
        match phase {
            ENTRIES => Some(&self.entries),
            BY_PATH => Some(&self.by_path),
            BY_TAG => Some(&self.by_tag),
            BY_EXPIRY => Some(&self.by_expiry),
            BY_BODY => Some(&self.by_body),
            BY_ROUTE => Some(&self.by_route),
            OVERFLOW => Some(&self.overflow),
            _ => None,
        }
    }
}

fn stray(phase: u8, row: &[u8]) -> Fault {
    if phase == OVERFLOW {
        let id = row.get(..ID).and_then(index::id);
        return fault(FaultKind::StrayChunk, id, phase, row);
    }
    let mut stray = fault(FaultKind::StrayRow, index::id(row), phase, row);
    if phase == BY_BODY {
        stray.body = row.get(..32).and_then(|hash| hash.try_into().ok());
    }
    stray
}

fn fault(kind: FaultKind, id: Option<EntryId>, phase: u8, row: &[u8]) -> Fault {
    Fault { kind, id, body: None, place: [&[phase], row].concat() }
}
