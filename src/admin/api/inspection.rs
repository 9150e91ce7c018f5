//! Walks over everything that is stored: looking for damage, removing what is of no more use.

use serde::{Deserialize, Serialize};

/// Asks to look at every stored record and body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Remove what is damaged, so that the origin is asked again.
    #[serde(default)]
    pub repair: bool,
    /// Bytes a second that are read at most; absent: as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// Asks to remove what is of no more use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gc {
    /// Only say what it would remove.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete databases that were set aside longer ago than so many milliseconds, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantines_older_ms: Option<u64>,
}

/// One line of what becomes of it; the last is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum InspectionLine {
    /// How far it is.
    Progress(InspectionProgress),
    /// Something wrong.
    Found(StoreFault),
    /// It has come to its end.
    Done {
        /// What was looked at.
        progress: InspectionProgress,
        /// What was removed, or would be.
        reclaimed: Reclaimed,
    },
    /// It cannot go on.
    Failed {
        /// One sentence.
        message: String,
    },
}

/// How far a walk over the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectionProgress {
    /// Entries that were looked at.
    pub entries: u64,
    /// Entries that there were when it began.
    pub of: u64,
    /// Body files that were read.
    pub bodies: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Something wrong with the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFault {
    /// `record`, `unreadable`, `body-missing`, `body-damaged`, `row-missing`, `stray-row`, `stray-chunk`, `stray-body`.
    pub fault: String,
    /// One sentence.
    pub message: String,
    /// The entry's key, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which of the key's variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The entry's URL, where its record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// BLAKE3 of the body, where it is in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reclaimed {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Entries past the time that they are kept.
    pub expired: u64,
    /// Rows of indexes, and parts of large heads, without their entry.
    pub stray_rows: u64,
    /// Body files without an entry.
    pub stray_bodies: u64,
    /// Temporary files that a killed process left.
    pub temporary_files: u64,
    /// Purge rules whose removal was finished.
    pub retired_rules: u64,
    /// Databases that were set aside.
    pub quarantines: u64,
    /// Bytes of all that.
    pub bytes: u64,
}
