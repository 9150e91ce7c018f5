//! Users with passwords.
//!
//! Passwords are kept as slow hashes only (`hash`), so checking one is work for a pool of its own, with a bounded queue
//! (`passwords`); what held is remembered for a while. A name that nobody has costs as much as any other, so that the time
//! of an answer does not tell which names there are.

pub mod hash;
mod passwords;

use std::collections::HashMap;
use std::sync::Arc;

pub use hash::{BadHash, Hash};
pub use passwords::{Busy, Passwords};

/// Users by name.
#[derive(Debug, Default)]
pub struct Users {
    users: HashMap<Arc<str>, Arc<Hash>>,
    /// What is checked for names that nobody has.
    stand_ins: Box<[Arc<Hash>]>,
}

impl Users {
    /// These users; of two with one name the later.
    pub fn new(users: impl IntoIterator<Item = (Arc<str>, Hash)>) -> Self {
        let users: HashMap<_, _> = users.into_iter().map(|(name, hash)| (name, Arc::new(hash))).collect();
        let mut stand_ins: Vec<_> = users.values().cloned().collect();
        if stand_ins.is_empty() {
            stand_ins.push(Arc::new(Hash::stand_in()));
        }
        Self { users, stand_ins: stand_ins.into() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn find(&self, name: &str) -> Option<(&Arc<str>, &Arc<Hash>)> {
        self.users.get_key_value(name)
    }

    /// A hash that takes as long as one of a user, the same one for the same `seed`.
    fn stand_in(&self, seed: u64) -> Option<&Arc<Hash>> {
        let count = u64::try_from(self.stand_ins.len()).unwrap_or(1).max(1);
        self.stand_ins.get(usize::try_from(seed % count).unwrap_or(0))
    }
}
