//! RFC 9875, HTTP Cache Groups: each requirement with the case that shows it.
//!
//! | section | requirement | case |
//! |---|---|---|
//! | 2 | a List of Strings, anything else is no group; order and parameters do not matter | `section_2_*` |
//! | 2 | MUST support at least 32 groups of at least 32 characters | `section_2_at_least_32_*` |
//! | 2.1 | the same String, case-sensitive | `section_2_1_names_*` |
//! | 2.1 | the same URI origin | `section_2_1_groups_do_not_reach_*` |
//! | 2.2.1 | MAY invalidate what shares a group with an invalidated response (done); no cascade | `section_2_2_1_*` |
//! | 3 | MUST be ignored on replies to safe methods | `section_3_safe_methods_*` |
//! | 3 | MAY invalidate the listed groups after an unsafe request (done, unless the reply is an error) | `section_3_*` |
//! | 3 | MUST support at least 32 groups of at least 32 characters | `section_3_at_least_32_*` |

use proxy_stone::cache::purge::{Criterion, group};

use crate::support::{Answer, Origin, Proxy, noon, pass, until};

/// What each path is in: `/a` is alone, `/b` and `/c` share, and `/c` and `/d` share another.
fn groups_of(path: &str) -> Option<&'static str> {
    Some(match path {
        "/a" => "\"a\"",
        "/b" => "\"shared\";revalidate, \"b\"",
        "/c" => "\"other\", \"shared\"",
        "/d" => "\"other\"",
        "/upper" => "\"Shared\"",
        "/token" => "shared",
        "/mixed" => "\"shared\", 1",
        _ => return None,
    })
}

/// Answers GET as [`groups_of`] says, anything else with `status` and this `Cache-Group-Invalidation`.
async fn origin(status: u16, invalidation: &'static str) -> Origin {
    Origin::answering(move |request| {
        if request.word(0) != "GET" && request.word(0) != "HEAD" {
            return Answer::new(status).field("Cache-Group-Invalidation", invalidation);
        }
        let answer = Answer::ok("x").field("Cache-Control", "max-age=600");
        // Replies to safe methods name groups to invalidate, too, and must not be heard.
        let answer = answer.field("Cache-Group-Invalidation", "\"a\"");
        match groups_of(request.word(1)) {
            Some(groups) => answer.field("Cache-Groups", groups),
            None => answer,
        }
    })
    .await
}

const STORED: [&str; 7] = ["/a", "/b", "/c", "/d", "/upper", "/token", "/mixed"];

async fn filled(origin: &Origin) -> Proxy {
    let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).on_disk().start().await;
    for target in STORED {
        proxy.ask("GET", target, &["Host: one.test"], "").await;
        proxy.ask("GET", target, &["Host: two.test"], "").await;
    }
    proxy.stored(2 * STORED.len() as u64).await;
    proxy
}

/// What is no longer there of a host.
async fn gone(proxy: &Proxy, host: &str) -> Vec<&'static str> {
    let mut gone = Vec::new();
    for target in STORED {
        if !proxy.has(host, target).await {
            gone.push(target);
        }
    }
    gone
}

/// What a request of this method for a URL of `one.test` takes there; nothing of another origin ever goes.
async fn taken(method: &str, target: &str, status: u16, invalidation: &'static str) -> Vec<&'static str> {
    let origin = origin(status, invalidation).await;
    let proxy = filled(&origin).await;
    proxy.ask(method, target, &["Host: one.test"], "").await;
    assert!(gone(&proxy, "two.test").await.is_empty(), "{method} {invalidation} reached another origin");
    gone(&proxy, "one.test").await
}

#[tokio::test]
async fn section_3_an_unsafe_request_invalidates_the_listed_groups() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        assert_eq!(taken(method, "/elsewhere", 200, "\"shared\"").await, ["/b", "/c"], "{method}");
    }
    assert_eq!(taken("POST", "/elsewhere", 303, "\"b\", \"other\"").await, ["/b", "/c", "/d"]);
    assert_eq!(taken("POST", "/elsewhere", 200, "\"other\";x, \"b\"").await, ["/b", "/c", "/d"]);
    assert!(taken("POST", "/elsewhere", 200, "\"nobody\"").await.is_empty());
}

