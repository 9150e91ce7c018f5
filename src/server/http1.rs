//! Drives hyper's HTTP/1 connection and minds what it does not: time-outs, draining, quiet connections, and
//! the requests that it turned away by itself.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Connection as Hyper;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::activity::Reply;
use super::connection::Connection;
use super::handler::{ClientRequest, Handler};
use super::refusal::{Refusal, RefusalReason};
use super::shared::Phase;
use super::tunnelled;
use super::watch::{CLOSE_TIMEOUT, Stage, Watch};
use super::wire::{Socket, Wire};
use crate::http::h1::Violation;
use crate::http::{InterimQueue, RequestContent};
use crate::tunnel::Handover;

/// A connection without a request for this long keeps its socket only; hyper's buffers are made anew.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Plain requests, one after the other, before hyper is done without.
const AT_ONCE: u32 = 8;

/// How a stretch of a connection ended.
pub(super) enum End<IO> {
    /// With the connection.
    Over,
    /// It needs hyper no longer; where a part of the next head is there, it is replayed.
    AtRest(Box<Wire<IO>>),
}

/// What ended a stretch.
enum Event {
    Ended(hyper::Result<()>),
    TimedOut(Stage),
    AtRest,
    Cut,
}

/// Serves requests until the connection ends, falls quiet, or asks for nothing but what hyper need not hear of.
pub(super) async fn serve<IO, H>(
    mut wire: Box<Wire<IO>>,
    connection: &Arc<Connection<H>>,
    watch: &mut Watch,
) -> End<IO>
where
    IO: Socket,
    H: Handler,
{
    let interim = InterimQueue::new();
    poll_fn(|cx| {
        interim.set_task(cx.waker());
        Poll::Ready(())
    })
    .await;
    wire.set_interim(Some(interim.clone()));
    connection.activity.begin_stretch();
    let service = service_fn(|request| respond(connection, &interim, request));
    let mut hyper = connection.limits.http1.serve_connection(TokioIo::new(wire), service);
    let mut told = false;
    let event = poll_fn(|cx| turn(&mut hyper, connection, watch, &mut told, cx)).await;
    match event {
        Event::Ended(Ok(())) => {
            report_cut(connection);
            let parts = hyper.into_parts();
            over(parts.io.into_inner(), &parts.read_buf, connection).await;
            End::Over
        }
        Event::Cut => End::Over,
        // hyper gave up in the middle of a head that the wire has refused since.
        Event::Ended(Err(_)) if connection.activity.refuses() => {
            close(hyper.into_parts().io.into_inner()).await;
            End::Over
        }
        Event::Ended(Err(error)) => {
            if error.is_user() && connection.activity.ends_by_closing() {
                // The reply broke off, and to an HTTP/1.0 client an orderly close would be its end (RFC 9112 6.3).
                hyper.into_parts().io.into_inner().reset_on_close();
            }
            report(connection, &error);
            End::Over
        }
        Event::TimedOut(stage) => {
            let parts = hyper.into_parts();
            timed_out(stage, parts.io.into_inner(), parts.read_buf, connection).await
        }
        Event::AtRest => {
            let parts = hyper.into_parts();
            at_rest(parts.io.into_inner(), parts.read_buf, connection)
        }
    }
}

/// One turn of the connection's task. `told` remembers that hyper was asked to come to an end.
fn turn<IO, H, S, B>(
    hyper: &mut Hyper<TokioIo<Box<Wire<IO>>>, S>,
    connection: &Connection<H>,
    watch: &mut Watch,
    told: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Event>
where
    IO: Socket,
    H: Handler,
    S: HttpService<Incoming, ResBody = B, Error = Infallible>,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    loop {
        let polled = Pin::new(&mut *hyper).poll(cx);
        connection.tell_refused();
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Event::Ended(result));
        }
        if connection.activity.may_go_on() {
            continue;
        }
        let stage = watch.note(&connection.activity);
        match connection.shared.phase() {
            Phase::Aborted => return Poll::Ready(Event::Cut),
            // hyper would drop a head that has begun; its request will be the last.
            Phase::Draining if !*told && stage != Stage::Head => {
                *told = true;
                Pin::new(&mut *hyper).graceful_shutdown();
                continue;
            }
            _ => {}
        }
        if stage == Stage::Idle && connection.activity.at_once() >= AT_ONCE {
            return Poll::Ready(Event::AtRest);
        }
        let settings = &connection.limits.settings;
        let limit = Watch::limit(stage, settings, idle_limit(connection));
        if watch.poll_over(cx, limit).is_pending() {
            return Poll::Pending;
        }
        if stage != Stage::Closing || connection.activity.abandoned() {
            return Poll::Ready(Event::TimedOut(stage));
        }
        connection.activity.abandon();
    }
}

