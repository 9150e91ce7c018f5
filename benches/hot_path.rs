//! What each step of a cached hit and of a pass-through costs by itself. `cargo bench --bench hot_path` times them;
//! `cargo test --bench hot_path` runs each once, so that they keep working; `benches/instructions --steps` counts instructions.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use proxy_stone::cache::entry::{EntryHead, Freshness, Source, VaryKey};
use proxy_stone::cache::key::{KeyParts, StoredKey};
use proxy_stone::cache::policy::{RequestPolicy, Reuse, Rules, conditional, reuse};
use proxy_stone::cache::spool::SpooledBody;
use proxy_stone::cache::store::{Inserted, NewEntry};
use proxy_stone::cache::{Cache, Settings};
use proxy_stone::clock::{Clock, Timestamp};
use proxy_stone::http::cache_status::CacheStatus;
use proxy_stone::http::target::Target;
use proxy_stone::http::{date, request_id, via};
use proxy_stone::route::{Facts, HostPattern, MatchSpec, PathPattern, Router};
use proxy_stone::telemetry::event::{CacheOutcome, End, Finished, Protocol, RequestId, Series};
use proxy_stone::telemetry::settings::{AccessLog, LogFormat, LogTarget};
use proxy_stone::telemetry::{self, AttemptOutcome, Telemetry};
use proxy_stone::upstream::measured::IdlePool;

/// Who runs the steps.
enum Runner {
    /// Criterion, which times them, or runs each once.
    Timer(Box<Criterion>),
    /// Callgrind: one of them, so many times.
    Counter { only: String, times: usize },
}

impl Runner {
    fn step<O>(&mut self, name: &str, mut step: impl FnMut() -> O) {
        match self {
            Self::Timer(criterion) => {
                criterion.bench_function(name, |b| b.iter(&mut step));
            }
            Self::Counter { .. } => self.step_with(name, || (), |()| step()),
        }
    }

    /// A step that consumes what `input` makes, which is not part of it.
    fn step_with<I, O>(&mut self, name: &str, mut input: impl FnMut() -> I, mut step: impl FnMut(I) -> O) {
        match self {
            Self::Timer(criterion) => {
                criterion
                    .bench_function(name, |b| b.iter_batched(&mut input, &mut step, BatchSize::SmallInput));
            }
            Self::Counter { only, times } if only == name => {
                counted((0..*times).map(|_| input()).collect(), &mut step);
            }
            Self::Counter { .. } => {}
        }
    }
}

/// What callgrind looks at, and nothing else; what a step gives is dropped with it.
#[inline(never)]
fn counted<I, O>(inputs: Vec<I>, step: &mut impl FnMut(I) -> O) {
    for input in inputs {
        black_box(step(input));
    }
}

type Steps = fn(&mut Runner);

