//! Hits that are answered at once: which they are, and that nobody can tell them from others.

use std::collections::HashSet;

use http::request::Parts;
use proxy_stone::cache::purge::Criterion;
use proxy_stone::http::ClientConn;
use proxy_stone::http::content::Content;
use proxy_stone::http::head::{Form, HeadWriter};
use proxy_stone::telemetry::event::{Finished, Protocol, RequestId};

use crate::support::{Answer, Client, Fields, H2, Origin, Proxy, Reply, noon, numbered, pass};

/// A field that has a request go the long way, and no other effect.
pub(super) const LONG_WAY: &str = "TE: deflate";

fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
    let request = http::Request::get(target).header("host", "api.test");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("a request").into_parts().0
}

/// Whether the proxy has an answer to this at hand.
pub(super) fn at_once(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> bool {
    content(proxy, target, fields).is_some()
}

/// What the proxy has at hand.
pub(super) fn content(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> Option<Content> {
    content_over(proxy, target, fields, Form::Http1, usize::MAX)
}

/// Whether it has an answer at hand, over either version.
fn at_once_over_both(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> bool {
    let over = |form| content_over(proxy, target, fields, form, usize::MAX).is_some();
    let (one, two) = (over(Form::Http1), over(Form::Http2));
    assert_eq!(one, two, "{target} {fields:?}");
    one
}

fn content_over(
    proxy: &Proxy,
    target: &str,
    fields: &[(&str, &str)],
    form: Form,
    room: usize,
) -> Option<Content> {
    let (peer, local) = (proxy.address, proxy.address);
    let mut request = request(target, fields);
    let protocol = match form {
        Form::Http1 => Protocol::Http11,
        Form::Http2 => {
            request.version = http::Version::HTTP_2;
            Protocol::Http2
        }
    };
    let client = ClientConn { peer, local, tls: false, session: None, redirect: None, protocol };
    let mut out = Vec::new();
    let head = HeadWriter::new(form, &mut out);
    let content = proxy.instance.proxy.at_once(&request, &client, None, head, room);
    assert_eq!(content.is_some(), !out.is_empty());
    content
}

async fn ask(proxy: &Proxy, target: &str, fields: &[&str]) -> Reply {
    let fields: Vec<_> = ["Host: api.test"].iter().chain(fields).copied().collect();
    proxy.ask("GET", target, &fields, "").await
}

/// A proxy with a fresh reply to `/a`, and the origin.
async fn filled(config: &str) -> (Proxy, Origin) {
    let answer = Answer::ok("hello").field("Cache-Control", "max-age=60").field("ETag", "\"1\"");
    let origin = Origin::always(answer).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{config}", origin.url())).clock(&noon()).start().await;
    assert_eq!(ask(&proxy, "/a", &[]).await.text(), "hello");
    if config.find("cache = false").is_none() {
        proxy.stored(1).await;
    }
    (proxy, origin)
}

#[tokio::test]
async fn what_is_fresh_in_ram_is_at_hand_for_plain_requests() {
    let (proxy, origin) = filled("").await;
    for (target, fields, expected) in [
        ("/a", &[][..], true),
        ("/a", &[("accept", "*/*"), ("cookie", "a=b"), ("x-any", "")], true),
        ("/a", &[("cache-control", "max-age=5")], true),
        ("/b", &[], false),
        ("/a", &[("cache-control", "no-cache")], false),
        ("/a", &[("cache-control", "max-age=0")], false),
        ("/a", &[("if-none-match", "\"1\"")], false),
        ("/a", &[("range", "bytes=0-1")], false),
        ("/a", &[("x-original-url", "/b")], false),
        ("/a", &[("via", "1.1 proxy-stone, 1.1 proxy-stone, 1.1 proxy-stone, 1.1 proxy-stone")], false),
        ("/%zz", &[], false),
    ] {
        assert_eq!(at_once_over_both(&proxy, target, fields), expected, "{target} {fields:?}");
    }
    let hits = proxy.instance.cache.stats().memory_hits;
    assert!(!at_once(&proxy, "/a", &[("range", "bytes=0-1")]));
    for (room, expected) in [(4, false), (5, true)] {
        let content = content_over(&proxy, "/a", &[], Form::Http2, room);
        assert_eq!(content.is_some(), expected, "what the client's windows do not take goes the long way");
    }
    assert_eq!(proxy.instance.cache.stats().memory_hits, hits + 1, "what is not answered is not counted");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn routes_that_look_closer_have_nothing_at_hand() {
    for (route, expected) in [
        ("", true),
        ("cache = false", false),
        ("response_headers = { remove = ['server'] }", false),
        ("request_headers = { remove = ['x-a'] }", false),
        ("allow = ['127.0.0.0/8']", false),
        ("path = { strip_prefix = '/old' }", false),
        ("cors = { origins = ['https://a.example'] }", false),
        ("compress = true", false),
        ("cache = { show_key = true }", false),
    ] {
        let (proxy, origin) = filled(&format!("[[routes]]\nname = \"all\"\n{route}")).await;
        assert_eq!(at_once_over_both(&proxy, "/a", &[]), expected, "{route}");
        assert_eq!(origin.hits(), 1);
    }
}

#[tokio::test]
async fn a_purge_and_the_end_of_freshness_take_what_was_at_hand() {
    let answer = Answer::ok("hello").field("Cache-Control", "max-age=60");
    let origin = Origin::always(answer).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    ask(&proxy, "/a", &[]).await;
    proxy.stored(1).await;
    assert!(at_once(&proxy, "/a", &[]));
    pass(&clock, 60);
    assert!(!at_once(&proxy, "/a", &[]));
    ask(&proxy, "/a", &[]).await;
    proxy.stored(2).await;
    assert!(at_once(&proxy, "/a", &[]));
}

/// What is left of fields without what differs from one exchange to the next.
pub(super) fn lasting(fields: &Fields) -> Vec<(String, String)> {
    let mut all: Vec<_> =
        fields.0.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("x-request-id")).cloned().collect();
    all.sort();
    all
}

pub(super) fn without_times(finished: &Finished) -> String {
    let mut finished = finished.clone();
    finished.id = RequestId::Given("id".into());
    (finished.duration, finished.first_byte) = Default::default();
    format!("{finished:?}")
}

#[tokio::test]
async fn nobody_can_tell_which_way_a_hit_went() {
    let answer = Answer::ok("hello")
        .field("Cache-Control", "max-age=60, s-maxage=30")
        .field("Age", "7")
        .field("X-Request-Id", "the-origin-s")
        .field("Cache-Status", "inner; hit")
        .field("Content-Type", "text/plain")
        .field("Vary", "Accept")
        .field("X-Twice", "1")
        .field("X-Twice", "2");
    let origin = Origin::always(answer.clone()).await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    ask(&proxy, "/a?b", &[]).await;
    proxy.stored(1).await;
    pass(&clock, 3);
    let fields = ["Cookie: c=d", "Cache-Control: max-age=50"];
    let short = ask(&proxy, "/a?b", &fields).await;
    let long = ask(&proxy, "/a?b", &[&fields[..], &[LONG_WAY]].concat()).await;
    assert_eq!(short.fields.all("cache-status"), ["inner; hit", "proxy-stone; hit; ttl=20"]);
    assert_eq!((short.status, &short.body), (long.status, &long.body));
    assert_eq!(lasting(&short.fields), lasting(&long.fields));
    assert_ne!(short.field("x-request-id"), long.field("x-request-id"));
    // Those of several workers are told in any order.
    let finished = proxy.finished(3).await;
    let of = |reply: &Reply| {
        let id = reply.field("x-request-id").unwrap_or_default();
        finished.iter().find(|finished| finished.id.to_string() == id).map(|finished| without_times(finished))
    };
    assert_eq!(of(&short), of(&long));
    assert!(of(&short).is_some());
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_large_one_waits_for_its_client_and_holds_up_nothing() {
    let body = numbered(512 << 10);
    let origin = Origin::always(Answer::ok(body.clone()).field("Cache-Control", "max-age=60")).await;
    let proxy = Proxy::caching(&origin).await;
    proxy.get("/a").await;
    proxy.stored(1).await;
    let mut slow = Client::connect_narrow(proxy.address).await;
    for _ in 0..2 {
        slow.say("GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        // Another's is sent while this one waits.
        assert_eq!(proxy.get("/a").await.body, body);
        let reply = slow.reply("GET").await;
        assert_eq!((reply.status, reply.whole, &reply.body), (200, true, &body));
    }
    assert_eq!(slow.ask("GET", "/a", &[LONG_WAY], "").await.body, body);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn nobody_can_tell_over_http_2_either() {
    let answer =
        Answer::ok("hello").field("Cache-Control", "max-age=60").field("Vary", "Cookie").field("Age", "7");
    let origin = Origin::always(answer).await;
    let proxy = Proxy::caching_by(&noon(), &origin).await;
    let client = proxy.connect_h2().await;
    let ask = async |fields: &[(&'static str, &'static str)]| {
        let mut request = H2::request("GET", "/a?b", "");
        fields.iter().for_each(|(name, value)| {
            request.headers_mut().append(*name, value.parse().expect("a value"));
        });
        client.ask(request).await
    };
    let crumbs = [("cookie", "a=b"), ("cookie", "c=d")];
    ask(&crumbs).await;
    proxy.stored(1).await;
    let short = ask(&crumbs).await;
    // A condition that does not hold has it go the long way.
    let long = ask(&[crumbs[0], crumbs[1], ("if-none-match", "\"other\"")]).await;
    assert_eq!(short.fields.all("cache-status"), ["proxy-stone; hit; ttl=53"]);
    assert_eq!((short.status, &short.body), (long.status, &long.body));
    assert_eq!(lasting(&short.fields), lasting(&long.fields));
    let finished = proxy.finished(3).await;
    let told = |at: usize| without_times(&finished[at]).replace("conditional: true", "conditional: false");
    assert_eq!(told(1), told(2));
    assert_eq!(ask(&crumbs[..1]).await.cache_status(), "proxy-stone; fwd=vary-miss; stored");
    proxy.stored(2).await;
    // Asked again and again, each is the request that it is.
    for _ in 0..4 {
        for fields in [&crumbs[..], &crumbs[..1]] {
            assert_eq!(lasting(&ask(fields).await.fields), lasting(&short.fields));
        }
        assert_eq!(ask(&[("if-none-match", "*"), crumbs[0]]).await.status, 304);
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn requests_that_are_alike_are_judged_each_time() {
    let answer = Answer::ok("hello").field("Cache-Control", "max-age=6").field("Vary", "Accept");
    let origin = Origin::always(answer).await;
    let clock = noon();
    let config = |more: &str| format!("upstream = \"{}\"\ncache = true\n{more}", origin.url());
    let proxy = Proxy::of(config("")).clock(&clock).start().await;
    proxy.get("/a").await;
    proxy.stored(1).await;
    let mut client = proxy.connect().await;
    let mut ids = HashSet::new();
    for age in 0..6 {
        for _ in 0..3 {
            let reply = client.get("/a").await;
            assert_eq!((reply.text(), reply.field("age")), ("hello", Some(&*age.to_string())));
            assert_eq!(reply.cache_status(), format!("proxy-stone; hit; ttl={}", 6 - age));
            assert!(ids.insert(reply.field("x-request-id").map(str::to_owned)), "each has an id of its own");
        }
        pass(&clock, 1);
    }
    assert_eq!(client.get("/a").await.cache_status(), "proxy-stone; fwd=stale; stored");
    proxy.stored(2).await;
    assert_eq!(client.get("/a").await.cache_status(), "proxy-stone; hit; ttl=6");
    // What differs in a byte is another request.
    for (target, accept) in [("/a", "text/plain"), ("/b", "*/*")] {
        let fields = ["Host: api.test".to_owned(), format!("Accept: {accept}")];
        let fields = fields.each_ref().map(String::as_str);
        assert_ne!(client.ask("GET", target, &fields, "").await.cache_status(), "proxy-stone; hit; ttl=6");
    }
    proxy.instance.cache.purge(Criterion::All, false).await.expect("purged");
    assert_eq!(client.get("/a").await.cache_status(), "proxy-stone; fwd=uri-miss; stored");
    proxy.stored(5).await;
    assert_eq!(client.get("/a").await.cache_status(), "proxy-stone; hit; ttl=6");
    // A site that is no more has nothing to say.
    proxy
        .reload(&config("[[routes]]\nname = \"other\"\nmatch = { path = \"/a\" }\ncache = false"))
        .expect("reloaded");
    assert_eq!(client.get("/a").await.cache_status(), "proxy-stone; fwd=bypass");
    let finished = proxy.finished(26).await;
    assert_eq!(finished.iter().filter(|finished| &*finished.target == "/a").count(), 25);
    assert!(finished.iter().all(|finished| &*finished.host == "api.test"));
    assert_eq!(finished.last().and_then(|finished| finished.route.as_deref()), Some("other"));
}
