//! Who has asked how often: a table of bounded size in shards, each behind a lock that is held for some dozens of
//! nanoseconds.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use parking_lot::Mutex;

use super::rate::{Rate, State, Taken};
use crate::clock::Timestamp;

/// Shards of a table that is large enough for so many.
const MAX_SHARDS: usize = 64;

/// Keys that a shard holds at least, so that a small table does not run over in one shard while others are empty.
const SHARD_KEYS: usize = 128;

/// Entries that a new key looks at for room when its shard is full.
const LOOKS: usize = 32;

/// Entries that every new key looks at, so that those who have gone do not fill the table.
const SWEEPS: usize = 2;

/// Bytes of a label that are kept.
const MAX_LABEL: usize = 96;

/// How a key is shown to people. Secrets come as hashes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// A client, or the network that counts as one.
    Client(IpNet),
    /// Anything else.
    Text(Box<str>),
}

impl Label {
    /// The network of this many bits that an address is in.
    pub fn client(address: IpAddr, prefix: u8) -> Self {
        Self::Client(IpNet::new_assert(address, prefix.min(if address.is_ipv4() { 32 } else { 128 })).trunc())
    }

    /// A text, cut to what is kept.
    pub fn text(mut text: String) -> Self {
        if text.len() > MAX_LABEL {
            let end = (0..=MAX_LABEL).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            text.truncate(end);
            text.push('…');
        }
        Self::Text(text.into())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Self::Client(net) => write!(f, "{net}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What is counted where it happens, under the lock that is held anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) allowed: u64,
    pub(super) limited: u64,
    pub(super) dry_run: u64,
    pub(super) evicted: u64,
    pub(super) shared: u64,
}

/// One key.
#[derive(Debug)]
struct Entry {
    hash: u64,
    state: State,
    tier: u16,
    /// Requests refused since it has its place.
    refused: u32,
    label: Label,
}

/// A key as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) label: Label,
    pub(super) tier: u16,
    pub(super) refused: u32,
    pub(super) now: Taken,
}

/// A hash is its own hash.
#[derive(Default)]
struct Known(u64);

impl Hasher for Known {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Debug)]
struct Shard {
    places: HashMap<u64, u32, BuildHasherDefault<Known>>,
    entries: Vec<Entry>,
    /// Where the search for room goes on.
    hand: usize,
    /// What those share that find no place, by tier.
    shared: Box<[State]>,
    tally: Tally,
}

/// The table of one policy.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    shard_keys: usize,
    /// By tier; the first is that of everyone else.
    rates: Box<[Rate]>,
}

/// Where a request was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) hash: u64,
    pub(super) tier: u16,
}

impl Table {
    pub(super) fn new(max_keys: usize, rates: Box<[Rate]>) -> Self {
        let shards = (max_keys / SHARD_KEYS).clamp(1, MAX_SHARDS).next_power_of_two().min(MAX_SHARDS);
        let shard = || {
            Mutex::new(Shard {
                places: HashMap::default(),
                entries: Vec::new(),
                hand: 0,
                shared: vec![State::default(); rates.len()].into(),
                tally: Tally::default(),
            })
        };
        Self { shards: (0..shards).map(|_| shard()).collect(), shard_keys: max_keys.div_ceil(shards), rates }
    }

    /// The most keys that it ever holds.
    pub(super) fn capacity(&self) -> usize {
        self.shard_keys * self.shards.len()
    }

    /// The most bytes that it ever takes.
    pub(super) fn max_bytes(&self) -> usize {
        // The map grows by doubling, and holds its old half while it does.
        let place = 2 * (size_of::<(u64, u32)>() + 1);
        self.capacity() * (size_of::<Entry>() + place + MAX_LABEL)
    }

    /// Counts a request, if it fits; `dry_run` says that it passes even if not.
    pub(super) fn take(
        &self,
        asker: Asker,
        now: Timestamp,
        dry_run: bool,
        label: impl FnOnce() -> Label,
    ) -> Taken {
        let mut shard = self.shard(asker.hash).lock();
        let shard = &mut *shard;
        let rate = self.rate(asker.tier);
        let place = match shard.places.get(&asker.hash) {
            Some(place) => Some(*place as usize),
            None => self.place(shard, asker, now, label),
        };
        let taken = match place.and_then(|place| shard.entries.get_mut(place)) {
            Some(entry) => {
                let taken = rate.take(&mut entry.state, now);
                entry.refused = entry.refused.saturating_add((!taken.allowed).into());
                taken
            }
            None => {
                shard.tally.shared += 1;
                shard
                    .shared
                    .get_mut(usize::from(asker.tier))
                    .map_or_else(|| rate.look(&State::default(), now), |state| rate.take(state, now))
            }
        };
        let counter = match (taken.allowed, dry_run) {
            (true, _) => &mut shard.tally.allowed,
            (false, false) => &mut shard.tally.limited,
            (false, true) => &mut shard.tally.dry_run,
        };
        *counter += 1;
        taken
    }

