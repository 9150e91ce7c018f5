//! Directories that are held, of another version or damaged, and those who look for damage or clear up.

use super::*;

#[tokio::test]
async fn a_held_directory_is_served_without_and_taken_over_later() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    put(&first, "/a", b"a").await;
    put(&first, "/b", b"b").await;
    put(&first, "/d", b"d").await;
    settled(&first).await;
    let second = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    assert_eq!(second.wait_open().await, State::Closed(Closed::Locked(Some(std::process::id()))));
    assert_eq!(second.findings()[0].code, "locked");
    assert_eq!(store(&second, new("/c", second.sequence()), b"c").await, Inserted::MemoryOnly);
    // A purge given meanwhile also takes what the other one stored.
    let url = Criterion::Url { authority: "example.com".into(), target: "/a".into() };
    second.purge(url, false).await.unwrap();
    // So does what an unsafe request ends (RFC 9111 4.4).
    second.invalidate(Criterion::Url { authority: "example.com".into(), target: "/d".into() });
    first.close().await;
    let mut states = second.shared.state.subscribe();
    tokio::time::timeout(Duration::from_secs(20), states.wait_for(State::is_open)).await.unwrap().unwrap();
    assert!(lookup(&second, "/a").is_none());
    assert!(lookup(&second, "/d").is_none());
    assert_eq!(get(&second, "/b").await.unwrap(), b"b");
    assert_eq!(get(&second, "/c").await.unwrap(), b"c");
}

#[tokio::test]
async fn a_newer_format_is_left_untouched_and_served_without() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "proxy-stone store 7\n").unwrap();
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    assert_eq!(cache.wait_open().await, State::Closed(Closed::Newer(7)));
    assert_eq!(cache.findings()[0].code, "newer-format");
    assert_eq!(store(&cache, new("/a", cache.sequence()), b"a").await, Inserted::MemoryOnly);
    cache.purge(Criterion::All, false).await.unwrap();
    cache.close().await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_damaged_body_is_an_error_once_and_then_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    put(&cache, "/a", &random(2 << 20)).await;
    settled(&cache).await;
    let file = body_files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_500_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = lookup(&cache, "/a").unwrap().variants[0].clone();
    assert!(matches!(found.body, BodyRef::File(_)));
    assert!(matches!(body(&cache, &found).await, Err(BodyError::Corrupt)));
    assert!(lookup(&cache, "/a").is_none());
    settled(&cache).await;
    assert!(lookup(&cache, "/a").is_none());
    assert_eq!((cache.stats().disk_entries, cache.stats().corrupt), (0, 1));
    assert!(body_files(dir.path()).is_empty());
}

