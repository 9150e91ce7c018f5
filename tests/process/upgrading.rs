//! `upgrade`: another process takes over and nobody notices; whatever is wrong with it, the old one goes on.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::{Aim, Answer, Client, Load, Origin, Output, Place, Proxy, eventually, finish, get};

/// A process that has taken over; killed when dropped.
struct Successor(u32);

impl Successor {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.0 as i32).unwrap(), signal);
    }

    fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let gone = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
        !gone && test_kill_process(Pid::from_raw(self.0 as i32).unwrap()).is_ok()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Upgrades to the same binary.
#[track_caller]
fn upgrade(place: &Place) -> (Successor, Value) {
    let done = place.items(&["upgrade"]).remove(0);
    (Successor(done["pid"].as_u64().unwrap() as u32), done)
}

fn scene(more: &str) -> (Place, Proxy, Origin) {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("hello", 600));
    let text = format!("upstream = \"{}\"\n{more}\n[telemetry]\nlisten = \"127.0.0.1:0\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    (place, proxy, origin)
}

/// The addresses of the banner's listeners, in their order.
fn listeners(proxy: &Proxy) -> Vec<SocketAddr> {
    let said = proxy.said();
    let lines = said.lines().filter_map(|line| line.trim().strip_prefix("listening")?.split_once("://"));
    lines.filter_map(|(_, address)| address.parse().ok()).collect()
}

fn status(place: &Place) -> Value {
    place.items(&["status"]).remove(0)
}

/// A stand-in for a new binary, which does what this says.
fn stand_in(place: &Place, name: &str, script: &str) -> PathBuf {
    let path = place.write(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn nobody_notices_reloads_and_upgrades_under_load() {
    let place = Place::new();
    let asked = Arc::<AtomicU64>::default();
    let origin = Origin::new(move |request| match request.target.as_str() {
        "/kept" => Answer::fresh(format!("{}.", asked.fetch_add(1, SeqCst)), 600),
        _ => Answer::fresh("hello", 600),
    });
    let certificates = place.path("certs");
    place.print(&["cert", "dev", "localhost", "--out", certificates.to_str().unwrap()]);
    let web = place.path("web.sock");
    let config = place.write(
        "c.toml",
        &format!(
            "listen = [\"127.0.0.1:0\", {{ addr = \"127.0.0.1:0\", tls = \"edge\" }}, \"unix:{}\"]\n\
             upstream = \"{}\"\nworkers = 2\n[server]\ndrain_delay = \"2s\"\n\
             [tls.edge]\ncert = \"{c}/localhost.pem\"\nkey = \"{c}/localhost-key.pem\"\n\
             [telemetry]\nlisten = \"127.0.0.1:0\"\n",
            web.display(),
            origin.url(),
            c = certificates.display()
        ),
    );
    let mut proxy = Proxy::start(&place, &["-c", config.to_str().unwrap()]);
    proxy.store_is(&place, "open");
    let [plain, tls] = listeners(&proxy)[..] else { panic!("{}", proxy.said()) };
    let aim = Aim::with_tls(plain, tls, &place.state().join("dev-tls/ca.pem"));
    assert!(!get(plain, "/kept").is_hit());
    let load = Load::start(Arc::new(vec![aim]), 1000, "/");
    load.goes_on(500);
    place.print(&["reload"]);
    load.goes_on(500);
    let mut last = None;
    for round in 0..2 {
        let (successor, done) = upgrade(&place);
        eprintln!("upgrade {round}: {} ms", done["took_ms"]);
        let status = status(&place);
        assert_eq!((&status["pid"], &status["ready"]), (&done["pid"], &json!(true)), "{status}");
        assert_eq!(status["store"]["state"], "open");
        // A worker of the old process may take a connection before it hears that it should not; that one forwards.
        let kept = eventually("a hit", || Some(get(plain, "/kept")).filter(|reply| reply.is_hit()));
        assert_eq!(kept.text(), "0.", "what was stored is stored");
        assert_eq!(get(proxy.telemetry.unwrap(), "/readyz").text(), "ready\n");
        assert_eq!(std::fs::metadata(place.socket()).unwrap().permissions().mode() & 0o777, 0o600);
        load.goes_on(1000);
        place.print(&["reload"]);
        eventually("the one before has ended", || {
            crate::upgrading::status(&place)["predecessor"].is_null().then_some(())
        });
        if round == 0 {
            assert_eq!(proxy.exited(), 0);
        }
        // The files of the sockets are the new one's.
        assert!(place.socket().exists());
        let mut stream = UnixStream::connect(&web).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        std::io::Read::read_to_string(&mut stream, &mut reply).unwrap();
        assert!(reply.ends_with("hello"), "{reply}");
        // Out of the one before, which has ended: dropping it does no harm.
        last = Some(successor);
    }
    load.goes_on(500);
    let said = load.end();
    eprintln!("two upgrades and three reloads: {said}");
    let last = last.unwrap();
    place.print(&["stop"]);
    assert!(!last.is_alive() && !place.socket().exists() && !web.exists());
}

#[test]
fn connections_that_idle_may_send_one_more_request_and_websockets_are_told() {
    let place = Place::new();
    let origin = Origin::raw(|mut asked| {
        asked.read_body(|_| {})?;
        match asked.header("sec-websocket-key") {
            None => asked.answer(&Answer::fresh("hello", 600)),
            Some(_) => {
                asked.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")?;
                // Answers the Close that comes, masked.
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            }
        }
    });
    let text = format!(
        "upstream = \"{}\"\n[server]\ndrain_delay = \"3s\"\nshutdown_grace = \"1s\"\n[[routes]]\nupgrade = \"websocket\"\n",
        origin.url()
    );
    let mut proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    let mut idle = Client::connect(proxy.address).unwrap();
    let mut silent = Client::connect(proxy.address).unwrap();
    assert!(!idle.get("/").unwrap().is_hit());
    assert!(idle.get("/").unwrap().is_hit());
    let mut socket = Client::connect(proxy.address).unwrap();
    socket.send(b"GET /ws HTTP/1.1\r\nHost: stone.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
    let line = socket.line().unwrap();
    assert!(line.contains("101"), "{line}");
    while !socket.line().unwrap().is_empty() {}
    let (_successor, _) = upgrade(&place);
    // Of the old process, which serves nothing stored any more.
    let reply = idle.get("/").unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.header("connection"), reply.is_hit()),
        ("hello", "close", false)
    );
    eventually("a hit of the new one", || get(proxy.address, "/").is_hit().then_some(()));
    let close = socket.bytes(4).unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xe9], "Close 1001");
    assert!(silent.bytes(1).is_err(), "its time is over, too");
    assert_eq!(proxy.exited(), 0);
}

