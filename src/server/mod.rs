//! Listeners and connections: bytes in, messages out.

pub mod settings;

pub use settings::{ListenerSettings, Settings};
