//! Drives hyper's HTTP/2 connection: gathers its writes, ends it when it is idle, drains it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;

use super::activity::Reply;
use super::coalesce::Coalesce;
use super::connection::Connection;
use super::handler::{ClientRequest, Handler};
use super::meter::{Meter, Offence};
use super::refusal::RefusalReason;
use super::shared::Phase;
use super::tasks::Cutter;
use super::tunnelled;
use super::watch::{CLOSE_TIMEOUT, Stage, Watch};
use super::wire::{Socket, Wire};
use crate::tunnel::Handover;

/// Serves the connection to its end.
pub(super) async fn serve<IO, H>(wire: Wire<IO>, connection: &Arc<Connection<H>>, watch: &mut Watch)
where
    IO: Socket,
    H: Handler,
{
    let settings = &connection.limits.settings;
    let mut io = Coalesce::new(wire, Meter::new(settings.http2.max_resets));
    if let Some(offence) = drive(&io, connection, watch).await {
        connection.refused(0, offence.reason());
        io.go_away(offence);
        // What is still on its way is read, or its end would eat what we said last.
        connection.activity.set_head_begun();
        let closed = poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx));
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// Drives the connection until it has ended, or must be ended for what the client did.
async fn drive<IO, H>(
    io: &Coalesce<Wire<IO>>,
    connection: &Arc<Connection<H>>,
    watch: &mut Watch,
) -> Option<Offence>
where
    IO: Socket,
    H: Handler,
{
    let service = service_fn(|request| respond(connection, request));
    let mut hyper = pin!(connection.limits.http2.serve_connection(TokioIo::new(io.clone()), service));
    let settings = &connection.limits.settings;
    watch.expect_frames();
    let mut told = false;
    let spent = || connection.limits.is_last(connection.activity.requests());
    // A connection that was opened just now may send what it was opened for: many clients would not do so behind a GOAWAY.
    let is_last = |phase| match phase {
        Phase::Leaving => connection.activity.requests() > 0,
        phase => phase == Phase::Draining,
    };
    poll_fn(|cx| {
        loop {
            let ended = hyper.as_mut().poll(cx);
            // Every stream that was ready has had its say: now it leaves, in one write.
            if let Poll::Ready(Err(_)) = io.poll_send(cx) {
                return Poll::Ready(None);
            }
            if let Poll::Ready(result) = ended {
                report(connection, result);
                return Poll::Ready(None);
            }
            if let Some(offence) = io.offence() {
                return Poll::Ready(Some(offence));
            }
            for _ in 0..io.take_blamed() {
                connection.refused(0, RefusalReason::Http2Stream);
            }
            connection.activity.set_data_sent(io.data_sent());
            let stage = watch.note(&connection.activity);
            let phase = connection.shared.phase();
            if phase == Phase::Aborted {
                return Poll::Ready(None);
            }
            let idle = if told { CLOSE_TIMEOUT } else { settings.keepalive };
            let over = watch.poll_over(cx, Watch::limit(stage, settings, idle)).is_ready();
            match over {
                _ if !told && (is_last(phase) || spent() || (over && stage == Stage::Idle)) => {
                    told = true;
                    watch.restart();
                    hyper.as_mut().graceful_shutdown();
                }
                true if stage == Stage::Closing && !connection.activity.abandoned() => {
                    connection.activity.abandon();
                }
                true => return Poll::Ready(None),
                false => return Poll::Pending,
            }
        }
    })
    .await
}

fn respond<H: Handler>(
    connection: &Arc<Connection<H>>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Reply<H::Body>>, Infallible>> + Send + 'static + use<H> {
    // Those alone that ask for a tunnel have one.
    let way = request.extensions_mut().remove::<OnUpgrade>();
    let (_, in_flight) = connection.activity.begin(!request.body().is_end_stream());
    let client = connection.client.clone();
    let reply = connection.handler.clone().handle(ClientRequest { request, client, interim: None });
    let connection = connection.clone();
    async move {
        let mut response = reply.await.map(|body| Reply::new(body, in_flight));
        let handover =
            way.and_then(|way| Some((way, response.extensions_mut().remove::<Handover>()?.take()?)));
        if let Some((way, tunnel)) = handover {
            let held = connection.activity.hold();
            let cutter = Cutter::of_next();
            tokio::spawn(tunnelled::stream(way, cutter, tunnel, connection, held));
        }
        Ok(response)
    }
}

/// Tells of a connection that we ended since the client broke the protocol. hyper hands h2's error on without
/// a type of ours; h2 words an error that it found itself as detected, unlike one that it received.
fn report<H: Handler>(connection: &Connection<H>, result: hyper::Result<()>) {
    let Err(error) = result else { return };
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        if error.to_string().contains("connection error detected") {
            return connection.refused(0, RefusalReason::Http2Violation);
        }
        cause = error.source();
    }
}