#[test]
fn what_is_wrong_with_the_new_process_does_not_end_the_old_one() {
    let (place, proxy, origin) = scene("");
    get(proxy.address, "/kept");
    let plain = place.write("plain", "no program");
    let hello = "read greeting; echo '{\"say\":\"hello\",\"version\":\"9\"}' >&0";
    let checked = format!("{hello}; echo '{{\"say\":\"checked\"}}' >&0");
    let stored = format!("{checked}; read store");
    let opened =
        format!("{stored}; echo '{{\"say\":\"opened\",\"is_open\":true,\"store\":\"open\"}}' >&0; read go");
    let no_store = format!(
        "{stored}; echo '{{\"say\":\"opened\",\"is_open\":false,\"store\":\"on fire\"}}' >&0; read x"
    );
    let die = |script: &str| format!("{script}; kill -9 $$");
    let cases = [
        (place.path("nowhere"), 4, "cannot be run"),
        (plain, 9, "not executable"),
        (stand_in(&place, "true", "exit 0"), 9, "exit status: 0"),
        (stand_in(&place, "other", "echo what; exit 2"), 9, "ended before it said anything"),
        (stand_in(&place, "babbles", "read x; echo 'HTTP/1.1 200 OK' >&0; sleep 100"), 9, "said anything"),
        (stand_in(&place, "at-once", &die("true")), 9, "signal: 9"),
        (stand_in(&place, "after-hello", &die(hello)), 9, "ended before it was checked: signal: 9"),
        (stand_in(&place, "after-checked", &die(&checked)), 9, "ended before it opened the store"),
        (stand_in(&place, "after-store", &die(&stored)), 9, "ended before it opened the store: signal: 9"),
        (stand_in(&place, "no-store", &no_store), 9, "cannot open the store: on fire"),
        (stand_in(&place, "after-opened", &die(&opened)), 9, "ended before it served: signal: 9"),
        (stand_in(&place, "hangs", "exec sleep 100"), 7, "had not said anything in time"),
        (
            stand_in(&place, "hangs-later", &format!("{stored}; exec sleep 100")),
            7,
            "not opened the store in time",
        ),
    ];
    for (binary, code, why) in cases {
        let limit = if code == 7 { "1s" } else { "20s" };
        let began = Instant::now();
        let args = ["upgrade", "--binary", binary.to_str().unwrap(), "--timeout", limit];
        let output = place.run(&args);
        assert_eq!(output.code, code, "{binary:?}: {output:?}");
        assert!(
            output.stderr.contains("the old process goes on") && output.stderr.contains(why),
            "{why}: {output:?}"
        );
        let status = proxy.store_is(&place, "open");
        assert_eq!((&status["state"], &status["pid"]), (&json!("serving"), &json!(proxy.pid())));
        assert!(get(proxy.address, "/kept").is_hit(), "{binary:?}");
        assert_eq!(origin.hits("/kept"), 1);
        eprintln!("{:?}: {why}, after {:.1?}", binary.file_name().unwrap(), began.elapsed());
    }
    assert!(place.socket().exists());
    // And it still can.
    let (_successor, _) = upgrade(&place);
    eventually("a hit of the new one", || get(proxy.address, "/kept").is_hit().then_some(()));
}

