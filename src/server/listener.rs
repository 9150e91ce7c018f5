//! Binds addresses: a group of sockets per address, one for each worker, among which the kernel deals out
//! connections (`SO_REUSEPORT`).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::ListenerSettings;

/// Connections that may wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {kind}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What kind of trouble it is.
    pub kind: BindErrorKind,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Why an address could not be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BindErrorKind {
    /// Another socket listens there.
    #[error("the port is taken")]
    InUse,
    /// The port needs a privilege that this process does not have.
    #[error("permission denied")]
    PermissionDenied,
    /// No interface of this machine has the address.
    #[error("this machine does not have the address")]
    NotAvailable,
    /// Something else; the source says what.
    #[error("the system refused")]
    Other,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse => BindErrorKind::InUse,
            io::ErrorKind::PermissionDenied => BindErrorKind::PermissionDenied,
            io::ErrorKind::AddrNotAvailable => BindErrorKind::NotAvailable,
            _ => BindErrorKind::Other,
        };
        Self { address, kind, source }
    }
}

/// One address, bound: a listening socket for every worker.
#[derive(Debug)]
pub(super) struct Group {
    /// What was asked for.
    pub(super) settings: ListenerSettings,
    /// Where it really listens (a port 0 has become a real one).
    pub(super) local: SocketAddr,
    /// One socket per worker, non-blocking.
    pub(super) sockets: Vec<TcpListener>,
}

/// Addresses that are bound and listened on; connections queue up from here on.
#[derive(Debug)]
pub struct Bound {
    pub(super) groups: Vec<Group>,
    pub(super) workers: usize,
}

impl Bound {
    /// The addresses as bound, in the order of the settings.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.groups.iter().map(|group| group.local).collect()
    }
}

/// Binds every address for `workers` workers, or none of them.
///
/// # Errors
/// The first address that cannot be had. `SO_REUSEPORT` would let us share a port with another instance of
/// ourselves without anyone noticing, so each address is probed without it first.
pub fn bind(listeners: &[ListenerSettings], workers: usize) -> Result<Bound, BindError> {
    let workers = workers.max(1);
    let mut groups = Vec::with_capacity(listeners.len());
    for settings in listeners {
        groups.push(bind_group(settings, workers, &[])?);
    }
    Ok(Bound { groups, workers })
}

/// Binds one address. `own` are addresses that this process listens on already: where the port is one of
/// them, an occupied port is expected (`127.0.0.1:80` becoming `[::]:80` on a reload) and not probed.
pub(super) fn bind_group(
    settings: &ListenerSettings,
    workers: usize,
    own: &[SocketAddr],
) -> Result<Group, BindError> {
    let wanted = settings.address;
    let explain = |source| BindError::new(wanted, source);
    if wanted.port() != 0 && !own.iter().any(|own| own.port() == wanted.port()) {
        open(wanted, false).map_err(explain)?;
    }
    let first = listen(wanted).map_err(explain)?;
    let local = first.local_addr().map_err(explain)?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(sibling(&sockets[0], local).map_err(explain)?);
    }
    Ok(Group { settings: settings.clone(), local, sockets })
}

/// A further socket of a group.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn sibling(_first: &TcpListener, local: SocketAddr) -> io::Result<TcpListener> {
    listen(local)
}

/// Elsewhere `SO_REUSEPORT` does not deal connections out, so the workers share one socket.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn sibling(first: &TcpListener, _local: SocketAddr) -> io::Result<TcpListener> {
    first.try_clone()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, true)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A bound socket. `SO_REUSEADDR` lets a restart bind while old connections are in TIME_WAIT; it does not
/// let two sockets listen.
fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str) -> ListenerSettings {
        ListenerSettings { address: address.parse().expect("an address") }
    }

    #[test]
    fn port_0_becomes_one_port_for_all_workers() {
        let bound = bind(&[on("127.0.0.1:0")], 3).expect("bound");
        let ports: Vec<_> =
            bound.groups[0].sockets.iter().map(|s| s.local_addr().expect("bound").port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        assert_eq!(bound.local_addrs()[0].port(), ports[0]);
    }

    #[test]
    fn a_port_held_by_another_group_of_ours_is_an_error() {
        let first = bind(&[on("127.0.0.1:0")], 2).expect("bound");
        let error = bind(&[ListenerSettings { address: first.local_addrs()[0] }], 2).expect_err("taken");
        assert_eq!(error.kind, BindErrorKind::InUse);
        assert_eq!(error.address, first.local_addrs()[0]);
        assert!(error.to_string().contains("the port is taken"), "{error}");
    }

    #[test]
    fn a_port_held_by_a_plain_socket_is_an_error() {
        let other = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = other.local_addr().expect("bound");
        let error = bind(&[ListenerSettings { address }], 1).expect_err("taken");
        assert_eq!(error.kind, BindErrorKind::InUse);
    }

    #[test]
    fn a_listener_given_twice_is_an_error() {
        let free = bind(&[on("127.0.0.1:0")], 1).expect("bound").local_addrs()[0];
        let twice = [ListenerSettings { address: free }, ListenerSettings { address: free }];
        assert_eq!(bind(&twice, 1).expect_err("taken").kind, BindErrorKind::InUse);
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let error = bind(&[on("192.0.2.1:0")], 1).expect_err("not ours");
        assert_eq!(error.kind, BindErrorKind::NotAvailable);
    }

    #[test]
    fn our_own_port_can_be_widened() {
        let narrow = bind(&[on("127.0.0.1:0")], 1).expect("bound");
        let own = narrow.local_addrs();
        let wide =
            ListenerSettings { address: SocketAddr::new("0.0.0.0".parse().expect("ip"), own[0].port()) };
        assert!(bind_group(&wide, 1, &own).is_ok());
    }
}
