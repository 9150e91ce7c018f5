//! The new process's side: it is checked, opens the store when it is told to, and accepts when it is told to.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::HANDOVER;
use super::wire::{self, FromNew, FromOld, MAX_LINE};
use crate::admin;
use crate::admin::api::{Problem, ProblemCode};
use crate::app::error::Error;
use crate::cache::Cache;
use crate::config::Finding;
use crate::server::inherited::{self, Purpose};

/// How long the first words may take.
const FIRST_WORDS: Duration = Duration::from_secs(10);

/// The process that hands over, as it was found when this one started.
#[derive(Debug)]
pub(in crate::app) struct Predecessor {
    pid: u32,
    stream: StdStream,
}

/// The process that hands over, if one has started this: its sockets are adopted. To be called once, before any is
/// looked for.
pub(in crate::app) fn find() -> Result<Option<Predecessor>, Error> {
    let Some(pid) = std::env::var(HANDOVER).ok().and_then(|pid| pid.parse::<u32>().ok()) else {
        return Ok(None);
    };
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
    if parent.and_then(|parent| u32::try_from(parent).ok()) != Some(pid) {
        // Some child of such a process inherited the variable, and is not meant.
        return Ok(None);
    }
    let failed = Error::system("take over from the process that started this one");
    let stream = std::io::stdin().as_fd().try_clone_to_owned().map(StdStream::from).map_err(&failed)?;
    stream.set_read_timeout(Some(FIRST_WORDS)).map_err(&failed)?;
    let (greeting, descriptors) = wire::greeted(&stream).map_err(&failed)?;
    if greeting.protocol != wire::PROTOCOL || greeting.pid != pid {
        return Err(Error::Handover("the process that hands over speaks another language".to_owned()));
    }
    inherited::adopt_handed(greeting.descriptors.into_iter().zip(descriptors));
    Ok(Some(Predecessor { pid, stream }))
}

impl Predecessor {
    /// Begins to talk; to be called inside the control runtime.
    pub(in crate::app) async fn hello(self) -> Result<Succession, Error> {
        let failed = Error::system("take over from the process that started this one");
        self.stream.set_nonblocking(true).map_err(&failed)?;
        let (read, write) = UnixStream::from_std(self.stream).map_err(&failed)?.into_split();
        let mut succession =
            Succession { pid: self.pid, read: BufReader::new(read), write, waiting: Vec::new() };
        succession.say(&FromNew::Hello { version: env!("CARGO_PKG_VERSION").to_owned() }).await?;
        Ok(succession)
    }
}

/// A take-over under way.
#[derive(Debug)]
pub(in crate::app) struct Succession {
    pid: u32,
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// Purges that came before the store was there.
    waiting: Vec<(u64, String)>,
}

impl Succession {
    /// The admin socket that is handed over.
    pub(in crate::app) fn admin_socket(&self, path: &Path) -> Result<admin::server::Bound, Error> {
        let sockets = inherited::take(&Purpose::AdminSocket).into_iter().next();
        let lock = inherited::take(&Purpose::AdminLock).into_iter().next();
        match sockets.zip(lock) {
            Some((socket, lock)) => Ok(admin::server::handed(path, socket, lock)?),
            None => Ok(admin::server::bind(path)?),
        }
    }

    /// All is checked; waits until the store is ours to open.
    pub(in crate::app) async fn checked(&mut self) -> Result<(), Error> {
        self.say(&FromNew::Checked).await?;
        loop {
            match self.hear().await? {
                FromOld::Store => return Ok(()),
                // What it takes is in a store that is not ours yet.
                FromOld::Purge { number, rule } => self.waiting.push((number, rule)),
                FromOld::Go => {}
            }
        }
    }

    /// The store has been opened, for better or worse; waits until it is time to accept.
    pub(in crate::app) async fn opened(&mut self, cache: &Cache) -> Result<(), Error> {
        let state = cache.wait_held().await;
        for (number, rule) in std::mem::take(&mut self.waiting) {
            self.purge(cache, number, &rule).await?;
        }
        let opened = FromNew::Opened { is_open: state.is_open(), store: state.to_string() };
        self.say(&opened).await?;
        loop {
            match self.hear().await? {
                FromOld::Go => return Ok(()),
                FromOld::Purge { number, rule } => self.purge(cache, number, &rule).await?,
                FromOld::Store => {}
            }
        }
    }

    /// From here on this process is the instance. The other one's purges are taken until it has ended.
    pub(in crate::app) async fn serving(mut self, cache: Arc<Cache>, predecessor: Arc<AtomicU32>) {
        // Where that one has gone since, there is but this one.
        let _ = self.say(&FromNew::Serving).await;
        predecessor.store(self.pid, Ordering::Relaxed);
        tokio::spawn(async move {
            let pid = self.pid;
            while let Ok(said) = self.hear().await {
                if let FromOld::Purge { number, rule } = said
                    && self.purge(&cache, number, &rule).await.is_err()
                {
                    break;
                }
            }
            predecessor.store(0, Ordering::Relaxed);
            tracing::info!(pid, "the process before this one has ended");
        });
    }

    /// Says why it cannot be.
    pub(in crate::app) async fn failed(&mut self, error: &Error) {
        let problem = problem(error);
        // Whoever should hear it may have gone.
        let _ = self.say(&FromNew::Failed { problem }).await;
    }

    async fn purge(&mut self, cache: &Cache, number: u64, rule: &str) -> Result<(), Error> {
        let rule = STANDARD_NO_PAD.decode(rule).unwrap_or_default();
        if let Err(error) = cache.purge_as_told(&rule).await {
            tracing::error!(%error, "a purge of the process before this one is not in the journal");
        }
        self.say(&FromNew::Purged { number }).await
    }

    async fn say(&mut self, what: &FromNew) -> Result<(), Error> {
        let mut line = serde_json::to_vec(what).map_err(|error| Error::Handover(error.to_string()))?;
        line.push(b'\n');
        self.write.write_all(&line).await.map_err(|_| gone())
    }

    async fn hear(&mut self) -> Result<FromOld, Error> {
        let mut line = Vec::new();
        let most = MAX_LINE as u64;
        let read = (&mut self.read).take(most).read_until(b'\n', &mut line).await;
        match read {
            Ok(_) if line.ends_with(b"\n") => {
                serde_json::from_slice(&line).map_err(|error| Error::Handover(error.to_string()))
            }
            _ => Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::Handover("the process that was to hand over has gone".to_owned())
}

/// An error as the one that handed over tells it.
fn problem(error: &Error) -> Problem {
    match error {
        Error::Config(findings) => {
            let mut problem = Problem::new(ProblemCode::Config, "the config has errors");
            problem.findings =
                findings.iter().filter_map(|f| serde_json::to_value(f.report()).ok()).collect();
            problem.rendered =
                Some(findings.iter().map(|f: &Finding| f.render(false)).collect::<Vec<_>>().join("\n"));
            problem
        }
        Error::NoConfig | Error::Tls { .. } | Error::Site(_) => {
            Problem::new(ProblemCode::Config, error.to_string())
        }
        other => {
            let problem = Problem::new(ProblemCode::Machine, other.to_string());
            match std::error::Error::source(other) {
                Some(source) => problem.detail(source),
                None => problem,
            }
        }
    }
}
