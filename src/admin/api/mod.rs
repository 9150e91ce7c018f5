//! The messages of the admin socket, one set of types for the server and the CLI.
//!
//! Field names are part of the interface: `-o json` prints them as they are. A field may be added within one
//! [`VERSION`]; none changes its meaning or goes away.

mod cache;
mod certificate;
mod explain;
mod inspection;
mod limits;
mod problem;
mod route;
mod status;
mod traffic;
mod warming;

pub use cache::{
    CacheStats, EntryDetail, EntryOrder, EntryPage, EntryQuery, EntryRow, Purge, PurgeBatch, PurgeBatchReply,
    PurgeReply, Quarantine, RouteUsage, Selector, ShowQuery, StoreFinding,
};
pub use certificate::CertificateRow;
pub use explain::{
    ConfigKey, Explain, Explanation, Ground, GuardStanding, KeyDifference, KeyPart, KeyParts, NearKey,
    PastExplanation, PastQuery, SliceRun, StoredReply, StoredSlices, SupposedOutcome, SupposedReply,
    TakenRoute, TakenSlices, Variant, VariantField,
};
pub use inspection::{Gc, InspectionLine, InspectionProgress, Reclaimed, StoreFault, Verify};
pub use limits::{LimitQuery, LimitReport, LimitReset, LimitRow, LimitedKey, LimitsForgotten, RouteLimit};
pub use problem::{Problem, ProblemCode};
pub use route::{Route, RouteTest, RouteTestReply, RouteVerdict};
pub use status::{
    Connections, Drain, Draining, ListenerStatus, ReloadReport, State, Status, Stop, Stopping, StoreStatus,
    Upgrade, UpgradeLine, Upgraded,
};
pub use traffic::{EndpointRow, LogLine, LogQuery, WatchQuery};
pub use warming::{FetchQuery, Pace, Refresh, Warm, WarmLine, Warmed};

/// The version of this interface, in its paths and in [`VERSION_HEADER`].
pub const VERSION: u32 = 1;

/// The reply field that names the interface's version.
pub const VERSION_HEADER: &str = "proxy-stone-api";

/// The media type of a stream of JSON objects, one a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The paths of the interface.
pub mod path {
    /// GET: [`Status`](super::Status).
    pub const STATUS: &str = "/v1/status";
    /// POST: [`ReloadReport`](super::ReloadReport), or a problem of code `config`.
    pub const RELOAD: &str = "/v1/reload";
    /// POST [`Stop`](super::Stop): [`Stopping`](super::Stopping).
    pub const STOP: &str = "/v1/stop";
    /// POST [`Upgrade`](super::Upgrade): a stream of [`UpgradeLine`](super::UpgradeLine).
    pub const UPGRADE: &str = "/v1/upgrade";
    /// POST [`Drain`](super::Drain): [`Draining`](super::Draining).
    pub const DRAIN: &str = "/v1/drain";
    /// POST: [`Draining`](super::Draining), or a problem of code `not_found` where there is nothing to take back.
    pub const DRAIN_CANCEL: &str = "/v1/drain/cancel";
    /// GET: a list of [`Route`](super::Route).
    pub const ROUTES: &str = "/v1/routes";
    /// POST [`RouteTest`](super::RouteTest): [`RouteTestReply`](super::RouteTestReply).
    pub const ROUTE_TEST: &str = "/v1/routes/test";
    /// GET: a list of [`EndpointRow`](super::EndpointRow).
    pub const UPSTREAMS: &str = "/v1/upstreams";
    /// GET: a list of [`CertificateRow`](super::CertificateRow).
    pub const CERTIFICATES: &str = "/v1/certificates";
    /// GET [`EntryQuery`](super::EntryQuery): [`EntryPage`](super::EntryPage).
    pub const ENTRIES: &str = "/v1/cache/entries";
    /// GET [`ShowQuery`](super::ShowQuery): a list of [`EntryDetail`](super::EntryDetail).
    pub const ENTRY: &str = "/v1/cache/entry";
    /// POST [`Purge`](super::Purge): [`PurgeReply`](super::PurgeReply).
    pub const PURGE: &str = "/v1/cache/purge";
    /// POST [`Warm`](super::Warm): a stream of [`WarmLine`](super::WarmLine)s.
    pub const WARM: &str = "/v1/cache/warm";
    /// POST [`Refresh`](super::Refresh): a stream of [`WarmLine`](super::WarmLine)s.
    pub const REFRESH: &str = "/v1/cache/refresh";
    /// GET [`FetchQuery`](super::FetchQuery): the reply's body, as text.
    pub const FETCH: &str = "/v1/cache/fetch";
    /// POST [`Explain`](super::Explain): [`Explanation`](super::Explanation).
    pub const EXPLAIN: &str = "/v1/cache/explain";
    /// POST [`PurgeBatch`](super::PurgeBatch): [`PurgeBatchReply`](super::PurgeBatchReply).
    pub const PURGE_BATCH: &str = "/v1/cache/purge/batch";
    /// GET [`PastQuery`](super::PastQuery): [`PastExplanation`](super::PastExplanation).
    pub const EXPLAIN_PAST: &str = "/v1/cache/explain/request";
    /// GET: [`CacheStats`](super::CacheStats).
    pub const CACHE_STATS: &str = "/v1/cache/stats";
    /// POST [`Verify`](super::Verify): a stream of [`InspectionLine`](super::InspectionLine).
    pub const CACHE_VERIFY: &str = "/v1/cache/verify";
    /// POST [`Gc`](super::Gc): a stream of [`InspectionLine`](super::InspectionLine).
    pub const CACHE_GC: &str = "/v1/cache/gc";
    /// Rate limits, and who is near them.
    pub const LIMITS: &str = "/v1/limits";
    /// Forgets keys of rate limits.
    pub const LIMITS_RESET: &str = "/v1/limits/reset";
    /// GET [`LogQuery`](super::LogQuery): a stream of [`LogLine`](super::LogLine).
    pub const LOGS: &str = "/v1/logs";
    /// GET: a [`Snapshot`](crate::telemetry::Snapshot).
    pub const METRICS: &str = "/v1/metrics";
    /// GET [`WatchQuery`](super::WatchQuery): a stream of [`Snapshot`](crate::telemetry::Snapshot)s.
    pub const METRICS_WATCH: &str = "/v1/metrics/watch";
    /// GET: OpenMetrics text.
    pub const OPENMETRICS: &str = "/v1/metrics/openmetrics";

    /// Every path there is.
    pub const ALL: &[&str] = &[
        STATUS,
        RELOAD,
        STOP,
        UPGRADE,
        DRAIN,
        DRAIN_CANCEL,
        ROUTES,
        ROUTE_TEST,
        UPSTREAMS,
        CERTIFICATES,
        ENTRIES,
        ENTRY,
        PURGE,
        WARM,
        REFRESH,
        FETCH,
        EXPLAIN,
        PURGE_BATCH,
        EXPLAIN_PAST,
        CACHE_STATS,
        CACHE_VERIFY,
        CACHE_GC,
        LIMITS,
        LIMITS_RESET,
        LOGS,
        METRICS,
        METRICS_WATCH,
        OPENMETRICS,
    ];
}
