//! The listener for machines: metrics, liveness, readiness.

use rustix::process::Signal;

use crate::support::{Answer, Client, Gate, Origin, Place, Proxy, eventually, get};

fn scene(gate: &Gate) -> (Place, Proxy, Origin) {
    let (place, passed) = (Place::new(), gate.clone());
    let origin = Origin::new(move |asked| {
        if asked.target == "/held" {
            passed.pass();
        }
        Answer::fresh("body", 600)
    });
    let text = format!("upstream = \"{}\"\n[telemetry]\nlisten = \"127.0.0.1:0\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    (place, proxy, origin)
}

/// Every line is a comment of a known kind or a sample with a number.
#[track_caller]
fn assert_openmetrics(text: &str) {
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    assert!(text.ends_with('\n'));
    let mut families = std::collections::HashSet::new();
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["TYPE", "HELP", "UNIT"].contains(&kind), "{line}");
            if kind == "TYPE" {
                assert!(families.insert(name), "twice: {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        assert!(
            name.starts_with("proxy_stone_") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{line}"
        );
        assert!(families.iter().any(|family| name.starts_with(family)), "no TYPE before {line}");
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
    }
}

#[test]
fn metrics_have_the_expected_series() {
    let (place, proxy, _origin) = scene(&Gate::default());
    proxy.store_is(&place, "open");
    for target in ["/a", "/a", "/b"] {
        get(proxy.address, target);
    }
    let machines = proxy.telemetry.unwrap();
    assert!(proxy.said().contains(&format!("http://{machines}/metrics")), "{}", proxy.said());
    let reply = get(machines, "/metrics");
    assert_eq!(reply.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = reply.text();
    assert_openmetrics(&text);
    for wanted in [
        "proxy_stone_requests_total{",
        "proxy_stone_request_duration_seconds_bucket{",
        "proxy_stone_sent_bytes_total{",
        "proxy_stone_cache_total{",
        "proxy_stone_upstream_attempts_total{",
        "proxy_stone_upstream_first_byte_seconds_count{",
        "proxy_stone_connections ",
        "proxy_stone_store_",
        "proxy_stone_build_info{",
    ] {
        assert!(text.contains(&format!("\n{wanted}")), "{wanted}: {text}");
    }
    let value = |series: &[&str]| -> f64 {
        let lines = text.lines().filter(|line| series.iter().all(|part| line.contains(part)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!(value(&["proxy_stone_requests_total{", "\"default\""]), 3.0, "{text}");
    assert_eq!(value(&["proxy_stone_cache_total{", "outcome=\"hit\"", "\"default\""]), 1.0, "{text}");
    // The command prints the same series.
    let printed = place.print(&["metrics", "-o", "openmetrics"]);
    assert_openmetrics(&printed);
}

#[test]
fn ten_thousand_urls_add_no_series() {
    let (_place, proxy, _origin) = scene(&Gate::default());
    let series = |proxy: &Proxy| get(proxy.telemetry.unwrap(), "/metrics").text().lines().count();
    let mut client = Client::connect(proxy.address).unwrap();
    let mut ask =
        |from: u32, to: u32| (from..to).for_each(|n| drop(client.get(&format!("/{n}?x={n}")).unwrap()));
    ask(0, 20);
    let before = series(&proxy);
    ask(20, 10_000);
    // Buckets fill as latencies vary, the series of labels do not.
    assert!(series(&proxy) < before + 60, "{before} to {}", series(&proxy));
}

#[test]
fn readiness_follows_life() {
    let gate = Gate::default();
    let (place, mut proxy, _origin) = scene(&gate);
    let machines = proxy.telemetry.unwrap();
    proxy.store_is(&place, "open");
    assert_eq!(get(machines, "/livez").text(), "ok\n");
    let ready = get(machines, "/readyz");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let mut client = Client::connect(proxy.address).unwrap();
    client.send(b"GET /held HTTP/1.1\r\nHost: stone.test\r\n\r\n").unwrap();
    gate.await_arrivals(1);
    proxy.signal(Signal::TERM);
    let draining =
        eventually("not ready", || Some(get(machines, "/readyz")).filter(|reply| reply.status != 200));
    assert_eq!((draining.status, draining.text().as_str()), (503, "stopping\n"));
    assert_eq!(get(machines, "/livez").status, 200);
    gate.open();
    assert_eq!(client.reply().unwrap().text(), "body");
    assert_eq!(proxy.ended(), 0);
}

#[test]
fn an_occupied_telemetry_port_is_told() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _held = std::net::TcpListener::bind(taken).unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n[telemetry]\nlisten = \"{taken}\"\n"
    );
    place.write("c.toml", &text);
    let output = place.run(&["serve", "-c", "c.toml"]);
    assert_eq!((output.code, output.errors().len()), (9, 1), "{output:?}");
    assert!(output.stderr.contains(&taken.to_string()) && output.stderr.contains("telemetry"), "{output:?}");
}
