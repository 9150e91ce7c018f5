//! Bodies of stored responses in another content coding. Each is an entry of its own beside the response, under its key and
//! the coding's name: purged by the same rules, listed, counted and evicted like any other. It answers nobody by itself: it
//! is taken only for the very body that it was made of, whose hash it names.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::storing::{Freshened, NewEntry};
use super::{Cache, EntryId, Inserted};
use crate::cache::entry::{BodyRef, Entry, EntryHead};
use crate::cache::key::{Digest, Part, Secret, StoredKey};
use crate::cache::spool::SpooledBody;
use crate::http::accept_encoding::Coding;

/// The stored field that names the body it was made of. It is sent to nobody.
const CODED_OF: HeaderName = HeaderName::from_static("coded-of");

/// What the coding is called of a body that was decoded.
pub const PLAIN: &str = "identity";

/// BLAKE3 of a body.
pub type BodyHash = [u8; 32];

impl StoredKey {
    /// The key of this response's body in another coding.
    pub fn coded(&self, coding: &str, secret: &Secret) -> Self {
        let mut key = self.clone();
        key.fields.push((Part::CODING.into(), Some(secret.hash([coding.as_bytes()]))));
        key
    }

    /// Whether it is that of a body in another coding.
    pub fn is_coded(&self) -> bool {
        self.fields.last().is_some_and(|(name, _)| **name == *Part::CODING)
    }
}

impl Cache {
    /// What is stored of this response's body in another coding, if it was made of this very body.
    pub fn coded(&self, of: &Entry, hash: &BodyHash, coding: &str) -> Option<Arc<Entry>> {
        let shared = &*self.shared;
        let key = of.key.coded(coding, &shared.secret);
        let digest = key.digest();
        let resource = match shared.memory.get(&digest).filter(|resource| shared.is_current(resource)) {
            Some(resource) => resource,
            None if shared.is_nowhere(digest) => return None,
            None => {
                let _stripe = shared.stripe(digest);
                shared.keep(digest, shared.load(digest, shared.memory.peek(&digest)))?
            }
        };
        resource.touch();
        let id = EntryId::new(digest, &of.vary);
        let found = resource.find(id).filter(|entry| entry.key == key && is_of(&entry.head, hash))?;
        match found.head.response_time == of.head.response_time {
            true => Some(found.clone()),
            // The response was validated since.
            false => self.keep_up(digest, found, of, hash),
        }
    }

    /// The keys of what is stored of this key's bodies in other codings.
    pub fn coded_keys(&self, digest: Digest) -> Vec<Digest> {
        let shared = &*self.shared;
        let loaded = {
            let _stripe = shared.stripe(digest);
            shared.load(digest, shared.memory.peek(&digest))
        };
        let mut found = Vec::new();
        for key in loaded.variants.iter().map(|entry| &entry.key).filter(|key| !key.is_coded()) {
            let codings = Coding::ALL.iter().map(|coding| coding.as_str()).chain([PLAIN]);
            for coded in codings.map(|coding| key.coded(coding, &shared.secret).digest()) {
                if !found.contains(&coded) && !shared.is_nowhere(coded) {
                    found.push(coded);
                }
            }
        }
        found
    }

    /// Stores a body in another coding, made of one with this hash.
    pub fn insert_coded(&self, of: NewEntry, coding: &str, hash: &BodyHash, body: SpooledBody) -> Inserted {
        let key = of.key.coded(coding, &self.shared.secret);
        self.insert(NewEntry { key, head: marked(of.head, hash), ..of }, body)
    }

    /// Lets it last as long, and be purged by the same names, as what it was made of.
    fn keep_up(&self, digest: Digest, coded: &Arc<Entry>, of: &Entry, hash: &BodyHash) -> Option<Arc<Entry>> {
        let mut head = marked(of.head.clone(), hash);
        for name in [http::header::CONTENT_ENCODING, http::header::ETAG, http::header::VARY] {
            head.headers.remove(&name);
            for value in coded.head.headers.get_all(&name) {
                head.headers.append(&name, value.clone());
            }
        }
        let with =
            Freshened { head, tags: of.tags.clone(), keep_until: of.keep_until, sequence: of.sequence };
        self.freshen(EntryId::of(digest, coded), &coded.head, with)
    }
}

fn is_of(head: &EntryHead, hash: &BodyHash) -> bool {
    let named = head.headers.get(CODED_OF).and_then(|value| blake3::Hash::from_hex(value.as_bytes()).ok());
    named.is_some_and(|named| named == blake3::Hash::from_bytes(*hash))
}

fn marked(mut head: EntryHead, hash: &BodyHash) -> EntryHead {
    let text = blake3::Hash::from_bytes(*hash).to_hex();
    if let Ok(value) = HeaderValue::from_str(&text) {
        head.headers.insert(CODED_OF, value);
    }
    head
}

impl BodyRef {
    /// The hash of the body, where it is known without reading it.
    pub const fn known_hash(&self) -> Option<&BodyHash> {
        match self {
            Self::Bytes(_) => None,
            Self::File(file) => Some(&file.hash),
        }
    }
}
