//! The ladder by which the database is opened: repair, retry, set aside.
//!
//! Measured on damaged directories: sled's open fails or panics on some of them, for ever. Each step here is one
//! that cured them, the last one always does; each is told.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::directory::replace;
use crate::clock::Timestamp;

/// After so many tries that did not come to an end (killed, out of memory) the database is set aside untried.
const MAX_TRIES: u32 = 3;
/// RAM for sled's own pages.
const CACHE_CAPACITY: u64 = 64 << 20;
/// How much a crash may lose.
const FLUSH_EVERY_MS: u64 = 500;

/// A step that was needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub code: &'static str,
    pub message: String,
}

/// How long the database is waited for. The directory is ours: who still holds the database is on its way out, or is a child
/// of this process on its way into another program, which has all that is open here until it is there.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Why the database is not open, though nothing is wrong with it.
#[derive(Debug)]
pub(crate) enum LadderError {
    /// Another process holds it.
    Locked,
    /// The system refused.
    Io(io::Error),
}

/// Opens the database under `root`, by force of setting a broken one aside.
pub(crate) fn open(root: &Path, now: Timestamp, told: &mut Vec<Step>) -> Result<sled::Db, LadderError> {
    let index = root.join("index");
    let tries = Tries::begin(root).map_err(LadderError::Io)?;
    let until = Instant::now() + PATIENCE;
    let opened = loop {
        match climb(root, &index, now, tries.before, told) {
            Err(LadderError::Locked) if Instant::now() < until => std::thread::sleep(PAUSE),
            opened => break opened,
        }
    };
    tries.end();
    opened
}

fn climb(
    root: &Path,
    index: &Path,
    now: Timestamp,
    tries: u32,
    told: &mut Vec<Step>,
) -> Result<sled::Db, LadderError> {
    if tries >= MAX_TRIES {
        set_aside(root, index, now, &format!("{tries} tries to open it did not come to an end"), told)?;
        return attempt(index).map_err(Failure::give_up);
    }
    remove_unfinished_snapshots(index, told);
    let why = match attempt(index) {
        Ok(db) => return Ok(db),
        Err(Failure::Damaged(why)) => why,
        Err(other) => return Err(other.give_up()),
    };
    if move_snapshots_aside(index) {
        match attempt(index) {
            Ok(db) => {
                tell(told, "snapshot-repaired", format!("the index opened only without its snapshot: {why}"));
                return Ok(db);
            }
            Err(Failure::Damaged(_)) => {}
            Err(other) => return Err(other.give_up()),
        }
    }
    set_aside(root, index, now, &why, told)?;
    attempt(index).map_err(Failure::give_up)
}

enum Failure {
    Locked,
    Io(io::Error),
    Damaged(String),
}

impl Failure {
    fn give_up(self) -> LadderError {
        match self {
            Self::Locked => LadderError::Locked,
            Self::Io(error) => LadderError::Io(error),
            Self::Damaged(why) => LadderError::Io(io::Error::other(why)),
        }
    }
}

/// One call of sled's open, panics included.
pub(crate) fn attempt_in(index: &Path) -> Option<sled::Db> {
    attempt(index).ok()
}

fn attempt(index: &Path) -> Result<sled::Db, Failure> {
    let config =
        sled::Config::new().path(index).cache_capacity(CACHE_CAPACITY).flush_every_ms(Some(FLUSH_EVERY_MS));
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) => Err(judge(error)),
        Ok(Err(error)) => Err(Failure::Damaged(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Failure::Damaged(format!("the engine panicked: {text}")))
        }
    }
}

/// What the system refuses is no damage: nothing may be set aside for a full disk or a missing permission.
fn judge(error: io::Error) -> Failure {
    use io::ErrorKind::*;
    let text = error.to_string();
    if text.contains("could not acquire lock") {
        return Failure::Locked;
    }
    match error.kind() {
        PermissionDenied | StorageFull | ReadOnlyFilesystem | QuotaExceeded | ResourceBusy | OutOfMemory => {
            Failure::Io(error)
        }
        // Too many open files, an I/O error of the device.
        _ if matches!(error.raw_os_error(), Some(5 | 23 | 24)) => Failure::Io(error),
        _ => Failure::Damaged(text),
    }
}

fn snapshots(index: &Path) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(index) else { return Vec::new() };
    dir.filter_map(Result::ok)
        .filter(|file| file.file_name().to_string_lossy().starts_with("snap."))
        .map(|file| file.path())
        .collect()
}

/// A process killed while it opened leaves one of these, on which every later open fails.
fn remove_unfinished_snapshots(index: &Path, told: &mut Vec<Step>) {
    for path in snapshots(index) {
        if path.extension().is_some_and(|extension| extension == "generating")
            && fs::remove_file(&path).is_ok()
        {
            tell(
                told,
                "snapshot-unfinished",
                "removed a snapshot that was cut off while it was written".into(),
            );
        }
    }
}

