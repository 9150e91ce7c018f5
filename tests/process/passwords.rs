//! `password hash`.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::support::{Place, Proxy, get};

fn hash(place: &Place, args: &[&str], password: &str) -> Output {
    let mut command = place.command(&[&["password", "hash"], args].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_it_prints_is_a_line_of_a_file_of_users() {
    let place = Place::new();
    let made = hash(&place, &["alice"], "correct horse\n");
    assert!(made.status.success(), "{made:?}");
    let line = String::from_utf8(made.stdout).unwrap();
    assert!(line.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$"), "{line}");
    place.write("users.txt", &line);
    let config = "[[routes]]\nrespond = {}\nbasic_auth = { file = 'users.txt' }\n";
    let proxy = Proxy::configured(&place, config);
    assert_eq!(get(proxy.address, "/").status, 401);
    let asked = |pair: &str| {
        let request = format!("GET / HTTP/1.1\r\nhost: stone.test\r\nauthorization: Basic {pair}\r\n\r\n");
        crate::support::Client::connect(proxy.address).unwrap().ask(&request).unwrap().status
    };
    assert_eq!(asked("YWxpY2U6Y29ycmVjdCBob3JzZQ=="), 200);
    assert_eq!(asked("YWxpY2U6d3Jvbmc="), 401);
}

#[test]
fn what_is_no_password_or_no_name_is_refused() {
    let place = Place::new();
    for (args, password) in [(&["a:b"][..], "x\n"), (&[], "\n"), (&[], ""), (&[], "a\tb\n")] {
        let made = hash(&place, args, password);
        assert_eq!(made.status.code(), Some(2), "{args:?} {password:?}");
        assert!(made.stdout.is_empty());
    }
}
