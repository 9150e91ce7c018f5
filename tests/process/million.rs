//! What purging costs with a million entries on disk: measured, not asserted but for what must hold on any machine.
//!
//! ```console
//! $ cargo build --release
//! $ PROXY_STONE_BIN=$PWD/target/release/proxy-stone \
//!   cargo test --test process million -- --ignored --nocapture
//! ```
//!
//! `PROXY_STONE_ENTRIES` is how many entries (1 000 000). They are filled over HTTP from an origin in this process: each
//! a hundred bytes, in ten parts with a tag and a prefix each. Hits are measured with `wrk`, where there is one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Place, Proxy};

/// Connections that fill, and requests that are under way on each.
const FILLERS: u64 = 16;
const PIPELINED: u64 = 32;

/// Callers that purge at the same time.
const CALLERS: u64 = 64;

/// How many entries there are to be.
pub fn entries(otherwise: u64) -> u64 {
    std::env::var("PROXY_STONE_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn target(part: u64, number: u64) -> String {
    format!("/part{part}/item-{number}")
}

/// An origin that does as little as it can for each request.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let digit = read
                .windows(6)
                .position(|window| window.starts_with(b"/part"))
                .map_or(b'x', |at| read[at + 5]);
            let tag = char::from(digit);
            let reply = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=86400\r\nSurrogate-Key: part{tag}\r\nContent-Length: 100\r\n\r\n{:100}",
                tag
            );
            read.drain(..end + 4);
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&part[..count]),
        }
    }
}

/// Asks for these targets on one connection, many at a time; every reply ends in a body of the origin's.
fn ask_all(address: SocketAddr, targets: impl Iterator<Item = String>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (mut requests, mut waiting) = (String::new(), 0);
    let mut part = vec![0; 64 << 10];
    let mut flush = |requests: &mut String, waiting: &mut u64| {
        stream.write_all(requests.as_bytes()).unwrap();
        requests.clear();
        // A hundred bytes of body, of which ninety-nine are spaces: nothing else has a run of so many.
        let mut spaces = 0;
        while *waiting > 0 {
            let count = stream.read(&mut part).unwrap();
            assert!(count > 0, "the proxy closed");
            for byte in &part[..count] {
                spaces = if *byte == b' ' { spaces + 1 } else { 0 };
                if spaces == 99 {
                    *waiting -= 1;
                }
            }
        }
    };
    for target in targets {
        requests += &format!("GET {target} HTTP/1.1\r\nHost: stone.test\r\n\r\n");
        waiting += 1;
        if waiting == PIPELINED {
            flush(&mut requests, &mut waiting);
        }
    }
    flush(&mut requests, &mut waiting);
}

/// A proxy before an origin that has so many entries.
pub struct Scene {
    pub place: Place,
    pub proxy: Proxy,
    all: u64,
}

impl Scene {
    /// Starts both; nothing is stored yet.
    pub fn new(all: u64) -> Self {
        let place = Place::new();
        let origin = origin();
        let proxy = Proxy::configured(
            &place,
            &format!(
                "upstream = \"http://{origin}\"\n[purge]\nallow = [\"127.0.0.1\"]\n[telemetry]\nring = 100\n"
            ),
        );
        proxy.store_is(&place, "open");
        Self { place, proxy, all }
    }

    fn stats(&self) -> Value {
        let mut admin = Client::admin(&self.place.socket()).unwrap();
        serde_json::from_slice(&admin.get("/v1/cache/stats").unwrap().body).unwrap()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap()
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
    }

