//! What every store must do, run over sled and over a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::EntryId;
use super::disk::files::{CHUNK, Files};
use super::disk::open;
use super::disk::trees::Trees;
use super::engine::{Fault, FaultKind, Inspected, RouteUsage, Store, StoreError, Usage, Walk};
use super::record::MAX_INLINE;
use super::tests::{entry, id};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, Subject};
use crate::clock::Timestamp;

/// The simplest thing that keeps the contract.
#[derive(Debug, Default)]
struct InMap(Mutex<BTreeMap<EntryId, Entry>>);

impl Store for InMap {
    fn get(&self, digest: Digest) -> Result<Vec<Entry>, StoreError> {
        let map = self.0.lock();
        Ok(map.iter().filter(|(id, _)| id.digest == digest).map(|(_, entry)| entry.clone()).collect())
    }

    fn contains(&self, id: EntryId) -> Result<bool, StoreError> {
        Ok(self.0.lock().contains_key(&id))
    }

    fn put(&self, id: EntryId, entry: &Entry) -> Result<(), StoreError> {
        if matches!(&entry.body, BodyRef::Bytes(bytes) if bytes.len() > MAX_INLINE) {
            return Err(StoreError::TooLarge);
        }
        self.0.lock().insert(id, entry.clone());
        Ok(())
    }

    fn remove(&self, id: EntryId) -> Result<bool, StoreError> {
        Ok(self.0.lock().remove(&id).is_some())
    }

    fn candidates(&self, _: &Criterion, after: Option<&[u8]>, limit: usize) -> Result<Walk, StoreError> {
        let name = |id: &EntryId| [id.digest.0, id.variant].concat();
        let map = self.0.lock();
        let mut rest = map.iter().filter(|(id, _)| after.is_none_or(|after| *name(id) > *after));
        let entries: Vec<_> = rest.by_ref().take(limit).map(|(id, entry)| (*id, entry.clone())).collect();
        let next = rest.next().and(entries.last()).map(|(id, _)| name(id));
        Ok(Walk { entries, next })
    }

    fn candidates_by_url(
        &self,
        wanted: &dyn Fn(&Subject<'_>) -> bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Walk, StoreError> {
        let mut walk = self.candidates(&Criterion::All, after, limit)?;
        walk.entries.retain(|(id, entry)| wanted(&Subject::of(id.digest, entry)));
        Ok(walk)
    }

    fn soonest_expiring(&self, limit: usize) -> Result<Vec<(Timestamp, EntryId)>, StoreError> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(id, entry)| (entry.keep_until, *id)).collect();
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    fn usage(&self) -> Usage {
        let entries = self.0.lock().len() as u64;
        Usage { entries, bytes: entries * 100, ..Usage::default() }
    }

    fn routes(&self) -> Vec<(Box<str>, RouteUsage)> {
        let mut all = BTreeMap::<Box<str>, RouteUsage>::new();
        for entry in self.0.lock().values() {
            let usage = all.entry(entry.route.clone()).or_default();
            usage.entries += 1;
            usage.bytes += 100;
        }
        all.into_iter().collect()
    }

    fn route_usage(&self, route: &str) -> RouteUsage {
        let all = self.routes();
        all.into_iter().find(|(name, _)| **name == *route).map(|(_, usage)| usage).unwrap_or_default()
    }

    fn inspect(&self, now: Timestamp, after: Option<&[u8]>, limit: usize) -> Result<Inspected, StoreError> {
        let walk = self.candidates(&Criterion::All, after, limit)?;
        let expired = walk.entries.iter().filter(|(_, entry)| entry.keep_until < now);
        Ok(Inspected {
            entries: walk.entries.len() as u64,
            faults: expired.map(|(id, _)| expired_fault(*id)).collect(),
            next: walk.next,
            ..Inspected::default()
        })
    }

    fn is_fault(&self, now: Timestamp, fault: &Fault) -> Result<bool, StoreError> {
        let map = self.0.lock();
        Ok(fault.id.and_then(|id| map.get(&id)).is_some_and(|entry| entry.keep_until < now))
    }

