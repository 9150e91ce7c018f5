//! Who a connection is for, where a balancer says so by the PROXY protocol.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use tokio::time::timeout;

use super::connection::Facts;
use super::proxy_protocol::{self, Announced, ProxyProtocolError};
use super::shared::{Phase, Shared};
use super::stream::Stream;
use crate::http::forwarded::is_trusted;

/// Why a connection is not taken.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// Whoever opened it is none of the balancers.
    #[error("its peer is not among those whose PROXY protocol header is believed")]
    Stranger,
    /// Its header is missing or malformed.
    #[error(transparent)]
    Header(#[from] ProxyProtocolError),
    /// Its header did not come.
    #[error("its PROXY protocol header did not come in time")]
    Late,
    /// The instance is ending.
    #[error("the instance is ending")]
    Ending,
}

/// Takes the PROXY protocol header off a connection and puts its addresses in the place of the peer's.
pub(super) async fn client(
    mut stream: Stream,
    facts: Facts,
    believed: &[IpNet],
    limit: Duration,
    shared: &std::sync::Arc<Shared>,
) -> Result<(Stream, Facts), Refused> {
    // The header decides whom we believe to talk to: it is not even read from anyone else.
    if !is_trusted(facts.peer.ip(), believed) {
        return Err(Refused::Stranger);
    }
    let _registration = poll_fn(|cx| Poll::Ready(shared.register(cx.waker()))).await;
    let read = async {
        let mut reading = pin!(proxy_protocol::read(&mut stream));
        poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(read.map_err(Refused::from)),
            Poll::Pending if shared.phase() >= Phase::Draining => Poll::Ready(Err(Refused::Ending)),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    let announced = timeout(limit, read).await.map_err(|_| Refused::Late)??;
    let facts = match announced {
        Announced::Own => facts,
        Announced::Forwarded { source, destination } => Facts { peer: source, local: destination, ..facts },
    };
    Ok((stream, facts))
}
