//! A coder with its account of what went in and came out.

use std::fmt;

use bytes::{Bytes, BytesMut};
use compression_codecs::core::util::WriteBuffer;

use super::step::Step;
use super::{Change, CodingError};

/// How much one call takes at most, and about as much as it gives.
pub const PIECE: usize = 64 << 10;
/// What is written at a time.
const BUFFER: usize = 16 << 10;

/// Codes content, or undoes a coding.
pub struct Coder {
    step: Step,
    change: Change,
    /// It stopped because enough had come out.
    has_more: bool,
    unflushed: bool,
    taken: u64,
    given: u64,
}

impl Coder {
    /// One that makes this change.
    pub fn new(change: Change) -> Self {
        Self { step: Step::new(change), change, has_more: false, unflushed: false, taken: 0, given: 0 }
    }

    /// What it does.
    pub const fn change(&self) -> Change {
        self.change
    }

    /// Takes up to [`PIECE`] bytes from the beginning of `input`. It is to be called until nothing is left there and it
    /// [has no more](Self::has_more).
    ///
    /// # Errors
    /// When the content is not what it says, or too much comes out of it.
    pub fn push(&mut self, input: &mut Bytes) -> Result<Bytes, CodingError> {
        let mut piece = input.slice(..input.len().min(PIECE));
        let offered = piece.len();
        let mut out = BytesMut::new();
        self.has_more = false;
        loop {
            let (filled, ()) = self.write(&mut out, |step, buffer| step.run(&mut piece, buffer))?;
            if out.len() >= PIECE && (filled || !piece.is_empty()) {
                self.has_more = true;
                break;
            }
            if piece.is_empty() && !filled {
                break;
            }
        }
        let taken = offered - piece.len();
        let _ = input.split_to(taken);
        self.taken += taken as u64;
        self.unflushed |= taken > 0;
        self.given += out.len() as u64;
        Ok(out.freeze())
    }

    /// Whether more would come out without anything going in.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    /// All that can be told of what went in: its recipient can read it now.
    ///
    /// # Errors
    /// When the coder fails.
    pub fn flush(&mut self) -> Result<Bytes, CodingError> {
        self.unflushed = false;
        self.wind_up(Step::flush)
    }

    /// The end of it.
    ///
    /// # Errors
    /// When what went in is not whole.
    pub fn finish(&mut self) -> Result<Bytes, CodingError> {
        self.unflushed = false;
        self.wind_up(Step::finish)
    }

    /// Whether something went in that may not have come out.
    pub const fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// Bytes that went in, and that came out.
    pub const fn counts(&self) -> (u64, u64) {
        (self.taken, self.given)
    }

    fn wind_up(
        &mut self,
        how: impl Fn(&mut Step, &mut WriteBuffer<'_>) -> Result<bool, CodingError>,
    ) -> Result<Bytes, CodingError> {
        let mut out = BytesMut::new();
        while !self.write(&mut out, &how)?.1 {}
        self.given += out.len() as u64;
        Ok(out.freeze())
    }

    /// Has a buffer filled and puts that behind `out`; whether it came out full.
    fn write<R>(
        &mut self,
        out: &mut BytesMut,
        fill: impl FnOnce(&mut Step, &mut WriteBuffer<'_>) -> Result<R, CodingError>,
    ) -> Result<(bool, R), CodingError> {
        let start = out.len();
        out.resize(start + BUFFER, 0);
        let mut buffer = WriteBuffer::new_initialized(&mut out[start..]);
        let filled = fill(&mut self.step, &mut buffer);
        let written = buffer.written_len();
        out.truncate(start + written);
        Ok((written == BUFFER, filled?))
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coder").field("change", &self.change).finish_non_exhaustive()
    }
}
