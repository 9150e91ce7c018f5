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

/// Stores replies under keys that leave out what clients write.
fn keyed() -> Scene {
    let place = Place::new();
    let origin = Origin::new(|asked| Answer::fresh(asked.target.clone(), 600));
    let route = |name: &str, key: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/*\" }}\ncache = {{ key = {{ {key} }} }}\n"
        )
    };
    let config = [
        format!("upstream = \"{}\"\n", origin.url()),
        route("picked", "query = [\"id\"]"),
        route("ignored", "ignore_query = [\"utm_*\"], ignore_empty_query = true"),
        route("sorted", "sort_query = true, query_case = \"names\""),
        route("shared", "host = false"),
        route("plain", "host = true"),
    ];
    let proxy = Proxy::configured(&place, &config.concat());
    proxy.store_is(&place, "open");
    for target in WRITTEN {
        get(proxy.address, target);
        get(proxy.address, &format!("{target}&other=1&id=9"));
    }
    eventually("all is stored", || (place.items(&["cache", "ls"]).len() == 2 * WRITTEN.len()).then_some(()));
    Scene { place, proxy, origin }
}

const WRITTEN: [&str; 5] = [
    "/picked/a?id=1&x=1",
    "/ignored/a?utm_source=1&b=",
    "/sorted/a?C=1&b=2",
    "/shared/a?b=1",
    "/plain/a?q='x'",
];

#[test]
fn a_url_is_taken_as_clients_write_it_whatever_its_key_leaves_out() {
    let Scene { place, proxy, origin } = keyed();
    for target in WRITTEN {
        let url = format!("http://stone.test{target}");
        let shown = place.items(&["cache", "show", &url]);
        assert_eq!(shown.len(), 1, "{url}");
        let listed = place.items(&["cache", "ls", "--url", &url]);
        assert_eq!(listed[0]["url"], shown[0]["url"], "{url}");
        assert_eq!(listed.len(), 1, "{url}");
        let dry = place.items(&["cache", "purge", &url, "--dry-run"]);
        assert_eq!((dry.len(), &dry[0]["url"]), (1, &shown[0]["url"]), "{url}");
        // As `cache ls` prints it, too.
        let stored = shown[0]["url"].as_str().unwrap();
        assert_eq!(place.items(&["cache", "purge", stored, "--dry-run"]).len(), 1, "{stored}");

        // With what the origin may read, and by the host that was written.
        let refreshed = place.items(&["cache", "refresh", &url, "--each"]);
        assert_eq!((refreshed.len(), &refreshed[0]["result"]), (1, &"unchanged".into()), "{refreshed:?}");
        assert_eq!(origin.hits(target), 2, "{target}");

        assert!(get(proxy.address, target).is_hit(), "{target}");
        let done = place.items(&["cache", "purge", &url, "-y"]).remove(0);
        assert_eq!(done["entries"], 1, "{done}");
        assert!(!get(proxy.address, target).is_hit(), "{target}");
    }
    let list = WRITTEN.map(|target| format!("http://stone.test{target}\n")).concat();
    let file = place.write("list", &list);
    place.print(&["cache", "purge", "-f", file.to_str().unwrap(), "-y"]);
    for target in WRITTEN {
        assert!(!get(proxy.address, target).is_hit(), "{target}");
        assert!(get(proxy.address, &format!("{target}&other=1&id=9")).is_hit(), "{target}: another URL");
    }
}

#[test]
fn prefixes_globs_and_hosts_mean_what_is_listed() {
    let Scene { place, .. } = &keyed();
    let found = |select: &[&str]| place.items(&[&["cache", "purge", "--dry-run"], select].concat()).len();
    for (select, count) in [
        (["--prefix", "/shared/"], 2),
        (["--prefix", "http://stone.test/shared/"], 0),
        (["--prefix", "http://*/shared/"], 2),
        (["--glob", "stone.test/picked/*"], 2),
        (["--glob", "*/shared/*"], 2),
        (["--host", "*"], 2),
        (["--host", "stone.test"], 8),
    ] {
        assert_eq!(found(&select), count, "{select:?}");
    }
}

#[test]
fn what_is_no_selection_is_refused_and_a_purge_of_nothing_says_why() {
    let Scene { place, .. } = &keyed();
    place.write("bytes", "");
    std::fs::write(place.path("bytes"), [0xff, b'\n']).unwrap();
    place.write("one", "tag:nobody\n");
    for args in [
        &["--tag", ""][..],
        &["--glob", ""],
        &["--host", "http://stone.test/"],
        &["--route", ""],
        &["--prefix", ""],
        &["-f", "/"],
        &["-f", "bytes"],
        &["/plain"],
    ] {
        let output = place.run(&[&["cache", "purge", "-y"], args].concat());
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{args:?}: {output:?}");
    }
    for (args, note) in [
        (&["--route", "nope"][..], "note: there is no route `nope` now"),
        (&["http://stone.test/picked/*"], "note: * is no wildcard here"),
        (&["--host", "nowhere.test"], "note: what hosts share is stored under the host *"),
        (&["--tag", "nobody"], ""),
    ] {
        for more in ["--dry-run", "-y"] {
            let output = place.run(&[&["cache", "purge", more], args].concat());
            assert_eq!(output.code, 0, "{args:?}: {output:?}");
            if more == "-y" && output.stdout == "purged: everything chosen\n" {
                // Counting takes no longer than a moment, which may pass on a busy machine.
                continue;
            }
            let told = output.stderr.lines().last().unwrap_or_default();
            assert_eq!(told.starts_with("note: "), !note.is_empty(), "{args:?}: {output:?}");
            assert!(note.is_empty() || told.starts_with(note), "{args:?}: {output:?}");
        }
    }
    assert_eq!(place.print(&["cache", "purge", "-f", "one", "-y"]), "purged: 1 selection\n");
}
