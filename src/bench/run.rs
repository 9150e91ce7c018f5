//! A run from outside: begun, watched, ended early, added up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};

use super::connect::{Error, probe};
use super::report::{Ended, Report};
use super::tally::{Gauge, Tally};
use super::thread::{self, Share};
use super::{Plan, Until};

/// Descriptors beside those of the connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connections are being opened.
    Connecting,
    /// Since then.
    Running(Instant),
    /// It was interrupted then: what is under way may finish.
    Interrupted(Instant),
    /// It was interrupted then, and once more.
    Abandoned(Instant),
}

impl Phase {
    pub(super) fn is_ending(&self) -> bool {
        self.interrupted().is_some()
    }

    fn interrupted(&self) -> Option<Instant> {
        match self {
            Self::Interrupted(at) | Self::Abandoned(at) => Some(*at),
            Self::Connecting | Self::Running(_) => None,
        }
    }
}

/// What a thread tells.
pub(super) enum Said {
    /// Its connections stand.
    Ready,
    /// It has finished.
    Done(Box<Tally>),
    /// The system does not let it work.
    Broken(io::Error),
}

/// How far the requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Those of the warm-up as well.
    pub replies: u64,
    /// Without a whole reply.
    pub failures: u64,
}

/// A run that others may watch and end.
#[derive(Clone)]
pub struct Watcher {
    phase: watch::Sender<Phase>,
    gauges: Vec<Arc<Gauge>>,
}

impl Watcher {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        let sum = |counter: fn(&Gauge) -> u64| self.gauges.iter().map(|gauge| counter(gauge)).sum();
        Progress {
            phase: *self.phase.borrow(),
            replies: sum(|gauge| gauge.replies.load(Relaxed)),
            failures: sum(|gauge| gauge.failures.load(Relaxed)),
        }
    }

    /// Ends it; the second time without waiting for what is under way.
    pub fn interrupt(&self) {
        self.phase.send_modify(|phase| {
            *phase = phase.interrupted().map_or_else(|| Phase::Interrupted(Instant::now()), Phase::Abandoned);
        });
    }
}

/// A run that has begun.
pub struct Running {
    plan: Arc<Plan>,
    address: std::net::SocketAddr,
    watcher: Watcher,
    said: mpsc::UnboundedReceiver<Said>,
}

/// Finds out whether the target can be asked, and starts the threads.
///
/// # Errors
/// When it can't, or this machine does not allow it.
pub async fn start(plan: Plan) -> Result<Running, Error> {
    allow_descriptors(plan.connections)?;
    let connector = probe(&plan).await?;
    let plan = Arc::new(plan);
    let (phase, phases) = watch::channel(Phase::Connecting);
    let (told, said) = mpsc::unbounded_channel();
    let gauges: Vec<Arc<Gauge>> = (0..plan.threads).map(|_| Arc::default()).collect();
    for (number, gauge) in gauges.iter().enumerate() {
        let share = Share {
            number,
            plan: plan.clone(),
            connector: connector.clone(),
            phases: phases.clone(),
            said: told.clone(),
            gauge: gauge.clone(),
        };
        let name = format!("bench-{number}");
        std::thread::Builder::new().name(name).spawn(move || thread::run(share)).map_err(Error::Thread)?;
    }
    Ok(Running { plan, address: connector.address, watcher: Watcher { phase, gauges }, said })
}

/// Connections may need more descriptors than the soft limit allows.
fn allow_descriptors(connections: usize) -> Result<(), Error> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = limit.maximum;
    let refused = |limit| Error::Descriptors { wanted: connections, limit };
    match limit.maximum {
        Some(maximum) if maximum < wanted => Err(refused(maximum)),
        _ => setrlimit(Resource::Nofile, limit).map_err(|error| Error::Thread(error.into())),
    }
}

impl Running {
    /// To watch it, and to end it.
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// The address of the target.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When a thread could not work.
    pub async fn finish(mut self) -> Result<Report, Error> {
        let mut start = None;
        let (mut ready, mut done) = (0, 0);
        let mut tally = Tally::new();
        while done < self.plan.threads {
            match self.said.recv().await {
                Some(Said::Ready) => {
                    ready += 1;
                    if ready == self.plan.threads {
                        start = self.begin();
                    }
                }
                Some(Said::Done(part)) => {
                    done += 1;
                    tally.add(*part);
                }
                Some(Said::Broken(error)) => return Err(Error::Thread(error)),
                None => break,
            }
        }
        let interrupted = self.watcher.phase.borrow().interrupted();
        let now = interrupted.unwrap_or_else(Instant::now);
        let measured = start.map_or(now, |start| start + self.plan.warmup);
        let end = match self.plan.until {
            Until::Elapsed(length) => now.min(measured + length),
            Until::Requests(_) => tally.last_ended.unwrap_or(now),
        };
        let ended = if interrupted.is_some() { Ended::Interrupted } else { Ended::Whole };
        let elapsed = end.saturating_duration_since(measured);
        let sending = tally.last_sent.map(|last| last.saturating_duration_since(measured));
        Ok(Report::new(&self.plan, self.address, &tally, elapsed, sending, ended))
    }

    /// All connections stand: the load begins, unless it was interrupted by then.
    fn begin(&self) -> Option<Instant> {
        let start = Instant::now();
        let begun = self.watcher.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Connecting;
            if begins {
                *phase = Phase::Running(start);
            }
            begins
        });
        begun.then_some(start)
    }
}
