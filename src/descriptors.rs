//! File descriptors, of which the last ones are kept for those who must never be without: the admin socket, the store.
//!
//! POSIX hands out the lowest number that is free. So a new descriptor with a high number says that nearly all are in
//! use, and nobody has to count them.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

/// Who asks for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A client's connection.
    Client,
    /// A connection to an upstream, for a client that is there already.
    Upstream,
}

/// The fewest and the most that are kept back.
const KEPT: std::ops::RangeInclusive<u64> = 16..=512;

/// Whether a descriptor is one of those that are kept for others: it should be closed at once.
pub fn is_reserved(descriptor: &impl AsFd, wanted: Use) -> bool {
    let first = first_reserved(limit(), wanted);
    u64::try_from(descriptor.as_fd().as_raw_fd()).is_ok_and(|number| number >= first)
}

/// How many may stay open only because they might be wanted again: a thirty-second of all.
pub fn spare() -> usize {
    usize::try_from(limit() / 32).unwrap_or(usize::MAX).max(1)
}

fn limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    // None is no limit.
    *LIMIT.get_or_init(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// The first number that is kept back.
fn first_reserved(limit: u64, wanted: Use) -> u64 {
    let kept = (limit / 8).clamp(*KEPT.start(), *KEPT.end());
    limit.saturating_sub(match wanted {
        Use::Client => kept,
        Use::Upstream => kept / 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_kept_back_within_reason() {
        for (limit, client, upstream) in
            [(128, 112, 120), (1024, 896, 960), (1 << 20, (1 << 20) - 512, (1 << 20) - 256), (8, 0, 0)]
        {
            let first = (first_reserved(limit, Use::Client), first_reserved(limit, Use::Upstream));
            assert_eq!(first, (client, upstream), "{limit}");
        }
        assert!(first_reserved(u64::MAX, Use::Client) > u64::from(u32::MAX));
    }
}
