//! What happened: one finished-exchange event, from which log line, ring and metrics all come.

pub mod event;
pub mod settings;

pub use settings::Settings;