#[tokio::test]
async fn section_3_errors_invalidate_nothing() {
    for status in [404, 409, 500, 503] {
        assert!(taken("POST", "/elsewhere", status, "\"shared\"").await.is_empty(), "{status}");
    }
}

#[tokio::test]
async fn section_3_safe_methods_are_not_heard() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert!(taken(method, "/elsewhere", 200, "\"shared\"").await.is_empty(), "{method}");
    }
}

#[tokio::test]
async fn section_2_what_is_no_list_of_strings_names_no_group() {
    for invalidation in ["shared", "\"shared", "\"shared\" \"b\"", "(\"shared\")", "\"shared\", b"] {
        assert!(taken("POST", "/elsewhere", 200, invalidation).await.is_empty(), "{invalidation}");
    }
}

#[tokio::test]
async fn section_2_1_names_are_compared_character_by_character() {
    assert_eq!(taken("POST", "/elsewhere", 200, "\"Shared\"").await, ["/upper"]);
    assert!(taken("POST", "/elsewhere", 200, "\"share\"").await.is_empty());
}

#[tokio::test]
async fn section_2_1_groups_do_not_reach_another_scheme_or_port() {
    let origin = origin(200, "\"shared\"").await;
    let config = format!("upstream = \"{}\"\ntrusted_proxies = [\"127.0.0.1/32\"]", origin.url());
    let proxy = Proxy::of(config).start().await;
    let secure = ["Host: one.test", "X-Forwarded-Proto: https"];
    proxy.ask("GET", "/b", &["Host: one.test"], "").await;
    proxy.ask("GET", "/b", &["Host: one.test:8080"], "").await;
    proxy.ask("GET", "/b", &secure, "").await;
    proxy.stored(3).await;
    proxy.ask("POST", "/elsewhere", &secure, "").await;
    assert!(proxy.has("one.test", "/b").await && proxy.has("one.test:8080", "/b").await);
    let only = ["Host: one.test", "X-Forwarded-Proto: https", "Cache-Control: only-if-cached"];
    assert_eq!(proxy.ask("GET", "/b", &only, "").await.status, 504);
}

#[tokio::test]
async fn section_2_2_1_what_shares_a_group_with_the_target_goes_with_it_and_nothing_further() {
    // `/d` shares a group with `/c`, not with `/b`: groups do not cascade.
    assert_eq!(taken("PUT", "/b", 200, "\"nobody\"").await, ["/b", "/c"]);
    assert_eq!(taken("PUT", "/c", 200, "\"nobody\"").await, ["/b", "/c", "/d"]);
    assert_eq!(taken("PUT", "/a", 200, "\"nobody\"").await, ["/a"]);
    assert!(taken("PUT", "/b", 500, "\"nobody\"").await.is_empty());
}

