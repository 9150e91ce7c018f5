//! The leak guard: notices replies under one key that differ by credential.
//!
//! What one credential fetched is not given to another one before the origin has given that other one the same. Where
//! the origin gives it something else, the key is *suspect*: nothing is stored or shared under it until a further
//! credential asks. Then the one before is asked for once more: if its reply still is what it was, and another than the new
//! one's, then not time but the credential made the difference, and the key is *leaking*: it is left alone for an hour.
//! A page that has merely changed meanwhile comes out the same for both, one that is never twice the same differs for
//! one credential too, and both clear the key.
//!
//! ```text
//!  stored by a ─▶ b asks ─same─▶ shared (now and then somebody is asked for again)
//!                   └other▶ suspect ─▶ c asks, b again ─▶ b unchanged, c other ─▶ leaking
//!                                                      └▶ else: cleared
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};

use super::key::{Digest, FieldHash};
use super::store::EntryId;
use crate::clock::Timestamp;

/// What `Cache-Status` says of replies that are kept to their client.
pub const DETAIL: &str = "leak-guard";

/// Of so many replies that could be shared, one is asked for again.
const SAMPLE: u32 = 64;

/// How long a suspicion lasts that nobody confirms; so long its credential is kept.
const SUSPICION: Duration = Duration::from_secs(60);

/// How long a leaking key is left alone.
const BAN: Duration = Duration::from_secs(3600);

/// Entries and keys that are remembered.
const REMEMBERED: usize = 16_384;

/// Leaking keys that can be told of.
const MAX_MARKS: usize = 256;

/// A reply as it compares: its variant, and a hash of its status and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The variant that it is.
    pub variant: [u8; 16],
    /// The hash.
    pub hash: [u8; 32],
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is said against it.
    Free,
    /// Replies under it are being compared: nothing is stored or shared.
    Suspect,
    /// They differ by credential: nothing is, until then.
    Leaking(Timestamp),
}

/// What a comparison came to.
#[derive(Debug)]
pub enum Told {
    /// Nothing new.
    Nothing,
    /// Two credentials got two replies: what is stored under the key must go.
    Suspect,
    /// To be settled by asking once more with these fields of the one before.
    AskAgain(HeaderMap, Sight),
}

/// A key found leaking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which.
    pub digest: Digest,
    /// Its URL.
    pub url: Box<str>,
    /// Until when it is left alone.
    pub until: Timestamp,
}

/// What is known of credentials and replies.
#[derive(Debug)]
pub struct Leaks {
    watched: quick_cache::sync::Cache<EntryId, Watched>,
    storing: Mutex<()>,
    cases: Mutex<Cases>,
    /// Suspects and marks, so that a request need not lock where there are none.
    open: AtomicUsize,
    found: AtomicU64,
}

/// Who fetched an entry, and whether another one got the same.
#[derive(Clone, Copy, Debug)]
struct Watched {
    by: FieldHash,
    agreed: bool,
}

#[derive(Debug, Default)]
struct Cases {
    suspects: VecDeque<(Digest, Suspect)>,
    marks: VecDeque<Mark>,
}

#[derive(Debug)]
struct Suspect {
    who: FieldHash,
    sight: Sight,
    headers: HeaderMap,
    until: Timestamp,
}

impl Default for Leaks {
    fn default() -> Self {
        Self {
            watched: quick_cache::sync::Cache::new(REMEMBERED),
            storing: Mutex::default(),
            cases: Mutex::default(),
            open: AtomicUsize::new(0),
            found: AtomicU64::new(0),
        }
    }
}

impl Sight {
    /// A reply of this variant; without a body where that is not to be compared.
    pub fn new(variant: [u8; 16], status: u16, body: Option<[u8; 32]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&status.to_le_bytes());
        hasher.update(body.as_ref().map_or(&[][..], |body| body));
        Self { variant, hash: *hasher.finalize().as_bytes() }
    }
}

