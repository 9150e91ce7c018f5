//! One client connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::handler::{ClientRequest, ConnectionTotals, Handler};
use super::shared::{Limits, Place, Shared};
use crate::http::ClientConn;
use crate::telemetry::event::Protocol;

/// What is known of a connection when it is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) tls: bool,
}

/// Serves one connection to its end.
pub(super) async fn serve<IO, H>(
    io: IO,
    facts: Facts,
    place: Place,
    limits: Arc<Limits>,
    _shared: Arc<Shared>,
    handler: Arc<H>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let started = Instant::now();
    let Facts { peer, local, tls } = facts;
    handler.connection_opened(peer);
    let client = Arc::new(ClientConn { peer, local, tls, protocol: Protocol::Http11 });
    let service = service_fn(|request| {
        let request = ClientRequest { request, client: client.clone(), interim: None };
        let reply = handler.clone().handle(request);
        async { Ok::<_, Infallible>(reply.await) }
    });
    let _ = limits.http1.serve_connection(TokioIo::new(io), service).await;
    handler.connection_closed(peer, ConnectionTotals { duration: started.elapsed(), ..Default::default() });
    drop(place);
}
