//! Telemetry as a whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::event::{CacheOutcome, End, Finished, RequestId, Series};
use super::filter::Filter;
use super::settings::{AccessLog, LogFormat, LogTarget};
use super::testing::finished;
use super::*;

fn start(settings: &Settings) -> Arc<Telemetry> {
    Telemetry::start(settings, Clock::manual(Timestamp::from_secs(1_700_000_100))).unwrap()
}

fn with_log(path: &Path, ring: usize) -> Settings {
    let target = LogTarget::File { path: path.to_owned(), max_size: 0, max_age: Duration::ZERO, keep: 1 };
    Settings { access_log: Some(AccessLog { format: LogFormat::Json, target }), ring, listen: None }
}

fn numbered(number: u64) -> Finished {
    let mut event = finished();
    event.id = RequestId::Given(format!("n{number}").into());
    event.at = Timestamp::from_secs(number);
    event
}

fn ids(events: &[Arc<Finished>]) -> Vec<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

#[test]
fn counts_of_all_threads_add_up_also_after_they_have_ended() {
    let telemetry = start(&Settings::default());
    let series = Series { route: telemetry.route_slot("users"), upstream: telemetry.upstream_slot("api") };
    let endpoint = telemetry.endpoint_slot("api", "10.0.0.1:80");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..1000 {
                    telemetry.connection_opened();
                    telemetry.attempt(
                        series.upstream,
                        endpoint,
                        AttemptOutcome::Ok,
                        Some(Duration::from_millis(5)),
                    );
                    telemetry.finished(&Finished {
                        series,
                        status: if number % 10 == 0 { 503 } else { 200 },
                        cache: if number % 2 == 0 { CacheOutcome::Hit } else { CacheOutcome::Miss },
                        duration: Duration::from_millis(10),
                        ..finished()
                    });
                    telemetry.connection_closed();
                }
                telemetry.retry(series.upstream);
                telemetry.cache_skip("no_store");
                telemetry.refused("folded_line");
                telemetry.connection_refused(ConnectionRefused::Limit);
            });
        }
    });
    let snapshot = telemetry.snapshot();
    let row = &snapshot.routes[0];
    assert_eq!((&*row.route, row.requests, row.sent), ("users", 4000, 4000 * 1234));
    assert_eq!((row.statuses["200"], row.classes["5xx"]), (3600, 400));
    assert_eq!((row.cache["hit"], row.cache["miss"], row.ends["complete"]), (2000, 2000, 4000));
    assert_eq!((row.duration.count, row.duration.p50_us), (4000, 9500));
    assert_eq!(snapshot.total.requests, 4000);
    let upstream = &snapshot.upstreams[0];
    assert_eq!((upstream.requests, upstream.attempts["ok"], upstream.retries), (4000, 4000, 4));
    assert_eq!(snapshot.endpoints[0].attempts["ok"], 4000);
    assert_eq!(snapshot.cache_skips["no_store"], 4);
    assert_eq!(snapshot.refused["folded_line"], 4);
    assert_eq!((snapshot.connections.opened, snapshot.connections.open), (4000, 0));
    assert_eq!(snapshot.connections.refused["limit"], 4);
    assert_eq!(telemetry.route_slot("users"), series.route);

    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
}

#[test]
fn what_happened_between_two_snapshots_has_its_own_row() {
    let telemetry = start(&Settings::default());
    let series = Series { route: telemetry.route_slot("users"), upstream: 0 };
    telemetry.finished(&Finished { series, duration: Duration::from_secs(9), ..finished() });
    let earlier = telemetry.snapshot();
    telemetry.finished(&Finished { series, status: 404, duration: Duration::from_millis(1), ..finished() });
    let row = &telemetry.snapshot().since(&earlier).routes[0];
    assert_eq!((row.requests, row.duration.p99_us), (1, 1000));
    assert_eq!(row.statuses.keys().collect::<Vec<_>>(), ["404"]);
}

