//! Fields of requests and replies are edited: the cache sees requests as they are forwarded, and replies as they came.

use crate::support::{Answer, Origin, Proxy};

async fn editing(answer: Answer, route: &str) -> (Origin, Proxy) {
    let origin = Origin::always(answer).await;
    let config = format!("upstream = \"{}\"\n[[routes]]\nname = \"all\"\n{route}", origin.url());
    (origin, Proxy::of(config).start().await)
}

fn cached() -> Answer {
    Answer::ok("origin").field("cache-control", "max-age=60")
}

#[tokio::test]
async fn the_origin_gets_the_fields_that_the_route_says() {
    let route = "request_headers = { rename = { x-old = 'x-new' }, remove = ['x-debug'], \
                 set = { x-from = '{client}', x-seen = '{method} {host}{path}{query} {header.x-new}' } }\ncache = false";
    let (origin, proxy) = editing(Answer::ok("origin"), route).await;
    let fields = ["X-Old: 1", "X-Debug: 1", "X-From: forged", "Connection: x-from"];
    proxy.ask("GET", "/a?b", &fields, "").await;
    let sent = origin.last().fields;
    assert_eq!((sent.get("x-new"), sent.has("x-old"), sent.has("x-debug")), (Some("1"), false, false));
    assert_eq!(sent.get("x-from"), Some("127.0.0.1"), "a client cannot end it at this hop");
    assert_eq!(sent.get("x-seen"), Some("GET api.test/a?b 1"));
}

#[tokio::test]
async fn replies_are_edited_as_they_are_sent_and_stored_as_they_came() {
    let route = "response_headers = { remove = ['server'], rename = { x-a = 'x-b' }, \
                 set = { cache-control = 'no-store', x-told = '{status} {route} {reply.x-b}' }, add = { x-list = '2' } }";
    let answer = cached().field("server", "origin/1").field("x-a", "a").field("x-list", "1");
    let (origin, proxy) = editing(answer, route).await;
    for hit in [false, true] {
        let reply = proxy.get("/a").await;
        assert_eq!(reply.fields.get("cache-status").unwrap().contains("hit"), hit);
        assert_eq!((reply.fields.has("server"), reply.fields.get("x-b")), (false, Some("a")));
        assert_eq!(reply.fields.get("cache-control"), Some("no-store"));
        assert_eq!(reply.fields.get("x-told"), Some("200 all a"));
        assert_eq!(reply.fields.all("x-list"), ["1", "2"]);
        proxy.stored(1).await;
    }
    assert_eq!(origin.hits(), 1, "what is stored, and how long, is the origin's word");
    proxy.reload(&format!("upstream = \"{}\"\n[[routes]]\nname = \"all\"", origin.url())).unwrap();
    let reply = proxy.get("/a").await;
    assert_eq!((reply.fields.get("server"), reply.fields.get("x-a")), (Some("origin/1"), Some("a")));
    assert_eq!(origin.hits(), 1);
}

/// What differs and is forwarded counts: the key and `Vary` mean fields as the origin gets them.
#[tokio::test]
async fn the_cache_goes_by_what_is_forwarded() {
    let route = "request_headers = { set = { x-kind = '{header.x-own}' }, remove = ['x-noise', 'cookie'] }\n\
                 cache = { key = { headers = ['x-kind'] } }";
    let (origin, proxy) = editing(cached().field("vary", "x-noise"), route).await;
    for (fields, hits) in [
        (&["X-Own: 1"][..], 1),
        (&["X-Own: 1", "X-Kind: 2", "X-Noise: 3", "Cookie: a=b"], 1),
        (&["X-Own: 2"], 2),
        (&["X-Kind: 1"], 3),
    ] {
        proxy.ask("GET", "/a", fields, "").await;
        proxy.stored(hits).await;
        assert_eq!(origin.hits() as u64, hits, "{fields:?}");
    }
    assert!(origin.requests().iter().all(|request| !request.fields.has("cookie")));
}

#[tokio::test]
async fn security_fields_are_on_every_reply_and_the_origin_s_own_word_stands() {
    let origin = Origin::always(cached().field("x-frame-options", "DENY")).await;
    let config = format!(
        "[[routes]]\nmatch = {{ path = '/a' }}\nupstream = \"{}\"\nsecurity_headers = true\n\
         [[routes]]\nmatch = {{ path = '/own' }}\nrespond = {{}}\nsecurity_headers = true\n\
         [[routes]]\nmatch = {{ path = '/off' }}\nupstream = \"http://{}\"\nsecurity_headers = true",
        origin.url(),
        crate::support::closed_address(),
    );
    let proxy = Proxy::of(config).start().await;
    for (target, status, frames) in
        [("/a", 200, "DENY"), ("/a", 200, "DENY"), ("/own", 200, "SAMEORIGIN"), ("/off", 502, "SAMEORIGIN")]
    {
        let reply = proxy.get(target).await;
        assert_eq!((reply.status, reply.fields.get("x-frame-options")), (status, Some(frames)), "{target}");
        assert_eq!(reply.fields.get("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.fields.get("referrer-policy"), Some("strict-origin-when-cross-origin"));
        assert_eq!(reply.fields.get("content-security-policy"), Some("frame-ancestors 'self'"));
    }
}