/// Says whether there was any.
fn move_snapshots_aside(index: &Path) -> bool {
    let aside = index.join("aside");
    let found = snapshots(index);
    let _ = fs::remove_dir_all(&aside);
    let moved = found.iter().filter(|path| {
        let Some(name) = path.file_name() else { return false };
        fs::create_dir_all(&aside).and_then(|()| fs::rename(path, aside.join(name))).is_ok()
    });
    moved.count() > 0
}

/// Renames a database that cannot be used, so that a new one can take its place.
pub(crate) fn set_aside(
    root: &Path,
    index: &Path,
    now: Timestamp,
    why: &str,
    told: &mut Vec<Step>,
) -> Result<(), LadderError> {
    if !index.exists() {
        return Ok(());
    }
    let mut number = now.millis();
    let mut target = root.join(format!("quarantine-{number}"));
    while target.exists() {
        number += 1;
        target = root.join(format!("quarantine-{number}"));
    }
    fs::rename(index, &target).map_err(LadderError::Io)?;
    let message = format!(
        "the index could not be opened ({why}) and was set aside as {}; what of it can be read is being copied back",
        target.display()
    );
    tell(told, "quarantined", message);
    Ok(())
}

/// The databases that stand aside, oldest first.
pub(crate) fn quarantines(root: &Path) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<_> = dir
        .filter_map(Result::ok)
        .filter(|file| file.file_name().to_string_lossy().starts_with("quarantine-"))
        .map(|file| file.path())
        .collect();
    found.sort();
    found
}

/// When a database was set aside, as its name says.
pub(crate) fn set_aside_at(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("quarantine-")?.parse().ok().map(Timestamp::from_millis)
}

fn tell(told: &mut Vec<Step>, code: &'static str, message: String) {
    told.push(Step { code, message });
}

/// A file that counts tries which never came to an end.
struct Tries {
    path: PathBuf,
    before: u32,
}

impl Tries {
    fn begin(root: &Path) -> io::Result<Self> {
        let path = root.join("opening");
        let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        replace(&path, format!("{}\n", before + 1).as_bytes())?;
        Ok(Self { path, before })
    }

    fn end(self) {
        let _ = fs::remove_file(self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(root: &Path) -> PathBuf {
        let db = open(root, Timestamp::default(), &mut Vec::new()).unwrap();
        for number in 0..20_000_u32 {
            db.insert(number.to_be_bytes(), &[7_u8; 100][..]).unwrap();
        }
        db.flush().unwrap();
        drop(db);
        // The second open writes a snapshot.
        drop(open(root, Timestamp::default(), &mut Vec::new()).unwrap());
        root.join("index")
    }

    fn codes(told: &[Step]) -> Vec<&'static str> {
        told.iter().map(|step| step.code).collect()
    }

    #[test]
    fn each_damage_has_its_step() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let index = filled(root);

        fs::write(index.join("snap.0000.generating"), b"").unwrap();
        let mut told = Vec::new();
        drop(open(root, Timestamp::default(), &mut told).unwrap());
        assert_eq!(codes(&told), ["snapshot-unfinished"]);

        for path in snapshots(&index) {
            fs::write(path, b"nonsense").unwrap();
        }
        let mut told = Vec::new();
        let db = open(root, Timestamp::default(), &mut told).unwrap();
        assert_eq!(codes(&told), ["snapshot-repaired"]);
        assert_eq!(db.get(5_u32.to_be_bytes()).unwrap().unwrap(), [7_u8; 100][..]);
        drop(db);

        fs::remove_dir_all(&index).unwrap();
        fs::write(&index, b"nonsense").unwrap();
        let mut told = Vec::new();
        let db = open(root, Timestamp::default(), &mut told).unwrap();
        assert_eq!(codes(&told), ["quarantined"]);
        assert!(db.is_empty());
        assert_eq!(quarantines(root).len(), 1);
    }

    #[test]
    fn tries_that_never_ended_set_it_aside() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        fs::write(dir.path().join("opening"), "3\n").unwrap();
        let mut told = Vec::new();
        open(dir.path(), Timestamp::default(), &mut told).unwrap();
        assert_eq!(codes(&told), ["quarantined"]);
        assert!(!dir.path().join("opening").exists());
    }

    #[test]
    fn who_is_on_the_way_out_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        drop(open(&root, Timestamp::default(), &mut Vec::new()).unwrap());
        let held = fs::File::open(root.join("index/db")).unwrap();
        let lock = |how| rustix::fs::flock(&held, how);
        while lock(rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            std::thread::yield_now();
        }
        let begun = root.join("opening");
        let opening =
            std::thread::spawn(move || open(&root, Timestamp::default(), &mut Vec::new()).map(drop));
        while !begun.exists() {
            std::thread::yield_now();
        }
        lock(rustix::fs::FlockOperation::Unlock).unwrap();
        assert!(opening.join().unwrap().is_ok());
    }

    #[test]
    fn a_refusal_of_the_system_sets_nothing_aside() {
        assert!(matches!(judge(io::ErrorKind::StorageFull.into()), Failure::Io(_)));
        assert!(matches!(judge(io::ErrorKind::PermissionDenied.into()), Failure::Io(_)));
        assert!(matches!(judge(io::ErrorKind::UnexpectedEof.into()), Failure::Damaged(_)));
    }
}
