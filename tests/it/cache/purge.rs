//! Purges: what they take, and that nothing brings it back.

use proxy_stone::cache::key::Digest;
use proxy_stone::cache::purge::Criterion;
use proxy_stone::cache::store::ListQuery;
use proxy_stone::clock::Clock;

use crate::support::{Answer, Call, Client, Gate, Origin, Proxy, noon, pass, until};

const STORED: [(&str, &str); 5] = [
    ("one.test", "/v1/users"),
    ("one.test", "/v1/users/7?full=1"),
    ("one.test", "/v2/logo.png"),
    ("two.test", "/v1/users"),
    ("two.test:8080", "/v2/list"),
];

/// An origin that tags: with the last part of the path, and with `list` where there are several.
async fn tagging() -> Origin {
    Origin::answering(|request| {
        let answer = Answer::ok(request.word(1).to_owned()).field("Cache-Control", "max-age=600");
        let answer = answer.field("ETag", "\"v1\"");
        match request.word(1) {
            "/v1/users" => answer.field("Surrogate-Key", "users list"),
            "/v2/list" => answer.field("Cache-Tag", "plain,list"),
            _ => answer,
        }
    })
    .await
}

/// A proxy in which all of [`STORED`] is stored, one a second.
async fn filled(origin: &Origin, clock: &Clock, on_disk: bool) -> Proxy {
    let config = format!(
        "upstream = \"{}\"\n\
         [[routes]]\nname = \"second\"\nmatch = {{ path = \"/v2/*\" }}\n\
         cache = {{ tags = {{ add = [\"new\"] }} }}\n",
        origin.url()
    );
    let starting = Proxy::of(config).clock(clock);
    let proxy = if on_disk { starting.on_disk() } else { starting }.start().await;
    for (host, target) in STORED {
        proxy.ask("GET", target, &[&format!("Host: {host}")], "").await;
        pass(clock, 1);
    }
    proxy.stored(STORED.len() as u64).await;
    proxy
}

/// The positions in [`STORED`] of what is no longer there.
async fn gone(proxy: &Proxy) -> Vec<usize> {
    let mut gone = Vec::new();
    for (at, (host, target)) in STORED.into_iter().enumerate() {
        if !proxy.has(host, target).await {
            gone.push(at);
        }
    }
    gone
}

async fn digest(proxy: &Proxy, target: &str) -> Digest {
    let page = proxy.instance.cache.list(ListQuery { limit: 99, ..ListQuery::default() }).await;
    page.entries.iter().find(|summary| *summary.entry.key.target == *target).expect("it is stored").id.digest
}

#[tokio::test]
async fn a_purge_takes_what_it_names_at_once_and_nothing_else() {
    let origin = tagging().await;
    for on_disk in [false, true] {
        let clock = noon();
        let began = clock.now();
        let at = |seconds| began.plus(std::time::Duration::from_secs(seconds));
        let prefix = |authority: Option<&str>, target: &str| Criterion::Prefix {
            authority: authority.map(Into::into),
            target: target.into(),
        };
        let url = |authority: &str, target: &str| Criterion::Url {
            authority: authority.into(),
            target: target.into(),
        };
        for (criterion, taken) in [
            (url("one.test", "/v1/users"), &[0][..]),
            (url("one.test", "/v1/users/7?full=1"), &[1]),
            (url("one.test", "/v1/users/7"), &[]),
            (prefix(None, "/v1/users"), &[0, 1, 3]),
            (prefix(Some("one.test"), "/v1/"), &[0, 1]),
            (Criterion::Glob("/*.png".into()), &[2]),
            (Criterion::Glob("*.test/v1/*".into()), &[0, 1, 3]),
            (Criterion::Host("one.test".into()), &[0, 1, 2]),
            (Criterion::Host("two.test".into()), &[3, 4]),
            (Criterion::Host("two.test:8080".into()), &[4]),
            (Criterion::Route("second".into()), &[2, 4]),
            (Criterion::Tag("users".into()), &[0, 3]),
            (Criterion::Tag("list".into()), &[0, 3, 4]),
            (Criterion::Tag("plain".into()), &[4]),
            (Criterion::Tag("new".into()), &[2, 4]),
            (Criterion::Tag("none".into()), &[]),
            (Criterion::Before(at(2)), &[0, 1]),
            (Criterion::All, &[0, 1, 2, 3, 4]),
        ] {
            let clock = Clock::manual(began);
            let proxy = filled(&origin, &clock, on_disk).await;
            assert!(gone(&proxy).await.is_empty());
            let would = proxy.instance.cache.victims(vec![criterion.clone()], 99).await;
            assert_eq!(would.entries, taken.len() as u64, "a dry run of {criterion:?}");
            let report = proxy.instance.cache.purge(criterion.clone(), false).await.expect("purged");
            assert_eq!(report.durable, on_disk);
            assert_eq!(gone(&proxy).await, taken, "{criterion:?}");
            proxy.close().await;
        }
    }
}

