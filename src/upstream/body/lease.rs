//! A connection while it serves an exchange.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::pump::Sending;
use super::stream::BodyProgress;
use crate::upstream::alarm::Alarm;
use crate::upstream::connect::Conn;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::error::BodyError;
use crate::upstream::pool::Pooled;

/// Holds a connection until its reply was read: then it serves on; dropped before, it closes, or its stream does.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Conn>,
    endpoint: Arc<Endpoint>,
    request_body: Option<Arc<BodyProgress>>,
    keep: bool,
    /// What is left of the request, where it has a stream of its own (HTTP/2).
    _sending: Option<Sending>,
}

impl Lease {
    pub(crate) fn new(
        conn: Conn,
        endpoint: Arc<Endpoint>,
        request_body: Option<Arc<BodyProgress>>,
        keep: bool,
        sending: Option<Sending>,
    ) -> Self {
        Self { conn: Some(conn), endpoint, request_body, keep, _sending: sending }
    }

    /// The reply broke off.
    pub(super) fn failed(&self, error: &BodyError) {
        self.endpoint.counters.failed(error.as_str());
        if let (Some(conn), BodyError::IdleTimeout) = (&self.conn, error) {
            conn.doubt();
        }
    }

    /// The reply was read to its end; `alarm` is what it was waited for by.
    pub(super) fn finish(mut self, alarm: Alarm) {
        let Some(mut conn) = self.conn.take() else { return };
        if !self.keep || conn.is_closed() || matches!(conn, Conn::Http2(_)) {
            return;
        }
        conn.keep_alarm(alarm);
        if conn.is_usable() {
            self.endpoint.pool.put(conn);
            return;
        }
        // The request's body is still on its way, or the connection's own worker is about to notice the end.
        self.abandon_unasked();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(put_when_ready(conn, Arc::clone(&self.endpoint)));
        }
    }

    fn abandon_unasked(&self) {
        if let Some(body) = &self.request_body {
            body.abandon();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.abandon_unasked();
    }
}

/// Ends when the request was sent whole or its body failed, which its own time-outs bound.
async fn put_when_ready(mut conn: Conn, endpoint: Arc<Endpoint>) {
    if poll_fn(|cx| conn.poll_ready(cx)).await.is_ok() {
        endpoint.pool.put(conn);
    }
}
