//! Replies that are kept apart by user.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use http::{HeaderName, HeaderValue, Request};
use proxy_stone::auth::jwt::Refused;
use proxy_stone::http::target::Target;
use proxy_stone::pipeline::explain::{Bypass, Explained, Verdict};
use proxy_stone::pipeline::key::Doubt;
use serde_json::{Value, json};

use crate::support::{Answer, Issuer, KeyFile, Origin, Proxy, noon, pass};

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
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=bypass; detail=token-expired");
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
        assert_eq!(
            (reply.cache_status(), origin.hits()),
            ("proxy-stone; fwd=bypass; detail=untrusted-peer", hits)
        );
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

/// One route whose users are told apart by verified tokens.
fn verifying(origin: &Origin, keys: &KeyFile, user: &str) -> String {
    format!(
        "upstream = \"{}\"\ncache = {{ key = {{ user = {{ {user}, tokens = \"accounts\" }} }} }}\n\
         [tokens.accounts]\nkeys = \"{}\"\nalgorithms = \"ES256\"\nissuer = \"https://id.test\"\naudience = \"api\"\n",
        origin.url(),
        keys.path().display()
    )
}

/// The claims of a good token, with others over them.
fn claims(more: Value) -> Value {
    let mut claims = json!({ "iss": "https://id.test", "aud": "api", "sub": "alice", "exp": 1_800_000_900 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn all_verified_tokens_of_a_user_share_and_no_other_user_s_do() {
    let (clock, origin, issuer) = (noon(), greeter().await, Issuer::new("1"));
    let keys = KeyFile::of(&[&issuer]);
    let proxy = Proxy::of(verifying(&origin, &keys, "claim = \"sub\"")).clock(&clock).start().await;
    let first = issuer.bearer(&claims(json!({ "jti": 1 })));
    let second = issuer.bearer(&claims(json!({ "jti": 2, "exp": 1_800_000_030 })));
    let lower = second.replace("Bearer", "bearer");
    let bob = issuer.bearer(&claims(json!({ "sub": "bob" })));
    let number = issuer.bearer(&claims(json!({ "sub": 7 })));
    let greeting = |token: &str| format!("{} - -", token.split_once(": ").unwrap().1);
    for (who, asked, hits) in [
        (&first, &first, 1),
        (&second, &first, 1),
        (&lower, &first, 1),
        (&bob, &bob, 2),
        (&number, &number, 3),
        (&second, &first, 3),
        (&bob, &bob, 3),
    ] {
        let reply = proxy.ask("GET", "/", &[who], "").await;
        assert_eq!((reply.text(), origin.hits()), (&*greeting(asked), hits), "{who}");
    }
    assert_eq!(proxy.get("/").await.text(), "- - -", "nobody's reply is nobody's");
    assert_eq!(origin.hits(), 4);
    // One of them expires while it is remembered as verified; the other goes on.
    pass(&clock, 31);
    for hits in [5, 6] {
        let reply = proxy.ask("GET", "/", &[&second], "").await;
        assert_eq!(reply.cache_status(), "proxy-stone; fwd=bypass; detail=token-expired");
        assert_eq!((reply.text(), origin.hits()), (&*greeting(&second), hits));
    }
    assert_eq!(proxy.ask("GET", "/", &[&first], "").await.text(), greeting(&first));
    assert_eq!(origin.hits(), 6);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_passed_on_and_nothing_of_it_stored() {
    let clock = noon();
    let origin = Origin::answering(|_| Answer::ok("").field("Cache-Control", "max-age=60")).await;
    let (issuer, stranger) = (Issuer::new("1"), Issuer::new("1"));
    let keys = KeyFile::of(&[&issuer]);
    let proxy = Proxy::of(verifying(&origin, &keys, "claim = \"sub\"")).clock(&clock).start().await;
    let alice = issuer.bearer(&claims(json!({})));
    assert_eq!(proxy.ask("GET", "/", &[&alice], "").await.status, 200);
    let unsigned = {
        let encode = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        format!("Authorization: Bearer {}.{}.", encode(&json!({ "alg": "none" })), encode(&claims(json!({}))))
    };
    let long = format!("Authorization: Bearer {}", "a".repeat(9 << 10));
    let header = |kid: &str| json!({ "alg": "ES256", "kid": kid });
    let mut hits = origin.hits();
    for (fields, word) in [
        (vec![stranger.bearer(&claims(json!({})))], "token-signature"),
        (vec![format!("{alice}A")], "token-signature"),
        (vec![unsigned], "token-algorithm"),
        (vec![issuer.bearer_as(&json!({ "alg": "HS256" }), &claims(json!({})))], "token-algorithm"),
        (vec![issuer.bearer_as(&header("../1"), &claims(json!({})))], "token-unknown-key"),
        (vec![issuer.bearer(&claims(json!({ "exp": 1_799_999_999 })))], "token-expired"),
        (vec![issuer.bearer(&claims(json!({ "nbf": 1_800_000_060 })))], "token-not-yet-valid"),
        (vec![issuer.bearer(&claims(json!({ "aud": "other" })))], "token-audience"),
        (vec![issuer.bearer(&claims(json!({ "iss": "https://evil.test" })))], "token-issuer"),
        (vec![issuer.bearer(&claims(json!({ "sub": "" })))], "token-claim"),
        (vec![long], "token-too-long"),
        (vec!["Authorization: Bearer abc".to_owned()], "token-malformed"),
        (vec!["Authorization: Basic YWxpY2U6YQ==".to_owned()], "no-bearer-token"),
        (vec![alice.clone(), alice.clone()], "no-bearer-token"),
    ] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        for _ in 0..2 {
            hits += 1;
            let reply = proxy.ask("GET", "/", &fields, "").await;
            let status = format!("proxy-stone; fwd=bypass; detail={word}");
            assert_eq!((reply.cache_status(), origin.hits()), (&*status, hits), "{fields:?}");
        }
        let skips = proxy.instance.telemetry.snapshot().cache_skips;
        assert!(skips.get(word).is_some_and(|count| *count >= 2), "{word}: {skips:?}");
        let said = explained(&proxy, &fields).await;
        let Verdict::Bypass(Bypass::Doubtful(doubt)) = said.verdict else { panic!("{:?}", said.verdict) };
        assert_eq!(doubt.as_str(), word);
    }
    // Nothing of that has touched what is stored for her.
    let reply = proxy.ask("GET", "/", &[&alice], "").await;
    assert!(reply.cache_status().starts_with("proxy-stone; hit"), "{}", reply.cache_status());
    assert_eq!(origin.hits(), hits);
}

#[tokio::test]
async fn a_reload_without_the_key_ends_what_was_verified_with_it() {
    let (clock, origin) = (noon(), greeter().await);
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let keys = KeyFile::of(&[&old]);
    let config = verifying(&origin, &keys, "claim = \"sub\"");
    let proxy = Proxy::of(config.clone()).clock(&clock).start().await;
    let [of_old, of_new] = [&old, &new].map(|issuer| issuer.bearer(&claims(json!({}))));
    let ask = async |token: &str| {
        let reply = proxy.ask("GET", "/", &[token], "").await;
        reply.cache_status().trim_start_matches("proxy-stone; ").to_owned()
    };
    assert_eq!(ask(&of_old).await, "fwd=uri-miss; stored");
    assert_eq!(ask(&of_old).await, "hit; ttl=60");
    assert_eq!(ask(&of_new).await, "fwd=bypass; detail=token-unknown-key");
    keys.write(&[&old, &new]);
    assert_eq!(proxy.reload(&config).unwrap(), ["route `default` changed"]);
    assert_eq!(ask(&of_new).await, "hit; ttl=60");
    assert_eq!(ask(&of_old).await, "hit; ttl=60");
    keys.write(&[&new]);
    proxy.reload(&config).unwrap();
    assert_eq!(ask(&of_old).await, "fwd=bypass; detail=token-unknown-key");
    assert_eq!(ask(&of_new).await, "hit; ttl=60");
    // A file that went wrong leaves what is in force.
    std::fs::write(keys.path(), "{}").unwrap();
    let refused = proxy.reload(&config).unwrap_err();
    assert!(refused.contains("PS0521"), "{refused}");
    assert_eq!(ask(&of_new).await, "hit; ttl=60");
}

#[tokio::test]
async fn what_one_token_is_denied_is_not_its_user_s() {
    let issuer = Issuer::new("1");
    let revoked = issuer.bearer(&claims(json!({ "jti": "revoked" })));
    let good = issuer.bearer(&claims(json!({ "jti": "good" })));
    let denied = revoked.split_once(": ").unwrap().1.to_owned();
    let origin = Origin::answering(move |request| {
        let status = if request.fields.get("authorization") == Some(&*denied) { 401 } else { 200 };
        Answer::new(status).field("Cache-Control", "max-age=60, public")
    })
    .await;
    let keys = KeyFile::of(&[&issuer]);
    let proxy = Proxy::of(verifying(&origin, &keys, "claim = \"sub\"")).clock(&noon()).start().await;
    for (token, status, said, hits) in [
        (&revoked, 401, "fwd=uri-miss; detail=unauthorized", 1),
        (&good, 200, "fwd=uri-miss; stored", 2),
        (&good, 200, "hit; ttl=60", 2),
        // The origin is not asked, and has no say (as in every cache, until what it said has gone stale).
        (&revoked, 200, "hit; ttl=60", 2),
    ] {
        let reply = proxy.ask("GET", "/", &[token], "").await;
        let expected = (status, format!("proxy-stone; {said}"));
        assert_eq!(((reply.status, reply.cache_status().to_owned()), origin.hits()), (expected, hits));
    }
}

#[tokio::test]
async fn what_replies_depend_on_beside_the_user_splits_them_too() {
    let (origin, issuer) = (greeter().await, Issuer::new("1"));
    let keys = KeyFile::of(&[&issuer]);
    let config = verifying(&origin, &keys, "claim = [\"sub\", \"scope\"]");
    let proxy = Proxy::of(config).clock(&noon()).start().await;
    for (more, hits) in [
        (json!({ "scope": "read", "jti": 1 }), 1),
        (json!({ "scope": "read", "jti": 2 }), 1),
        (json!({ "scope": "read write" }), 2),
        (json!({}), 3),
        (json!({ "scope": "" }), 4),
        (json!({ "jti": 3 }), 4),
    ] {
        let token = issuer.bearer(&claims(more.clone()));
        assert_eq!(proxy.ask("GET", "/", &[&token], "").await.status, 200);
        assert_eq!(origin.hits(), hits, "{more}");
    }
}

/// What the proxy says of a request that nobody sends.
async fn explained(proxy: &Proxy, fields: &[&str]) -> Explained {
    let mut request = Request::builder().uri("/").header("host", "api.test").body(()).unwrap();
    for field in fields {
        let (name, value) = field.split_once(": ").unwrap();
        let name = HeaderName::try_from(name).unwrap();
        request.headers_mut().append(name, HeaderValue::try_from(value).unwrap());
    }
    let (head, ()) = request.into_parts();
    let target = Target::of(&head, false).unwrap();
    proxy.instance.proxy.explain(&head, &target).await.unwrap()
}

#[tokio::test]
async fn explain_verifies_as_a_request_would_be() {
    let (clock, origin, issuer) = (noon(), greeter().await, Issuer::new("2027"));
    let keys = KeyFile::of(&[&issuer]);
    let proxy = Proxy::of(verifying(&origin, &keys, "claim = \"sub\"")).clock(&clock).start().await;
    let [first, second] = [1, 2].map(|id| issuer.bearer(&claims(json!({ "jti": id }))));
    let verdict = async |token: &str| explained(&proxy, &[token]).await.verdict;
    assert!(matches!(verdict(&first).await, Verdict::Miss(_)));
    assert_eq!(proxy.ask("GET", "/", &[&first], "").await.status, 200);
    assert_eq!(verdict(&second).await, Verdict::Hit);
    let verified = explained(&proxy, &[&second]).await.verified.unwrap();
    assert_eq!(verified.key.as_deref(), Some("2027"));
    pass(&clock, 900);
    let expired = Verdict::Bypass(Bypass::Doubtful(Doubt::Token(Refused::Expired)));
    assert_eq!(verdict(&second).await, expired);
    assert_eq!(origin.hits(), 1);
}
