//! `PURGE` and `BAN` by clients: only where configured, only for those who may, and refused rather than forwarded.

use proxy_stone::config::Overrides;
use proxy_stone::config::Source;
use proxy_stone::config::load::load_with;

use crate::support::{Answer, Call, Client, Gate, H2, Origin, Proxy, until};

const STORED: [&str; 6] = ["/a", "/a?x=1", "/a/b", "/img/1.png", "/img/2.css", "/c"];

async fn origin() -> Origin {
    Origin::answering(|request| match request.word(0) {
        "GET" => {
            let tag = request.word(1).trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
            let answer = Answer::ok("x").field("Cache-Control", "max-age=600").field("ETag", "\"1\"");
            let answer = answer.field("Vary", "Accept").field("Surrogate-Key", format!("all {tag}"));
            answer.field("Cache-Groups", format!("\"{tag}\""))
        }
        _ => Answer::new(405).field("X-Seen", request.word(0).to_owned()),
    })
    .await
}

async fn proxy(origin: &Origin, purge: &str) -> Proxy {
    let config = format!("upstream = \"{}\"\ntrusted_proxies = [\"127.0.0.2\"]\n{purge}", origin.url());
    let proxy = Proxy::of(config).on_disk().start().await;
    for host in ["one.test", "two.test"] {
        for target in STORED {
            proxy.ask("GET", target, &[&format!("Host: {host}")], "").await;
        }
    }
    proxy.ask("GET", "/a", &["Host: one.test", "Accept: text/plain"], "").await;
    proxy.stored(2 * STORED.len() as u64 + 1).await;
    proxy
}

async fn gone(proxy: &Proxy, host: &str) -> Vec<&'static str> {
    let mut gone = Vec::new();
    for target in STORED {
        if !proxy.has(host, target).await {
            gone.push(target);
        }
    }
    gone
}

const OPEN: &str = "[purge]\nallow = [\"127.0.0.1\"]";

#[tokio::test]
async fn without_a_word_in_the_config_they_are_methods_like_any_other() {
    let origin = origin().await;
    let proxy = proxy(&origin, "").await;
    for method in ["PURGE", "BAN"] {
        let reply = proxy.ask(method, "/a", &["Host: one.test", "Surrogate-Key: all"], "").await;
        assert_eq!((reply.status, reply.field("x-seen")), (405, Some(method)));
    }
    assert!(gone(&proxy, "one.test").await.is_empty());
}

#[tokio::test]
async fn a_request_takes_what_it_names_on_its_own_host() {
    let all = "Surrogate-Key: all";
    for (method, target, field, ours, theirs) in [
        ("PURGE", "/a", "X: y", &["/a"][..], &[][..]),
        ("PURGE", "/a?x=1", "X: y", &["/a?x=1"], &[]),
        ("PURGE", "/./a", "X: y", &["/a"], &[]),
        ("PURGE", "/a*", "X: y", &["/a", "/a?x=1", "/a/b"], &[]),
        ("BAN", "/img/*.png", "X: y", &["/img/1.png"], &[]),
        ("BAN", "/*", "X: y", &STORED, &[]),
        ("BAN", "/c", "X: y", &["/c"], &[]),
        ("PURGE", "/none", "X: y", &[], &[]),
        // Tags belong to no host, groups to one.
        (
            "PURGE",
            "/",
            "xkey-purge: img c",
            &["/img/1.png", "/img/2.css", "/c"],
            &["/img/1.png", "/img/2.css", "/c"],
        ),
        ("PURGE", "/none", all, &STORED, &STORED),
        ("PURGE", "/", "Cache-Group-Invalidation: \"img\"", &["/img/1.png", "/img/2.css"], &[]),
    ] {
        let origin = origin().await;
        let proxy = proxy(&origin, OPEN).await;
        let asked = origin.hits();
        let reply = proxy.ask(method, target, &["Host: one.test", field], "").await;
        assert_eq!(reply.status, 200, "{method} {target}: {}", reply.text());
        let said: serde_json::Value = serde_json::from_str(reply.text()).expect("JSON");
        assert_eq!(
            (&said["status"], &said["soft"], &said["durable"]),
            (&"ok".into(), &false.into(), &true.into())
        );
        assert!(said["sequence"].is_u64() && said["purged"][0].is_string(), "{said}");
        assert_eq!(gone(&proxy, "one.test").await, ours, "{method} {target} {field}");
        assert_eq!(gone(&proxy, "two.test").await, theirs, "{method} {target} {field}");
        assert_eq!(origin.hits(), asked, "the origin hears nothing of it");
        proxy.close().await;
    }
}