#[tokio::test]
async fn a_purge_by_key_takes_every_variant() {
    let origin = Origin::answering(|request| {
        let language = request.fields.get("accept-language").unwrap_or_default().to_owned();
        Answer::ok(language).field("Cache-Control", "max-age=60").field("Vary", "Accept-Language")
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for language in ["Accept-Language: de", "Accept-Language: en"] {
        proxy.ask("GET", "/a", &[language], "").await;
        proxy.ask("GET", "/b", &[language], "").await;
    }
    let digest = digest(&proxy, "/a").await;
    proxy.instance.cache.purge(Criterion::Key(digest), false).await.unwrap();
    for language in ["Accept-Language: de", "Accept-Language: en"] {
        for (target, status) in [("/a", 504), ("/b", 200)] {
            let only = [language, "Cache-Control: only-if-cached"];
            assert_eq!(proxy.ask("GET", target, &only, "").await.status, status, "{target} {language}");
        }
    }
}

#[tokio::test]
async fn what_was_purged_is_fetched_and_stored_anew() {
    let origin = tagging().await;
    let proxy = filled(&origin, &noon(), true).await;
    proxy.instance.cache.purge(Criterion::All, false).await.unwrap();
    let host = ["Host: one.test"];
    let miss = proxy.ask("GET", "/v1/users", &host, "").await;
    assert_eq!(miss.cache_status(), "proxy-stone; fwd=uri-miss; stored");
    assert!(!origin.last().fields.has("if-none-match"));
    proxy.stored(6).await;
    assert!(proxy.ask("GET", "/v1/users", &host, "").await.cache_status().contains("; hit; "));
    until("the rest is removed", || proxy.instance.cache.stats().rules_active == 0).await;
    assert!(proxy.has("one.test", "/v1/users").await);
}

#[tokio::test]
async fn a_reply_that_was_on_its_way_across_a_purge_is_not_stored() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let version = call.nth;
        at_origin.pass().await;
        let answer = Answer::ok(format!("version {version}")).field("Cache-Control", "max-age=60");
        call.answer(&answer).await;
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let address = proxy.address;
    let asks = || tokio::spawn(async move { Client::connect(address).await.get("/").await });
    let before = asks();
    origin.hit(1).await;
    proxy.instance.cache.purge(Criterion::All, false).await.unwrap();
    // Who comes after the purge does not share what was asked for before it.
    let after = asks();
    origin.hit(2).await;
    gate.open_for(2);
    assert_eq!(before.await.unwrap().text(), "version 1");
    assert_eq!(after.await.unwrap().text(), "version 2");
    until("no fetch is left", || proxy.instance.proxy.flights() == 0).await;
    assert_eq!(proxy.get("/").await.text(), "version 2");
    assert_eq!(origin.hits(), 2);
    assert_eq!(proxy.instance.cache.stats().purged_in_flight, 1);
}

#[tokio::test]
async fn a_validation_that_was_on_its_way_across_a_purge_brings_nothing_back() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        let answer = match call.request.fields.has("if-none-match") {
            true => Answer::new(304),
            false => Answer::ok(format!("version {}", call.nth)),
        };
        at_origin.pass().await;
        call.answer(&answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=60")).await;
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    gate.open();
    proxy.get("/").await;
    pass(&clock, 60);
    let address = proxy.address;
    let validating = tokio::spawn(async move { Client::connect(address).await.get("/").await });
    origin.hit(2).await;
    proxy.instance.cache.purge(Criterion::All, false).await.unwrap();
    gate.open_for(2);
    assert_eq!(validating.await.unwrap().text(), "version 3");
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_soft_purge_has_the_reply_validated() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.has("if-none-match") {
            true => Answer::new(304),
            false => Answer::ok("x"),
        };
        answer.field("ETag", "\"v1\"").field("Cache-Control", "max-age=60")
    })
    .await;
    let clock = noon();
    let proxy = Proxy::caching_by(&clock, &origin).await;
    proxy.get("/").await;
    pass(&clock, 5);
    proxy.instance.cache.purge(Criterion::All, true).await.unwrap();
    let validated = proxy.get("/").await;
    assert_eq!(validated.cache_status(), "proxy-stone; fwd=stale; fwd-status=304; stored");
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"v1\""));
    assert_eq!((validated.text(), proxy.get("/").await.cache_status()), ("x", "proxy-stone; hit; ttl=60"));
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_soft_purged_reply_stands_in_for_an_origin_that_fails_unless_it_forbids_that() {
    for (cache_control, status) in [("max-age=60", 200), ("max-age=60, must-revalidate", 503)] {
        let origin = Origin::start(async move |call: &mut Call| {
            let good = Answer::ok("good").field("Cache-Control", cache_control);
            call.answer(&if call.nth == 1 { good } else { Answer::new(503) }).await;
        })
        .await;
        let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
        proxy.get("/").await;
        proxy.stored(1).await;
        proxy.instance.cache.purge(Criterion::All, true).await.unwrap();
        let reply = proxy.get("/").await;
        assert_eq!(reply.status, status, "{cache_control}: {}", reply.cache_status());
        assert_eq!(origin.hits(), 2);
    }
}

#[tokio::test]
async fn purges_hold_across_a_restart() {
    let origin = tagging().await;
    let clock = noon();
    let proxy = filled(&origin, &clock, true).await;
    proxy.instance.cache.purge(Criterion::Tag("users".into()), false).await.unwrap();
    proxy.instance.cache.purge(Criterion::Route("second".into()), false).await.unwrap();
    proxy.close().await;
    pass(&clock, 1);
    let again =
        Proxy::of(format!("upstream = \"{}\"", origin.url())).clock(&clock).on_disk_of(&proxy).start().await;
    assert_eq!(gone(&again).await, [0, 2, 3, 4]);
}

#[tokio::test]
async fn a_soft_purge_holds_across_a_restart() {
    let origin = tagging().await;
    let clock = noon();
    let proxy = filled(&origin, &clock, true).await;
    proxy.instance.cache.purge(Criterion::Host("one.test".into()), true).await.unwrap();
    proxy.close().await;
    pass(&clock, 1);
    let hits = origin.hits();
    let again =
        Proxy::of(format!("upstream = \"{}\"", origin.url())).clock(&clock).on_disk_of(&proxy).start().await;
    again.ask("GET", "/v1/users", &["Host: one.test"], "").await;
    assert_eq!(origin.last().fields.get("if-none-match"), Some("\"v1\""));
    assert_eq!(origin.hits(), hits + 1);
    assert!(again.has("two.test", "/v1/users").await);
}
