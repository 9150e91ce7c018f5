//! The local admin socket: HTTP/1.1 with JSON over a Unix domain socket.
//!
//! Everything that the running instance knows or can be told goes through it. The messages (`api`) are one set
//! of types for both ends; `server` answers them, `client` asks them, `paths` says where the socket is, and
//! `control` is what the instance itself must be able to do. It never listens on a network and decides nothing
//! about requests: it asks the rooms that do.

pub mod api;
pub mod client;
pub mod control;
pub mod handlers;
pub mod paths;
pub mod server;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use control::{Control, Refused};
pub use handlers::Admin;