impl Leaks {
    /// Forgets who fetched an entry that is about to be replaced. What is held keeps others from storing meanwhile, so
    /// that what [`Leaks::stored`] says is said of what stands.
    pub fn storing(&self, id: EntryId) -> MutexGuard<'_, ()> {
        let one = self.storing.lock();
        self.watched.remove(&id);
        one
    }

    /// Notes who fetched what has been stored.
    pub fn stored(&self, id: EntryId, by: FieldHash) {
        self.watched.insert(id, Watched { by, agreed: false });
    }

    /// Whether an entry may answer this credential without comparing.
    pub fn may_answer(&self, id: EntryId, who: FieldHash) -> bool {
        match self.watched.get(&id) {
            Some(watched) if watched.by == who => true,
            Some(watched) => watched.agreed && fastrand::u32(..SAMPLE) != 0,
            // Stored before a restart, or long ago: nobody knows by whom.
            None => false,
        }
    }

    /// Whether an entry is known to be this credential's, or the same for another one.
    pub fn is_cleared(&self, id: EntryId, who: FieldHash) -> bool {
        self.watched.get(&id).is_some_and(|watched| watched.by == who || watched.agreed)
    }

    /// How a key stands.
    pub fn standing(&self, digest: Digest, now: Timestamp) -> Standing {
        if self.open.load(Ordering::Acquire) == 0 {
            return Standing::Free;
        }
        let cases = self.cases(now);
        if let Some(mark) = cases.marks.iter().find(|mark| mark.digest == digest) {
            return Standing::Leaking(mark.until);
        }
        match cases.suspects.iter().any(|(suspect, _)| *suspect == digest) {
            true => Standing::Suspect,
            false => Standing::Free,
        }
    }

    /// Compares what a credential got with what is stored, or with what the one before it got.
    pub fn told(
        &self,
        digest: Digest,
        (who, sight, headers): (FieldHash, Sight, &HeaderMap),
        expected: Option<(EntryId, Sight)>,
        now: Timestamp,
    ) -> Told {
        let mut cases = self.cases(now);
        if cases.marks.iter().any(|mark| mark.digest == digest) {
            return Told::Nothing;
        }
        if let Some(at) = cases.suspects.iter().position(|(suspect, _)| *suspect == digest) {
            let before = &cases.suspects[at].1;
            if before.sight.variant != sight.variant || before.who == who && before.sight == sight {
                return Told::Nothing;
            }
            let settled = before.who == who || before.sight == sight;
            let suspect = cases.suspects.remove(at).filter(|_| !settled);
            self.count(&cases);
            return match suspect {
                Some((_, before)) => Told::AskAgain(before.headers, before.sight),
                None => Told::Nothing,
            };
        }
        match expected {
            Some((id, stored)) if stored == sight => {
                if let Some(watched) = self.watched.get(&id) {
                    self.watched.insert(id, Watched { agreed: true, ..watched });
                } else {
                    self.watched.insert(id, Watched { by: who, agreed: true });
                }
                Told::Nothing
            }
            Some((_, stored)) if stored.variant == sight.variant => {
                if cases.suspects.len() >= MAX_MARKS {
                    cases.suspects.pop_front();
                }
                let suspect = Suspect { who, sight, headers: headers.clone(), until: now.plus(SUSPICION) };
                cases.suspects.push_back((digest, suspect));
                self.count(&cases);
                Told::Suspect
            }
            _ => Told::Nothing,
        }
    }

    /// Marks a key as leaking.
    pub fn mark(&self, digest: Digest, url: &str, now: Timestamp) {
        let mut cases = self.cases(now);
        if cases.marks.len() >= MAX_MARKS {
            cases.marks.pop_front();
        }
        cases.marks.push_back(Mark { digest, url: url.into(), until: now.plus(BAN) });
        self.count(&cases);
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    /// The keys that are leaking now.
    pub fn marks(&self, now: Timestamp) -> Vec<Mark> {
        self.cases(now).marks.iter().cloned().collect()
    }

    /// How many keys are suspect now.
    pub fn suspects(&self, now: Timestamp) -> usize {
        self.cases(now).suspects.len()
    }

    fn cases(&self, now: Timestamp) -> MutexGuard<'_, Cases> {
        let mut cases = self.cases.lock();
        cases.forget(now);
        self.count(&cases);
        cases
    }

    fn count(&self, cases: &Cases) {
        self.open.store(cases.suspects.len() + cases.marks.len(), Ordering::Release);
    }

    /// How many keys were found leaking since the start.
    pub fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }
}

