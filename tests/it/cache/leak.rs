//! The leak guard: replies that differ by credential under one key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proxy_stone::clock::Clock;

use crate::support::{Answer, Origin, Proxy, noon, pass, until};

async fn guarded(clock: &Clock, origin: &Origin) -> Proxy {
    let config = format!("upstream = \"{}\"\ncache = {{ leak_guard = true }}", origin.url());
    Proxy::of(config).clock(clock).start().await
}

/// The classic accident: a page about whoever asks, which its origin calls public.
async fn personal() -> Origin {
    Origin::answering(|request| {
        let who = request.fields.get("authorization").or(request.fields.get("cookie")).unwrap_or("nobody");
        Answer::ok(format!("about {who}")).field("Cache-Control", "public, max-age=7200")
    })
    .await
}

async fn ask(proxy: &Proxy, who: &str) -> (String, String) {
    let reply = proxy.ask("GET", "/me", &[who], "").await;
    (reply.text().to_owned(), reply.cache_status().to_owned())
}

#[tokio::test]
async fn a_personal_page_that_is_called_public_reaches_nobody_else_and_is_left_alone() {
    let (clock, origin) = (noon(), personal().await);
    let proxy = guarded(&clock, &origin).await;
    let about = |who: &str| format!("about {}", who.split_once(": ").unwrap().1);
    let (alice, bob, carol) = ("Authorization: alice", "Authorization: bob", "Cookie: carol");
    for _ in 0..2 {
        assert_eq!(ask(&proxy, alice).await.0, about(alice));
    }
    assert_eq!(origin.hits(), 1, "her own reply may answer her again");
    // The very first other one is asked for, and nothing is shared from then on.
    let (body, said) = ask(&proxy, bob).await;
    assert_eq!((body, &*said), (about(bob), "proxy-stone; fwd=bypass; detail=leak-guard"));
    let leaks = proxy.instance.cache.leaks();
    until("the key is suspect", || leaks.suspects(clock.now()) == 1).await;
    let (body, said) = ask(&proxy, carol).await;
    assert_eq!(body, about(carol), "{said}");
    until("the key is marked", || leaks.found() == 1).await;
    assert_eq!(&*leaks.marks(clock.now())[0].url, "http://api.test/me");
    let hits = origin.hits();
    for (round, who) in [alice, bob, carol, alice, "X-Other: nobody"].iter().enumerate() {
        let (body, said) = ask(&proxy, who).await;
        assert_eq!((body, origin.hits()), (about(who), hits + round + 1));
        assert_eq!(said, "proxy-stone; fwd=request; detail=leak-guard");
    }
    // It is no ban for ever; and it begins again where it ended.
    pass(&clock, 3601);
    assert_eq!(ask(&proxy, alice).await.1, "proxy-stone; fwd=uri-miss; stored");
    assert_eq!(ask(&proxy, bob).await.0, about(bob));
}

#[tokio::test]
async fn what_is_the_same_for_all_is_shared_after_one_more_look() {
    let origin = Origin::always(Answer::ok("for all").field("Cache-Control", "public, max-age=60")).await;
    let clock = noon();
    let proxy = guarded(&clock, &origin).await;
    for (who, said, hits) in [
        ("Authorization: alice", "fwd=uri-miss; stored", 1),
        ("Authorization: bob", "fwd=bypass; detail=leak-guard", 2),
    ] {
        assert_eq!(ask(&proxy, who).await, ("for all".to_owned(), format!("proxy-stone; {said}")));
        assert_eq!(origin.hits(), hits);
    }
    // One in many is asked for all the same.
    let mut shared = 0;
    for _ in 0..20 {
        let (body, said) = ask(&proxy, "Cookie: carol").await;
        assert_eq!(body, "for all");
        shared += usize::from(said.contains("; hit"));
    }
    assert!(shared >= 10, "{shared} of 20");
    assert_eq!(proxy.instance.cache.leaks().found(), 0);
}

#[tokio::test]
async fn a_page_that_changes_for_all_is_no_leak() {
    let edition = Arc::new(AtomicUsize::new(1));
    let printed = edition.clone();
    let origin = Origin::answering(move |_| {
        let text = format!("edition {}", printed.load(Ordering::SeqCst));
        Answer::ok(text).field("Cache-Control", "public, max-age=60")
    })
    .await;
    let clock = noon();
    let proxy = guarded(&clock, &origin).await;
    assert_eq!(ask(&proxy, "Authorization: alice").await.0, "edition 1");
    edition.store(2, Ordering::SeqCst);
    // It is either time or the credential: nobody gets the old one until that is settled.
    for who in ["bob", "carol"] {
        let (body, said) = ask(&proxy, &format!("Authorization: {who}")).await;
        assert_eq!((&*body, &*said), ("edition 2", "proxy-stone; fwd=bypass; detail=leak-guard"));
    }
    let leaks = proxy.instance.cache.leaks();
    until("the suspicion is settled", || leaks.suspects(clock.now()) == 0).await;
    assert!(ask(&proxy, "Authorization: alice").await.1.ends_with("stored"));
    assert_eq!(proxy.instance.cache.leaks().found(), 0);
}

#[tokio::test]
async fn nobody_joins_a_fetch_of_other_credentials() {
    let (clock, origin) = (noon(), personal().await);
    let proxy = guarded(&clock, &origin).await;
    let names: Vec<String> = (0..6).map(|n| format!("Authorization: user-{n}")).collect();
    let replies = futures_util::future::join_all(names.iter().map(|who| ask(&proxy, who))).await;
    for (who, (body, said)) in names.iter().zip(replies) {
        assert_eq!(body, format!("about {}", &who["Authorization: ".len()..]), "{said}");
    }
}