/// hyper has done its part: the connection speaks another protocol, or is at its end.
async fn over<IO, H>(wire: Box<Wire<IO>>, unparsed: &[u8], connection: &Connection<H>)
where
    IO: Socket,
    H: Handler,
{
    let activity = &connection.activity;
    match activity.take_tunnel() {
        // hyper drops what the client had no room for, and nobody could tell what of it is missing.
        Some(_) if activity.write_blocked() => wire.reset_on_close(),
        Some(tunnel) => {
            if let Some(wire) = Box::pin(tunnelled::serve(wire, unparsed, tunnel, connection)).await {
                close(wire).await;
            }
        }
        // Where a request has offered another protocol, hyper leaves closing to others.
        None if !activity.closing() => close(wire).await,
        None => {}
    }
}

/// Behind a request with a body hyper may still be reading that body, which must not be lost.
fn idle_limit<H>(connection: &Connection<H>) -> Duration {
    let keepalive = connection.limits.settings.keepalive;
    if connection.activity.had_body() { keepalive } else { QUIET_AFTER.min(keepalive / 2) }
}

async fn timed_out<IO, H>(
    stage: Stage,
    wire: Box<Wire<IO>>,
    unparsed: Bytes,
    connection: &Connection<H>,
) -> End<IO>
where
    IO: Socket,
    H: Handler,
{
    match stage {
        Stage::Head => {
            time_out(wire, connection).await;
            End::Over
        }
        Stage::Idle if idle_limit(connection) < connection.limits.settings.keepalive => {
            at_rest(wire, unparsed, connection)
        }
        Stage::Idle | Stage::Exchange | Stage::Blocked | Stage::Closing => End::Over,
    }
}

/// hyper's part is over for now. A part of the next head may be there.
fn at_rest<IO, H>(mut wire: Box<Wire<IO>>, unparsed: Bytes, connection: &Connection<H>) -> End<IO>
where
    IO: Socket,
{
    wire.set_interim(None);
    if !unparsed.is_empty() || wire.holds() {
        connection.activity.set_head_begun();
        wire.replay(unparsed);
    }
    End::AtRest(wire)
}

/// Answers a head that did not come to its end in time, and closes.
pub(super) async fn time_out<IO, H>(mut wire: Box<Wire<IO>>, connection: &Connection<H>)
where
    IO: Socket,
    H: Handler,
{
    wire.refuse(Refusal::timed_out());
    connection.tell_refused();
    close(wire).await;
}

/// Sends the refusal that is left to send, and lingers.
pub(super) async fn close<IO: Socket>(mut wire: Box<Wire<IO>>) {
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, wire.shutdown()).await;
}

/// One exchange. Interim replies may be queued until the final one is there.
fn respond<H: Handler>(
    connection: &Arc<Connection<H>>,
    interim: &Arc<InterimQueue>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Reply<H::Body>>, Infallible>> + Send + 'static + use<H> {
    let (connection, queue) = (connection.clone(), interim.clone());
    let (number, in_flight) = connection.activity.begin(!request.body().is_end_stream());
    connection.activity.begin_stretch();
    connection.activity.set_ends_by_closing(request.version() == Version::HTTP_10);
    let interim = (request.version() == Version::HTTP_11).then(|| queue.open(number));
    let last = connection.limits.is_last(number);
    let client = connection.client.clone();
    let reply = connection.handler.clone().handle(ClientRequest {
        request: request.map(RequestContent::from),
        client,
        interim,
    });
    async move {
        let mut response = reply.await.map(|body| Reply::new(body, in_flight));
        queue.close();
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        connection.activity.set_answered(number, switched);
        if switched {
            if let Some(tunnel) = response.extensions_mut().remove::<Handover>() {
                connection.activity.hand_over(tunnel);
            }
        } else if last || connection.shared.phase() != Phase::Serving {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Tells of a request that hyper turned away, or that broke off in its head.
fn report<H: Handler>(connection: &Connection<H>, error: &hyper::Error) {
    let activity = &connection.activity;
    if activity.cut_short() {
        report_cut(connection);
    } else if error.is_parse() && activity.in_flight() == 0 {
        let status = activity.last_status();
        connection.refused(status, reason(status));
    } else if error.is_incomplete_message()
        && activity.in_flight() == 0
        && activity.head_begun()
        && !activity.had_body()
    {
        connection.refused(0, RefusalReason::HeadCutShort);
    }
}

/// Tells of a client that left before the end of a line of its head, which hyper did not see.
pub(super) fn report_cut<H: Handler>(connection: &Connection<H>) {
    if connection.activity.cut_short() {
        connection.refused(0, RefusalReason::HeadCutShort);
    }
}

/// What hyper refused though the wire let it pass.
fn reason(status: u16) -> RefusalReason {
    match status {
        414 => RefusalReason::Violation(Violation::TargetTooLong),
        431 => RefusalReason::Violation(Violation::HeadTooLarge),
        _ => RefusalReason::MalformedHead,
    }
}
