//! Certificates.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::telemetry::record::rfc3339;

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    /// The `[tls.NAME]` that it belongs to.
    pub tls: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// `valid`, `ends soon`, `expired` or `not yet valid`.
    pub state: String,
    /// For how many days it is still valid; below 0 when it is not.
    pub days_left: i64,
    /// The kind of its key: `ecdsa`, `rsa`, `ed25519` or `other`.
    pub key: String,
    /// Its subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// Its SHA-256, hexadecimal.
    pub fingerprint: String,
    /// It is not valid before.
    #[serde(with = "rfc3339")]
    pub not_before: Timestamp,
    /// It is not valid after.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// How many certificates are sent, this one included.
    pub chain: usize,
    /// The state of its OCSP response, where it has one: `good`, `expired`, `revoked` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple: Option<String>,
    /// The listeners that show it.
    pub listeners: Vec<String>,
    /// Its file.
    pub cert: String,
    /// What is broken of its files, so that what was read before goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
