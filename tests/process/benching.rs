//! `bench`: what it asks for, what it says of stalls, errors and its own limits, and how it ends.

use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Answer, Gate, Origin, Output, Place, Proxy, code, eventually, finish};

/// Runs `bench`; the report, whatever the exit code.
#[track_caller]
fn bench(place: &Place, args: &[&str]) -> (i32, Value, String) {
    let output = place.run(&[&["bench", "-o", "json"], args].concat());
    (output.code, report(&output), output.stderr)
}

#[track_caller]
fn report(output: &Output) -> Value {
    let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(document["version"], 1);
    document["items"][0].clone()
}

fn findings(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn failed(report: &Value, kind: &str) -> u64 {
    let rows = report["failures"].as_array().unwrap();
    rows.iter().filter(|row| row["kind"] == kind).map(|row| row["count"].as_u64().unwrap()).sum()
}

/// How many took longer than this.
fn longer_than(report: &Value, micros: f64) -> u64 {
    let buckets = report["distribution"].as_array().unwrap();
    let beyond = buckets.iter().filter(|bucket| bucket["up_to_us"].as_f64().unwrap() > micros);
    beyond.map(|bucket| bucket["count"].as_u64().unwrap()).sum()
}

#[test]
fn a_closed_loop_makes_as_many_requests_as_it_was_told() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("0123456789"));
    let (a, b) = (format!("{}/a", origin.url()), format!("{}/b?x=1", origin.url()));
    let (code, report, said) = bench(&place, &[&a, &b, "-n", "201", "-c", "4", "-t", "2"]);
    assert_eq!((code, said.as_str()), (0, ""), "{report}");
    assert_eq!(origin.hits("/a") + origin.hits("/b?x=1"), 201);
    assert!(origin.hits("/a").abs_diff(origin.hits("/b?x=1")) <= 2, "the URLs are taken in turn");
    assert_eq!(
        (&report["requests"], &report["replies"], &report["errors"]),
        (&201.into(), &201.into(), &0.into())
    );
    assert_eq!((&report["statuses"], &report["bytes"]), (&json!({"200": 201}), &2010.into()));
    assert_eq!(report["connecting"]["opened"], 4, "connections are kept");
    assert_eq!(
        (&report["loop"], &report["protocol"], &report["cache"]),
        (&"closed".into(), &"HTTP/1.1".into(), &Value::Null)
    );
    let latency = &report["latency"];
    assert_eq!((&latency["count"], longer_than(&report, 0.0)), (&201.into(), 201));
    let times: Vec<f64> =
        ["min_us", "p50_us", "p75_us", "p90_us", "p95_us", "p99_us", "p999_us", "p9999_us", "max_us"]
            .iter()
            .map(|name| latency[name].as_f64().unwrap())
            .collect();
    assert!(times[0] > 0.0 && times.is_sorted(), "{latency}");
    assert!(report["rate"].as_f64().unwrap() > 0.0 && report["seconds"].as_f64().unwrap() > 0.0);
    // A busy machine may have its own word.
    assert!(findings(&report).contains(&"few-samples"), "{report}");
}

/// An origin that is silent for a while, once, to all who ask; from its 50th request on.
fn stalls_once(stall: Duration) -> Origin {
    let asked = AtomicUsize::new(0);
    let door = Mutex::new(());
    Origin::new(move |_| {
        let guard = door.lock().unwrap();
        if asked.fetch_add(1, SeqCst) == 50 {
            std::thread::sleep(stall);
        }
        drop(guard);
        Answer::new("x")
    })
}

const STALL: Duration = Duration::from_millis(1500);

