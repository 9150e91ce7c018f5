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

const PREFIXES: &str = r#"
[[routes]]
name = "api"
match = { path = "/api/*" }
path = { strip_prefix = "/api" }

[[routes]]
name = "v1"
match = { path = "/v1/*" }
path = { strip_prefix = "/v1" }

[[routes]]
name = "app"
match = { path = "/app/*" }
path = { strip_prefix = "/app", add_prefix = "/srv/app" }

[[routes]]
name = "regex"
match = { path = "/regex/*" }
path = { strip_prefix = "/regex", replace = { 'x' = "y" } }

[[routes]]
name = "kept"
match = { path = "/kept/*" }
path = { strip_prefix = "/kept", keep_locations = true }

[[routes]]
name = "local"
match = { path = "/local/*" }
path = { strip_prefix = "/local" }
redirect = "{path}"

[[routes]]
name = "narrow"
match = { path = "/narrow/in/*" }
path = { strip_prefix = "/narrow" }
"#;

/// Names in `Location` and `Content-Location` what it is told to; `ORIGIN` is its own name.
async fn naming() -> (Origin, Proxy) {
    let answer = |request: &crate::support::Head| {
        let own = request.fields.get("x-origin").unwrap_or_default();
        let named = request.fields.get("x-name").unwrap_or("/items/1").replace("ORIGIN", own);
        let status = if request.word(0) == "GET" { 200 } else { 201 };
        let answer = Answer::new(status).field("cache-control", "max-age=60");
        answer.field("location", named.clone()).field("content-location", named)
    };
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{PREFIXES}", origin.url())).start().await;
    (origin, proxy)
}

#[tokio::test]
async fn what_a_reply_names_is_what_the_client_asks_for() {
    let (origin, proxy) = naming().await;
    for (sent, named, seen) in [
        ("/api/items", "/items/1", "/api/items/1"),
        ("/api/items", "/items/1?a=/b#c", "/api/items/1?a=/b#c"),
        ("/api", "/", "/api/"),
        ("/api/items", "http://ORIGIN/items/1", "http://api.test/api/items/1"),
        ("/api/items", "http://api.test/items/1", "http://api.test/api/items/1"),
        ("/api/items", "https://api.test/items/1", "https://api.test/api/items/1"),
        ("/api/items", "//api.test/items/1", "//api.test/api/items/1"),
        ("/api/items", "http://elsewhere.test/items/1", "http://elsewhere.test/items/1"),
        ("/api/items", "//elsewhere.test/items/1", "//elsewhere.test/items/1"),
        ("/api/items", "/api/items/1", "/api/items/1"),
        ("/api/items", "../items/1", "../items/1"),
        ("/api/items", "/../items/1", "/../items/1"),
        ("/app/x", "/srv/app/y", "/app/y"),
        ("/app/x", "/srv/app", "/app"),
        ("/app/x", "/app/y", "/app/y"),
        ("/app/x", "/srv/apple", "/srv/apple"),
        ("/regex/x", "/items/1", "/items/1"),
        ("/kept/x", "/items/1", "/items/1"),
        ("/narrow/in/x", "/in/y", "/narrow/in/y"),
        ("/narrow/in/x", "/out/y", "/out/y"),
        ("/none/x", "/items/1", "/items/1"),
    ] {
        let fields = [format!("X-Name: {named}"), format!("X-Origin: {}", origin.address)];
        let reply = proxy.ask("POST", sent, &[&fields[0], &fields[1]], "x").await;
        let named = (reply.field("location"), reply.field("content-location"));
        assert_eq!(named, (Some(seen), Some(seen)), "{sent} {fields:?}");
    }
    let own = proxy.get("/local/x").await;
    assert_eq!(own.field("location"), Some("/x"), "the route's own redirect says what it says");
}

#[tokio::test]
async fn a_shared_reply_names_for_each_client_what_that_one_asks_for() {
    let (origin, proxy) = naming().await;
    for (sent, seen) in [("/api/a", "/api/items/1"), ("/v1/a", "/v1/items/1"), ("/api/a", "/api/items/1")] {
        let reply = proxy.get(sent).await;
        assert_eq!(reply.field("location"), Some(seen), "{sent}");
        proxy.stored(1).await;
    }
    let conditional = proxy.ask("HEAD", "/v1/a", &[], "").await;
    assert_eq!(conditional.field("content-location"), Some("/v1/items/1"));
    assert_eq!(origin.hits(), 1);
}

/// RFC 9111 4.4, RFC 9110 9.3.3: the origin means what it was asked for.
#[tokio::test]
async fn what_an_origin_names_ends_and_stores_what_clients_ask_for() {
    let answer = |request: &crate::support::Head| {
        let fresh = Answer::ok("x").field("cache-control", "max-age=60");
        match (request.word(0), request.word(1)) {
            ("POST", "/search") => fresh.field("content-location", "/search"),
            ("POST", _) => Answer::new(201).field("location", "/items/1"),
            _ => fresh,
        }
    };
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{PREFIXES}", origin.url())).start().await;
    proxy.get("/api/items/1").await;
    proxy.stored(1).await;
    assert!(proxy.has("api.test", "/v1/items/1").await);
    let made = proxy.ask("POST", "/v1/items", &[], "x").await;
    assert_eq!(made.field("location"), Some("/v1/items/1"));
    assert!(!proxy.has("api.test", "/api/items/1").await);

    let posted = proxy.ask("POST", "/api/search", &[], "x").await;
    assert_eq!(posted.field("content-location"), Some("/api/search"));
    proxy.stored(2).await;
    let hits = origin.hits();
    let found = proxy.get("/v1/search").await;
    assert_eq!(found.field("content-location"), Some("/v1/search"));
    assert_eq!(origin.hits(), hits);
}
