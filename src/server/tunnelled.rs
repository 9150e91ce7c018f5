//! Drives a connection that speaks another protocol from now on (RFC 9110 7.8), on the task that it had before.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::activity::InFlight;
use super::connection::Connection;
use super::handler::Handler;
use super::http2::Channel;
use super::shared::Phase;
use super::wire::{Socket, Wire};
use crate::tunnel::{Reason, Tunnel};

/// Lets bytes pass to the tunnel's end; `unparsed` were read from the wire already. The wire, where it is left open.
pub(super) async fn serve<IO, H>(
    wire: Box<Wire<IO>>,
    unparsed: &[u8],
    mut tunnel: Tunnel,
    connection: &Connection<H>,
) -> Option<Box<Wire<IO>>>
where
    IO: Socket,
    H: Handler,
{
    tunnel.begin_with(unparsed);
    let mut client = Client(wire);
    let reason = poll_fn(|cx| match connection.shared.phase() {
        Phase::Aborted => Poll::Ready(Reason::Cut),
        phase => tunnel.poll(cx, &mut client, phase == Phase::Draining),
    })
    .await;
    tunnel.end(reason);
    match reason {
        Reason::ClientBroke | Reason::Cut => None,
        // What comes after is not taken for an orderly end.
        Reason::UpstreamBroke => {
            client.0.reset_on_close();
            None
        }
        _ => Some(client.0),
    }
}

/// The same for one stream of an HTTP/2 connection (RFC 8441 5), which is in use (`_held`) for as long.
pub(super) async fn stream<H: Handler>(
    mut client: Channel,
    mut tunnel: Tunnel,
    connection: Arc<Connection<H>>,
    _held: InFlight,
) {
    let mut registration = None;
    let reason = poll_fn(|cx| {
        registration.get_or_insert_with(|| connection.shared.register(cx.waker()));
        match connection.shared.phase() {
            Phase::Aborted => Poll::Ready(Reason::Cut),
            phase => tunnel.poll(cx, &mut client, phase == Phase::Draining),
        }
    })
    .await;
    tunnel.end(reason);
    let broke = matches!(reason, Reason::ClientBroke | Reason::UpstreamBroke | Reason::Cut);
    if broke || client.shutdown().await.is_err() {
        client.cut();
    }
}

/// The client's end: closing it leaves it open for what the client still has to say.
struct Client<IO>(Box<Wire<IO>>);

impl<IO: Socket> AsyncRead for Client<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<IO: Socket> AsyncWrite for Client<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close_write(cx)
    }
}