/// Whatever happens to the files: it opens, and what it hands out is right.
#[tokio::test]
async fn a_damaged_directory_opens_and_never_lies() {
    let source = tempfile::tempdir().unwrap();
    let cache = open(source.path()).await;
    for number in 0..400_usize {
        put(&cache, &format!("/{number}"), number.to_string().repeat(number * 10).as_bytes()).await;
        if number % 20 == 19 {
            settled(&cache).await;
        }
    }
    cache.close().await;
    drop(cache);
    // A second open and close writes a snapshot.
    open(source.path()).await.close().await;
    for round in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        copy(source.path(), dir.path());
        damage(&dir.path().join("index"), round);
        let cache = open(dir.path()).await;
        let mut right = 0;
        for number in 0..400_usize {
            if let Some(found) = get(&cache, &format!("/{number}")).await {
                assert!(found == number.to_string().repeat(number * 10).as_bytes());
                right += 1;
            }
        }
        let told: Vec<_> = cache.findings().into_iter().map(|finding| finding.code).collect();
        assert!(
            right == 400 || !told.is_empty() || cache.stats().corrupt > 0 || round % 2 == 0,
            "{round}: {right}"
        );
        // It stores again, whatever it was.
        put(&cache, "/again", b"again").await;
        settled(&cache).await;
        assert_eq!(get(&cache, "/again").await.unwrap(), b"again");
        cache.close().await;
    }
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Even rounds flip or cut the database, odd ones the snapshot.
fn damage(index: &Path, round: u32) {
    let name = |file: &fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    let wanted = |file: &fs::DirEntry| {
        if round.is_multiple_of(2) { name(file) == "db" } else { name(file).starts_with("snap.") }
    };
    let file = fs::read_dir(index).unwrap().map(Result::unwrap).find(wanted).unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    if round % 4 < 2 {
        bytes.truncate(bytes.len() / 2);
    } else {
        for _ in 0..50 {
            let at = fastrand::usize(..bytes.len());
            bytes[at] ^= 0x55;
        }
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn what_was_set_aside_is_salvaged_except_what_was_purged() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for target in ["/a", "/b", "/c"] {
        put(&cache, target, &random(10_000)).await;
    }
    let a = get(&cache, "/a").await.unwrap();
    cache.close().await;
    drop(cache);
    // Too many tries to open: it is set aside untried, though it is whole.
    fs::write(dir.path().join("opening"), "3\n").unwrap();
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), Clock::System).unwrap();
    let url = Criterion::Url { authority: "example.com".into(), target: "/b".into() };
    cache.purge(url, false).await.unwrap();
    cache.wait_open().await;
    while !cache.findings().iter().any(|finding| finding.code == "salvaged") {
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.findings()[0].code, "quarantined");
    assert_eq!(get(&cache, "/a").await, Some(a));
    assert!(lookup(&cache, "/b").is_none());
    assert!(lookup(&cache, "/c").is_some());
    assert!(cache.quarantines().is_empty());
    settled(&cache).await;
    assert_eq!(cache.stats().disk_entries, 2);
}

/// What a walk told, without progress.
async fn inspect(cache: &Cache, how: Inspection) -> (Vec<Found>, Progress, Reclaimed) {
    let mut events = cache.inspect(how).unwrap();
    let mut found = Vec::new();
    loop {
        match events.recv().await.unwrap() {
            Inspected::Progress(_) => {}
            Inspected::Found(one) => found.push(one),
            Inspected::Done(progress, reclaimed) => return (found, progress, reclaimed),
            Inspected::Failed(why) => panic!("{why}"),
        }
    }
}

const VERIFY: Inspection = Inspection::Verify { repair: false, rate: None };
const REPAIR: Inspection = Inspection::Verify { repair: true, rate: None };

#[tokio::test]
async fn verifying_finds_damage_and_repairing_lets_the_origin_be_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for number in 0..10 {
        put(&cache, &format!("/{number}"), &random(100_000)).await;
    }
    settled(&cache).await;
    let (found, progress, _) = inspect(&cache, VERIFY).await;
    assert_eq!((found, progress.entries, progress.of, progress.bodies), (Vec::new(), 10, 10, 10));
    assert!(progress.bytes > 1_000_000);

    let mut files = body_files(dir.path());
    files.sort();
    fs::remove_file(&files[0]).unwrap();
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[70_000] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    for (how, mended) in [(VERIFY, false), (REPAIR, true)] {
        let (found, ..) = inspect(&cache, how).await;
        let mut kinds: Vec<_> = found.iter().map(|found| found.kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [FaultKind::BodyMissing, FaultKind::BodyDamaged]);
        assert!(found.iter().all(|found| found.mended == mended && found.url.is_some()), "{found:?}");
    }
    assert_eq!(inspect(&cache, VERIFY).await.0, []);
    assert_eq!((cache.stats().disk_entries, body_files(dir.path()).len()), (8, 8));
    let left = (0..10).filter(|number| lookup(&cache, &format!("/{number}")).is_some()).count();
    assert_eq!(left, 8);
}

