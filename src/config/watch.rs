//! Tells when the config file has changed (`serve --watch`).
//!
//! The directory is watched rather than the file: editors and deployments replace a file by renaming another over
//! it, and a mounted config map changes by a link beside it. So every event of the directory is only a hint to
//! look whether the file is another one than before.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Writing a file takes several events: wait until none has come for so long.
const QUIET: Duration = Duration::from_millis(200);

/// A directory that is never quiet is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Changes of one file. Watching ends when this is dropped.
#[derive(Debug)]
pub struct Changes {
    path: PathBuf,
    last: Option<Stamp>,
    hints: mpsc::Receiver<()>,
    // Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

/// Watches a file.
pub fn watch(path: &Path) -> Result<Changes, Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // One hint that waits says as much as a thousand.
    let (sender, hints) = mpsc::channel(1);
    let first = sender.clone();
    let on_event = move |event: notify::Result<notify::Event>| {
        let reading = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
        if !reading {
            let _ = sender.try_send(());
        }
    };
    let explain = |source| Error { directory: directory.clone(), source };
    // Stamped first: what changes from here on is a change.
    let last = Stamp::of(path);
    let mut watcher = notify::recommended_watcher(on_event).map_err(explain)?;
    watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(explain)?;
    // It may have changed between the stamp and the watch.
    let _ = first.try_send(());
    Ok(Changes { path: path.to_owned(), last, hints, _watcher: watcher })
}

impl Changes {
    /// Waits until the file is another one than before and has come to rest; `None` when nothing more will come.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            self.hints.recv().await?;
            self.settle().await?;
            let now = Stamp::of(&self.path);
            // A file that is gone is about to be replaced.
            if now.is_some() && now != self.last {
                self.last = now;
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

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(watch(&dir.path().join("no/c.toml")).is_err());
    }
}