    /// How a key stands.
    pub(super) fn look(&self, asker: Asker, now: Timestamp) -> Taken {
        let shard = self.shard(asker.hash).lock();
        let known = shard.places.get(&asker.hash).and_then(|place| shard.entries.get(*place as usize));
        let state = known.map_or_else(State::default, |entry| entry.state);
        self.rate(asker.tier).look(&state, now)
    }

    /// Gives back what an allowed request took: it was refused after all, by another policy.
    pub(super) fn give_back(&self, asker: Asker) {
        let mut shard = self.shard(asker.hash).lock();
        let shard = &mut *shard;
        shard.tally.allowed = shard.tally.allowed.saturating_sub(1);
        let known = shard.places.get(&asker.hash).and_then(|place| shard.entries.get_mut(*place as usize));
        let shared = shard.shared.get_mut(usize::from(asker.tier));
        if let Some(state) = known.map(|entry| &mut entry.state).or(shared) {
            self.rate(asker.tier).give_back(state);
        }
    }

    /// Shows every key whose quota is not whole, shard by shard; a shard is locked while its keys are copied only.
    pub(super) fn each(&self, now: Timestamp, mut show: impl FnMut(Seen)) {
        let see = |entry: &Entry| {
            let rate = self.rate(entry.tier);
            let (tier, refused) = (entry.tier, entry.refused);
            (!rate.is_whole(&entry.state, now)).then(|| Seen {
                label: entry.label.clone(),
                tier,
                refused,
                now: rate.look(&entry.state, now),
            })
        };
        for shard in &self.shards {
            let seen: Vec<Seen> = shard.lock().entries.iter().filter_map(see).collect();
            seen.into_iter().for_each(&mut show);
        }
    }

    /// Forgets the keys that are shown so, or all; how many had a place.
    pub(super) fn forget(&self, label: Option<&str>) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut at = 0;
            while at < shard.entries.len() {
                if label.is_none_or(|label| shard.entries[at].label.to_string() == label) {
                    shard.remove(at);
                    forgotten += 1;
                } else {
                    at += 1;
                }
            }
            if label.is_none() {
                shard.shared.fill(State::default());
            }
        }
        forgotten
    }

    /// Keys that have a place.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    /// What was counted.
    pub(super) fn tally(&self) -> Tally {
        self.shards.iter().map(|shard| shard.lock().tally).fold(Tally::default(), |sum, tally| Tally {
            allowed: sum.allowed + tally.allowed,
            limited: sum.limited + tally.limited,
            dry_run: sum.dry_run + tally.dry_run,
            evicted: sum.evicted + tally.evicted,
            shared: sum.shared + tally.shared,
        })
    }

    /// Room for a new key; `None` where those who are there have all used much of their quota.
    fn place(
        &self,
        shard: &mut Shard,
        asker: Asker,
        now: Timestamp,
        label: impl FnOnce() -> Label,
    ) -> Option<usize> {
        self.sweep(shard, now);
        if shard.entries.len() >= self.shard_keys {
            let leaves = self.leaver(shard, now)?;
            let rate = self.rate(shard.entries[leaves].tier);
            shard.tally.evicted += u64::from(!rate.is_whole(&shard.entries[leaves].state, now));
            shard.remove(leaves);
        }
        let place = shard.entries.len();
        shard.places.insert(asker.hash, u32::try_from(place).ok()?);
        let state = State::default();
        shard.entries.push(Entry { hash: asker.hash, state, tier: asker.tier, refused: 0, label: label() });
        Some(place)
    }

    /// Removes a few whose quota is whole.
    fn sweep(&self, shard: &mut Shard, now: Timestamp) {
        for _ in 0..SWEEPS {
            let Some(at) = shard.turn() else { return };
            if self.rate(shard.entries[at].tier).is_whole(&shard.entries[at].state, now) {
                shard.remove(at);
            }
        }
    }

    /// Who makes room in a full shard.
    fn leaver(&self, shard: &mut Shard, now: Timestamp) -> Option<usize> {
        let mut best: Option<(usize, u64)> = None;
        for _ in 0..LOOKS.min(shard.entries.len()) {
            let at = shard.turn()?;
            let entry = &shard.entries[at];
            let rate = self.rate(entry.tier);
            if rate.is_whole(&entry.state, now) {
                return Some(at);
            }
            let limit = u64::from(rate.quota.limit(rate.algorithm));
            let remaining = u64::from(rate.look(&entry.state, now).remaining);
            // In thousandths, since tiers have quotas of their own.
            let left = remaining * 1000 / limit.max(1);
            if remaining * 2 >= limit && best.is_none_or(|(_, most)| left > most) {
                best = Some((at, left));
            }
        }
        best.map(|(at, _)| at)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The map takes the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    fn rate(&self, tier: u16) -> &Rate {
        self.rates.get(usize::from(tier)).unwrap_or(&self.rates[0])
    }
}

