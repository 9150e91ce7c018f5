//! What the store says of itself.

use std::path::PathBuf;

use super::EntryId;
use crate::cache::entry::Entry;
use crate::cache::purge::Criterion;
use crate::clock::Timestamp;

/// How the disk tier stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none: no directory, or a disk limit of zero.
    Off,
    /// It is being opened; until then only RAM answers.
    Opening,
    /// It answers and stores.
    Open,
    /// It answers, but the file system has too little free space to store more.
    Full,
    /// It does neither; where that can mend itself it is tried again.
    Closed(Closed),
}

/// Why the disk tier is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Another process holds the directory; its id where known. Tried again until it lets go.
    Locked(Option<u32>),
    /// A newer version of the program wrote it: left untouched.
    Newer(u32),
    /// The file system refused (full, read-only, permission). Tried again.
    Io(String),
    /// Closed on purpose: the instance is stopping.
    Stopped,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Opening => f.write_str("opening"),
            Self::Open => f.write_str("open"),
            Self::Full => f.write_str("open, too little free disk space to store more"),
            Self::Closed(Closed::Locked(Some(pid))) => write!(f, "closed: in use by process {pid}"),
            Self::Closed(Closed::Locked(None)) => f.write_str("closed: in use by another process"),
            Self::Closed(Closed::Newer(version)) => {
                write!(f, "closed: written by a newer version (format {version})")
            }
            Self::Closed(Closed::Io(why)) => write!(f, "closed: {why}"),
            Self::Closed(Closed::Stopped) => f.write_str("closed"),
        }
    }
}

impl State {
    /// One stable word, for metrics and `-o json`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Full => "full",
            Self::Closed(_) => "closed",
        }
    }

    /// Whether it can answer from disk now.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::Full)
    }

    /// Whether opening has come to an end, for better or worse.
    pub const fn is_settled(&self) -> bool {
        !matches!(self, Self::Opening)
    }
}

/// Something about the directory that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When it was found.
    pub at: Timestamp,
    /// A stable word: `quarantined`, `snapshot-repaired`, `newer-format`, `locked`, `journal-damaged`, ...
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// A directory that was set aside because it could not be opened, and has not been salvaged whole yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Where it stands.
    pub path: PathBuf,
    /// Entries that were copied back from it.
    pub salvaged: u64,
}

/// Counters of the store; none costs a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys in RAM.
    pub memory_resources: u64,
    /// Bytes that RAM holds, of `memory_limit`.
    pub memory_bytes: u64,
    /// Bytes that RAM may hold.
    pub memory_limit: u64,
    /// Entries on disk.
    pub disk_entries: u64,
    /// Entries that the disk may hold.
    pub max_entries: u64,
    /// Live bytes on disk: records times 3.5 (the engine's overhead) plus body files.
    pub disk_bytes: u64,
    /// Live bytes that the disk may hold.
    pub disk_limit: u64,
    /// Lookups that RAM answered.
    pub memory_hits: u64,
    /// Lookups that the disk answered.
    pub disk_hits: u64,
    /// Lookups that neither answered.
    pub misses: u64,
    /// Entries stored since the start.
    pub inserts: u64,
    /// Writes that wait for the writer.
    pub queue_depth: u64,
    /// Replies that were not stored on disk because too many writes were waiting.
    pub queue_dropped: u64,
    /// Replies that a full disk did not take because nobody had asked for them before.
    pub refused: u64,
    /// Replies that were not stored because a purge came between.
    pub purged_in_flight: u64,
    /// Entries that made room for others on disk.
    pub evicted: u64,
    /// Entries removed since they were of no more use.
    pub expired: u64,
    /// Entries removed by purges.
    pub purged: u64,
    /// Purge rules whose removal is not finished.
    pub rules_active: u64,
    /// Records and bodies whose checksum did not hold, or that were gone.
    pub corrupt: u64,
    /// Body files that no entry named, removed.
    pub orphans: u64,
}

/// What one route takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteStats {
    /// The route's name.
    pub route: Box<str>,
    /// Its entries on disk.
    pub disk_entries: u64,
    /// Their bytes.
    pub disk_bytes: u64,
    /// What they may take.
    pub disk_limit: Option<u64>,
    /// Bytes of its entries in RAM, where it may take only so much.
    pub memory_bytes: Option<u64>,
    /// What they may take.
    pub memory_limit: Option<u64>,
}

/// What `list` shall return.
#[derive(Default)]
pub struct ListQuery {
    /// Where the page before ended; `None` begins.
    pub cursor: Option<Cursor>,
    /// Entries per page; at most 10 000.
    pub limit: usize,
    /// Only what one of these takes; none: everything.
    pub any: Vec<Criterion>,
    /// Only what this accepts.
    pub filter: Option<Filter>,
    /// In which order. Any but [`Order::Key`] reads every entry once for many pages.
    pub order: Order,
    /// Last first; not for [`Order::Key`].
    pub descending: bool,
}

/// What a listing accepts.
pub type Filter = Box<dyn Fn(&Summary) -> bool + Send + Sync>;

/// The order of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By digest: pages cost what they show.
    #[default]
    Key,
    /// By URL.
    Url,
    /// By the time the response arrived.
    Stored,
    /// By the time freshness ends.
    Expires,
    /// By the body's size.
    Size,
}

/// Where a page ended. Opaque; its text form survives being passed through a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) String);

impl Cursor {
    /// From the text of an earlier cursor; one that is not ours begins at the start.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text: lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Summary>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// An entry without its body.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Which entry it is.
    pub id: EntryId,
    /// The entry; its body is a reference or, if small, the bytes.
    pub entry: std::sync::Arc<Entry>,
}

/// What a purge would take.
#[derive(Clone, Debug, Default)]
pub struct Victims {
    /// Entries.
    pub entries: u64,
    /// The length of their bodies together, in bytes.
    pub bytes: u64,
    /// The first of them.
    pub sample: Vec<Summary>,
}