/// Entries come, go and change while they are looked at: none of it is damage.
#[tokio::test]
async fn what_changes_meanwhile_is_no_damage_and_there_is_one_walk_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let mut events = cache.inspect(Inspection::Verify { repair: false, rate: Some(1) }).unwrap();
    assert!(cache.inspect(VERIFY).is_none());
    assert!(events.recv().await.is_some());
    drop(events);
    for round in 0..5 {
        for number in 0..200_usize {
            let mut new = new(&format!("/{}", number % 50), cache.sequence());
            new.keep_until = Timestamp::from_secs((1 << 40) + number as u64 + round);
            new.tags = vec![format!("{round}-{number}").into()];
            store(&cache, new, &vec![number as u8; (number % 3) * 6_000]).await;
            if number.is_multiple_of(7) {
                cache.invalidate(Criterion::Tag(format!("{round}-{number}").into()));
            }
        }
        let mut walk = None;
        while walk.is_none() {
            walk = cache.inspect(VERIFY);
            tokio::task::yield_now().await;
        }
        let mut events = walk.unwrap();
        let mut number = 0_usize;
        loop {
            tokio::select! {
                event = events.recv() => match event.unwrap() {
                    Inspected::Done(..) => break,
                    Inspected::Progress(_) => {}
                    other => panic!("{other:?}"),
                },
                () = tokio::task::yield_now() => {
                    number += 1;
                    put(&cache, &format!("/{}", number % 50), &vec![number as u8; (number % 3) * 6_000]).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn gc_frees_what_is_of_no_more_use_and_a_dry_run_only_counts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_secs(2_000_000_000));
    let cache = Cache::open(settings(), Some(dir.path().to_owned()), clock.clone()).unwrap();
    cache.wait_open().await;
    let mut old = new("/old", cache.sequence());
    old.keep_until = Timestamp::from_secs(2_000_000_100);
    store(&cache, old, &random(10_000)).await;
    put(&cache, "/new", &random(10_000)).await;
    cache.purge(Criterion::Tag("blue".into()), false).await.unwrap();
    settled(&cache).await;
    clock.advance(Duration::from_secs(1_000));
    fs::write(dir.path().join("tmp/0123456789abcdef-1"), [1; 500]).unwrap();
    fs::create_dir_all(dir.path().join("bodies/ab")).unwrap();
    fs::write(dir.path().join("bodies/ab").join("0".repeat(62)), [1; 700]).unwrap();
    let aside = dir.path().join("quarantine-1000");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("db"), [1; 900]).unwrap();

    let before = body_files(dir.path()).len();
    let week = Some(Duration::from_secs(7 * 86_400));
    let (_, _, would) = inspect(&cache, Inspection::Gc { dry_run: true, quarantines: week }).await;
    assert_eq!((body_files(dir.path()).len(), cache.stats().disk_entries, aside.exists()), (before, 2, true));
    let (_, _, kept) = inspect(&cache, Inspection::Gc { dry_run: true, quarantines: None }).await;
    assert_eq!(kept.quarantines, 0);
    let (_, _, did) = inspect(&cache, Inspection::Gc { dry_run: false, quarantines: week }).await;
    for reclaimed in [&would, &did] {
        assert_eq!(reclaimed.faults[&FaultKind::Expired], 1);
        assert_eq!(reclaimed.faults[&FaultKind::StrayBody], 1);
        assert_eq!((reclaimed.temporary, reclaimed.rules, reclaimed.quarantines), (1, 1, 1));
    }
    assert!(did.bytes > 10_000 + 500 + 700 + 900, "{did:?}");
    assert_eq!((body_files(dir.path()).len(), cache.stats().disk_entries, aside.exists()), (1, 1, false));
    assert!(lookup(&cache, "/old").is_none() && lookup(&cache, "/new").is_some());
    let (_, _, again) = inspect(&cache, Inspection::Gc { dry_run: false, quarantines: week }).await;
    assert_eq!(again, Reclaimed::default());
    // A fetch that began before a forgotten purge cannot tell whether it was spared: it is not stored.
    assert_eq!(store(&cache, new("/late", 0), b"x").await, Inserted::Purged);
}
