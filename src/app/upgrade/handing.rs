//! The old process's side: it starts the new one, and goes on if that fails.

// A failure is told whole; none of this is on a path that is hot.
#![allow(clippy::result_large_err)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::wire::{self, FromNew, FromOld, Greeting, MAX_LINE};
use super::{HANDOVER, systemd};
use crate::admin::api::{Problem, ProblemCode, UpgradeLine, Upgraded};
use crate::admin::server::Handle;
use crate::app::instance::Instance;
use crate::cache::purge::heir::Told;
use crate::server::inherited::{self, Purpose};

/// How long the new process may take for its first word: it only has to begin.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// An upgrade that was asked for.
#[derive(Debug)]
pub(in crate::app) struct Order {
    /// What is to be run; `None`: what this process was started from.
    pub(in crate::app) binary: Option<PathBuf>,
    /// How long all of it may take.
    pub(in crate::app) limit: Duration,
    /// Who is told of each step. Nobody has to listen.
    pub(in crate::app) told: mpsc::UnboundedSender<UpgradeLine>,
}

/// Hands over; whether that worked. If not, everything is as it was before.
pub(in crate::app) async fn hand_over(
    instance: Arc<Instance>,
    admin: Handle,
    closing: CancellationToken,
    started_from: PathBuf,
    order: Order,
) -> bool {
    let binary = order.binary.unwrap_or(started_from);
    tracing::info!(binary = %binary.display(), "upgrade: starting the new process");
    let mut attempt = Attempt {
        instance,
        admin,
        closing,
        told: order.told,
        began: Instant::now(),
        deadline: Instant::now() + order.limit,
        child: None,
        has_store: false,
        is_over: false,
    };
    match attempt.make(&binary).await {
        Ok(done) => {
            tracing::info!(pid = done.pid, took_ms = done.took_ms, "upgrade: the new process serves");
            let _ = attempt.told.send(UpgradeLine::Done(done));
            true
        }
        Err(problem) => {
            attempt.take_back().await;
            let why = problem.detail.as_deref();
            tracing::error!(why, "upgrade failed, this process goes on serving: {}", problem.title);
            let _ = attempt.told.send(UpgradeLine::Failed { problem: Box::new(problem) });
            false
        }
    }
}

/// An upgrade under way. Dropping it ends the new process, unless that serves.
struct Attempt {
    instance: Arc<Instance>,
    admin: Handle,
    closing: CancellationToken,
    told: mpsc::UnboundedSender<UpgradeLine>,
    began: Instant,
    deadline: Instant,
    child: Option<Child>,
    /// The new process was told that the store is its own.
    has_store: bool,
    /// It serves.
    is_over: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.end_child(Patience::None);
            self.own_files(true);
        }
    }
}

impl Attempt {
    async fn make(&mut self, binary: &std::path::Path) -> Result<Upgraded, Problem> {
        if let Some(why) = systemd::ends_with_this_process() {
            return Err(machine("the new process could not outlive this one").detail(why));
        }
        check_binary(binary)?;
        let mut talk = self.start(binary).await?;
        let version = match self.next(&mut talk, FIRST_WORD, "said anything").await? {
            FromNew::Hello { version } => version,
            _ => return Err(other_language()),
        };
        self.tell("started", &version);
        self.expect(&mut talk, "was checked", |said| matches!(said, FromNew::Checked)).await?;
        self.tell("checked", &version);
        let was_open = self.instance.cache.state().is_open();
        talk.forward(self.instance.cache.hand_over().await);
        self.has_store = true;
        self.tell("store closed", &version);
        if talk.say(&FromOld::Store).await.is_err() {
            return Err(self.ended("opened the store"));
        }
        match self.next(&mut talk, Duration::MAX, "opened the store").await? {
            FromNew::Opened { is_open: false, store } if was_open => {
                return Err(machine("the new process cannot open the store").detail(store));
            }
            FromNew::Opened { .. } => {}
            _ => return Err(other_language()),
        }
        self.tell("store opened", &version);
        self.own_files(false);
        self.instance.forward_only().map_err(|error| machine(error.to_string()))?;
        if talk.say(&FromOld::Go).await.is_err() {
            return Err(self.ended("served"));
        }
        self.expect(&mut talk, "served", |said| matches!(said, FromNew::Serving)).await?;
        self.is_over = true;
        talk.stay();
        // Before anyone is told: whoever knows of the new process gets to it.
        self.instance.withdraw();
        self.closing.cancel();
        let pid = self.child.as_ref().map_or(0, Child::id);
        systemd::notify(&format!("MAINPID={pid}"));
        self.tell("serving", &version);
        let took_ms = millis(self.began.elapsed());
        Ok(Upgraded { pid, before: std::process::id(), version, took_ms })
    }

