//! `cache simulate`: a log that a real instance wrote, replayed under other configs.

use std::fmt::Write;

use serde_json::Value;

use crate::support::{Answer, Origin, Output, Place, Proxy, eventually, get};

const LOG: &str = "[telemetry]\naccess_log = { format = \"json\", path = \"access.json\" }\n";

fn simulate(place: &Place, log: &str, config: &str) -> Output {
    let config = place.write("candidate.toml", config);
    let log = place.path(log);
    place.run(&[
        "cache",
        "simulate",
        "--log",
        log.to_str().unwrap(),
        "-c",
        config.to_str().unwrap(),
        "-o",
        "json",
    ])
}

fn report(output: &Output) -> Value {
    assert_eq!(output.code, 0, "{output:?}");
    serde_json::from_str::<Value>(&output.stdout).unwrap()["items"][0].clone()
}

/// A log of a proxy that stored what the origin allowed: /fresh/N may be stored, /bare/N says nothing, /private may not.
fn logged(place: &Place) -> String {
    let origin = Origin::new(|asked| match asked.target.split('/').nth(1).unwrap_or_default() {
        "private" => Answer::new(vec![b'p'; 100]).with("Cache-Control", "private"),
        "bare" => Answer::new(vec![b'b'; 1000]),
        _ => Answer::fresh(vec![b'f'; 500], 600).with("ETag", "\"v\""),
    });
    let today = format!("upstream = \"{}\"\n{LOG}", origin.url());
    let proxy = Proxy::configured(place, &today);
    proxy.store_is(place, "open");
    for _ in 0..4 {
        for target in ["/fresh/1", "/fresh/2?utm_source=a", "/fresh/2?utm_source=b", "/bare/1", "/private"] {
            get(proxy.address, target);
        }
    }
    eventually("the log is written", || {
        let text = std::fs::read_to_string(place.path("access.json")).unwrap_or_default();
        (text.lines().count() == 20).then_some(())
    });
    today
}

#[test]
fn the_same_config_gives_the_same_figures_and_others_their_own() {
    let place = Place::new();
    let today = logged(&place);
    let same = report(&simulate(&place, "access.json", &today));
    let total = &same["total"];
    assert_eq!((&total["requests"], &same["unreadable"]), (&20.into(), &0.into()), "{same}");
    assert_eq!(total["today"]["hits"], 9, "three URLs that are stored, asked for four times each");
    for figure in ["hits", "origin_requests", "origin_bytes", "hit_bytes"] {
        assert_eq!(total["today"][figure], total["candidate"][figure], "{figure}: {same}");
    }

    let with = |cache: &str| {
        let config = format!("upstream = \"http://127.0.0.1:9\"\ncache = {cache}\n");
        report(&simulate(&place, "access.json", &config))["total"]["candidate"].clone()
    };
    assert_eq!(with("\"60s\"")["hits"], 12, "a lifetime of ours covers what says nothing");
    assert_eq!(with("{ key = { ignore_query = [\"utm_*\"] } }")["hits"], 10, "one key in place of two");
    assert_eq!(with("false")["hits"], 0);
    assert_eq!(with("false")["origin_requests"], 20);
    assert_eq!(with("{ max_ttl = \"0s\" }")["hits"], 0, "what has a tag is validated instead");

    let split = "[upstreams.o]\nurl = \"http://127.0.0.1:9\"\n[[routes]]\nname = \"fresh\"\nupstream = \"o\"\n\
                 match = { path = \"/fresh/*\" }\n";
    let split = report(&simulate(&place, "access.json", split));
    assert_eq!((&split["routes"][0]["route"], &split["total"]["requests"]), (&"fresh".into(), &12.into()));
    assert!(split["assumptions"].to_string().contains("8 requests are taken by no route"), "{split}");
}

