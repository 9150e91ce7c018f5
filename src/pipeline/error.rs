//! The one place that maps what went wrong to a status, a `Proxy-Status` (RFC 9209) and a problem body (RFC 9457).
//!
//! What a client reads names the kind of failure and the request id; addresses, names and causes go to the log.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use thiserror::Error;

use super::edit::rewrite::BadRewrite;
use super::limiting::Refusal;
use crate::auth::basic::Busy;
use crate::http::grpc;
use crate::http::h1::Violation;
use crate::http::problem::Problem;
use crate::http::proxy_status::ErrorType;
use crate::http::target::BadTarget;
use crate::http::upgrade::WEBSOCKET;
use crate::http::websocket::{self, BadHandshake};
use crate::upstream::{self, FetchError, RequestBodyError};

/// Why an exchange ends in a reply of our own.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The request's target or `Host` cannot be understood.
    #[error("bad target: {0}")]
    Target(#[from] BadTarget),
    /// The host is not one of those that the client's TLS connection was opened for (RFC 9110 7.4).
    #[error("the host is not served on this TLS connection")]
    Misdirected,
    /// The request says more than one thing.
    #[error("malformed request: {0}")]
    Malformed(#[from] Violation),
    /// `CONNECT` asks for a tunnel, which a gateway does not give.
    #[error("CONNECT is not served")]
    Connect,
    /// The request asks for a WebSocket, and not as RFC 6455 4.2.1 has it.
    #[error("bad handshake: {0}")]
    Handshake(BadHandshake),
    /// There are as many tunnels as there may be.
    #[error("enough connections speak another protocol")]
    Tunnels,
    /// The upstream agreed to another protocol, but not as it must.
    #[error("the protocol was not changed: {0}")]
    Switch(String),
    /// No route takes the request.
    #[error("no route takes the request")]
    NoRoute,
    /// The route does not serve the client's address.
    #[error("the route does not serve this client's address")]
    Denied,
    /// A preflight of an origin that may nothing.
    #[error("the route's policy does not allow this origin")]
    Origin,
    /// The route wants a name and a password; the challenge.
    #[error("there are no credentials, or wrong ones")]
    Unauthorized(HeaderValue),
    /// Too many passwords are being checked.
    #[error("too many passwords wait to be checked")]
    Passwords(Busy),
    /// The route is under maintenance, and is to be tried again after so many seconds.
    #[error("the route is under maintenance")]
    Maintenance(u64),
    /// What the route's rewrite made of the target is not forwarded.
    #[error("{0}")]
    Rewrite(#[from] BadRewrite),
    /// The request has passed through this proxy already.
    #[error("the request came back to this proxy")]
    Loop,
    /// Its target is longer than it may be.
    #[error("the request's target is too long")]
    TargetTooLong,
    /// It has more fields than it may have.
    #[error("the request has too many fields")]
    TooManyFields,
    /// Its body is declared to be larger than the route allows.
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// The route does not serve its method; those that it serves.
    #[error("the route does not serve the method")]
    Method(HeaderValue),
    /// The route does not serve its scheme.
    #[error("the route does not serve the scheme")]
    Scheme,
    /// It came too soon after others, and a rate limit refuses it (RFC 6585 4).
    #[error("a rate limit refused the request")]
    Limited(Refusal),
    /// `only-if-cached`, and nothing stored can answer (RFC 9111 5.2.1.7).
    #[error("only-if-cached, and nothing stored can answer")]
    OnlyIfCached,
    /// A purge by a client that may not.
    #[error("a purge by a client that may not purge was refused")]
    PurgeDenied,
    /// A purge without the token that it takes.
    #[error("a purge without the right token was refused")]
    PurgeToken,
    /// A purge of more names than one request may have.
    #[error("a purge of too many tags was refused")]
    PurgeTooMuch,
    /// A purge that a restart would forget.
    #[error("a purge could not be written to the journal")]
    PurgeNotKept,
    /// A fault of ours.
    #[error("the fetch ended without a word")]
    Internal,
    /// The upstream gave no reply.
    #[error("{0}")]
    Fetch(Arc<FetchError>),
    /// The upstream gave no reply, and what is stored must not be sent without its word (RFC 9111 5.2.2.2).
    #[error("what is stored could not be validated: {0}")]
    Unvalidated(Arc<FetchError>),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Fetch(Arc::new(error))
    }
}

/// What a failure looks like to the client.
struct Face {
    status: StatusCode,
    error: Option<ErrorType>,
    title: &'static str,
    detail: &'static str,
}

impl Failure {
    /// The error type, for log and metrics.
    pub(super) fn kind(&self) -> Option<&'static str> {
        self.face().error.map(ErrorType::as_str)
    }

    /// Why the request is refused for what it is, if it is; its content is counted where it was read.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Target(error) => Some(error.as_str()),
            Self::Malformed(violation) => Some(violation.as_str()),
            Self::Connect => Some("connect"),
            _ => None,
        }
    }

    /// Whether the connection must be closed after the reply, since what follows on it cannot be trusted.
    pub(super) fn closes(&self) -> bool {
        match self {
            Self::Target(_) | Self::Connect | Self::Misdirected => true,
            Self::Fetch(error) => {
                matches!(error.failure, upstream::Failure::RequestBody(RequestBodyError::Malformed(_)))
            }
            _ => false,
        }
    }

    /// The reply's head and body.
    pub(super) fn reply(&self, proxy: &str, request_id: &str) -> (StatusCode, HeaderMap, bytes::Bytes) {
        let face = self.face();
        let body =
            Problem { title: face.title, status: face.status.as_u16(), detail: face.detail, request_id }
                .to_bytes();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Nothing that we say of a failure is worth keeping.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(error) = face.error {
            headers.insert("proxy-status", error.to_value(proxy));
        }
        if let Self::Limited(refusal) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(refusal.retry_after));
        } else if matches!(face.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let after = if let Self::Maintenance(seconds) = self { *seconds } else { 1 };
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if let Self::Method(allow) = self {
            headers.insert(header::ALLOW, allow.clone());
        }
        if face.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 15.5.2 wants a challenge.
            let challenge = match self {
                Self::Unauthorized(challenge) => challenge.clone(),
                _ => HeaderValue::from_static("Bearer"),
            };
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Self::Handshake(_) = self {
            headers.insert(websocket::VERSION, websocket::VERSION_13);
        }
        if face.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 15.5.22: what is required.
            headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        (face.status, headers, body)
    }

    /// The reply to a call of gRPC, which tells its end in fields of its own.
    pub(super) fn reply_to_call(&self, proxy: &str) -> (StatusCode, HeaderMap, bytes::Bytes) {
        let face = self.face();
        let mut headers = grpc::end(grpc::code_of(face.status), face.title);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if let Some(error) = face.error {
            headers.insert("proxy-status", error.to_value(proxy));
        }
        (StatusCode::OK, headers, bytes::Bytes::new())
    }

    fn face(&self) -> Face {
        match self {
            Self::Target(error) => Face {
                status: error.status(),
                error: Some(ErrorType::HttpRequestError),
                title: "The request's target or Host field is malformed",
                detail: "Send an absolute path and exactly one valid Host field.",
            },
            Self::Misdirected => Face {
                status: StatusCode::MISDIRECTED_REQUEST,
                error: Some(ErrorType::HttpRequestDenied),
                title: "This connection is not for that host",
                detail: "Open a TLS connection for the host that the request names.",
            },
            Self::Malformed(violation) => Face {
                status: violation.status(),
                error: Some(ErrorType::HttpRequestError),
                title: "The request is malformed",
                detail: "One of its fields breaks the rules of HTTP/2, or says what is not understood here.",
            },
            Self::Connect => Face {
                // Not 405, which would have to name what a resource allows (RFC 9110 15.5.6).
                status: StatusCode::NOT_IMPLEMENTED,
                error: Some(ErrorType::HttpRequestDenied),
                title: "CONNECT is not served here",
                detail: "This is a gateway in front of an API, not a forward proxy.",
            },
            Self::Handshake(bad) => Face {
                status: match bad {
                    BadHandshake::Version => StatusCode::UPGRADE_REQUIRED,
                    BadHandshake::Key | BadHandshake::OnStream => StatusCode::BAD_REQUEST,
                },
                error: Some(ErrorType::HttpRequestError),
                title: "The WebSocket handshake is malformed",
                detail: "Send Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of sixteen bytes in base64.",
            },
            Self::Tunnels => Face {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: Some(ErrorType::ConnectionLimitReached),
                title: "Too many connections speak another protocol",
                detail: "Try again once some have ended.",
            },
            Self::Switch(_) => Face {
                status: StatusCode::BAD_GATEWAY,
                error: Some(ErrorType::HttpUpgradeFailed),
                title: "The upstream did not change the protocol as it must",
                detail: "The request id finds this exchange in the proxy's log.",
            },
            Self::NoRoute => Face {
                status: StatusCode::NOT_FOUND,
                error: Some(ErrorType::DestinationNotFound),
                title: "No route takes this request",
                detail: "Nothing is configured for this host, path and method.",
            },
            Self::Rewrite(bad) => Face {
                status: match bad {
                    BadRewrite::Target(bad) => bad.status(),
                    BadRewrite::DotSegment | BadRewrite::Slash => StatusCode::BAD_REQUEST,
                },
                error: Some(ErrorType::HttpRequestDenied),
                title: "The request's target leads nowhere",
                detail: "What is to be forwarded of it is no path.",
            },
            Self::Denied => Face {
                status: StatusCode::FORBIDDEN,
                error: Some(ErrorType::HttpRequestDenied),
                title: "This client is not served here",
                detail: "The config says which addresses are.",
            },
            Self::Unauthorized(_) => Face {
                status: StatusCode::UNAUTHORIZED,
                error: Some(ErrorType::HttpRequestDenied),
                title: "A name and a password are asked for",
                detail: "Send them as Basic credentials (RFC 7617).",
            },
            Self::Passwords(busy) => Face {
                status: match busy {
                    Busy::All => StatusCode::SERVICE_UNAVAILABLE,
                    Busy::Client => StatusCode::TOO_MANY_REQUESTS,
                },
                error: Some(ErrorType::HttpRequestDenied),
                title: "Too many passwords wait to be checked",
                detail: "Send it again after the time that Retry-After gives, in seconds.",
            },
            Self::Origin => Face {
                status: StatusCode::FORBIDDEN,
                error: Some(ErrorType::HttpRequestDenied),
                title: "This origin is not allowed",
                detail: "The config says which origins' scripts may ask.",
            },
            Self::Maintenance(_) => Face {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: Some(ErrorType::DestinationUnavailable),
                title: "This service is under maintenance",
                detail: "Retry-After says when to come back.",
            },
            Self::Loop => Face {
                status: StatusCode::LOOP_DETECTED,
                error: Some(ErrorType::ProxyLoopDetected),
                title: "The request came back to this proxy",
                detail: "An upstream leads to this very proxy.",
            },
            Self::TargetTooLong => Face {
                status: StatusCode::URI_TOO_LONG,
                error: Some(ErrorType::HttpRequestError),
                title: "The request's target is too long",
                detail: "Send what is long in the body.",
            },
            Self::TooManyFields => Face {
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                error: Some(ErrorType::HttpRequestError),
                title: "The request has too many fields",
                detail: "Send fewer.",
            },
            Self::BodyTooLarge => Face {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                error: Some(ErrorType::HttpRequestError),
                title: "The request's body is larger than this route allows",
                detail: "Nothing of it was read.",
            },
            Self::Method(_) => Face {
                status: StatusCode::METHOD_NOT_ALLOWED,
                error: Some(ErrorType::HttpRequestDenied),
                title: "The method is not served here",
                detail: "Allow names those that are.",
            },
            Self::Scheme => Face {
                status: StatusCode::FORBIDDEN,
                error: Some(ErrorType::HttpRequestDenied),
                title: "The scheme is not served here",
                detail: "This route is served over the other of http and https only.",
            },
            Self::Limited(refusal) => Face {
                status: refusal.status,
                error: Some(ErrorType::HttpRequestDenied),
                title: "Too many requests",
                detail: "Send it again after the time that Retry-After gives, in seconds.",
            },
            Self::OnlyIfCached => Face {
                status: StatusCode::GATEWAY_TIMEOUT,
                error: None,
                title: "Nothing stored can answer",
                detail: "The request said only-if-cached.",
            },
            Self::PurgeDenied => Face {
                status: StatusCode::FORBIDDEN,
                error: Some(ErrorType::HttpRequestDenied),
                title: "This client may not purge",
                detail: "The config names the networks that may.",
            },
            Self::PurgeToken => Face {
                status: StatusCode::UNAUTHORIZED,
                error: Some(ErrorType::HttpRequestDenied),
                title: "Purging takes a token",
                detail: "Send it as Authorization: Bearer TOKEN.",
            },
            Self::PurgeTooMuch => Face {
                status: StatusCode::BAD_REQUEST,
                error: Some(ErrorType::HttpRequestError),
                title: "Too many tags in one request",
                detail: "Nothing was purged. Send them in several requests.",
            },
            Self::PurgeNotKept => Face {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error: Some(ErrorType::ProxyInternalError),
                title: "The purge holds, but may not outlast a restart",
                detail: "It could not be written to the journal. Send it again.",
            },
            Self::Internal => Face {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error: Some(ErrorType::ProxyInternalError),
                title: "The proxy failed",
                detail: "The request id finds this exchange in the proxy's log.",
            },
            Self::Fetch(error) => fetch_face(&error.failure),
            Self::Unvalidated(error) => match fetch_face(&error.failure) {
                face if face.status == StatusCode::BAD_GATEWAY => {
                    Face { status: StatusCode::GATEWAY_TIMEOUT, ..face }
                }
                face => face,
            },
        }
    }
}

