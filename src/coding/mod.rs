//! Makes coded content of plain content, and the other way round: compression, and undoing it within bounds.
//!
//! A `Coder` is fed bytes and gives bytes; it knows nothing of messages and does no I/O. One call takes a bounded piece and
//! gives a bounded piece, so that it can be run wherever there is time for so much.

mod bounds;
mod coder;
mod step;

pub use bounds::MAX_RATIO;
pub use coder::{Coder, PIECE};

use std::io;

use crate::http::accept_encoding::Coding;

/// What a coder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It codes, with so much effort.
    Encode(Coding, Level),
    /// It undoes a coding, and gives no more than so many bytes.
    Decode(Coding, u64),
}

/// How much effort a coding takes, on its own scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub u8);

impl Level {
    /// What a coding takes where nobody says: what costs about as much as gzip's usual level.
    pub const fn usual(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self(6),
            Coding::Brotli => Self(5),
            Coding::Zstd => Self(6),
        }
    }

    /// The least and the most that a coding knows.
    pub const fn range(coding: Coding) -> (Self, Self) {
        match coding {
            Coding::Gzip => (Self(1), Self(9)),
            Coding::Brotli => (Self(0), Self(11)),
            Coding::Zstd => (Self(1), Self(19)),
        }
    }
}

/// Why content cannot be made into what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CodingError {
    /// It is not what its `Content-Encoding` says.
    #[error("the content is not coded as it says: {0}")]
    Malformed(#[source] io::Error),
    /// It ends before its coding does.
    #[error("the coded content ends too early")]
    Incomplete,
    /// What comes out is larger than anybody would have meant.
    #[error("the decoded content is too large")]
    TooLarge,
}

#[cfg(test)]
mod tests;
