//! The file in which purge rules outlast the process.
//!
//! Frames of length, checksum and payload, appended and fsynced: one fsync for all who wait at the time. A frame
//! that the end of the file cuts off was never answered for, and is dropped; damage before the end means that
//! rules may be missing, so everything stored is purged.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::criterion::Criterion;
use super::rules::Rule;
use crate::cache::key::Digest;
use crate::clock::Timestamp;

/// Beyond this, and twice what is needed, the file is written anew.
const COMPACT_BEYOND: u64 = 1 << 20;
/// Finished rules that are kept for what is salvaged later.
const KEEP_RETIRED: usize = 4096;
const CHECK: usize = 8;

/// What a journal says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Rules whose removal was not finished.
    pub active: Vec<Rule>,
    /// Rules whose removal was.
    pub retired: Vec<Rule>,
    /// Rules up to here are no longer told.
    pub forgotten: u64,
    /// The newest sequence that it knows.
    pub latest: u64,
    /// Whether something before its end could not be read.
    pub damaged: bool,
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<Written>,
    waiting: Mutex<Waiting>,
    synced: AtomicU64,
    /// One committer at a time; the others find their rule committed when they get here.
    gate: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Written {
    file: File,
    len: u64,
    /// How long it was when it was written anew: what it needs, more or less.
    needed: u64,
    /// After a failed write the end of the file is unknown: it is cut back to `len` first.
    broken: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<u8>,
    sequence: u64,
}

