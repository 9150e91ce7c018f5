//! The names of all metrics, in one place: they are an interface. OpenMetrics puts `proxy_stone_` before them
//! and its own suffixes (`_total`, `_bucket` ...) behind.

/// What every name begins with.
pub const PREFIX: &str = "proxy_stone";

/// Info: version of the program.
pub const BUILD: &str = "build";
/// Gauge, seconds: when the counting began, as a Unix time.
pub const START_TIME: &str = "start_time";

/// Counter by `route`, `status_class` and `status`: finished exchanges.
pub const REQUESTS: &str = "requests";
/// Histogram by `route`, seconds: from request head to the end of the reply, but of tunnels and streams of events.
pub const REQUEST_DURATION: &str = "request_duration";
/// Histogram by `route`, seconds: from request head to the head of the reply.
pub const REQUEST_FIRST_BYTE: &str = "request_first_byte";
/// Counter by `route`, bytes: body bytes received from clients.
pub const RECEIVED: &str = "received";
/// Counter by `route`, bytes: body bytes sent to clients.
pub const SENT: &str = "sent";
/// Counter by `route` and `end`: how exchanges ended.
pub const ENDS: &str = "request_ends";
/// Counter by `route` and `outcome`: what the cache did.
pub const CACHE: &str = "cache";
/// Counter by `reason`: responses that were not stored.
pub const CACHE_SKIPS: &str = "cache_skips";

/// Counter by `coding` and `way` (`encode`, `decode`): bodies that were put into another content coding; what is sent from
/// the store in the coding that it has there is not among them.
pub const CODED: &str = "coded_bodies";
/// Counter by `coding` and `way`, bytes: what went in.
pub const CODED_IN: &str = "coded_in";
/// Counter by `coding` and `way`, bytes: what came out.
pub const CODED_OUT: &str = "coded_out";

/// Counter by `reason`: requests refused for what they are (malformed, ambiguous, too large, too slow), whether an
/// exchange came of them or not.
pub const REFUSED: &str = "refused_requests";

/// Counter by `upstream`: finished exchanges that asked it.
pub const UPSTREAM_REQUESTS: &str = "upstream_requests";
/// Counter by `upstream` and `outcome`: attempts.
pub const UPSTREAM_ATTEMPTS: &str = "upstream_attempts";
/// Counter by `upstream`: attempts that followed a failed one.
pub const UPSTREAM_RETRIES: &str = "upstream_retries";
/// Histogram by `upstream`, seconds: from asking an endpoint to the head of its reply.
pub const UPSTREAM_FIRST_BYTE: &str = "upstream_first_byte";
/// Counter by `upstream`, `endpoint` and `outcome`: attempts.
pub const ENDPOINT_ATTEMPTS: &str = "endpoint_attempts";

/// Gauge: client connections open now.
pub const CONNECTIONS: &str = "connections";
/// Counter: client connections accepted.
pub const CONNECTIONS_OPENED: &str = "connections_opened";
/// Counter by `reason`: client connections closed before a request was read.
pub const CONNECTIONS_REFUSED: &str = "connections_refused";

/// Counter by `version`, `cipher` and `resumed`: TLS handshakes with clients.
pub const TLS_HANDSHAKES: &str = "tls_handshakes";
/// Counter by `reason`: TLS handshakes with clients that failed.
pub const TLS_HANDSHAKE_FAILURES: &str = "tls_handshake_failures";

/// Counter by `result` (`written`, `dropped`, `failed`): access log lines.
pub const LOG_LINES: &str = "log_lines";
/// Counter: exchanges that neither log nor ring saw, because too many finished at once.
pub const EVENTS_DROPPED: &str = "events_dropped";

// Gauges that other rooms supply.

/// Gauge by `tier` (`memory`, `disk`), bytes held.
pub const STORE_BYTES: &str = "store_bytes";
/// Gauge by `tier`: the most bytes it may hold.
pub const STORE_LIMIT_BYTES: &str = "store_limit_bytes";
/// Gauge by `tier`: entries held.
pub const STORE_ENTRIES: &str = "store_entries";
/// Gauge by `state`: 1 for the state that the store is in.
pub const STORE_STATE: &str = "store_state";
/// Gauge: writes waiting for the store's writer.
pub const STORE_QUEUE: &str = "store_queue";
/// Gauge by `upstream`, `endpoint` and `state` (`active`, `idle`): pooled connections.
pub const POOL_CONNECTIONS: &str = "pool_connections";
/// Gauge by `upstream`, `endpoint` and `protocol` (`http1`, `http2`): pooled connections, those being made as `http1`.
pub const POOL_PROTOCOLS: &str = "pool_protocol_connections";
/// Gauge by `upstream` and `endpoint`: requests under way on connections that speak HTTP/2.
pub const POOL_STREAMS: &str = "pool_streams";
/// Gauge by `upstream`: requests that wait for a connection.
pub const POOL_WAITING: &str = "pool_waiting";
/// Gauge by `upstream` and `endpoint`: 1 where the endpoint is being skipped after failures.
pub const ENDPOINT_SKIPPED: &str = "endpoint_skipped";

