//! Certificates for development: an authority of this machine's own, as mkcert and Caddy have one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error as ThisError;

use super::names::NamePattern;
use super::x509::Certificate;
use crate::clock::Timestamp;

const DAY: u64 = 86_400;

/// For how long the authority is valid.
const AUTHORITY_DAYS: u64 = 3650;

/// Longer ones are refused by Apple's systems, even of authorities that a user has added.
const LEAF_DAYS: u64 = 820;

/// A certificate that ends within so many days is made anew.
const RENEWED_DAYS: u64 = 30;

/// Why there is no certificate.
#[derive(Debug, ThisError)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate cannot be for this.
    #[error("`{0}` is neither a name such as `localhost` or `*.app.test` nor an address")]
    Name(String),
    /// The authority's files are not what was written there.
    #[error("{} is not usable: {why}", path.display())]
    Authority {
        /// Its certificate, or its key.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It cannot be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The authority.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the certificate. The authority's own is not sent.
    pub cert: PathBuf,
    /// PEM, readable by its owner only.
    pub key: PathBuf,
}

impl Authority {
    /// The authority of a state directory; made where there is none.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn open(state: &Path, now: Timestamp) -> Result<Self, Error> {
        let directory = directory(state);
        let io = |source| Error::Io { path: directory.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io)?;
        let (cert, key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
        if !cert.exists() {
            make_authority(&cert, &key, now)?;
        }
        let unusable = |path: &Path, why: String| Error::Authority { path: path.to_owned(), why };
        let pair = KeyPair::from_pem(&read(&key)?).map_err(|error| unusable(&key, error.to_string()))?;
        let text = read(&cert)?;
        let der = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| unusable(&cert, error.to_string()))?;
        let facts = Certificate::parse(&der).map_err(|why| unusable(&cert, why))?;
        if !facts.is_valid_at(now) {
            return Err(unusable(&cert, "it has expired; remove it, and a new one is made".to_owned()));
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, pair).map_err(|error| unusable(&cert, error.to_string()))?;
        Ok(Self { directory, issuer })
    }

    /// Its certificate, which clients are to trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for these names, beside the authority; the one that is there, if it will do for a while.
    ///
    /// # Errors
    /// When a name is none, or the files cannot be written.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<Pair, Error> {
        self.issue_into(&self.directory, names, now)
    }

    /// The same in another directory.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_into(&self, directory: &Path, names: &[String], now: Timestamp) -> Result<Pair, Error> {
        let params = leaf_params(names, now)?;
        let stem = stem(names);
        let pair = Pair {
            cert: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}-key.pem")),
        };
        if self.will_do(&pair, names, now) {
            return Ok(pair);
        }
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        fs::create_dir_all(directory).map_err(|source| Error::Io { path: directory.to_owned(), source })?;
        write(&pair.key, &key.serialize_pem(), 0o600)?;
        write(&pair.cert, &cert.pem(), 0o644)?;
        Ok(pair)
    }

    fn will_do(&self, pair: &Pair, names: &[String], now: Timestamp) -> bool {
        let own = || Certificate::parse(&CertificateDer::from_pem_file(self.certificate()).ok()?).ok();
        let read = || Certificate::parse(&CertificateDer::from_pem_file(&pair.cert).ok()?).ok();
        let (Some(own), Some(known)) = (own(), read()) else { return false };
        let named = |name: &String| {
            known.sans.iter().any(|san| {
                san.to_string().split_once(':').is_some_and(|(_, san)| san == name.to_ascii_lowercase())
            })
        };
        pair.key.exists()
            && known.issuer == own.subject
            && names.iter().all(named)
            && known.not_after.since(now).as_secs() > RENEWED_DAYS * DAY
    }
}

/// Where the certificate of a state directory's authority is, if it has one.
pub fn authority_file(state: &Path) -> PathBuf {
    directory(state).join("ca.pem")
}

fn directory(state: &Path) -> PathBuf {
    state.join("dev-tls")
}

