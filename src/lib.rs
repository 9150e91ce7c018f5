//! proxy-stone: a caching reverse proxy for HTTP APIs, run and questioned from the terminal.
//!
//! The rooms stand in the order in which a request meets them; imports point down this list, and the
//! decision rooms (`route`, `cache`, `auth`, `upstream`, `tunnel`) do not import each other. A test holds that order.

/// The command line: arguments, one file per subcommand, output and exit codes.
pub mod cli;

/// Builds a running instance from a checked config; reload and shutdown.
pub mod app;

/// The config file: shape, findings, and the settings compiled from it.
pub mod config;

/// The local admin socket: the messages, the client and the server.
pub mod admin;

/// Listeners and connections: bytes in, messages out.
pub mod server;

/// A load generator: whom to ask how often, and what came of it.
pub mod bench;

/// One exchange from request head to finished reply, in the order one screen shows.
pub mod pipeline;

// -- decisions --

/// Which route takes a request, and why the others did not.
pub mod route;

/// How often something may be asked for, and who has asked how often.
pub mod limit;

/// What may be stored, what may be reused, and where it is kept.
pub mod cache;

/// Who somebody is, as far as it can be verified.
pub mod auth;

/// Endpoints, connections to them, and fetching from them.
pub mod upstream;

/// Connections whose protocol was changed: bytes both ways.
pub mod tunnel;

/// Compression, and undoing it: bytes in, bytes out.
pub mod coding;

// -- vocabulary --

/// What happened: events, metrics, the access log, the ring that `logs` reads.
pub mod telemetry;

/// HTTP's own words: one file per header that we interpret.
pub mod http;

/// TLS towards clients: certificates, client certificates, resumption.
pub mod tls;

/// Time, read in one place.
pub mod clock;

/// Bytes from one socket to another within the kernel.
pub mod piped;

/// File descriptors, of which the last ones are kept back.
pub mod descriptors;
