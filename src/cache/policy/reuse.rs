//! Whether a stored response may answer a request (RFC 9111 4, 4.2.4, 5.2.1).

use http::StatusCode;

use super::{RequestPolicy, Rules};
use crate::cache::entry::EntryHead;
use crate::clock::Timestamp;

/// Whether a stored response may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh: send it.
    Fresh {
        /// For the `Age` field, in seconds.
        age: u64,
        /// Seconds of freshness left.
        ttl: i64,
    },
    /// It is stale and may be sent.
    StaleAllowed {
        /// For the `Age` field, in seconds.
        age: u64,
        /// Seconds of freshness left: zero or less.
        ttl: i64,
        /// Who allowed it.
        why: StaleWhy,
    },
    /// The origin must be asked first.
    Validate {
        /// Its age, in seconds.
        age: u64,
        /// Seconds of freshness left.
        ttl: i64,
        /// Why it may not be sent as it is.
        why: ValidateWhy,
    },
}

/// Who allowed a stale reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleWhy {
    /// The request's `max-stale`.
    MaxStale,
    /// `stale-while-revalidate`: it must also be refreshed in the background.
    WhileRevalidate,
}

/// Why a stored response must be validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValidateWhy {
    /// It is stale.
    Stale,
    /// A soft purge marked it stale.
    Purged,
    /// The response's `no-cache`.
    NoCache,
    /// The request's `no-cache`.
    RequestNoCache,
    /// It is older than the request's `max-age`, or too short of freshness for its `min-fresh`.
    RequestAge,
    /// Its lifetime is a policy's or a guess, and the request has `Cookie`.
    Cookie,
}

/// How the origin failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No reply: refused, timed out, broken off.
    Disconnected,
    /// A reply with a 5xx status.
    Status(StatusCode),
}

/// Decides whether a stored response may answer a request at `now`.
pub fn reuse(
    request: &RequestPolicy,
    entry: &EntryHead,
    soft_purged: bool,
    rules: &Rules,
    now: Timestamp,
) -> Reuse {
    let _ = (request, soft_purged, rules);
    Reuse::Validate { age: entry.age(now), ttl: 0, why: ValidateWhy::Stale }
}

/// Whether a stored response may answer although (because) the origin failed (RFC 9111 4.2.4, RFC 5861 4).
pub fn on_error(
    request: &RequestPolicy,
    entry: &EntryHead,
    rules: &Rules,
    failure: Failure,
    now: Timestamp,
) -> bool {
    let _ = (request, entry, rules, failure, now);
    false
}
