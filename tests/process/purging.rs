//! `cache purge` by every criterion: shown beforehand, marked or removed, and for good.

use crate::support::{Answer, Origin, Place, Proxy, eventually, get};

const TARGETS: [&str; 6] = ["/users/1", "/users/2", "/users/2?full", "/files/a.css", "/files/b.js", "/other"];

struct Scene {
    place: Place,
    proxy: Proxy,
    origin: Origin,
}

fn scene() -> Scene {
    let place = Place::new();
    let origin = Origin::new(|asked| {
        let kind = asked.target.trim_start_matches('/').split('/').next().unwrap().to_owned();
        Answer::fresh(asked.target.clone(), 600)
            .with("Cache-Tag", format!("{kind}, everything"))
            .with("ETag", "\"1\"")
    });
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"{}\"\n[[routes]]\nname = \"files\"\nmatch = {{ path = \"/files/*\" }}\ncache = {{ tags = {{ add = [\"static\"] }} }}\n",
            origin.url()
        ),
    );
    proxy.store_is(&place, "open");
    for target in TARGETS {
        get(proxy.address, target);
    }
    eventually("all is stored", || (place.items(&["cache", "ls"]).len() == TARGETS.len()).then_some(()));
    Scene { place, proxy, origin }
}

/// Which targets a criterion takes: said by a dry run, then shown by what is no hit any more.
#[track_caller]
fn takes(criterion: &[&str], wanted: &[&str]) {
    let Scene { place, proxy, origin } = scene();
    let purge = [&["cache", "purge"], criterion].concat();

    let mut shown: Vec<_> = place
        .items(&[&purge[..], &["--dry-run", "--sort-by", "url"]].concat())
        .iter()
        .map(|item| item["url"].as_str().unwrap().strip_prefix("http://stone.test").unwrap().to_owned())
        .collect();
    shown.sort();
    assert_eq!(shown, wanted, "{criterion:?}");
    for target in TARGETS {
        assert!(get(proxy.address, target).is_hit(), "a dry run took {target}");
    }

    let output = place.run(&[&purge[..], &["-y"]].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("purged: "), "{output:?}");
    for target in TARGETS {
        assert_eq!(get(proxy.address, target).is_hit(), !wanted.contains(&target), "{criterion:?} {target}");
        assert_eq!(origin.hits(target), 1 + usize::from(wanted.contains(&target)), "{target}");
        assert!(get(proxy.address, target).is_hit(), "stored again: {target}");
    }
}

#[test]
fn by_url() {
    takes(&["--url", "http://stone.test/users/2"], &["/users/2"]);
}

#[test]
fn by_prefix() {
    takes(&["--prefix", "/users/2"], &["/users/2", "/users/2?full"]);
    takes(&["--prefix", "http://stone.test/files/"], &["/files/a.css", "/files/b.js"]);
}

#[test]
fn by_glob() {
    takes(&["--glob", "stone.test/files/*.css"], &["/files/a.css"]);
}

#[test]
fn by_host() {
    let all = ["/files/a.css", "/files/b.js", "/other", "/users/1", "/users/2", "/users/2?full"];
    takes(&["--host", "stone.test"], &all);
    takes(&["--host", "example.com"], &[]);
}

#[test]
fn by_route() {
    takes(&["--route", "files"], &["/files/a.css", "/files/b.js"]);
}

#[test]
fn by_a_tag_of_the_reply_or_of_the_policy() {
    takes(&["--tag", "users"], &["/users/1", "/users/2", "/users/2?full"]);
    takes(&["--tag", "static"], &["/files/a.css", "/files/b.js"]);
}

#[test]
fn by_age() {
    takes(&["--older-than", "1h"], &[]);
    let all = ["/files/a.css", "/files/b.js", "/other", "/users/1", "/users/2", "/users/2?full"];
    takes(&["--older-than", "1ms"], &all);
}

#[test]
fn all_of_them() {
    let all = ["/files/a.css", "/files/b.js", "/other", "/users/1", "/users/2", "/users/2?full"];
    takes(&["--all"], &all);
}

#[test]
fn by_key() {
    let Scene { place, proxy, .. } = scene();
    let key =
        place.items(&["cache", "show", "http://stone.test/other"])[0]["key"].as_str().unwrap().to_owned();
    assert_eq!(place.items(&["cache", "purge", "--key", &key, "--dry-run"]).len(), 1);
    place.print(&["cache", "purge", "--key", &key, "-y"]);
    assert!(!get(proxy.address, "/other").is_hit());
    assert!(get(proxy.address, "/users/1").is_hit());
}

#[test]
fn softly_they_are_validated_at_the_next_use() {
    let Scene { place, proxy, .. } = scene();
    let output = place.print(&["cache", "purge", "--tag", "users", "--soft", "-y"]);
    assert!(output.starts_with("marked as stale: "), "{output}");
    let state = &place.items(&["cache", "show", "http://stone.test/users/1"])[0]["state"];
    assert_eq!(state, "purged");
    let reply = get(proxy.address, "/users/1");
    assert!(reply.header("cache-status").contains("fwd=stale"), "{reply:?}");
    assert!(get(proxy.address, "/users/1").is_hit());
    assert!(get(proxy.address, "/other").is_hit());
}

#[test]
fn a_purge_as_json_says_what_it_did() {
    let Scene { place, .. } = &scene();
    let reply = place.items(&["cache", "purge", "--tag", "users", "-y"]).remove(0);
    assert_eq!(reply["dry_run"], false);
    assert_eq!(reply["durable"], true);
    assert!(reply["sequence"].is_u64(), "{reply}");
}

#[test]
fn nothing_chosen_or_too_much_is_a_usage_error() {
    let place = Place::new();
    for args in [&[][..], &["--tag", "a", "--all"], &["--older-than", "soon"]] {
        let output = place.run(&[&["cache", "purge"], args].concat());
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
    }
}

#[test]
fn a_purge_holds_after_a_restart() {
    let Scene { place, proxy, origin } = scene();
    place.print(&["cache", "purge", "--prefix", "/users/", "-y"]);
    proxy.kill();
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"{}\"\n[[routes]]\nname = \"files\"\nmatch = {{ path = \"/files/*\" }}\n",
            origin.url()
        ),
    );
    for target in TARGETS {
        if target.starts_with("/users/") {
            assert!(!get(proxy.address, target).is_hit(), "{target} returned");
        }
    }
    proxy.store_is(&place, "open");
    assert!(get(proxy.address, "/users/1").is_hit());
    proxy.stop();
}

#[test]
fn what_is_stored_outlasts_a_restart() {
    let Scene { place, proxy, origin } = scene();
    eventually("all is on disk", || {
        (place.items(&["cache", "stats"])[0]["disk_entries"] == TARGETS.len()).then_some(())
    });
    proxy.stop();
    let proxy = Proxy::configured(
        &place,
        &format!(
            "upstream = \"{}\"\n[[routes]]\nname = \"files\"\nmatch = {{ path = \"/files/*\" }}\n",
            origin.url()
        ),
    );
    proxy.store_is(&place, "open");
    for target in TARGETS {
        let reply = get(proxy.address, target);
        assert!(reply.is_hit(), "{target}: {reply:?}");
        assert_eq!(reply.text(), target);
    }
}
