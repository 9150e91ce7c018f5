//! What routes change of messages, and the texts with variables that say how. Pure: nothing here does I/O.

pub mod cors;
pub mod fields;
pub mod query;
pub mod rewrite;
pub mod template;