#[tokio::test]
async fn all_variants_go_at_once_and_for_good() {
    let origin = origin().await;
    let proxy = proxy(&origin, OPEN).await;
    proxy.ask("PURGE", "/a", &["Host: one.test"], "").await;
    for accept in ["Accept: text/plain", "X: y"] {
        let only = ["Host: one.test", accept, "Cache-Control: only-if-cached"];
        assert_eq!(proxy.ask("GET", "/a", &only, "").await.status, 504, "{accept}");
    }
    until("it is removed", || proxy.instance.cache.stats().rules_active == 0).await;
    assert_eq!(proxy.instance.cache.stats().disk_entries, 2 * STORED.len() as u64 - 1);
}

#[tokio::test]
async fn soft_by_the_request_or_by_the_config() {
    for (config, field) in [
        (OPEN, "Fastly-Soft-Purge: 1"),
        (OPEN, "xkey-softpurge: all"),
        ("[purge]\nallow = [\"127.0.0.1\"]\nsoft = true", "X: y"),
    ] {
        let origin = origin().await;
        let proxy = proxy(&origin, config).await;
        let reply = proxy.ask("PURGE", "/a", &["Host: one.test", field], "").await;
        assert!(reply.text().contains("\"soft\":true"), "{field}: {}", reply.text());
        proxy.ask("GET", "/a", &["Host: one.test"], "").await;
        assert_eq!(origin.last().fields.get("if-none-match"), Some("\"1\""), "{field}");
    }
}

