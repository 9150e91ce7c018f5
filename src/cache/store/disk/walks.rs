//! Walks over the trees, a part at a time.

use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;

use super::index;
use super::trees::Trees;
use crate::cache::purge::Subject;
use crate::cache::store::engine::{StoreError, Walk};

impl Trees {
    pub(super) fn walk_entries(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk::default();
        let mut start = after.map(<[u8]>::to_vec);
        loop {
            match self.walk_run(prefix, start.as_deref(), limit, &mut walk) {
                Ok(()) => return Ok(walk),
                // An unreadable leaf: go on behind it, as far as one can tell where that is.
                Err((at, _)) => {
                    self.corrupt.fetch_add(1, Relaxed);
                    match beyond(&at) {
                        Some(next) => start = Some(next),
                        None => {
                            walk.next = None;
                            return Ok(walk);
                        }
                    }
                }
            }
        }
    }

    fn walk_run(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        walk: &mut Walk,
    ) -> Result<(), (Vec<u8>, StoreError)> {
        let mut at = after.unwrap_or(prefix).to_vec();
        for row in from(&self.entries, Some(after.unwrap_or(prefix)).filter(|start| !start.is_empty())) {
            let (key, value) = row.map_err(|error| (at.clone(), error.into()))?;
            if !key.starts_with(prefix) {
                break;
            }
            if walk.entries.len() >= limit {
                walk.next = Some(at);
                return Ok(());
            }
            at = key.to_vec();
            if let Some(id) = index::id(&key)
                && let Some(entry) = self.read(id, &value)
            {
                walk.entries.push((id, entry));
            }
        }
        walk.next = None;
        Ok(())
    }

    pub(super) fn walk_rows(
        &self,
        tree: &sled::Tree,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk::default();
        for (seen, row) in from(tree, Some(after.unwrap_or(prefix))).enumerate() {
            let (row, _) = row?;
            if !row.starts_with(prefix) {
                break;
            }
            if seen >= limit {
                return Ok(walk);
            }
            if let Some(id) = index::id(&row) {
                match self.entries.get(index::key(id))? {
                    Some(value) => walk.entries.extend(self.read(id, &value).map(|entry| (id, entry))),
                    None => {
                        tree.remove(&row)?;
                    }
                }
            }
            walk.next = Some(row.to_vec());
        }
        walk.next = None;
        Ok(walk)
    }

    /// Over all rows by URL, of which it reads the entries of those that are `wanted`.
    pub(super) fn walk_urls(
        &self,
        wanted: &dyn Fn(&Subject<'_>) -> bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk::default();
        for (seen, row) in from(&self.by_path, after).enumerate() {
            let (row, _) = row?;
            if seen >= limit {
                return Ok(walk);
            }
            if let Some(id) = index::id(&row)
                && index::with_url(&row, wanted)
            {
                match self.entries.get(index::key(id))? {
                    Some(value) => walk.entries.extend(self.read(id, &value).map(|entry| (id, entry))),
                    None => {
                        self.by_path.remove(&row)?;
                    }
                }
            }
            walk.next = Some(row.to_vec());
        }
        walk.next = None;
        Ok(walk)
    }
}

/// All rows that can be read; past an unreadable leaf it goes on where it can.
pub(crate) fn over(tree: &sled::Tree) -> impl Iterator<Item = (sled::IVec, sled::IVec)> + '_ {
    let mut at: Vec<u8> = Vec::new();
    let mut rows = tree.iter();
    std::iter::from_fn(move || {
        loop {
            match rows.next()? {
                Ok((key, value)) => {
                    at = key.to_vec();
                    return Some((key, value));
                }
                Err(_) => {
                    at = beyond(&at)?;
                    rows = tree.range(at.clone()..);
                }
            }
        }
    })
}

/// A key behind the leaf that could not be read: names are uniform, so a step in the second byte skips few.
pub(super) fn beyond(at: &[u8]) -> Option<Vec<u8>> {
    let high = u16::from_be_bytes([at.first().copied().unwrap_or(0), at.get(1).copied().unwrap_or(0)]);
    high.checked_add(1).map(|next| next.to_be_bytes().to_vec())
}

pub(super) fn from(tree: &sled::Tree, after: Option<&[u8]>) -> sled::Iter {
    match after {
        None => tree.iter(),
        Some(after) => tree.range::<&[u8], _>((Bound::Excluded(after), Bound::Unbounded)),
    }
}
