//! How an instance comes to its end: by a signal or a command, at once or after a time in which clients go elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::Error;
use super::instance::Instance;
use super::upgrade::{self, Order};
use crate::admin::server::Handle;

/// What an instance is asked to do about its end.
#[derive(Debug)]
pub(super) enum Ask {
    /// Stop; how long what is in flight may take, where that was said.
    Stop(Option<Duration>),
    /// Stop, after so long. It has begun to tell clients.
    Drain { delay: Duration, grace: Duration },
    /// A drain was taken back.
    Stay,
    /// Have another process take over.
    Upgrade(Order),
}

/// How it comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nobody takes over; how long what is in flight may take, where somebody said.
    Stop(Option<Duration>),
    /// Another process has.
    TakenOver,
}

/// Asks that may wait: they are answered at once.
pub(super) const ASKS: usize = 16;

/// The signals that a proxy listens to.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }
}

pub(super) fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(Error::system("listen to signals"))
}

/// What an instance can hand over, and from what it was started.
pub(super) struct Heritage {
    pub(super) admin: Handle,
    pub(super) binary: PathBuf,
    /// Closes the admin socket here.
    pub(super) closing: CancellationToken,
}

/// Serves until it is time to stop accepting, or another process does.
pub(super) async fn wait(
    instance: &Arc<Instance>,
    heritage: &Heritage,
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Ask>,
) -> Ending {
    let mut leaving: Option<(Instant, Duration)> = None;
    // Dropped with the end: then the new process ends as well, unless it serves.
    let mut upgrading: Option<AbortOnDropHandle<bool>> = None;
    let stop = |leaving: Option<(Instant, Duration)>| Ending::Stop(leaving.map(|(_, grace)| grace));
    loop {
        let delay_over = async {
            match leaving {
                Some((until, _)) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let upgraded = async {
            match &mut upgrading {
                Some(task) => task.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = upgraded => match done {
                Ok(true) => return Ending::TakenOver,
                Ok(false) | Err(_) => {
                    instance.end_upgrade();
                    upgrading = None;
                }
            },
            ask = asked.recv() => match ask {
                None => return stop(leaving),
                Some(Ask::Stop(grace)) => return Ending::Stop(grace.or(leaving.map(|(_, grace)| grace))),
                Some(Ask::Drain { delay, grace }) => {
                    tracing::info!(delay = ?delay, "draining: not ready any more, accepting for so long");
                    leaving = Some((later(delay), grace));
                    upgrading = None;
                }
                Some(Ask::Stay) => {
                    tracing::info!("the drain was taken back: ready again");
                    leaving = None;
                }
                Some(Ask::Upgrade(order)) => upgrading = begin(instance, heritage, order),
            },
            () = delay_over => return stop(leaving),
            _ = signals.interrupt.recv() => return stop(leaving),
            _ = signals.terminate.recv() => return stop(leaving),
            _ = signals.user1.recv() => match instance.telemetry.reopen() {
                Ok(()) => tracing::info!("access log opened anew"),
                Err(error) => tracing::error!(%error, "access log not opened anew"),
            },
            _ = signals.user2.recv() => if instance.begin_upgrade() {
                // Whoever sends a signal reads the log.
                let (told, _) = mpsc::unbounded_channel();
                upgrading = begin(instance, heritage, Order { binary: None, limit: upgrade::LIMIT, told });
            } else {
                tracing::warn!("no upgrade while something else is under way");
            },
        }
    }
}

/// Begins to hand over.
fn begin(instance: &Arc<Instance>, heritage: &Heritage, order: Order) -> Option<AbortOnDropHandle<bool>> {
    let admin = match heritage.admin.try_clone() {
        Ok(admin) => admin,
        Err(error) => {
            tracing::error!(%error, "no upgrade: the admin socket cannot be handed over");
            instance.end_upgrade();
            return None;
        }
    };
    let closing = heritage.closing.clone();
    let handing = upgrade::hand_over(instance.clone(), admin, closing, heritage.binary.clone(), order);
    Some(AbortOnDropHandle::new(tokio::spawn(handing)))
}

/// Another process serves: what is still connected may send one more request each, for so long.
pub(super) async fn give_way(instance: &Arc<Instance>, signals: &mut Signals, delay: Duration) {
    tracing::info!(connections = instance.connections(), "another process has taken over: leaving");
    tokio::select! {
        _ = instance.drained(delay) => {}
        _ = signals.interrupt.recv() => {}
        _ = signals.terminate.recv() => {}
    }
}

/// A delay that no clock can tell is as good as a year.
fn later(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now + Duration::from_secs(31_536_000))
}

/// Lets what is in flight finish; a second signal ends the process at once.
pub(super) async fn stop(instance: &Arc<Instance>, signals: &mut Signals, grace: Duration) {
    instance.drain();
    let left = instance.connections();
    match left {
        0 => tracing::info!("stopping"),
        left => tracing::info!(connections = left, grace = ?grace, "stopping: waiting for what is in flight"),
    }
    tokio::select! {
        left = instance.drained(grace) => if left > 0 {
            tracing::warn!(connections = left, "the time for what is in flight is over: cutting it");
        },
        _ = signals.interrupt.recv() => std::process::exit(130),
        _ = signals.terminate.recv() => std::process::exit(130),
    }
}
