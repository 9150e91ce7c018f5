//! What makes room on disk, as the writer does it and as a simulation does.

use super::EntryId;
use crate::cache::key::Digest;
use crate::clock::Timestamp;

/// One of so many entries that are looked at for eviction goes.
const EVICTED_PART: usize = 4;

/// Entries (name, until when each is of use) in the order in which they go: first what is past its use, then what is
/// asked for the least, then what is to be kept the shortest.
pub(super) fn coldest_first(
    seen: impl IntoIterator<Item = (EntryId, Timestamp)>,
    now: Timestamp,
    asked_for: impl Fn(Digest) -> u8,
) -> Vec<EntryId> {
    let mut ranked: Vec<_> = seen
        .into_iter()
        .map(|(id, keep_until)| ((keep_until >= now, asked_for(id.digest), keep_until), id))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, id)| id).collect()
}

/// How many of those that were looked at may go; where they are `all` there is nothing better to wait for.
pub(super) const fn may_go(seen: usize, all: bool) -> usize {
    if all { seen } else { seen.div_ceil(EVICTED_PART) }
}
