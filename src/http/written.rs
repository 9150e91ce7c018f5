//! Text that becomes field values: short ones, written one behind the other into memory that they share. A value with
//! memory of its own takes one allocation, and another when it is copied first.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// How much is allocated at a time.
const PIECE: usize = 4 << 10;

/// With less room left, the next text begins another piece.
const ROOM: usize = 256;

thread_local! {
    static MEMORY: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// What `write` appends to the empty text that it is given. It must not come back here.
pub fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    MEMORY.with_borrow_mut(|memory| {
        if memory.capacity() < ROOM {
            *memory = BytesMut::with_capacity(PIECE);
        }
        write(memory);
        memory.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_their_own_however_long_they_are() {
        let texts: Vec<String> = (0..600).map(|length| "ab".repeat(length * 7 % 2000)).collect();
        let written: Vec<Bytes> =
            texts.iter().map(|text| written(|out| out.extend_from_slice(text.as_bytes()))).collect();
        assert!(written.iter().zip(&texts).all(|(written, text)| written == text.as_bytes()));
    }
}
