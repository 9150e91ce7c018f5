//! What a full disk takes, and what goes for it: as the writer does it and as a simulation does.

use super::EntryId;
use super::engine::Usage;
use crate::cache::Settings;
use crate::cache::key::Digest;
use crate::clock::Timestamp;

/// One of so many entries that are looked at for eviction may go.
const EVICTED_PART: usize = 16;
/// A disk that was full is so until a part of its limit is free again: one of so many.
const FREE_PART: u64 = 16;

/// Whether a reply of which nothing is stored yet is written to disk.
///
/// As long as there is room, everything is. From then on each takes the place of another, and has to be asked for
/// twice: of a crawl nothing is written, which also spares the disk. What is `wanted` (somebody warms the cache) need
/// not wait for that.
pub(super) const fn is_worth_a_place(full: bool, known: bool, wanted: bool) -> bool {
    !full || known || wanted
}

/// Whether what comes takes the place of another: from the first eviction on, until some room is free again (after a
/// purge, say, or with a higher limit).
pub(super) fn is_full(was_full: bool, made_room: bool, used: impl IntoIterator<Item = (u64, u64)>) -> bool {
    made_room || was_full && used.into_iter().any(|(used, limit)| used >= limit - limit / FREE_PART)
}

/// The limits of a whole disk tier, beside what is used of each.
pub(super) const fn used(usage: Usage, settings: &Settings) -> [(u64, u64); 2] {
    [(usage.bytes, settings.disk), (usage.entries, settings.max_entries)]
}

/// How soon an entry goes, the least first: what is past its use, then what is asked for the least, then what is to be
/// kept the shortest.
type Rank = (bool, u8, Timestamp);

/// The coldest of the entries that were looked at last.
#[derive(Debug, Default)]
pub(super) struct Coldest {
    /// The coldest last.
    ranked: Vec<(Rank, EntryId)>,
}

impl Coldest {
    /// The coldest few of `seen` (name, until when each is of use); the coldest alone where they are `all` that there
    /// are, since those that come may be colder than the next.
    pub(super) fn of(
        seen: impl IntoIterator<Item = (EntryId, Timestamp)>,
        all: bool,
        now: Timestamp,
        asked_for: impl Fn(Digest) -> u8,
    ) -> Self {
        let mut ranked: Vec<_> = seen
            .into_iter()
            .map(|(id, keep_until)| ((keep_until >= now, asked_for(id.digest), keep_until), id))
            .collect();
        ranked.sort_unstable();
        ranked.truncate(if all { 1 } else { ranked.len().div_ceil(EVICTED_PART) });
        ranked.reverse();
        Self { ranked }
    }

    /// Takes out the next to go; one that was asked for since it was looked at is passed over.
    pub(super) fn next(&mut self, asked_for: impl Fn(Digest) -> u8) -> Option<EntryId> {
        while let Some(((_, asked, _), id)) = self.ranked.pop() {
            if asked_for(id.digest) <= asked {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn id(number: u8) -> EntryId {
        EntryId { digest: Digest([number; 16]), variant: [0; 16] }
    }

    #[test]
    fn what_a_full_disk_takes() {
        for (full, known, wanted, taken) in [
            (false, false, false, true),
            (true, false, false, false),
            (true, true, false, true),
            (true, false, true, true),
        ] {
            assert_eq!(is_worth_a_place(full, known, wanted), taken, "{full} {known} {wanted}");
        }
    }

    #[test]
    fn full_from_the_first_eviction_until_a_sixteenth_is_free() {
        assert!(!is_full(false, false, [(1600, 1600)]), "nothing had to go yet");
        assert!(is_full(false, true, [(1590, 1600)]));
        assert!(is_full(true, false, [(1500, 1600), (1, 10)]));
        assert!(!is_full(true, false, [(1499, 1600), (1, 10)]));
        assert!(is_full(true, false, [(0, u64::MAX), (10, 10)]), "any limit");
    }

    #[test]
    fn the_coldest_goes_first_unless_it_is_asked_for_meanwhile() {
        let at = Timestamp::from_secs;
        let mut asked: HashMap<Digest, u8> =
            (0..64).map(|number| (id(number).digest, number % 8 + 1)).collect();
        let until = |number: u8| at(if number == 63 { 50 } else { 200 - u64::from(number) });
        let seen = (0..64).map(|number| (id(number), until(number)));
        let mut coldest = Coldest::of(seen.clone(), false, at(100), |digest| asked[&digest]);
        let next = coldest.next(|digest| asked[&digest]);
        assert_eq!(next, Some(id(63)), "past its use, however often it is asked for");
        assert_eq!(coldest.next(|digest| asked[&digest]), Some(id(56)), "the same count, to be kept shorter");
        *asked.get_mut(&id(48).digest).unwrap() += 1;
        assert_eq!(coldest.next(|digest| asked[&digest]), Some(id(40)));
        assert_eq!(coldest.next(|digest| asked[&digest]), None, "a sixteenth at most");
        let mut coldest = Coldest::of(seen, true, at(100), |digest| asked[&digest]);
        assert_eq!(coldest.next(|digest| asked[&digest]), Some(id(63)));
        assert_eq!(coldest.next(|digest| asked[&digest]), None, "one of all");
    }
}
