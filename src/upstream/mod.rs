//! Endpoints, connections to them, and fetching from them.

pub mod settings;

pub use settings::{EndpointSettings, HostPolicy, Settings};
