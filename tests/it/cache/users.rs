//! Replies that are kept apart by user.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::support::{Answer, Origin, Proxy, noon, pass};

/// An origin that greets whom the credentials name, and refuses a token that it has not signed.
async fn greeter() -> Origin {
    Origin::answering(|request| {
        let named =
            ["authorization", "x-user-id", "cookie"].map(|name| request.fields.get(name).unwrap_or("-"));
        if named[0].ends_with(".forged") {
            return Answer::new(401).field("Cache-Control", "max-age=60");
        }
        Answer::ok(named.join(" ")).field("Cache-Control", "max-age=60")
    })
    .await
}

fn token(claims: &str, signature: &str) -> String {
    format!("Authorization: Bearer e30.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

#[tokio::test]
async fn a_token_s_replies_are_for_that_token_alone_and_while_it_lasts() {
    let (clock, origin) = (noon(), greeter().await);
    let config =
        format!("upstream = \"{}\"\ncache = {{ key = {{ user = {{ claim = \"sub\" }} }} }}", origin.url());
    let proxy = Proxy::of(config).clock(&clock).start().await;
    let alice = token(r#"{"sub":"alice","exp":1800000030}"#, "good");
    let bob = token(r#"{"sub":"bob","exp":1800000030}"#, "good");
    let forged = token(r#"{"sub":"alice","exp":1800000030}"#, "forged");
    for (who, status, hits) in [
        (&alice, 200, 1),
        (&alice, 200, 1),
        (&bob, 200, 2),
        (&bob, 200, 2),
        // It claims to be alice, and is the origin's to judge.
        (&forged, 401, 3),
        (&alice, 200, 3),
    ] {
        let reply = proxy.ask("GET", "/", &[who], "").await;
        assert_eq!((reply.status, origin.hits()), (status, hits), "{who}");
        if status == 200 {
            assert_eq!(reply.text(), format!("{} - -", who.split_once(": ").unwrap().1));
        }
    }
    assert_eq!(proxy.get("/").await.text(), "- - -", "nobody's reply is nobody's");
    pass(&clock, 31);
    for hits in [5, 6] {
        let reply = proxy.ask("GET", "/", &[&alice], "").await;
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=bypass", "it has expired");
        assert_eq!(origin.hits(), hits);
    }
}

#[tokio::test]
async fn a_field_names_users_only_on_the_word_of_a_trusted_peer() {
    let origin = greeter().await;
    let config = |trusted: &str| {
        format!(
            "upstream = \"{}\"\ntrusted_proxies = [{trusted}]\n\
             cache = {{ key = {{ user = {{ header = \"x-user-id\" }} }} }}",
            origin.url()
        )
    };
    let trusting = Proxy::of(config("\"127.0.0.1\"")).start().await;
    for (user, credential, hits) in [("7", "a", 1), ("7", "b", 1), ("8", "a", 2)] {
        let fields = [format!("X-User-Id: {user}"), format!("Authorization: {credential}")];
        let reply = trusting.ask("GET", "/", &[&fields[0], &fields[1]], "").await;
        assert!(reply.text().contains(user), "{}", reply.text());
        assert_eq!(origin.hits(), hits, "{user} {credential}");
    }
    let wary = Proxy::of(config("\"192.0.2.1\"")).start().await;
    for hits in [3, 4] {
        let reply = wary.ask("GET", "/", &["X-User-Id: 7"], "").await;
        assert_eq!((reply.cache_status(), origin.hits()), ("proxy-stone; fwd=bypass", hits));
    }
}

#[tokio::test]
async fn a_session_s_replies_may_live_by_a_ttl_but_not_against_the_origin_s_word() {
    let origin = Origin::answering(|request| {
        let answer = Answer::ok(request.fields.get("cookie").unwrap_or("-").to_owned());
        match request.word(1) {
            "/private" => answer.field("Cache-Control", "private, max-age=60"),
            _ => answer,
        }
    })
    .await;
    let config = format!(
        "upstream = \"{}\"\ncache = {{ ttl = \"60s\", key = {{ user = {{ cookie = \"sid\" }} }} }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    for (target, cookie, body, hits) in [
        ("/", "Cookie: sid=1", "sid=1", 1),
        ("/", "Cookie: a=b; sid=1", "sid=1", 1),
        ("/", "Cookie: sid=2", "sid=2", 2),
        ("/private", "Cookie: sid=1", "sid=1", 3),
        ("/private", "Cookie: sid=1", "sid=1", 4),
    ] {
        let reply = proxy.ask("GET", target, &[cookie], "").await;
        assert_eq!((reply.text(), origin.hits()), (body, hits), "{target} {cookie}");
    }
}
