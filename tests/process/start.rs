//! Starting up: what it says, what it serves, how long that takes.

use std::io::Read;

use crate::support::{Answer, Origin, Place, Proxy, eventually, get};

fn hello() -> Origin {
    Origin::new(|asked| Answer::fresh(format!("hello from {}", asked.target), 60))
}

#[test]
fn one_url_is_enough() {
    let (place, origin) = (Place::new(), hello());
    let proxy = Proxy::before(&place, &origin.url());
    let said = proxy.said();
    println!("ready after {:?}\n{said}", proxy.took);
    assert!(proxy.took.as_millis() < 1000, "{:?}", proxy.took);

    assert!(proxy.address.ip().is_loopback());
    for wanted in [
        format!("listening  http://{}", proxy.address),
        format!("-> {}", origin.url()),
        place.store().display().to_string(),
        place.socket().display().to_string(),
        format!("curl -i http://{}/", proxy.address),
    ] {
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }

    assert_eq!(get(proxy.address, "/a?b=c").text(), "hello from /a?b=c");
    assert!(get(proxy.address, "/a?b=c").is_hit());
    assert_eq!(origin.hits("/a?b=c"), 1);
    proxy.stop();
    assert!(!place.socket().exists());
}

#[test]
fn status_tells_what_runs() {
    let (place, origin) = (Place::new(), hello());
    let proxy = Proxy::before(&place, &origin.url());
    get(proxy.address, "/");
    let status = proxy.store_is(&place, "open");
    assert_eq!(status["state"], "serving");
    assert_eq!(status["ready"], true);
    assert_eq!(status["pid"], proxy.pid());
    assert_eq!(status["generation"], 1);
    assert_eq!(status["listeners"][0]["address"], proxy.address.to_string());
    assert_eq!(status["connections"]["finished"], 1);
    assert_eq!(status["state_dir"], place.state().display().to_string());
    assert_eq!(status["socket"], place.socket().display().to_string());
    assert!(status["workers"].as_u64() >= Some(1));

    let text = place.print(&["status"]);
    assert!(text.contains(&proxy.address.to_string()) && text.contains("serving"), "{text}");
    assert!(text.contains(&proxy.pid().to_string()), "{text}");
}

#[test]
fn a_config_file_is_served() {
    let (place, origin) = (Place::new(), hello());
    let other = Origin::new(|_| Answer::new("the other one"));
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"{}\"\nworkers = 2\n[[routes]]\nname = \"other\"\nmatch = {{ path = \"/other/*\" }}\nupstream = \"{}\"\n",
            origin.url(),
            other.url()
        ),
    );
    assert!(proxy.said().contains("proxy-stone.toml"), "{}", proxy.said());
    assert_eq!(get(proxy.address, "/x").text(), "hello from /x");
    assert_eq!(get(proxy.address, "/other/x").text(), "the other one");
    let status = proxy.status(&place);
    assert_eq!(status["workers"], 2);
    assert_eq!(status["config"], place.path("proxy-stone.toml").display().to_string());
}

#[test]
fn the_config_in_the_working_directory_is_found() {
    let (place, origin) = (Place::new(), hello());
    place.write("proxy-stone.toml", &format!("listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n", origin.url()));
    let proxy = Proxy::start(&place, &[]);
    assert_eq!(get(proxy.address, "/x").text(), "hello from /x");
}

#[test]
fn the_demo_needs_no_network() {
    let place = Place::new();
    let proxy = Proxy::start(&place, &["--demo", "-l", "127.0.0.1:0"]);
    let first = get(proxy.address, "/plain");
    assert_eq!(first.status, 200, "{first:?}");
    let second = get(proxy.address, "/plain");
    assert!(second.is_hit(), "{second:?}");
    assert_eq!(first.body, second.body);
    assert!(proxy.said().contains("/plain"), "{}", proxy.said());
}

#[test]
fn an_upstream_that_is_not_there_is_a_502_and_not_an_exit() {
    let place = Place::new();
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"http://{free}\"\n[[routes]]\nmatch = {{ path = \"/named\" }}\nupstream = \"http://does-not-exist.invalid\"\n"
        ),
    );
    proxy.says("does not resolve");
    for target in ["/", "/named"] {
        let reply = get(proxy.address, target);
        assert_eq!(reply.status, 502, "{reply:?}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(!reply.header("proxy-status").is_empty());
        assert!(!reply.text().contains(&free.to_string()), "{reply:?}");
    }
    assert_eq!(place.items(&["upstream", "ls"]).len(), 2);
}

#[test]
fn quiet_says_nothing_but_serves() {
    let (place, origin) = (Place::new(), hello());
    let mut child = place.command(&["serve", &origin.url(), "-l", "127.0.0.1:0", "-q"]).spawn().unwrap();
    eventually("it is ready", || (place.run(&["status"]).code == 0).then_some(()));
    place.print(&["stop"]);
    // Its end, which `stop` has waited for, closes the pipe.
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
