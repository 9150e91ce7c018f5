//! What the config says of TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::names::NamePattern;
use super::san::SanPattern;

/// One `[tls.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Its certificates; the first one answers names that no other has.
    pub certificates: Vec<CertificateFiles>,
    /// Versions and cipher suites.
    pub profile: Profile,
    /// Whether HTTP/2 is offered (ALPN).
    pub http2: bool,
    /// Whether clients are refused that ask for no name or for one that no certificate has.
    pub strict_sni: bool,
    /// The longest time that a handshake may take.
    pub handshake_timeout: Duration,
    /// How often the keys of session tickets change; `None`: sessions are not resumed by tickets.
    pub ticket_rotation: Option<Duration>,
    /// `Strict-Transport-Security`, where it is sent.
    pub hsts: Option<Hsts>,
    /// What is asked of clients where no name says otherwise.
    pub client: ClientAuth,
    /// What is asked of clients of these names.
    pub names: Vec<(NamePattern, ClientAuth)>,
}

impl Settings {
    /// The built-in defaults, without certificates.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            certificates: Vec::new(),
            profile: Profile::Intermediate,
            http2: true,
            strict_sni: false,
            handshake_timeout: Duration::from_secs(10),
            ticket_rotation: Some(Duration::from_secs(12 * 3600)),
            hsts: None,
            client: ClientAuth::default(),
            names: Vec::new(),
        }
    }

    /// Every file that it reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let certificates = self.certificates.iter().flat_map(|files| {
            [&files.cert, &files.key].into_iter().chain(files.ocsp.as_ref()).cloned().collect::<Vec<_>>()
        });
        let clients = std::iter::once(&self.client).chain(self.names.iter().map(|(_, client)| client));
        certificates.chain(clients.flat_map(|client| client.ca.iter().chain(&client.crl).cloned())).collect()
    }
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead to a root.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// DER: an OCSP response to staple (RFC 6066 8).
    pub ocsp: Option<PathBuf>,
}

/// Mozilla's named profiles (wiki.mozilla.org/Security/Server_Side_TLS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 with ECDHE and AEAD suites, and 1.3.
    Intermediate,
}

/// `Strict-Transport-Security` (RFC 6797 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// `max-age`.
    pub max_age: Duration,
    /// `includeSubDomains`.
    pub include_subdomains: bool,
    /// `preload`, which browsers' lists ask for.
    pub preload: bool,
}

impl Hsts {
    /// The field's value.
    pub fn text(&self) -> String {
        let mut text = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        text
    }
}

/// What is asked of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuth {
    /// Whether they are asked for a certificate.
    pub verify: Verify,
    /// PEM: the authorities whose certificates are taken.
    pub ca: Option<PathBuf>,
    /// PEM or DER: what those authorities have revoked.
    pub crl: Vec<PathBuf>,
    /// Of these alternative names a certificate must have one; empty: any certificate is taken.
    pub allow: Vec<SanPattern>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// No.
    #[default]
    Off,
    /// They may have none; one that they have must be good.
    Optional,
    /// They must have a good one.
    Required,
}
