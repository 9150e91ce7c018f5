//! The access log's file: opened for appending, rotated by size and age.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::clock::Timestamp;
use crate::telemetry::error::TelemetryError;

/// After a rotation that failed, the next is tried so much later.
const RETRY: Duration = Duration::from_secs(60);

/// When a file is rotated, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes; 0: never by size.
    pub(super) max_size: u64,
    /// Zero: never by age.
    pub(super) max_age: Duration,
    /// Rotated files.
    pub(super) keep: usize,
}

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    limits: Limits,
    size: u64,
    began: Timestamp,
    not_before: Timestamp,
    torn: bool,
}

impl LogFile {
    /// Opens or creates the file; its directory must exist.
    pub(super) fn open(path: &Path, limits: Limits, now: Timestamp) -> Result<Self, TelemetryError> {
        let (file, size, began) = open(path, now).map_err(|source| open_error(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            limits,
            size,
            began,
            not_before: Timestamp::default(),
            torn: false,
        })
    }

    /// Opens the path anew if it names another file by now: between opening and the first line a rotation may
    /// have moved ours away.
    pub(super) fn settle(&mut self, now: Timestamp) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_ours = |named: fs::Metadata| (named.dev(), named.ino()) == (ours.dev(), ours.ino());
        if !ours.is_file() || fs::metadata(&self.path).is_ok_and(is_ours) {
            return Ok(());
        }
        (self.file, self.size, self.began) = open(&self.path, now)?;
        Ok(())
    }

    /// Whether the file should be rotated, once `pending` more bytes are in it.
    pub(super) fn is_due(&self, pending: usize, now: Timestamp) -> bool {
        let Limits { max_size, max_age, .. } = self.limits;
        let size = self.size.saturating_add(pending as u64);
        let too_large = max_size > 0 && size >= max_size;
        let too_old = !max_age.is_zero() && now.since(self.began) >= max_age;
        size > 0 && (too_large || too_old) && now >= self.not_before && self.is_regular()
    }

    /// A pipe or a terminal (`/dev/stdout`) cannot be rotated.
    fn is_regular(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.is_file())
    }

    /// Moves `access.log` to `access.log.1` and so on, and begins a new one. On an error writing goes on to
    /// the open file.
    pub(super) fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.not_before = now.plus(RETRY);
        shift(&self.path, self.limits.keep)?;
        (self.file, self.size, self.began) = open(&self.path, now)?;
        self.not_before = Timestamp::default();
        self.torn = false;
        Ok(())
    }

    /// Writes whole lines. After an error in mid-line the next write begins a line of its own.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        while !lines.is_empty() {
            let written = match self.file.write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.size += written as u64;
            self.torn = lines[written - 1] != b'\n';
            lines = &lines[written..];
        }
        Ok(())
    }
}

fn open(path: &Path, now: Timestamp) -> io::Result<(File, u64, Timestamp)> {
    // Not blocking, or a named pipe that nobody reads would hold us here for ever.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    let metadata = file.metadata()?;
    if metadata.len() == 0 {
        return Ok((file, 0, now));
    }
    let began = metadata.created().or_else(|_| metadata.modified()).map_or(now, Timestamp::from);
    Ok((file, metadata.len(), began))
}

fn open_error(path: &Path, source: io::Error) -> TelemetryError {
    let hint = match source.kind() {
        io::ErrorKind::NotFound => "; create its directory first",
        io::ErrorKind::PermissionDenied => "; its directory or the file must be writable for this user",
        _ if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            "; it is a named pipe that nobody reads"
        }
        _ => "",
    };
    TelemetryError::OpenLog { path: path.to_owned(), source, hint }
}

/// `log` becomes `log.1`, `log.1` becomes `log.2` ...; what is past `keep` goes.
fn shift(path: &Path, keep: usize) -> io::Result<()> {
    if keep == 0 {
        fs::remove_file(path)?;
    } else {
        // Only up to the first gap: it takes the file before it.
        let last = (1..keep).find(|number| !numbered(path, *number).exists()).unwrap_or(keep);
        for number in (1..last).rev() {
            fs::rename(numbered(path, number), numbered(path, number + 1))?;
        }
        fs::rename(path, numbered(path, 1))?;
    }
    // A reload may have lowered `keep`.
    for number in keep + 1.. {
        if fs::remove_file(numbered(path, number)).is_err() {
            break;
        }
    }
    Ok(())
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn limits(max_size: u64, keep: usize) -> Limits {
        Limits { max_size, max_age: Duration::from_secs(3600), keep }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn rotation_by_size_keeps_as_many_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = LogFile::open(&path, limits(4, 2), NOW).unwrap();
        for text in ["one\n", "two\n", "three\n", "four\n"] {
            log.write(text.as_bytes()).unwrap();
            assert!(log.is_due(0, NOW));
            log.rotate(NOW).unwrap();
        }
        assert_eq!(read(&path), "");
        assert_eq!(read(&numbered(&path, 1)), "four\n");
        assert_eq!(read(&numbered(&path, 2)), "three\n");
        assert!(!numbered(&path, 3).exists());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o037, 0);

        let mut log = LogFile::open(&path, limits(4, 0), NOW).unwrap();
        log.write(b"gone\n").unwrap();
        log.rotate(NOW).unwrap();
        assert!(!numbered(&path, 1).exists() && !numbered(&path, 2).exists());
    }

    #[test]
    fn rotation_by_age_waits_for_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("log"), limits(0, 1), NOW).unwrap();
        let later = NOW.plus(Duration::from_secs(3600));
        assert!(!log.is_due(0, later), "nothing to rotate");
        log.write(b"line\n").unwrap();
        assert!(!log.is_due(0, NOW));
        assert!(log.is_due(0, later));
    }

    #[test]
    fn a_file_goes_on_from_its_size_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut log = LogFile::open(&path, limits(8, 1), Timestamp::default()).unwrap();
        assert!(!log.is_due(3, Timestamp::default()));
        log.write(b"new\n").unwrap();
        assert!(log.is_due(0, Timestamp::default()));
        assert_eq!(read(&path), "old\nnew\n");
    }

    #[test]
    fn a_failed_rotation_is_not_tried_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, limits(1, 1), NOW).unwrap();
        log.write(b"line\n").unwrap();
        fs::remove_file(&path).unwrap();
        log.rotate(NOW).unwrap_err();
        assert!(!log.is_due(0, NOW));
        assert!(log.is_due(0, NOW.plus(RETRY)));
    }

    #[test]
    fn a_file_that_was_moved_before_the_first_line_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, limits(1, 1), NOW).unwrap();
        log.settle(NOW).unwrap();
        fs::rename(&path, numbered(&path, 1)).unwrap();
        log.settle(NOW).unwrap();
        log.write(b"line\n").unwrap();
        assert_eq!((read(&path), read(&numbered(&path, 1))), ("line\n".into(), String::new()));
    }

    #[test]
    fn a_missing_directory_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = LogFile::open(&dir.path().join("no/log"), limits(0, 0), NOW).unwrap_err();
        assert!(error.to_string().ends_with("create its directory first"), "{error}");
        LogFile::open(dir.path(), limits(0, 0), NOW).unwrap_err();
    }

    #[test]
    fn a_device_is_never_rotated_and_its_errors_are_told() {
        let mut full = LogFile::open(Path::new("/dev/full"), limits(1, 1), NOW).unwrap();
        full.write(b"line\n").unwrap_err();
        assert!(!full.is_due(100, NOW));
    }
}
