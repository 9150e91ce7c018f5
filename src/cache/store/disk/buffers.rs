//! Buffers that bodies are read into. A thread keeps a few of those that it is done with: bytes that have just been sent
//! leave memory that is still in the processor's cache.

use std::cell::RefCell;

use bytes::Bytes;

use super::opened::CHUNK;

/// What a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of at most a chunk.
pub(super) struct Buffer {
    memory: Box<[u8]>,
    len: usize,
}

impl Buffer {
    /// One with that many bytes, which say nothing yet.
    pub(super) fn of(len: usize) -> Self {
        // Who waits for its client should not hold on to much more than it needs.
        if len <= CHUNK / 2 || len > CHUNK {
            return Self { memory: vec![0; len].into(), len };
        }
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        Self { memory: spare.unwrap_or_else(|| vec![0; CHUNK].into()), len }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.len() != CHUNK {
            return;
        }
        // At the end of a thread there is nobody to keep it.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_used_again_and_not_too_much_is_kept() {
        let addresses = |many: usize| -> Vec<_> {
            let held: Vec<Bytes> = (0..many).map(|_| Buffer::of(CHUNK - 1).into()).collect();
            assert!(held.iter().all(|bytes| bytes.len() == CHUNK - 1));
            held.iter().map(|bytes| bytes.as_ptr()).collect()
        };
        let first = addresses(KEPT);
        let mut again = addresses(KEPT);
        again.reverse();
        assert_eq!(first, again);
        addresses(4 * KEPT);
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
        for len in [0, 1, CHUNK / 2] {
            assert_eq!(Buffer::of(len).memory.len(), len);
        }
    }
}
