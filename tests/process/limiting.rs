//! `limit` and `route test` against the running instance.

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, get};

const CONFIG: &str = "\
[rate_limits.per-client]
rate = \"3/h\"
every_route = true

[rate_limits.per-key]
rate = \"10/h\"
key = \"header:x-api-key\"
every_route = true
";

#[test]
fn route_test_says_what_a_policy_makes_of_an_origin() {
    let place = Place::new();
    let config = "cors = 'https://*.example.com'\n[[routes]]\nmatch = { methods = ['PUT'] }\nrespond = {}\n";
    let _proxy = Proxy::configured(&place, config);
    let asked = |method: &str, origin: &str| {
        let origin = format!("origin: https://{origin}");
        let wanted = "access-control-request-method: PUT";
        place.print(&["route", "test", method, "/", "-H", &origin, "-H", wanted])
    };
    let said = asked("OPTIONS", "a.example.com");
    assert!(said.contains("https://a.example.com: a preflight, answered here with 204"), "{said}");
    let said = asked("OPTIONS", "example.com");
    assert!(said.contains("a preflight, refused with 403"), "{said}");
    let said = asked("PUT", "a.example.com");
    assert!(said.contains("the origin is allowed to read the reply"), "{said}");
}

#[test]
fn who_is_limited_is_shown_and_can_begin_anew() {
    let place = Place::new();
    let origin = Origin::new(|_| Answer::fresh("hello", 600));
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{CONFIG}", origin.url()));
    let ask = |count: usize| {
        let request = "GET / HTTP/1.1\r\nhost: stone.test\r\nx-api-key: hunter2\r\n\r\n";
        let status = |_| Client::connect(proxy.address).unwrap().ask(request).unwrap().status;
        (0..count).map(status).collect::<Vec<_>>()
    };
    assert_eq!(ask(4), [200, 200, 200, 429]);

    let keys = place.items(&["limit", "ls"]);
    assert_eq!(
        (&keys[0]["limit"], &keys[0]["key"], &keys[0]["state"], &keys[0]["remaining"], &keys[0]["refused"]),
        (&"per-client".into(), &"127.0.0.1".into(), &"limited".into(), &0.into(), &1.into())
    );
    let hashed = keys[1]["key"].as_str().unwrap();
    assert!(hashed.starts_with("header:x-api-key=#") && !hashed.contains("hunter2"), "{hashed}");
    assert_eq!((&keys[1]["remaining"], &keys[1]["quota"]), (&7.into(), &10.into()));
    assert_eq!(place.items(&["limit", "ls", "per-key", "--limited"]).len(), 0);

    let limits = place.items(&["limit", "stats"]);
    assert_eq!((&limits[0]["allowed"], &limits[0]["limited"]), (&3.into(), &1.into()));
    assert!(limits[0]["max_bytes"].as_u64().is_some_and(|bytes| bytes < 40 << 20));

    let test = place.print(&["route", "test", "GET", "/"]);
    assert!(test.contains("per-client: 3/h for 127.0.0.1: limited, 0 of 3 left"), "{test}");
    let other = place.print(&["route", "test", "GET", "/", "--client", "192.0.2.7"]);
    assert!(other.contains("per-client: 3/h for 192.0.2.7: passes, 3 of 3 left"), "{other}");

    assert_eq!(place.print(&["limit", "reset", "127.0.0.1"]).trim(), "1 key forgotten");
    assert_eq!(ask(1), [200]);
    assert_eq!(get(proxy.address, "/").status, 200);
    assert_eq!(place.run(&["limit", "reset", "192.0.2.99"]).code, 4);
    assert_eq!(place.run(&["limit", "ls", "nobody"]).code, 4);
    let logged = || place.items(&["logs", "--filter", "limit == per-client"]);
    eventually("the refusal is logged", || (logged().len() == 1).then_some(()));
}
