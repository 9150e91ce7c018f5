//! An HTTP/1.1 connection, driven by a task on the worker that made it: one exchange at a time.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::Conn;
use super::transport::{Asked, Stream, Transport};
use super::violations::Violations;
use crate::upstream::alarm::Alarm;
use crate::upstream::body::RequestBody;
use crate::upstream::error::Failure;
use crate::upstream::pool::{Permit, Worker};

/// The largest head of a reply, and the most that is read ahead of a slow reader.
pub(super) const READ_BUFFER: usize = 128 * 1024;

/// The sending side of a connection. Dropping it closes the connection, once a request under way is done.
#[derive(Debug)]
pub(crate) struct Http1 {
    sender: SendRequest<RequestBody>,
    /// Tells the reading side which reply to expect.
    asked: Arc<Asked>,
    pub(super) home: Worker,
    pub(super) peer: SocketAddr,
    /// State of the endpoint's addresses when this was made, or last found still right.
    pub(crate) generation: u64,
    /// What the exchanges on it wait by, one after the other: an armed timer is left as it is, since the next one hardly
    /// ever needs it to ring earlier.
    pub(super) alarm: Alarm,
}

impl Http1 {
    /// Sends a request; dropping the future cancels it and closes the connection.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.asked.set(request.method() == Method::HEAD);
        self.sender.try_send_request(request)
    }

    /// Ready once another request can be sent, an error when there won't be another.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(cx)
    }

    /// Whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether a request can be sent right now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

/// Speaks HTTP/1.1 on a transport that was just opened.
pub(super) async fn open(
    stream: Stream,
    peer: SocketAddr,
    mut permit: Permit<Conn>,
    generation: u64,
    violations: Arc<Violations>,
) -> Result<Http1, Failure> {
    let asked = Arc::new(Asked::default());
    permit.alone();
    // The permit is the transport's, which may outlive HTTP on it.
    let transport = Transport::http1(stream, asked.clone(), violations, permit);
    // hyper's own bound of 100 fields in a head stays: any other makes it allocate for each reply.
    let shaken = Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(transport)).await;
    let (sender, connection) = shaken.map_err(Failure::reset)?;
    tokio::spawn(async move {
        // Errors reach whoever waits for a reply; on an idle connection they only end it.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(Http1 { sender, asked, home: Worker::current(), peer, generation, alarm: Alarm::default() })
}
