//! What keeps an instance from starting: one clear message, the right exit code, nothing left behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Answer, Origin, Output, Place, Proxy, finish, get, is_root, skip};

/// Whom tests run the binary as, where root would be let through.
const NOBODY: u32 = 65534;

/// `serve` that must not come to serving.
#[track_caller]
fn refused(place: &Place, args: &[&str], code: i32) -> Output {
    refused_command(place.command(&[&["serve"], args].concat()), code)
}

#[track_caller]
fn refused_command(command: Command, code: i32) -> Output {
    let output = finish(command);
    println!("{}", output.stderr);
    assert_eq!(output.code, code, "{output:?}");
    assert_eq!(output.errors().len(), 1, "{output:?}");
    assert_eq!(output.stdout, "");
    for ugly in ["panicked", "Error {"] {
        assert!(!output.errors()[0].contains(ugly), "{output:?}");
    }
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    output
}

/// A message that says all of this.
#[track_caller]
fn says(output: &Output, wanted: &[&str]) {
    for wanted in wanted {
        assert!(output.stderr.contains(wanted), "{wanted:?} is missing: {}", output.stderr);
    }
}

/// The same command as somebody without rights; `None` where that can't be had.
fn as_nobody(place: &Place, args: &[&str]) -> Option<Command> {
    let mut command = place.command(args);
    if is_root() {
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
        let mut probe = place.command(&["--version"]);
        probe.uid(NOBODY).gid(NOBODY);
        if probe.output().map_or(true, |output| !output.status.success()) {
            skip("another user can't run the binary where it lies");
            return None;
        }
    }
    Some(command)
}

#[test]
fn a_port_that_another_program_has() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", &address], 9);
    says(
        &output,
        &[&address, "taken", "--listen", &format!("sport = :{}", taken.local_addr().unwrap().port())],
    );
    assert!(!place.socket().exists());
}

#[test]
fn a_port_that_another_proxy_stone_has() {
    let (place, other) = (Place::new(), Place::new());
    let origin = Origin::new(|_| Answer::new("here"));
    let running = Proxy::before(&other, &origin.url());
    let address = running.address.to_string();
    let output = refused(&place, &[&origin.url(), "-l", &address], 9);
    says(&output, &[&address, "taken"]);
    for _ in 0..8 {
        assert_eq!(get(running.address, "/").text(), "here");
    }
}

#[test]
fn a_second_instance_of_the_same_name() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("here"));
    let running = Proxy::before(&place, &origin.url());
    let output = refused(&place, &[&origin.url(), "-l", "127.0.0.1:0"], 9);
    says(&output, &["already running", place.socket().to_str().unwrap(), "proxy-stone status", "--instance"]);
    assert_eq!(running.status(&place)["pid"], running.pid());
    assert_eq!(get(running.address, "/").text(), "here");
}

#[test]
fn the_socket_of_a_killed_instance_is_replaced() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("here"));
    Proxy::before(&place, &origin.url()).kill();
    assert!(place.socket().exists());
    assert_eq!(place.run(&["status"]).code, 5);
    let running = Proxy::before(&place, &origin.url());
    assert_eq!(running.status(&place)["pid"], running.pid());
}

#[test]
fn something_else_stands_where_the_socket_should() {
    let place = Place::new();
    fs::write(place.socket(), "precious").unwrap();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", "127.0.0.1:0"], 9);
    says(&output, &["is no socket", "--socket"]);
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "precious");
}

#[test]
fn an_address_that_this_machine_does_not_have() {
    let place = Place::new();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", "192.0.2.1:8080"], 9);
    says(&output, &["192.0.2.1:8080", "does not have the address", "--listen :8080"]);
}

#[test]
fn a_privileged_port() {
    let place = Place::new();
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim() == "0" {
        return skip("no port is privileged here");
    }
    let Some(command) = as_nobody(
        &place,
        &[
            "serve",
            "http://127.0.0.1:9",
            "-l",
            "127.0.0.1:1",
            "--socket",
            &nobodys(&place, "socket"),
            "--state-dir",
            &nobodys(&place, "state-of-nobody"),
        ],
    ) else {
        return;
    };
    let output = refused_command(command, 9);
    says(&output, &["127.0.0.1:1", "permission denied", "1023"]);
}

