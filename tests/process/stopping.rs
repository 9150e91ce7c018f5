//! Stopping: what is in flight finishes, up to a limit; a second signal ends at once.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Answer, Client, Gate, Origin, Place, Proxy, eventually};

/// An origin that answers `/held` when it is let go.
fn held() -> (Origin, Gate) {
    let gate = Gate::default();
    let passed = gate.clone();
    let origin = Origin::new(move |asked| {
        if asked.target.starts_with("/held") {
            passed.pass();
        }
        Answer::new("finished").with("Cache-Control", "no-store")
    });
    (origin, gate)
}

/// A proxy with one exchange in flight.
fn in_flight(place: &Place, args: &[&str]) -> (Proxy, Gate, Client) {
    let (origin, gate) = held();
    let proxy = Proxy::start(place, &[&[&*origin.url(), "-l", "127.0.0.1:0"], args].concat());
    let mut client = Client::connect(proxy.address).unwrap();
    client.send(b"GET /held HTTP/1.1\r\nHost: stone.test\r\n\r\n").unwrap();
    gate.await_arrivals(1);
    (proxy, gate, client)
}

/// Waits until it has begun to stop: nobody is let in any more.
fn await_draining(proxy: &Proxy) {
    eventually("nobody is let in", || TcpStream::connect(proxy.address).is_err().then_some(()));
}

#[track_caller]
fn finishes(signal: Signal) {
    let place = Place::new();
    let (mut proxy, gate, mut client) = in_flight(&place, &[]);
    proxy.signal(signal);
    await_draining(&proxy);
    assert_eq!(proxy.status(&place)["state"], "stopping");
    gate.open();
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "finished"));
    assert_eq!(proxy.ended(), 0);
    assert!(!place.socket().exists());
}

#[test]
fn sigterm_lets_an_exchange_finish() {
    finishes(Signal::TERM);
}

#[test]
fn sigint_lets_an_exchange_finish() {
    finishes(Signal::INT);
}

#[test]
fn the_stop_command_waits_for_an_exchange_and_for_the_end() {
    let place = Place::new();
    let (mut proxy, gate, mut client) = in_flight(&place, &[]);
    let stop = std::thread::spawn({
        let command = place.command(&["stop"]);
        move || crate::support::finish(command)
    });
    await_draining(&proxy);
    assert!(!stop.is_finished());
    gate.open();
    assert_eq!(client.reply().unwrap().text(), "finished");
    let output = stop.join().unwrap();
    assert_eq!(
        (output.code, output.stdout.trim()),
        (0, format!("stopped: process {}", proxy.pid()).as_str())
    );
    assert_eq!(proxy.ended(), 0);
    assert_eq!(place.run(&["stop"]).code, 5);
}

#[test]
fn stop_can_return_at_once() {
    let place = Place::new();
    let (mut proxy, gate, mut client) = in_flight(&place, &[]);
    let printed = place.print(&["stop", "--no-wait"]);
    assert_eq!(printed.trim(), format!("stopping: process {}", proxy.pid()));
    await_draining(&proxy);
    gate.open();
    assert_eq!(client.reply().unwrap().text(), "finished");
    assert_eq!(proxy.ended(), 0);
}

#[test]
fn an_exchange_over_its_grace_is_cut() {
    for (serve, stop) in [(&["--grace", "200ms"][..], &["stop"][..]), (&[], &["stop", "--grace", "0"])] {
        let place = Place::new();
        let (mut proxy, gate, mut client) = in_flight(&place, serve);
        place.print(stop);
        let cut = client.reply().unwrap_err();
        assert!(matches!(cut.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{cut}");
        assert_eq!(proxy.ended(), 0);
        proxy.says("cutting it");
        gate.open();
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let (mut proxy, gate, mut client) = in_flight(&place, &["--grace", "1h"]);
    proxy.signal(Signal::TERM);
    await_draining(&proxy);
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended(), 130);
    assert!(client.reply().is_err());
    gate.open();
    // What it left behind does not keep the next one from starting.
    let (origin, _gate) = held();
    Proxy::before(&place, &origin.url()).stop();
}

#[test]
fn idle_connections_do_not_hold_the_end_back() {
    let place = Place::new();
    let (origin, _gate) = held();
    let mut proxy = Proxy::start(&place, &[&origin.url(), "-l", "127.0.0.1:0", "--grace", "1h"]);
    let mut idle = Client::connect(proxy.address).unwrap();
    assert_eq!(idle.get("/").unwrap().text(), "finished");
    let silent = TcpStream::connect(proxy.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended(), 0);
}

#[test]
fn a_stop_while_a_body_streams_lets_it_end() {
    let place = Place::new();
    let gate = Gate::default();
    let passed = gate.clone();
    let origin = Origin::raw(move |mut asked| {
        asked.read_body(|_| {})?;
        asked.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")?;
        passed.pass();
        asked.write(b"56789")
    });
    let mut proxy = Proxy::before(&place, &origin.url());
    let mut client = Client::connect(proxy.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: stone.test\r\n\r\n").unwrap();
    gate.await_arrivals(1);
    proxy.signal(Signal::TERM);
    await_draining(&proxy);
    gate.open();
    assert_eq!(client.reply().unwrap().text(), "0123456789");
    assert_eq!(proxy.ended(), 0);
}
