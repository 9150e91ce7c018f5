//! A worker: one thread, one current-thread runtime, and the accept loops of its listening sockets.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use super::connection::{self, Facts};
use super::handler::Handler;
use super::handshake::{self, Shaken};
use super::shared::{Limits, Place, Shared};
use super::stream::{Listener, Listening, Stream};
use super::{ListenerSettings, announced};
use crate::descriptors;
use crate::telemetry::{ConnectionRefused, HandshakeFailure};
use crate::tls::Terminator;

/// Threads per worker for what blocks (body files, compression); they end when unused.
const BLOCKING_THREADS: usize = 16;

/// Commands that may wait for a worker: a listener each way per reload, so far more than ever do.
const COMMANDS: usize = 4096;

/// How long to leave off accepting when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept from this socket.
    Listen {
        id: u64,
        socket: Listening,
        settings: Arc<ListenerSettings>,
        /// Of the TLS that it speaks, where it does.
        terminator: Option<Arc<Terminator>>,
    },
    /// Take what waits on it, then close it.
    Unlisten { id: u64 },
    /// End the thread.
    Stop,
}

/// A worker thread, seen from outside.
#[derive(Debug)]
pub(super) struct Worker {
    commands: mpsc::Sender<Command>,
    runtime: Handle,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start<H: Handler>(index: usize, shared: Arc<Shared>, handler: Arc<H>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name(format!("worker-{index}-blocking"))
            .build()?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            runtime.block_on(run(inbox, &shared, &handler));
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { commands, runtime: handle, thread })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn command(&self, command: Command) {
        if let Err(refused) = self.commands.try_send(command) {
            error!(%refused, "a worker no longer takes commands");
        }
    }

    pub(super) fn join(self) {
        self.command(Command::Stop);
        if self.thread.join().is_err() {
            error!("a worker thread had panicked");
        }
    }
}

/// The worker's own task: starts and stops accept loops.
async fn run<H: Handler>(mut inbox: mpsc::Receiver<Command>, shared: &Arc<Shared>, handler: &Arc<H>) {
    let mut accepting = HashMap::new();
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Listen { id, socket, settings, terminator } => {
                let (stop, stopped) = oneshot::channel::<()>();
                match Listener::from_std(socket) {
                    Ok(listener) => {
                        let speaks = Speaks { settings, terminator };
                        let counted = shared.begin_accepting();
                        let loops = accept(listener, speaks, stopped, shared.clone(), handler.clone());
                        tokio::spawn(async move {
                            loops.await;
                            drop(counted);
                        });
                        accepting.entry(id).or_insert_with(Vec::new).push(stop);
                    }
                    Err(error) => error!(%error, "a listening socket cannot be used"),
                }
            }
            // Dropping their ends tells the loops.
            Command::Unlisten { id } => drop(accepting.remove(&id)),
            Command::Stop => return,
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone)]
struct Speaks {
    settings: Arc<ListenerSettings>,
    terminator: Option<Arc<Terminator>>,
}

/// What one turn of the accept loop found.
enum Turn {
    Accepted(Stream, SocketAddr),
    Failed(io::Error),
    Stopped,
}

async fn accept<H: Handler>(
    listener: Listener,
    speaks: Speaks,
    mut stopped: oneshot::Receiver<()>,
    shared: Arc<Shared>,
    handler: Arc<H>,
) {
    let mut in_trouble = false;
    loop {
        // Accepting comes first: when told to stop, what the kernel has queued is still taken, since closing
        // the socket would reset it.
        let turn = poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(Ok((stream, peer))) => Poll::Ready(Turn::Accepted(stream, peer)),
            Poll::Ready(Err(error)) => Poll::Ready(Turn::Failed(error)),
            Poll::Pending => std::pin::Pin::new(&mut stopped).poll(cx).map(|_| Turn::Stopped),
        });
        match turn.await {
            // Closed at once: what is left is for the admin socket, the store and those who are there already.
            Turn::Accepted(stream, _) if descriptors::is_reserved(&stream, descriptors::Use::Client) => {
                drop(stream);
                handler.connection_refused(ConnectionRefused::Resources);
                if !in_trouble {
                    warn!(
                        "nearly all file descriptors are in use; connections are refused until some are free"
                    );
                }
                in_trouble = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Turn::Accepted(stream, peer) => {
                in_trouble = false;
                admit(stream, peer, &speaks, &shared, &handler);
            }
            Turn::Failed(error) if concerns_one_connection(&error) => {}
            Turn::Failed(error) => {
                handler.connection_refused(ConnectionRefused::Resources);
                if !in_trouble {
                    warn!(%error, "cannot accept connections; trying again until it works");
                }
                in_trouble = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Turn::Stopped => break,
        }
    }
    close(listener, &speaks, &shared, &handler);
}