/// The steps by what their names begin with.
const STEPS: &[(&str, Steps)] = &[
    ("route", route),
    ("target", target),
    ("key", key),
    ("lookup", lookup),
    ("policy", policy),
    ("fields", fields),
    ("pool", pool),
    ("telemetry", telemetry),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let counted = arguments.iter().position(|argument| argument == "--count").map(|at| &arguments[at + 1..]);
    let mut runner = match counted {
        Some([only, times, ..]) => {
            Runner::Counter { only: only.clone(), times: times.parse().expect("how many times") }
        }
        _ => Runner::Timer(Box::new(Criterion::default().configure_from_args())),
    };
    for (name, steps) in STEPS {
        if !matches!(&runner, Runner::Counter { only, .. } if only.split('/').next() != Some(*name)) {
            steps(&mut runner);
        }
    }
    if let Runner::Timer(criterion) = &mut runner {
        criterion.final_summary();
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOST: &str = "api.example.com";
const TARGET: &str = "/v1/users/17?page=2";

/// What a client that is no browser sends.
fn request_fields() -> HeaderMap {
    let fields = [
        ("host", HOST),
        ("user-agent", "client/1.0 (linux; x86_64)"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    fields
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect()
}

/// What an origin answers.
fn reply_fields() -> HeaderMap {
    let fields = [
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("cache-control", "public, max-age=3600"),
        ("etag", "\"5f3c-1024\""),
        ("last-modified", "Fri, 15 Jan 2027 07:00:00 GMT"),
        ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("via", "1.1 proxy-stone"),
    ];
    fields
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect()
}

fn head() -> EntryHead {
    EntryHead {
        status: StatusCode::OK,
        headers: reply_fields(),
        request_time: NOW,
        response_time: NOW,
        freshness: Freshness {
            initial_age: 0,
            lifetime: 3600,
            source: Source::MaxAge,
            stale_while_revalidate: 0,
            stale_if_error: None,
            must_revalidate: false,
            no_cache: false,
        },
    }
}

/// Routes by prefix, as many as asked for, and one behind them that takes all.
fn router(routes: usize) -> Router {
    let by_prefix = (0..routes).map(|number| {
        let paths = vec![PathPattern::Prefix(format!("/v{number}/users/").into())];
        let hosts = vec![HostPattern::Exact(HOST.into())];
        (Arc::from(format!("r{number}")), MatchSpec { hosts, paths, ..MatchSpec::default() })
    });
    Router::build(by_prefix.chain([(Arc::from("rest"), MatchSpec::default())]).collect())
        .expect("sound routes")
}

fn route(runner: &mut Runner) {
    let headers = request_fields();
    let facts = Facts {
        host: HOST,
        path: "/v1/users/17",
        method: &Method::GET,
        headers: &headers,
        query: Some("page=2"),
        client: None,
    };
    for routes in [2, 1000] {
        let router = router(routes);
        assert_eq!(router.find(&facts), Some(1));
        runner.step(&format!("route/match among {routes}"), || router.find(black_box(&facts)));
    }
}

fn target(runner: &mut Runner) {
    let request = Request::get(TARGET).header("host", HOST).body(()).expect("a request");
    let (parts, ()) = request.into_parts();
    assert_eq!(Target::of(&parts, false).expect("a target").authority(), HOST);
    runner.step("target/normalise", || Target::of(black_box(&parts), false));
}

fn parts(headers: &HeaderMap) -> KeyParts<'_> {
    KeyParts {
        upstream: "api",
        scheme: "http",
        authority: HOST,
        target: TARGET,
        fields: &[header::ACCEPT],
        headers,
        extra: &[],
    }
}

/// A RAM tier with 10,000 other entries and the one that is asked for.
fn cache() -> Arc<Cache> {
    let cache = Cache::in_memory(Settings::default(), Clock::manual(NOW)).expect("a cache");
    let headers = request_fields();
    let wanted = parts(&headers).to_stored(cache.secret());
    let others =
        (0..10_000).map(|number| StoredKey { target: format!("/other/{number}").into(), ..wanted.clone() });
    for key in others.chain([wanted.clone()]) {
        let new = NewEntry {
            key,
            vary: VaryKey::default(),
            part: None,
            head: head(),
            tags: Vec::new(),
            route: "users".into(),
            sequence: cache.sequence(),
            keep_until: NOW.plus(Duration::from_secs(86_400)),
            wanted: false,
        };
        let stored = cache.insert(new, SpooledBody::from_bytes(Bytes::from(vec![b'x'; 1024])));
        assert_eq!(stored, Inserted::MemoryOnly);
    }
    cache
}

fn key(runner: &mut Runner) {
    let cache = Cache::in_memory(Settings::default(), Clock::manual(NOW)).expect("a cache");
    let headers = request_fields();
    let key = parts(&headers);
    runner.step("key/digest", || black_box(&key).digest(cache.secret()));
}

fn lookup(runner: &mut Runner) {
    let cache = cache();
    let headers = request_fields();
    let key = parts(&headers);
    let digest = key.digest(cache.secret());
    assert!(cache.lookup(&key, digest).is_some());
    runner.step("lookup/RAM hit", || cache.lookup(black_box(&key), digest));
    let nobody = KeyParts { target: "/nobody", ..key };
    let unknown = nobody.digest(cache.secret());
    assert!(cache.lookup(&nobody, unknown).is_none());
    runner.step("lookup/miss", || cache.lookup(black_box(&nobody), unknown));
}

fn policy(runner: &mut Runner) {
    let (head, headers, rules) = (head(), request_fields(), Rules::default());
    let now = NOW.plus(Duration::from_secs(10));
    let policy = RequestPolicy::of(&Method::GET, &headers, &rules);
    assert!(matches!(reuse(&policy, &head, false, &rules, now), Reuse::Fresh { age: 10, .. }));
    runner.step("policy/request", || RequestPolicy::of(&Method::GET, black_box(&headers), &rules));
    runner.step("policy/freshness", || reuse(&policy, black_box(&head), false, &rules, now));
    runner.step("policy/conditions", || conditional::answer(&Method::GET, black_box(&headers), &head, 1024));
}

/// The fields of a hit beside those that are stored, and those that a pass-through gets.
fn fields(runner: &mut Runner) {
    let stored = reply_fields();
    let status = CacheStatus { hit: true, ttl: Some(3590), ..CacheStatus::default() };
    assert_eq!(status.to_value("proxy-stone"), "proxy-stone; hit; ttl=3590");
    let id = own_id();
    runner.step("fields/stored, cloned", || black_box(&stored).clone());
    runner.step("fields/Cache-Status", || black_box(&status).to_value("proxy-stone"));
    runner.step("fields/X-Request-Id", || request_id::to_value(black_box(&id)));
    runner.step("fields/Date", || date::header_value(black_box(NOW)));
    runner.step_with("fields/Via", HeaderMap::new, |mut headers| {
        via::append(&mut headers, http::Version::HTTP_11, "proxy-stone");
        headers
    });
}

fn pool(runner: &mut Runner) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    let pool = IdlePool::new(32);
    assert!(pool.take_and_give_back());
    runner.step("pool/checkout and back", || pool.take_and_give_back());
}

fn own_id() -> RequestId {
    RequestId::Own(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001))
}

fn finished(series: Series) -> Finished {
    Finished {
        session: None,
        id: own_id(),
        at: NOW,
        duration: Duration::from_micros(123),
        first_byte: Duration::from_micros(110),
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        protocol: Protocol::Http11,
        method: Method::GET,
        host: HOST.into(),
        target: TARGET.into(),
        status: 200,
        route: Some("users".into()),
        series,
        upstream: Some("api".into()),
        endpoint: None,
        attempts: 0,
        upstream_first_byte: None,
        cache: CacheOutcome::Hit,
        received: 0,
        sent: 1024,
        end: End::Complete,
        lasting: false,
        error: None,
        limit: None,
        user: None,
        limit_dry_run: None,
        caching: Default::default(),
        reply: None,
    }
}

/// Counters and outbox; then the same with an access log, whose lines are written by threads of their own.
fn telemetry(runner: &mut Runner) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let file = LogTarget::File { path, max_size: 1 << 26, max_age: Duration::ZERO, keep: 0 };
    let log = AccessLog { format: LogFormat::Text, target: file };
    for (name, access_log) in
        [("telemetry/finished, no log", None), ("telemetry/finished, access log", Some(log))]
    {
        let settings = telemetry::Settings { access_log, ..telemetry::Settings::default() };
        let telemetry = Telemetry::start(&settings, Clock::manual(NOW)).expect("telemetry");
        let series =
            Series { route: telemetry.route_slot("users"), upstream: telemetry.upstream_slot("api") };
        let event = finished(series);
        runner.step_with(name, || event.clone(), |event| telemetry.finished(&event));
        telemetry.close();
    }
    let telemetry = Telemetry::start(&telemetry::Settings::default(), Clock::manual(NOW)).expect("telemetry");
    let upstream = telemetry.upstream_slot("api");
    let endpoint = telemetry.endpoint_slot("api", "10.0.0.1:8080");
    let taken = Some(Duration::from_micros(200));
    runner.step("telemetry/attempt", || {
        telemetry.attempt(upstream, black_box(endpoint), AttemptOutcome::Ok, taken);
    });
    telemetry.close();
}
