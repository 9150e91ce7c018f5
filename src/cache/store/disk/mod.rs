//! The disk tier: sled for records and small bodies, files for larger ones.
//!
//! It keeps to what was measured of sled 0.34: values within 6 KiB, plain writes from one thread, checksums on
//! everything, and a ladder for opening what a crash or a bad disk left. It never decides what to keep.

mod buffers;
pub(crate) mod directory;
pub(crate) mod files;
mod index;
mod inspect;
pub(crate) mod open;
mod opened;
mod routes;
pub(crate) mod salvage;
pub(crate) mod trees;
mod walks;
