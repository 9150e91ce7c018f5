//! TLS towards clients: certificates and their keys, which of them answers whom, what is asked of clients, and how
//! sessions are taken up again. The handshake itself is rustls's, on the connection's worker (`server`).
//!
//! A [`Terminator`] is one `[tls.NAME]` of the config. Behind one atomic pointer it has an immutable state, built from the
//! settings and their files; where a file changes, another state is built beside it and takes its place for new
//! connections, or, where the file is broken, what was read before goes on.
//!
//! What is asked of clients may differ from name to name. Names of which the same is asked make a group; every group
//! has keys of tickets of its own, and a request by a connection of another group than its host's is misdirected (421),
//! so that neither a resumed session nor another `Host` gets round what a name asks for.
//!
//! This room opens no sockets, and knows neither listeners nor routes.
//!
//! [`Terminator`]: crate::tls::Terminator

mod client;
pub mod dev;
mod error;
mod identity;
mod inspect;
mod material;
mod names;
mod resolver;
mod san;
mod session;
mod settings;
mod staple;
mod state;
mod terminator;
mod tickets;
pub mod trust;
mod x509;

pub use error::{At, Error, Fault};
pub use identity::{Fact, Identity};
pub use inspect::{Inspection, inspect};
pub use material::Material;
pub use names::NamePattern;
pub use san::{San, SanPattern};
pub use session::{Expired, Session};
pub use settings::{CertificateFiles, ClientAuth, Hsts, Profile, Settings, Verify};
pub use staple::Staple;
pub use terminator::{Prepared, Refreshed, Terminator, Terminators, Welcome};
pub use x509::{Certificate, KeyKind};
