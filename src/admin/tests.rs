//! Client and server against each other, over a real socket and a pretended instance.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::api::{self, path};
use super::client::{Client, Error};
use super::control::{Boxed, Refused};
use super::{Admin, Control, server};
use crate::cache::Cache;
use crate::clock::{Clock, Timestamp};
use crate::telemetry::event::{CacheOutcome, End, Protocol, RequestId, Series};
use crate::telemetry::{Finished, Snapshot, Telemetry};
use crate::upstream::Upstreams;

/// An instance that remembers what it was told.
#[derive(Default)]
struct Pretended {
    stopped: Mutex<Option<Option<Duration>>>,
    bad_config: bool,
}

impl Control for Pretended {
    fn certificates(&self) -> Vec<api::CertificateRow> {
        Vec::new()
    }

    fn status(&self) -> api::Status {
        api::Status {
            instance: "test".to_owned(),
            version: "0".to_owned(),
            pid: 7,
            predecessor: None,
            state: api::State::Serving,
            ready: true,
            not_ready: None,
            started_ms: 1,
            uptime_s: 2,
            config: None,
            config_loaded_ms: 1,
            generation: 1,
            reload_error: None,
            profile: None,
            mode: None,
            workers: 1,
            listeners: Vec::new(),
            connections: api::Connections { open: 3, in_flight: 2, finished: 1, tunnels: 0 },
            routes: 1,
            upstreams: 1,
            store: api::StoreStatus::default(),
            state_dir: "/s".to_owned(),
            socket: "/a".to_owned(),
            memory: None,
        }
    }

    fn not_ready(&self) -> Option<String> {
        None
    }

    fn reload(&self) -> Boxed<'_, Result<api::ReloadReport, Refused>> {
        Box::pin(async {
            if self.bad_config {
                let findings = vec![serde_json::json!({"code": "PS0001"})];
                return Err(Refused { findings, rendered: "error[PS0001]".to_owned() });
            }
            Ok(api::ReloadReport { generation: 2, ..api::ReloadReport::default() })
        })
    }

    fn stop(&self, grace: Option<Duration>) {
        *self.stopped.lock() = Some(grace);
    }

    fn drain(&self, drain: api::Drain) -> api::Draining {
        api::Draining {
            pid: 7,
            state: api::State::Draining,
            delay_ms: drain.delay_ms.unwrap_or(1),
            grace_ms: drain.grace_ms.unwrap_or(2),
            connections: api::Connections::default(),
        }
    }

    fn upgrade(
        &self,
        _: api::Upgrade,
    ) -> Result<tokio::sync::mpsc::UnboundedReceiver<api::UpgradeLine>, Box<api::Problem>> {
        Err(Box::new(api::Problem::new(api::ProblemCode::Unavailable, "not now")))
    }

    fn stay(&self) -> Option<api::Draining> {
        None
    }

    fn routes(&self) -> Vec<api::Route> {
        vec![api::Route { order: 1, name: "all".to_owned(), ..api::Route::default() }]
    }

    fn proxy(&self) -> Option<Arc<crate::pipeline::Proxy>> {
        None
    }

    fn test_route(&self, test: &api::RouteTest) -> Result<api::RouteTestReply, String> {
        match test.url.starts_with('/') {
            true => Ok(api::RouteTestReply { route: Some("all".to_owned()), ..Default::default() }),
            false => Err("that is no path".to_owned()),
        }
    }

    fn explain<'a>(
        &'a self,
        asked: &'a api::Explain,
    ) -> Boxed<'a, Result<api::Explanation, Box<api::Problem>>> {
        Box::pin(async { Ok(api::Explanation { method: asked.method.clone(), ..Default::default() }) })
    }

    fn explain_past<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<api::PastExplanation, Box<api::Problem>>> {
        Box::pin(async move { Err(Box::new(api::Problem::new(api::ProblemCode::NotFound, id))) })
    }
}

