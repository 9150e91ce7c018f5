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

mod report;
mod tiered;

pub use report::{
    Closed, Cursor, Finding, ListQuery, Order, Page, Quarantine, State, Stats, Summary, Victims,
};
pub use tiered::{BodyError, BodyReader, Cache, Freshened, Inserted, NewEntry, OpenError, Resource};

use super::entry::VaryKey;
use super::key::Digest;

/// Names one stored variant of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryId {
    /// The key's digest.
    pub digest: Digest,
    /// The hash of the request fields that the variant was selected by.
    pub variant: [u8; 16],
}

impl EntryId {
    /// The variant of `digest` that `vary` names.
    pub fn new(digest: Digest, vary: &VaryKey) -> Self {
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
