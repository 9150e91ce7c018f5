//! The admin socket itself: made safely, one owner at a time, open to this user and root only.
//!
//! A lock file beside the socket says who owns it, so that two starts cannot race and a socket left behind by a
//! dead process is told from a live one. The socket is bound under a temporary name, closed to others before it
//! listens, and then renamed into place: there is no moment in which it is open to others.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::FlockOperation;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::handlers::{self, Admin};
use super::paths;

/// Connections at a time; `logs -f` and `metrics -w` hold theirs.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take for a request head, or stay silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request head in bytes.
const MAX_HEAD: usize = 64 << 10;

/// How long a connection that has asked nothing yet may take to, after the server was closed.
const FIRST_REQUEST: Duration = Duration::from_millis(200);

/// How long connections may take to end after the server was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the admin socket can't be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The directory isn't safe.
    #[error(transparent)]
    Directory(#[from] paths::Error),
    /// Another instance has it.
    #[error("an instance is already running on {0}")]
    InUse(PathBuf),
    /// Something else than a socket stands there.
    #[error("{0} is there and is no socket")]
    Occupied(PathBuf),
    /// The system says no.
    #[error("the admin socket {path} can't be opened: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The socket, bound and listening; removed when this is dropped, unless another one stands there by then.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
    identity: (u64, u64),
    /// Whether it goes with this process: not before that has taken over, nor after it has handed over.
    ours: Arc<AtomicBool>,
    // Held for as long as the socket is ours; the system lets go of it when the process ends, however it ends.
    lock: File,
}

/// Opens the admin socket. A directory that was not given by `--socket` is made, or checked to be this user's.
///
/// # Errors
/// When a live instance has it, when the directory is not safe, and when the system says no.
pub fn bind(path: &Path) -> Result<Bound, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if directory == paths::Surroundings::of_process().socket_dir() {
        paths::private_dir(directory)?;
    }
    let lock = lock(path)?;
    refuse_live(path)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id() % 1_000_000));
    let listener = listen_closed(&temporary).map_err(io)?;
    let bound = std::fs::rename(&temporary, path).and_then(|()| std::fs::symlink_metadata(path));
    match bound {
        Ok(meta) => {
            let identity = (meta.dev(), meta.ino());
            Ok(Bound {
                path: path.to_owned(),
                listener,
                identity,
                ours: Arc::new(AtomicBool::new(true)),
                lock,
            })
        }
        Err(error) => {
            // The rename's failure is what counts.
            let _ = std::fs::remove_file(&temporary);
            Err(io(error))
        }
    }
}

/// The admin socket that another process hands over; it stays that one's for now.
///
/// # Errors
/// When it is not there any more.
pub fn handed(path: &Path, socket: OwnedFd, lock: OwnedFd) -> Result<Bound, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true).map_err(io)?;
    let meta = std::fs::symlink_metadata(path).map_err(io)?;
    let (identity, ours) = ((meta.dev(), meta.ino()), Arc::new(AtomicBool::new(false)));
    Ok(Bound { path: path.to_owned(), listener, identity, ours, lock: File::from(lock) })
}

/// What hands the admin socket over while it is being served.
#[derive(Debug)]
pub struct Handle {
    listener: std::os::unix::net::UnixListener,
    lock: File,
    ours: Arc<AtomicBool>,
}

impl Handle {
    /// Descriptors of the socket and of its lock.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.listener.try_clone()?.into(), self.lock.try_clone()?.into()])
    }

    /// Says whether the socket goes with this process.
    pub fn own(&self, ours: bool) {
        self.ours.store(ours, Ordering::Relaxed);
    }

    /// Another one.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (listener, lock) = (self.listener.try_clone()?, self.lock.try_clone()?);
        Ok(Self { listener, lock, ours: self.ours.clone() })
    }
}

/// Takes the lock that says whose socket it is.
fn lock(path: &Path) -> Result<File, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path.with_extension("lock"))
        .map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BindError::InUse(path.to_owned())),
        Err(error) => Err(io(error.into())),
    }
}

/// Looks at what stands where the socket is to be: nothing and a dead socket are fine.
fn refuse_live(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Io { path: path.to_owned(), source }),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::Occupied(path.to_owned())),
        Ok(_) => {}
    }
    // Somebody who doesn't know of our lock may listen there.
    match StdStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BindError::Io { path: path.to_owned(), source }),
    }
}

/// A listening socket that only this user can connect to. Nobody can connect before `listen`, and by then the
/// mode is set.
fn listen_closed(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Bound {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What hands it over while it is being served.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn handle(&self) -> io::Result<Handle> {
        let (listener, lock) = (self.listener.try_clone()?, self.lock.try_clone()?);
        Ok(Handle { listener, lock, ours: self.ours.clone() })
    }

    /// Answers requests until `admin.closing` is cancelled; then waits a moment for what is being answered, and
    /// removes the socket. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket can't be handed to the runtime.
    pub async fn serve(self, admin: Arc<Admin>) -> io::Result<()> {
        let closing = admin.closing.clone();
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = closing.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the admin socket could not accept");
                        // Out of descriptors, most likely: give others time to close some.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            // Beyond the bound a connection is closed at once, so that the CLI says so instead of waiting.
            if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                let connection = connection(stream, Arc::clone(&admin));
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
        tasks.close();
        // What doesn't end in time ends with the runtime.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, tasks.wait()).await;
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if ours && self.ours.load(Ordering::Relaxed) {
            // Nothing is lost when it stays: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn connection(stream: UnixStream, admin: Arc<Admin>) {
    let closing = admin.closing.clone();
    let allowed = stream.peer_cred().is_ok_and(|peer| allowed(peer.uid()));
    let asked = Notify::new();
    let service = service_fn(|request| {
        asked.notify_one();
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(handlers::answer(admin, request, allowed).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            // What was accepted just now has been sent a command, most likely: on an upgrade nobody else takes it.
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = asked.notified() => None,
                () = tokio::time::sleep(FIRST_REQUEST) => None,
            };
            connection.as_mut().graceful_shutdown();
            match ended {
                Some(ended) => ended,
                None => connection.await,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Whether a peer may ask: this user and root.
fn allowed(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_socket_is_closed_to_others_and_goes_with_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.sock");
        let bound = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2, "socket and lock");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_refused_and_a_dead_one_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.sock");
        let bound = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
        drop(bound);
        // What a killed process leaves behind: a socket that nobody listens on.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(bind(&path).is_ok());
    }

    #[test]
    fn a_stranger_that_listens_there_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.sock");
        let stranger = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
        drop(stranger);
    }

    #[test]
    fn a_file_is_never_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(BindError::Occupied(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successor_keeps_its_socket_when_the_old_owner_goes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.sock");
        let bound = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(successor);
    }

    #[test]
    fn only_this_user_and_root_may_ask() {
        let own = rustix::process::geteuid().as_raw();
        assert!(allowed(0) && allowed(own));
        assert!(!allowed(own.wrapping_add(1).max(1)));
    }
}
