//! A connection while it serves an exchange.

use std::future::poll_fn;
use std::sync::Arc;

use http_body::SizeHint;
use tokio::runtime::Handle;

use super::pump::Sending;
use super::stream::BodyProgress;
use crate::upstream::alarm::Alarm;
use crate::upstream::connect::{Conn, Http1};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::error::BodyError;

/// Holds a connection, unless somebody else drives it, until its reply was read: then it serves on; dropped before, it closes,
/// or its stream does.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Conn>,
    endpoint: Arc<Endpoint>,
    request_body: Option<Arc<BodyProgress>>,
    /// What is left of the request, where it has a stream of its own (HTTP/2).
    _sending: Option<Sending>,
}

impl Lease {
    pub(crate) fn new(
        conn: Option<Conn>,
        endpoint: Arc<Endpoint>,
        request_body: Option<Arc<BodyProgress>>,
        sending: Option<Sending>,
    ) -> Self {
        Self { conn, endpoint, request_body, _sending: sending }
    }

    /// The connection, where it is the exchange's own.
    pub(super) fn http1(&mut self) -> Option<&mut Http1> {
        match &mut self.conn {
            Some(Conn::Http1(conn)) => Some(conn),
            _ => None,
        }
    }

    /// How much is to come on the exchange's own connection.
    pub(super) fn left(&self) -> SizeHint {
        match &self.conn {
            Some(Conn::Http1(conn)) => conn.left(),
            _ => SizeHint::default(),
        }
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
        if !conn.goes_on() || matches!(conn, Conn::Http2(_)) {
            return;
        }
        conn.keep_alarm(alarm);
        if conn.is_sent() {
            self.endpoint.pool.put(conn);
            return;
        }
        // The request's body is still on its way.
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
    if poll_fn(|cx| conn.poll_sent(cx)).await.is_ok() {
        endpoint.pool.put(conn);
    }
}