/// The end of an accept loop.
fn close<H: Handler>(listener: Listener, speaks: &Speaks, shared: &Arc<Shared>, handler: &Arc<H>) {
    let closed = listener.close(|stream, peer| {
        if descriptors::is_reserved(&stream, descriptors::Use::Client) {
            handler.connection_refused(ConnectionRefused::Resources);
        } else {
            admit(stream, peer, speaks, shared, handler);
        }
    });
    if let Err(error) = closed {
        warn!(%error, "a listening socket was closed with connections that nobody had taken");
    }
}

/// Errors of the connection that was about to be accepted rather than of the listener.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn admit<H: Handler>(
    stream: Stream,
    peer: SocketAddr,
    speaks: &Speaks,
    shared: &Arc<Shared>,
    handler: &Arc<H>,
) {
    let limits = shared.limits();
    let Some(mut place) = shared.admit(limits.settings.max_connections) else {
        return handler.connection_refused(ConnectionRefused::Limit);
    };
    stream.set_nodelay();
    let Ok(local) = stream.local_addr() else { return };
    let facts = Facts { peer, local, session: None, redirect: speaks.settings.redirect, protocol: None };
    let (shared, handler) = (shared.clone(), handler.clone());
    if speaks.settings.proxy_protocol.is_empty() && speaks.terminator.is_none() {
        if !place.is_among(peer, &limits.settings) {
            return handler.connection_refused(ConnectionRefused::ClientLimit);
        }
        tokio::spawn(connection::serve(stream, facts, place, limits, shared, handler));
        return;
    }
    let speaks = speaks.clone();
    tokio::spawn(async move {
        // Boxed, and gone before the connection begins: what this needs is no burden to an idle one.
        let begun = Box::pin(begin(stream, facts, speaks, &mut place, &limits, &shared, &handler)).await;
        if let Some((stream, facts)) = begun {
            connection::serve(stream, facts, place, limits, shared, handler).await;
        }
    });
}

/// What stands before the first request: who the connection is for, as a balancer says, then the handshake of TLS. `None`:
/// it does not come so far, which has been told.
async fn begin<H: Handler>(
    mut stream: Stream,
    mut facts: Facts,
    speaks: Speaks,
    place: &mut Place,
    limits: &Limits,
    shared: &Arc<Shared>,
    handler: &Arc<H>,
) -> Option<(Stream, Facts)> {
    let peer = facts.peer;
    if !speaks.settings.proxy_protocol.is_empty() {
        let (believed, limit) = (&speaks.settings.proxy_protocol, limits.settings.header_timeout);
        match announced::client(stream, facts, believed, limit, shared).await {
            Ok(announced) => (stream, facts) = announced,
            Err(refused) => {
                debug!(%peer, %refused, "a connection was closed");
                handler.connection_refused(ConnectionRefused::ProxyProtocol);
                return None;
            }
        }
    }
    if !place.is_among(facts.peer, &limits.settings) {
        handler.connection_refused(ConnectionRefused::ClientLimit);
        return None;
    }
    let Some(terminator) = &speaks.terminator else { return Some((stream, facts)) };
    let peer = facts.peer;
    let Some(_shaking) = shared.begin_handshake(limits.settings.max_handshakes) else {
        handler.handshake_failed(peer, HandshakeFailure::TooMany);
        return None;
    };
    match handshake::shake(stream, terminator, &limits.settings.name).await {
        Ok(Shaken { stream, session, protocol }) => {
            handler.handshake_done(&session);
            let facts = Facts { session: Some(session), protocol: Some(protocol), ..facts };
            Some((Stream::Tls(stream), facts))
        }
        Err(failure) => {
            handler.handshake_failed(peer, failure);
            None
        }
    }
}
