//! What a thread has found in RAM of late. Found there again, nothing is written that other threads read: neither the lock of
//! RAM's shard, nor the counts of references, for which the cores of two workers with one popular resource would wait.
//!
//! What changes in RAM is noted by key ([`Changes`]), before who changed it goes on: nobody finds here what was replaced or
//! has gone.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::memory::Resource;
use crate::cache::key::Digest;

/// What a thread remembers.
const SLOTS: usize = 64;

/// Bytes of a resource that may be kept here; it may have left RAM meanwhile.
const LARGEST: u64 = 16 << 10;

/// So often something is found here before RAM is asked again, which decides by that what it keeps.
const TIMES: u8 = 15;

/// Keys whose changes are told apart.
const STRIPES: usize = 256;

/// How often what is in RAM has changed.
#[derive(Debug)]
pub(super) struct Changes {
    /// Tells this RAM tier from others of the process.
    of: u64,
    stripes: Box<[AtomicU32]>,
}

impl Changes {
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let stripes = (0..STRIPES).map(|_| AtomicU32::new(0)).collect();
        Self { of: LAST.fetch_add(1, Ordering::Relaxed) + 1, stripes }
    }

    fn stripe(&self, digest: &Digest) -> &AtomicU32 {
        &self.stripes[usize::from(digest.0[0]) % STRIPES]
    }

    /// Something else stands under this key, or nothing any more. To be told behind the change: who has looked at RAM since
    /// has seen it, or looks again.
    pub(super) fn note(&self, digest: &Digest) {
        self.stripe(digest).fetch_add(1, Ordering::Release);
    }

    /// The same of any key.
    pub(super) fn note_all(&self) {
        self.stripes.iter().for_each(|stripe| {
            stripe.fetch_add(1, Ordering::Release);
        });
    }
}

/// A resource that was found.
#[derive(Clone, Debug)]
pub enum Near {
    /// One that other threads refer to by the same count.
    Shared(Arc<Resource>),
    /// One of this thread's.
    Own(Arc<Arc<Resource>>),
}

impl Near {
    /// As all threads share it.
    #[inline]
    pub fn shared(&self) -> &Arc<Resource> {
        match self {
            Self::Shared(resource) => resource,
            Self::Own(resource) => resource,
        }
    }
}

impl Deref for Near {
    type Target = Resource;

    #[inline]
    fn deref(&self) -> &Resource {
        self.shared()
    }
}

/// What was found under one key.
#[derive(Default)]
struct Slot {
    of: u64,
    digest: [u8; 16],
    /// The outer count is the thread's own.
    #[allow(clippy::redundant_allocation)]
    found: Option<Arc<Arc<Resource>>>,
    /// The changes of its key by then.
    changes: u32,
    /// So often it may still be taken.
    left: u8,
}

thread_local! {
    static SLOTS_OF_MINE: RefCell<Box<[Slot]>> =
        RefCell::new((0..SLOTS).map(|_| Slot::default()).collect());
}

/// What this thread remembers of a key, or else what `look` finds in RAM.
pub(super) fn find(
    changes: &Changes,
    digest: &Digest,
    look: impl FnOnce() -> Option<Arc<Resource>>,
) -> Option<Near> {
    // Before RAM is looked at: what changes then is noticed the next time.
    let now = changes.stripe(digest).load(Ordering::Acquire);
    SLOTS_OF_MINE.with_borrow_mut(|slots| {
        let slot = &mut slots[usize::from(digest.0[1]) % SLOTS];
        if slot.digest != digest.0 || slot.of != changes.of {
            // What is asked for once is only noted.
            (slot.of, slot.digest, slot.found) = (changes.of, digest.0, None);
            return look().map(Near::Shared);
        }
        if let Some(found) = &slot.found
            && slot.changes == now
            && slot.left > 0
        {
            slot.left -= 1;
            return Some(Near::Own(found.clone()));
        }
        let found = look();
        (slot.changes, slot.left) = (now, TIMES);
        slot.found = match (slot.found.take(), found?) {
            (Some(same), found) if Arc::ptr_eq(same.as_ref(), &found) => Some(same),
            (_, found) if found.weight() > LARGEST => return Some(Near::Shared(found)),
            (_, found) => Some(Arc::new(found)),
        };
        slot.found.clone().map(Near::Own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::Entry;
    use crate::cache::spool::SpooledBody;
    use crate::cache::store::Cache;
    use crate::cache::store::journeys::{lookup, new, settings};
    use crate::cache::store::memory::Memory;
    use crate::clock::Clock;

    fn entry() -> Arc<Entry> {
        let cache = Cache::in_memory(settings(), Clock::System).expect("a cache");
        cache.insert(new("/a", cache.sequence()), SpooledBody::from_bytes(vec![b'x'; 1000].into()));
        lookup(&cache, "/a").expect("stored").variants[0].clone()
    }

    fn resource(number: u32, entry: &Arc<Entry>) -> Arc<Resource> {
        let digest = Digest(u128::from(number).to_le_bytes());
        Arc::new(Resource::new(digest, vec![entry.clone()], 0, 0).expect("a variant"))
    }

    #[test]
    fn what_is_found_again_and_again_is_shared_with_no_other_thread() {
        let memory = Memory::new(64 << 20, &[]);
        let stored = resource(1, &entry());
        let digest = stored.digest;
        assert!(memory.get_near(&digest).is_none());
        memory.put(stored.clone());
        let found: Vec<_> = (0..40).map(|_| memory.get_near(&digest).expect("in RAM")).collect();
        assert!(found.iter().all(|near| Arc::ptr_eq(near.shared(), &stored)));
        let own = found.iter().filter(|near| matches!(near, Near::Own(_))).count();
        assert!(own >= 38, "{own} of 40");
        // Of ours, RAM's, and this thread's, besides those that were found at first.
        assert!(Arc::strong_count(&stored) <= 3 + 40 - own, "{}", Arc::strong_count(&stored));
    }

    #[test]
    fn what_is_replaced_or_gone_is_not_found() {
        let memory = Memory::new(64 << 20, &[]);
        let entry = entry();
        let digest = resource(1, &entry).digest;
        for round in 0..20 {
            let stored = resource(1, &entry);
            memory.put(stored.clone());
            for _ in 0..3 {
                let found = memory.get_near(&digest).expect("in RAM");
                assert!(Arc::ptr_eq(found.shared(), &stored));
            }
            match round % 3 {
                0 => memory.remove(&digest),
                1 => memory.retain(|_| false),
                _ => continue,
            }
            assert!(memory.get_near(&digest).is_none());
        }
    }

    #[test]
    fn what_had_to_leave_is_not_found() {
        let memory = Memory::new(1 << 20, &[]);
        let entry = entry();
        let digest = resource(0, &entry).digest;
        memory.put(resource(0, &entry));
        for _ in 0..3 {
            assert!(memory.get_near(&digest).is_some());
        }
        for other in 1..10_000 {
            let other = resource(other, &entry);
            memory.put(other.clone());
            // What is asked for more often, for which others go.
            for _ in 0..8 {
                memory.get(&other.digest);
            }
            if memory.peek(&digest).is_none() {
                assert!(memory.get_near(&digest).is_none());
                return;
            }
        }
        panic!("it never left");
    }
}
