//! `cache warm` and `cache refresh` against the running instance.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Answer, Gate, Origin, Place, Proxy, code, eventually, get};

/// Pages, a sitemap of them, and things that go wrong.
fn origin() -> (Origin, Arc<AtomicUsize>) {
    let version = Arc::new(AtomicUsize::new(1));
    let told = version.clone();
    let origin = Origin::new(move |asked| match asked.target.as_str() {
        "/fail" => Answer { status: 500, ..Answer::new("broken") },
        "/private" => Answer::new("mine").with("Cache-Control", "no-store"),
        "/vary" => Answer::fresh("a", 600).with("Vary", "Accept-Language"),
        "/map.xml" => Answer::new(
            "<urlset><url><loc>https://www.example.com/page/1</loc></url>\
             <url><loc>https://www.example.com/page/2?a=1&amp;b=2</loc></url></urlset>",
        ),
        "/index.xml" => Answer::new(
            "<sitemapindex><sitemap><loc>https://www.example.com/map.xml</loc></sitemap></sitemapindex>",
        ),
        "/changing" => Answer::fresh(format!("version {}", told.load(Ordering::SeqCst)), 600),
        target => Answer::fresh(target.to_owned(), 600),
    });
    (origin, version)
}

fn scene() -> (Place, Proxy, Origin, Arc<AtomicUsize>) {
    let (origin, version) = origin();
    let place = Place::new();
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    (place, proxy, origin, version)
}

/// `result` and `reason` of each URL.
fn results(items: &[Value]) -> Vec<(String, String, String)> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> =
        items.iter().map(|item| (text(item, "url"), text(item, "result"), text(item, "reason"))).collect();
    all.sort();
    all
}

#[test]
fn a_warmed_url_is_a_hit_for_clients_and_no_traffic() {
    let (place, proxy, origin, _) = scene();
    let at = |path: &str| format!("http://stone.test{path}");
    let list = [at("/a"), at("/b"), at("/private"), at("/fail"), at("/a")].join("\n");
    let file = place.write("urls.txt", &list);
    let file = file.to_str().unwrap();
    let warm = ["cache", "warm", "--list", file, "--concurrency", "1", "--each", "-o", "json"];
    let output = place.run(&warm);
    assert_eq!(output.code, 8, "{output:?}");
    assert!(output.stderr.contains("1 of 5 could not be done"), "{output:?}");
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let items = document["items"].as_array().unwrap();
    let got: Vec<_> =
        items.iter().map(|item| (item["result"].as_str().unwrap(), item["reason"].as_str())).collect();
    assert_eq!(
        got,
        [
            ("stored", None),
            ("stored", None),
            ("not-stored", Some("no-store")),
            ("failed", Some("the origin said 500")),
            ("hit", None)
        ]
    );
    // No client has asked yet.
    let status = proxy.status(&place);
    assert_eq!(status["connections"]["finished"], 0);
    let logged = place.items(&["logs", "--filter", "protocol == internal"]);
    assert_eq!(logged.len(), 5);
    let reply = get(proxy.address, "/a");
    assert!(reply.is_hit(), "{}", reply.header("cache-status"));
    assert_eq!(origin.hits("/a"), 1);
    // Again: what is fresh is a hit, so that a run that was broken off goes on where it ended.
    let output = place.run(&["cache", "warm", "--list", file, "--columns", "result,requests,reason"]);
    assert_eq!(output.code, 8);
    let rows: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        rows,
        [
            "RESULT\tREQUESTS\tREASON",
            "failed\t1\tthe origin said 500",
            "hit\t3\t-",
            "not-stored\t1\tno-store"
        ]
    );
}

