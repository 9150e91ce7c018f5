//! Every command against the running instance, in every format.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, finish, get};

/// A proxy in front of users, files and failures; what it was asked for is stored.
struct Scene {
    place: Place,
    proxy: Proxy,
    origin: Origin,
}

const STORED: usize = 5;

fn scene() -> Scene {
    let place = Place::new();
    let origin = Origin::new(|asked| match asked.target.as_str() {
        "/fail" => Answer { status: 500, ..Answer::new("broken") },
        "/private" => Answer::new("mine").with("Cache-Control", "no-store"),
        target => Answer::fresh(vec![b'x'; target.len() * 100], 600)
            .with("Content-Type", "text/plain")
            .with("Surrogate-Key", format!("all {}", target.trim_start_matches("/users/"))),
    });
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"{}\"\n[[routes]]\nname = \"users\"\nmatch = {{ path = \"/users/*\", methods = [\"GET\"] }}\n",
            origin.url()
        ),
    );
    proxy.store_is(&place, "open");
    for target in [
        "/users/1",
        "/users/2",
        "/users/33333333",
        "/file,with-marks",
        "/file/b",
        "/users/1",
        "/fail",
        "/private",
    ] {
        get(proxy.address, target);
    }
    let scene = Scene { place, proxy, origin };
    eventually("all is stored", || (scene.place.items(&["cache", "ls"]).len() == STORED).then_some(()));
    scene
}

/// The values of one field.
fn each<'i>(items: &'i [Value], field: &str) -> Vec<&'i Value> {
    items.iter().map(|item| &item[field]).collect()
}

#[test]
fn every_command_prints_in_every_format() {
    let scene = scene();
    let url = "http://stone.test/users/1";
    for args in [
        &["status"][..],
        &["cache", "ls"],
        &["cache", "show", url],
        &["cache", "stats"],
        &["cache", "gc", "--dry-run"],
        &["cache", "purge", "--all", "--dry-run"],
        &["route", "ls"],
        &["route", "test", "GET", url],
        &["upstream", "ls"],
        &["logs"],
        &["metrics"],
    ] {
        let print = |format: &str| scene.place.print(&[args, &["-o", format]].concat());
        let items = scene.place.items(args);
        assert!(!items.is_empty() && items.iter().all(Value::is_object), "{args:?}: {items:?}");
        let lines: Vec<Value> =
            print("ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), items.len(), "{args:?}");
        assert_eq!(keys(&lines[0]), keys(&items[0]), "{args:?}");
        let csv = print("csv");
        let columns = fields(csv.lines().next().unwrap());
        assert!(columns.len() > 2, "{args:?}: {csv}");
        // A test of a route is one document, and a row a route.
        let rows = items[0]["verdicts"].as_array().unwrap_or(&items).len();
        assert_eq!(csv.lines().count(), rows + 1, "{args:?}: {csv}");
        assert!(csv.lines().all(|line| fields(line).len() == columns.len()), "{args:?}: {csv}");
        let (table, wide) = (print("table"), print("wide"));
        assert!(!table.contains('\u{1b}') && wide.len() >= table.len(), "{args:?}: {table}{wide}");
    }
}

fn keys(item: &Value) -> Vec<&String> {
    item.as_object().unwrap().keys().collect()
}

/// The fields of a line as RFC 4180 writes them.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.trim_end().chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "{line}");
    fields
}

