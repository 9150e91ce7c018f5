//! Reads what can still be read of a database that was set aside.

use std::path::Path;

use super::index;
use super::open::attempt_in;
use super::trees::guarded;
use super::walks::over;
use crate::cache::entry::Entry;
use crate::cache::store::EntryId;
use crate::cache::store::engine::StoreError;
use crate::cache::store::record::{self, Overflow};

/// Hands every entry whose checksum holds to `copy`, which may end the walk by returning false.
/// Says whether the walk came to its end: only then may the database be deleted.
pub(crate) fn salvage(index: &Path, mut copy: impl FnMut(EntryId, Entry) -> bool) -> bool {
    let walk = || -> Result<bool, StoreError> {
        let Some(db) = attempt_in(index) else { return Ok(false) };
        let entries = db.open_tree("entries")?;
        let overflow = db.open_tree("overflow")?;
        for (key, value) in over(&entries) {
            let Some(id) = index::id(&key) else { continue };
            let chunks = |place: Overflow| {
                let mut all = Vec::new();
                for number in 0..place.chunks {
                    all.extend_from_slice(
                        &overflow.get(super::trees::chunk_key(id, place.generation, number)).ok()??,
                    );
                }
                Some(all)
            };
            if let Ok(entry) = record::decode(id, &value, chunks)
                && !copy(id, entry)
            {
                return Ok(false);
            }
        }
        Ok(true)
    };
    guarded(walk).unwrap_or(false)
}