#[tokio::test]
async fn section_2_at_least_32_groups_of_32_characters() {
    let name = |n: usize| format!("{n:032}");
    let all = (0..32).map(|n| format!("\"{}\"", name(n))).collect::<Vec<_>>().join(", ");
    let origin = Origin::answering(move |request| match request.word(0) {
        "GET" => Answer::ok("x").field("Cache-Control", "max-age=600").field("Cache-Groups", all.clone()),
        _ => Answer::new(204).field("Cache-Group-Invalidation", request.fields.get("x-groups").unwrap_or("")),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for n in [0, 15, 31] {
        proxy.ask("GET", "/x", &["Host: one.test"], "").await;
        assert!(proxy.has("one.test", "/x").await);
        let groups = format!("X-Groups: \"{}\"", name(n));
        proxy.ask("POST", "/elsewhere", &["Host: one.test", &groups], "").await;
        assert!(!proxy.has("one.test", "/x").await, "group {n}");
    }
}

#[tokio::test]
async fn section_3_at_least_32_groups_of_32_characters() {
    let name = |n: usize| format!("\"{n:032}\"");
    let all = (0..32).map(name).collect::<Vec<_>>().join(", ");
    let origin = Origin::answering(move |request| match request.word(0) {
        "GET" => {
            let answer = Answer::ok("x").field("Cache-Control", "max-age=600");
            answer.field("Cache-Groups", name(request.word(1)[1..].parse().unwrap_or(99)))
        }
        _ => Answer::new(204).field("Cache-Group-Invalidation", all.clone()),
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    for n in 0..=32 {
        proxy.ask("GET", &format!("/{n}"), &["Host: one.test"], "").await;
    }
    proxy.ask("POST", "/elsewhere", &["Host: one.test"], "").await;
    for n in 0..32 {
        assert!(!proxy.has("one.test", &format!("/{n}")).await, "group {n}");
    }
    assert!(proxy.has("one.test", "/32").await);
}

#[tokio::test]
async fn groups_and_tags_are_purged_while_the_disk_tier_is_closed() {
    let origin = origin(200, "\"shared\"").await;
    let clock = noon();
    let config = format!("upstream = \"{}\"\n[policies.p]\ntags = {{ add = [\"all\"] }}\n", origin.url());
    let config = format!("{config}[[routes]]\nmatch = {{ path = \"/a\" }}\ncache = \"p\"\n");
    let first = Proxy::of(config.clone()).clock(&clock).on_disk().start().await;
    for target in STORED {
        first.ask("GET", target, &["Host: one.test"], "").await;
    }
    first.stored(STORED.len() as u64).await;
    first.written().await;
    // While the first one holds the directory, the second has no disk tier.
    let second = Proxy::of(config).clock(&clock).on_disk_of(&first).start().await;
    assert!(!second.instance.cache.state().is_open());
    let cache = &second.instance.cache;
    for tag in [group::tag("http", "one.test", "other"), "all".into()] {
        assert!(!cache.purge(Criterion::Tag(tag), false).await.expect("purged").durable);
    }
    second.ask("POST", "/elsewhere", &["Host: one.test"], "").await;
    first.close().await;
    until("the second has opened it", || cache.state().is_open()).await;
    assert_eq!(gone(&second, "one.test").await, ["/a", "/b", "/c", "/d"]);
    until("the rules are done with", || cache.stats().rules_active == 0).await;
    assert_eq!(cache.stats().disk_entries, 3);
    assert_eq!(gone(&second, "one.test").await, ["/a", "/b", "/c", "/d"]);
}

#[tokio::test]
async fn a_validation_changes_groups_and_tags_and_what_finds_them() {
    let origin = Origin::answering(|request| {
        let answer = match request.fields.has("if-none-match") {
            false => Answer::ok("x").field("Cache-Groups", "\"old\"").field("Surrogate-Key", "old-tag"),
            true => Answer::new(304).field("Cache-Groups", "\"new\"").field("Surrogate-Key", "new-tag"),
        };
        answer.field("ETag", "\"1\"").field("Cache-Control", "max-age=60")
    })
    .await;
    for (criterion, takes) in [
        (Criterion::Tag("old-tag".into()), false),
        (Criterion::Tag("new-tag".into()), true),
        (Criterion::Tag(group::tag("http", "one.test", "old")), false),
        (Criterion::Tag(group::tag("http", "one.test", "new")), true),
    ] {
        let clock = noon();
        let proxy =
            Proxy::of(format!("upstream = \"{}\"", origin.url())).clock(&clock).on_disk().start().await;
        let host = ["Host: one.test"];
        proxy.ask("GET", "/", &host, "").await;
        pass(&clock, 61);
        let validated = proxy.ask("GET", "/", &host, "").await;
        assert!(validated.cache_status().contains("fwd-status=304"), "{}", validated.cache_status());
        proxy.written().await;
        let victims = proxy.instance.cache.victims(vec![criterion.clone()], 9).await;
        assert_eq!(victims.entries, u64::from(takes), "{criterion:?}");
        proxy.instance.cache.purge(criterion.clone(), false).await.expect("purged");
        until("the rule is done with", || proxy.instance.cache.stats().rules_active == 0).await;
        assert_eq!(proxy.instance.cache.stats().disk_entries, u64::from(!takes), "{criterion:?}");
        assert_eq!(proxy.has("one.test", "/").await, !takes, "{criterion:?}");
        proxy.close().await;
    }
}