#[test]
fn cache_ls_chooses_sorts_and_cuts() {
    let Scene { place, .. } = &scene();
    let urls = |args: &[&str]| -> Vec<String> {
        let items = place.items(&[&["cache", "ls"], args].concat());
        items
            .iter()
            .map(|item| item["url"].as_str().unwrap().strip_prefix("http://stone.test").unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        urls(&["--sort-by", "url"]),
        ["/file,with-marks", "/file/b", "/users/1", "/users/2", "/users/33333333"]
    );
    assert_eq!(urls(&["--sort-by", "-size", "--limit", "2"]), ["/file,with-marks", "/users/33333333"]);
    assert_eq!(
        urls(&["--prefix", "/users/", "--sort-by", "url"]),
        ["/users/1", "/users/2", "/users/33333333"]
    );
    assert_eq!(urls(&["--tag", "2"]), ["/users/2"]);
    assert_eq!(urls(&["--url", "http://stone.test/file/b"]), ["/file/b"]);
    assert_eq!(urls(&["--route", "users"]).len(), 3);
    assert_eq!(urls(&["--glob", "*/file*", "--sort-by", "url"]), ["/file,with-marks", "/file/b"]);
    assert_eq!(urls(&["--host", "elsewhere"]), [""; 0]);
    assert_eq!(
        urls(&["--filter", "path ~ /users/* and size < 1KB", "--sort-by", "stored"]),
        ["/users/1", "/users/2"]
    );
    assert_eq!(urls(&["--filter", "state == stale"]), [""; 0]);

    let text = place.print(&["cache", "ls", "--columns", "status,size,url", "--sort-by", "url"]);
    assert_eq!(
        text.lines().nth(2).unwrap().split('\t').collect::<Vec<_>>(),
        ["200", "700 B", "http://stone.test/file/b"]
    );
    let quiet = place.print(&["cache", "ls", "--columns", "url", "-q"]);
    assert_eq!(quiet.lines().count(), STORED);
    assert_eq!(place.run(&["cache", "ls", "--columns", "colour"]).code, 2);
    assert_eq!(place.run(&["cache", "ls", "--sort-by", "colour"]).code, 2);
    assert_eq!(place.run(&["cache", "ls", "--all", "--tag", "x"]).code, 2);
}

#[test]
fn cache_ls_pages_through_more_than_one_page() {
    const MANY: usize = 2100;
    let place = Place::new();
    let origin = Origin::new(|asked| Answer::fresh(asked.target.clone(), 600));
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    let mut client = Client::connect(proxy.address).unwrap();
    for number in 0..MANY {
        client.get(&format!("/{number}")).unwrap();
    }
    for sort in [&[][..], &["--sort-by", "url"], &["--sort-by", "-stored"]] {
        let args = [&["cache", "ls"], sort].concat();
        let items =
            eventually("all is listed", || Some(place.items(&args)).filter(|items| items.len() >= MANY));
        let mut urls: Vec<_> = each(&items, "url").into_iter().map(|url| url.as_str().unwrap()).collect();
        assert_eq!(items.len(), MANY);
        urls.sort_unstable();
        urls.dedup();
        assert_eq!(urls.len(), MANY, "{sort:?}");
    }
    // A reader that goes away is a quiet end.
    let mut child = place.command(&["cache", "ls", "-o", "ndjson"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(serde_json::from_str::<Value>(&first).is_ok(), "{first}");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn cache_show_takes_a_url_or_a_key() {
    let Scene { place, .. } = &scene();
    let url = "http://stone.test/users/2";
    let shown = place.items(&["cache", "show", url]).remove(0);
    assert_eq!(shown["url"], url);
    assert_eq!(shown["status"], 200);
    assert_eq!(shown["lifetime_from"], "max-age");
    assert_eq!(shown["route"], "users");
    assert_eq!(shown["tags"], serde_json::json!(["all", "2"]));
    assert!(shown["headers"].as_array().unwrap().iter().any(|field| field[0] == "content-type"), "{shown}");
    let key = shown["key"].as_str().unwrap();
    let again = place.items(&["cache", "show", key]).remove(0);
    assert_eq!(again["url"], url);
    let text = place.print(&["cache", "show", key]);
    assert!(text.contains(url) && text.contains("content-type: text/plain"), "{text}");
    for unknown in ["http://stone.test/never", "00000000000000000000000000000000"] {
        let output = place.run(&["cache", "show", unknown]);
        assert_eq!((output.code, output.errors().len()), (4, 1), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn cache_stats_counts() {
    let Scene { place, proxy, .. } = &scene();
    let stats = eventually("all is on disk", || {
        let stats = place.items(&["cache", "stats"]).remove(0);
        (stats["disk_entries"] == STORED).then_some(stats)
    });
    assert_eq!(stats["state"], "open");
    assert_eq!(stats["inserts"], STORED);
    assert_eq!(stats["memory_hits"], 1);
    get(proxy.address, "/users/1");
    assert_eq!(place.items(&["cache", "stats"])[0]["memory_hits"], 2);
    let text = place.print(&["cache", "stats", "--columns", "disk_entries"]);
    assert!(text.contains(&STORED.to_string()), "{text}");
}

#[test]
fn route_ls_and_test_tell_which_route_takes_it() {
    let Scene { place, .. } = &scene();
    let routes = place.items(&["route", "ls"]);
    assert_eq!(each(&routes, "name"), ["users", "default"]);
    assert_eq!(routes[0]["paths"], serde_json::json!(["/users/*"]));
    let url = "http://stone.test/users/7";
    let told = place.items(&["route", "test", "GET", url]).remove(0);
    assert_eq!((&told["route"], &told["upstream"]), (&"users".into(), &"default".into()));
    let told = place.items(&["route", "test", "POST", url]).remove(0);
    assert_eq!(told["route"], "default");
    let not =
        told["verdicts"].as_array().unwrap().iter().find(|verdict| verdict["route"] == "users").unwrap();
    assert_eq!((&not["matches"], &not["taken"]), (&false.into(), &false.into()));
    assert!(not["reason"].as_str().unwrap().contains("POST"), "{not}");
    let text = place.print(&["route", "test", "POST", url]);
    assert!(text.contains("default") && text.contains(not["reason"].as_str().unwrap()), "{text}");
    assert_eq!(place.run(&["route", "test", "GET", "::"]).code, 2);
}

#[test]
fn upstream_ls_tells_how_endpoints_do() {
    let Scene { place, origin, .. } = &scene();
    let rows = place.items(&["upstream", "ls"]);
    assert_eq!(rows.len(), 1);
    assert!(rows[0]["endpoint"].as_str().unwrap().contains(&origin.address.to_string()), "{rows:?}");
    assert_eq!(rows[0]["state"], "up");
    assert_eq!(rows[0]["requests"], 7);
    assert_eq!(rows[0]["failures"], 0);
}

#[test]
fn logs_are_filtered() {
    let Scene { place, .. } = &scene();
    let targets = |args: &[&str]| -> Vec<String> {
        let items = place.items(&[&["logs"], args].concat());
        items.iter().map(|item| item["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets(&[]).len(), 8);
    assert_eq!(targets(&["--filter", "status == 5xx"]), ["/fail"]);
    assert_eq!(targets(&["--filter", "route == users and cache == hit"]), ["/users/1"]);
    assert_eq!(targets(&["--filter", "not (route == users) and path =~ '^/f.*b$'"]), ["/file/b"]);
    assert_eq!(targets(&["--filter", "method == GET and duration < 10m", "-n", "3"]).len(), 3);
    assert_eq!(targets(&["--since", "1h"]).len(), 8);
    assert_eq!(targets(&["--since", "2999-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(targets(&["--until", "1h"]), [""; 0]);
    let text = place.print(&["logs", "--filter", "path == /private"]);
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn logs_can_be_followed() {
    let Scene { place, proxy, .. } = &scene();
    let mut child = place
        .command(&["logs", "-f", "-o", "ndjson", "-n", "1", "--filter", "path ~ /users/*"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["target"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "/users/1");
    // One after the other is heard of: the order of several workers' requests is not kept.
    get(proxy.address, "/users/new");
    assert_eq!(next(), "/users/new");
    get(proxy.address, "/file/b");
    get(proxy.address, "/users/2");
    assert_eq!(next(), "/users/2");
    place.print(&["stop"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended the stream"));
    assert_eq!(place.run(&["logs", "-f", "-o", "json"]).code, 2);
}

#[test]
fn metrics_have_a_row_for_each_route_and_upstream() {
    let Scene { place, .. } = &scene();
    let rows = place.items(&["metrics"]);
    let row = |kind: &str, name: &str| {
        let found = rows.iter().find(|row| row["kind"] == kind && row["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name}: {rows:?}"))
    };
    assert_eq!(row("route", "users")["requests"], 4);
    assert_eq!(row("route", "users")["hit_ratio"], 0.25);
    assert_eq!(row("route", "default")["errors"], 1);
    assert_eq!(row("upstream", "default")["requests"], 7);
    assert!(row("route", "users")["p50_us"].as_u64().unwrap() > 0);
    let text = place.print(&["metrics", "--sort-by", "-requests"]);
    for wanted in ["REQUESTS", "RATE", "HIT_RATIO", "P50", "P90", "P99", "users"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let open = place.print(&["metrics", "-o", "openmetrics"]);
    assert!(open.ends_with("# EOF\n") && open.contains("proxy_stone_requests_total{"), "{open}");
    assert_eq!(place.run(&["metrics", "-w", "-o", "openmetrics"]).code, 2);
}

#[test]
fn metrics_can_be_watched_in_a_pipe() {
    let Scene { place, proxy, .. } = &scene();
    let mut child = place.command(&["metrics", "-w", "--interval", "100ms", "-o", "ndjson"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        get(proxy.address, "/users/1");
        let line = lines.next().unwrap().unwrap();
        assert!(serde_json::from_str::<Value>(&line).unwrap().is_object(), "{line}");
    }
    // Nobody reads on: it ends by itself, quietly.
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_wrong_filter_is_a_usage_error_with_a_caret() {
    let Scene { place, .. } = &scene();
    for (command, filter) in [
        (&["logs"][..], "stauts == 500"),
        (&["logs", "-f"], "status is 500"),
        (&["logs"], "duration > soon"),
        (&["cache", "ls"], "sice > 1KB"),
        (&["cache", "ls"], "size >"),
        (&["cache", "ls"], "path =~ '('"),
    ] {
        let output = place.run(&[command, &["--filter", filter]].concat());
        assert_eq!(output.code, 2, "{filter}: {output:?}");
        assert!(output.stderr.contains('^') && output.stderr.contains(filter), "{output:?}");
        assert_eq!(output.stdout, "");
    }
    let output = place.run(&["logs", "--filter", "stauts == 500"]);
    assert!(output.stderr.contains("status"), "{output:?}");
}

#[test]
fn without_an_instance_every_command_says_how_to_start_one() {
    let place = Place::new();
    for args in [
        &["status"][..],
        &["reload"],
        &["stop"],
        &["cache", "ls"],
        &["cache", "show", "http://a/"],
        &["cache", "purge", "--all", "-y"],
        &["cache", "stats"],
        &["route", "ls"],
        &["route", "test", "GET", "http://a/"],
        &["upstream", "ls"],
        &["limit", "ls"],
        &["limit", "stats"],
        &["limit", "reset", "--all"],
        &["logs"],
        &["logs", "-f"],
        &["metrics"],
        &["metrics", "-o", "openmetrics"],
    ] {
        let output = place.run(args);
        assert_eq!((output.code, output.errors().len()), (5, 1), "{args:?}: {output:?}");
        assert!(output.stderr.contains("proxy-stone serve"), "{args:?}: {output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn an_instance_that_does_not_answer_is_a_timeout() {
    let place = Place::new();
    let _silent = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    let output = place.run(&["status", "--timeout", "200ms"]);
    assert_eq!((output.code, output.errors().len()), (7, 1), "{output:?}");
}

#[test]
fn two_instances_side_by_side() {
    let (one, two) = (scene(), Place::new());
    let origin = Origin::new(|_| Answer::new("two"));
    let second = Proxy::before(&two, &origin.url());
    let mut command =
        two.command(&["status", "-o", "json", "--socket", one.place.socket().to_str().unwrap()]);
    command.env_remove("PROXY_STONE_SOCKET");
    let output = finish(command);
    assert!(output.stdout.contains(&format!("\"pid\":{}", one.proxy.pid())), "{output:?}");
    assert_eq!(second.status(&two)["pid"], second.pid());
}
