//! The words under which attempts and refused connections are counted; the same in logs and metrics.

/// What was done with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recoding {
    /// It was compressed.
    Encode,
    /// A coding was undone.
    Decode,
}

impl Recoding {
    /// Both, in the order of their metric cells.
    pub const ALL: [Self; 2] = [Self::Encode, Self::Decode];

    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encode => "encode",
            Self::Decode => "decode",
        }
    }
}

/// How one attempt to fetch from an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// A complete response head came.
    Ok,
    /// The endpoint's name could not be resolved.
    DnsFailed,
    /// The connection was refused or unreachable.
    ConnectFailed,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The TLS handshake or the certificate check failed.
    TlsFailed,
    /// No connection became free: the endpoint's cap and the queue are full, or the wait took too long.
    NoConnection,
    /// No response head came in time.
    Timeout,
    /// The endpoint closed or reset the connection before its response head was complete.
    Reset,
    /// What came was not an HTTP response.
    InvalidResponse,
    /// The client's request body failed or broke off; not the endpoint's fault.
    RequestBody,
    /// The client left, or the exchange's own deadline passed, before there was an answer.
    Cancelled,
}

impl AttemptOutcome {
    /// All outcomes, in the order of their metric cells.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::DnsFailed,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::NoConnection,
        Self::Timeout,
        Self::Reset,
        Self::InvalidResponse,
        Self::RequestBody,
        Self::Cancelled,
    ];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::DnsFailed => "dns_failed",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::NoConnection => "no_connection",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::InvalidResponse => "invalid_response",
            Self::RequestBody => "request_body",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a TLS handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// It took too long.
    TimedOut,
    /// The client left in the middle of it.
    Closed,
    /// As many were under way as may be.
    TooMany,
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// What the client said was not TLS.
    NotTls,
    /// The client asked for no name, or for one that is not served.
    UnknownName,
    /// There is no version, cipher suite, signature or protocol that both sides know.
    NothingShared,
    /// The client has no certificate where one is required.
    NoClientCertificate,
    /// The client's certificate is not accepted: unknown authority, out of time, for another purpose.
    ClientCertificate,
    /// The client's certificate is revoked.
    ClientRevoked,
    /// The client's certificate has none of the names that are allowed.
    ClientNotAllowed,
    /// The client does not accept our certificate.
    OurCertificate,
    /// The client ended it with another alert.
    Alert,
    /// The client broke the rules of TLS.
    Protocol,
}

impl HandshakeFailure {
    /// All of them, in the order of their metric cells.
    pub const ALL: [Self; 14] = [
        Self::TimedOut,
        Self::Closed,
        Self::TooMany,
        Self::PlainHttp,
        Self::NotTls,
        Self::UnknownName,
        Self::NothingShared,
        Self::NoClientCertificate,
        Self::ClientCertificate,
        Self::ClientRevoked,
        Self::ClientNotAllowed,
        Self::OurCertificate,
        Self::Alert,
        Self::Protocol,
    ];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
            Self::TooMany => "too_many",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::UnknownName => "unknown_name",
            Self::NothingShared => "nothing_shared",
            Self::NoClientCertificate => "no_client_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::ClientRevoked => "client_revoked",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::OurCertificate => "our_certificate",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
        }
    }
}

/// Why a client connection was closed before any request was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionRefused {
    /// The instance has as many connections as it may.
    Limit,
    /// The client has as many as one may.
    ClientLimit,
    /// The process or the system ran out of file descriptors or memory.
    Resources,
    /// The instance is shutting down.
    Draining,
    /// The TLS handshake failed.
    Tls,
    /// It did not say for whom it is, as the PROXY protocol has it, or came from nobody who may.
    ProxyProtocol,
}

impl ConnectionRefused {
    /// All reasons, in the order of their metric cells.
    pub const ALL: [Self; 6] =
        [Self::Limit, Self::ClientLimit, Self::Resources, Self::Draining, Self::Tls, Self::ProxyProtocol];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::ClientLimit => "client_limit",
            Self::Resources => "resources",
            Self::Draining => "draining",
            Self::Tls => "tls",
            Self::ProxyProtocol => "proxy_protocol",
        }
    }
}