    /// Starts the process and hands it every descriptor.
    async fn start(&mut self, binary: &std::path::Path) -> Result<Talk, Problem> {
        let failed = |error: io::Error| machine("the sockets cannot be handed over").detail(error);
        let (purposes, descriptors) = self.descriptors().map_err(failed)?;
        let (ours, theirs) = StdStream::pair().map_err(failed)?;
        let mut command = Command::new(binary);
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        command.args(arguments).env(HANDOVER, std::process::id().to_string()).stdin(OwnedFd::from(theirs));
        let spawned = tokio::task::spawn_blocking(move || command.spawn()).await.map_err(io::Error::other);
        let child = spawned
            .and_then(|spawned| spawned)
            .map_err(|error| machine(format!("{} cannot be started", binary.display())).detail(error))?;
        let pid = child.id();
        self.child = Some(child);
        let greeting = Greeting { protocol: wire::PROTOCOL, pid: std::process::id(), descriptors: purposes };
        // Whoever does not read must not hold this up.
        ours.set_write_timeout(Some(FIRST_WORD)).map_err(failed)?;
        let greeted =
            tokio::task::spawn_blocking(move || match wire::greet(&ours, &greeting, &descriptors) {
                // It has gone already, and may have said something before.
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    Err(error)
                }
                _ => Ok(ours),
            });
        let ours = match greeted.await.map_err(io::Error::other).and_then(|greeted| greeted) {
            Ok(ours) => ours,
            Err(_) => return Err(self.ended("said anything")),
        };
        tracing::info!(pid, "upgrade: the new process has been started");
        Talk::new(ours).map_err(failed)
    }

    fn descriptors(&self) -> io::Result<(Vec<Purpose>, Vec<OwnedFd>)> {
        let [socket, lock] = self.admin.descriptors()?;
        let mut all = vec![(Purpose::AdminSocket, socket), (Purpose::AdminLock, lock)];
        all.extend(inherited::given()?);
        all.extend(self.instance.sockets()?);
        Ok(all.into_iter().unzip())
    }

    /// What it says next, of what is expected.
    async fn expect(
        &mut self,
        talk: &mut Talk,
        before: &str,
        wanted: impl Fn(&FromNew) -> bool,
    ) -> Result<(), Problem> {
        let said = self.next(talk, Duration::MAX, before).await?;
        wanted(&said).then_some(()).ok_or_else(other_language)
    }

    /// What it says next, within the time for all and `limit`; `before` names what it has not done yet.
    async fn next(&mut self, talk: &mut Talk, limit: Duration, before: &str) -> Result<FromNew, Problem> {
        let own = Instant::now().checked_add(limit).unwrap_or(self.deadline);
        match tokio::time::timeout_at(own.min(self.deadline), talk.said.recv()).await {
            Ok(Some(FromNew::Failed { problem })) => Err(problem),
            Ok(Some(said)) => Ok(said),
            Ok(None) => Err(self.ended(before)),
            Err(_) => Err(Problem::new(
                ProblemCode::TimedOut,
                format!("the new process had not {before} in time, and was ended"),
            )
            .help("the same command with a longer --timeout")),
        }
    }

    /// The new process has gone, or does not talk any more.
    fn ended(&mut self, before: &str) -> Problem {
        let status = self.end_child(Patience::AMoment);
        let problem = machine(format!("the new process ended before it {before}"));
        match status {
            Some(status) => problem.detail(status).help("see what it said on the instance's standard error"),
            None => problem,
        }
    }

    /// Ends the new process if it has not ended by itself, and says how it did.
    fn end_child(&mut self, patience: Patience) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        if patience == Patience::AMoment {
            for _ in 0..20 {
                if let Ok(Some(status)) = child.try_wait() {
                    return Some(status);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = child.kill();
        child.wait().ok()
    }

    fn own_files(&self, ours: bool) {
        self.admin.own(ours);
        self.instance.own_files(ours);
    }

    fn tell(&self, step: &str, version: &str) {
        let after_ms = millis(self.began.elapsed());
        tracing::info!(step, after_ms, "upgrade");
        let pid = self.child.as_ref().map_or(0, Child::id);
        let _ = self.told.send(UpgradeLine::Step {
            step: step.to_owned(),
            pid,
            version: version.to_owned(),
            after_ms,
        });
    }

    /// Goes on as before.
    async fn take_back(&mut self) {
        self.end_child(Patience::None);
        self.own_files(true);
        if self.has_store {
            let state = self.instance.cache.take_back().await;
            tracing::info!(%state, "upgrade: the store is this process's again");
        }
        self.instance.resume();
    }
}

/// How long the new process is given to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It may be about to accept, and must not.
    None,
    /// It has closed its end of the conversation: its exit status tells more than that it was killed.
    AMoment,
}