/// A served socket in its own directory.
struct Served {
    directory: tempfile::TempDir,
    admin: Arc<Admin>,
    control: Arc<Pretended>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start(control: Pretended) -> Self {
        // reqwest wants one even where nothing is TLS; it may be there already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let control = Arc::new(control);
        let admin = Arc::new(Admin {
            control: control.clone(),
            cache: Cache::in_memory(crate::cache::Settings::default(), clock.clone()).unwrap(),
            telemetry: Telemetry::start(&crate::telemetry::Settings::default(), clock.clone()).unwrap(),
            upstreams: Upstreams::new(tokio::runtime::Handle::current()),
            clock,
            closing: CancellationToken::new(),
        });
        let bound = server::bind(&directory.path().join("a.sock")).unwrap();
        let task = tokio::spawn(bound.serve(Arc::clone(&admin)));
        Self { directory, admin, control, task }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("a.sock")
    }

    fn client(&self) -> Client {
        Client::new(&self.socket(), Duration::from_secs(10)).unwrap()
    }

    async fn end(self) {
        self.admin.closing.cancel();
        self.task.await.unwrap().unwrap();
        assert!(!self.directory.path().join("a.sock").exists());
    }
}

/// Sends bytes as they are and reads until the server closes.
async fn raw(socket: PathBuf, request: &'static str) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    })
    .await
    .unwrap()
}