fn fetch_face(failure: &upstream::Failure) -> Face {
    use upstream::Failure as F;
    let (status, error, title) = match failure {
        F::Dns(_) => (StatusCode::BAD_GATEWAY, ErrorType::DnsError, "The upstream's name does not resolve"),
        F::ConnectRefused => {
            (StatusCode::BAD_GATEWAY, ErrorType::ConnectionRefused, "The upstream refused the connection")
        }
        F::ConnectTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            ErrorType::ConnectionTimeout,
            "The upstream did not accept a connection in time",
        ),
        F::Connect(_) => {
            (StatusCode::BAD_GATEWAY, ErrorType::DestinationUnavailable, "The upstream cannot be reached")
        }
        F::TlsCertificate(_) => (
            StatusCode::BAD_GATEWAY,
            ErrorType::TlsCertificateError,
            "The upstream's certificate is not accepted",
        ),
        F::Tls(_) => (StatusCode::BAD_GATEWAY, ErrorType::TlsProtocolError, "TLS with the upstream failed"),
        F::FirstByteTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            ErrorType::HttpResponseTimeout,
            "The upstream did not answer in time",
        ),
        F::Deadline => {
            (StatusCode::GATEWAY_TIMEOUT, ErrorType::HttpResponseTimeout, "The exchange took too long")
        }
        F::ResetBeforeHead(_) => (
            StatusCode::BAD_GATEWAY,
            ErrorType::ConnectionTerminated,
            "The upstream closed the connection before it answered",
        ),
        F::InvalidResponse(_) => (
            StatusCode::BAD_GATEWAY,
            ErrorType::HttpProtocolError,
            "The upstream's reply could not be understood",
        ),
        F::QueueFull | F::QueueTimeout => (
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::ConnectionLimitReached,
            "All connections to the upstream are in use",
        ),
        F::RequestBody(RequestBodyError::TooLarge) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorType::HttpRequestError,
            "The request's body is larger than this route allows",
        ),
        F::RequestBody(RequestBodyError::IdleTimeout) => (
            StatusCode::REQUEST_TIMEOUT,
            ErrorType::HttpRequestError,
            "The request's body did not come in time",
        ),
        F::RequestBody(RequestBodyError::Malformed(_)) => (
            StatusCode::BAD_REQUEST,
            ErrorType::HttpRequestError,
            "The framing of the request's body is malformed",
        ),
        F::RequestBody(RequestBodyError::Coding) => (
            StatusCode::BAD_REQUEST,
            ErrorType::HttpRequestError,
            "The request's body is not base64, as its type says",
        ),
        F::RequestBody(_) => {
            (StatusCode::BAD_REQUEST, ErrorType::HttpRequestError, "The request's body broke off")
        }
    };
    Face {
        status,
        error: Some(error),
        title,
        detail: "The request id finds this exchange in the proxy's log.",
    }
}
