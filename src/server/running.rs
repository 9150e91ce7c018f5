//! The running server: workers and listeners as a whole, how they change on a reload, how they end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::inherited::Purpose;
use super::listener::{self, BindError, Bound, Group};
use super::shared::{Limits, Shared};
use super::stream;
use super::unix::UnixSocket;
use super::worker::{Command, Worker};
use super::{Handler, ListenAddress, ListenerSettings, Settings};
use crate::tls::Terminators;

/// Starts the workers (as many as `bound` was made for) and lets them accept. From here on requests come.
///
/// # Errors
/// When a thread or its runtime cannot be created.
pub fn start<H: Handler>(
    bound: Bound,
    settings: &Settings,
    terminators: &Terminators,
    handler: &Arc<H>,
) -> io::Result<Running> {
    let shared = Arc::new(Shared::new(Limits::new(settings)));
    let workers = (0..bound.workers)
        .map(|index| Worker::start(index, shared.clone(), handler.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    let running = Running { shared, workers, listening: Mutex::default() };
    running.listen(bound.groups, terminators);
    Ok(running)
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    listening: Mutex<Listening>,
}

#[derive(Debug, Default)]
struct Listening {
    groups: Vec<Listener>,
    last_id: u64,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    settings: Arc<ListenerSettings>,
    local: ListenAddress,
    /// Removed when nobody listens any more.
    file: Option<UnixSocket>,
    /// Further descriptors, for a process that takes over.
    sockets: Vec<stream::Listening>,
}

/// Listeners that a reload brings, bound but not yet accepting. Dropping it changes nothing.
#[derive(Debug)]
pub struct Prepared {
    new: Vec<Group>,
    wanted: Vec<ListenerSettings>,
}

impl Prepared {
    /// The addresses newly bound.
    pub fn local_addrs(&self) -> Vec<ListenAddress> {
        self.new.iter().map(|group| group.local.clone()).collect()
    }
}

impl Running {
    /// The addresses listened on, with real ports.
    pub fn local_addrs(&self) -> Vec<ListenAddress> {
        self.listening.lock().groups.iter().map(|listener| listener.local.clone()).collect()
    }

    /// The same, each with the `[tls.NAME]` that it speaks.
    pub fn listeners(&self) -> Vec<(ListenAddress, Option<Arc<str>>)> {
        let listening = self.listening.lock();
        listening.groups.iter().map(|one| (one.local.clone(), one.settings.tls.clone())).collect()
    }

    /// Open client connections, over all workers. While draining: those that are left.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// The runtimes of the workers, in their order.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(Worker::runtime)
    }

    /// Binds what `wanted` has and this server has not. The first half of a reload: nothing that runs changes.
    ///
    /// # Errors
    /// The first address that cannot be had.
    pub fn prepare(&self, wanted: &[ListenerSettings]) -> Result<Prepared, BindError> {
        let (held, own) = {
            let listening = self.listening.lock();
            let held: Vec<_> = listening.groups.iter().map(|l| l.settings.clone()).collect();
            let own: Vec<_> = listening.groups.iter().map(|l| l.local.clone()).collect();
            (held, own)
        };
        let new = wanted
            .iter()
            .filter(|settings| !held.iter().any(|held| **held == **settings))
            .map(|settings| match self.at_same_address(settings) {
                Some(group) => Ok(group),
                None => listener::bind_group(settings, self.workers.len(), &own),
            })
            .collect::<Result<_, _>>()?;
        Ok(Prepared { new, wanted: wanted.to_vec() })
    }

    /// The sockets that listen there already, for other settings: to close them and open others would reset whoever is
    /// connecting just then.
    fn at_same_address(&self, settings: &ListenerSettings) -> Option<Group> {
        settings.address.tcp()?;
        let listening = self.listening.lock();
        let there = listening.groups.iter().find(|listener| listener.local == settings.address)?;
        let sockets =
            there.sockets.iter().map(stream::Listening::try_clone).collect::<Result<Vec<_>, _>>().ok()?;
        let local = there.local.clone();
        (sockets.len() == self.workers.len()).then(|| Group {
            settings: settings.clone(),
            local,
            sockets,
            file: None,
        })
    }

    /// The second half of a reload: new listeners accept, those no longer wanted stop, `settings` hold for new
    /// connections. Connections go on, whatever listener they came from.
    pub fn apply(&self, prepared: Prepared, settings: &Settings, terminators: &Terminators) {
        self.shared.set_limits(Limits::new(settings));
        self.listen(prepared.new, terminators);
        self.unlisten(|listener| !prepared.wanted.contains(&*listener.settings));
    }

    /// Lets each connection send one more request, whose reply says that it is the last one; goes on accepting. Those that
    /// send nothing stay open until it [drains](Self::drain).
    pub fn leave(&self) {
        self.shared.leave();
    }

    /// Takes that back, unless it drains.
    pub fn stay(&self) {
        self.shared.stay();
    }

    /// Stops accepting, since another process does on the same sockets; otherwise as [`leave`](Self::leave).
    pub fn withdraw(&self) {
        self.shared.leave();
        self.unlisten(|_| true);
    }

    /// Says whether the files of its Unix sockets go with it.
    pub fn own_files(&self, ours: bool) {
        for listener in &mut self.listening.lock().groups {
            if let Some(file) = &mut listener.file {
                file.set_ours(ours);
            }
        }
    }

    /// Another descriptor of every socket that it listens on, but for those that it was given itself.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn sockets(&self) -> io::Result<Vec<(Purpose, OwnedFd)>> {
        let listening = self.listening.lock();
        let own = listening
            .groups
            .iter()
            .filter(|one| !matches!(one.settings.address, ListenAddress::Inherited(_)));
        own.flat_map(|one| one.sockets.iter().map(move |socket| (one, socket)))
            .map(|(one, socket)| {
                let purpose = Purpose::Clients { address: one.settings.address.clone(), listener: one.id };
                Ok((purpose, socket.try_clone()?.into()))
            })
            .collect()
    }

    /// Stops accepting, closes idle connections and lets what is in flight finish: each reply is the last of
    /// its connection. Returns at once; calling it again does nothing.
    pub fn drain(&self) {
        self.shared.drain();
        self.unlisten(|_| true);
    }

    /// Waits until the last connection has ended, `grace` at most. Returns how many are left.
    pub async fn drained(&self, grace: Duration) -> usize {
        let _ = tokio::time::timeout(grace, self.shared.emptied()).await;
        self.connections()
    }

    /// Cuts every connection.
    pub fn abort(&self) {
        self.shared.abort();
        self.unlisten(|_| true);
    }

    /// Ends the worker threads and waits for them. What is still in flight is cut.
    pub fn join(self) {
        self.abort();
        for worker in self.workers {
            worker.join();
        }
    }

    fn listen(&self, groups: Vec<Group>, terminators: &Terminators) {
        let mut listening = self.listening.lock();
        for group in groups {
            listening.last_id += 1;
            let id = listening.last_id;
            let settings = Arc::new(group.settings);
            let terminator = settings.tls.as_ref().and_then(|name| terminators.get(name));
            // Without them it cannot be handed over, and is not.
            let sockets = group.sockets.iter().filter_map(|socket| socket.try_clone().ok()).collect();
            for (at, socket) in group.sockets.into_iter().enumerate() {
                self.workers[at % self.workers.len()].command(Command::Listen {
                    id,
                    socket,
                    settings: settings.clone(),
                    terminator: terminator.cloned(),
                });
            }
            listening.groups.push(Listener { id, settings, local: group.local, file: group.file, sockets });
        }
    }

    fn unlisten(&self, unwanted: impl Fn(&Listener) -> bool) {
        let mut listening = self.listening.lock();
        let (gone, kept) = std::mem::take(&mut listening.groups).into_iter().partition(|l| unwanted(l));
        listening.groups = kept;
        drop(listening);
        let gone: Vec<Listener> = gone;
        for listener in gone {
            for worker in &self.workers {
                worker.command(Command::Unlisten { id: listener.id });
            }
        }
    }
}
