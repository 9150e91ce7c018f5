//! x
pub mod options;
pub use options::ServeOptions;
