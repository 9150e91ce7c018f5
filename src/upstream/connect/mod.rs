//! From an endpoint's addresses to a connection that can be asked: TCP, TLS where it is `https`, HTTP/1.1 or HTTP/2.

mod conn;
mod http1;
mod http2;
mod outgoing;
mod pulse;
mod tcp;
mod tls;
mod transport;
mod violations;

pub(crate) use conn::{Conn, Manner, open};
pub(crate) use http1::Http1;
pub use http1::Switched;
pub(crate) use http2::Stream;
pub(crate) use outgoing::Framing;
pub(crate) use tcp::dial;
pub(crate) use tls::{TlsClient, TlsSettings};
pub(crate) use violations::Violations;