fn problem(error: Error) -> api::Problem {
    match error {
        Error::Problem(problem) => *problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_instance_is_asked_and_told() {
    let served = Served::start(Pretended::default());
    let client = served.client();
    let status: api::Status = client.get(path::STATUS, &()).await.unwrap();
    assert_eq!(status, served.control.status());
    let routes: Vec<api::Route> = client.get(path::ROUTES, &()).await.unwrap();
    assert_eq!(routes[0].name, "all");
    let report: api::ReloadReport = client.post(path::RELOAD, &()).await.unwrap();
    assert_eq!(report.generation, 2);
    let stop = api::Stop { grace_ms: Some(1500) };
    let stopping: api::Stopping = client.post(path::STOP, &stop).await.unwrap();
    assert_eq!(stopping, api::Stopping { pid: 7, in_flight: 2 });
    assert_eq!(*served.control.stopped.lock(), Some(Some(Duration::from_millis(1500))));
    let upstreams: Vec<api::EndpointRow> = client.get(path::UPSTREAMS, &()).await.unwrap();
    assert!(upstreams.is_empty());
    served.end().await;
}

#[tokio::test]
async fn refusals_are_problems_that_say_why() {
    let served = Served::start(Pretended { bad_config: true, ..Pretended::default() });
    let client = served.client();
    let refused = problem(client.post::<Value>(path::RELOAD, &()).await.unwrap_err());
    assert_eq!((refused.code, refused.status), (api::ProblemCode::Config, 422));
    assert_eq!(refused.findings.len(), 1);
    assert_eq!(refused.rendered.as_deref(), Some("error[PS0001]"));
    let test = api::RouteTest { url: "x".to_owned(), ..api::RouteTest::default() };
    let refused = problem(client.post::<Value>(path::ROUTE_TEST, &test).await.unwrap_err());
    assert_eq!(refused.detail.as_deref(), Some("that is no path"));
    let refused = problem(client.get::<Value>("/v1/nothing", &()).await.unwrap_err());
    assert_eq!(refused.code, api::ProblemCode::NotFound);
    let refused = problem(client.get::<Value>(path::STOP, &()).await.unwrap_err());
    assert_eq!(refused.code, api::ProblemCode::MethodNotAllowed);
    let query = api::LogQuery { filter: Some("colour == red".to_owned()), ..Default::default() };
    let refused = problem(client.get::<Value>(path::LOGS, &query).await.unwrap_err());
    assert_eq!(refused.code, api::ProblemCode::BadRequest);
    served.end().await;
}

#[tokio::test]
async fn plain_curl_can_ask() {
    let served = Served::start(Pretended::default());
    let reply = raw(served.socket(), "GET /v1/routes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains("proxy-stone-api: 1\r\n"), "{reply}");
    assert!(reply.contains("content-type: application/json\r\n"), "{reply}");
    let reply = raw(served.socket(), "NONSENSE\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    served.end().await;
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_refused() {
    let served = Served::start(Pretended::default());
    let big = serde_json::json!({"grace_ms": 1, "padding": "x".repeat(2 << 20)});
    let error = served.client().post::<Value>(path::STOP, &big).await.unwrap_err();
    // The server stops reading; whether its refusal still arrives is up to the system.
    assert!(matches!(error, Error::Problem(_) | Error::Broken(_)), "{error:?}");
    assert_eq!(*served.control.stopped.lock(), None);
    served.end().await;
}

#[tokio::test]
async fn a_missing_a_dead_and_a_silent_instance_are_told_apart() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let temp = tempfile::tempdir().unwrap();
    let ask = async |socket: &Path, timeout: Duration| {
        Client::new(socket, timeout).unwrap().get::<Value>(path::STATUS, &()).await.unwrap_err()
    };
    let missing = ask(&temp.path().join("none.sock"), Duration::from_secs(10)).await;
    assert!(matches!(missing, Error::NotRunning(_)), "{missing:?}");
    let dead = temp.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let stale = ask(&dead, Duration::from_secs(10)).await;
    assert!(matches!(stale, Error::Stale(_)), "{stale:?}");
    let silent = temp.path().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let late = ask(&silent, Duration::from_millis(20)).await;
    assert!(matches!(late, Error::TimedOut(_)), "{late:?}");
}

#[tokio::test]
async fn another_version_is_not_understood_by_chance() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let temp = tempfile::tempdir().unwrap();
    let socket = temp.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let reply = b"HTTP/1.1 200 OK\r\nproxy-stone-api: 9\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(reply).await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = Client::new(&socket, Duration::from_secs(10)).unwrap();
    let error = client.get::<Value>(path::STATUS, &()).await.unwrap_err();
    assert!(matches!(&error, Error::Version { theirs } if theirs == "9"), "{error:?}");
}

fn finished(target: &str, status: u16) -> Finished {
    Finished {
        session: None,
        id: RequestId::Given(target.into()),
        at: Timestamp::from_secs(1000),
        duration: Duration::from_millis(5),
        first_byte: Duration::from_millis(4),
        client: [127, 0, 0, 1].into(),
        protocol: Protocol::Http11,
        method: Method::GET,
        host: "a.example".into(),
        target: target.into(),
        status,
        route: Some("all".into()),
        series: Series::default(),
        upstream: None,
        endpoint: None,
        attempts: 0,
        upstream_first_byte: None,
        cache: CacheOutcome::Hit,
        received: 0,
        sent: 10,
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

#[tokio::test]
async fn logs_follow_without_gap_or_repetition_and_end_with_the_instance() {
    let served = Served::start(Pretended::default());
    let client = served.client();
    let telemetry = served.admin.telemetry.clone();
    let query =
        api::LogQuery { filter: Some("status >= 500".to_owned()), follow: true, ..api::LogQuery::default() };
    telemetry.finished(&finished("/before", 500));
    let mut lines = client.lines(path::LOGS, &query).await.unwrap();
    let mut next = async || match lines.next::<api::LogLine>().await.unwrap() {
        Some(api::LogLine::Exchange(record)) => Some(record.target),
        Some(api::LogLine::Missed { missed }) => panic!("missed {missed}"),
        None => None,
    };
    assert_eq!(next().await.as_deref(), Some("/before"));
    telemetry.finished(&finished("/fine", 200));
    telemetry.finished(&finished("/after", 503));
    assert_eq!(next().await.as_deref(), Some("/after"));
    served.admin.closing.cancel();
    assert_eq!(next().await, None);
    served.end().await;
}

#[tokio::test]
async fn metrics_come_as_json_as_text_and_as_a_stream() {
    let served = Served::start(Pretended::default());
    let client = served.client();
    served.admin.telemetry.finished(&finished("/", 200));
    let snapshot: Snapshot = client.get(path::METRICS, &()).await.unwrap();
    assert_eq!(snapshot.total.requests, 1);
    let text = client.text(path::OPENMETRICS, &()).await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let query = api::WatchQuery { interval_ms: Some(100) };
    let mut lines = client.lines(path::METRICS_WATCH, &query).await.unwrap();
    for _ in 0..2 {
        let snapshot: Snapshot = lines.next().await.unwrap().unwrap();
        assert_eq!(snapshot.total.requests, 1);
    }
    served.end().await;
}
