//! Sockets that whoever starts the process opens for it, as systemd does.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::support::{Answer, Origin, Place, Proxy, get};

/// `serve` with `socket` as its first handed-over descriptor, named `web`.
fn activated(place: &Place, origin: &Origin, listen: &str, socket: TcpListener) -> Command {
    let plain = place.command(&["serve", &origin.url(), "-l", listen]);
    // The shell becomes the process, so that its id is the one that the sockets are said to be for.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.env_clear();
    command.args(["-c", script]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(OwnedFd::from(socket)).stderr(Stdio::piped());
    command
}

fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn hello() -> Origin {
    Origin::new(|_| Answer::fresh("hello", 60))
}

#[test]
fn a_socket_that_was_handed_over_is_served_and_what_queued_on_it_is_answered() {
    for listen in ["systemd", "systemd:web", "systemd:0"] {
        let (place, origin, socket) = (Place::new(), hello(), socket());
        let address = socket.local_addr().unwrap();
        // Before the process is even there.
        let early = std::thread::spawn(move || get(address, "/early"));
        let proxy = Proxy::spawn(activated(&place, &origin, listen, socket));
        assert_eq!(proxy.address, address, "it says where that is");
        assert_eq!(early.join().unwrap().text(), "hello");
        for _ in 0..10 {
            assert_eq!(get(address, "/").text(), "hello");
        }
        proxy.stop();
    }
}

#[test]
fn a_socket_that_nobody_handed_over_is_an_error_that_says_what_there_was() {
    let (place, origin) = (Place::new(), hello());
    let output = activated(&place, &origin, "systemd:api", socket()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(9), "{said}");
    for wanted in ["cannot listen on systemd:api", "was given: web", "systemd-socket-activate"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let output = place.command(&["serve", &origin.url(), "-l", "systemd"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("given no socket"), "{said}");
}