#[tokio::test]
async fn who_may_not_is_refused_and_nothing_is_forwarded_or_purged() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "s3cret\n").expect("written");
    let token = format!("token = \"file:{}\"", token.path().display());
    let elsewhere = "[purge]\nallow = [\"10.0.0.0/8\"]";
    let both = format!("{OPEN}\n{token}");
    let no_ban = format!("{OPEN}\nmethods = [\"PURGE\"]");
    let right = "Authorization: Bearer s3cret";
    for (config, method, field, status) in [
        (elsewhere, "PURGE", "X: y", 403),
        (elsewhere, "BAN", right, 403),
        // Nobody is believed who is not trusted.
        (elsewhere, "PURGE", "X-Forwarded-For: 10.0.0.1", 403),
        (&format!("[purge]\n{token}"), "PURGE", "X: y", 401),
        (&format!("[purge]\n{token}"), "PURGE", "Authorization: Bearer wrong", 401),
        (&format!("[purge]\n{token}"), "PURGE", "Authorization: Bearer s3cre", 401),
        (&format!("[purge]\n{token}"), "PURGE", "Authorization: Basic s3cret", 401),
        (&format!("[purge]\n{token}"), "PURGE", right, 200),
        (&both, "PURGE", "X: y", 401),
        (&both, "PURGE", right, 200),
        (&format!("{elsewhere}\n{token}"), "PURGE", right, 403),
        // What is not among the methods is forwarded as ever.
        (&no_ban, "BAN", "X: y", 405),
        (&no_ban, "PURGE", "X: y", 200),
    ] {
        let origin = origin().await;
        let proxy = proxy(&origin, config).await;
        let asked = origin.hits();
        let reply = proxy.ask(method, "/a", &["Host: one.test", field], "").await;
        assert_eq!(reply.status, status, "{config} {method} {field}: {}", reply.text());
        assert_eq!(reply.field("www-authenticate"), (status == 401).then_some("Bearer"));
        assert_eq!(origin.hits() > asked, status == 405, "{config} {method} {field}");
        let taken: &[&str] = if status == 200 { &["/a"] } else { &[] };
        assert_eq!(gone(&proxy, "one.test").await, taken, "{config} {method} {field}");
        proxy.close().await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_purges() {
    let origin = origin().await;
    let config = format!(
        "upstream = \"{}\"\ntrusted_proxies = [\"127.0.0.1\"]\n[purge]\nallow = [\"10.0.0.0/8\"]",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    for (address, status) in [("10.1.2.3", 200), ("192.0.2.1", 403)] {
        let said = format!("X-Forwarded-For: {address}");
        assert_eq!(proxy.ask("PURGE", "/a", &[&said], "").await.status, status, "{address}");
    }
    assert_eq!(proxy.ask("PURGE", "/a", &[], "").await.status, 403);
}

#[tokio::test]
async fn a_purge_by_http_2() {
    let origin = origin().await;
    let proxy = proxy(&origin, OPEN).await;
    let client = proxy.connect_h2().await;
    client.get("/a").await;
    let reply = client.ask(H2::request("PURGE", "/a", "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_fetch_under_way_across_a_purge_by_request_is_not_stored() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        at_origin.pass().await;
        call.answer(&Answer::ok("x").field("Cache-Control", "max-age=60")).await;
    })
    .await;
    let proxy = Proxy::of(format!("upstream = \"{}\"\n{OPEN}", origin.url())).start().await;
    let address = proxy.address;
    let host = ["Host: one.test"];
    let before =
        tokio::spawn(async move { Client::connect(address).await.ask("GET", "/a", &host, "").await });
    origin.hit(1).await;
    assert_eq!(proxy.ask("PURGE", "/a", &host, "").await.status, 200);
    gate.open();
    assert_eq!(before.await.expect("answered").status, 200);
    until("no fetch is left", || proxy.instance.proxy.flights() == 0).await;
    assert!(!proxy.has("one.test", "/a").await);
}

/// The codes of what is wrong with a config.
fn findings(purge: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let text = format!("upstream = \"http://a\"\n{purge}");
    let source = Source::Text { name: "test.toml".into(), text };
    let loaded = load_with(&source, None, &Overrides::default(), env);
    assert!(loaded.findings.iter().all(|finding| !finding.message.contains("hunter2")), "a secret is told");
    loaded.findings.iter().map(|finding| finding.code.to_string()).collect()
}

#[test]
fn a_config_that_lets_nobody_or_everybody_purge_is_told() {
    let set = |name: &str| (name == "SET").then(|| "hunter2".to_owned());
    for (config, codes) in [
        ("", &[][..]),
        (OPEN, &[]),
        ("[purge]\ntoken = \"env:SET\"", &[]),
        ("[purge]\ntoken = \"env:UNSET\"", &["PS0510"]),
        ("[purge]\ntoken = \"file:/nowhere\"", &["PS0510"]),
        ("[purge]\ntoken = \"hunter2\"", &["PS0220"]),
        ("[purge]\nsoft = true", &["PS0440"]),
        ("[purge]", &["PS0440"]),
        ("[purge]\nallow = [\"0.0.0.0/0\"]", &["PS0441"]),
        ("[purge]\nallow = [\"0.0.0.0/0\"]\ntoken = \"env:SET\"", &[]),
        ("[purge]\nallow = [\"10.0.0.0/8\"]\nmethods = [\"GET\"]", &["PS0106"]),
    ] {
        assert_eq!(findings(config, &set), codes, "{config}");
    }
}

/// Routes by a field and by the method, with rules of their own for the key.
fn by_rules(origin: &Origin, more: &str) -> String {
    format!(
        "upstream = \"{}\"\n{more}
         [[routes]]\nname = \"json\"\nmatch = {{ path = \"/k/*\", headers = {{ accept = \"json\" }} }}
         cache = {{ key = {{ query = [\"id\"], host = false }} }}
         [[routes]]\nname = \"all\"\nmatch = {{ path = \"/k/*\" }}
         cache = {{ key = {{ sort_query = true, ignore_query = [\"utm_*\"] }} }}
         [[routes]]\nname = \"write\"\nmatch = {{ path = \"/k/*\", methods = [\"PUT\"] }}\ncache = false\n",
        origin.url()
    )
}

#[tokio::test]
async fn a_url_is_purged_as_clients_write_it_whichever_route_stored_it() {
    let written = "/k/a?utm_source=x&id=1&b=2";
    let only = ["Host: one.test", "Cache-Control: only-if-cached"];
    let only_json = ["Host: two.test", "Cache-Control: only-if-cached", "Accept: json"];
    // A PURGE has not the fields that the match looks at; a write goes by a route that knows nothing of keys.
    for method in ["PURGE", "PUT", "GET"] {
        let origin = Origin::answering(|_| Answer::ok("x").field("Cache-Control", "max-age=600")).await;
        let proxy = Proxy::of(by_rules(&origin, OPEN)).start().await;
        proxy.ask("GET", written, &["Host: one.test"], "").await;
        proxy.ask("GET", written, &["Host: one.test", "Accept: json"], "").await;
        proxy.ask("GET", "/k/b?id=1", &["Host: one.test"], "").await;
        proxy.stored(3).await;
        let reply = proxy.ask(method, written, &["Host: one.test"], "").await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        let left = if method == "GET" { 200 } else { 504 };
        assert_eq!(proxy.ask("GET", "/k/a?b=2&id=1", &only, "").await.status, left, "{method}");
        assert_eq!(proxy.ask("GET", "/k/a?id=1", &only_json, "").await.status, left, "{method}");
        assert!(proxy.has("one.test", "/k/b?id=1").await, "{method}");
        proxy.close().await;
    }
}

#[tokio::test]
async fn a_beginning_is_purged_for_the_host_and_for_what_hosts_share() {
    let origin = Origin::answering(|_| Answer::ok("x").field("Cache-Control", "max-age=600")).await;
    let proxy = Proxy::of(by_rules(&origin, OPEN)).start().await;
    proxy.ask("GET", "/k/a", &["Host: one.test", "Accept: json"], "").await;
    proxy.ask("GET", "/k/a", &["Host: one.test"], "").await;
    proxy.ask("GET", "/k/a", &["Host: two.test"], "").await;
    proxy.stored(3).await;
    proxy.ask("PURGE", "/k/*", &["Host: one.test"], "").await;
    let json = ["Host: two.test", "Cache-Control: only-if-cached", "Accept: json"];
    assert_eq!(proxy.ask("GET", "/k/a", &json, "").await.status, 504);
    assert!(!proxy.has("one.test", "/k/a").await && proxy.has("two.test", "/k/a").await);
}
