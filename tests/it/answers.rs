//! Replies that a route gives by itself: fixed ones, redirects, maintenance.

use crate::support::{Answer, Origin, Proxy};

const OWN: &str = r#"
[[routes]]
name = "health"
match = { path = "/healthz" }
respond = { body = "fine\n", headers = { x-own = "1", cache-control = "no-store" } }

[[routes]]
name = "gone"
match = { path = "/old/*" }
respond = { status = 410, body = '{"gone":true}', type = "application/json" }

[[routes]]
name = "nothing"
match = { path = "/nothing" }
respond = { status = 204 }

[[routes]]
name = "moved"
match = { host = "old.test" }
redirect = { to = "https://{host}{path}{query}", status = 308 }

[[routes]]
name = "short"
match = { path = "/short/*" }
redirect = "{path}"
"#;

#[tokio::test]
async fn a_route_answers_by_itself() {
    let origin = Origin::always(Answer::ok("origin")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{OWN}", origin.url())).start().await;
    let mut client = proxy.connect().await;
    for method in ["GET", "POST", "DELETE"] {
        let body = if method == "POST" { "some" } else { "" };
        let reply = client.ask(method, "/healthz", &[], body).await;
        assert_eq!((reply.status, reply.text()), (200, "fine\n"), "{method}");
        assert_eq!(reply.fields.get("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(
            (reply.fields.get("x-own"), reply.fields.get("cache-control")),
            (Some("1"), Some("no-store"))
        );
        assert!(reply.fields.has("x-request-id") && reply.fields.has("date"));
    }
    let head = client.ask("HEAD", "/healthz", &[], "").await;
    assert_eq!((head.status, head.fields.get("content-length"), head.body.len()), (200, Some("5"), 0));
    let gone = client.get("/old/x").await;
    assert_eq!((gone.status, gone.fields.get("content-type")), (410, Some("application/json")));
    let nothing = client.get("/nothing").await;
    assert_eq!((nothing.status, nothing.fields.has("content-length")), (204, false));
    assert_eq!(proxy.connect_h2().await.get("/healthz").await.text(), "fine\n");
    assert_eq!(origin.hits(), 0);
    assert_eq!(client.get("/other").await.text(), "origin");
    let finished = proxy.finished(8).await;
    let own = finished.iter().find(|event| event.route.as_deref() == Some("health")).expect("a health check");
    assert_eq!((own.upstream.as_deref(), own.status), (None, 200));
}

#[tokio::test]
async fn a_redirect_is_made_of_what_was_asked_for() {
    let origin = Origin::always(Answer::ok("origin")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{OWN}", origin.url())).start().await;
    for (host, target, status, location) in [
        ("old.test:8080", "/a/./b?c=%2F", 308, "https://old.test/a/b?c=%2F"),
        ("old.test", "//evil.test/", 308, "https://old.test//evil.test/"),
        ("api.test", "/short/x?y", 302, "/short/x"),
    ] {
        let reply = proxy.ask("GET", target, &[&format!("Host: {host}")], "").await;
        assert_eq!((reply.status, reply.fields.get("location")), (status, Some(location)), "{target}");
        assert_eq!((reply.fields.get("content-length"), reply.body.len()), (Some("0"), 0));
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn maintenance_answers_503_until_a_reload_ends_it() {
    let origin = Origin::always(Answer::ok("origin").field("cache-control", "max-age=60")).await;
    let serving = format!("upstream = \"{}\"\n{OWN}", origin.url());
    let proxy = Proxy::of(serving.clone()).start().await;
    assert_eq!(proxy.get("/a").await.status, 200);
    proxy.stored(1).await;

    proxy.reload(&format!("maintenance = {{ retry_after = \"10m\" }}\n{serving}")).unwrap();
    for target in ["/a", "/b"] {
        let reply = proxy.get(target).await;
        assert_eq!((reply.status, reply.fields.get("retry-after")), (503, Some("600")));
        assert_eq!(reply.fields.get("content-type"), Some("application/problem+json"));
        assert_eq!(reply.fields.get("cache-control"), Some("no-store"));
    }
    assert_eq!(proxy.get("/healthz").await.status, 200, "what asks no upstream goes on");

    let page = "maintenance = { body = \"<p>Soon\", type = \"text/html\", allow = [\"10.0.0.0/8\"] }";
    proxy.reload(&format!("trusted_proxies = [\"127.0.0.1\"]\n{page}\n{serving}")).unwrap();
    let reply = proxy.get("/a").await;
    assert_eq!((reply.status, reply.text()), (503, "<p>Soon"));
    assert_eq!(
        (reply.fields.get("retry-after"), reply.fields.get("content-type")),
        (Some("60"), Some("text/html"))
    );
    let allowed = proxy.ask("GET", "/a", &["X-Forwarded-For: 10.1.2.3"], "").await;
    assert_eq!((allowed.status, allowed.text()), (200, "origin"));

    proxy.reload(&serving).unwrap();
    assert_eq!(proxy.get("/a").await.text(), "origin");
    assert_eq!(origin.hits(), 1, "what was stored still stands");
}
