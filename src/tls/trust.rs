//! Where this machine's clients keep the authorities that they trust: the system's store, and the databases of browsers.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error as ThisError;

use super::x509::Certificate;

/// Why an authority is not trusted, or still is.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The authority's certificate cannot be read.
    #[error("{} is not usable: {why}", path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Only an administrator may change the store.
    #[error("{} may not be changed by this user", path.display())]
    Denied {
        /// The authority in the store.
        path: PathBuf,
        /// What an administrator would type.
        instead: String,
    },
    /// A file of the store cannot be changed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A command that takes changes over says no.
    #[error("`{command}` failed: {why}")]
    Command {
        /// As it was run.
        command: String,
        /// The last that it said.
        why: String,
    },
}

/// A system's store: certificates in a directory, taken over by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Store {
    anchors: &'static str,
    extension: &'static str,
    refresh: &'static [&'static str],
}

/// The stores by their directory: Debian, Fedora, SUSE, Arch.
const STORES: [Store; 4] = [
    Store {
        anchors: "usr/local/share/ca-certificates",
        extension: "crt",
        refresh: &["update-ca-certificates"],
    },
    Store {
        anchors: "etc/pki/ca-trust/source/anchors",
        extension: "pem",
        refresh: &["update-ca-trust", "extract"],
    },
    Store { anchors: "etc/pki/trust/anchors", extension: "pem", refresh: &["update-ca-certificates"] },
    Store {
        anchors: "etc/ca-certificates/trust-source/anchors",
        extension: "crt",
        refresh: &["trust", "extract-compat"],
    },
];

/// Where browsers keep their databases, below a home directory; those that end in `*` have one for each profile.
const DATABASES: [&str; 5] = [
    ".pki/nssdb",
    "snap/chromium/current/.pki/nssdb",
    ".mozilla/firefox/*",
    ".config/mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
];

/// Where administrators' commands are, which other users' `PATH` leaves out.
const SYSTEM_COMMANDS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

type Run = fn(&Path, &[OsString]) -> io::Result<Output>;

/// The places of one machine, as one user sees them.
#[derive(Clone, Debug)]
pub struct Places {
    root: PathBuf,
    home: Option<PathBuf>,
    search: Vec<PathBuf>,
    run: Run,
}

/// What was done in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The place.
    pub place: String,
    /// What became of the authority there.
    pub did: Did,
}

/// What became of an authority in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It is trusted from now on.
    Added,
    /// It was trusted before.
    Known,
    /// It is no longer trusted.
    Removed,
    /// It was not there.
    Absent,
    /// Nothing: the place can only be changed with `certutil`, which is not installed.
    Skipped,
}

/// The authority: its file, and what tells it from all others.
struct Authority {
    file: PathBuf,
    pem: Vec<u8>,
    name: String,
}

