//! What every store must do, run over sled and over a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::EntryId;
use super::disk::files::{CHUNK, Files};
use super::disk::open;
use super::disk::trees::Trees;
use super::engine::{Store, StoreError, Usage, Walk};
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

fn keeps_the_contract(store: &dyn Store) {
    for number in 0..20_u64 {
        let mut entry = entry(&format!("/{}/{number}", number % 2), b"body");
        entry.keep_until = Timestamp::from_secs(1000 - number);
        if number < 5 {
            entry.tags.push("first".into());
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
