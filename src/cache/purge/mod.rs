//! Makes an invalidation hold at once.
//!
//! A purge is first a *rule*: a criterion and a sequence number, fsynced to a small journal before the purge is
//! answered. Every entry carries the sequence at which its fetch began, and a lookup tests the rules that are
//! newer than that. Removal follows in the background; only when it has been flushed does the rule go. So a purge
//! of any size holds on every worker, before the store has opened, and after `kill -9`; and a fetch that was in
//! flight across it cannot bring back what it took. In doubt a purge takes more, never less.

mod criterion;
pub mod group;
pub mod heir;
pub(crate) mod journal;
mod prefixes;
pub(crate) mod rules;
mod set;

pub use criterion::{Criterion, Subject};

/// What a purge did by the time it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeReport {
    /// The rule's sequence number: what was fetched before it is purged.
    pub sequence: u64,
    /// Whether the rule is fsynced. False only where there is no store directory of ours to write it to; nothing
    /// of what is purged can then come back after a restart either.
    pub durable: bool,
}

/// Why a purge cannot be promised.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The rule holds in this process, but a restart would forget it.
    #[error("the purge holds now but could not be written to the journal, a restart may undo it: {0}")]
    NotDurable(#[source] std::io::Error),
}