/// Every series that the text has, without its value.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn ten_thousand_urls_add_no_series() {
    let telemetry = start(&Settings::default());
    let series_of = Series { route: telemetry.route_slot("users"), upstream: telemetry.upstream_slot("api") };
    let report = |number: u64| {
        let mut event = Finished { series: series_of, ..finished() };
        event.target = format!("/v1/users/{number}?q={number}").into();
        event.host = format!("h{number}.example.com").into();
        event.client = std::net::Ipv4Addr::from(number as u32).into();
        event.endpoint = Some(format!("10.0.0.1:{number}").into());
        telemetry.finished(&event);
    };
    report(0);
    let before = series(&telemetry.openmetrics());
    (1..10_000).for_each(report);
    assert_eq!(series(&telemetry.openmetrics()), before);
    assert!(before.len() < 100);
}

#[test]
fn ten_thousand_route_names_stay_bounded() {
    let telemetry = start(&Settings::default());
    for number in 0..10_000 {
        let route = telemetry.route_slot(&format!("route {number}"));
        telemetry.finished(&Finished { series: Series { route, upstream: u32::MAX }, ..finished() });
    }
    let snapshot = telemetry.snapshot();
    assert_eq!(snapshot.routes.len(), metrics::MAX_ROUTES + 1);
    let other = snapshot.routes.iter().find(|row| row.route == "(other)").unwrap();
    assert_eq!(other.requests, 10_000 - metrics::MAX_ROUTES as u64);
    assert_eq!(snapshot.total.requests, 10_000);
}

#[test]
fn the_metrics_text_is_what_dashboards_rely_on() {
    let telemetry = start(&Settings::default());
    telemetry.register_gauges(Box::new(|sink| {
        sink.set(names::STORE_BYTES, &[("tier", "memory")], 4096.0);
        sink.set(names::STORE_QUEUE, &[], 3.0);
        sink.set(names::STORE_BYTES, &[("tier", "disk")], 8192.0);
    }));
    let series = Series { route: telemetry.route_slot("us\"ers"), upstream: telemetry.upstream_slot("api") };
    let endpoint = telemetry.endpoint_slot("api", "10.0.0.1:8080");
    telemetry.attempt(series.upstream, 0, AttemptOutcome::DnsFailed, None);
    telemetry.attempt(series.upstream, endpoint, AttemptOutcome::Ok, Some(Duration::from_millis(10)));
    telemetry.retry(series.upstream);
    telemetry.cache_skip("no_store");
    telemetry.connection_opened();
    telemetry.connection_refused(ConnectionRefused::Limit);
    telemetry.finished(&Finished { series, received: 7, ..finished() });
    telemetry.finished(&Finished { status: 431, end: End::Refused, cache: CacheOutcome::None, ..finished() });
    let text = telemetry.openmetrics().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

#[test]
fn the_ring_keeps_the_newest_and_finds_them() {
    let telemetry = start(&Settings { ring: 100, ..Settings::default() });
    (0..5000).for_each(|number| telemetry.finished(&numbered(number)));
    let all = telemetry.recent(&Query::default());
    assert_eq!((all.len(), &*ids(&all)[0]), (100, "n4900"));
    assert!(telemetry.find("n4999").is_some());
    assert!(telemetry.find("n1").is_none());

    let filter = Some(Filter::parse::<Finished>("id =~ '[05]$'").unwrap());
    let query = Query { filter, limit: Some(2), until: Some(Timestamp::from_secs(4990)), ..Query::default() };
    assert_eq!(ids(&telemetry.recent(&query)), ["n4985", "n4990"]);
    let query = Query { since: Some(Timestamp::from_secs(4998)), ..Query::default() };
    assert_eq!(ids(&telemetry.recent(&query)), ["n4998", "n4999"]);

    telemetry.reconfigure(&Settings { ring: 1, ..Settings::default() }).unwrap();
    assert_eq!(ids(&telemetry.recent(&Query::default())), ["n4999"]);
    telemetry.reconfigure(&Settings { ring: 0, ..Settings::default() }).unwrap();
    telemetry.finished(&numbered(1));
    assert!(telemetry.recent(&Query::default()).is_empty());
}

#[test]
fn the_ring_merges_threads_by_time() {
    let telemetry = start(&Settings::default());
    for numbers in [[2, 4], [1, 3]] {
        std::thread::scope(|scope| {
            // Both threads live at the same time as this one, so that they have different seats.
            telemetry.finished(&numbered(10 + numbers[0]));
            scope.spawn(|| numbers.into_iter().for_each(|number| telemetry.finished(&numbered(number))));
        });
    }
    assert_eq!(ids(&telemetry.recent(&Query::default())), ["n1", "n2", "n3", "n4", "n11", "n12"]);
}

#[test]
fn long_targets_are_clipped_in_the_ring_and_whole_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let telemetry = start(&with_log(&path, 10));
    let target = format!("/{}", "ä".repeat(30_000));
    telemetry.finished(&Finished { target: target.clone().into(), ..finished() });
    let kept = &telemetry.recent(&Query::default())[0].target;
    assert!(kept.len() < 2100 && kept.ends_with('…'), "{}", kept.len());
    telemetry.close();
    let line = std::fs::read_to_string(path).unwrap();
    assert_eq!(serde_json::from_str::<LogRecord>(&line).unwrap().target, target);
}

