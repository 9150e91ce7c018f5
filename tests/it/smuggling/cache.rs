//! Cache poisoning and cache deception: what is keyed is what is forwarded, and no spelling of a private thing is public.

use crate::support::{Answer, Head, Origin, Proxy};

/// Says what it was asked, and that everybody may keep that.
async fn echo() -> Origin {
    Origin::answering(|request: &Head| {
        let text = |name: &str| request.fields.all(name).join(",");
        let body = format!(
            "{}|{}|{}|{}",
            request.line,
            text("x-forwarded-host"),
            text("x-http-method-override"),
            text("x-original-url"),
        );
        Answer::ok(body).field("Cache-Control", "max-age=60")
    })
    .await
}

#[tokio::test]
async fn fields_that_change_what_is_asked_for_are_not_answered_from_the_cache_nor_stored() {
    for field in [
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Original-URL: /admin",
        "X-Rewrite-URL: /admin",
        "X-Original-Host: evil.test",
        "X-Host: evil.test",
        "X-HTTP-Host-Override: evil.test",
    ] {
        let origin = echo().await;
        let proxy = Proxy::caching(&origin).await;
        let poisoned = proxy.ask("GET", "/a", &[field], "").await;
        assert_eq!(poisoned.status, 200);
        assert!(!proxy.has("api.test", "/a").await, "{field} was stored");
        let sound = proxy.get("/a").await;
        assert!(
            !sound.text().contains("admin")
                && !sound.text().contains("evil")
                && !sound.text().contains("DELETE"),
            "{field}: {}",
            sound.text()
        );
        proxy.stored(1).await;
        assert_eq!(proxy.ask("GET", "/a", &[field], "").await.status, 200);
        assert_eq!(origin.hits(), 3, "{field}");
    }
}

#[tokio::test]
async fn spellings_of_one_host_are_one_and_of_another_are_not() {
    let origin = echo().await;
    let proxy = Proxy::caching(&origin).await;
    let first = proxy.ask("GET", "/a", &["Host: api.test"], "").await;
    proxy.stored(1).await;
    for host in ["API.test", "api.test:80", "api.test.", "api.TEST:", "api.test:080"] {
        let again = proxy.ask("GET", "/a", &[&format!("Host: {host}")], "").await;
        assert_eq!(again.body, first.body, "{host}");
    }
    assert_eq!(origin.hits(), 1);
    for host in ["api.test:8080", "evil.test", "api.tes"] {
        let other = proxy.ask("GET", "/a", &[&format!("Host: {host}")], "").await;
        assert!(other.text().contains(host), "{host}: {}", other.text());
    }
    assert_eq!(origin.hits(), 4);
}

#[tokio::test]
async fn what_an_origin_hears_of_the_client_is_in_the_key_or_ours() {
    let origin = echo().await;
    let proxy = Proxy::caching(&origin).await;
    for field in [
        "X-Forwarded-Host: evil.test",
        "Forwarded: host=evil.test",
        "X_Forwarded_Host: evil.test",
        "X-Forwarded-Proto: evil",
    ] {
        let asked = proxy.ask("GET", &format!("/{}", field.len()), &[field], "").await;
        assert!(!asked.text().contains("evil"), "{}", asked.text());
    }
}

#[tokio::test]
async fn parameters_are_keyed_as_they_are_forwarded() {
    let origin = echo().await;
    let proxy = Proxy::caching(&origin).await;
    let targets = [
        "/a?x=1",
        "/a?x=1;utm=2",
        "/a?x=1&utm=2",
        "/a?X=1",
        "/a?x=1&x=2",
        "/a?x=2&x=1",
        "/a?x%3D1",
        "/a?%78=1",
        "/a?x=1%26utm=2",
        "/a?",
        "/a",
        "/a;x=1",
        "/A",
        "/a/",
    ];
    for target in targets {
        let own = proxy.get(target).await;
        assert!(own.text().starts_with(&format!("GET {target} HTTP/1.1|")), "{target}: {}", own.text());
        assert_eq!(proxy.get(target).await.body, own.body);
    }
}

/// A GET with content may be answered by what the content says.
#[tokio::test]
async fn a_get_with_content_neither_fills_nor_uses_the_cache() {
    let origin = echo().await;
    let proxy = Proxy::caching(&origin).await;
    assert_eq!(proxy.ask("GET", "/a", &[], "x=evil").await.status, 200);
    assert!(!proxy.has("api.test", "/a").await);
    proxy.get("/a").await;
    proxy.stored(1).await;
    assert_eq!(proxy.ask("GET", "/a", &[], "x=evil").await.status, 200);
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_private_reply_is_not_public_under_a_name_that_looks_so() {
    let origin = Origin::answering(|request: &Head| {
        let path = request.word(1).split(['?', ';']).next().unwrap_or_default().to_owned();
        // As some frameworks do: whatever follows is ignored.
        if path.starts_with("/account") {
            return Answer::ok("secret").field("Cache-Control", "private");
        }
        Answer::ok("static")
    })
    .await;
    let config = format!(
        "upstream = \"api\"\n[upstreams.api]\nurl = \"{}\"\n[[routes]]\nname = \"static\"\nmatch = {{ path = \"/static/*\" }}\nupstream = \"api\"\ncache = \"60s\"\n[[routes]]\nname = \"rest\"\nupstream = \"api\"\ncache = \"60s\"",
        origin.url()
    );
    let proxy = Proxy::of(config.replacen("upstream = \"api\"\n", "", 1)).start().await;
    for target in [
        "/account/x.css",
        "/account;x.css",
        "/account%2fx.css",
        "/account%3bx.css",
        "/account?x.css",
        "/account/%2e%2e/account/x.css",
        "/account.css",
        "/account/static/x.js",
        "/static/../account/x.css",
        "/static/%2e%2e/account/x.css",
    ] {
        let own = proxy.ask("GET", target, &["Cookie: session=1"], "").await;
        assert_eq!(own.text(), "secret", "{target}");
        assert!(!proxy.has("api.test", target).await, "{target} was stored");
    }
    for target in [
        "/static/..%2faccount",
        "/static/%2e%2e%2faccount",
        "/static/..;/account",
        "/static/..%5caccount",
        "/static/..\\account",
        "/account%00.css",
        "/account%0a.css",
        "/account%0d%0a.css",
        "/static/x%2f..%2f..%2faccount",
    ] {
        let own = proxy.ask("GET", target, &["Cookie: session=1"], "").await;
        assert_eq!(own.status, 400, "{target}");
    }
}
