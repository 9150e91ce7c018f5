//! A config is taken over while it runs, all of it or nothing; log files are opened anew.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Answer, Client, Gate, Origin, Place, Proxy, eventually, get};

fn named(name: &'static str) -> Origin {
    Origin::new(move |_| Answer::fresh(name, 600))
}

fn config(place: &Place, upstream: &str, more: &str) -> PathBuf {
    place.write("proxy-stone.toml", &format!("listen = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\n{more}"))
}

fn serve(place: &Place, upstream: &str, args: &[&str]) -> Proxy {
    let path = config(place, upstream, "");
    Proxy::start(place, &[&["-c", path.to_str().unwrap()], args].concat())
}

fn await_generation(proxy: &Proxy, place: &Place, wanted: u64) {
    eventually("another config", || (proxy.status(place)["generation"] == wanted).then_some(()));
}

#[test]
fn sighup_takes_a_good_config_over() {
    let (place, one, two) = (Place::new(), named("one"), named("two"));
    let proxy = serve(&place, &one.url(), &[]);
    let mut client = Client::connect(proxy.address).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "one");
    config(&place, &two.url(), "");
    proxy.signal(Signal::HUP);
    await_generation(&proxy, &place, 2);
    // The same connection and the same address; another upstream is another key.
    assert_eq!(client.get("/new").unwrap().text(), "two");
    assert_eq!(get(proxy.address, "/new2").text(), "two");
}

#[test]
fn sighup_refuses_a_bad_config_and_the_old_one_serves_on() {
    let (place, one) = (Place::new(), named("one"));
    let proxy = serve(&place, &one.url(), &[]);
    get(proxy.address, "/warm");
    config(&place, &one.url(), "cashe = \"1m\"\n");
    proxy.signal(Signal::HUP);
    let said = proxy.says("help: did you mean `cache`?");
    assert!(said.contains("PS0103") && said.contains("proxy-stone.toml:3:1"), "{said}");
    let status = eventually("the error", || {
        let status = proxy.status(&place);
        status["reload_error"].is_string().then_some(status)
    });
    assert_eq!(status["generation"], 1);
    assert_eq!(get(proxy.address, "/").text(), "one");
    assert!(get(proxy.address, "/warm").is_hit());
}

