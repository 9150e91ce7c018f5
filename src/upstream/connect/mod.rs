//! From an endpoint's addresses to a connection that can be asked: TCP, TLS where it is `https`, HTTP/1.1.

mod conn;
mod tcp;
mod tls;
mod transport;
mod violations;

pub(crate) use conn::{Conn, open};
pub(crate) use tcp::dial;
pub(crate) use tls::{TlsClient, TlsSettings};
pub(crate) use violations::Violations;
