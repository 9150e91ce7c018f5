//! Keeps entries, in RAM and on disk.
//!
//! [`Cache`] is the door: RAM over a disk tier behind the [`Store`] trait. A lookup is answered inline, from RAM
//! or with one small read of the index; everything that writes, walks, opens or closes happens on the store's own
//! writer thread or on the blocking pool. Nothing here decides whether a response may be stored or reused.
//!
//! ```text
//!  lookup ─▶ RAM ─miss▶ waiting writes ─miss▶ disk (inline read) ─▶ purge rules ─▶ Resource
//!  insert ─▶ purge rules ─▶ RAM
//!                       └─▶ bounded queue ─▶ writer thread ─▶ body file, index rows, record
//! ```
//!
//! When the disk limit is reached (`eviction`), only what was asked for before, of late (`door`), is written any more:
//! a crawl of URLs that nobody asks for twice takes no room, and RAM is where something new shows whether it is. What
//! goes for it: a hand goes round over all entries (in the order of digests, which is as good as random) and looks at
//! 64 at a time; of those a few go, first what is past its `keep_until`, then what is asked for the least
//! (`frequency`), then what is to be kept the shortest. RAM is quick_cache's (S3-FIFO's queues and ghosts).
//! Live bytes are counted: records times 3.5, since that is what sled's files take for them, plus body files.

mod body;
mod coded;
mod disk;
mod door;
mod engine;
mod eviction;
mod frequency;
mod inspection;
mod listing;
mod memory;
mod near;
mod nearest;
mod ordered;
mod queue;
mod record;
mod report;
mod shared;
mod simulated;
mod storing;
mod succession;
mod tally;
mod tiered;
mod variant;
mod writer;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod footprint;
#[cfg(test)]
mod journeys;
#[cfg(test)]
mod trace;

pub use body::{BodyError, BodyReader};
pub use coded::{BodyHash, PLAIN};
pub(crate) use disk::files;
pub use engine::{Fault, FaultKind, RouteUsage, Store, StoreError, Usage, Walk};
pub use inspection::{Found, Inspected, Inspection, Progress, Reclaimed};
pub use memory::Resource;
pub use near::Near;
pub use nearest::{Difference, differences};
pub(crate) use record::MAX_INLINE;
pub use report::{
    Closed, Cursor, Filter, Finding, ListQuery, Order, Page, Quarantine, RouteStats, State, Stats, Summary,
    Victims,
};
pub use simulated::{Held, Simulated};
pub use storing::{Freshened, Inserted, NewEntry};
pub use tiered::{AtHand, Cache, OpenError};

use super::entry::{Entry, VaryKey};
use super::key::Digest;

/// Names one stored variant of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryId {
    /// The key's digest.
    pub digest: Digest,
    /// The hash of the request fields that the variant was selected by, and of the part's place where it is one.
    pub variant: [u8; 16],
}

impl EntryId {
    /// The name of this very entry under `digest`.
    pub fn of(digest: Digest, entry: &Entry) -> Self {
        Self::named(digest, &entry.vary, entry.part.map(|part| (part.first, entry.body.len())))
    }

    /// The name of a variant, or of a part of it: where that begins, and how long it is.
    pub(super) fn named(digest: Digest, vary: &VaryKey, part: Option<(u64, u64)>) -> Self {
        let whole = Self::new(digest, vary);
        let Some((first, len)) = part else { return whole };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&whole.variant);
        hasher.update(&first.to_le_bytes());
        hasher.update(&len.to_le_bytes());
        let mut variant = [0; 16];
        variant.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { digest, variant }
    }

    /// The variant of `digest` that `vary` names.
    pub fn new(digest: Digest, vary: &VaryKey) -> Self {
        if vary.fields.is_empty() {
            return Self { digest, variant: [0; 16] };
        }
        let mut hasher = blake3::Hasher::new();
        for (name, value) in &vary.fields {
            hasher.update(&(name.len() as u32).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&[u8::from(value.is_some())]);
            hasher.update(value.as_ref().map_or(&[][..], |hash| &hash.0));
        }
        let mut variant = [0; 16];
        variant.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { digest, variant }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::cache::entry::{BodyRef, EntryHead, Freshness, Source};
    use crate::cache::key::StoredKey;
    use crate::clock::Timestamp;

    /// A plain entry for a URL of `example.com`.
    pub(crate) fn entry(target: &str, body: &[u8]) -> Entry {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        Entry {
            key: StoredKey {
                upstream: "api".into(),
                scheme: "http".into(),
                authority: "example.com".into(),
                target: target.into(),
                fields: Vec::new(),
            },
            vary: VaryKey::default(),
            head: EntryHead {
                status: StatusCode::OK,
                headers,
                request_time: Timestamp::from_secs(1_000),
                response_time: Timestamp::from_secs(1_000),
                freshness: Freshness {
                    initial_age: 0,
                    lifetime: 60,
                    source: Source::MaxAge,
                    stale_while_revalidate: 0,
                    stale_if_error: None,
                    must_revalidate: false,
                    no_cache: false,
                },
            },
            body: BodyRef::Bytes(Bytes::copy_from_slice(body)),
            on_disk: None,
            part: None,
            trailers: None,
            tags: vec!["red".into()],
            route: "users".into(),
            sequence: 0,
            keep_until: Timestamp::from_secs(100_000),
            soft_purged: false,
        }
    }

    pub(crate) fn id(entry: &Entry) -> EntryId {
        EntryId::of(entry.key.digest(), entry)
    }
}
