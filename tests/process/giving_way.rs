//! What hits cost while purges wait for their removal: measured, round by round beside hits without any.
//!
//! ```console
//! $ cargo build --release
//! $ PROXY_STONE_BIN=$PWD/target/release/proxy-stone \
//!   cargo test --test process giving_way -- --ignored --nocapture
//! ```
//!
//! `PROXY_STONE_ENTRIES` is how many entries there are (200 000), `PROXY_STONE_ROUNDS` how many rounds (8). Needs `wrk`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::million::{Scene, entries, rules};
use crate::support::Client;

/// What one window of requests came to.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Hits a second.
    rate: f64,
    /// Parts of a processor that the workers, the writer of the store, and the rest of the process took.
    workers: f64,
    writer: f64,
    rest: f64,
}

impl Window {
    /// Microseconds of the workers' time that a hit took.
    fn cost(&self) -> f64 {
        self.workers / self.rate * 1e6
    }

    fn print(&self, what: &str) {
        let Self { rate, workers, writer, rest } = self;
        println!("{what:14} {rate:6.0}    {workers:.2}    {writer:.3}  {rest:.2}  {:.2} µs", self.cost());
    }
}

/// Seconds of processor time by thread, those of ended ones left out.
fn times(pid: u32) -> BTreeMap<String, f64> {
    let mut times = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().map_while(Result::ok) {
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let Ok(spent) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let nanos: f64 = spent.split_whitespace().next().unwrap().parse().unwrap();
        let group = match name.trim() {
            "store" => "writer",
            name if name.starts_with("worker-") && !name.contains("blocking") => "workers",
            _ => "rest",
        };
        *times.entry(group.to_owned()).or_default() += nanos / 1e9;
    }
    times
}

/// Hits on one key for a few seconds.
fn hits(scene: &Scene) -> Window {
    let url = format!("http://{}/part9/hot", scene.proxy.address);
    let (before, began) = (times(scene.proxy.pid()), Instant::now());
    let output = Command::new("wrk").args(["-t1", "-c32", "-d2s", &url]).output().expect("this takes `wrk`");
    let (after, took) = (times(scene.proxy.pid()), began.elapsed().as_secs_f64());
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.split("Requests/sec:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let spent = |group: &str| {
        let at = |times: &BTreeMap<String, f64>| times.get(group).copied().unwrap_or_default();
        (at(&after) - at(&before)) / took
    };
    Window {
        rate: rate.unwrap().parse().unwrap(),
        workers: spent("workers"),
        writer: spent("writer"),
        rest: spent("rest"),
    }
}

/// The same while these rules wait for their removal all the time; also says how often they had to be given.
fn hits_under(scene: &Scene, rules: &[String]) -> (Window, u32) {
    let over = AtomicBool::new(false);
    scene.purge(rules);
    thread::scope(|scope| {
        let giving = scope.spawn(|| {
            let mut given = 1;
            while !over.load(Relaxed) {
                if scene.count("rules_active") == 0 {
                    scene.purge(rules);
                    given += 1;
                }
                thread::sleep(Duration::from_millis(50));
            }
            given
        });
        let window = hits(scene);
        over.store(true, Relaxed);
        (window, giving.join().unwrap())
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "takes a minute, and gives figures rather than a verdict"]
fn hits_beside_a_removal() {
    let scene = Scene::new(entries(200_000));
    scene.fill();
    let rounds = std::env::var("PROXY_STONE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let rules = rules();

    let began = Instant::now();
    scene.purge(&rules);
    let given = began.elapsed();
    scene.settle();
    println!("idle: {} rules given in {given:.1?}, done after {:.1?}", rules.len(), began.elapsed());

    assert_eq!(Client::connect(scene.proxy.address).unwrap().get("/part9/hot").unwrap().status, 200);
    let mut ratios: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    println!("               hits/s  workers  writer  rest  CPU of a hit");
    for round in 0..rounds {
        let bare = hits(&scene);
        bare.print("bare");
        let part = vec![format!("tag:part{}", round % 9)];
        for (what, rules) in [("under 10000", &rules), ("removing", &part)] {
            let before = scene.count("disk_entries");
            let (under, given) = hits_under(&scene, rules);
            under.print(what);
            let (waiting, removed) = (scene.count("rules_active"), before - scene.count("disk_entries"));
            let began = Instant::now();
            scene.settle();
            println!(
                "  given {given} times, {waiting} waiting, {removed} removed; done {:.1?} after the traffic",
                began.elapsed()
            );
            let (throughput, cost) = ratios.entry(what).or_default();
            throughput.push(under.rate / bare.rate);
            cost.push(under.cost() / bare.cost());
        }
    }
    for (what, (throughput, cost)) in ratios {
        println!(
            "{what}: throughput {:.3}, CPU of a hit {:.3} of what it is without (medians)",
            median(throughput),
            median(cost)
        );
    }

    let before = scene.count("disk_entries");
    let began = Instant::now();
    scene.purge(&["tag:part9".to_owned()]);
    scene.settle();
    println!("idle: {} entries removed in {:.1?}", before - scene.count("disk_entries"), began.elapsed());
    scene.proxy.stop();
}