impl Shard {
    /// The next entry that the hand points to.
    fn turn(&mut self) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let at = self.hand % self.entries.len();
        self.hand = at + 1;
        Some(at)
    }

    fn remove(&mut self, at: usize) {
        let gone = self.entries.swap_remove(at);
        self.places.remove(&gone.hash);
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.places.get_mut(&moved.hash)
        {
            *place = u32::try_from(at).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::{Algorithm, Quota};

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn table(max_keys: usize, burst: u32) -> Table {
        let quota = Quota { requests: burst, window: Duration::from_secs(60), burst };
        Table::new(max_keys, [Rate { algorithm: Algorithm::Gcra, quota }].into())
    }

    /// Hashes as a real hash would spread them.
    fn asker(number: u64) -> Asker {
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Asker { hash: mixed ^ (mixed >> 32), tier: 0 }
    }

    fn take(table: &Table, number: u64, now: Timestamp) -> bool {
        table.take(asker(number), now, false, || Label::text(format!("key {number}"))).allowed
    }

    #[test]
    fn a_flood_of_keys_neither_grows_it_nor_frees_who_is_limited() {
        let table = table(1024, 10);
        for number in 0..100 {
            while take(&table, number, START) {}
        }
        for flood in 0..200_000 {
            take(&table, 1_000 + flood, START);
        }
        assert!(table.len() <= table.capacity() && table.capacity() <= 1024 + MAX_SHARDS);
        for number in 0..100 {
            assert!(!take(&table, number, START), "{number} was forgotten");
        }
        assert!(table.tally().evicted > 100_000, "{:?}", table.tally());
    }

    #[test]
    fn where_all_are_limited_the_others_share_one_quota_per_shard() {
        let table = table(256, 2);
        // Everyone uses the whole quota up until no place is left for another.
        for number in 0..4_000 {
            while take(&table, number, START) {}
        }
        let shared = table.tally().shared;
        assert!(shared > 0 && table.len() == table.capacity());
        let late = (0..1_000).filter(|number| take(&table, 100_000 + number, START)).count();
        assert_eq!(late, 0, "the shared quotas are used up as well");
        // Once those there are whole again, new ones find room.
        let later = START.plus(Duration::from_secs(120));
        assert!(take(&table, 100_001, later) && take(&table, 100_002, later));
        assert_eq!(table.tally().evicted, 0);
    }

    #[test]
    fn who_has_gone_does_not_fill_it() {
        let table = table(1024, 10);
        for number in 0..100_000 {
            let now = START.plus(Duration::from_millis(number * 100));
            assert!(take(&table, number, now));
        }
        // Each was whole again six seconds, that is sixty newcomers, later.
        assert!(table.len() < 512, "{}", table.len());
        assert_eq!(table.tally().evicted, 0);
    }

    #[test]
    fn threads_at_once_get_the_quota_and_not_one_more() {
        let table = table(64, 1000);
        let allowed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| take(&table, 7, START)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(allowed, 1000);
        let tally = table.tally();
        assert_eq!((tally.allowed, tally.limited), (1000, 7000));
    }

    #[test]
    fn keys_are_forgotten_by_how_they_are_shown() {
        let table = table(64, 1);
        assert!(take(&table, 1, START) && take(&table, 2, START) && !take(&table, 1, START));
        assert_eq!(table.forget(Some("key 1")), 1);
        assert!(take(&table, 1, START) && !take(&table, 2, START));
        assert_eq!(table.forget(None), 2);
        assert!(take(&table, 2, START));
    }

    #[test]
    fn labels_are_short_and_networks_stand_for_their_clients() {
        let long = Label::text("ü".repeat(200)).to_string();
        assert!(long.len() <= MAX_LABEL + 3 && long.ends_with('…'));
        assert_eq!(Label::client("2001:db8::1:2:3".parse().unwrap(), 64).to_string(), "2001:db8::/64");
        assert_eq!(Label::client("192.0.2.7".parse().unwrap(), 32).to_string(), "192.0.2.7");
        assert_eq!(Label::client("192.0.2.7".parse().unwrap(), 99).to_string(), "192.0.2.7");
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 64, "{}", size_of::<Entry>());
    }
}