/// Gauge by `upstream`, `endpoint` and `reason`: connections closed since the start for what the endpoint said on them:
/// a malformed reply, or `surplus` (bytes that nobody asked for).
pub const ENDPOINT_VIOLATIONS: &str = "endpoint_violations";
/// Gauge by `event`: what befell stored entries since the start: `evicted`, `expired`, `purged`, `corrupt`,
/// `not_queued` (too many writes waiting), `refused` (by a full disk: nobody had asked before), `purged_in_flight`,
/// `leaking` (keys whose replies differ by credential).
pub const STORE_EVENTS: &str = "store_events";
/// Gauge: purges whose removal has not been finished; they hold all the same.
pub const STORE_PURGE_RULES: &str = "store_purge_rules";
/// Gauge: connections that speak another protocol now (WebSocket ...).
pub const TUNNELS: &str = "tunnels";
/// Gauge by `direction` (`to_client`, `to_upstream`): bytes that tunnels have passed since the start.
pub const TUNNEL_BYTES: &str = "tunnel_bytes";
/// Gauge by `reason`: tunnels that have ended since the start.
pub const TUNNELS_ENDED: &str = "tunnels_ended";
/// Gauge: exchanges whose reply has not begun.
pub const EXCHANGES_WAITING: &str = "exchanges_waiting";
/// Gauge: fetches that several requests may share.
pub const SHARED_FETCHES: &str = "shared_fetches";
/// Gauge: how many configs the instance has taken over.
pub const CONFIG_GENERATION: &str = "config_generation";

/// Gauge by `tls`, `name` and `fingerprint`, seconds: for how long a certificate is still valid; below 0 when it is not.
pub const CERTIFICATE_EXPIRES_IN: &str = "certificate_expires_in_seconds";
/// Gauge by `tls`, `name` and `fingerprint`: 1 where a certificate ends soon and has not been replaced, or has ended.
pub const CERTIFICATE_ENDS_SOON: &str = "certificate_ends_soon";
/// Gauge by `tls`: files of certificates that are broken, so that what was read before goes on.
pub const CERTIFICATE_FILES_BROKEN: &str = "certificate_files_broken";
/// Gauge by `tls`: certificates replaced while the instance ran.
pub const CERTIFICATES_REPLACED: &str = "certificates_replaced";
/// Gauge by `limit` and `outcome` (`allowed`, `limited`, `dry_run`, `exempt`): requests since the limit was made.
pub const RATE_LIMIT_REQUESTS: &str = "rate_limit_requests";
/// Gauge by `limit`: keys in its table.
pub const RATE_LIMIT_KEYS: &str = "rate_limit_keys";
/// Gauge by `limit`: keys that made room for others though their quota was not whole.
pub const RATE_LIMIT_EVICTIONS: &str = "rate_limit_evictions";
/// Gauge by `limit`: requests counted against a quota that keys without room share.
pub const RATE_LIMIT_SHARED: &str = "rate_limit_shared";

/// The help line of a gauge that another room supplies.
pub fn gauge_help(name: &str) -> &'static str {
    match name {
        STORE_BYTES => "Bytes that a tier of the store holds.",
        STORE_LIMIT_BYTES => "Bytes that a tier of the store may hold.",
        STORE_ENTRIES => "Entries that a tier of the store holds.",
        STORE_STATE => "The state that the store is in has 1.",
        STORE_QUEUE => "Writes that wait for the writer of the store.",
        POOL_CONNECTIONS => "Connections to endpoints, in use and idle.",
        POOL_PROTOCOLS => "Connections to endpoints, by the version of HTTP that they speak.",
        POOL_STREAMS => "Requests under way on HTTP/2 connections to endpoints.",
        POOL_WAITING => "Requests that wait for a connection to the upstream.",
        ENDPOINT_SKIPPED => "1 where an endpoint is skipped for a while after failures.",
        ENDPOINT_VIOLATIONS => "Connections closed since the start for what the endpoint said on them.",
        STORE_EVENTS => "What befell stored entries since the start.",
        STORE_PURGE_RULES => "Purges whose removal has not been finished.",
        TUNNELS => "Connections that speak another protocol now.",
        TUNNEL_BYTES => "Bytes that tunnels have passed since the start.",
        TUNNELS_ENDED => "Tunnels that have ended since the start.",
        EXCHANGES_WAITING => "Exchanges whose reply has not begun.",
        SHARED_FETCHES => "Fetches that several requests may share.",
        RATE_LIMIT_REQUESTS => "Requests that a rate limit has judged.",
        RATE_LIMIT_KEYS => "Keys that a rate limit remembers.",
        RATE_LIMIT_EVICTIONS => "Keys of a rate limit that made room before their quota was whole.",
        RATE_LIMIT_SHARED => "Requests counted against a quota that keys without room share.",
        CONFIG_GENERATION => "Configs taken over, the first one included.",
        CERTIFICATE_EXPIRES_IN => "Seconds for which a certificate is still valid.",
        CERTIFICATE_ENDS_SOON => "1 where a certificate ends soon, or has ended.",
        CERTIFICATE_FILES_BROKEN => {
            "Broken files of certificates, instead of which what was read before goes on."
        }
        CERTIFICATES_REPLACED => "Certificates replaced while the instance ran.",
        _ => "Measured at the scrape.",
    }
}
