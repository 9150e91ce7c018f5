//! Why TLS cannot be spoken as the config says.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What is wrong, and with which file.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file is not what it should be.
    #[error("`{path}` is not {what}: {why}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// A private key belongs to another certificate.
    #[error("the key `{key}` does not belong to the certificate `{cert}`")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The settings do not fit together.
    #[error("TLS cannot be set up: {0}")]
    Settings(String),
}

impl Error {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), why: error.to_string() }
    }

    pub(super) fn malformed(path: &Path, what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), what, why: why.to_string() }
    }
}

/// What the trouble is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The certificate of this position: its `cert`.
    Certificate(usize),
    /// Its `key`.
    Key(usize),
    /// Its `ocsp`.
    Staple(usize),
    /// The `ca` of the name at this position; `None`: where no name says otherwise.
    Authorities(Option<usize>),
    /// A `crl` of it.
    Revoked(Option<usize>),
    /// All of it.
    Whole,
}

/// Trouble and its place.
#[derive(Clone, Debug, Error)]
#[error("{error}")]
pub struct Fault {
    /// Where in the settings.
    pub at: At,
    /// What.
    pub error: Error,
}

/// Certificates are small; a path to something endless must not fill memory.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Error::unreadable(path, &error))?;
    file.take(LIMIT).read_to_end(&mut bytes).map_err(|error| Error::unreadable(path, &error))?;
    Ok(bytes)
}