/// A path in a directory of that user's own.
fn nobodys(place: &Place, name: &str) -> String {
    let dir = place.path("nobody");
    if !dir.exists() {
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    dir.join(name).display().to_string()
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let place = Place::new();
    let closed = place.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let state = closed.join("state").display().to_string();
    let socket = nobodys(&place, "socket");
    let args =
        ["serve", "http://127.0.0.1:9", "-l", "127.0.0.1:0", "--socket", &socket, "--state-dir", &state];
    let Some(command) = as_nobody(&place, &args) else { return };
    let output = refused_command(command, 9);
    says(&output, &[&state, "ermission denied", "--state-dir"]);
}

#[test]
fn a_state_directory_of_somebody_else() {
    if !is_root() {
        return skip("only root can give a directory away");
    }
    let place = Place::new();
    let state = nobodys(&place, "").trim_end_matches('/').to_owned();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", "127.0.0.1:0", "--state-dir", &state], 9);
    says(&output, &[&state, "belongs to user 65534", "--state-dir"]);
}

#[test]
fn a_state_directory_that_others_may_enter() {
    let place = Place::new();
    fs::create_dir(place.state()).unwrap();
    fs::set_permissions(place.state(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", "127.0.0.1:0"], 9);
    says(&output, &["open to others", &format!("chmod 700 {}", place.state().display())]);
}

#[test]
fn a_state_directory_that_is_a_file() {
    let place = Place::new();
    fs::write(place.state(), "precious").unwrap();
    let output = refused(&place, &["http://127.0.0.1:9", "-l", "127.0.0.1:0"], 9);
    says(&output, &["is not a directory", "--state-dir"]);
    assert_eq!(fs::read_to_string(place.state()).unwrap(), "precious");
}

#[test]
fn nothing_to_serve() {
    let output = refused(&Place::new(), &[], 2);
    says(&output, &["nothing to serve", "proxy-stone serve https://api.example.com", "--demo"]);
}

#[test]
fn a_config_that_is_not_there_or_not_text() {
    let place = Place::new();
    let output = refused(&place, &["-c", "nowhere.toml"], 3);
    says(&output, &["PS0001", "nowhere.toml"]);
    fs::create_dir(place.path("dir.toml")).unwrap();
    says(&refused(&place, &["-c", "dir.toml"], 3), &["PS0001", "dir.toml"]);
    fs::write(place.path("latin.toml"), b"name = \"caf\xe9\"").unwrap();
    says(&refused(&place, &["-c", "latin.toml"], 3), &["PS0002", "latin.toml"]);
}

#[test]
fn a_config_that_may_not_be_read() {
    let place = Place::new();
    let path = place.write("secret.toml", "upstream = \"http://127.0.0.1:9\"\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let (socket, state) = (nobodys(&place, "socket"), nobodys(&place, "state"));
    let args = ["serve", "-c", "secret.toml", "--socket", &socket, "--state-dir", &state];
    let Some(command) = as_nobody(&place, &args) else { return };
    says(&refused_command(command, 3), &["PS0001", "secret.toml", "ermission denied"]);
}

#[test]
fn a_config_with_errors_gets_all_of_them_at_once() {
    let place = Place::new();
    place.write(
        "bad.toml",
        "listn = \":8080\"\nupstream = \"nowhere\"\ncache = \"defualt\"\n[policies.default]\nttl = \"-5s\"\n",
    );
    let output = refused(&place, &["-c", "bad.toml"], 3);
    says(&output, &["bad.toml:1:1", "listen", "bad.toml:3", "did you mean", "bad.toml:5", "^", "4 errors"]);
    assert!(!place.socket().exists());
    // The command that it names finds the same.
    says(&output, &["proxy-stone config lint bad.toml"]);
    let lint = place.run(&["config", "lint", "bad.toml"]);
    assert_eq!(lint.code, 3, "{lint:?}");
}

#[test]
fn misuse_is_a_usage_error() {
    for args in [
        &["http://127.0.0.1:9", "--demo"][..],
        &["http://127.0.0.1:9", "-c", "x.toml"],
        &["--workers", "0", "--demo"],
        &["--mode", "sometimes", "--demo"],
        &["--grace", "soon", "--demo"],
    ] {
        let output = Place::new().run(&[&["serve"], args].concat());
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        assert!(output.stderr.starts_with("error: "), "{output:?}");
    }
    let place = Place::new();
    assert_eq!(place.run(&["serve", "--instance", "../x", "--demo"]).code, 2);
    let long = format!("/tmp/{}", "x".repeat(120));
    assert_eq!(place.run(&["serve", "--demo", "--socket", &long]).code, 2);
}

#[test]
fn a_url_that_is_none() {
    for url in ["ftp://example.com", "http://", "http://user:secret@example.com"] {
        let output = refused(&Place::new(), &[url, "-l", "127.0.0.1:0"], 3);
        assert!(!output.stderr.contains("secret"), "{output:?}");
    }
}