    fn mend(&self, fault: &Fault) -> Result<u64, StoreError> {
        let removed = fault.id.and_then(|id| self.0.lock().remove(&id));
        Ok(removed.map_or(0, |_| 100))
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn release(&self, _: &[u8; 32]) -> Result<(), StoreError> {
        Ok(())
    }

    fn tidy(&self, _: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn seal(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn expired_fault(id: EntryId) -> Fault {
    Fault { kind: FaultKind::Expired, id: Some(id), body: None, place: vec![0] }
}

/// Everything that an inspection finds at `now`.
fn inspected(store: &dyn Store, now: u64) -> (u64, Vec<Fault>) {
    let (mut entries, mut faults) = (0, Vec::new());
    let mut after: Option<Vec<u8>> = None;
    loop {
        let part = store.inspect(Timestamp::from_secs(now), after.as_deref(), 3).unwrap();
        entries += part.entries;
        faults.extend(part.faults);
        match part.next {
            Some(next) => after = Some(next),
            None => return (entries, faults),
        }
    }
}

fn all(store: &dyn Store, criterion: &Criterion) -> Vec<Box<str>> {
    let mut found = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let walk = store.candidates(criterion, after.as_deref(), 3).unwrap();
        for (id, entry) in walk.entries {
            if criterion.takes(&Subject::of(id.digest, &entry)) {
                found.push(entry.key.target);
            }
        }
        match walk.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    found.sort();
    found
}

/// As [`all`], by what the index knows of URLs.
fn all_by_url(store: &dyn Store, wanted: &dyn Fn(&Subject<'_>) -> bool) -> Vec<Box<str>> {
    let (mut found, mut after): (Vec<_>, Option<Vec<u8>>) = (Vec::new(), None);
    loop {
        let walk = store.candidates_by_url(wanted, after.as_deref(), 3).unwrap();
        found.extend(walk.entries.into_iter().map(|(_, entry)| entry.key.target));
        match walk.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    found.sort();
    found
}

fn keeps_the_contract(store: &dyn Store) {
    for number in 0..20_u64 {
        let mut entry = entry(&format!("/{}/{number}", number % 2), b"body");
        entry.keep_until = Timestamp::from_secs(1000 - number);
        if number < 5 {
            entry.tags.push("first".into());
            entry.route = "few".into();
        }
        store.put(id(&entry), &entry).unwrap();
    }
    assert_eq!(store.usage().entries, 20);

    // What was put is found, and only that.
    let one = entry("/1/7", b"body");
    let found = store.get(one.key.digest()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, one.key);
    assert!(store.contains(id(&one)).unwrap());
    assert!(store.get(Digest([9; 16])).unwrap().is_empty());

    // Every criterion finds what it takes, by whatever index, in parts.
    let url = Criterion::Url { authority: "example.com".into(), target: "/1/7".into() };
    assert_eq!(all(store, &url), ["/1/7".into()]);
    assert_eq!(all(store, &Criterion::Key(one.key.digest())), ["/1/7".into()]);
    assert_eq!(all(store, &Criterion::Tag("first".into())).len(), 5);
    assert_eq!(all(store, &Criterion::Host("example.com".into())).len(), 20);
    assert_eq!(all(store, &Criterion::Host("example.co".into())).len(), 0);
    let prefix = |authority: Option<&str>| Criterion::Prefix {
        authority: authority.map(Into::into),
        target: "/1/".into(),
    };
    assert_eq!(all(store, &prefix(None)).len(), 10);
    assert_eq!(all(store, &prefix(Some("example.com"))).len(), 10);
    assert_eq!(all(store, &prefix(Some("other"))).len(), 0);
    assert_eq!(all(store, &Criterion::Glob("example.com/1/1*".into())).len(), 6);
    assert_eq!(all(store, &Criterion::All).len(), 20);

    // By URL without reading the others, also where many criteria are asked at once.
    let glob = Criterion::Glob("/1/1*".into());
    assert_eq!(all_by_url(store, &|subject| glob.takes(subject)).len(), 6);
    let either = |subject: &Subject<'_>| url.takes(subject) || *subject.key.target == *"/0/2";
    assert_eq!(all_by_url(store, &either), ["/0/2".into(), "/1/7".into()]);
    assert_eq!(all_by_url(store, &|subject| subject.digest == one.key.digest()), ["/1/7".into()]);
    assert!(all_by_url(store, &|_| false).is_empty());

    assert_eq!(all(store, &Criterion::Route("few".into())).len(), 5);
    assert_eq!(all(store, &Criterion::Route("fe".into())).len(), 0);

    // What each route takes, and one that changes its route takes its bytes along.
    let usage = |route: &str| store.route_usage(route);
    assert_eq!((usage("few").entries, usage("users").entries, usage("other").entries), (5, 15, 0));
    assert!(usage("few").bytes > 0 && usage("users").bytes > usage("few").bytes);
    let before = usage("users");
    let mut moved = store.get(one.key.digest()).unwrap().remove(0);
    moved.route = "other".into();
    store.put(id(&moved), &moved).unwrap();
    assert_eq!(all(store, &Criterion::Route("other".into())), ["/1/7".into()]);
    assert_eq!((usage("other").entries, usage("users").entries), (1, 14));
    moved.route = "users".into();
    store.put(id(&moved), &moved).unwrap();
    assert_eq!((usage("users"), usage("other")), (before, RouteUsage::default()));
    let names: Vec<_> = store.routes().into_iter().map(|(route, _)| route).collect();
    assert_eq!(names, ["few".into(), "users".into()]);

    // Soonest first, also after an entry was given longer.
    let soonest = |limit| store.soonest_expiring(limit).unwrap();
    assert_eq!(soonest(2)[0].0, Timestamp::from_secs(981));
    let (_, last) = soonest(1)[0];
    let mut longer = store.get(last.digest).unwrap().remove(0);
    longer.keep_until = Timestamp::from_secs(5000);
    longer.tags.clear();
    store.put(last, &longer).unwrap();
    assert_eq!(store.usage().entries, 20);
    assert_eq!(soonest(1)[0].0, Timestamp::from_secs(982));
    assert_eq!(soonest(100).len(), 20);

    // A body that belongs into a file is refused; what stood there stands.
    let mut large = one.clone();
    large.body = BodyRef::Bytes(vec![1; MAX_INLINE + 1].into());
    assert!(matches!(store.put(id(&large), &large), Err(StoreError::TooLarge)));
    assert_eq!(store.get(one.key.digest()).unwrap().len(), 1);

    // An inspection sees every entry, finds what is past its time and nothing else, and can remove it.
    assert_eq!(inspected(store, 0), (20, Vec::new()));
    let (entries, faults) = inspected(store, 983);
    assert_eq!((entries, faults.len()), (20, 1));
    assert_eq!(faults[0].kind, FaultKind::Expired);
    let gone = store.get(faults[0].id.unwrap().digest).unwrap().remove(0);
    assert!(store.is_fault(Timestamp::from_secs(983), &faults[0]).unwrap());
    assert!(!store.is_fault(Timestamp::from_secs(982), &faults[0]).unwrap());
    assert!(store.mend(&faults[0]).unwrap() > 0);
    assert!(!store.is_fault(Timestamp::from_secs(983), &faults[0]).unwrap());
    assert_eq!(inspected(store, 983), (19, Vec::new()));
    store.put(id(&gone), &gone).unwrap();

    // Removed is removed, once.
    assert!(store.remove(id(&one)).unwrap());
    assert!(!store.remove(id(&one)).unwrap());
    assert!(store.get(one.key.digest()).unwrap().is_empty());
    assert_eq!(all(store, &url).len(), 0);
    assert_eq!(store.usage().entries, 19);
    for (_, id) in soonest(100) {
        store.remove(id).unwrap();
    }
    assert_eq!(store.usage().entries, 0);
    assert!(store.routes().is_empty());
    store.flush().unwrap();
}

fn disk(root: &std::path::Path) -> (Trees, Arc<Files>) {
    let db = open::open(root, Timestamp::default(), &mut Vec::new()).unwrap();
    let files = Files::open(root).unwrap();
    (Trees::new(db, files.clone()).unwrap(), files)
}

#[test]
fn a_map_keeps_the_contract() {
    keeps_the_contract(&InMap::default());
}

#[test]
fn sled_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    keeps_the_contract(&disk(dir.path()).0);
}

#[test]
fn an_empty_disk_tier_weighs_nothing_and_counts_survive_either_end() {
    let dir = tempfile::tempdir().unwrap();
    let (trees, files) = disk(dir.path());
    let large = vec![5; 3 * CHUNK];
    let mut first = entry("/first", b"");
    for _ in 0..10 {
        first.head.headers.append("x-large", vec![b'x'; 1000].try_into().unwrap());
    }
    let mut second = entry("/second", b"");
    for entry in [&mut first, &mut second] {
        let mut temporary = files.temporary().unwrap();
        temporary.write(&large).unwrap();
        let pin = temporary.install().unwrap();
        entry.body = BodyRef::File(pin.body.clone());
        trees.put(id(entry), entry).unwrap();
        pin.named();
    }
    assert_eq!(trees.get(first.key.digest()).unwrap()[0].head, first.head);
    let BodyRef::File(body) = first.body.clone() else { panic!() };
    let usage = trees.usage();
    let routes = trees.routes();
    // One file for both.
    assert!(usage.bytes > large.len() as u64 && usage.bytes < 2 * large.len() as u64);
    trees.seal().unwrap();
    drop(trees);

    let (trees, files) = disk(dir.path());
    assert_eq!(trees.usage(), usage);
    drop(trees);
    // Not sealed: counted anew.
    let (trees, _) = disk(dir.path());
    assert_eq!(trees.usage(), usage);
    assert_eq!(trees.routes(), routes);
    // As an earlier version left it: no rows by route, and nothing said of them.
    trees.by_route.clear().unwrap();
    trees.meta.clear().unwrap();
    drop(trees);
    let (trees, _) = disk(dir.path());
    assert_eq!((trees.usage(), trees.routes()), (usage, routes));
    assert_eq!(all(&trees, &Criterion::Route("users".into())).len(), 2);

    trees.remove(id(&first)).unwrap();
    assert!(files.exists(&body));
    trees.remove(id(&second)).unwrap();
    assert!(!files.exists(&body));
    assert_eq!(trees.usage(), Usage::default());
}

#[test]
fn what_a_crash_left_is_tidied() {
    let dir = tempfile::tempdir().unwrap();
    let (trees, files) = disk(dir.path());
    let mut temporary = files.temporary().unwrap();
    temporary.write(&[1; 10_000]).unwrap();
    let pin = temporary.install().unwrap();
    let body = pin.body.clone();
    pin.named();
    let mut at = None;
    loop {
        at = trees.tidy(at).unwrap();
        if at.is_none() {
            break;
        }
    }
    assert!(!files.exists(&body));
    assert_eq!(trees.usage().orphans, 1);
}

/// Every kind of disorder is found, is certain, is put right, and is all that is found.
#[test]
fn what_is_in_disorder_is_found_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (trees, files) = disk(dir.path());
    let mut large = entry("/large", b"");
    let mut temporary = files.temporary().unwrap();
    temporary.write(&[1; 10_000]).unwrap();
    let pin = temporary.install().unwrap();
    large.body = BodyRef::File(pin.body.clone());
    trees.put(id(&large), &large).unwrap();
    pin.named();
    for number in 0..10 {
        let entry = entry(&format!("/{number}"), b"body");
        trees.put(id(&entry), &entry).unwrap();
    }
    assert_eq!(inspected(&trees, 0), (11, Vec::new()));

    // A record with a bit flipped; its rows stay until it is gone.
    let name = |target: &str| [id(&entry(target, b"")).digest.0, [0; 16]].concat();
    let mut record = trees.entries.get(name("/3")).unwrap().unwrap().to_vec();
    record[40] ^= 1;
    trees.entries.insert(name("/3"), record).unwrap();
    // An entry that no expiry finds, a tag without its entry, a chunk and a file that nobody names.
    let row = |tree: &sled::Tree, target: &str| {
        tree.iter().map(|row| row.unwrap().0).find(|row| row.ends_with(&name(target))).unwrap()
    };
    trees.by_expiry.remove(row(&trees.by_expiry, "/4")).unwrap();
    trees.by_tag.insert([b"red\0".as_slice(), &[7; 32]].concat(), &[]).unwrap();
    trees.overflow.insert([9; 42].as_slice(), [1; 100].as_slice()).unwrap();
    let mut temporary = files.temporary().unwrap();
    temporary.write(&[2; 10_000]).unwrap();
    temporary.install().unwrap().named();
    // One that is on its way is none.
    let mut temporary = files.temporary().unwrap();
    temporary.write(&[3; 10_000]).unwrap();
    let _pin = temporary.install().unwrap();

    let (_, faults) = inspected(&trees, 0);
    let mut kinds: Vec<_> = faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    use FaultKind::*;
    assert_eq!(kinds, [Record, RowMissing, StrayRow, StrayChunk, StrayBody]);
    for fault in &faults {
        assert!(trees.is_fault(Timestamp::default(), fault).unwrap(), "{fault:?}");
        trees.mend(fault).unwrap();
        assert!(!trees.is_fault(Timestamp::default(), fault).unwrap(), "{fault:?}");
    }
    // The damaged record's rows.
    let (entries, faults) = inspected(&trees, 0);
    assert_eq!(entries, 10);
    assert!(faults.iter().all(|fault| fault.kind == StrayRow) && faults.len() == 4, "{faults:?}");
    for fault in &faults {
        trees.mend(fault).unwrap();
    }
    assert_eq!(inspected(&trees, 0), (10, Vec::new()));
    assert_eq!(trees.usage().entries, 10);
}