#[test]
fn every_exchange_is_logged_or_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let telemetry = start(&with_log(&path, 10));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20_000).for_each(|number| telemetry.finished(&numbered(number))));
        }
    });
    telemetry.close();
    let log = telemetry.snapshot().log;
    assert_eq!(log.written + log.dropped + log.events_dropped, 60_000);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count() as u64, log.written);
    telemetry.finished(&finished());
    assert_eq!(telemetry.snapshot().total.requests, 60_001);
}

#[test]
fn the_log_can_be_turned_moved_and_reopened_live() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, moved] = ["first", "second", "moved"].map(|name| dir.path().join(name));
    let telemetry = start(&Settings::default());
    telemetry.finished(&numbered(0));
    telemetry.reconfigure(&with_log(&first, 10)).unwrap();
    telemetry.finished(&numbered(1));
    telemetry.reconfigure(&with_log(&dir.path().join("no/such"), 10)).unwrap_err();
    telemetry.finished(&numbered(2));
    telemetry.reconfigure(&with_log(&second, 10)).unwrap();
    telemetry.finished(&numbered(3));
    telemetry.recent(&Query::default());
    while telemetry.snapshot().log.written < 3 {
        std::thread::yield_now();
    }
    std::fs::rename(&second, &moved).unwrap();
    telemetry.reopen().unwrap();
    telemetry.finished(&numbered(4));
    telemetry.close();
    telemetry.close();
    let logged = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<LogRecord>(line).unwrap().id).collect()
    };
    assert_eq!(logged(&first), ["n1", "n2"]);
    assert_eq!(logged(&moved), ["n3"]);
    assert_eq!(logged(&second), ["n4"]);
}

#[tokio::test]
async fn a_follower_hears_what_comes_and_how_much_it_missed() {
    let telemetry = start(&Settings { ring: 0, ..Settings::default() });
    telemetry.finished(&numbered(0));
    let mut follower = telemetry.follow();
    telemetry.finished(&numbered(1));
    match follower.next().await {
        Some(Followed::Exchange(event)) => assert_eq!(event.id.to_string(), "n1"),
        other => panic!("{other:?}"),
    }
    (0..2000).for_each(|number| telemetry.finished(&numbered(number)));
    telemetry.recent(&Query::default());
    match follower.next().await {
        Some(Followed::Missed(missed)) => assert_eq!(missed, 2000 - 1024),
        other => panic!("{other:?}"),
    }
    telemetry.close();
    let mut left = 0;
    while let Some(Followed::Exchange(_)) = follower.next().await {
        left += 1;
    }
    assert_eq!(left, 1024);
    assert!(telemetry.follow().next().await.is_none());
}
