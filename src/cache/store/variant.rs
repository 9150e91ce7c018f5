//! What becomes of a stored variant that the origin spoke of without sending it again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use super::queue::Write;
use super::record::MAX_INLINE;
use super::storing::{Freshened, NewEntry, swap};
use super::tiered::Cache;
use super::{EntryId, Inserted};
use crate::cache::entry::{BodyRef, Entry, FileBody, VaryKey};
use crate::cache::purge::Subject;
use crate::cache::purge::rules::Verdict;
use crate::cache::spool::SpooledBody;

impl Cache {
    /// Stores the body of a stored response once more, as that of another variant, with a head of its own: what a 304
    /// tells of a request that the stored one did not answer (RFC 9111 4.3.4). `None` when the stored one was purged, or
    /// its body is gone.
    pub fn derive(&self, of: &Entry, vary: VaryKey, with: Freshened) -> Option<Arc<Entry>> {
        let shared = &*self.shared;
        let digest = of.key.digest();
        let stands = shared.rules.read().test(&Subject::of(digest, of), of.sequence) != Verdict::Gone;
        if !stands {
            return None;
        }
        let file = file_of(&of.body);
        let tier = shared.disk.load();
        let pin = file.and_then(|file| tier.as_ref()?.files.pin(&file));
        if matches!(of.body, BodyRef::File(_)) && pin.is_none() {
            return None;
        }
        let new = NewEntry {
            key: of.key.clone(),
            vary: vary.clone(),
            part: of.part,
            head: with.head.clone(),
            tags: with.tags.clone(),
            route: of.route.clone(),
            sequence: with.sequence,
            keep_until: with.keep_until,
            wanted: false,
        };
        let body = SpooledBody::of_stored(&of.body, pin, of.trailers.clone());
        match self.insert(new, body) {
            Inserted::Purged => None,
            // Where there is no room to keep it, it still answers.
            Inserted::Stored
            | Inserted::MemoryOnly
            | Inserted::TooLarge
            | Inserted::Unproven
            | Inserted::Superseded => Some(Arc::new(Entry {
                vary,
                head: with.head,
                tags: with.tags,
                sequence: with.sequence,
                keep_until: with.keep_until,
                soft_purged: false,
                ..of.clone()
            })),
        }
    }

    /// Marks one variant as stale in both tiers, as a soft purge does: the origin describes it otherwise than it is stored
    /// (RFC 9111 4.3.5).
    pub fn expire(&self, id: EntryId) {
        let (shared, digest) = (&*self.shared, id.digest);
        let _stripe = shared.stripe(digest);
        let mut loaded = shared.load(digest, shared.memory.peek(&digest));
        let Some(old) = loaded.variants.iter().find(|entry| EntryId::of(digest, entry) == id).cloned() else {
            return;
        };
        let entry = Arc::new(Entry { soft_purged: true, ..(*old).clone() });
        swap(&mut loaded, id, entry.clone());
        let resource = shared.keep(digest, loaded);
        if shared.storing.load(Acquire) {
            let write = Write::Freshen { id, entry, old: Box::new(old.head.clone()) };
            shared.submit(&self.queue, write, resource);
        }
    }
}

/// The file that a stored body has on disk: what is held in RAM beyond what a record takes has one under its hash.
fn file_of(body: &BodyRef) -> Option<FileBody> {
    match body {
        BodyRef::File(file) => Some(file.clone()),
        BodyRef::Bytes(bytes) if bytes.len() > MAX_INLINE => {
            Some(FileBody { hash: *blake3::hash(bytes).as_bytes(), len: bytes.len() as u64 })
        }
        BodyRef::Bytes(_) => None,
    }
}
