//! Tells when the config file, or one that it names, has changed (`serve --watch`).
//!
//! The directory is watched rather than the file: editors and deployments replace a file by renaming another over
//! it, and a mounted config map changes by a link beside it. So every event of the directory is only a hint to
//! look whether the file is another one than before.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Writing a file takes several events: wait until none has come for so long.
const QUIET: Duration = Duration::from_millis(200);

/// A directory that is never quiet is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// By how much a file's time may lag behind the clock's.
const TICK: Duration = Duration::from_millis(20);

/// Why a file cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("the directory {directory} cannot be watched: {source}")]
pub struct Error {
    /// The file's directory.
    pub directory: PathBuf,
    /// What the system said.
    #[source]
    pub source: notify::Error,
}

/// Changes of files. Watching ends when this is dropped.
#[derive(Debug)]
pub struct Changes {
    /// Each with its state when it was last looked at; the config file first.
    files: Vec<(PathBuf, Option<Stamp>)>,
    directories: Vec<PathBuf>,
    hints: mpsc::Receiver<()>,
    hint: mpsc::Sender<()>,
    watcher: RecommendedWatcher,
}

/// Watches the config file.
pub fn watch(path: &Path) -> Result<Changes, Error> {
    let directory = directory(path);
    // One hint that waits says as much as a thousand.
    let (sender, hints) = mpsc::channel(1);
    let hint = sender.clone();
    let on_event = move |event: notify::Result<notify::Event>| {
        let reading = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
        if !reading {
            let _ = sender.try_send(());
        }
    };
    let explain = |source| Error { directory: directory.clone(), source };
    // Stamped first: what changes from here on is a change.
    let files = vec![(path.to_owned(), Stamp::of(path))];
    let mut watcher = notify::recommended_watcher(on_event).map_err(explain)?;
    watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(explain)?;
    // It may have changed between the stamp and the watch.
    let _ = hint.try_send(());
    Ok(Changes { files, directories: vec![directory], hints, hint, watcher })
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Changes {
    /// Watches these beside the config file, in place of those named before; they were read after `since`, and what was
    /// written from then on is a change.
    ///
    /// # Errors
    /// When a directory cannot be watched; the other files are.
    pub fn along(&mut self, named: &[PathBuf], since: SystemTime) -> Result<(), Error> {
        let mut failed = Ok(());
        let since = since.checked_sub(TICK).unwrap_or(UNIX_EPOCH);
        self.files.truncate(1);
        let known = |files: &[(PathBuf, _)], path: &Path| files.iter().any(|(own, _)| own == path);
        for path in named {
            if known(&self.files, path) {
                continue;
            }
            let directory = directory(path);
            if !self.directories.contains(&directory) {
                if let Err(source) = self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                    failed = Err(Error { directory, source });
                    continue;
                }
                self.directories.push(directory);
            }
            self.files.push((path.clone(), Stamp::of(path).filter(|stamp| stamp.is_before(since))));
        }
        let _ = self.hint.try_send(());
        failed
    }

    /// Whether a file is another one than before, whatever has been heard of it.
    pub fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, last) in &mut self.files {
            let now = Stamp::of(path);
            // A file that is gone is about to be replaced.
            if now.is_some() && now != *last {
                *last = now;
                changed = true;
            }
        }
        changed
    }

    /// Waits until a file is another one than before and has come to rest; `None` when nothing more will come.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            self.hints.recv().await?;
            self.settle().await?;
            if self.look() {
                return Some(());
            }
        }
    }

    async fn settle(&mut self) -> Option<()> {
        let latest = Instant::now() + PATIENCE;
        loop {
            let until = (Instant::now() + QUIET).min(latest);
            match timeout_at(until, self.hints.recv()).await {
                Ok(hint) => hint?,
                Err(_) => return Some(()),
            }
            if Instant::now() >= latest {
                return Some(());
            }
        }
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Whether the file was last written before this time.
    fn is_before(&self, time: SystemTime) -> bool {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (secs, nanos) = self.modified;
        u64::try_from(secs).unwrap_or_default() < time.as_secs()
            || (secs.unsigned_abs() == time.as_secs() && nanos.unsigned_abs() < time.subsec_nanos().into())
    }

    fn of(path: &Path) -> Option<Self> {
        let metadata: Metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_written_and_a_replaced_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "a").unwrap();
        let mut changes = watch(&path).unwrap();

        std::fs::write(&path, "ab").unwrap();
        let changed = tokio::time::timeout(DEADLINE, changes.changed()).await;
        assert_eq!(changed, Ok(Some(())));

        // A neighbour is no change, a replacement is one.
        std::fs::write(dir.path().join("other"), "x").unwrap();
        std::fs::write(dir.path().join("new"), "abc").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        let changed = tokio::time::timeout(DEADLINE, changes.changed()).await;
        assert_eq!(changed, Ok(Some(())));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
    }

    #[tokio::test]
    async fn files_that_the_config_names_are_watched_too_as_long_as_it_does() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (config, key) = (dir.path().join("c.toml"), keys.path().join("keys.json"));
        std::fs::write(&config, "a").unwrap();
        std::fs::write(&key, "1").unwrap();
        let mut changes = watch(&config).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        changes.along(&[config.clone(), key.clone()], later).unwrap();
        std::fs::write(&key, "12").unwrap();
        let changed = tokio::time::timeout(DEADLINE, changes.changed()).await;
        assert_eq!(changed, Ok(Some(())));
        // Written while the config was being read: that is a change.
        changes.along(&[config.clone(), key.clone()], SystemTime::UNIX_EPOCH).unwrap();
        let changed = tokio::time::timeout(DEADLINE, changes.changed()).await;
        assert_eq!(changed, Ok(Some(())));
        changes.along(&[config], later).unwrap();
        assert_eq!(changes.files.len(), 1);
        let nowhere = keys.path().join("no/keys.json");
        assert!(changes.along(&[nowhere, key], later).is_err());
        assert_eq!(changes.files.len(), 2, "the others are watched all the same");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(watch(&dir.path().join("no/c.toml")).is_err());
    }
}