/// The number that follows the last of these words.
fn last_pid(said: &str) -> Option<u32> {
    let (_, rest) = said.rsplit_once("the new process has been started pid=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn the_new_process_may_be_killed_at_any_moment() {
    let (place, proxy, origin) = scene("");
    get(proxy.address, "/kept");
    let mut failed = 0;
    for round in 0..60 {
        let before = last_pid(&proxy.said());
        let upgrading = std::thread::spawn({
            let command = place.command(&["upgrade", "-o", "json"]);
            move || finish(command)
        });
        let pid =
            eventually("it has been started", || last_pid(&proxy.said()).filter(|pid| Some(*pid) != before));
        let successor = Successor(pid);
        std::thread::sleep(Duration::from_millis(round));
        if upgrading.is_finished() && proxy.said().contains("the new process serves") {
            upgrading.join().unwrap();
            break;
        }
        successor.signal(Signal::KILL);
        let output = upgrading.join().unwrap();
        // It served already, and what was killed is the instance.
        if output.code == 0 || proxy.said().contains("the new process serves") {
            break;
        }
        assert_eq!(output.code, 9, "{output:?}");
        failed += 1;
        proxy.store_is(&place, "open");
        assert!(get(proxy.address, "/kept").is_hit(), "round {round}");
        assert_eq!(origin.hits("/kept"), 1);
    }
    assert!(failed > 3, "{failed} times");
    eprintln!("killed {failed} times, 1 ms later each time");
}

#[test]
fn a_config_with_errors_is_told_by_the_new_process() {
    let (place, proxy, _origin) = scene("");
    let path = place.path("proxy-stone.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    place.write("proxy-stone.toml", &format!("cashe = \"1m\"\n{good}"));
    let output = place.run(&["upgrade"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output.stderr.contains("did you mean `cache`?") && output.stderr.contains("goes on"),
        "{output:?}"
    );
    assert_eq!(get(proxy.address, "/").text(), "hello");
    // An address that is taken by somebody else.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = [\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap());
    place.write(
        "proxy-stone.toml",
        &good.replace("listen = \"127.0.0.1:0\"\nupstream", &format!("{listen}\nupstream")),
    );
    let output = place.run(&["upgrade"]);
    assert_eq!(output.code, 9, "{output:?}");
    assert!(output.stderr.contains("the port is taken"), "{output:?}");
    assert_eq!(proxy.status(&place)["state"], "serving");
    place.write("proxy-stone.toml", &good);
    let (_successor, _) = upgrade(&place);
    assert_eq!(get(proxy.address, "/").text(), "hello");
}

#[test]
fn purges_hold_whichever_process_is_asked() {
    let place = Place::new();
    let version = Arc::<AtomicU64>::default();
    let of_origin = version.clone();
    let origin = Origin::new(move |_| Answer::fresh(of_origin.load(SeqCst).to_string(), 600));
    let text = format!("upstream = \"{}\"\n[server]\ndrain_delay = \"1s\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    let (ending, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let socket = place.socket();
    let address = proxy.address;
    let purging = std::thread::spawn({
        let (version, ending, rounds) = (version.clone(), ending.clone(), rounds.clone());
        move || {
            let mut kept = Client::connect(address).unwrap();
            while !ending.load(SeqCst) {
                let now = version.fetch_add(1, SeqCst) + 1;
                let purge = json!({"select": "url:http://stone.test/", "uncounted": true});
                let asked =
                    Client::admin(&socket).and_then(|mut admin| admin.post("/v1/cache/purge", &purge));
                let answer = asked.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                for _ in 0..2 {
                    assert_eq!(get(address, "/").text(), now.to_string(), "on a new connection");
                    let reply = kept.get("/").unwrap();
                    assert_eq!(reply.text(), now.to_string(), "on a kept connection");
                    if reply.header("connection") == "close" {
                        kept = Client::connect(address).unwrap();
                    }
                }
                rounds.fetch_add(1, SeqCst);
            }
        }
    });
    let mut successors = Vec::new();
    for _ in 0..3 {
        let before = rounds.load(SeqCst);
        eventually("purges", || (purging.is_finished() || rounds.load(SeqCst) > before + 3).then_some(()));
        successors.push(upgrade(&place).0);
        eventually("the one before has ended", || status(&place)["predecessor"].is_null().then_some(()));
    }
    ending.store(true, SeqCst);
    purging.join().unwrap();
    let rounds = rounds.load(SeqCst);
    eprintln!("{rounds} purges over three upgrades, each of which held");
}

#[test]
fn a_purge_while_the_store_is_handed_over_holds_if_that_fails() {
    let (place, proxy, origin) = scene("");
    get(proxy.address, "/gone");
    get(proxy.address, "/kept");
    let (waits, goes) = (place.path("waits"), place.path("goes"));
    let script = format!(
        "read greeting; echo '{{\"say\":\"hello\",\"version\":\"9\"}}' >&0; echo '{{\"say\":\"checked\"}}' >&0\n\
         read store; touch {}\nread purge; case \"$purge\" in *purge*rule*) echo '{{\"say\":\"purged\",\"number\":1}}' >&0;; esac\n\
         while [ ! -e {} ]; do sleep 0.05; done; kill -9 $$",
        waits.display(),
        goes.display()
    );
    let binary = stand_in(&place, "stand-in", &script);
    let upgrading = std::thread::spawn({
        let command = place.command(&["upgrade", "--binary", binary.to_str().unwrap()]);
        move || finish(command)
    });
    eventually("the store is closed", || waits.exists().then_some(()));
    let status = proxy.status(&place);
    assert_eq!((&status["state"], &status["ready"]), (&json!("upgrading"), &json!(true)));
    assert!(get(proxy.address, "/gone").is_hit(), "it goes on from RAM");
    assert!(!get(proxy.address, "/new").is_hit() && get(proxy.address, "/new").is_hit(), "and stores there");
    assert_eq!(place.run(&["upgrade"]).code, 9, "one at a time");
    assert_eq!(place.run(&["reload"]).code, 3);
    place.print(&["cache", "purge", "http://stone.test/gone", "-y"]);
    assert!(!get(proxy.address, "/gone").is_hit());
    std::fs::write(&goes, "").unwrap();
    let Output { code, stderr, .. } = upgrading.join().unwrap();
    assert_eq!(code, 9, "{stderr}");
    proxy.store_is(&place, "open");
    assert!(get(proxy.address, "/kept").is_hit());
    let asked = origin.hits("/gone");
    proxy.kill();
    // What the journal says holds for the next one, too.
    let proxy = Proxy::start(&place, &["-c", place.path("proxy-stone.toml").to_str().unwrap()]);
    proxy.store_is(&place, "open");
    assert!(get(proxy.address, "/kept").is_hit());
    get(proxy.address, "/gone");
    assert!(origin.hits("/gone") <= asked + 1);
}

#[test]
fn a_signal_upgrades_and_the_service_manager_is_told() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("hello", 600));
    let path = place.path("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = place.command(&["serve", &origin.url(), "-l", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut proxy = Proxy::spawn(command);
    assert_eq!(hear(), "READY=1");
    proxy.store_is(&place, "open");
    proxy.signal(Signal::USR2);
    let mut said = [hear(), hear()];
    said.sort();
    let pid = said[0].strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
    let successor = Successor(pid);
    assert_eq!(said[1], "READY=1");
    assert_eq!(proxy.exited(), 0);
    assert_eq!(status(&place)["pid"], pid);
    assert_eq!(get(proxy.address, "/").text(), "hello");
    successor.signal(Signal::TERM);
    assert_eq!(hear(), "STOPPING=1");
    eventually("it has ended", || (!successor.is_alive()).then_some(()));
}

#[test]
fn who_could_not_be_outlived_by_the_new_process_says_so() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("hello", 600));
    let plain = place.command(&["serve", &origin.url(), "-l", "127.0.0.1:0"]);
    // As systemd starts a unit that is not of the type `notify`.
    let mut command = std::process::Command::new("sh");
    command.env_clear().args(["-c", "SYSTEMD_EXEC_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.stderr(std::process::Stdio::piped());
    let proxy = Proxy::spawn(command);
    proxy.store_is(&place, "open");
    let output = place.run(&["upgrade"]);
    assert_eq!(output.code, 9);
    assert!(output.stderr.contains("Type=notify"), "{output:?}");
    assert_eq!(get(proxy.address, "/").text(), "hello");
}