/// The conversation with the new process.
struct Talk {
    write: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    said: mpsc::Receiver<FromNew>,
    pending: Pending,
    tasks: Vec<AbortOnDropHandle<()>>,
}

/// Purges that wait to be confirmed, by number.
type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

impl Talk {
    fn new(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (sender, said) = mpsc::channel(8);
        let pending = Pending::default();
        let listening = tokio::spawn(listen(read, sender, pending.clone()));
        Ok(Self {
            write: Arc::new(write.into()),
            said,
            pending,
            tasks: vec![AbortOnDropHandle::new(listening)],
        })
    }

    async fn say(&self, what: &FromOld) -> io::Result<()> {
        say(&self.write, what).await
    }

    /// Tells of purges as they come.
    fn forward(&mut self, mut rules: mpsc::Receiver<Told>) {
        let (write, pending) = (self.write.clone(), self.pending.clone());
        let forwarding = tokio::spawn(async move {
            let mut number = 0;
            while let Some(Told { rule, done }) = rules.recv().await {
                number += 1;
                if let Some(done) = done {
                    pending.lock().insert(number, done);
                }
                let purge = FromOld::Purge { number, rule: STANDARD_NO_PAD.encode(rule) };
                if say(&write, &purge).await.is_err() {
                    // Whoever waits for them hears that nobody confirms them.
                    pending.lock().clear();
                    return;
                }
            }
        });
        self.tasks.push(AbortOnDropHandle::new(forwarding));
    }

    /// Goes on for as long as this process does.
    fn stay(mut self) {
        for task in self.tasks.drain(..) {
            drop(task.detach());
        }
        // Nobody waits for another word; what comes is let go.
        self.said.close();
    }
}

async fn say(write: &tokio::sync::Mutex<OwnedWriteHalf>, what: &FromOld) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    write.lock().await.write_all(&line).await
}

async fn listen(read: OwnedReadHalf, said: mpsc::Sender<FromNew>, pending: Pending) {
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let got = (&mut read).take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
        let word = got.ok().and_then(|_| serde_json::from_slice(&line).ok());
        match word {
            Some(FromNew::Purged { number }) => {
                if let Some(done) = pending.lock().remove(&number) {
                    let _ = done.send(());
                }
            }
            Some(word) => {
                let _ = said.send(word).await;
            }
            None => {
                pending.lock().clear();
                return;
            }
        }
    }
}

fn check_binary(binary: &std::path::Path) -> Result<(), Problem> {
    let meta = std::fs::metadata(binary).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ProblemCode::NotFound,
            _ => ProblemCode::Machine,
        };
        Problem::new(code, format!("{} cannot be run", binary.display())).detail(error)
    })?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(machine(format!("{} cannot be run", binary.display())).detail("it is not executable"));
    }
    Ok(())
}

fn machine(title: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::Machine, title)
}

fn other_language() -> Problem {
    machine("the new process says something else than was expected").help("is it another version?")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
