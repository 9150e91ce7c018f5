//! What a certificate says.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::names::NamePattern;
use super::san::San;
use crate::clock::Timestamp;

/// The facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, as RFC 4514 writes names.
    pub subject: Box<str>,
    /// Who signed it, written so too.
    pub issuer: Box<str>,
    /// The serial number, hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 over all of it.
    pub fingerprint: [u8; 32],
    /// Its subject alternative names.
    pub sans: Box<[San]>,
    /// It is not valid before.
    pub not_before: Timestamp,
    /// It is not valid after.
    pub not_after: Timestamp,
    /// Its key.
    pub key: KeyKind,
}

/// What kind of key a certificate has. The smaller one is the cheaper to sign with, and preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA.
    Ecdsa,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa,
    /// Another one.
    Other,
}

impl KeyKind {
    /// The word for tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
            Self::Other => "other",
        }
    }
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// With the reason, when it is none.
    pub fn parse(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let sans = names.iter().flat_map(|names| &names.value.general_names).filter_map(san).collect();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Ok(Self {
            subject: name(parsed.subject()).into(),
            issuer: name(parsed.issuer()).into(),
            serial: hex(parsed.raw_serial()).into(),
            fingerprint,
            sans,
            not_before: timestamp(parsed.validity().not_before.timestamp()),
            not_after: timestamp(parsed.validity().not_after.timestamp()),
            key: key_kind(&parsed.public_key().algorithm.algorithm.to_id_string()),
        })
    }

    /// The names that servers are called by, of those that it is valid for.
    pub fn server_names(&self) -> impl Iterator<Item = NamePattern> {
        self.sans.iter().filter_map(|san| match san {
            San::Dns(name) => NamePattern::parse(name),
            _ => None,
        })
    }

    /// The fingerprint, hexadecimal.
    pub fn fingerprint_text(&self) -> String {
        hex(&self.fingerprint)
    }

    /// Whether it is valid at this time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether it ends so soon that it should have been replaced: within 21 days, or the last quarter of a short life.
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        const DAYS_21: u64 = 21 * 86_400;
        let life = self.not_after.since(self.not_before).as_secs();
        self.not_after.since(now).as_secs() < DAYS_21.min(life / 4)
    }
}

fn san(name: &GeneralName<'_>) -> Option<San> {
    match name {
        GeneralName::DNSName(name) => Some(San::Dns(name.to_ascii_lowercase().into())),
        GeneralName::URI(uri) => Some(San::Uri((*uri).into())),
        GeneralName::RFC822Name(address) => Some(San::Email((*address).into())),
        GeneralName::IPAddress(bytes) => address(bytes).map(San::Ip),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn key_kind(oid: &str) -> KeyKind {
    match oid {
        "1.2.840.10045.2.1" => KeyKind::Ecdsa,
        "1.3.101.112" => KeyKind::Ed25519,
        "1.2.840.113549.1.1.1" => KeyKind::Rsa,
        _ => KeyKind::Other,
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A distinguished name as RFC 4514 writes it: the last part first, and nothing in a value that could pass for another
/// part.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        for (index, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index > 0 { '+' } else { ',' });
            }
            let oid = attribute.attr_type().to_id_string();
            text.push_str(short(&oid).unwrap_or(&oid));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(&mut text, value),
                Err(_) => {
                    let _ = write!(text, "#{}", hex(attribute.as_slice()));
                }
            }
        }
    }
    text
}

fn short(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

/// RFC 4514 2.4.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', c]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02x}");
                }
            }
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(make: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec!["A.example".to_owned()]).unwrap();
        make(&mut params);
        let key = KeyPair::generate().unwrap();
        Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_and_times_are_read() {
        let found = certificate(|params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2024, 3, 1);
            let text = |text: &str| Ia5String::try_from(text).unwrap();
            params.subject_alt_names.push(SanType::URI(text("spiffe://example/web")));
            params.subject_alt_names.push(SanType::Rfc822Name(text("ann@example.com")));
            params.subject_alt_names.push(SanType::IpAddress("::1".parse().unwrap()));
        });
        let sans: Vec<_> = found.sans.iter().map(ToString::to_string).collect();
        assert_eq!(sans, ["dns:a.example", "uri:spiffe://example/web", "email:ann@example.com", "ip:::1"]);
        assert_eq!(found.key, KeyKind::Ecdsa);
        let at = |day: u64| Timestamp::from_secs(1_704_067_200 + day * 86_400);
        assert_eq!((found.not_before, found.not_after), (at(0), at(60)));
        assert!(!found.ends_soon(at(40)), "a quarter of sixty days");
        assert!(found.ends_soon(at(46)) && found.is_valid_at(at(46)));
        assert!(!found.is_valid_at(at(61)));
    }

    #[test]
    fn rfc_4514_a_value_cannot_pass_for_another_part() {
        let found = certificate(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Stone");
            params.distinguished_name.push(DnType::CommonName, "ann, O=Admin+x\n ");
        });
        assert_eq!(&*found.subject, "CN=ann\\, O\\=Admin\\+x\\0a\\ ,O=Stone");
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        assert!(Certificate::parse(b"").is_err());
        assert!(Certificate::parse(&[0x30, 0x82, 0xff, 0xff, 1]).is_err());
    }
}