#[test]
fn sitemaps_logs_and_entries_give_urls_too() {
    let (place, proxy, origin, _) = scene();
    let base = format!("http://{}", proxy.address);
    let warm = |args: &[&str]| {
        let output = place.run(&[&["cache", "warm", "--each", "-o", "json", "--base", &base], args].concat());
        assert_eq!(output.code, 0, "{output:?}");
        let document: Value = serde_json::from_str(&output.stdout).unwrap();
        results(document["items"].as_array().unwrap())
    };
    let stored = |path: &str| (format!("{base}{path}"), "stored".to_owned(), String::new());
    let map = format!("{base}/index.xml");
    assert_eq!(warm(&["--sitemap", &map]), [stored("/page/1"), stored("/page/2?a=1&b=2")]);
    assert_eq!(origin.hits("/page/2?a=1&b=2"), 1);
    let log = place.write(
        "access.log",
        "2026-01-01T00:00:00.000Z 192.0.2.7 \"GET x.example /once HTTP/1.1\" 200 5 1.000ms hit r - id\n\
         {\"method\":\"GET\",\"host\":\"x.example\",\"target\":\"/often\",\"protocol\":\"HTTP/2\",\"status\":200}\n\
         {\"method\":\"GET\",\"host\":\"x.example\",\"target\":\"/often\",\"protocol\":\"HTTP/2\",\"status\":200}\n",
    );
    let log = log.to_str().unwrap();
    assert_eq!(warm(&["--log", log, "--limit", "1"]), [stored("/often")]);
    assert_eq!(place.run(&["cache", "purge", "--url", &format!("{base}/often"), "--soft", "-y"]).code, 0);
    let entries = warm(&["--entries"]);
    assert!(entries.contains(&stored("/often")), "{entries:?}");
    assert!(entries.iter().any(|(url, result, _)| url.ends_with("/page/1") && result == "hit"));
}

#[test]
fn a_refresh_asks_anew_and_tells_what_changed() {
    let (place, proxy, origin, version) = scene();
    for path in ["/a", "/changing", "/vary"] {
        get(proxy.address, path);
    }
    eventually("all is stored", || (place.items(&["cache", "ls"]).len() == 3).then_some(()));
    version.store(2, Ordering::SeqCst);
    let at = |path: &str| format!("http://stone.test{path}");
    let refresh = |args: &[&str]| {
        let output = place.run(&[&["cache", "refresh", "--each", "-o", "json"], args].concat());
        let document: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let items = document["items"].as_array().cloned().unwrap_or_default();
        (output.code, results(&items))
    };
    let row = |path: &str, result: &str, reason: &str| (at(path), result.to_owned(), reason.to_owned());
    // A variant that was asked for without the field can be asked for again.
    let expected =
        [row("/a", "unchanged", ""), row("/changing", "changed", ""), row("/vary", "unchanged", "")];
    assert_eq!(refresh(&["--all"]), (0, expected.to_vec()));
    assert_eq!(origin.hits("/a"), 2);
    assert_eq!(get(proxy.address, "/changing").text(), "version 2");
    assert_eq!(origin.hits("/changing"), 2);
    // One that was asked for with the field needs the field.
    assert_eq!(place.run(&["cache", "purge", &at("/vary"), "-y"]).code, 0);
    let german = ["-H", "accept-language: de"];
    assert_eq!(place.run(&[&["cache", "warm", &at("/vary")], &german[..]].concat()).code, 0);
    let why = "needs the request fields that it varies on: accept-language";
    assert_eq!(refresh(&[&at("/vary")]), (8, vec![row("/vary", "skipped", why)]));
    assert_eq!(
        refresh(&[&[at("/vary").as_str()], &german[..]].concat()),
        (0, vec![row("/vary", "unchanged", "")])
    );
    assert_eq!(refresh(&["--tag", "nobody"]).0, 4);
}

#[test]
fn an_interrupted_run_ends_in_the_instance_too() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::new(move |asked| {
        waiting.pass();
        Answer::fresh(asked.target.clone(), 600)
    });
    let place = Place::new();
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    let list: String = (0..400).map(|n| format!("http://{}/n/{n}\n", proxy.address)).collect();
    let file = place.write("urls.txt", &list);
    let mut warm =
        place.command(&["cache", "warm", "--list", file.to_str().unwrap(), "--concurrency", "2", "-q"]);
    let mut child = warm.stdout(Stdio::piped()).spawn().unwrap();
    gate.await_arrivals(2);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(code(child.wait().unwrap()), 130);
    // Nobody waits for them any more: both exchanges are dropped, and none follows.
    let aborted = ["logs", "--filter", "protocol == internal and end == client_aborted"];
    eventually("the exchanges end", || (place.items(&aborted).len() == 2).then_some(()));
    gate.open();
    assert_eq!(get(proxy.address, "/after").text(), "/after");
    assert_eq!((2..400).map(|n| origin.hits(&format!("/n/{n}"))).sum::<usize>(), 0);
    assert_eq!(place.items(&["logs", "--filter", "protocol == internal"]).len(), 2);
}
