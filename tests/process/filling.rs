//! A file system that is full or read-only: serving goes on, storing stops, and it is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, get, is_root, skip};

/// A small file system in RAM, gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        if !is_root() {
            skip("only root can mount");
            return None;
        }
        std::fs::create_dir(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                skip(&format!("nothing can be mounted here: {other:?}"));
                None
            }
        }
    }

    fn remount(&self, how: &str) {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn body(target: &str) -> Vec<u8> {
    format!("{target};").bytes().cycle().take(100_000).collect()
}

fn origin() -> Origin {
    Origin::new(|asked| Answer::fresh(body(&asked.target), 3600))
}

/// Asks for this many others, all of which must come whole.
#[track_caller]
fn assert_serving(proxy: &Proxy, name: &str, count: usize) {
    let mut client = Client::connect(proxy.address).unwrap();
    for number in 0..count {
        let target = format!("/{name}/{number}");
        let reply = client.get(&target).unwrap();
        assert!(
            reply.status == 200 && reply.body == body(&target),
            "{target}: {} {}",
            reply.status,
            reply.text()
        );
    }
}

const CONFIG: &str = "[store]\nmemory = \"1MiB\"\n";

#[test]
fn a_full_disk_stops_storing_and_not_serving() {
    let place = Place::new();
    let Some(_small) = Small::mount(&place.state(), "12M") else { return };
    let origin = origin();
    let text = format!("upstream = \"{}\"\n{CONFIG}min_free = \"4MiB\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    assert_serving(&proxy, "a", 20);
    // Somebody else fills the disk.
    let ballast = place.state().join("ballast");
    let filled = std::fs::write(&ballast, vec![0; 16 << 20]);
    assert!(filled.is_err(), "it is larger than said");
    assert_serving(&proxy, "b", 40);
    let status = eventually("it is told", || {
        let status = proxy.status(&place);
        (status["store"]["state"] != "open").then_some(status)
    });
    println!("{}\n{}", status["store"], proxy.said());
    assert!(status["store"]["state"].as_str().unwrap().contains("free disk space"), "{status}");
    assert_eq!(status["ready"], true);
    assert_serving(&proxy, "c", 40);
    place.print(&["cache", "ls"]);
    // There is room again.
    std::fs::remove_file(&ballast).unwrap();
    eventually("it stores again", || {
        get(proxy.address, "/again/0");
        (proxy.status(&place)["store"]["state"] == "open").then_some(())
    });
    proxy.stop();
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    assert_serving(&proxy, "a", 20);
}

#[test]
fn a_disk_without_room_from_the_start() {
    let place = Place::new();
    let Some(_small) = Small::mount(&place.state(), "2M") else { return };
    drop(std::fs::write(place.state().join("ballast"), vec![0; 4 << 20]));
    let origin = origin();
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{CONFIG}", origin.url()));
    assert_serving(&proxy, "a", 20);
    let status = eventually("it is told", || {
        let status = proxy.status(&place);
        (status["store"]["state"] != "opening").then_some(status)
    });
    println!("{}\n{}", status["store"], proxy.said());
    assert!(status["store"]["state"].as_str().unwrap().starts_with("closed: "), "{status}");
    assert_eq!(status["ready"], true);
    assert_serving(&proxy, "b", 20);
    proxy.stop();
}

#[test]
fn a_read_only_file_system() {
    let place = Place::new();
    let Some(small) = Small::mount(&place.state(), "64M") else { return };
    let origin = origin();
    let text = format!("upstream = \"{}\"\n{CONFIG}min_free = \"1MiB\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    assert_serving(&proxy, "a", 5);
    proxy.stop();
    small.remount("ro");
    let proxy = Proxy::configured(&place, &text);
    let status = eventually("it is told", || {
        let status = proxy.status(&place);
        (status["store"]["state"] != "opening").then_some(status)
    });
    println!("{}\n{}", status["store"], proxy.said());
    assert!(status["store"]["state"].as_str().unwrap().starts_with("closed: "), "{status}");
    assert_eq!(status["ready"], true);
    assert_serving(&proxy, "a", 20);
    small.remount("rw");
    proxy.stop();
}

#[test]
fn a_disk_that_fills_up_under_the_index_closes_the_store_until_there_is_room() {
    let place = Place::new();
    let Some(_small) = Small::mount(&place.state(), "8M") else { return };
    // Each stands in its record: only the index writes.
    let small = |target: &str| format!("{target};").bytes().cycle().take(2_000).collect::<Vec<u8>>();
    let origin = Origin::new(move |asked| Answer::fresh(small(&asked.target), 3600));
    let text = format!("upstream = \"{}\"\n{CONFIG}min_free = \"0\"\n", origin.url());
    let proxy = Proxy::configured(&place, &text);
    proxy.store_is(&place, "open");
    let ballast = place.state().join("ballast");
    drop(std::fs::write(&ballast, vec![0; 16 << 20]));
    let mut client = Client::connect(proxy.address).unwrap();
    let mut number = 0;
    let mut ask = |count: usize| {
        for _ in 0..count {
            number += 1;
            let target = format!("/{number}");
            let reply = client.get(&target).unwrap();
            assert!(reply.status == 200 && reply.body == small(&target), "{target}: {}", reply.status);
        }
    };
    let status = eventually("the store closes", || {
        ask(100);
        let status = proxy.status(&place);
        status["store"]["state"].as_str().is_some_and(|state| state.starts_with("closed: ")).then_some(status)
    });
    println!("{}\n{}", status["store"], proxy.said());
    assert_eq!(status["ready"], true);
    ask(100);
    std::fs::remove_file(&ballast).unwrap();
    proxy.store_is(&place, "open");
    ask(100);
    assert!(!proxy.said().contains("panicked"));
    proxy.stop();
}
