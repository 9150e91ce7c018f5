//! Bodies in files named by their content.
//!
//! A file is the body, then a footer with one checksum per 64 KiB, so that any part of it is verified before it
//! leaves without reading the rest. It is written under a temporary name and renamed in before its record is
//! written; on removal the record goes first. A *pin* keeps a file that no record names yet. Files that are asked for
//! stay open, as many as descriptors allow.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::opened::{CHECK, MAGIC, MAX_KEPT, footer_len, short_hash};
pub(crate) use super::opened::{CHUNK, StoredBody};
use crate::cache::entry::FileBody;
use crate::descriptors;

/// The most files that stay open.
const MAX_OPEN: usize = 256;
/// How soon a body may be verified again only because it is asked for.
const PAUSE: Duration = Duration::from_secs(3);
/// How many are in that time: at most so many MiB are read and hashed for it, a hundredth of a processor's time.
const MAX_VERIFIED: usize = 64;

/// The body directory.
pub(crate) struct Files {
    bodies: PathBuf,
    temporary: PathBuf,
    /// Tells this process's temporary files from those that a killed one left.
    instance: u64,
    pins: Mutex<HashMap<[u8; 32], u32>>,
    /// Files whose last pin went before a record named them.
    loose: Mutex<Vec<[u8; 32]>>,
    /// Files that were read of late.
    open: quick_cache::sync::Cache<[u8; 32], Arc<StoredBody>>,
    /// When bodies were verified only because they are asked for.
    verified: Mutex<HashMap<[u8; 32], Instant>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("bodies", &self.bodies).finish_non_exhaustive()
    }
}

/// Keeps a body file that no record names yet.
#[derive(Debug)]
pub(crate) struct Pin {
    files: Arc<Files>,
    /// Which file.
    pub body: FileBody,
    named: bool,
}

impl Pin {
    /// A record names the file now.
    pub(crate) fn named(mut self) {
        self.named = true;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.files.pins.lock();
        if let Some(count) = pins.get_mut(&self.body.hash) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.body.hash);
            }
        }
        drop(pins);
        if !self.named {
            self.files.loose.lock().push(self.body.hash);
        }
    }
}

impl Files {
    /// Files that were let go of unnamed since the last call; another record may name them all the same.
    pub(crate) fn take_loose(&self) -> Vec<[u8; 32]> {
        std::mem::take(&mut *self.loose.lock())
    }

    /// The body directory under `root`, made if need be.
    pub(crate) fn open(root: &Path) -> io::Result<Arc<Self>> {
        let (bodies, temporary) = (root.join("bodies"), root.join("tmp"));
        for dir in [&bodies, &temporary] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        Ok(Arc::new(Self {
            bodies,
            temporary,
            instance: fastrand::u64(..),
            pins: Mutex::default(),
            loose: Mutex::default(),
            open: quick_cache::sync::Cache::new(descriptors::spare().min(MAX_OPEN)),
            verified: Mutex::default(),
        }))
    }

    /// A new temporary file.
    pub(crate) fn temporary(self: &Arc<Self>) -> io::Result<Temporary> {
        let path = self.temporary.join(format!("{:016x}-{:016x}", self.instance, fastrand::u64(..)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Temporary { files: self.clone(), path: Some(path), file: Arc::new(file), sums: Sums::default() })
    }

    /// Where a body stands.
    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        let hex = blake3::Hash::from_bytes(*hash).to_hex();
        self.bodies.join(&hex[..2]).join(&hex[2..])
    }

    /// Whether the body's file is there.
    pub(crate) fn exists(&self, body: &FileBody) -> bool {
        fs::metadata(self.path(&body.hash)).is_ok_and(|meta| meta.len() == body.len + footer_len(body.len))
    }

    /// Keeps a body file that another record is to name as well; `None` if it is not there.
    pub(crate) fn pin(self: &Arc<Self>, body: &FileBody) -> Option<Pin> {
        let mut pins = self.pins.lock();
        if !self.exists(body) {
            return None;
        }
        *pins.entry(body.hash).or_default() += 1;
        drop(pins);
        Some(Pin { files: self.clone(), body: body.clone(), named: false })
    }

