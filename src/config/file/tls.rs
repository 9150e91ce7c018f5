//! TLS towards clients.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Named, OneOrMany};
use crate::config::scalar::{FilePath, PositiveTime, Time};
use crate::config::server_name::{CertificateName, ServerName};

/// TLS as listeners speak it that name it: certificates, and what is asked of clients. Its files are watched; a broken
/// one is told, and what was read before goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A PEM file: the certificate, then those that lead to its root. Clients choose by name (SNI); this one also
    /// answers names that no other certificate has. Relative paths start at the config file's directory.
    pub cert: Option<FilePath>,
    /// A PEM file: the certificate's private key, not encrypted.
    pub key: Option<FilePath>,
    /// A DER file: an OCSP response for the certificate, which is stapled as long as it holds.
    pub ocsp: Option<FilePath>,
    /// More certificates: for other names, or of another kind (ECDSA and RSA) for the same ones.
    pub certificates: Vec<CertificateEntry>,
    /// Versions and cipher suites by Mozilla's names: "intermediate" is TLS 1.2 and 1.3, "modern" 1.3 only.
    #[schemars(extend("default" = "intermediate"))]
    pub profile: Option<TlsProfile>,
    /// Whether HTTP/2 is offered.
    #[schemars(extend("default" = true))]
    pub http2: Option<bool>,
    /// Whether clients are refused that ask for no name, or for one that no certificate has; requests for such a host get
    /// 421.
    #[schemars(extend("default" = false))]
    pub strict_sni: Option<bool>,
    /// The longest time that a handshake may take.
    #[schemars(extend("default" = "10s"))]
    pub handshake_timeout: Option<PositiveTime>,
    /// How often the keys of session tickets change, up to "7d"; each is forgotten one such time later. "0s" means that
    /// sessions are not resumed.
    #[schemars(extend("default" = "12h"))]
    pub ticket_rotation: Option<Time>,
    /// Replies by TLS tell browsers to ask by TLS only (Strict-Transport-Security): for how long, or a table.
    pub hsts: Option<Hsts>,
    /// Certificates of clients (mTLS), where `names` does not say otherwise.
    pub client: ClientCertificates,
    /// What is said of single names: "admin.example.com", or "*.example.com" for one label more.
    pub names: Named<TlsName, ServerName>,
}

/// A certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateEntry {
    /// A PEM file: the certificate, then those that lead to its root.
    pub cert: FilePath,
    /// A PEM file: its private key, not encrypted.
    pub key: FilePath,
    /// A DER file: an OCSP response for it.
    #[serde(default)]
    pub ocsp: Option<FilePath>,
}

/// Versions and cipher suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsProfile {
    /// TLS 1.3.
    Modern,
    /// TLS 1.2 with forward secrecy and AEAD, and 1.3.
    Intermediate,
}

/// For how long browsers ask by TLS only.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Hsts {
    /// So long.
    MaxAge(Time),
    /// A table.
    Table(HstsTable),
}

/// Strict-Transport-Security (RFC 6797).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HstsTable {
    /// For how long.
    pub max_age: Time,
    /// Whether it holds for all names below, too.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub include_subdomains: bool,
    /// Whether browsers may have it built in, which cannot be taken back for months.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub preload: bool,
}

/// What is said of a name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsName {
    /// Certificates of its clients. A request for it by a connection that was opened for a name with other settings gets 421.
    pub client: ClientCertificates,
}

/// Certificates of clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificates {
    /// "required": without a good one there is no connection. "optional": clients may have none. "off": they are not asked.
    #[schemars(extend("default" = "off"))]
    pub verify: Option<Verify>,
    /// A PEM file of the authorities whose certificates are taken.
    pub ca: Option<FilePath>,
    /// Files (PEM or DER) of lists of revoked certificates. With any, the authority of each client's certificate must have
    /// one that has not run out.
    pub crl: Option<OneOrMany<FilePath>>,
    /// Alternative names of which a certificate must have one: "dns:*.example.com" (without dots in place of the `*`),
    /// "uri:spiffe://example.com/*", "email:*@example.com", "ip:10.0.0.0/8". Without it every certificate is taken.
    pub allow: Option<OneOrMany<CertificateName>>,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// They are not asked for one.
    Off,
    /// They may have one.
    Optional,
    /// They must have one.
    Required,
}

/// What an upstream is told of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertificateFact {
    /// The whole of it, as Client-Cert has it (RFC 9440).
    Certificate,
    /// Its subject (RFC 4514).
    Subject,
    /// Its issuer (RFC 4514).
    Issuer,
    /// Its serial number, hexadecimal.
    Serial,
    /// Its SHA-256, hexadecimal.
    Fingerprint,
    /// All its alternative names, as a list of strings such as "dns:a.example".
    Sans,
    /// Its first DNS name.
    Dns,
    /// Its first URI.
    Uri,
    /// Its first mail address.
    Email,
}

impl ClientCertRule {
    /// Whether it asks that there is none.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Presence(false))
    }
}

/// What a route asks of a client's certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClientCertRule {
    /// Whether there must be one.
    Presence(bool),
    /// A name that it must have.
    Name(CertificateName),
    /// Names of which it must have one.
    Names(Vec<CertificateName>),
}