    fn on_disk(&self) -> u64 {
        let output = Command::new("du").args(["-sm"]).arg(self.place.store()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().parse().unwrap()
    }

    fn say(&self, what: &str) {
        println!("{what}; {} MiB resident, {} MiB on disk", self.resident(), self.on_disk());
    }

    /// Has everything stored, and says how long that took: so many at a time as may wait for the store, or some would
    /// stand in RAM alone.
    pub fn fill(&self) {
        const AT_A_TIME: u64 = 2_000;
        let (all, began) = (self.all, Instant::now());
        for first in (0..all).step_by(AT_A_TIME as usize) {
            let end = all.min(first + AT_A_TIME);
            thread::scope(|scope| {
                for filler in 0..FILLERS {
                    let address = self.proxy.address;
                    let numbers = (first + filler..end).step_by(FILLERS as usize);
                    scope.spawn(move || ask_all(address, numbers.map(move |n| target(n * 10 / all, n))));
                }
            });
            self.settle();
        }
        self.say(&format!("{} entries stored in {:.1?}", self.count("disk_entries"), began.elapsed()));
    }

    pub fn settle(&self) {
        while self.count("queue_depth") > 0 || self.count("rules_active") > 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Gives all these rules in one go.
    pub fn purge(&self, rules: &[String]) {
        let mut admin = Client::admin(&self.place.socket()).unwrap();
        let reply = admin.post("/v1/cache/purge/batch", &json!({ "select": rules })).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Whether a stored reply answers.
    fn has(&self, client: &mut Client, target: &str) -> bool {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: stone.test\r\nCache-Control: only-if-cached\r\n\r\n");
        match client.ask(&request).unwrap().status {
            200 => true,
            504 => false,
            other => panic!("{target}: {other}"),
        }
    }

    /// Purges a tenth of all, by what selects its part; says when it holds and when it is removed.
    fn purge_part(&self, part: u64, select: &str) {
        let all = self.all;
        let before = self.count("disk_entries");
        let mut admin = Client::admin(&self.place.socket()).unwrap();
        let began = Instant::now();
        let reply = admin.post("/v1/cache/purge", &json!({ "select": select })).unwrap();
        let answered = began.elapsed();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let mut client = Client::connect(self.proxy.address).unwrap();
        for number in (0..all).step_by((all / 1000).max(1) as usize) {
            let own = number * 10 / all;
            if own == part {
                assert!(!self.has(&mut client, &target(own, number)), "{select} left {number}");
            }
        }
        self.settle();
        let (removed, took) = (before - self.count("disk_entries"), began.elapsed());
        let rate = removed as f64 / took.as_secs_f64();
        self.say(&format!(
            "{select}: held after {answered:.1?}, {removed} removed in {took:.1?} ({rate:.0}/s)"
        ));
        assert!(answered < Duration::from_secs(1), "{answered:?}");
    }

    /// Has so many callers ask one thing after the other for a while; how many were answered a second.
    fn storm(&self, what: &str, one: impl Fn(u64, u64) -> String + Sync, admin: bool) {
        const WHILE: Duration = Duration::from_secs(5);
        let done = AtomicU64::new(0);
        let began = Instant::now();
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (one, done) = (&one, &done);
                scope.spawn(move || {
                    let mut client = match admin {
                        true => Client::admin(&self.place.socket()).unwrap(),
                        false => Client::connect(self.proxy.address).unwrap(),
                    };
                    for number in 0.. {
                        if began.elapsed() > WHILE {
                            return;
                        }
                        let reply = client.ask(&one(caller, number)).unwrap();
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        done.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        let took = began.elapsed();
        let answered = Instant::now();
        let waiting = self.count("rules_active");
        self.settle();
        let behind = answered.elapsed();
        let rate = done.load(Relaxed) as f64 / took.as_secs_f64();
        self.say(&format!(
            "{what}: {rate:.0}/s by {CALLERS} callers; {waiting} rules waited, done {behind:.1?} later"
        ));
    }

    /// Requests a second that `wrk` gets answered from one hot key.
    fn hits(&self) -> Option<f64> {
        let url = format!("http://{}/part9/hot", self.proxy.address);
        let mut rates = Vec::new();
        for _ in 0..3 {
            let output = Command::new("wrk").args(["-t1", "-c32", "-d4s", &url]).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            rates.push(text.split("Requests/sec:").nth(1)?.split_whitespace().next()?.parse::<f64>().ok()?);
        }
        rates.sort_by(f64::total_cmp);
        println!("  wrk: {rates:.0?}");
        Some(rates[1])
    }
}

/// Ten thousand rules of all kinds that take nothing.
pub fn rules() -> Vec<String> {
    let kinds = [
        "key:",
        "url:http://stone.test/none/",
        "prefix:http://stone.test/none/",
        "prefix:/none/",
        "tag:none",
    ];
    let rule = |n: usize| match kinds[n % kinds.len()] {
        "key:" => format!("key:{n:032x}"),
        kind => format!("{kind}{n}"),
    };
    (0..10_000).map(rule).collect()
}

#[test]
#[ignore = "takes minutes, and gives figures rather than a verdict"]
fn a_million_entries() {
    let all = entries(1_000_000);
    let scene = Scene::new(all);
    scene.say("empty");
    scene.fill();

    let hot = Client::connect(scene.proxy.address).unwrap().get("/part9/hot").unwrap();
    assert_eq!(hot.status, 200);
    let bare = scene.hits();

    scene.purge_part(0, "tag:part0");
    scene.purge_part(1, "prefix:http://stone.test/part1/");
    scene.purge_part(2, "prefix:/part2/");
    scene.purge_part(3, "glob:*/part3/*");

    scene.storm(
        "PURGE by URL over HTTP",
        |caller, number| {
            let number = all * 4 / 10 + (caller + number * CALLERS) % (all / 10).max(1);
            format!("PURGE {} HTTP/1.1\r\nHost: stone.test\r\n\r\n", target(4, number))
        },
        false,
    );
    scene.storm(
        "purges by key over the admin socket",
        |caller, number| {
            let body = format!("{{\"select\":\"key:{:032x}\",\"uncounted\":true}}", caller << 32 | number);
            format!(
                "POST /v1/cache/purge HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        },
        true,
    );

    let list: String =
        (0..10_000).map(|n| format!("http://stone.test{}\n", target(5, all / 2 + n))).collect();
    let list = scene.place.write("list", &list);
    let began = Instant::now();
    scene.place.print(&["cache", "purge", "-y", "-f", list.to_str().unwrap()]);
    println!("cache purge -f with 10000 URLs: {:.1?}", began.elapsed());
    let began = Instant::now();
    scene.place.print(&["cache", "purge", "-y", "--tag", "part6"]);
    println!("cache purge --tag, from exec to exit: {:.1?}", began.elapsed());
    scene.settle();

    // Those that are done are tested as long as they are remembered.
    let rules = rules();
    Client::connect(scene.proxy.address).unwrap().get("/part9/hot").unwrap();
    let before = scene.hits();
    scene.purge(&rules);
    let under = scene.hits();
    println!(
        "hits a second: {bare:.0?} at first, {before:.0?} before and {under:.0?} under ten thousand rules"
    );
    scene.say("at the end");
    scene.proxy.stop();
}
