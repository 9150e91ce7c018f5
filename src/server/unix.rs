//! Unix sockets to listen on, and the files that they are known by.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::BACKLOG;
use super::stream::Listening;

/// The file of a Unix socket that is listened on; it is removed with this, unless another stands there by then.
#[derive(Debug)]
pub(super) struct UnixSocket {
    path: Arc<Path>,
    /// Device and inode.
    identity: (u64, u64),
    /// Whether it goes with this process: not before that has taken over, nor after it has handed over.
    ours: bool,
}

impl UnixSocket {
    /// Binds the socket with its mode set before anyone can connect. A file that a dead process left is replaced; where
    /// a process listens, that is refused, unless it is us (`ours`, on a reload), who then hand over.
    pub(super) fn bind(path: &Arc<Path>, mode: u32, ours: bool) -> io::Result<(Self, Listening)> {
        if !ours {
            refuse_live(path)?;
        }
        let beside = beside(path);
        let _ = std::fs::remove_file(&beside);
        let listener = listen(&beside, mode)?;
        let identity = std::fs::rename(&beside, path).and_then(|()| std::fs::symlink_metadata(path));
        match identity {
            Ok(meta) => {
                let file = Self { path: path.clone(), identity: (meta.dev(), meta.ino()), ours: true };
                Ok((file, Listening::Unix(listener)))
            }
            Err(error) => {
                // The rename's failure is what counts.
                let _ = std::fs::remove_file(&beside);
                Err(error)
            }
        }
    }
}

impl UnixSocket {
    /// The file of a socket that another process hands over; it stays that one's for now.
    pub(super) fn handed(path: &Arc<Path>) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.clone(), identity: (meta.dev(), meta.ino()), ours: false })
    }

    /// Says whether it goes with this process.
    pub(super) fn set_ours(&mut self, ours: bool) {
        self.ours = ours;
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let stands = std::fs::symlink_metadata(&self.path);
        if stands.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity) {
            // Nothing is lost when it stays: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A name beside the socket's own, as short as it can be: the kernel takes 107 bytes.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    name.into()
}

fn refuse_live(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(meta) if !meta.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(directory: &tempfile::TempDir) -> Arc<Path> {
        directory.path().join("web.sock").into()
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = at(&directory);
        let (file, _socket) = UnixSocket::bind(&path, 0o660, false).expect("bound");
        let meta = std::fs::symlink_metadata(&path).expect("a file");
        assert_eq!(meta.permissions().mode() & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        drop(file);
        assert!(std::fs::read_dir(&directory).expect("a directory").next().is_none());
    }

    #[test]
    fn a_dead_socket_is_replaced_a_live_one_and_other_files_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = at(&directory);
        drop(UnixListener::bind(&path).expect("bound"));
        let (_file, _socket) = UnixSocket::bind(&path, 0o600, false).expect("the dead one is replaced");
        let refused = UnixSocket::bind(&path, 0o600, false).expect_err("we listen there");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let other: Arc<Path> = directory.path().join("notes").into();
        std::fs::write(&other, "keep").expect("written");
        let refused = UnixSocket::bind(&other, 0o600, false).expect_err("no socket");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&other).expect("still there"), b"keep");
    }

    #[test]
    fn a_successor_s_file_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = at(&directory);
        let (old, _old_socket) = UnixSocket::bind(&path, 0o600, false).expect("bound");
        let (_new, _socket) = UnixSocket::bind(&path, 0o600, true).expect("handed over");
        drop(old);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