    /// Removes a body file unless it is pinned or `in_use` says that a record names it.
    pub(crate) fn remove_unless<E>(
        &self,
        hash: &[u8; 32],
        in_use: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        // Held across the check and the removal: whoever would bring the same body in waits, or was seen.
        let pins = self.pins.lock();
        if pins.contains_key(hash) || in_use()? {
            return Ok(false);
        }
        let removed = fs::remove_file(self.path(hash)).is_ok();
        // As long as it is open it takes room on disk.
        self.open.remove(hash);
        Ok(removed)
    }

    /// A body that is open and as it was when it was opened; does not wait.
    pub(crate) fn at_hand(&self, body: &FileBody) -> Option<Arc<StoredBody>> {
        let stored = self.open.get(&body.hash)?;
        if stored.is_unchanged() {
            return Some(stored).filter(|stored| stored.len() == body.len);
        }
        self.open.remove(&body.hash);
        None
    }

    /// Opens a body, verifies its footer, and keeps it open. Blocking.
    pub(crate) fn read(&self, body: &FileBody) -> io::Result<Arc<StoredBody>> {
        let stored = Arc::new(StoredBody::open(File::open(self.path(&body.hash))?, body)?);
        if body.len <= MAX_KEPT {
            self.open.insert(body.hash, stored.clone());
            // Who removed it meanwhile did not find it here.
            if !stored.is_linked() {
                self.open.remove(&body.hash);
            }
        }
        Ok(stored)
    }

    /// Whether a body may be verified now only because it is asked for: not twice within seconds, and not too many.
    pub(crate) fn may_verify(&self, body: &FileBody) -> bool {
        let (now, mut verified) = (Instant::now(), self.verified.lock());
        let of_late = |at: &Instant| now.duration_since(*at) < PAUSE;
        if verified.get(&body.hash).is_some_and(of_late) {
            return false;
        }
        if verified.len() >= MAX_VERIFIED {
            verified.retain(|_, at| of_late(at));
        }
        if verified.len() >= MAX_VERIFIED {
            return false;
        }
        verified.insert(body.hash, now);
        true
    }

    /// Has a body open with all of it verified. What is wrong with it is found out by who needs it. Blocking.
    pub(crate) fn verify_open(&self, body: &FileBody) {
        let open = self.at_hand(body).map_or_else(|| self.read(body), Ok);
        if let Err(error) = open.and_then(|stored| stored.verify_all()) {
            tracing::debug!(%error, "a body that RAM holds cannot be sent from its file");
        }
    }

