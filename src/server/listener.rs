//! Binds addresses: a group of sockets per address, one for each worker, among which the kernel deals out
//! connections (`SO_REUSEPORT`).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::stream::Listening;
use super::unix::UnixSocket;
use super::{ListenAddress, ListenerSettings, inherited};

/// Connections that may wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// An address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {kind}")]
pub struct BindError {
    /// The address.
    pub address: ListenAddress,
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
    /// What stands at the path of a Unix socket is no socket.
    #[error("something that is no socket stands there")]
    Occupied,
    /// Whoever started this process gave it no such socket.
    #[error("no such socket was handed over")]
    NotGiven,
    /// Something else; the source says what.
    #[error("the system refused")]
    Other,
}

impl BindError {
    fn new(address: ListenAddress, source: io::Error) -> Self {
        let kind = match source.kind() {
            _ if matches!(address, ListenAddress::Inherited(_)) => BindErrorKind::NotGiven,
            io::ErrorKind::AddrInUse => BindErrorKind::InUse,
            io::ErrorKind::PermissionDenied => BindErrorKind::PermissionDenied,
            io::ErrorKind::AddrNotAvailable => BindErrorKind::NotAvailable,
            io::ErrorKind::AlreadyExists => BindErrorKind::Occupied,
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
    pub(super) local: ListenAddress,
    /// One socket per worker at least, non-blocking.
    pub(super) sockets: Vec<Listening>,
    /// Its file, where it has one.
    pub(super) file: Option<UnixSocket>,
}

/// Addresses that are bound and listened on; connections queue up from here on.
#[derive(Debug)]
pub struct Bound {
    pub(super) groups: Vec<Group>,
    pub(super) workers: usize,
}

impl Bound {
    /// The addresses as bound, in the order of the settings.
    pub fn local_addrs(&self) -> Vec<ListenAddress> {
        self.groups.iter().map(|group| group.local.clone()).collect()
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
    own: &[ListenAddress],
) -> Result<Group, BindError> {
    let explain = |source| BindError::new(settings.address.clone(), source);
    let handed = inherited::take_sockets(&settings.address);
    match &settings.address {
        _ if !handed.is_empty() => take_over(&settings.address, handed, workers),
        ListenAddress::Tcp(wanted) => bind_tcp(*wanted, workers, own),
        ListenAddress::Unix(path) => {
            let ours = own.contains(&settings.address);
            UnixSocket::bind(path, settings.mode, ours).and_then(|(file, socket)| {
                for_all(settings.address.clone(), vec![socket], workers, Some(file))
            })
        }
        ListenAddress::Inherited(name) => inherited::socket(name).and_then(|socket| {
            // Commands and the start-up text say where that is, if it is anywhere that can be said.
            let local = socket.address().map_or_else(|| settings.address.clone(), ListenAddress::Tcp);
            for_all(local, vec![socket], workers, None)
        }),
    }
    .map(|(local, sockets, file)| Group { settings: settings.clone(), local, sockets, file })
    .map_err(explain)
}

/// What a group is made of.
type Made = (ListenAddress, Vec<Listening>, Option<UnixSocket>);

/// A socket for every worker, among which the kernel deals out connections.
fn bind_tcp(wanted: SocketAddr, workers: usize, own: &[ListenAddress]) -> io::Result<Made> {
    let is_ours = |own: &ListenAddress| own.tcp().is_some_and(|own| own.port() == wanted.port());
    if wanted.port() != 0 && !own.iter().any(is_ours) {
        open(wanted, false)?;
    }
    let first = listen(wanted)?;
    let local = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(sibling(&sockets[0], local)?);
    }
    Ok((ListenAddress::Tcp(local), sockets.into_iter().map(Listening::Tcp).collect(), None))
}

/// All sockets that another process listened on: with fewer, what is queued on the others would be reset.
fn take_over(address: &ListenAddress, handed: Vec<Listening>, workers: usize) -> io::Result<Made> {
    let local = handed[0].address().map_or_else(|| address.clone(), ListenAddress::Tcp);
    let file = match address {
        ListenAddress::Unix(path) => Some(UnixSocket::handed(path)?),
        ListenAddress::Tcp(_) | ListenAddress::Inherited(_) => None,
    };
    for_all(local, handed, workers, file)
}

/// At least one descriptor for each worker: where there are fewer sockets, some accept from the same one.
fn for_all(
    local: ListenAddress,
    mut sockets: Vec<Listening>,
    workers: usize,
    file: Option<UnixSocket>,
) -> io::Result<Made> {
    sockets.iter().try_for_each(Listening::set_nonblocking)?;
    let different = sockets.len();
    while sockets.len() < workers {
        sockets.push(sockets[sockets.len() % different].try_clone()?);
    }
    Ok((local, sockets, file))
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
        ListenerSettings::at(address.parse::<SocketAddr>().expect("an address"))
    }

    fn again(bound: &Bound) -> ListenerSettings {
        ListenerSettings { address: bound.local_addrs()[0].clone(), ..on("127.0.0.1:0") }
    }

    #[test]
    fn port_0_becomes_one_port_for_all_workers() {
        let bound = bind(&[on("127.0.0.1:0")], 3).expect("bound");
        let ports = bound.groups[0].sockets.iter().map(|socket| match socket {
            Listening::Tcp(socket) => socket.local_addr().expect("bound").port(),
            Listening::Unix(_) => panic!("not a TCP socket"),
        });
        let ports = ports.collect::<Vec<_>>();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        assert_eq!(bound.local_addrs()[0].tcp().expect("TCP").port(), ports[0]);
    }

    #[test]
    fn a_port_held_by_another_group_of_ours_is_an_error() {
        let first = bind(&[on("127.0.0.1:0")], 2).expect("bound");
        let error = bind(&[again(&first)], 2).expect_err("taken");
        assert_eq!(error.kind, BindErrorKind::InUse);
        assert_eq!(error.address, first.local_addrs()[0]);
        assert!(error.to_string().contains("the port is taken"), "{error}");
    }

    #[test]
    fn a_port_held_by_a_plain_socket_is_an_error() {
        let other = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = other.local_addr().expect("bound");
        let error = bind(&[ListenerSettings::at(address)], 1).expect_err("taken");
        assert_eq!(error.kind, BindErrorKind::InUse);
    }

    #[test]
    fn a_listener_given_twice_is_an_error() {
        let free = again(&bind(&[on("127.0.0.1:0")], 1).expect("bound"));
        assert_eq!(bind(&[free.clone(), free], 1).expect_err("taken").kind, BindErrorKind::InUse);
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
        let port = own[0].tcp().expect("TCP").port();
        let wide = ListenerSettings::at(SocketAddr::new("0.0.0.0".parse().expect("ip"), port));
        assert!(bind_group(&wide, 1, &own).is_ok());
    }

    #[test]
    fn a_socket_that_nobody_handed_over_is_told_as_such() {
        let settings =
            ListenerSettings { address: ListenAddress::Inherited("web".into()), ..on("127.0.0.1:0") };
        let error = bind(&[settings], 1).expect_err("not given");
        assert_eq!(error.kind, BindErrorKind::NotGiven);
        assert_eq!(error.to_string(), "cannot listen on systemd:web: no such socket was handed over");
    }
}
