//! A store's directory that is damaged, too new, held or closed: serving goes on, with right bytes, and it is told.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, get};

const ENTRIES: usize = 300;

/// Some stand in the record, some in a file of several chunks.
fn body(target: &str) -> Vec<u8> {
    let number: usize = target.trim_start_matches('/').parse().unwrap();
    let size = if number.is_multiple_of(10) { 150_000 } else { 500 };
    format!("{target} of ours;").bytes().cycle().take(size + number).collect()
}

fn origin() -> Origin {
    Origin::new(|asked| Answer::fresh(body(&asked.target), 3600))
}

/// A place whose store holds all entries, closed in good order.
fn filled(origin: &Origin) -> Place {
    let place = Place::new();
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    assert_right(&proxy);
    eventually("all is on disk", || {
        (place.items(&["cache", "stats"])[0]["disk_entries"] == ENTRIES).then_some(())
    });
    proxy.stop();
    place
}

/// Asks for everything; how many were hits.
#[track_caller]
fn assert_right(proxy: &Proxy) -> usize {
    let mut client = Client::connect(proxy.address).unwrap();
    let targets: Vec<_> = (0..ENTRIES).map(|number| format!("/{number}")).collect();
    let replies = targets.iter().map(|target| {
        let reply = client.get(target).unwrap();
        assert_eq!(reply.status, 200, "{target}");
        assert!(reply.body == body(target), "wrong bytes of {target}: {}", reply.header("cache-status"));
        reply.is_hit()
    });
    replies.filter(|hit| *hit).count()
}

/// The files under a directory, the largest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

/// Turns bytes over, every so often.
fn flip(path: &Path, every: usize) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes.iter_mut().step_by(every).for_each(|byte| *byte ^= 0xff);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&bytes).unwrap();
}

/// Starts on what was done to the store: it opens, and all replies are right, twice, and after another start.
#[track_caller]
fn survives(place: &Place, origin: &Origin) -> serde_json::Value {
    let proxy = Proxy::before(place, &origin.url());
    let status = proxy.store_is(place, "open");
    let hits = assert_right(&proxy);
    assert_eq!(assert_right(&proxy), ENTRIES);
    println!("{hits} of {ENTRIES} outlasted it; {}", status["store"]);
    let said = proxy.stop();
    assert!(!said.contains("panicked"), "{said}");
    let proxy = Proxy::before(place, &origin.url());
    proxy.store_is(place, "open");
    assert_right(&proxy);
    proxy.stop();
    status
}

fn index(place: &Place) -> PathBuf {
    place.store().join("index")
}

#[test]
fn an_index_whose_bytes_have_turned_over() {
    let origin = origin();
    for every in [5, 101, 4_001] {
        let place = filled(&origin);
        flip(&index(&place).join("db"), every);
        survives(&place, &origin);
    }
}

#[test]
fn an_index_that_is_cut_off() {
    let origin = origin();
    for part in [0, 1, 2, 3] {
        let place = filled(&origin);
        let path = index(&place).join("db");
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length * part / 4).unwrap();
        survives(&place, &origin);
    }
}

#[test]
fn an_index_that_cannot_be_opened_is_set_aside_and_told() {
    let (origin, place) = (origin(), Place::new());
    drop(fs::create_dir_all(index(&place)));
    for dir in [place.state(), place.store()] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(index(&place).join("conf"), "not a config of the engine").unwrap();
    fs::write(index(&place).join("db"), vec![7; 100_000]).unwrap();
    let status = survives(&place, &origin);
    let detail = status["store"]["detail"].as_str().unwrap();
    assert!(detail.contains("set aside"), "{status}");
    let aside = fs::read_dir(place.store()).unwrap().map(Result::unwrap);
    assert!(
        aside.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("quarantine-"))
            || detail.contains("quarantine-"),
        "{status}"
    );
}

#[test]
fn body_files_that_are_damaged_cut_off_or_gone_are_fetched_again() {
    let origin = origin();
    let place = filled(&origin);
    let bodies = files(&place.store().join("bodies"));
    assert!(bodies.len() >= ENTRIES / 10, "{bodies:?}");
    for (number, path) in bodies.iter().enumerate() {
        match number % 4 {
            0 => flip(path, 1_000),
            1 => OpenOptions::new().write(true).open(path).unwrap().set_len(1_000).unwrap(),
            2 => fs::remove_file(path).unwrap(),
            _ => {}
        }
    }
    let proxy = Proxy::before(&place, &origin.url());
    proxy.store_is(&place, "open");
    // A reply whose start was right when it left may be torn, never wrong: then it is asked for again.
    for number in 0..ENTRIES {
        let target = format!("/{number}");
        let reply = eventually("a whole reply", || Client::connect(proxy.address).unwrap().get(&target).ok());
        assert!(reply.status == 200 && reply.body == body(&target), "{target}: {reply:?}");
    }
    assert!(place.items(&["cache", "stats"])[0]["corrupt"].as_u64() > Some(0));
    assert_right(&proxy);
}

#[test]
fn a_journal_of_purges_that_is_damaged() {
    let origin = origin();
    let place = filled(&origin);
    let proxy = Proxy::before(&place, &origin.url());
    place.print(&["cache", "purge", "--prefix", "/1", "-y"]);
    proxy.kill();
    flip(&place.store().join("purges"), 3);
    let proxy = Proxy::before(&place, &origin.url());
    let status = proxy.store_is(&place, "open");
    // Which purges it held is unknown: nothing from before may be served.
    assert!(status["store"]["detail"].is_string(), "{status}");
    for number in [1, 10, 11, 100] {
        let reply = get(proxy.address, &format!("/{number}"));
        assert!(!reply.is_hit(), "{number} returned");
    }
    assert_right(&proxy);
}

#[test]
fn a_newer_format_is_left_untouched_and_served_without() {
    let origin = origin();
    let place = filled(&origin);
    fs::write(place.store().join("format"), "proxy-stone store 999\n").unwrap();
    let snapshot = |place: &Place| -> Vec<_> {
        let mut all: Vec<_> =
            files(&place.store()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        all.sort();
        all
    };
    let before = snapshot(&place);
    let proxy = Proxy::before(&place, &origin.url());
    let status = proxy.store_is(&place, "closed: written by a newer version (format 999)");
    assert!(status["store"]["detail"].as_str().is_some_and(|detail| detail.contains("newer")), "{status}");
    assert_eq!(status["ready"], true);
    assert_eq!(assert_right(&proxy), 0);
    assert!(assert_right(&proxy) > 0, "memory still serves");
    proxy.says("newer");
    proxy.stop();
    assert!(before == snapshot(&place), "something was written");
}

#[test]
fn a_directory_that_another_instance_holds_is_told_and_taken_later() {
    let origin = origin();
    let (place, other) = (Place::new(), Place::new());
    let holder = Proxy::before(&place, &origin.url());
    holder.store_is(&place, "open");
    let state = place.state().display().to_string();
    let second = Proxy::start(&other, &[&origin.url(), "-l", "127.0.0.1:0", "--state-dir", &state]);
    let held = format!("closed: in use by process {}", holder.pid());
    let status = second.store_is(&other, &held);
    assert!(status["store"]["detail"].is_string(), "{status}");
    assert_eq!(assert_right(&second), 0);
    assert_eq!(assert_right(&holder), 0);
    holder.stop();
    second.store_is(&other, "open");
    assert_right(&second);
}
