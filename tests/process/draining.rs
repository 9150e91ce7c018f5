//! `drain`: clients and balancers go elsewhere first, then it stops.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Aim, Answer, Client, Load, Origin, Place, Proxy, eventually, finish, get};

fn scene(more: &str) -> (Place, Proxy, Origin) {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("hello", 600));
    let text = format!("upstream = \"{}\"\n{more}\n[telemetry]\nlisten = \"127.0.0.1:0\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    (place, proxy, origin)
}

#[test]
fn it_is_not_ready_at_once_accepts_for_a_while_and_says_that_connections_close() {
    let (place, mut proxy, _origin) = scene("");
    proxy.store_is(&place, "open");
    let mut kept = Client::connect(proxy.address).unwrap();
    assert_eq!(kept.get("/").unwrap().header("connection"), "");
    let drain = std::thread::spawn({
        let command = place.command(&["drain", "--delay", "1h", "-o", "json"]);
        move || finish(command)
    });
    let machines = proxy.telemetry.unwrap();
    let not_ready =
        eventually("not ready", || Some(get(machines, "/readyz")).filter(|reply| reply.status != 200));
    assert_eq!((not_ready.status, not_ready.text().as_str()), (503, "draining\n"));
    let status = proxy.status(&place);
    assert_eq!((&status["state"], &status["ready"]), (&Value::from("draining"), &Value::from(false)));
    // Whoever comes is answered, and told to go: on a connection that was idle, and on a new one.
    for client in [&mut kept, &mut Client::connect(proxy.address).unwrap()] {
        let reply = client.get("/").unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, "close"));
        assert!(client.get("/").is_err(), "it was the last one");
    }
    assert_eq!(place.run(&["reload"]).code, 3, "nothing new is taken over");
    assert!(!drain.is_finished());
    // What has waited long enough is told to stop.
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended(), 0);
    let output = drain.join().unwrap();
    assert_eq!(output.code, 0, "{output:?}");
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let report = &document["items"][0];
    assert_eq!((&report["outcome"], &report["delay_s"]), (&Value::from("ended"), &Value::from(3600.0)));
    assert_eq!(report["pid"], proxy.pid());
}

#[test]
fn the_config_says_how_long_and_what_is_in_flight_finishes() {
    let (place, mut proxy, _origin) = scene("[server]\ndrain_delay = \"100ms\"");
    let idle = Client::connect(proxy.address).unwrap();
    let said = place.print(&["drain"]);
    assert_eq!(said.trim(), format!("drained and stopped: process {}", proxy.pid()));
    assert_eq!(proxy.ended(), 0);
    proxy.says("draining: not ready any more");
    drop(idle);
    assert_eq!(place.run(&["drain"]).code, 5);
}

#[test]
fn a_drain_can_be_taken_back_while_it_accepts() {
    let (place, mut proxy, _origin) = scene("");
    proxy.store_is(&place, "open");
    assert_eq!(place.run(&["drain", "--cancel"]).code, 4);
    let said = place.print(&["drain", "--no-wait", "--delay", "1h"]);
    assert_eq!(said.trim(), format!("draining: process {} accepts for 3600 s more", proxy.pid()));
    let said = place.print(&["drain", "--cancel"]);
    assert_eq!(said.trim(), format!("ready again: process {}", proxy.pid()));
    assert_eq!(get(proxy.telemetry.unwrap(), "/readyz").status, 200);
    assert_eq!(proxy.status(&place)["state"], "serving");
    let mut client = Client::connect(proxy.address).unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("/").unwrap().header("connection"), "");
    }
    place.print(&["reload"]);
    drop(client);
    place.print(&["drain", "--delay", "0"]);
    assert_eq!(proxy.ended(), 0);
}

#[test]
fn one_of_two_drains_under_load_and_nobody_notices() {
    let (place, first, _origin) = scene("");
    let (_other_place, second, _other_origin) = scene("");
    let machines = [first.telemetry.unwrap(), second.telemetry.unwrap()];
    let aims = Arc::new(vec![Aim::plain(first.address), Aim::plain(second.address)]);
    let load = Load::start(aims.clone(), 1000, "/");
    // The balancer, which asks each of them every 50 ms.
    let ending = Arc::<AtomicBool>::default();
    let balancer = std::thread::spawn({
        let (aims, ending) = (aims, ending.clone());
        move || {
            while !ending.load(SeqCst) {
                for (aim, machine) in aims.iter().zip(machines) {
                    let asked = Client::connect(machine).and_then(|mut client| client.get("/readyz"));
                    aim.ready.store(asked.is_ok_and(|reply| reply.status == 200), SeqCst);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    load.goes_on(1000);
    let mut first = first;
    place.print(&["drain", "--delay", "2s"]);
    assert_eq!(first.ended(), 0);
    assert!(TcpStream::connect(first.address).is_err());
    load.goes_on(1000);
    let said = load.end();
    eprintln!("drain of one of two: {said}");
    ending.store(true, SeqCst);
    balancer.join().unwrap();
}
