//! Builds a running instance from a checked config; reload and shutdown.

pub mod options;

pub use options::ServeOptions;
