//! Where the admin socket and the state are.
//!
//! Socket: as told, else `$XDG_RUNTIME_DIR/proxy-stone/NAME.sock` (root: `/run/proxy-stone/`). State: as told,
//! else `$XDG_STATE_HOME/proxy-stone/NAME` (root: `/var/lib/proxy-stone/NAME`). Without XDG's variables: a
//! directory of the service manager's that we own, else what XDG gives as the default, else one under `/tmp`
//! that carries the user's id. Directories that we make or find there must be ours and closed to others, or a
//! neighbour on the machine could stand in for the instance.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The longest path that a Unix socket can have (`sun_path` without its final zero byte).
pub const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The name of an instance that wasn't given one.
pub const DEFAULT_INSTANCE: &str = "default";

/// Why a place can't be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The instance's name can't be a file name.
    #[error("\"{0}\" can't name an instance: use letters, digits, '-', '_' and '.', at most 64")]
    Instance(String),
    /// The socket's path doesn't fit.
    #[error("the socket path {path} is {len} bytes long; the system allows {SOCKET_PATH_MAX}")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// Something else than a directory stands there.
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    /// Another user owns it.
    #[error("{path} belongs to user {owner}, not to user {uid}")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs this process.
        uid: u32,
    },
    /// Other users may enter it.
    #[error("{path} is open to others (mode {mode:04o}, wanted 0700)")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system says no.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What of the process's surroundings decides the places.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The effective user id.
    pub uid: u32,
    /// `XDG_RUNTIME_DIR`, if absolute.
    pub runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`, if absolute.
    pub state_home: Option<PathBuf>,
    /// `HOME`, if absolute.
    pub home: Option<PathBuf>,
    /// Whether `/run/proxy-stone` is a directory of this user.
    pub owns_run: bool,
    /// Whether `/var/lib/proxy-stone` is a directory of this user.
    pub owns_var_lib: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        // The XDG specification: a relative path in one of these variables is to be ignored.
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let owns =
            |path: &str| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
        Self {
            uid,
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            owns_run: owns("/run/proxy-stone"),
            owns_var_lib: owns("/var/lib/proxy-stone"),
        }
    }

    /// The directory that holds the sockets of this user's instances.
    pub fn socket_dir(&self) -> PathBuf {
        if self.uid == 0 {
            return "/run/proxy-stone".into();
        }
        match &self.runtime_dir {
            Some(dir) => dir.join("proxy-stone"),
            None if self.owns_run => "/run/proxy-stone".into(),
            None => self.fallback(),
        }
    }

    /// The directory that holds the state of this user's instances.
    pub fn state_home(&self) -> PathBuf {
        if self.uid == 0 {
            return "/var/lib/proxy-stone".into();
        }
        if let Some(dir) = &self.state_home {
            return dir.join("proxy-stone");
        }
        if self.owns_var_lib {
            return "/var/lib/proxy-stone".into();
        }
        match &self.home {
            Some(home) => home.join(".local/state/proxy-stone"),
            None => self.fallback().join("state"),
        }
    }

    fn fallback(&self) -> PathBuf {
        format!("/tmp/proxy-stone-{}", self.uid).into()
    }
}

/// Checks that a name can name an instance: it becomes part of file names.
pub fn check_instance(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with(['.', '-']);
    if good { Ok(()) } else { Err(Error::Instance(name.to_owned())) }
}

/// The admin socket of an instance; `told` is `--socket`.
pub fn socket(told: Option<&Path>, instance: &str) -> Result<PathBuf, Error> {
    check_instance(instance)?;
    let path = match told {
        Some(path) => path.to_owned(),
        None => Surroundings::of_process().socket_dir().join(format!("{instance}.sock")),
    };
    let len = path.as_os_str().len();
    if len > SOCKET_PATH_MAX { Err(Error::TooLong { path, len }) } else { Ok(path) }
}

/// The state directory of an instance; `told` is `--state-dir`.
pub fn state_dir(told: Option<&Path>, instance: &str) -> Result<PathBuf, Error> {
    check_instance(instance)?;
    Ok(match told {
        Some(path) => path.to_owned(),
        None => Surroundings::of_process().state_home().join(instance),
    })
}

/// Makes a directory that only this user may enter, with its parents, or checks the one that is there.
///
/// The directory itself must be this user's and closed to others; what lies above it is the system's business,
/// except that a `/tmp` fallback directory above it is checked too, since anyone could have made that one.
pub fn private_dir(path: &Path) -> Result<(), Error> {
    let fallback = Surroundings::of_process().fallback();
    if path != fallback && path.starts_with(&fallback) {
        private_dir(&fallback)?;
    }
    let io = |source| Error::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    check_private(path)
}

/// Checks that a directory is this user's and closed to others. A symbolic link is not followed.
pub fn check_private(path: &Path) -> Result<(), Error> {
    let meta =
        std::fs::symlink_metadata(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let uid = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        return Err(Error::NotADirectory(path.to_owned()));
    }
    if meta.uid() != uid {
        return Err(Error::Owner { path: path.to_owned(), owner: meta.uid(), uid });
    }
    match meta.mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(Error::Mode { path: path.to_owned(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn user() -> Surroundings {
        Surroundings { uid: 1000, home: Some("/home/u".into()), ..Surroundings::default() }
    }

    #[test]
    fn the_socket_follows_xdg_then_the_service_manager_then_tmp() {
        let xdg = Surroundings { runtime_dir: Some("/run/user/1000".into()), owns_run: true, ..user() };
        assert_eq!(xdg.socket_dir(), Path::new("/run/user/1000/proxy-stone"));
        assert_eq!(Surroundings { owns_run: true, ..user() }.socket_dir(), Path::new("/run/proxy-stone"));
        assert_eq!(user().socket_dir(), Path::new("/tmp/proxy-stone-1000"));
        let root = Surroundings { uid: 0, runtime_dir: Some("/run/user/0".into()), ..user() };
        assert_eq!(root.socket_dir(), Path::new("/run/proxy-stone"));
    }

    #[test]
    fn the_state_follows_xdg_then_the_service_manager_then_home_then_tmp() {
        let xdg = Surroundings { state_home: Some("/s".into()), ..user() };
        assert_eq!(xdg.state_home(), Path::new("/s/proxy-stone"));
        assert_eq!(
            Surroundings { owns_var_lib: true, ..user() }.state_home(),
            Path::new("/var/lib/proxy-stone")
        );
        assert_eq!(user().state_home(), Path::new("/home/u/.local/state/proxy-stone"));
        assert_eq!(
            Surroundings { home: None, ..user() }.state_home(),
            Path::new("/tmp/proxy-stone-1000/state")
        );
        assert_eq!(
            Surroundings { uid: 0, ..Surroundings::default() }.state_home(),
            Path::new("/var/lib/proxy-stone")
        );
    }

    #[test]
    fn an_instance_name_is_a_plain_file_name() {
        for good in ["default", "a", "edge-1", "v1.2_x"] {
            assert!(check_instance(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "-x", "a/b", "..", "ä", &"x".repeat(65)] {
            assert!(check_instance(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_private_directory_is_made_closed_and_an_open_one_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        private_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(private_dir(&dir), Err(Error::Mode { mode: 0o755, .. })));
    }

    #[test]
    fn a_link_is_no_directory_of_ours() {
        let temp = tempfile::tempdir().unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).unwrap();
        assert!(matches!(private_dir(&link), Err(Error::NotADirectory(_))));
    }

    #[test]
    fn a_socket_path_must_fit() {
        let long = PathBuf::from(format!("/{}", "x".repeat(SOCKET_PATH_MAX)));
        assert!(matches!(socket(Some(&long), "default"), Err(Error::TooLong { .. })));
    }
}