impl Journal {
    /// Reads the journal at `path`, which need not exist.
    pub(crate) fn read(path: &Path) -> io::Result<Contents> {
        match fs::read(path) {
            Ok(bytes) => Ok(parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the journal anew with these rules, and goes on from there.
    pub(crate) fn create(path: &Path, contents: &Contents) -> io::Result<Self> {
        let written = write_anew(path, contents)?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(written),
            waiting: Mutex::default(),
            synced: AtomicU64::new(contents.latest),
            gate: tokio::sync::Mutex::default(),
        })
    }

    /// Queues a rule for the next commit.
    pub(crate) fn append(&self, rule: &Rule) {
        let mut waiting = self.waiting.lock();
        frame(&mut waiting.frames, &encode_rule(rule));
        waiting.sequence = waiting.sequence.max(rule.sequence);
    }

    /// Queues that rules are finished; a crash that loses this only repeats their removal.
    pub(crate) fn retired(&self, sequences: &[u64]) {
        let mut waiting = self.waiting.lock();
        for sequence in sequences {
            let mut payload = vec![RETIRED];
            payload.extend_from_slice(&sequence.to_le_bytes());
            frame(&mut waiting.frames, &payload);
        }
    }

    /// Waits until the rule `sequence` is fsynced, together with all others that wait.
    pub(crate) async fn commit(self: &std::sync::Arc<Self>, sequence: u64) -> io::Result<()> {
        let _turn = self.gate.lock().await;
        if self.synced.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        let journal = self.clone();
        tokio::task::spawn_blocking(move || journal.commit_blocking()).await.map_err(io::Error::other)?
    }

    /// Writes and fsyncs what waits.
    pub(crate) fn commit_blocking(&self) -> io::Result<()> {
        let mut written = self.file.lock();
        let taken = std::mem::take(&mut *self.waiting.lock());
        if taken.frames.is_empty() {
            return Ok(());
        }
        if let Err(error) = written.append(&taken.frames) {
            self.put_back(taken);
            return Err(error);
        }
        self.synced.fetch_max(taken.sequence, Ordering::AcqRel);
        Ok(())
    }

    /// Whether the file has grown so far that it should be written anew.
    pub(crate) fn is_long(&self) -> bool {
        let written = self.file.lock();
        written.len > COMPACT_BEYOND.max(2 * written.needed)
    }

    /// Writes the file anew with what `rules` says now. Blocking.
    pub(crate) fn compact(&self, rules: impl FnOnce() -> Contents) -> io::Result<()> {
        let mut written = self.file.lock();
        // Taken before the rules are asked: what is queued after that is not lost, at worst it is there twice.
        let taken = std::mem::take(&mut *self.waiting.lock());
        let contents = rules();
        match write_anew(&self.path, &contents) {
            Ok(anew) => {
                *written = anew;
                self.synced.fetch_max(taken.sequence, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => {
                self.put_back(taken);
                Err(error)
            }
        }
    }

    /// Keeps what could not be written for the next commit, before what came meanwhile.
    fn put_back(&self, taken: Waiting) {
        let mut waiting = self.waiting.lock();
        let later = std::mem::replace(&mut waiting.frames, taken.frames);
        waiting.frames.extend_from_slice(&later);
        waiting.sequence = waiting.sequence.max(taken.sequence);
    }
}

impl Written {
    fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.broken {
            self.file.set_len(self.len)?;
        }
        self.broken = true;
        self.file.write_all(frames)?;
        self.file.sync_data()?;
        self.broken = false;
        self.len += frames.len() as u64;
        Ok(())
    }
}

impl Contents {
    /// Drops the oldest finished rules beyond what a journal keeps.
    pub(crate) fn bounded(mut self) -> Self {
        let over = self.retired.len().saturating_sub(KEEP_RETIRED);
        for rule in self.retired.drain(..over) {
            self.forgotten = self.forgotten.max(rule.sequence);
        }
        self
    }
}

const BASE: u8 = 0;
const RULE: u8 = 1;
const RETIRED: u8 = 2;

fn write_anew(path: &Path, contents: &Contents) -> io::Result<Written> {
    let mut bytes = Vec::new();
    let mut base = vec![BASE];
    base.extend_from_slice(&contents.latest.to_le_bytes());
    base.extend_from_slice(&contents.forgotten.to_le_bytes());
    frame(&mut bytes, &base);
    for rule in contents.retired.iter().chain(&contents.active) {
        frame(&mut bytes, &encode_rule(rule));
    }
    for rule in &contents.retired {
        let mut payload = vec![RETIRED];
        payload.extend_from_slice(&rule.sequence.to_le_bytes());
        frame(&mut bytes, &payload);
    }
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    let file = OpenOptions::new().append(true).open(path)?;
    let len = bytes.len() as u64;
    Ok(Written { file, len, needed: len, broken: false })
}

fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    let len = payload.len() as u32;
    out.extend_from_slice(&len.to_le_bytes());
    // Its complement, so that a damaged length is not taken for a frame cut off by a crash.
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(&blake3::hash(payload).as_bytes()[..CHECK]);
    out.extend_from_slice(payload);
}

fn parse(mut bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let mut rules: BTreeMap<u64, (Rule, bool)> = BTreeMap::new();
    while let Some((head, rest)) = bytes.split_at_checked(8 + CHECK) {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        if head[4..8] != (!len).to_le_bytes() {
            contents.damaged = true;
            break;
        }
        let Some((payload, rest)) = rest.split_at_checked(len as usize) else { break };
        if head[8..] != blake3::hash(payload).as_bytes()[..CHECK]
            || !apply(payload, &mut contents, &mut rules)
        {
            contents.damaged = true;
            break;
        }
        bytes = rest;
    }
    for (sequence, (rule, finished)) in rules {
        contents.latest = contents.latest.max(sequence);
        if finished { contents.retired.push(rule) } else { contents.active.push(rule) }
    }
    contents
}

/// False where a payload makes no sense.
fn apply(payload: &[u8], contents: &mut Contents, rules: &mut BTreeMap<u64, (Rule, bool)>) -> bool {
    let number = |at: usize| payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    match (payload.first(), number(1)) {
        (Some(&BASE), Some(latest)) => {
            contents.latest = contents.latest.max(latest);
            contents.forgotten = contents.forgotten.max(number(9).unwrap_or_default());
            true
        }
        (Some(&RULE), Some(_)) => match decode_rule(payload) {
            Some(rule) => {
                rules.entry(rule.sequence).or_insert((rule, false));
                true
            }
            None => false,
        },
        (Some(&RETIRED), Some(sequence)) => {
            if let Some((_, finished)) = rules.get_mut(&sequence) {
                *finished = true;
            }
            true
        }
        _ => false,
    }
}

pub(super) fn encode_rule(rule: &Rule) -> Vec<u8> {
    let mut out = vec![RULE];
    out.extend_from_slice(&rule.sequence.to_le_bytes());
    out.push(u8::from(rule.soft));
    let mut text = |kind: u8, parts: &[&str]| {
        out.push(kind);
        for part in parts {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(part.as_bytes());
        }
    };
    match &rule.criterion {
        Criterion::Url { authority, target } => text(1, &[authority, target]),
        Criterion::Prefix { authority: Some(authority), target } => text(2, &[authority, target]),
        Criterion::Prefix { authority: None, target } => text(3, &[target]),
        Criterion::Glob(pattern) => text(4, &[pattern]),
        Criterion::Host(host) => text(5, &[host]),
        Criterion::Route(route) => text(6, &[route]),
        Criterion::Tag(tag) => text(7, &[tag]),
        Criterion::All => text(9, &[]),
        Criterion::Key(digest) => {
            out.push(0);
            out.extend_from_slice(&digest.0);
        }
        Criterion::Before(time) => {
            out.push(8);
            out.extend_from_slice(&time.millis().to_le_bytes());
        }
    }
    out
}

/// The rule of a payload that [`encode_rule`] made; `None` where it makes no sense.
pub(super) fn decode_rule(payload: &[u8]) -> Option<Rule> {
    if payload.first() != Some(&RULE) {
        return None;
    }
    let sequence = u64::from_le_bytes(payload.get(1..9)?.try_into().ok()?);
    let soft = *payload.get(9)? != 0;
    let kind = *payload.get(10)?;
    let mut rest = payload.get(11..)?;
    let mut text = || -> Option<Box<str>> {
        let (len, after) = rest.split_at_checked(4)?;
        let (text, after) = after.split_at_checked(u32::from_le_bytes(len.try_into().ok()?) as usize)?;
        rest = after;
        std::str::from_utf8(text).ok().map(Into::into)
    };
    let criterion = match kind {
        0 => Criterion::Key(Digest(payload.get(11..)?.try_into().ok()?)),
        1 => Criterion::Url { authority: text()?, target: text()? },
        2 => Criterion::Prefix { authority: Some(text()?), target: text()? },
        3 => Criterion::Prefix { authority: None, target: text()? },
        4 => Criterion::Glob(text()?),
        5 => Criterion::Host(text()?),
        6 => Criterion::Route(text()?),
        7 => Criterion::Tag(text()?),
        8 => {
            Criterion::Before(Timestamp::from_millis(u64::from_le_bytes(payload.get(11..)?.try_into().ok()?)))
        }
        9 => Criterion::All,
        _ => return None,
    };
    Some(Rule { sequence, soft, criterion })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn rules() -> Vec<Rule> {
        let criteria = [
            Criterion::Key(Digest([5; 16])),
            Criterion::Url { authority: "a".into(), target: "/x".into() },
            Criterion::Prefix { authority: Some("a".into()), target: "/".into() },
            Criterion::Prefix { authority: None, target: "/v1".into() },
            Criterion::Glob("*".into()),
            Criterion::Host("a".into()),
            Criterion::Route("r".into()),
            Criterion::Tag("t".into()),
            Criterion::Before(Timestamp::from_secs(9)),
            Criterion::All,
        ];
        (1..)
            .zip(criteria)
            .map(|(sequence, criterion)| Rule { sequence, soft: sequence % 2 == 0, criterion })
            .collect()
    }

    #[tokio::test]
    async fn what_was_committed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("purges");
        let journal = Arc::new(Journal::create(&path, &Contents::default()).unwrap());
        for rule in rules() {
            journal.append(&rule);
        }
        journal.commit(10).await.unwrap();
        journal.retired(&[3]);
        journal.commit_blocking().unwrap();
        let contents = Journal::read(&path).unwrap();
        assert_eq!(contents.latest, 10);
        assert_eq!(contents.retired, [rules()[2].clone()]);
        assert_eq!(contents.active.len(), 9);

        let again = || Journal::read(&path).unwrap();
        journal.compact(again).unwrap();
        assert_eq!(again(), contents);
    }

    #[test]
    fn a_cut_off_frame_is_dropped_and_damage_before_the_end_is_told() {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for rule in rules() {
            frame(&mut bytes, &encode_rule(&rule));
            ends.push(bytes.len());
        }
        for cut in 0..bytes.len() {
            let contents = parse(&bytes[..cut]);
            assert!(!contents.damaged);
            assert_eq!(contents.active.len(), ends.iter().filter(|end| **end <= cut && **end > 0).count());
        }
        let mut damaged = bytes.clone();
        damaged[20] ^= 1;
        assert!(parse(&damaged).damaged);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = Vec::new();
            frame(&mut framed, &bytes);
            parse(&framed);
            parse(&bytes);
        }
    }
}
