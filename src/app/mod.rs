//! Builds a running instance from a checked config; reload and shutdown.
//!
//! [`Instance`] is the running thing: rooms wired together, and what outlives a reload. `serve` is the command:
//! it loads the config, starts an instance, opens the admin socket, listens to signals, and ends in good order.
//! Nothing here answers a request or parses a file.
//!
//! [`Instance`]: crate::app::Instance

mod certificates;
mod changes;
mod control;
pub mod demo;
mod ending;
mod error;
mod explain;
mod gauges;
mod handler;
mod instance;
mod options;
mod past;
mod routes;
mod serve;
mod simulate;
mod startup;
mod upgrade;

pub use certificates::of_config as certificates_of;
pub use error::Error;
pub use instance::{Instance, Paths};
pub use options::ServeOptions;
pub use serve::serve;
pub use simulate::simulation;