fn make_authority(cert: &Path, key: &Path, now: Timestamp) -> Result<(), Error> {
    let mut params = CertificateParams::default();
    let mut tag = [0; 4];
    aws_lc_rs::rand::fill(&mut tag).map_err(|_| rcgen::Error::RingUnspecified)?;
    params.distinguished_name = DistinguishedName::new();
    // Each authority has a name of its own, so that one that was made anew is not taken for the old one.
    let name = format!("proxy-stone development {}", super::x509::hex(&tag));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, now, AUTHORITY_DAYS);
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    write(key, &pair.serialize_pem(), 0o600)?;
    write(cert, &made.pem(), 0o644)
}

fn leaf_params(names: &[String], now: Timestamp) -> Result<CertificateParams, Error> {
    let good = |name: &String| name.parse::<IpAddr>().is_ok() || NamePattern::parse(name).is_some();
    if let Some(wrong) = names.iter().find(|name| !good(name)) {
        return Err(Error::Name(wrong.clone()));
    }
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut params = CertificateParams::new(lower)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "proxy-stone development certificate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, LEAF_DAYS);
    Ok(params)
}

/// Valid from an hour ago: clocks differ.
fn set_life(params: &mut CertificateParams, now: Timestamp, days: u64) {
    let from = Timestamp::from_secs(now.secs().saturating_sub(3600));
    params.not_before = SystemTime::from(from).into();
    params.not_after = SystemTime::from(Timestamp::from_secs(now.secs() + days * DAY)).into();
}

/// A file name: the first name, and how many more there are.
fn stem(names: &[String]) -> String {
    let first = names.first().map_or("localhost", String::as_str);
    let first = first.to_ascii_lowercase().replace('*', "_wildcard").replace(':', "_");
    match names.len() {
        0 | 1 => first,
        more => format!("{first}+{}", more - 1),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Written beside it first, so that nobody reads half of it, and with these permissions from its beginning.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let new = path.with_extension("new");
    let written = (|| {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|source| Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from(SystemTime::now());
        let made = Authority::open(dir.path(), now).unwrap();
        let pair = made.issue(&names(&["localhost", "*.app.test", "::1"]), now).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("dev-tls")), 0o700);
        assert_eq!(mode(&dir.path().join("dev-tls/ca-key.pem")), 0o600);
        assert_eq!(mode(&pair.key), 0o600);
        let before = fs::read(&pair.cert).unwrap();

        let again = Authority::open(dir.path(), now).unwrap();
        assert_eq!(again.issue(&names(&["localhost", "*.app.test", "::1"]), now).unwrap(), pair);
        assert_eq!(fs::read(&pair.cert).unwrap(), before, "it will do");
        let late = Timestamp::from_secs(now.secs() + 800 * DAY);
        again.issue(&names(&["localhost", "*.app.test", "::1"]), late).unwrap();
        assert_ne!(fs::read(&pair.cert).unwrap(), before, "it would have ended soon");
    }

    #[test]
    fn what_it_signs_is_good_for_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from(SystemTime::now());
        let authority = Authority::open(dir.path(), now).unwrap();
        let pair = authority.issue(&names(&["App.test", "127.0.0.1"]), now).unwrap();
        let leaf = CertificateDer::from_pem_file(&pair.cert).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        let verifier = verifier.build().unwrap();
        for (name, good) in [("app.test", true), ("127.0.0.1", true), ("other.test", false)] {
            let name = rustls_pki_types::ServerName::try_from(name).unwrap();
            use rustls::client::danger::ServerCertVerifier;
            let verified =
                verifier.verify_server_cert(&leaf, &[], &name, &[], rustls_pki_types::UnixTime::now());
            assert_eq!(verified.is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from(SystemTime::now());
        let authority = Authority::open(dir.path(), now).unwrap();
        for wrong in ["", "a b", "../x", "*"] {
            assert!(matches!(authority.issue(&names(&[wrong]), now), Err(Error::Name(_))), "{wrong}");
        }
    }
}