#[test]
fn eviction_is_the_store_s_own() {
    let place = Place::new();
    let mut log = String::new();
    let mut line = |second: usize, target: &str| {
        writeln!(
            log,
            "{{\"time\":\"2026-01-01T{:02}:{:02}:{:02}.000Z\",\"id\":\"x\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\
             \"host\":\"a.test\",\"target\":\"{target}\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":2000,\
             \"received\":0,\"duration_ms\":1.0,\"first_byte_ms\":1.0,\"cache\":\"miss\",\"route\":\"r\",\
             \"upstream\":\"u\",\"endpoint\":null,\"attempts\":1,\"upstream_first_byte_ms\":null,\"end\":\"complete\",\
             \"error\":null,\"forward\":\"uri-miss\",\"reply\":{{\"cache-control\":\"max-age=86400\"}}}}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
        .unwrap();
    };
    for second in 0..4000 {
        line(second, &format!("/hot/{}", second % 20));
        line(second, &format!("/once/{second}"));
    }
    place.write("crawl.json", &log);
    let config = |entries: usize| {
        format!("upstream = \"http://127.0.0.1:9\"\n[store]\nmemory = \"64KiB\"\nmax_entries = {entries}\n")
    };
    let small = report(&simulate(&place, "crawl.json", &config(200)));
    // What is asked for once is not written to a full disk, so that hardly anything has to go.
    assert!(small["store"]["evicted"].as_u64().unwrap() < 400, "{small}");
    assert!(small["store"]["disk_entries"].as_u64().unwrap() <= 200, "{small}");
    let hits = small["total"]["candidate"]["hits"].as_u64().unwrap();
    assert!(hits > 3900, "a crawl does not flush what is hot: {hits} of 3980");
    let large = report(&simulate(&place, "crawl.json", &config(100_000)));
    assert_eq!(large["total"]["candidate"]["hits"], 3980, "{large}");
    assert_eq!(large["total"]["today"]["hits"], 0);
}

#[test]
fn logs_in_text_and_logs_that_are_none_of_ours() {
    let place = Place::new();
    let line = |minute: usize| {
        format!(
            "2026-01-01T00:{minute:02}:00.000Z 192.0.2.1 \"GET a.test /x HTTP/1.1\" 200 1234 1.5ms miss r 10.0.0.1:80 id-{minute}\n"
        )
    };
    place.write("text.log", &(0..3).map(line).collect::<String>());
    let report = report(&simulate(&place, "text.log", "upstream = \"http://127.0.0.1:9\"\ncache = \"1h\"\n"));
    assert_eq!(
        (&report["total"]["candidate"]["hits"], &report["total"]["today"]["hits"]),
        (&2.into(), &0.into())
    );
    assert!(report["assumptions"].to_string().contains("tell nothing that caching goes by"), "{report}");

    place.write("other.log", "192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n");
    let config = "upstream = \"http://127.0.0.1:9\"\n";
    assert_eq!(simulate(&place, "other.log", config).code, 4);
    assert_eq!(simulate(&place, "nowhere.log", config).code, 9);
    assert_eq!(simulate(&place, "text.log", "upstream = 5\n").code, 3);
}

#[test]
fn what_slices_and_parts_would_have_done_is_not_silently_guessed() {
    let place = Place::new();
    let mut log = String::new();
    let mut line = |second: usize, target: &str, bytes: usize, asks: &str| {
        let status = if asks.contains("range") { 206 } else { 200 };
        writeln!(
            log,
            "{{\"time\":\"2026-01-01T00:00:{second:02}.000Z\",\"id\":\"x\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\
             \"host\":\"a.test\",\"target\":\"{target}\",\"protocol\":\"HTTP/1.1\",\"status\":{status},\"bytes\":{bytes},\
             \"received\":0,\"duration_ms\":1.0,\"first_byte_ms\":1.0,\"cache\":\"miss\",\"route\":\"r\",\
             \"upstream\":\"u\",\"endpoint\":null,\"attempts\":1,\"upstream_first_byte_ms\":null,\"end\":\"complete\",\
             \"error\":null,\"forward\":\"uri-miss\",\"asks\":[{asks}],\
             \"reply\":{{\"cache-control\":\"max-age=86400\"}}}}"
        )
        .unwrap();
    };
    for second in 0..4 {
        line(second, "/small", 1000, "");
        line(second, "/large", 1_000_000, "");
        line(second, "/ranged", 500, "\"range\"");
    }
    line(9, "/small", 1000, "\"only-if-cached\"");
    line(9, "/small", 1000, "\"no-store\"");
    place.write("ranges.json", &log);
    let with = |cache: &str| {
        report(&simulate(
            &place,
            "ranges.json",
            &format!("upstream = \"http://127.0.0.1:9\"\ncache = {{ {cache} }}\n"),
        ))
    };
    let plain = with("");
    assert_eq!(plain["total"]["requests"], 14, "{plain}");
    assert!(plain["assumptions"].to_string().contains("4 ranges of what is not stored whole"), "{plain}");
    let sliced = with("slice = \"64KiB\"");
    assert_eq!(sliced["total"]["requests"], 6, "what is one slice is simulated: {sliced}");
    assert_eq!(sliced["total"]["candidate"]["hits"], 3, "{sliced}");
    assert_eq!(sliced["total"]["candidate"]["origin_requests"], 2, "{sliced}");
    assert!(sliced["assumptions"].to_string().contains("8 requests on routes with slices"), "{sliced}");
    let off = report(&simulate(
        &place,
        "ranges.json",
        "upstream = \"http://127.0.0.1:9\"\nmode = \"off\"\ncache = { slice = \"64KiB\" }\n",
    ));
    assert_eq!(off["total"]["requests"], 14, "nothing is sliced where nothing is stored: {off}");
}
