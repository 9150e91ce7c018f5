//! What is known of a client's TLS connection.

use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::client::Digest;
use super::identity::Identity;
use super::terminator::Terminator;
use crate::clock::Timestamp;

/// A TLS connection after its handshake.
#[derive(Debug)]
pub struct Session {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub sni: Option<Box<str>>,
    /// Whether it goes on from an earlier one.
    pub resumed: bool,
    /// Who the client is, where it has shown a certificate.
    pub identity: Option<Identity>,
    terminator: Arc<Terminator>,
    policy: Digest,
}

/// The client's certificate, verified when its session was first opened, is not valid any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

impl Session {
    /// Of a connection whose handshake is done, under the requirements that `policy` stands for.
    pub(super) fn new(
        terminator: Arc<Terminator>,
        policy: Digest,
        connection: &ServerConnection,
        now: Timestamp,
    ) -> Result<Self, Expired> {
        let identity = match connection.peer_certificates().and_then(<[_]>::first) {
            // A resumed session brings its certificate along, and nobody has looked at the time again.
            Some(leaf) => {
                let known = Identity::of(leaf).filter(|identity| identity.certificate.is_valid_at(now));
                Some(known.ok_or(Expired)?)
            }
            None => None,
        };
        Ok(Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .map_or("", iana),
            sni: connection.server_name().map(Box::from),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            identity,
            terminator,
            policy,
        })
    }

    /// What replies say of `Strict-Transport-Security`.
    pub fn hsts(&self) -> Option<http::HeaderValue> {
        self.terminator.hsts()
    }

    /// Whether requests for this host may come by this connection: what is asked of clients is the same for it as for the
    /// name that the connection was opened for, and was when it was opened (RFC 9110 7.4).
    pub fn serves(&self, host: &str) -> bool {
        self.terminator.serves(host, &self.policy)
    }
}

/// The name that IANA has registered: rustls calls suites of TLS 1.3 `TLS13_...`.
fn iana(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}
