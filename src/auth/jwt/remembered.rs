//! Tokens that have been verified, so that each is but once in a while.
//!
//! A token is known by a keyed hash of all of it, and what was made of its claims is kept for as long as it is accepted, five
//! minutes at most. Only what held is remembered: a flood of forged tokens drives nothing out. The table is bounded and
//! belongs to one set of keys; with other keys there is another one, and nothing is remembered.

use std::sync::Arc;
use std::time::Duration;

use super::{Claims, MAX_TOKEN, Refused, Verified, Verifier};
use crate::clock::Timestamp;

/// How long a token is taken for verified.
const TRUST: Duration = Duration::from_secs(5 * 60);

/// The most tokens that are remembered.
pub(super) const MAX_REMEMBERED: usize = 65_536;

/// Verified tokens, and what was made of the claims of each.
pub struct Remembered<T: Clone> {
    verifier: Arc<Verifier>,
    secret: [u8; 32],
    table: quick_cache::sync::Cache<[u8; 16], Known<T>>,
}

#[derive(Clone)]
struct Known<T> {
    made: T,
    /// When it is to be verified anew.
    until: Timestamp,
    /// From when on it is not accepted.
    expires: Option<Timestamp>,
}

impl<T: Clone> Remembered<T> {
    /// Nothing is known yet.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier, secret: crate::auth::random(), table: quick_cache::sync::Cache::new(MAX_REMEMBERED) }
    }

    /// Who verifies.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What `make` makes of the claims of a token that is accepted now.
    ///
    /// # Errors
    /// When it is not accepted, or `make` does not take it.
    pub fn of(
        &self,
        token: &[u8],
        now: Timestamp,
        make: impl FnOnce(&Claims) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        // What is too long is not even hashed.
        if token.len() > MAX_TOKEN {
            return Err(Refused::TooLong);
        }
        let hash = self.hash(token);
        if let Some(known) = self.table.get(&hash) {
            if known.expires.is_some_and(|expires| expires <= now) {
                return Err(Refused::Expired);
            }
            if now < known.until {
                return Ok(known.made);
            }
        }
        let Verified { claims, expires, .. } = self.verifier.verify(token, now)?;
        let made = make(&claims)?;
        self.table.insert(hash, Known { made: made.clone(), until: now.plus(TRUST), expires });
        Ok(made)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn hash(&self, token: &[u8]) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::keyed_hash(&self.secret, token).as_bytes()[..16]);
        half
    }
}

impl<T: Clone> std::fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}