impl Cases {
    fn forget(&mut self, now: Timestamp) {
        self.marks.retain(|mark| mark.until > now);
        self.suspects.retain(|(_, suspect)| suspect.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Digest = Digest([1; 16]);
    const ID: EntryId = EntryId { digest: KEY, variant: [0; 16] };
    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn who(byte: u8) -> FieldHash {
        FieldHash([byte; 16])
    }

    fn sight(body: u8) -> Sight {
        Sight::new([0; 16], 200, Some([body; 32]))
    }

    /// Tells of replies one after the other, as (credential, body).
    fn told(leaks: &Leaks, stored: u8, replies: &[(u8, u8)]) -> Told {
        let mut last = Told::Nothing;
        for (credential, body) in replies {
            let reply = (who(*credential), sight(*body), &HeaderMap::new());
            last = leaks.told(KEY, reply, Some((ID, sight(stored))), NOW);
        }
        last
    }

    #[test]
    fn an_entry_answers_others_once_another_got_the_same() {
        let leaks = Leaks::default();
        assert!(!leaks.may_answer(ID, who(1)), "nobody knows who fetched it");
        leaks.stored(ID, who(1));
        assert!(leaks.may_answer(ID, who(1)) && !leaks.may_answer(ID, who(2)));
        assert!(matches!(told(&leaks, 7, &[(2, 7)]), Told::Nothing));
        let answers = (0..10_000).filter(|_| leaks.may_answer(ID, who(3))).count();
        assert!((9_000..10_000).contains(&answers), "{answers}");
        leaks.stored(ID, who(1));
        assert!(!leaks.may_answer(ID, who(3)), "it is another reply now");
    }

    #[test]
    fn a_difference_is_settled_by_asking_for_the_one_before_again() {
        for (replies, asks) in [
            (&[(2, 8), (3, 9)][..], true),
            (&[(2, 8), (1, 7)], true),
            // It has changed for all, or for one alone too.
            (&[(2, 8), (3, 8)], false),
            (&[(2, 8), (2, 9)], false),
            (&[(2, 8), (2, 8)], false),
        ] {
            let leaks = Leaks::default();
            assert!(matches!(told(&leaks, 7, &replies[..1]), Told::Suspect));
            assert_eq!(leaks.standing(KEY, NOW), Standing::Suspect);
            let last = told(&leaks, 7, &replies[1..]);
            assert_eq!(matches!(last, Told::AskAgain(_, before) if before == sight(8)), asks, "{replies:?}");
        }
    }

    #[test]
    fn variants_are_not_compared_and_a_suspicion_passes() {
        let leaks = Leaks::default();
        let other = Sight::new([9; 16], 200, Some([8; 32]));
        let reply = (who(2), other, &HeaderMap::new());
        assert!(matches!(leaks.told(KEY, reply, Some((ID, sight(7))), NOW), Told::Nothing));
        told(&leaks, 7, &[(2, 8)]);
        assert_eq!(leaks.standing(KEY, NOW.plus(SUSPICION)), Standing::Free);
        leaks.mark(KEY, "http://a/", NOW);
        assert_eq!(leaks.standing(KEY, NOW), Standing::Leaking(NOW.plus(BAN)));
        assert_eq!((leaks.marks(NOW).len(), leaks.found()), (1, 1));
        assert_eq!(leaks.standing(KEY, NOW.plus(BAN)), Standing::Free);
    }
}
