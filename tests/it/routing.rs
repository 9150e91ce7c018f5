//! The most specific route takes a request, wherever it stands in the file.

use std::fmt::Write as _;

use crate::support::{Answer, Origin, Proxy};

/// Names and matches, the least specific first so that the order of the file helps nobody.
const ROUTES: &[(&str, &str)] = &[
    ("anything", ""),
    ("regex", "path = \"~ /v[0-9]+/.*\""),
    ("prefix", "path = \"/v1/*\""),
    ("longer", "path = \"/v1/users/*\""),
    ("params", "path = \"/v1/users/{id}\""),
    ("exact", "path = \"/v1/users/me\""),
    ("posting", "path = \"/v1/users/me\", methods = [\"POST\", \"PUT\"]"),
    ("beta", "path = \"/v1/users/me\", headers = { x-beta = true }"),
    ("beta-two", "path = \"/v1/users/me\", headers = { x-beta = \"2\" }, query = { debug = \"~ [01]\" }"),
    ("wildcard", "host = \"*.tenants.test\""),
    ("tenant", "host = \"one.tenants.test\""),
    ("tenant-path", "host = \"*.tenants.test\", path = \"/v1/*\""),
];

/// Method, host, target, a field, and the route that takes it.
const ASKED: &[(&str, &str, &str, &str, &str)] = &[
    ("GET", "api.test", "/", "", "anything"),
    ("GET", "api.test", "/v2/x", "", "regex"),
    ("GET", "api.test", "/v1/x", "", "prefix"),
    ("GET", "api.test", "/v1", "", "prefix"),
    ("GET", "api.test", "/v1/users/7/posts", "", "longer"),
    ("GET", "api.test", "/v1/users/7", "", "params"),
    ("GET", "api.test", "/v1/users/me", "", "exact"),
    ("HEAD", "api.test", "/v1/users/me", "", "exact"),
    ("GET", "api.test", "/v1/./users/x/../me?a", "", "exact"),
    ("GET", "api.test", "/%76%31/users/me", "", "exact"),
    ("POST", "api.test", "/v1/users/me", "", "posting"),
    ("GET", "api.test", "/v1/users/me", "x-beta: 1", "beta"),
    ("GET", "api.test", "/v1/users/me?debug=1", "x-beta: 2", "beta-two"),
    ("GET", "api.test", "/v1/users/me?debug=5", "x-beta: 2", "beta"),
    ("GET", "TWO.Tenants.Test:8080", "/", "", "wildcard"),
    ("GET", "one.tenants.test", "/v1/x", "", "tenant"),
    ("GET", "two.tenants.test", "/v1/x", "", "tenant-path"),
    ("GET", "tenants.test", "/", "", "anything"),
];

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order() {
    let origin = Origin::answering(|request| Answer::ok(request.word(1).to_owned())).await;
    for reversed in [false, true] {
        let mut routes = ROUTES.to_vec();
        if reversed {
            routes.reverse();
        }
        let mut config = "cache = false\n".to_owned();
        for (name, matching) in routes {
            let url = origin.url();
            write!(
                config,
                "[[routes]]\nname = \"{name}\"\nupstream = \"{url}/{name}\"\nmatch = {{ {matching} }}\n"
            )
            .unwrap();
        }
        let proxy = Proxy::of(config).start().await;
        for (method, host, target, field, expected) in ASKED {
            let host = format!("host: {host}");
            let fields: Vec<&str> =
                [host.as_str(), field].into_iter().filter(|line| !line.is_empty()).collect();
            let reply = proxy.ask(method, target, &fields, "").await;
            assert_eq!(reply.status, 200);
            let asked = origin.last();
            let taken = asked.word(1).split('/').nth(1).unwrap();
            assert_eq!(taken, *expected, "{method} {host} {target} {field}");
        }
        let finished = proxy.finished(ASKED.len()).await;
        // Workers finish in no order.
        let mut names: Vec<_> = finished.iter().map(|exchange| exchange.route.as_deref().unwrap()).collect();
        let mut expected: Vec<_> = ASKED.iter().map(|asked| asked.4).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_route_that_does_not_take_the_method_leaves_it_to_the_next() {
    let origin = Origin::answering(|request| Answer::ok(request.word(1).to_owned())).await;
    let url = origin.url();
    let config = format!(
        "[[routes]]\nupstream = \"{url}/get\"\nmatch = {{ path = \"/a\", methods = [\"GET\"] }}\n\
         [[routes]]\nupstream = \"{url}/rest\"\nmatch = {{ path = \"/*\" }}"
    );
    let proxy = Proxy::of(config).start().await;
    assert_eq!(proxy.get("/a").await.text(), "/get/a");
    assert_eq!(proxy.ask("DELETE", "/a", &[], "").await.text(), "/rest/a");
}

#[tokio::test]
async fn absolute_targets_are_routed_by_their_own_host() {
    let origin = Origin::answering(|request| Answer::ok(request.word(1).to_owned())).await;
    let url = origin.url();
    let config = format!(
        "[[routes]]\nupstream = \"{url}/own\"\nmatch = {{ host = \"own.test\" }}\n[[routes]]\nupstream = \"{url}/rest\""
    );
    let proxy = Proxy::of(config).start().await;
    assert_eq!(proxy.get("http://own.test/a").await.text(), "/own/a");
    assert_eq!(proxy.get("/a").await.text(), "/rest/a");
}
