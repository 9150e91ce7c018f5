//! A load generator that says what it could not do.
//!
//! In a *closed loop* each connection asks again as soon as it is answered: that finds out how much the target can do, and a
//! stall hides in it, since nobody asks meanwhile. In an *open loop* requests are due at fixed times, whatever the target
//! does, and latency counts from when a request was due: a stall is seen by all who would have come during it
//! (otherwise: coordinated omission). What took at least some time (timed out, or due and never sent) counts with that time,
//! since leaving it out would flatter; what failed at once does not count as fast.
//!
//! ```text
//! plan ─▶ probe ─▶ threads: connect all ─▶ warm up ─▶ measure ─▶ wait for what is under way ─▶ one Tally ─▶ Report ─▶ findings, thresholds
//!                     └ schedule (pure) ─▶ pacer ─▶ workers ─▶ http1 | http2
//! ```
//!
//! A thread has a runtime, connections, a share of the schedule and a tally of its own; nothing is shared while it
//! measures but a few counters that it alone writes. The room knows nothing of the proxy that it may be pointed at.

mod alarm;
mod cached;
mod connect;
mod failure;
mod findings;
mod http1;
mod http2;
mod pacer;
mod report;
mod run;
mod schedule;
mod stream;
mod tally;
mod target;
mod thread;
mod threshold;
mod window;
mod worker;

use std::time::Duration;

pub use connect::{Error, Trust, is_public};
pub use failure::Failure;
pub use findings::Finding;
pub use report::{Bucket, Ended, FailureRow, Latency, Report};
pub use run::{Phase, Progress, Running, Watcher, start};
pub use target::{BadTarget, Target, TargetSettings};
pub use threshold::{METRICS, Threshold, Verdict};

/// The most connections, streams of all connections together, and threads.
pub const MAX_WORKERS: usize = 100_000;
/// The most threads.
pub const MAX_THREADS: usize = 256;
/// The highest rate, in requests a second.
pub const MAX_RATE: f64 = 1_000_000.0;
/// The longest that is measured.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
/// The most requests.
pub const MAX_REQUESTS: u64 = 10_000_000_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask, and for what.
    pub target: Target,
    /// Whom to trust over TLS.
    pub trust: Trust,
    /// Kept open all the time.
    pub connections: usize,
    /// Requests at a time on each connection; more than one over HTTP/2 only.
    pub streams: usize,
    /// At most as many as connections.
    pub threads: usize,
    /// When the next request is made.
    pub pace: Pace,
    /// What ends it.
    pub until: Until,
    /// Load before anything is measured.
    pub warmup: Duration,
    /// The longest that connecting, and then a reply, may take.
    pub timeout: Duration,
}

/// When the next request is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When the one before has been answered.
    Closed,
    /// At fixed times, so many a second over all connections.
    Open(f64),
}

/// What ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long after the warm-up.
    Elapsed(Duration),
    /// So many requests after the warm-up.
    Requests(u64),
}
