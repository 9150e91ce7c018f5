//! Why a request got no whole reply.

use std::error::Error as _;
use std::io;

/// Why a request got no whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// Connecting took longer than the time-out.
    ConnectTimeout,
    /// Connecting failed otherwise.
    Connect,
    /// No TLS, or no HTTP/2 over it.
    Tls,
    /// This machine has no descriptor or no port left.
    Local,
    /// The reply took longer than the time-out.
    Timeout,
    /// The connection was closed before the reply's end.
    Closed,
    /// The connection or stream was reset.
    Reset,
    /// The reply was no HTTP.
    Protocol,
    /// Still under way when everything ended.
    Unfinished,
    /// Due, and never sent: all connections were busy until the end.
    Unsent,
}

/// A failure, and what was said of it.
pub(super) type Trouble = (Failure, String);

impl Failure {
    /// All, in the order in which a request can meet them.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Tls,
        Self::Local,
        Self::Timeout,
        Self::Closed,
        Self::Reset,
        Self::Protocol,
        Self::Unfinished,
        Self::Unsent,
    ];

    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Local => "local",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Unfinished => "unfinished",
            Self::Unsent => "unsent",
        }
    }

    /// For people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::ConnectTimeout => "connecting timed out",
            Self::Connect => "connecting failed",
            Self::Tls => "TLS failed",
            Self::Local => "no descriptor or port left on this machine",
            Self::Timeout => "no whole reply in time",
            Self::Closed => "connection closed before the reply's end",
            Self::Reset => "connection or stream reset",
            Self::Protocol => "not HTTP as it should be",
            Self::Unfinished => "still under way at the end",
            Self::Unsent => "due, but never sent",
        }
    }

    /// Whether the request took at least as long as was waited for it, so that this time counts.
    pub(super) const fn has_waited(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::Timeout | Self::Unfinished | Self::Unsent)
    }
}

/// Of making a connection.
pub(super) fn connecting(error: &io::Error) -> Trouble {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];
    let errno = Errno::from_io_error(error);
    let failure = match error.kind() {
        _ if errno.is_some_and(|errno| own.contains(&errno)) => Failure::Local,
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Connect,
    };
    (failure, error.to_string())
}

fn io_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Failure::Reset,
        io::ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Connect,
    }
}

/// Of an HTTP/1.1 exchange.
pub(super) fn http1(error: &hyper::Error) -> Trouble {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let failure = match io {
        Some(io) => io_failure(io),
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => Failure::Closed,
        None => Failure::Protocol,
    };
    let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    (failure, format!("{error}{why}"))
}

/// Of an HTTP/2 stream or connection.
pub(super) fn http2(error: &h2::Error) -> Trouble {
    let failure = match error.get_io() {
        Some(io) => io_failure(io),
        None if error.is_reset() => Failure::Reset,
        None if error.is_go_away() => Failure::Closed,
        None => Failure::Protocol,
    };
    (failure, error.to_string())
}
