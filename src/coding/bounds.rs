//! How much may come out of coded content: a few bytes can be made to say that gigabytes follow.

use super::CodingError;

/// What comes out before its proportion to what went in counts: short texts may be very regular.
const FREE: u64 = 1 << 20;
/// The most that may come out for each byte that went in. Text seldom comes to 50, and gzip cannot say more than 1032.
pub const MAX_RATIO: u64 = 500;

/// Keeps account of what comes out of a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    max: u64,
    taken: u64,
    given: u64,
}

impl Bounds {
    /// At most `max` bytes in all.
    pub(super) const fn new(max: u64) -> Self {
        Self { max, taken: 0, given: 0 }
    }

    /// Counts what went in and came out.
    pub(super) fn count(&mut self, taken: usize, given: usize) -> Result<(), CodingError> {
        self.taken += taken as u64;
        self.given += given as u64;
        let out_of_proportion = self.given > FREE && self.given / MAX_RATIO > self.taken;
        if self.given > self.max || out_of_proportion { Err(CodingError::TooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_proportion_are_bounded() {
        let mut bounds = Bounds::new(3 << 20);
        assert!(bounds.count(1, 1 << 20).is_ok(), "a mebibyte is free");
        assert!(bounds.count(0, 1).is_err(), "beyond it counts what went in");
        let mut bounds = Bounds::new(3 << 20);
        assert!(bounds.count(1 << 20, 3 << 20).is_ok());
        assert!(bounds.count(1 << 20, 1).is_err());
    }
}