#[test]
fn at_a_fixed_rate_all_who_would_have_come_see_a_stall() {
    let place = Place::new();
    let origin = stalls_once(STALL);
    let (code, report, _) = bench(&place, &[&origin.url(), "-n", "400", "-c", "4", "--rate", "200"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!((&report["replies"], &report["loop"]), (&400.into(), &"open".into()));
    // 200 a second were due in the first half second of the stall, each waited a second or more.
    assert!(longer_than(&report, 1e6) >= 95, "{report}");
    let latency = &report["latency"];
    assert!(latency["p999_us"].as_f64().unwrap() >= 1.4e6, "{latency}");
    assert!(
        latency["p75_us"].as_f64().unwrap() >= 5e5,
        "it shows in much more than the last thousandth: {latency}"
    );
}

#[test]
fn a_closed_loop_asks_nothing_during_a_stall() {
    let place = Place::new();
    let origin = stalls_once(STALL);
    let (_, report, _) = bench(&place, &[&origin.url(), "-n", "400", "-c", "4"]);
    let slow = longer_than(&report, 1e6);
    assert!((1..=4).contains(&slow), "one for each connection: {report}");
}

#[test]
fn a_rate_that_is_not_reached_is_a_finding() {
    let place = Place::new();
    let gate = Gate::default();
    let passed = gate.clone();
    let origin = Origin::new(move |_| {
        passed.pass();
        Answer::new("late")
    });
    let url = origin.url();
    let load = ["-c", "1", "--rate", "100", "-d", "1s", "--timeout", "400ms"];
    let (code, report, said) = bench(&place, &[&[&*url], &load[..]].concat());
    assert_eq!(code, 9, "nothing was answered: {report}");
    assert!(said.contains("no request was answered") && said.contains("no whole reply in time"), "{said}");
    assert_eq!(
        (&report["requests"], &report["errors"], &report["replies"]),
        (&100.into(), &100.into(), &0.into())
    );
    assert_eq!(failed(&report, "timeout") + failed(&report, "unsent"), 100, "{report}");
    assert!(failed(&report, "timeout") >= 1 && failed(&report, "unsent") >= 90, "{report}");
    assert_eq!(report["latency"]["at_least"], 100);
    assert!(report["latency"]["max_us"].as_f64().unwrap() >= 4e5, "time-outs count with what they waited");
    assert!(report["sent_rate"].as_f64().unwrap() < 10.0);
    assert!(findings(&report).starts_with(&["rate-not-reached"]), "{report}");
    let rule = ["--fail-if", "errors>0.1%", "--fail-if", "p99>1h"];
    assert_eq!(
        place.run(&[&["bench", &url], &load[..], &rule[..]].concat()).code,
        2,
        "hours are no unit of latency"
    );
    let (code, report, said) = bench(&place, &[&[&*url], &load[..], &rule[..2]].concat());
    assert_eq!((code, &report["thresholds"][0]["value"]), (1, &1.0.into()), "{said}");
    gate.open();
}

#[test]
fn rules_set_the_exit_code() {
    let place = Place::new();
    let origin = Origin::new(|asked| Answer {
        status: if asked.target == "/bad" { 503 } else { 200 },
        ..Answer::new("x")
    });
    let (good, bad) = (format!("{}/good", origin.url()), format!("{}/bad", origin.url()));
    let rules =
        ["--fail-if", "errors>0.1%", "--fail-if", "p99.9>20s", "--fail-if", "rps<=0", "--fail-if", "4xx>0"];
    let (code, report, said) = bench(&place, &[&[&*good, "-n", "20"], &rules[..]].concat());
    assert_eq!((code, said.as_str()), (0, ""), "{report}");
    assert!(report["thresholds"].as_array().unwrap().iter().all(|rule| rule["failed"] == false), "{report}");

    let (code, report, said) = bench(&place, &[&[&*good, &*bad, "-n", "20", "-c", "1"], &rules[..]].concat());
    assert_eq!(code, 1, "{report}");
    assert_eq!(said, "failed: errors>0.1% (measured: 50.000%)\n");
    assert_eq!(
        (&report["thresholds"][0]["rule"], &report["thresholds"][0]["failed"]),
        (&"errors>0.1%".into(), &true.into())
    );
    assert_eq!(report["statuses"], json!({"200": 10, "503": 10}));
    assert!(findings(&report).contains(&"errors-answered"));

    let output = place.run(&["bench", &good, "-n", "20", "--fail-if", "hits<50%"]);
    assert_eq!(output.code, 1, "no reply told of a cache: {output:?}");
    assert!(output.stdout.contains("failed  hits<50%: nothing to measure"), "{output:?}");
}

#[test]
fn replies_that_break_off_are_failures_of_their_kind() {
    let place = Place::new();
    let broken = Arc::new(AtomicUsize::new(0));
    let counted = broken.clone();
    let origin = Origin::raw(move |mut asked| {
        if counted.fetch_add(1, SeqCst).is_multiple_of(2) {
            return asked.answer(&Answer::new("whole"));
        }
        asked.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot so many")?;
        Err(std::io::ErrorKind::Other.into())
    });
    let (code, report, _) = bench(&place, &[&origin.url(), "-n", "10", "-c", "1"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!((&report["replies"], failed(&report, "closed")), (&5.into(), 5), "{report}");
    assert_eq!((&report["requests"], &report["error_ratio"]), (&10.into(), &0.5.into()));
    assert_eq!(report["latency"]["count"], 5, "what failed at once was not fast");
    assert!(report["connecting"]["opened"].as_u64().unwrap() >= 5, "and is followed by another connection");
}

#[test]
fn method_fields_and_content_are_sent_as_told() {
    let place = Place::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let origin = Origin::raw(move |mut asked| {
        let mut body = Vec::new();
        asked.read_body(|bytes| body.extend_from_slice(bytes))?;
        let field = |name| asked.header(name).unwrap_or_default().to_owned();
        let what = (asked.method.clone(), field("x-key"), field("host"), String::from_utf8(body).unwrap());
        noted.lock().unwrap().push(what);
        asked.answer(&Answer::new("ok"))
    });
    let told = |method: &str, host: &str, body: &str| (method.into(), "k".into(), host.into(), body.into());
    let own = origin.address.to_string();
    place.write("content", "from a file");
    let url = origin.url();
    let common = ["-n", "1", "-c", "1", "-H", "X-Key: k"];
    for (args, wanted) in [
        (&["--data", "a=b"][..], told("POST", &own, "a=b")),
        (&["-X", "PUT", "--data", "@content"], told("PUT", &own, "from a file")),
        (&["-H", "Host: b.example"], told("GET", "b.example", "")),
    ] {
        let (code, report, _) = bench(&place, &[&[&*url], &common[..], args].concat());
        assert_eq!(code, 0, "{report}");
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [wanted]);
    }
    // One connection for each request, if asked for.
    let (_, report, _) = bench(&place, &[&url, "-n", "5", "-c", "1", "-H", "Connection: close"]);
    assert_eq!((&report["replies"], &report["connecting"]["opened"]), (&5.into(), &5.into()), "{report}");
}

#[test]
fn urls_come_from_a_list_and_what_warms_up_is_not_measured() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("x"));
    place.write("list", "# a list\n/a\n{\"url\": \"http://elsewhere.test/b\"}\n");
    let load = ["--urls", "list", "-n", "10", "-c", "1"];
    let (code, report, _) = bench(&place, &[&[&*origin.url()], &load[..]].concat());
    assert_eq!((code, &report["urls"]), (0, &2.into()), "{report}");
    assert_eq!((origin.hits("/a"), origin.hits("/b"), origin.hits("/")), (5, 5, 0));
    let bare = place.run(&[&["bench"], &load[..]].concat());
    assert_eq!(bare.code, 2);
    assert!(bare.stderr.contains("a URL beside --urls"), "{bare:?}");

    let (_, report, _) = bench(&place, &[&origin.url(), "-n", "10", "-c", "1", "--warmup", "100ms"]);
    assert_eq!((&report["requests"], &report["warmup_seconds"]), (&10.into(), &0.1.into()));
    assert!(origin.hits("/") > 10, "the load began before");
}

#[test]
fn a_cache_is_asked_what_it_did() {
    let place = Place::new();
    let origin = Origin::new(|asked| match &*asked.target {
        "/pass" => Answer::new("x").with("Cache-Control", "no-store"),
        _ => Answer::fresh("x", 600),
    });
    let proxy = Proxy::before(&place, &origin.url());
    let url = |path: &str| format!("http://{}{path}", proxy.address);
    let (code, report, _) = bench(&place, &[&url("/a"), "-n", "20", "-c", "1", "--fail-if", "hits<95%"]);
    assert_eq!(code, 0, "{report}");
    let told = json!({"hit": 19, "collapsed": 0, "miss": 1, "pass": 0, "silent": 0, "hit_ratio": 0.95});
    assert_eq!(report["cache"], told);
    let (code, report, _) = bench(&place, &[&url("/b"), "-n", "5", "-c", "1", "-X", "POST", "--data", "x"]);
    assert_eq!((code, &report["cache"]["pass"]), (0, &5.into()), "{report}");
    let text = place.print(&["bench", &url("/a"), "-n", "20"]);
    assert!(text.contains("  cache       100.0% hits (hit: 20)\n"), "{text}");
    assert!(text.contains("  latency  ") && text.contains("\n  errors      none\n"), "{text}");
}

#[test]
fn http2_has_streams_with_prior_knowledge_and_over_tls() {
    let place = Place::new();
    let proxy = Proxy::start(&place, &["--demo", "-l", "127.0.0.1:0"]);
    let url = format!("http://{}/plain", proxy.address);
    let (code, report, _) = bench(&place, &[&url, "--http2", "-c", "2", "--streams", "8", "-n", "400"]);
    assert_eq!((code, &report["replies"]), (0, &400.into()), "{report}");
    assert_eq!((&report["protocol"], &report["tls"]), (&"HTTP/2".into(), &false.into()));
    assert_eq!((&report["connecting"]["opened"], &report["streams"]), (&2.into(), &8.into()));
    let logged = place.items(&["logs", "-n", "1"]);
    assert_eq!(logged[0]["protocol"], "HTTP/2", "{logged:?}");
    let (code, report, _) =
        bench(&place, &[&url, "--http2", "--streams", "4", "-c", "1", "--rate", "200", "-n", "100"]);
    assert_eq!((code, &report["replies"], &report["loop"]), (0, &100.into(), &"open".into()), "{report}");
    let (code, report, _) =
        bench(&place, &[&url, "--http2", "-c", "1", "-n", "3", "--data", &"x".repeat(100_000)]);
    assert_eq!((code, &report["requests"]), (0, &3.into()), "{report}");
    let refused = place.run(&["bench", &url, "--streams", "2"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn tls_is_verified_unless_told_otherwise() {
    let place = Place::new();
    let proxy = Proxy::start(&place, &["--demo", "--dev-tls", "-l", "127.0.0.1:0"]);
    let ca = place.state().join("dev-tls/ca.pem");
    let ca = ca.to_str().unwrap();
    let url = format!("https://localhost:{}/plain", proxy.address.port());
    let refused = place.run(&["bench", &url, "-n", "1"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(refused.stderr.contains("TLS failed") && refused.stderr.contains("--cacert FILE"), "{refused:?}");
    for (args, protocol) in [
        (&["--cacert", ca][..], "HTTP/1.1"),
        (&["--cacert", ca, "--http2", "--streams", "3"], "HTTP/2"),
        (&["-k"], "HTTP/1.1"),
    ] {
        let (code, report, _) = bench(&place, &[&[&*url, "-n", "30", "-c", "2"], args].concat());
        assert_eq!((code, &report["replies"], &report["tls"]), (0, &30.into(), &true.into()), "{report}");
        assert_eq!(report["protocol"], protocol);
        assert_eq!(place.items(&["logs", "-n", "1"])[0]["protocol"], protocol);
    }
}

#[track_caller]
fn interrupt(child: Child) -> (i32, Value) {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let output = Output { code: code(output.status), stdout, stderr };
    (output.code, report(&output))
}

#[test]
fn an_interruption_prints_what_was_measured_by_then() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("x"));
    let child = place.command(&["bench", &origin.url(), "-d", "1h", "-o", "json"]).spawn().unwrap();
    eventually("it has asked a hundred times", || (origin.hits("/") > 100).then_some(()));
    let (code, report) = interrupt(child);
    assert_eq!((code, &report["ended"]), (130, &"interrupted".into()), "{report}");
    assert!(report["replies"].as_u64().unwrap() > 80, "{report}");
    assert!(report["seconds"].as_f64().unwrap() < 60.0 && findings(&report)[0] == "interrupted", "{report}");
}

#[test]
fn what_is_stuck_when_it_is_interrupted_is_not_forgotten() {
    let place = Place::new();
    let (gate, first) = (Gate::default(), AtomicBool::new(true));
    let passed = gate.clone();
    let origin = Origin::new(move |_| {
        if !first.swap(false, SeqCst) {
            passed.pass();
        }
        Answer::new("x")
    });
    let child =
        place.command(&["bench", &origin.url(), "-c", "2", "-d", "1h", "-o", "json"]).spawn().unwrap();
    gate.await_arrivals(2);
    let (code, report) = interrupt(child);
    assert_eq!((code, &report["replies"], failed(&report, "unfinished")), (130, &1.into(), 2), "{report}");
    assert_eq!(report["latency"]["at_least"], 2);
    gate.open();
}

#[test]
fn what_cannot_be_measured_is_told_at_once() {
    let place = Place::new();
    // Bound, and nobody listens.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed = socket.local_addr().unwrap().as_socket().unwrap();
    let refused = place.run(&["bench", &format!("http://{closed}/"), "-d", "1h"]);
    assert_eq!(refused.code, 9);
    let why = ["connection refused", "why: ", "try: start the server"];
    assert!(why.iter().all(|words| refused.stderr.contains(words)), "{refused:?}");
    // So long a label is no name, which needs no server to be known.
    let nowhere = place.run(&["bench", &format!("http://{}.test/", "x".repeat(64)), "-d", "1h"]);
    assert_eq!(nowhere.code, 4, "{nowhere:?}");
    assert!(nowhere.stderr.contains("x.test can't be looked up"), "{nowhere:?}");
}

/// Runs the command of this place under a limit of open files.
fn limited(place: &Place, limit: &str, args: &[&str]) -> Output {
    let inner = place.command(args);
    let mut command = std::process::Command::new("sh");
    let script = format!("ulimit {limit} && exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command
        .current_dir(place.path("."))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    finish(command)
}

#[test]
fn connections_may_be_as_many_as_descriptors_are_allowed() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("x"));
    let args = ["bench", &origin.url(), "-c", "100", "-n", "100", "-t", "2", "--rate", "1000", "-o", "json"];
    let refused = limited(&place, "-n 128", &args);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(refused.stderr.contains("100 connections need more descriptors than the 128"), "{refused:?}");
    assert_eq!(origin.hits("/"), 0);
    let allowed = limited(&place, "-Sn 64", &args);
    let report = report(&allowed);
    assert_eq!((allowed.code, &report["replies"]), (0, &100.into()), "the soft limit is raised: {report}");
    assert_eq!(report["connecting"]["opened_first"], 100);
    assert_eq!(origin.hits("/"), 100, "two threads share the schedule");
}
