//! Listeners and connections: bytes in, messages out.
//!
//! Decides how many connections there may be, how long one may take for a head or stay idle, which protocol
//! it speaks, and how connections end. Every request goes to a [`Handler`]; this room never looks at what a
//! message says beyond its framing.
//!
//! ```text
//! listener (a SO_REUSEPORT group per address)
//!    └─▶ worker (a thread, a current-thread runtime) ─▶ [handshake] ─▶ connection (HTTP/1 or HTTP/2, time-outs)
//!                                                                        └─▶ wire (what hyper reads and writes through)
//!                                                                              └─▶ stream (TCP, Unix, TLS over either)
//! ```
//!
//! [`Handler`]: crate::server::Handler

mod activity;
mod announced;
mod connection;
mod frames;
mod handler;
mod handshake;
mod http1;
mod http2;
pub mod inherited;
pub mod listener;
mod meter;
mod prompt;
mod proxy_protocol;
mod refusal;
mod resting;
mod running;
pub mod settings;
mod shared;
mod stream;
mod tunnelled;
mod underway;
mod unix;
mod watch;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use handler::{Answered, Answering, ClientRequest, ConnectionTotals, Handler, Later, ReplyTo};
pub use listener::{BindError, BindErrorKind, Bound, bind};
pub use refusal::{Refusal, RefusalReason};
pub use running::{Prepared, Running, start};
pub use settings::{Http2Settings, ListenAddress, ListenerSettings, Settings};
