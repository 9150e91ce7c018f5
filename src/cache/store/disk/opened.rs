//! A stored body's file, open: its chunks, verified before they leave, and which of them were verified of late.
//!
//! What was verified is not verified again for a while, as long as the file is what it was: the kernel has it in its page
//! cache, where it is as good as in RAM of our own. So such bytes may also be sent right from the file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;

use super::buffers::Buffer;
use crate::cache::entry::FileBody;

/// How much of a body one checksum covers.
pub(crate) const CHUNK: usize = 64 << 10;
pub(super) const CHECK: usize = 8;
pub(super) const MAGIC: &[u8; 4] = b"psb1";
/// Hash, length, magic and the footer's own checksum.
const TAIL: usize = 32 + 8 + 4 + CHECK;
/// For so many seconds a chunk that was verified is taken to be in the page cache as it was.
const GOOD_FOR: u32 = 10;
/// From so many seconds on it should be verified again.
const FADING: u32 = GOOD_FOR / 2;
/// Of longer bodies nothing is remembered; they are not kept open either.
pub(super) const MAX_KEPT: u64 = 64 << 20;

/// A stored body, open.
#[derive(Debug)]
pub(crate) struct StoredBody {
    file: File,
    len: u64,
    footer: Vec<u8>,
    stamp: Stamp,
    opened: Instant,
    /// When each chunk was last verified, in seconds since it was opened; 0: not yet.
    verified: Box<[AtomicU32]>,
}

/// What tells that nobody has written to a file, removed it or put another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl StoredBody {
    /// Verifies the footer of a body's file.
    pub(super) fn open(file: File, body: &FileBody) -> io::Result<Self> {
        let stamp = Stamp::of(&file)?;
        let footer = read_footer(&file, stamp.len, body)?;
        let remembered = if body.len <= MAX_KEPT { body.len.div_ceil(CHUNK as u64) } else { 0 };
        let verified = (0..remembered).map(|_| AtomicU32::new(0)).collect();
        Ok(Self { file, len: body.len, footer, stamp, opened: Instant::now(), verified })
    }

    /// The body's length.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether its name still leads to it.
    pub(super) fn is_linked(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() > 0)
    }

    /// Whether nobody has touched it since it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|stamp| stamp == self.stamp)
    }

    /// The verified bytes of chunk `index`. Blocking.
    pub(crate) fn chunk(&self, index: u64) -> io::Result<Bytes> {
        let (start, len) = self.place(index);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, start)?;
        self.verify(index, &bytes)?;
        Ok(bytes.into())
    }

    /// The bytes of chunk `index`, verified if that is due; `None` if they are not at hand without waiting for a disk.
    pub(crate) fn chunk_at_hand(&self, index: u64) -> io::Result<Option<Bytes>> {
        let (start, len) = self.place(index);
        let mut buffer = Buffer::of(len);
        if !read_at_hand(&self.file, buffer.as_mut(), start) {
            return Ok(None);
        }
        if !self.is_verified(index, self.now()) {
            self.verify(index, buffer.as_ref())?;
        }
        Ok(Some(buffer.into()))
    }

    /// How many bytes from `range.start` on, up to its end, may be sent right from the file.
    pub(crate) fn sendable(&self, range: &Range<u64>) -> u64 {
        let now = self.now();
        let mut end = range.start;
        while end < range.end && self.is_verified(end / CHUNK as u64, now) {
            end = (end / CHUNK as u64 + 1) * CHUNK as u64;
        }
        end.min(range.end) - range.start
    }

    /// Whether some of it has not been verified of late.
    pub(crate) fn is_fading(&self) -> bool {
        let oldest = self.verified.iter().map(|at| at.load(Relaxed)).min().unwrap_or(0);
        oldest == 0 || self.now().saturating_sub(oldest) >= FADING
    }

    /// Verifies all of it. Blocking.
    pub(super) fn verify_all(&self) -> io::Result<()> {
        (0..self.len.div_ceil(CHUNK as u64)).try_for_each(|index| self.chunk(index).map(drop))
    }

    fn place(&self, index: u64) -> (u64, usize) {
        let start = index * CHUNK as u64;
        (start, self.len.saturating_sub(start).min(CHUNK as u64) as usize)
    }

    fn now(&self) -> u32 {
        u32::try_from(self.opened.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn is_verified(&self, index: u64, now: u32) -> bool {
        let at = usize::try_from(index).ok().and_then(|index| self.verified.get(index));
        at.map(|at| at.load(Relaxed)).is_some_and(|at| at > 0 && now.saturating_sub(at) < GOOD_FOR)
    }

    fn verify(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let index = index as usize;
        let check = self.footer.get(index * CHECK..(index + 1) * CHECK);
        if check != Some(&short_hash(bytes)[..]) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some(verified) = self.verified.get(index) {
            verified.store(self.now(), Relaxed);
        }
        Ok(())
    }
}

impl AsFd for StoredBody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Fills `bytes` from what the kernel has in its page cache; `false` if it has not got all of it.
#[cfg(target_os = "linux")]
fn read_at_hand(file: &File, bytes: &mut [u8], start: u64) -> bool {
    let len = bytes.len();
    let slices = &mut [io::IoSliceMut::new(bytes)];
    // Some file systems cannot say. What is wrong with the disk is found out by who waits for it.
    rustix::io::preadv2(file, slices, start, rustix::io::ReadWriteFlags::NOWAIT).is_ok_and(|read| read == len)
}

#[cfg(not(target_os = "linux"))]
fn read_at_hand(_: &File, bytes: &mut [u8], _: u64) -> bool {
    bytes.is_empty()
}

pub(super) fn footer_len(len: u64) -> u64 {
    len.div_ceil(CHUNK as u64) * CHECK as u64 + TAIL as u64
}

fn read_footer(file: &File, file_len: u64, body: &FileBody) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let expected = body.len.checked_add(footer_len(body.len)).ok_or_else(damaged)?;
    if file_len != expected {
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

pub(super) fn short_hash(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK]);
    check
}
