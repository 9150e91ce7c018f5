//! TLS from clients, over real sockets: rustls on the other end, certificates made for the test.

mod client;
mod clients;
mod failing;
pub mod pki;
mod replacing;
mod resuming;
mod serving;
