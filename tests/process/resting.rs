//! Connections that rest keep little more than their socket, whatever their request took.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::{Answer, Client, LIMIT, Origin, Place, Proxy};

const CONNECTIONS: usize = 2000;

/// Bytes that a process has for itself: neither files nor what it shares.
fn own(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

fn hold(proxy: &Proxy, count: usize, target: &str) -> Vec<Client> {
    let connect = |_| {
        let mut client = Client::connect(proxy.address).unwrap();
        assert_eq!(client.get(target).unwrap().text(), "body");
        client
    };
    (0..count).map(connect).collect()
}

/// Opens connections that ask once, and says what each takes then: at most `most` bytes, as soon as they rest.
fn each(target: &str, most: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let origin = Origin::new(|asked| match asked.target.as_str() {
        "/hit" => Answer::fresh("body", 600),
        _ => Answer::new("body").with("Cache-Control", "no-store"),
    });
    let place = Place::new();
    let config = format!("workers = 1\nupstream = \"{}\"\ncache = true\n", origin.url());
    let proxy = Proxy::configured(&place, &config);
    proxy.store_is(&place, "open");
    // What the first ones bring about is there for all that follow.
    let first = hold(&proxy, 100, target);
    let before = own(proxy.pid());
    let held = hold(&proxy, CONNECTIONS, target);
    let until = Instant::now() + LIMIT;
    let taken = loop {
        let taken = own(proxy.pid()).saturating_sub(before) / CONNECTIONS as u64;
        if taken <= most || Instant::now() > until {
            break taken;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    println!("{target}: {taken} bytes a connection");
    assert!(taken <= most, "{target}: {taken} bytes a connection");
    // They are all there.
    for mut client in first.into_iter().chain(held) {
        assert_eq!(client.get(target).unwrap().text(), "body");
    }
}

#[test]
fn a_connection_whose_requests_are_hits_takes_little_while_it_rests() {
    each("/hit", 2560);
}

#[test]
fn a_connection_whose_requests_are_passed_on_takes_little_while_it_rests() {
    each("/pass", 4096);
}