impl Places {
    /// Of this machine and the process's own user.
    pub fn of_process() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let search = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
        Self {
            root: "/".into(),
            home: std::env::var_os("HOME").map(PathBuf::from),
            search: search.chain(SYSTEM_COMMANDS.map(PathBuf::from)).collect(),
            run: |command, arguments| Command::new(command).args(arguments).output(),
        }
    }

    /// Has an authority trusted. What was done is in `steps`, also where the rest fails.
    ///
    /// # Errors
    /// When its file is no certificate, or a place cannot be changed.
    pub fn install(&self, certificate: &Path, steps: &mut Vec<Step>) -> Result<(), Error> {
        let authority = Authority::read(certificate)?;
        self.in_databases(&authority, true, steps)?;
        let Some((store, command)) = self.store() else { return Ok(()) };
        let target = self.target(store, &authority);
        let known = fs::read(&target).is_ok_and(|stored| stored == authority.pem);
        if !known {
            let instead = format!(
                "sudo install -m 644 {} {} && sudo {}",
                authority.file.display(),
                target.display(),
                store.refresh.join(" ")
            );
            place(&target, &authority.pem).map_err(|source| refused(&target, source, instead))?;
            if let Err(error) = self.refresh(store, &command) {
                // Not to be taken for what is trusted the next time.
                let _ = fs::remove_file(&target);
                return Err(error);
            }
        }
        steps.push(Step::of(&target, if known { Did::Known } else { Did::Added }));
        Ok(())
    }

    /// Has an authority trusted no longer.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub fn uninstall(&self, certificate: &Path, steps: &mut Vec<Step>) -> Result<(), Error> {
        let authority = Authority::read(certificate)?;
        self.in_databases(&authority, false, steps)?;
        let Some((store, command)) = self.store() else { return Ok(()) };
        let target = self.target(store, &authority);
        let did = match fs::remove_file(&target) {
            Ok(()) => {
                self.refresh(store, &command)?;
                Did::Removed
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Did::Absent,
            Err(error) => {
                let instead = format!("sudo rm {} && sudo {}", target.display(), store.refresh.join(" "));
                return Err(refused(&target, error, instead));
            }
        };
        steps.push(Step::of(&target, did));
        Ok(())
    }

    /// The system's store, and the command that takes changes over: where both are there.
    fn store(&self) -> Option<(&'static Store, PathBuf)> {
        let there = STORES.iter().filter(|store| self.root.join(store.anchors).is_dir());
        there.filter_map(|store| Some((store, self.command(store.refresh[0])?))).next()
    }

    fn target(&self, store: &Store, authority: &Authority) -> PathBuf {
        self.root.join(store.anchors).join(&authority.name).with_extension(store.extension)
    }

    fn command(&self, name: &str) -> Option<PathBuf> {
        self.search.iter().map(|directory| directory.join(name)).find(|file| file.is_file())
    }

    fn refresh(&self, store: &Store, command: &Path) -> Result<(), Error> {
        let arguments: Vec<OsString> = store.refresh[1..].iter().map(OsString::from).collect();
        self.succeed(command, &arguments)
    }

    /// The databases that are there: who has never started the browser has none.
    fn databases(&self) -> Vec<PathBuf> {
        let Some(home) = &self.home else { return Vec::new() };
        let mut found = Vec::new();
        for database in DATABASES {
            match database.strip_suffix("/*") {
                None => found.push(home.join(database)),
                Some(profiles) => {
                    let entries = fs::read_dir(home.join(profiles)).into_iter().flatten();
                    let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                    below.sort_unstable();
                    found.extend(below);
                }
            }
        }
        found.retain(|directory| directory.join("cert9.db").is_file());
        found
    }

    fn in_databases(&self, authority: &Authority, trusted: bool, steps: &mut Vec<Step>) -> Result<(), Error> {
        let certutil = self.command("certutil");
        for database in self.databases() {
            let did = match &certutil {
                None => Did::Skipped,
                Some(certutil) => self.in_database(certutil, &database, authority, trusted)?,
            };
            steps.push(Step::of(&database, did));
        }
        Ok(())
    }

    fn in_database(
        &self,
        certutil: &Path,
        database: &Path,
        authority: &Authority,
        trusted: bool,
    ) -> Result<Did, Error> {
        let arguments = |rest: &[&OsStr]| -> Vec<OsString> {
            let mut directory = OsString::from("sql:");
            directory.push(database);
            let own = [OsStr::new("-d"), &directory, OsStr::new("-n"), OsStr::new(&authority.name)];
            own.iter().chain(rest).map(OsString::from).collect()
        };
        let known = self.output(certutil, &arguments(&[OsStr::new("-L")]))?.status.success();
        match (trusted, known) {
            (true, true) => return Ok(Did::Known),
            (false, false) => return Ok(Did::Absent),
            (false, true) => self.succeed(certutil, &arguments(&[OsStr::new("-D")]))?,
            (true, false) => {
                let add = ["-A", "-t", "C,,", "-i"].map(OsStr::new);
                let file = authority.file.as_os_str();
                self.succeed(certutil, &arguments(&[add[0], add[1], add[2], add[3], file]))?;
            }
        }
        Ok(if trusted { Did::Added } else { Did::Removed })
    }

    fn output(&self, command: &Path, arguments: &[OsString]) -> Result<Output, Error> {
        (self.run)(command, arguments).map_err(|source| Error::Io { path: command.to_owned(), source })
    }

    fn succeed(&self, command: &Path, arguments: &[OsString]) -> Result<(), Error> {
        let output = self.output(command, arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let why = last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned());
        let words = arguments.iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = std::iter::once(command.to_string_lossy()).chain(words).collect();
        Err(Error::Command { command: words.join(" "), why })
    }
}

impl Step {
    fn of(place: &Path, did: Did) -> Self {
        Self { place: place.display().to_string(), did }
    }
}

impl Authority {
    /// Its name in stores is its own: another state directory has another authority.
    fn read(file: &Path) -> Result<Self, Error> {
        let unusable = |why: String| Error::Authority { path: file.to_owned(), why };
        let pem = fs::read(file).map_err(|error| unusable(error.to_string()))?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|error| unusable(error.to_string()))?;
        let fingerprint = Certificate::parse(&der).map_err(unusable)?.fingerprint_text();
        Ok(Self { file: file.to_owned(), pem, name: format!("proxy-stone-dev-{}", &fingerprint[..16]) })
    }
}

fn refused(path: &Path, source: io::Error, instead: String) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::Denied { path, instead }
        }
        _ => Error::Io { path, source },
    }
}

