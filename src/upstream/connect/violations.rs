//! What an endpoint said that it must not have said.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Connections of one endpoint that were closed for what came on them, by reason.
#[derive(Debug, Default)]
pub(crate) struct Violations(Mutex<BTreeMap<&'static str, u64>>);

impl Violations {
    /// One more.
    pub(crate) fn count(&self, reason: &'static str) {
        *self.0.lock().entry(reason).or_default() += 1;
    }

    /// All so far, by reason.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(reason, count)| (*reason, *count)).collect()
    }
}
