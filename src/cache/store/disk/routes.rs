//! What each route's entries take, counted as they come and go.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::cache::entry::{BodyRef, Entry};
use crate::cache::store::engine::RouteUsage;

/// Entries and bytes by route; routes without entries are not kept.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<HashMap<Box<str>, RouteUsage>>);

impl Routes {
    /// An entry came, with so many bytes of its record.
    pub(super) fn add(&self, entry: &Entry, record: usize) {
        let mut routes = self.0.lock();
        let usage = match routes.get_mut(&*entry.route) {
            Some(usage) => usage,
            None => routes.entry(entry.route.clone()).or_default(),
        };
        usage.entries += 1;
        usage.bytes += charge(entry, record);
    }

    /// It went.
    pub(super) fn remove(&self, entry: &Entry, record: usize) {
        let mut routes = self.0.lock();
        let Some(usage) = routes.get_mut(&*entry.route) else { return };
        usage.entries = usage.entries.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(charge(entry, record));
        if usage.entries == 0 {
            routes.remove(&*entry.route);
        }
    }

    pub(super) fn get(&self, route: &str) -> RouteUsage {
        self.0.lock().get(route).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> Vec<(Box<str>, RouteUsage)> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(route, usage)| (route.clone(), *usage)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// For the next opening.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (route, usage) in self.all() {
            out.extend_from_slice(&(route.len() as u32).to_le_bytes());
            out.extend_from_slice(route.as_bytes());
            out.extend_from_slice(&usage.entries.to_le_bytes());
            out.extend_from_slice(&usage.bytes.to_le_bytes());
        }
        out
    }

    /// What an earlier opening noted; `None` where it does not read.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut routes = HashMap::new();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let (route, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            let (entries, rest) = rest.split_first_chunk::<8>()?;
            let (taken, rest) = rest.split_first_chunk::<8>()?;
            let usage =
                RouteUsage { entries: u64::from_le_bytes(*entries), bytes: u64::from_le_bytes(*taken) };
            routes.insert(std::str::from_utf8(route).ok()?.into(), usage);
            bytes = rest;
        }
        Some(Self(Mutex::new(routes)))
    }
}

/// 3.5: what sled's files take for a live byte, measured under churn.
fn charge(entry: &Entry, record: usize) -> u64 {
    let body = match &entry.body {
        BodyRef::File(file) => file.len,
        BodyRef::Bytes(_) => 0,
    };
    (record as u64).saturating_mul(7) / 2 + body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::tests::entry;

    #[test]
    fn what_is_noted_reads_back_and_nothing_else_does() {
        let routes = Routes::default();
        let mut other = entry("/b", b"");
        other.route = "".into();
        routes.add(&entry("/a", b"x"), 100);
        routes.add(&entry("/a", b"x"), 100);
        routes.add(&other, 40);
        let bytes = routes.to_bytes();
        let read = Routes::from_bytes(&bytes).unwrap();
        assert_eq!(read.all(), routes.all());
        assert_eq!(read.get("users"), RouteUsage { entries: 2, bytes: 700 });
        assert!(Routes::from_bytes(&bytes[..bytes.len() - 1]).is_none());
        read.remove(&other, 40);
        assert_eq!(read.all().len(), 1);
    }
}
