//! How an instance comes to its end: by a signal or a command, at once or after a time in which clients go elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::error::Error;
use super::instance::Instance;

/// What an instance is asked to do about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Stop; how long what is in flight may take, where that was said.
    Stop(Option<Duration>),
    /// Stop, after so long. It has begun to tell clients.
    Drain { delay: Duration, grace: Duration },
    /// A drain was taken back.
    Stay,
}

/// Asks that may wait: they are answered at once.
pub(super) const ASKS: usize = 16;

/// The signals that a proxy listens to.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user1: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            user1: listen(SignalKind::user_defined1())?,
        })
    }
}

pub(super) fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(Error::system("listen to signals"))
}

/// Serves until it is time to stop accepting; how long what is in flight may take, where somebody said.
pub(super) async fn wait(
    instance: &Arc<Instance>,
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Ask>,
) -> Option<Duration> {
    let mut leaving: Option<(Instant, Duration)> = None;
    loop {
        let delay_over = async {
            match leaving {
                Some((until, _)) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ask = asked.recv() => match ask? {
                Ask::Stop(grace) => return grace.or(leaving.map(|(_, grace)| grace)),
                Ask::Drain { delay, grace } => {
                    tracing::info!(delay = ?delay, "draining: not ready any more, accepting for so long");
                    leaving = Some((later(delay), grace));
                }
                Ask::Stay => {
                    tracing::info!("the drain was taken back: ready again");
                    leaving = None;
                }
            },
            () = delay_over => return leaving.map(|(_, grace)| grace),
            _ = signals.interrupt.recv() => return leaving.map(|(_, grace)| grace),
            _ = signals.terminate.recv() => return leaving.map(|(_, grace)| grace),
            _ = signals.user1.recv() => match instance.telemetry.reopen() {
                Ok(()) => tracing::info!("access log opened anew"),
                Err(error) => tracing::error!(%error, "access log not opened anew"),
            },
        }
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