    /// Removes what a killed process left among the temporary files; says how many and of how many bytes.
    pub(crate) fn sweep_temporary(&self, dry_run: bool) -> io::Result<(u64, u64)> {
        let own = format!("{:016x}-", self.instance);
        let (mut count, mut bytes) = (0, 0);
        for file in fs::read_dir(&self.temporary)? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(&own) {
                continue;
            }
            let len = file.metadata().map_or(0, |meta| meta.len());
            if dry_run || fs::remove_file(file.path()).is_ok() {
                count += 1;
                bytes += len;
            }
        }
        Ok((count, bytes))
    }

    /// Whether a body stands there that no record need name yet.
    pub(crate) fn is_pinned(&self, hash: &[u8; 32]) -> bool {
        self.pins.lock().contains_key(hash)
    }

    /// The length of a body's file, footer included; `None` where there is none.
    pub(crate) fn file_len(&self, hash: &[u8; 32]) -> Option<u64> {
        fs::metadata(self.path(hash)).ok().map(|meta| meta.len())
    }

    /// Reads a body whole against all its checksums. `pace` hears of every chunk and may end it. Blocking.
    pub(crate) fn verify(&self, body: &FileBody, mut pace: impl FnMut(u64) -> bool) -> io::Result<()> {
        let stored = self.read(body)?;
        let mut whole = blake3::Hasher::new();
        for index in 0..body.len.div_ceil(CHUNK as u64) {
            let chunk = stored.chunk(index)?;
            whole.update(&chunk);
            if !pace(chunk.len() as u64) {
                return Ok(());
            }
        }
        if *whole.finalize().as_bytes() == body.hash {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// The hashes of the body files in one of the 256 folders.
    pub(crate) fn folder(&self, first: u8) -> Vec<[u8; 32]> {
        let name = format!("{first:02x}");
        let Ok(folder) = fs::read_dir(self.bodies.join(&name)) else { return Vec::new() };
        folder
            .filter_map(Result::ok)
            .filter_map(|file| {
                let hex = format!("{name}{}", file.file_name().to_str()?);
                blake3::Hash::from_hex(hex).ok().map(|hash| *hash.as_bytes())
            })
            .collect()
    }

    /// Renames a finished file to its name, pinned.
    fn install(self: &Arc<Self>, from: &Path, body: FileBody) -> io::Result<Pin> {
        let path = self.path(&body.hash);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut pins = self.pins.lock();
        fs::rename(from, path)?;
        // It may have taken the place of one that was damaged.
        self.open.remove(&body.hash);
        *pins.entry(body.hash).or_default() += 1;
        drop(pins);
        Ok(Pin { files: self.clone(), body, named: false })
    }
}

/// The checksums of a body as it is written.
#[derive(Debug, Default)]
struct Sums {
    whole: blake3::Hasher,
    chunk: blake3::Hasher,
    in_chunk: usize,
    footer: Vec<u8>,
    len: u64,
}

impl Sums {
    fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK - self.in_chunk));
            self.chunk.update(now);
            self.in_chunk += now.len();
            if self.in_chunk == CHUNK {
                self.end_chunk();
            }
            bytes = rest;
        }
    }

    fn end_chunk(&mut self) {
        self.footer.extend_from_slice(&self.chunk.finalize().as_bytes()[..CHECK]);
        self.chunk.reset();
        self.in_chunk = 0;
    }

    fn finish(mut self) -> (FileBody, Vec<u8>) {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        let body = FileBody { hash: *self.whole.finalize().as_bytes(), len: self.len };
        let mut footer = self.footer;
        footer.extend_from_slice(&body.hash);
        footer.extend_from_slice(&body.len.to_le_bytes());
        footer.extend_from_slice(MAGIC);
        let check = short_hash(&footer);
        footer.extend_from_slice(&check);
        (body, footer)
    }
}

/// A body file that is being written; removed unless it is installed.
#[derive(Debug)]
pub(crate) struct Temporary {
    files: Arc<Files>,
    path: Option<PathBuf>,
    file: Arc<File>,
    sums: Sums,
}

