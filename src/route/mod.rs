//! Which route takes a request, and why the others did not.

pub mod spec;

pub use spec::{FieldMatch, HostPattern, MatchSpec, PathPattern};
