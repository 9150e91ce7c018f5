//! Bodies in files named by their content.
//!
//! A file is the body, then a footer with one checksum per 64 KiB, so that any part of it is verified before it
//! leaves without reading the rest. It is written under a temporary name and renamed in before its record is
//! written; on removal the record goes first. A *pin* keeps a file that no record names yet.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::entry::FileBody;

/// How much of a body one checksum covers.
pub(crate) const CHUNK: usize = 64 << 10;
const CHECK: usize = 8;
const MAGIC: &[u8; 4] = b"psb1";
/// Hash, length, magic and the footer's own checksum.
const TAIL: usize = 32 + 8 + 4 + CHECK;

/// The body directory.
#[derive(Debug)]
pub(crate) struct Files {
    bodies: PathBuf,
    temporary: PathBuf,
    /// Tells this process's temporary files from those that a killed one left.
    instance: u64,
    pins: Mutex<HashMap<[u8; 32], u32>>,
    /// Files whose last pin went before a record named them.
    loose: Mutex<Vec<[u8; 32]>>,
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
        Ok(fs::remove_file(self.path(hash)).is_ok())
    }

    /// Opens a body and verifies its footer.
    pub(crate) fn read(&self, body: &FileBody) -> io::Result<StoredBody> {
        let file = File::open(self.path(&body.hash))?;
        let footer = read_footer(&file, body)?;
        Ok(StoredBody { file, len: body.len, footer })
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

/// A stored body, open.
#[derive(Debug)]
pub(crate) struct StoredBody {
    file: File,
    len: u64,
    footer: Vec<u8>,
}

impl StoredBody {
    /// The verified bytes of chunk `index`. Blocking.
    pub(crate) fn chunk(&self, index: u64) -> io::Result<Bytes> {
        let start = index * CHUNK as u64;
        let len = self.len.saturating_sub(start).min(CHUNK as u64) as usize;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, start)?;
        let at = index as usize * CHECK;
        if self.footer.get(at..at + CHECK) != Some(&short_hash(&bytes)[..]) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.into())
    }
}

fn footer_len(len: u64) -> u64 {
    len.div_ceil(CHUNK as u64) * CHECK as u64 + TAIL as u64
}

fn read_footer(file: &File, body: &FileBody) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let expected = body.len.checked_add(footer_len(body.len)).ok_or_else(damaged)?;
    if file.metadata()?.len() != expected {
        return Err(damaged());
    }
    let mut footer = vec![0; footer_len(body.len) as usize];
    file.read_exact_at(&mut footer, body.len)?;
    let (signed, check) = footer.split_at(footer.len() - CHECK);
    let (_, tail) = signed.split_at(signed.len() - (TAIL - CHECK));
    let holds = check == short_hash(signed)
        && tail[..32] == body.hash
        && tail[32..40] == body.len.to_le_bytes()
        && tail[40..] == *MAGIC;
    if holds { Ok(footer) } else { Err(damaged()) }
}

fn short_hash(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK]);
    check
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