impl Temporary {
    /// For reading back what has been written.
    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Appends bytes. Blocking.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(bytes)?;
        self.sums.update(bytes);
        Ok(())
    }

    /// Writes the footer and renames the file to its content's name. Blocking.
    pub(crate) fn install(mut self) -> io::Result<Pin> {
        let (body, footer) = std::mem::take(&mut self.sums).finish();
        (&*self.file).write_all(&footer)?;
        let Some(path) = self.path.take() else { return Err(io::ErrorKind::NotFound.into()) };
        self.files.install(&path, body).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(files: &Arc<Files>, body: &[u8]) -> Pin {
        let mut temporary = files.temporary().unwrap();
        for part in body.chunks(1000) {
            temporary.write(part).unwrap();
        }
        temporary.install().unwrap()
    }

    fn read_all(files: &Files, body: &FileBody) -> io::Result<Vec<u8>> {
        let stored = files.read(body)?;
        let mut all = Vec::new();
        for index in 0..body.len.div_ceil(CHUNK as u64) {
            all.extend_from_slice(&stored.chunk(index)?);
        }
        Ok(all)
    }

    #[test]
    fn a_body_reads_back_and_damage_anywhere_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
            let body: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
            let pin = store(&files, &body);
            assert_eq!(read_all(&files, &pin.body).unwrap(), body);
            let path = files.path(&pin.body.hash);
            let whole = fs::read(&path).unwrap();
            for _ in 0..20 {
                let mut damaged = whole.clone();
                let at = fastrand::usize(..damaged.len());
                damaged[at] ^= 1;
                fs::write(&path, &damaged).unwrap();
                assert!(read_all(&files, &pin.body).is_err());
                fs::write(&path, &whole[..at]).unwrap();
                assert!(read_all(&files, &pin.body).is_err());
            }
        }
    }

    #[test]
    fn what_is_open_is_used_again_until_somebody_touches_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let body: Vec<u8> = (0..3 * CHUNK + 17).map(|_| fastrand::u8(..)).collect();
        let body_of = |stored: &StoredBody, index: usize| stored.chunk_at_hand(index as u64).unwrap();
        let pin = store(&files, &body);
        let touched = |path: &Path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        for touch in [|path: &Path| fs::remove_file(path).unwrap(), touched] {
            assert!(files.at_hand(&pin.body).is_none(), "nobody has opened it");
            files.read(&pin.body).unwrap();
            let open = files.at_hand(&pin.body).expect("it stays open");
            assert_eq!(files.at_hand(&FileBody { len: 1, ..pin.body }).map(|open| open.len()), None);
            let whole = 0..body.len() as u64;
            assert_eq!(open.sendable(&whole), 0, "nothing has been verified");
            for index in [0, 1, 3] {
                assert_eq!(open.chunk(index).unwrap(), body.chunks(CHUNK).nth(index as usize).unwrap());
            }
            assert_eq!(open.sendable(&whole), 2 * CHUNK as u64);
            assert_eq!(open.sendable(&(5..70)), 65);
            assert_eq!(open.sendable(&(2 * CHUNK as u64..whole.end)), 0);
            for (index, chunk) in body.chunks(CHUNK).enumerate() {
                assert!(body_of(&open, index).is_none_or(|read| read == chunk));
            }
            touch(&files.path(&pin.body.hash));
            assert!(files.at_hand(&pin.body).is_none(), "somebody has touched it");
            drop(store(&files, &body));
        }
        assert!(files.at_hand(&pin.body).is_none(), "another has been put in its place");
        files.read(&pin.body).unwrap();
        drop(pin);
        assert_eq!(files.remove_unless(&blake3::hash(&body).into(), || Ok::<_, ()>(false)), Ok(true));
        assert_eq!(files.open.len(), 0, "what is removed gives its room back");
    }

    #[test]
    fn damage_is_noticed_by_who_reads_what_is_at_hand() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let pin = store(&files, &[7; 2 * CHUNK]);
        let path = files.path(&pin.body.hash);
        let mut bytes = fs::read(&path).unwrap();
        bytes[CHUNK] = 8;
        fs::write(&path, bytes).unwrap();
        let open = files.read(&pin.body).unwrap();
        assert!(open.chunk_at_hand(0).unwrap().is_none_or(|chunk| chunk == [7; CHUNK][..]));
        // Where the file system cannot say what is in memory, nothing is at hand.
        assert!(!matches!(open.chunk_at_hand(1), Ok(Some(_))));
        assert_eq!(open.sendable(&(CHUNK as u64..2 * CHUNK as u64)), 0);
    }

    #[test]
    fn what_is_asked_for_is_verified_now_and_then_and_not_too_much_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let body = |number: usize| FileBody { hash: [number as u8; 32], len: 1 };
        assert!((0..MAX_VERIFIED).all(|number| files.may_verify(&body(number))));
        assert!((0..=MAX_VERIFIED).all(|number| !files.may_verify(&body(number))));
        files.verified.lock().values_mut().for_each(|at| *at -= PAUSE);
        assert!(files.may_verify(&body(MAX_VERIFIED)));
        assert_eq!(files.verified.lock().len(), 1, "what is long ago is forgotten");
        assert!(files.may_verify(&body(0)));
        let pin = store(&files, &[7; CHUNK + 1]);
        files.verify_open(&pin.body);
        let open = files.at_hand(&pin.body).unwrap();
        assert!(!open.is_fading());
        assert_eq!(open.sendable(&(0..CHUNK as u64 + 1)), CHUNK as u64 + 1);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_a_pin_holds() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        drop(files.temporary().unwrap());
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        let pin = store(&files, b"hello");
        let hash = pin.body.hash;
        let again = files.pin(&pin.body).expect("it is there");
        let unused = || Ok::<_, ()>(false);
        assert_eq!(files.remove_unless(&hash, unused), Ok(false));
        drop(pin);
        assert_eq!(files.remove_unless(&hash, unused), Ok(false));
        drop(again);
        assert_eq!(files.remove_unless(&hash, || Ok::<_, ()>(true)), Ok(false));
        assert_eq!(files.remove_unless(&hash, unused), Ok(true));
        assert!(files.pin(&FileBody { hash, len: 5 }).is_none(), "what is gone cannot be kept");
    }
}
