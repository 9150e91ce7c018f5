//! When file descriptors run out: who is there goes on, the admin socket answers, and nothing falls over.

use std::process::{Command, Stdio};

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: stone.test\r\n\r\n";

#[test]
fn without_descriptors_clients_that_are_there_and_the_admin_socket_go_on() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::new("hello"));
    let config =
        format!("listen = \"127.0.0.1:0\"\nworkers = 2\nupstream = \"{}\"\ncache = false\n", origin.url());
    let path = place.write("proxy-stone.toml", &config);
    let serve = place.command(&["serve", "-c", path.to_str().unwrap()]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 160 && exec \"$0\" \"$@\""])
        .arg(serve.get_program())
        .args(serve.get_args());
    limited.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(place.path(".")).stdin(Stdio::null()).stderr(Stdio::piped());
    let proxy = Proxy::spawn(limited);

    let mut first = Client::connect(proxy.address).unwrap();
    assert_eq!(first.ask(REQUEST).unwrap().status, 200);
    // Far more than there are descriptors for; most are closed at once, or wait to be accepted.
    let crowd: Vec<_> = (0..400).filter_map(|_| Client::connect(proxy.address).ok()).collect();
    let refused = || {
        let told = place.run(&["metrics", "-o", "openmetrics"]).stdout;
        told.contains("connections_refused_total{reason=\"resources\"}").then_some(())
    };
    eventually("some are refused", refused);
    for _ in 0..20 {
        assert_eq!(first.ask(REQUEST).unwrap().status, 200);
        assert_eq!(place.run(&["status"]).code, 0);
    }
    drop(crowd);
    eventually("new clients are served again", || {
        let reply = Client::connect(proxy.address).ok()?.ask(REQUEST).ok()?;
        (reply.status == 200).then_some(())
    });
    proxy.stop();
}
