//! A connection of HTTP/1 at rest: nothing is kept of it but its wire, which answers plain requests. The first one that is not
//! plain wakes hyper.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::connection::Connection;
use super::handler::Handler;
use super::http1;
use super::shared::Phase;
use super::watch::{Stage, Watch};
use super::wire::{Socket, Wire};

/// How a rest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is something to be read that was not answered.
    Asked,
    /// The connection is to be closed.
    Over,
    /// It has broken, or is cut.
    Cut,
    /// As `Over`, and a head that has begun is to be refused.
    HeadTimedOut,
}

/// Answers what hyper need not hear of.
pub(super) async fn serve<IO, H>(
    wire: &mut Box<Wire<IO>>,
    connection: &Connection<H>,
    watch: &mut Watch,
) -> End
where
    IO: Socket,
    H: Handler,
{
    poll_fn(|cx| turn(wire, connection, watch, cx)).await
}

/// One turn of the connection's task.
fn turn<IO, H>(
    wire: &mut Wire<IO>,
    connection: &Connection<H>,
    watch: &mut Watch,
    cx: &mut Context<'_>,
) -> Poll<End>
where
    IO: Socket,
    H: Handler,
{
    let settings = &connection.limits.settings;
    let polled = wire.poll_asked(cx, settings.heads());
    connection.tell_refused();
    match polled {
        Poll::Ready(Ok(true)) => return Poll::Ready(End::Asked),
        Poll::Ready(Ok(false)) => {
            http1::report_cut(connection);
            return Poll::Ready(End::Over);
        }
        Poll::Ready(Err(_)) => return Poll::Ready(End::Cut),
        Poll::Pending => {}
    }
    let stage = watch.note(&connection.activity);
    match connection.shared.phase() {
        Phase::Aborted => return Poll::Ready(End::Cut),
        Phase::Draining if stage == Stage::Idle => return Poll::Ready(End::Over),
        _ => {}
    }
    watch.poll_over(cx, Watch::limit(stage, settings, settings.keepalive)).map(|()| match stage {
        Stage::Head => End::HeadTimedOut,
        Stage::Idle => End::Over,
        Stage::Exchange | Stage::Blocked | Stage::Closing => End::Cut,
    })
}
