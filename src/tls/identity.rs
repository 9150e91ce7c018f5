//! Who a client is, by the certificate that it has proved to hold.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

use super::san::{San, SanPattern};
use super::x509::Certificate;

/// A client's verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it says.
    pub certificate: Certificate,
    der: Box<[u8]>,
}

/// What an upstream can be told of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The certificate itself, as `Client-Cert` has it (RFC 9440 2.2).
    Certificate,
    /// Its subject (RFC 4514).
    Subject,
    /// Its issuer (RFC 4514).
    Issuer,
    /// Its serial number, hexadecimal.
    Serial,
    /// Its SHA-256, hexadecimal.
    Fingerprint,
    /// All of its subject alternative names: a list of strings (RFC 9651) such as `"dns:a.example", "uri:spiffe://x/y"`.
    Sans,
    /// Its first DNS name.
    Dns,
    /// Its first URI.
    Uri,
    /// Its first mail address.
    Email,
}

impl Identity {
    /// Of a certificate that has been verified; `None` where it cannot be read.
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        Some(Self { certificate: Certificate::parse(leaf).ok()?, der: leaf.as_ref().into() })
    }

    /// How it is called in logs: its first alternative name, or its subject.
    pub fn name(&self) -> Cow<'_, str> {
        match self.certificate.sans.first() {
            Some(san) => san.to_string().into(),
            None => (&*self.certificate.subject).into(),
        }
    }

    /// Whether one of its names is as one of these asks.
    pub fn is_one_of(&self, patterns: &[SanPattern]) -> bool {
        self.certificate.sans.iter().any(|san| patterns.iter().any(|pattern| pattern.takes(san)))
    }

    /// A fact as a field's value; `None` where the certificate does not say it.
    pub fn fact(&self, fact: Fact) -> Option<Cow<'_, str>> {
        let certificate = &self.certificate;
        let first =
            |wanted: fn(&San) -> Option<&str>| certificate.sans.iter().find_map(wanted).map(Cow::from);
        match fact {
            Fact::Certificate => Some(format!(":{}:", STANDARD.encode(&self.der)).into()),
            Fact::Subject => (!certificate.subject.is_empty()).then(|| (&*certificate.subject).into()),
            Fact::Issuer => Some((&*certificate.issuer).into()),
            Fact::Serial => Some((&*certificate.serial).into()),
            Fact::Fingerprint => Some(certificate.fingerprint_text().into()),
            Fact::Sans => (!certificate.sans.is_empty()).then(|| list(&certificate.sans).into()),
            Fact::Dns => first(|san| if let San::Dns(name) = san { Some(name) } else { None }),
            Fact::Uri => first(|san| if let San::Uri(uri) = san { Some(uri) } else { None }),
            Fact::Email => first(|san| if let San::Email(address) = san { Some(address) } else { None }),
        }
    }
}

/// As strings of RFC 9651 3.3.3.
fn list(sans: &[San]) -> String {
    let quoted = |san: &San| format!("\"{}\"", san.to_string().replace('\\', "\\\\").replace('"', "\\\""));
    sans.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn facts_are_what_the_certificate_says() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from("urn:\"x\",\\").unwrap()));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let identity = Identity::of(made.der()).unwrap();
        assert_eq!(identity.fact(Fact::Dns).as_deref(), Some("a.example"));
        assert_eq!(identity.fact(Fact::Email), None);
        let sans = identity.fact(Fact::Sans).unwrap();
        assert_eq!(sans, "\"dns:a.example\", \"uri:urn:\\\"x\\\",\\\\\"");
        let certificate = identity.fact(Fact::Certificate).unwrap();
        assert_eq!(STANDARD.decode(certificate.trim_matches(':')).unwrap(), made.der().as_ref());
        assert_eq!(identity.fact(Fact::Fingerprint).unwrap().len(), 64);
        assert_eq!(identity.name(), "dns:a.example");
        let pattern = |text: &str| SanPattern::parse(text).unwrap();
        assert!(identity.is_one_of(&[pattern("dns:b.example"), pattern("uri:urn:*")]));
        assert!(!identity.is_one_of(&[]));
    }
}
