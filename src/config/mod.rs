//! The config file: shape, findings, and the settings compiled from it.

pub mod compiled;

pub use compiled::Compiled;
