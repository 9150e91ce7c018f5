//! `cache verify` and `cache gc` against the running instance.

use std::fs;

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually};

const ENTRIES: usize = 20;

fn scene() -> (Place, Proxy, Origin) {
    let place = Place::new();
    let origin = Origin::new(|asked| Answer::fresh(asked.target.repeat(40_000), 600));
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    let mut client = Client::connect(proxy.address).unwrap();
    for number in 0..ENTRIES {
        client.get(&format!("/{number}")).unwrap();
    }
    eventually("all is on disk", || {
        (place.items(&["cache", "stats"])[0]["disk_entries"] == ENTRIES).then_some(())
    });
    (place, proxy, origin)
}

#[test]
fn a_damaged_body_is_found_listed_and_repaired_and_the_origin_asked_again() {
    let (place, proxy, origin) = scene();
    let clean = place.run(&["cache", "verify"]);
    assert_eq!(clean.code, 0, "{}", clean.stderr);
    assert!(clean.stderr.contains("20 entries, 20 bodies in files"), "{}", clean.stderr);
    assert!(clean.stderr.contains("nothing is wrong"), "{}", clean.stderr);

    let folder = fs::read_dir(place.store().join("bodies")).unwrap().next().unwrap().unwrap().path();
    let body = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&body).unwrap();
    bytes[30_000] ^= 1;
    fs::write(&body, bytes).unwrap();

    let found = place.run(&["cache", "verify", "-o", "json"]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    let document: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let fault = &document["items"][0];
    assert_eq!((&fault["fault"], &fault["repaired"]), (&"body-damaged".into(), &false.into()), "{document}");
    let url = fault["url"].as_str().unwrap();
    assert_eq!(document["items"].as_array().unwrap().len(), 1);

    let repaired = place.run(&["cache", "verify", "--repair", "--rate", "100MiB", "-o", "csv"]);
    assert_eq!(repaired.code, 1, "{}", repaired.stderr);
    assert!(repaired.stdout.contains("body-damaged,yes,"), "{}", repaired.stdout);
    assert_eq!(place.run(&["cache", "verify", "-q"]).code, 0);
    assert_eq!(place.run(&["cache", "show", url]).code, 4);

    let target = format!("/{}", url.rsplit_once('/').unwrap().1);
    let reply = Client::connect(proxy.address).unwrap().get(&target).unwrap();
    assert!(reply.body == target.repeat(40_000).as_bytes() && !reply.is_hit());
    assert_eq!(origin.hits(&target), 2);
}

#[test]
fn gc_reports_what_it_frees_and_a_dry_run_frees_nothing() {
    let (place, _proxy, _origin) = scene();
    place.print(&["cache", "purge", "--prefix", "/1", "-y"]);
    eventually("the purge's removal is done", || {
        (place.items(&["cache", "stats"])[0]["rules_active"] == 0).then_some(())
    });
    fs::write(place.store().join("tmp/0000000000000000-0"), [0; 5_000]).unwrap();
    let would = place.items(&["cache", "gc", "--dry-run"]).remove(0);
    let did = place.items(&["cache", "gc"]).remove(0);
    for (reclaimed, dry_run) in [(&would, true), (&did, false)] {
        assert_eq!(reclaimed["dry_run"], dry_run);
        assert_eq!((&reclaimed["temporary_files"], &reclaimed["retired_rules"]), (&1.into(), &1.into()));
        assert_eq!(reclaimed["bytes"], 5_000, "{reclaimed}");
    }
    let again = place.items(&["cache", "gc"]).remove(0);
    assert_eq!((&again["bytes"], &again["retired_rules"]), (&0.into(), &0.into()));
    let closed = Place::new();
    assert_eq!(closed.run(&["cache", "gc"]).code, 5);
}