/// Written beside it first: nobody takes half a certificate over.
fn place(target: &Path, pem: &[u8]) -> io::Result<()> {
    let new = target.with_extension("new");
    fs::write(&new, pem)?;
    // Clients of all users read it, whatever this one's mask says.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(&new, target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::clock::Timestamp;
    use crate::tls::dev;

    /// `certutil` knows what has a file beside the database; all others are content.
    fn pretend(command: &Path, arguments: &[OsString]) -> io::Result<Output> {
        let mut code = 0;
        if command.ends_with("certutil") {
            let database = arguments[1].to_str().unwrap().strip_prefix("sql:").unwrap();
            let stored = Path::new(database).join(&arguments[3]);
            match arguments[4].to_str().unwrap() {
                "-L" => code = i32::from(!stored.exists()) << 8,
                "-D" => fs::remove_file(stored)?,
                "-A" => drop(fs::copy(&arguments[8], stored)?),
                other => panic!("{other}"),
            }
        } else {
            fs::write(command.with_extension("ran"), arguments.join(OsStr::new(" ")).as_encoded_bytes())?;
        }
        Ok(Output { status: ExitStatus::from_raw(code), stdout: Vec::new(), stderr: Vec::new() })
    }

    fn places(root: &Path, there: &[&str]) -> (Places, PathBuf) {
        for path in there {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match path.extension().is_some() || path.parent().unwrap().ends_with("bin") {
                true => fs::write(path, "").unwrap(),
                false => fs::create_dir_all(path).unwrap(),
            }
        }
        let now = Timestamp::from(std::time::SystemTime::now());
        let ca = dev::Authority::open(root, now).unwrap().certificate();
        let (root, home) = (root.to_owned(), Some(root.join("home")));
        (Places { search: vec![root.join("bin")], root, home, run: pretend }, ca)
    }

    #[test]
    fn the_store_is_the_one_whose_directory_and_command_are_there() {
        for (there, anchors) in [
            (
                &["usr/local/share/ca-certificates", "bin/update-ca-certificates"][..],
                Some("usr/local/share/ca-certificates"),
            ),
            (
                &["etc/pki/ca-trust/source/anchors", "bin/update-ca-trust"],
                Some("etc/pki/ca-trust/source/anchors"),
            ),
            (&["etc/pki/trust/anchors", "bin/update-ca-certificates"], Some("etc/pki/trust/anchors")),
            (
                &["etc/ca-certificates/trust-source/anchors", "bin/trust"],
                Some("etc/ca-certificates/trust-source/anchors"),
            ),
            (&["usr/local/share/ca-certificates", "bin/trust"], None),
            (&["bin/update-ca-certificates"], None),
        ] {
            let root = tempfile::tempdir().unwrap();
            let (places, _) = places(root.path(), there);
            assert_eq!(places.store().map(|(store, _)| store.anchors), anchors, "{there:?}");
        }
    }

    #[test]
    fn what_is_installed_is_there_once_and_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let there = [
            "etc/pki/ca-trust/source/anchors",
            "bin/update-ca-trust",
            "bin/certutil",
            "home/.pki/nssdb/cert9.db",
            "home/.mozilla/firefox/a.default/cert9.db",
            "home/.mozilla/firefox/Crash Reports",
        ];
        let (places, ca) = places(root.path(), &there);
        let did = |run: fn(&Places, &Path, &mut Vec<Step>) -> Result<(), Error>| {
            let mut steps = Vec::new();
            run(&places, &ca, &mut steps).unwrap();
            steps.into_iter().map(|step| step.did).collect::<Vec<_>>()
        };
        assert_eq!(did(Places::install), [Did::Added; 3]);
        assert_eq!(fs::read_to_string(root.path().join("bin/update-ca-trust.ran")).unwrap(), "extract");
        let anchors = || fs::read_dir(root.path().join(there[0])).unwrap().map(|entry| entry.unwrap().path());
        let stored: Vec<PathBuf> = anchors().collect();
        assert_eq!(fs::read(&stored[0]).unwrap(), fs::read(&ca).unwrap());
        assert_eq!(fs::metadata(&stored[0]).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(did(Places::install), [Did::Known; 3]);
        assert_eq!(anchors().count(), 1);
        assert_eq!(did(Places::uninstall), [Did::Removed; 3]);
        assert_eq!(anchors().count(), 0);
        assert_eq!(did(Places::uninstall), [Did::Absent; 3]);
    }

    #[test]
    fn a_database_without_its_tool_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (places, ca) = places(root.path(), &["home/.pki/nssdb/cert9.db"]);
        let mut steps = Vec::new();
        places.install(&ca, &mut steps).unwrap();
        assert_eq!(steps, [Step::of(&root.path().join("home/.pki/nssdb"), Did::Skipped)]);
    }

    #[test]
    fn who_may_not_is_told_what_an_administrator_types() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = refused(Path::new("/a.crt"), denied, "sudo x".into());
        assert!(matches!(error, Error::Denied { instead, .. } if instead == "sudo x"));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(refused(Path::new("/a.crt"), full, String::new()), Error::Io { .. }));
    }
}