#[test]
fn the_reload_command_says_what_happened() {
    let (place, one, two) = (Place::new(), named("one"), named("two"));
    let proxy = serve(&place, &one.url(), &[]);
    get(proxy.address, "/");

    config(&place, &one.url(), "workers = \"many\"\ncashe = \"1m\"\n");
    let refused = place.run(&["reload"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    for wanted in ["proxy-stone.toml:3", "proxy-stone.toml:4:1", "did you mean `cache`?", "^"] {
        assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
    }
    assert_eq!(refused.stdout, "");
    assert_eq!(get(proxy.address, "/other").text(), "one");

    config(&place, &one.url(), "[[routes]]\nname = \"two\"\nmatch = { path = \"/two\" }\n");
    fs::write(
        place.path("proxy-stone.toml"),
        fs::read_to_string(place.path("proxy-stone.toml")).unwrap()
            + &format!("upstream = \"{}\"\n", two.url()),
    )
    .unwrap();
    let taken = place.run(&["reload"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(taken.stdout.starts_with("reloaded: config 2 is in use\n"), "{taken:?}");
    assert!(taken.stdout.contains("route `two` is new"), "{taken:?}");
    assert_eq!(get(proxy.address, "/two").text(), "two");
    assert!(get(proxy.address, "/").is_hit(), "what is warm stays");
    assert_eq!(place.items(&["reload"])[0]["generation"], 3);

    fs::remove_file(place.path("proxy-stone.toml")).unwrap();
    let gone = place.run(&["reload"]);
    assert_eq!(gone.code, 3, "{gone:?}");
    assert_eq!(get(proxy.address, "/two").text(), "two");
}

#[test]
fn a_reload_cuts_nothing_that_is_in_flight() {
    let place = Place::new();
    let gate = Gate::default();
    let passed = gate.clone();
    let one = Origin::new(move |_| {
        passed.pass();
        Answer::new("one, in its time")
    });
    let two = named("two");
    let proxy = serve(&place, &one.url(), &[]);
    let mut client = Client::connect(proxy.address).unwrap();
    client.send(b"GET /held HTTP/1.1\r\nHost: stone.test\r\n\r\n").unwrap();
    gate.await_arrivals(1);
    config(&place, &two.url(), "");
    place.print(&["reload"]);
    assert_eq!(get(proxy.address, "/").text(), "two");
    gate.open();
    assert_eq!(client.reply().unwrap().text(), "one, in its time");
    assert_eq!(client.get("/again").unwrap().text(), "two");
}

#[test]
fn a_listener_can_be_added_and_taken_away() {
    let (place, one) = (Place::new(), named("one"));
    let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = serve(&place, &one.url(), &[]);
    let both = format!("listen = [\"127.0.0.1:0\", \"{second}\"]\nupstream = \"{}\"\n", one.url());
    place.write("proxy-stone.toml", &both);
    place.print(&["reload"]);
    assert_eq!(get(second, "/").text(), "one");
    assert_eq!(get(proxy.address, "/").text(), "one");
    config(&place, &one.url(), "");
    place.print(&["reload"]);
    eventually("the second one is closed", || std::net::TcpStream::connect(second).is_err().then_some(()));
    assert_eq!(get(proxy.address, "/").text(), "one");
}

#[test]
fn a_reload_onto_an_occupied_port_is_refused_whole() {
    let (place, one, two) = (Place::new(), named("one"), named("two"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = serve(&place, &one.url(), &[]);
    let text = format!(
        "listen = [\"127.0.0.1:0\", \"{}\"]\nupstream = \"{}\"\n",
        taken.local_addr().unwrap(),
        two.url()
    );
    place.write("proxy-stone.toml", &text);
    let refused = place.run(&["reload"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains(&taken.local_addr().unwrap().to_string()), "{refused:?}");
    assert_eq!(get(proxy.address, "/").text(), "one");
    assert_eq!(proxy.status(&place)["generation"], 1);
}

#[test]
fn watch_takes_over_what_is_written_and_refuses_what_is_wrong() {
    let (place, one, two) = (Place::new(), named("one"), named("two"));
    let proxy = serve(&place, &one.url(), &["--watch"]);
    assert_eq!(get(proxy.address, "/a").text(), "one");
    // Replaced by a rename, as editors do.
    config(&place, &two.url(), "");
    await_generation(&proxy, &place, 2);
    assert_eq!(get(proxy.address, "/b").text(), "two");
    // Written in place.
    fs::write(place.path("proxy-stone.toml"), "nonsense = 1\n").unwrap();
    proxy.says("nonsense");
    assert_eq!(get(proxy.address, "/c").text(), "two");
    let good = format!("listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n", one.url());
    fs::write(place.path("proxy-stone.toml"), good).unwrap();
    await_generation(&proxy, &place, 3);
    assert_eq!(get(proxy.address, "/d").text(), "one");
}

#[test]
fn watch_sees_the_keys_that_the_config_names() {
    let (place, one) = (Place::new(), named("one"));
    let keys = place.path("accounts.pem");
    let good = include_str!("../../examples/accounts.pem");
    fs::write(&keys, good).unwrap();
    let users = "cache = { key = { user = { claim = \"sub\", tokens = \"accounts\" } } }\n\
                 [tokens.accounts]\nkeys = \"accounts.pem\"\nalgorithms = \"ES256\"\n";
    let proxy = serve(&place, &one.url(), &["--watch"]);
    config(&place, &one.url(), users);
    await_generation(&proxy, &place, 2);
    fs::write(&keys, "no key").unwrap();
    proxy.says("PS0521");
    assert_eq!(get(proxy.address, "/a").text(), "one");
    // By a rename, as deployments do.
    fs::write(place.path("new.pem"), format!("{good}\n")).unwrap();
    fs::rename(place.path("new.pem"), &keys).unwrap();
    await_generation(&proxy, &place, 3);
}

#[test]
fn sigusr1_opens_the_access_log_anew() {
    let (place, one) = (Place::new(), named("one"));
    let log = place.path("access.log");
    let table =
        format!("[telemetry]\naccess_log = {{ format = \"json\", path = {:?} }}\n", log.to_str().unwrap());
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{table}", one.url()));
    let lines = |path: &PathBuf, wanted: usize| {
        eventually("lines of the log", || {
            let text = fs::read_to_string(path).unwrap_or_default();
            (text.lines().count() >= wanted && text.ends_with('\n')).then_some(text)
        })
    };
    get(proxy.address, "/before");
    lines(&log, 1);
    let rotated = place.path("access.log.old");
    fs::rename(&log, &rotated).unwrap();
    proxy.signal(Signal::USR1);
    proxy.says("access log opened anew");
    get(proxy.address, "/after");
    let text = lines(&log, 1);
    assert!(text.contains("/after") && !text.contains("/before"), "{text}");
    let text = lines(&rotated, 1);
    assert!(text.contains("/before") && !text.contains("/after"), "{text}");
}

#[test]
fn the_access_log_has_one_line_of_json_for_each_exchange() {
    let (place, one) = (Place::new(), named("one"));
    let log = place.path("access.log");
    let table =
        format!("[telemetry]\naccess_log = {{ format = \"json\", path = {:?} }}\n", log.to_str().unwrap());
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{table}", one.url()));
    for target in ["/a", "/a", "/a\"quoted\"", "/%e2%80%ae[2J"] {
        assert_eq!(get(proxy.address, target).status, 200, "{target}");
    }
    // A head that is none gets a line too.
    let refused = Client::connect(proxy.address).unwrap().ask("NONSENSE\r\n\r\n").unwrap();
    assert_eq!(refused.status, 400);
    proxy.stop();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["target"].as_str().unwrap(),
                line["status"].as_u64().unwrap(),
                line["cache"].as_str().unwrap(),
            )
        })
        .collect();
    // Workers write at their own pace.
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("", 400, "none"),
            ("/%e2%80%ae[2J", 200, "miss"),
            ("/a", 200, "hit"),
            ("/a", 200, "miss"),
            ("/a\"quoted\"", 200, "miss"),
        ]
    );
    let (refused, served): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["status"] == 400);
    for line in served {
        assert_eq!(line["method"], "GET");
        assert_eq!(line["host"], "stone.test");
        assert_eq!(line["end"], "complete");
        assert_eq!(line["bytes"], 3);
        assert!(
            line["duration_ms"].is_number() && line["time"].is_string() && line["id"].is_string(),
            "{line}"
        );
    }
    assert_eq!(refused[0]["end"], "refused");
}

#[test]
fn the_access_log_can_be_text_on_standard_error() {
    let (place, one) = (Place::new(), named("one"));
    let proxy = Proxy::configured(
        &place,
        &format!("upstream = \"{}\"\n[telemetry]\naccess_log = \"stderr\"\n", one.url()),
    );
    get(proxy.address, "/seen");
    proxy.says("\"GET stone.test /seen HTTP/1.1\" 200 3 ");
}

#[test]
fn the_access_log_is_rotated_by_its_size() {
    let (place, one) = (Place::new(), named("one"));
    let log = place.path("access.log");
    let table = format!(
        "[telemetry]\naccess_log = {{ path = {:?}, max_size = \"2KiB\", keep = 2 }}\n",
        log.to_str().unwrap()
    );
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{table}", one.url()));
    let rotated = |number: u32| place.path(&format!("access.log.{number}"));
    let mut client = Client::connect(proxy.address).unwrap();
    eventually("two rotations", || {
        for number in 0..20 {
            client.get(&format!("/{number}")).unwrap();
        }
        rotated(2).exists().then_some(())
    });
    proxy.stop();
    assert!(log.exists() && rotated(1).exists() && !rotated(3).exists());
    for path in [rotated(1), rotated(2)] {
        let text = fs::read_to_string(path).unwrap();
        assert!(
            text.ends_with('\n') && text.lines().all(|line| line.contains("\"GET stone.test /")),
            "{text}"
        );
    }
}

#[test]
fn no_request_fails_while_configs_change() {
    let (place, one, two) = (Place::new(), named("one"), named("two"));
    let proxy = serve(&place, &one.url(), &[]);
    let (address, done) = (proxy.address, AtomicBool::new(false));
    let asked = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in 0..3 {
            let (done, asked) = (&done, &asked);
            scope.spawn(move || {
                let mut kept = Client::connect(address).unwrap();
                for number in 0.. {
                    let target = format!("/{client}/{number}");
                    let reply =
                        if number % 5 == 0 { get(address, &target) } else { kept.get(&target).unwrap() };
                    assert!(["one", "two"].contains(&reply.text().as_str()), "{reply:?}");
                    asked.fetch_add(1, SeqCst);
                    if done.load(SeqCst) {
                        break;
                    }
                }
            });
        }
        for round in 0..20 {
            let upstream = if round % 2 == 0 { &two } else { &one };
            config(&place, &upstream.url(), &format!("[store]\nmemory = \"{}MiB\"\n", 8 + round));
            let before = asked.load(SeqCst);
            place.print(&["reload"]);
            eventually("some requests", || (asked.load(SeqCst) > before + 5).then_some(()));
        }
        done.store(true, SeqCst);
    });
    assert_eq!(proxy.status(&place)["generation"], 21);
}

#[test]
fn sighup_without_a_config_file_changes_nothing() {
    let (place, one) = (Place::new(), named("one"));
    let proxy = Proxy::before(&place, &one.url());
    proxy.signal(Signal::HUP);
    await_generation(&proxy, &place, 2);
    assert_eq!(get(proxy.address, "/").text(), "one");
}
