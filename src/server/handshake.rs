//! TLS handshakes: on the connection's worker, bounded in number and time, and told of when they fail.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::Acceptor;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;

use super::stream::{Secured, Stream};
use crate::http::cache_status::CacheStatus;
use crate::telemetry::HandshakeFailure;
use crate::telemetry::event::Protocol;
use crate::tls::{Session, Terminator};

/// How long a client that is refused may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a refused client may still send, and what of it is read so that the system does not answer it with a reset,
/// which would discard the refusal.
const REFUSED_BYTES: usize = 64 << 10;

/// What a client that does not read may leave sealed but unsent.
const SEALED_BYTES: usize = 32 << 10;

/// The first byte of a TLS record with a handshake (RFC 8446 5.1).
pub(super) const HANDSHAKE: u8 = 0x16;

/// A fatal alert that no cipher covers yet (RFC 8446 6).
pub(super) const fn alert(description: u8) -> [u8; 7] {
    const FATAL: u8 = 2;
    [0x15, 3, 3, 0, 2, FATAL, description]
}

/// RFC 8446 6.2.
const UNRECOGNIZED_NAME: u8 = 112;
/// What one says to a client that speaks TLS where none is spoken.
pub(super) const PROTOCOL_VERSION: u8 = 70;

/// A connection whose handshake is done.
pub(super) struct Shaken {
    pub(super) stream: Box<Secured>,
    pub(super) session: Arc<Session>,
    pub(super) protocol: Protocol,
}

/// Shakes hands. A client that gets nowhere is told why, as far as it can understand it.
/// `name` is what this proxy is called.
pub(super) async fn shake(
    socket: Stream,
    terminator: &Arc<Terminator>,
    name: &str,
) -> Result<Shaken, HandshakeFailure> {
    let limit = terminator.settings().handshake_timeout;
    tokio::time::timeout(limit, begin(socket, terminator, name))
        .await
        .unwrap_or(Err(HandshakeFailure::TimedOut))
}

async fn begin(
    mut socket: Stream,
    terminator: &Arc<Terminator>,
    name: &str,
) -> Result<Shaken, HandshakeFailure> {
    match socket.first_byte().await.ok().flatten() {
        Some(HANDSHAKE) => {}
        None => return Err(HandshakeFailure::Closed),
        // No method begins otherwise that is in use, and TLS never does.
        Some(byte) if byte.is_ascii_alphabetic() => {
            refuse(&mut socket, plain_http(name).as_bytes()).await;
            return Err(HandshakeFailure::PlainHttp);
        }
        Some(_) => return Err(HandshakeFailure::NotTls),
    }
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let mut started = match (&mut acceptor).await {
        Ok(started) => started,
        Err(error) => {
            if let Some(mut socket) = acceptor.take_io() {
                refuse(&mut socket, &[]).await;
            }
            return Err(failure(&error));
        }
    };
    let Some(welcome) = terminator.welcome(&started.client_hello()) else {
        refuse(&mut started.io, &alert(UNRECOGNIZED_NAME)).await;
        return Err(HandshakeFailure::UnknownName);
    };
    let limited = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(SEALED_BYTES));
    let stream = match started.into_stream_with(welcome.config.clone(), limited).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut socket)) => {
            // The alert is on its way, and must not be overtaken by a reset.
            refuse(&mut socket, &[]).await;
            return Err(failure(&error));
        }
    };
    let session =
        terminator.session(&welcome, stream.get_ref().1).map_err(|_| HandshakeFailure::ClientCertificate)?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http11,
    };
    Ok(Shaken { stream: Box::new(Secured::new(stream)), session: Arc::new(session), protocol })
}

/// The reply to a request that came without TLS (nginx: 497).
fn plain_http(name: &str) -> String {
    let body = "{\"type\":\"about:blank\",\"title\":\"This port speaks HTTPS\",\"status\":400,\
                \"detail\":\"The request came as plain HTTP. Ask for https:// instead.\"}\n";
    let cache_status = CacheStatus { detail: Some("plain_http"), ..CacheStatus::default() }.to_value(name);
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\ncache-status: {}\r\ndate: {date}\r\n\r\n{body}",
        body.len(),
        String::from_utf8_lossy(cache_status.as_bytes())
    )
}

/// Says `last`, closes, and reads on for a while.
pub(super) async fn refuse(
    socket: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    last: &[u8],
) {
    let refusing = async {
        socket.write_all(last).await?;
        socket.shutdown().await?;
        let (mut scratch, mut dropped) = ([0; 2048], 0);
        while dropped < REFUSED_BYTES {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => dropped += read,
            }
        }
        Ok::<(), io::Error>(())
    };
    // It is refused, whatever becomes of that.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refusing).await;
}

/// What kind of failure it was, for counting.
fn failure(error: &io::Error) -> HandshakeFailure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return HandshakeFailure::Closed;
    };
    tracing::debug!(%error, "TLS handshake failed");
    match tls {
        TlsError::NoCertificatesPresented => HandshakeFailure::NoClientCertificate,
        TlsError::InvalidCertificate(CertificateError::Revoked) => HandshakeFailure::ClientRevoked,
        TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            HandshakeFailure::ClientNotAllowed
        }
        TlsError::InvalidCertificate(_) | TlsError::InvalidCertRevocationList(_) => {
            HandshakeFailure::ClientCertificate
        }
        TlsError::AlertReceived(alert) => received(*alert),
        TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol => HandshakeFailure::NothingShared,
        TlsError::InvalidMessage(_) => HandshakeFailure::NotTls,
        _ => HandshakeFailure::Protocol,
    }
}

fn received(alert: AlertDescription) -> HandshakeFailure {
    use AlertDescription as Alert;
    match alert {
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate => HandshakeFailure::OurCertificate,
        Alert::CloseNotify | Alert::UserCanceled => HandshakeFailure::Closed,
        _ => HandshakeFailure::Alert,
    }
}
