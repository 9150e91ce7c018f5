//! Listening sockets that whoever started this process has opened for it, as systemd's socket activation does
//! (`sd_listen_fds(3)`): known by name (`FileDescriptorName=`), else by their position. And those that the process before
//! this one hands over (an upgrade of the binary): known by what it has used them for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::net::AddressFamily;
use serde::{Deserialize, Serialize};

use super::ListenAddress;
use super::stream::Listening;

/// The sockets that this process was given, for as long as it runs: a listener that a reload takes away may come back.
static GIVEN: OnceLock<Vec<Given>> = OnceLock::new();

#[derive(Debug)]
struct Given {
    name: String,
    socket: Listening,
}

/// Takes over what this process was given. To be called once, before any thread is started: what said so is taken
/// out of the environment, so that no child process believes that it was meant.
pub fn adopt() {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = listenfd::ListenFd::from_env();
    let names: Vec<&str> = names.split(':').collect();
    let sockets = (0..given.len()).filter_map(|index| {
        let tcp = given.take_tcp_listener(index).ok().flatten().map(Listening::Tcp);
        let socket = tcp.or_else(|| given.take_unix_listener(index).ok().flatten().map(Listening::Unix))?;
        let name = names.get(index).copied().unwrap_or_default().to_owned();
        Some(Given { name, socket })
    });
    let sockets = sockets.collect();
    // A second call finds nothing to take over.
    let _ = GIVEN.set(sockets);
}

/// What a descriptor is used for that goes from one process to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Clients come in; the address as the config has it, and which of its listeners it was.
    Clients {
        /// The address.
        address: ListenAddress,
        /// Two listeners may both have asked for any port.
        listener: u64,
    },
    /// Machines ask; the address as the config has it.
    Machines(SocketAddr),
    /// Whoever started the first process gave it, under this name; in their order.
    Given(String),
    /// The instance is commanded there.
    AdminSocket,
    /// Says whose the admin socket is.
    AdminLock,
}

/// What was handed over and is not in use yet.
static HANDED: Mutex<Vec<(Purpose, OwnedFd)>> = Mutex::new(Vec::new());

/// Takes over what the process before this one hands over. To be called once, instead of [`adopt`].
pub fn adopt_handed(handed: impl Iterator<Item = (Purpose, OwnedFd)>) {
    let mut given = Vec::new();
    for (purpose, descriptor) in handed {
        match purpose {
            Purpose::Given(name) => given.push(Given { name, socket: listening(descriptor) }),
            purpose => HANDED.lock().push((purpose, descriptor)),
        }
    }
    let _ = GIVEN.set(given);
}

/// The descriptors that were handed over for this; they are the caller's from here on.
pub fn take(purpose: &Purpose) -> Vec<OwnedFd> {
    let mut handed = HANDED.lock();
    let (taken, left) = std::mem::take(&mut *handed).into_iter().partition(|(known, _)| known == purpose);
    *handed = left;
    let taken: Vec<(Purpose, OwnedFd)> = taken;
    taken.into_iter().map(|(_, descriptor)| descriptor).collect()
}

/// The sockets that were handed over for an address of the config.
pub(super) fn take_sockets(address: &ListenAddress) -> Vec<Listening> {
    let first = HANDED
        .lock()
        .iter()
        .map(|(purpose, _)| purpose.clone())
        .find(|purpose| matches!(purpose, Purpose::Clients { address: known, .. } if known == address));
    first.map(|purpose| take(&purpose)).unwrap_or_default().into_iter().map(listening).collect()
}

/// Closes what was handed over and is of no use: else it would queue connections that nobody takes.
pub fn close_rest() {
    HANDED.lock().clear();
}

/// What this process was given, for the next one.
///
/// # Errors
/// When there are no more descriptors.
pub fn given() -> io::Result<Vec<(Purpose, OwnedFd)>> {
    let given = GIVEN.get().map_or(&[][..], Vec::as_slice);
    given.iter().map(|one| Ok((Purpose::Given(one.name.clone()), one.socket.try_clone()?.into()))).collect()
}

fn listening(descriptor: OwnedFd) -> Listening {
    let family = rustix::net::getsockname(&descriptor).map(|address| address.address_family());
    match family {
        Ok(AddressFamily::UNIX) => Listening::Unix(UnixListener::from(descriptor)),
        _ => Listening::Tcp(TcpListener::from(descriptor)),
    }
}

/// Another descriptor of the socket that was given under `name`; the empty name means the only one.
pub(super) fn socket(name: &str) -> io::Result<Listening> {
    let given = GIVEN.get().map_or(&[][..], Vec::as_slice);
    find(given, name)?.socket.try_clone()
}

fn find<'g>(given: &'g [Given], name: &str) -> io::Result<&'g Given> {
    let named: Vec<&Given> = given.iter().filter(|one| name.is_empty() || one.name == name).collect();
    match named[..] {
        [one] => Ok(one),
        [] => name.parse().ok().and_then(|at: usize| given.get(at)).ok_or_else(|| {
            let names: Vec<&str> = given.iter().map(|one| one.name.as_str()).collect();
            let had = match names.is_empty() {
                true => "this process was given no socket".to_owned(),
                false => format!("this process was given: {}", names.join(", ")),
            };
            io::Error::new(io::ErrorKind::NotFound, had)
        }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("this process was given {} such sockets: name one, or say its position", named.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(names: &[&str]) -> Vec<Given> {
        let socket = || Listening::Tcp(std::net::TcpListener::bind("127.0.0.1:0").expect("bound"));
        names.iter().map(|name| Given { name: (*name).into(), socket: socket() }).collect()
    }

    #[test]
    fn what_is_handed_over_is_taken_by_address_one_listener_at_a_time() {
        let address = ListenAddress::Inherited("nobody else's".into());
        let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("bound"));
        let of = |listener| (Purpose::Clients { address: address.clone(), listener }, socket());
        HANDED.lock().extend([of(4), of(7), of(4)]);
        assert_eq!(take_sockets(&address).len(), 2, "those of the first listener");
        assert_eq!(take_sockets(&address).len(), 1);
        assert!(take_sockets(&address).is_empty());
    }

    #[test]
    fn a_socket_is_found_by_name_by_position_and_by_being_the_only_one() {
        let three = given(&["web", "api", "api"]);
        assert!(std::ptr::eq(find(&three, "web").expect("named"), &raw const three[0]));
        assert!(std::ptr::eq(find(&three, "2").expect("at its position"), &raw const three[2]));
        assert!(find(&three, "api").expect_err("two").to_string().contains("2 such sockets"));
        assert!(find(&three, "").expect_err("three").to_string().contains("3 such sockets"));
        assert!(find(&three, "www").expect_err("none").to_string().contains("web, api, api"));
        assert!(find(&three, "3").is_err());
        assert!(find(&given(&["x"]), "").is_ok());
        assert!(find(&[], "").expect_err("none").to_string().contains("no socket"));
    }
}
