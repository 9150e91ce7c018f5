//! The store's directory: who holds it, which format it has, its secret.
//!
//! ```text
//!  format   the format's version        index/    the sled database
//!  lock     held while in use, a pid    bodies/   body files by hash
//!  secret   32 bytes                    tmp/      body files that are being written
//!  purges   the journal of purges       quarantine-<time>/  databases set aside
//!  opening  tries to open that failed
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cache::key::Secret;

/// The format that this version writes. Format 1 had no parts; what it has is read as it is, and only its number changes.
const FORMAT: u32 = 2;

/// The directory, held by this process until dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Unlocks when closed.
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Another process holds it.
    Locked(Option<u32>),
    /// It was written by a newer version.
    Newer(u32),
    /// It cannot be made, read or written.
    Io(io::Error),
}

impl From<io::Error> for ClaimError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Directory {
    /// Makes the directory if need be and takes it; leaves a newer format untouched.
    pub(crate) fn claim(path: &Path) -> Result<Self, ClaimError> {
        if let Some(version) = format(path)?.filter(|version| *version > FORMAT) {
            return Err(ClaimError::Newer(version));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = lock(&path.join("lock"))?;
        // Only who holds the lock writes the format.
        if format(path)? != Some(FORMAT) {
            replace(&path.join("format"), format!("proxy-stone store {FORMAT}\n").as_bytes())?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

/// The secret of the directory; made, if it has none.
pub(crate) fn secret(dir: &Path) -> io::Result<Secret> {
    let path = dir.join("secret");
    match read_secret(&path)? {
        Some(secret) => Ok(secret),
        None => {
            replace(&path, &random()?)?;
            read_secret(&path)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

/// A secret for a cache without a directory.
pub(crate) fn fresh_secret() -> io::Result<Secret> {
    random().map(Secret::new)
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

pub(crate) fn read_secret(path: &Path) -> io::Result<Option<Secret>> {
    match fs::read(path) {
        // A secret of another length is damaged: with a new one what was stored under fields is no longer found.
        Ok(bytes) => Ok(bytes.try_into().ok().map(Secret::new)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a small file so that a killed process leaves it whole or not at all. Not fsynced: what it says is made
/// anew, at worst, after the power failed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}

fn format(dir: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(dir.join("format")) {
        Ok(text) => match text.trim().strip_prefix("proxy-stone store ").map(str::parse) {
            Some(Ok(version)) => Ok(Some(version)),
            // Not ours to judge: as a newer one, it is left alone.
            _ => Ok(Some(u32::MAX)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(u32::MAX)),
        Err(error) => Err(error),
    }
}

fn lock(path: &Path) -> Result<File, ClaimError> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(ClaimError::Io(error.into()));
        }
        let mut pid = String::new();
        let _ = file.take(32).read_to_string(&mut pid);
        return Err(ClaimError::Locked(pid.trim().parse().ok()));
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Bytes free for us on the file system that `path` is on.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_held_directory_says_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let held = Directory::claim(&path).unwrap();
        match Directory::claim(&path) {
            Err(ClaimError::Locked(pid)) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(held);
        Directory::claim(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        secret(&path).unwrap();
        assert_eq!(fs::metadata(path.join("secret")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_older_format_becomes_this_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "proxy-stone store 1\n").unwrap();
        drop(Directory::claim(dir.path()).unwrap());
        assert_eq!(format(dir.path()).unwrap(), Some(FORMAT));
    }

    #[test]
    fn a_newer_or_unknown_format_is_left_untouched() {
        for (text, version) in [("proxy-stone store 3\n", 3), ("something else", u32::MAX)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("format"), text).unwrap();
            match Directory::claim(dir.path()) {
                Err(ClaimError::Newer(found)) => assert_eq!(found, version),
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
