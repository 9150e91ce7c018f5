//! What may be stored, what may be reused, and where it is kept.
//!
//! `policy` decides (RFC 9111, pure functions); `key` and `entry` are the words; `store` keeps entries in RAM
//! and on disk; `purge` makes an invalidation hold at once; `flight` lets many readers share one fetch.

pub mod entry;
pub mod flight;
pub mod key;
pub mod leak;
pub mod policy;
pub mod purge;
pub mod spool;
pub mod store;

#[cfg(test)]
mod simulation;

pub use store::Cache;

use std::time::Duration;

/// How a route uses stored responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reuse and store as RFC 9111 allows, plus the route's policy.
    #[default]
    Cache,
    /// Never reuse, never store.
    Off,
}

/// Limits of the store, as the config gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of entries (heads and bodies) held in RAM.
    pub memory: u64,
    /// Bytes that the disk tier may hold, counted as live bytes (see `store`); zero turns the disk tier off.
    pub disk: u64,
    /// Entries that the disk tier may hold.
    pub max_entries: u64,
    /// The largest response body that is stored, in bytes.
    pub max_body: u64,
    /// Variants kept per URL; the oldest goes first.
    pub max_variants: usize,
    /// Storing stops when the file system has less free space than this.
    pub min_free: u64,
    /// How long a stale entry that can be validated (or served on error) is kept past its freshness.
    pub keep: Duration,
    /// Routes that may take only so much.
    pub quotas: Vec<Quota>,
}

/// What one route may take of the store; its own coldest entries make room for its new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The route's name.
    pub route: Box<str>,
    /// Bytes of its entries in RAM; `None`: as much as there is.
    pub memory: Option<u64>,
    /// Bytes of its entries on disk, counted like the store's own limit, but a body once for each of its entries.
    pub disk: Option<u64>,
}

impl Settings {
    /// What a route may take on disk.
    pub fn disk_quota(&self, route: &str) -> Option<u64> {
        self.quotas.iter().find(|quota| *quota.route == *route)?.disk
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            disk: 10 << 30,
            max_entries: 10_000_000,
            max_body: 4 << 30,
            max_variants: 64,
            min_free: 256 << 20,
            keep: Duration::from_secs(24 * 3600),
            quotas: Vec::new(),
        }
    }
}
