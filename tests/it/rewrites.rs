//! What is forwarded is rewritten; routes go by what was sent, and stored replies by what is forwarded.

use crate::support::{Answer, Origin, Proxy};

const ROUTES: &str = r#"
[[routes]]
name = "api"
match = { path = "/api/*" }
path = { strip_prefix = "/api", replace = { '^/users/(\d+)$' = "/people/$1", '-' = "" }, add_prefix = "/v1" }
query = { rename = { q = "search" }, remove = ["utm_*"], set = { format = "json" } }

[[routes]]
name = "other"
match = { path = "/other/*" }
path = { strip_prefix = "/other", add_prefix = "/v1" }
query = { set = { format = "json" } }

[[routes]]
name = "admin"
match = { path = "/v1/admin/*" }
respond = { status = 403 }
"#;

async fn rewriting() -> (Origin, Proxy) {
    let answer = |request: &crate::support::Head| {
        Answer::ok(request.word(1).to_owned()).field("cache-control", "max-age=60")
    };
    let origin = Origin::answering(answer).await;
    let config = format!("upstream = \"{}\"\n[purge]\nallow = [\"127.0.0.1\"]\n{ROUTES}", origin.url());
    (origin, Proxy::of(config).start().await)
}

#[tokio::test]
async fn the_origin_gets_what_the_route_makes_of_the_target() {
    let (_origin, proxy) = rewriting().await;
    for (sent, forwarded) in [
        ("/api/users/7", "/v1/people/7?format=json"),
        ("/api/./users/x/../7?q=a%20b&utm_source=x", "/v1/people/7?search=a%20b&format=json"),
        ("/api", "/v1?format=json"),
        ("/api/a%2fb", "/v1/a%2Fb?format=json"),
        ("/other/x?format=xml&a", "/v1/x?format=json&a"),
        ("/apis?q=1", "/apis?q=1"),
    ] {
        assert_eq!(proxy.get(sent).await.text(), forwarded, "{sent}");
        assert_eq!(proxy.ask("POST", sent, &[], "x").await.text(), forwarded, "POST {sent}");
    }
}

#[tokio::test]
async fn what_a_rewrite_makes_of_dots_and_slashes_is_refused() {
    let (origin, proxy) = rewriting().await;
    for target in
        ["/api/.-./admin", "/api/x/.-.", "/api/-./x", "/api/a%-2Fb", "/api/%-2e%2e/admin", "/api/%-zz"]
    {
        let reply = proxy.get(target).await;
        assert_eq!(reply.status, 400, "{target}");
    }
    assert_eq!(origin.hits(), 0);
    assert_eq!(proxy.get("/v1/admin/x").await.status, 403);
    // What the client sends in other words is what the routes see.
    assert_eq!(proxy.get("/api/../v1/admin/x").await.status, 403);
}

#[tokio::test]
async fn what_two_requests_share_after_rewriting_is_one_entry() {
    let (origin, proxy) = rewriting().await;
    proxy.get("/api/x?utm_source=a").await;
    proxy.stored(1).await;
    for target in ["/api/x?utm_source=b", "/other/x", "/api/x?format=xml", "/api/-x"] {
        let reply = proxy.get(target).await;
        assert!(reply.fields.get("cache-status").unwrap().contains("hit"), "{target}");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_purge_takes_the_client_s_url_or_the_forwarded_one() {
    let (origin, proxy) = rewriting().await;
    for (hits, purged) in ["/api/x?utm_medium=y", "/other/x", "/v1/x?format=json"].iter().enumerate() {
        proxy.get("/api/x").await;
        proxy.stored(hits as u64 + 1).await;
        assert_eq!(origin.hits(), hits + 1, "{purged}");
        assert!(proxy.has("api.test", "/other/x").await);
        assert_eq!(proxy.ask("PURGE", purged, &[], "").await.status, 200);
        assert!(!proxy.has("api.test", "/api/x").await, "{purged}");
    }
    // RFC 9111 4.4: an unsafe request through either ends what is stored for both.
    proxy.get("/api/x").await;
    proxy.stored(4).await;
    assert_eq!(proxy.ask("DELETE", "/other/x", &[], "").await.status, 200);
    assert!(!proxy.has("api.test", "/api/x").await);
}

#[tokio::test]
async fn a_redirect_goes_by_the_rewritten_path() {
    let config = "[[routes]]\nmatch = { path = '/old/*' }\npath = { strip_prefix = '/old', add_prefix = '/new' }\n\
                  redirect = 'https://{host}{path}{query}'";
    let proxy = Proxy::of(config).start().await;
    let reply = proxy.get("/old/a?b").await;
    assert_eq!((reply.status, reply.fields.get("location")), (302, Some("https://api.test/new/a?b")));
}
