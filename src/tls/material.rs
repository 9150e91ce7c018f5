//! One certificate with its key, read from its files and found to fit together.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, crypto::CryptoProvider};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{At, Error, Fault, read};
use super::settings::CertificateFiles;
use super::staple::Staple;
use super::x509::Certificate;
use crate::clock::Timestamp;

/// A certificate that can be used.
#[derive(Clone, Debug)]
pub struct Material {
    /// Where it was read.
    pub files: CertificateFiles,
    /// What its first certificate says.
    pub leaf: Certificate,
    /// How many certificates are sent.
    pub chain: usize,
    /// What is wrong with the order of those certificates: one that did not sign the one before it.
    pub broken_chain: bool,
    /// Whether everyone on this machine can read the key.
    pub exposed: bool,
    /// Its OCSP response, where there is one.
    pub staple: Option<Staple>,
    certified: Arc<CertifiedKey>,
    response: Option<Vec<u8>>,
}

impl Material {
    /// Reads the files of the certificate at this position.
    ///
    /// # Errors
    /// When one of them is not what it should be, or they do not belong together.
    pub fn load(files: &CertificateFiles, index: usize, provider: &CryptoProvider) -> Result<Self, Fault> {
        let at = |at: fn(usize) -> At| move |error| Fault { at: at(index), error };
        let chain = chain(&files.cert).map_err(at(At::Certificate))?;
        let leaf = Certificate::parse(&chain[0]);
        let leaf = leaf
            .map_err(|why| Error::malformed(&files.cert, "a certificate", why))
            .map_err(at(At::Certificate))?;
        let key = private_key(&files.key).map_err(at(At::Key))?;
        let broken_chain = is_broken(&chain);
        let (count, cert) = (chain.len(), files.cert.clone());
        let certified = CertifiedKey::from_der(chain, key, provider);
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Error::Mismatch { cert, key: files.key.clone() }
            }
            other => Error::malformed(&files.key, "a private key that TLS can use", other),
        });
        let certified = certified.map_err(at(At::Key))?;
        let (staple, response) = staple(files, &leaf).map_err(at(At::Staple))?;
        Ok(Self {
            files: files.clone(),
            chain: count,
            broken_chain,
            exposed: is_exposed(&files.key),
            certified: Arc::new(certified),
            leaf,
            staple,
            response,
        })
    }

    /// Whether another one says and sends the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert && self.response == other.response
    }

    /// For handshakes: with its OCSP response, as long as that may be used.
    pub(super) fn certified(&self, now: Timestamp) -> Arc<CertifiedKey> {
        match (&self.staple, &self.response) {
            (Some(staple), Some(response)) if staple.holds_at(now) => {
                Arc::new(CertifiedKey { ocsp: Some(response.clone()), ..(*self.certified).clone() })
            }
            _ => self.certified.clone(),
        }
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = found.map_err(|error| Error::malformed(path, "a PEM file of certificates", error))?;
    if chain.is_empty() {
        let why = "it holds no block that begins with `-----BEGIN CERTIFICATE-----`";
        return Err(Error::malformed(path, "a PEM file of certificates", why));
    }
    Ok(chain)
}

/// What is wrong with a key by itself.
pub(super) fn key_fault(files: &CertificateFiles, index: usize) -> Option<Fault> {
    private_key(&files.key).err().map(|error| Fault { at: At::Key(index), error })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
        let why = match (encrypted, error) {
            (true, _) => "it is encrypted, and nobody is there to give the passphrase".to_owned(),
            (false, rustls_pki_types::pem::Error::NoItemsFound) => {
                "it holds no block that begins with `-----BEGIN PRIVATE KEY-----`".to_owned()
            }
            (false, error) => error.to_string(),
        };
        Error::malformed(path, "a PEM file of a private key", why)
    })
}

fn is_broken(chain: &[CertificateDer<'_>]) -> bool {
    let parsed: Vec<_> = chain.iter().filter_map(|one| Certificate::parse(one).ok()).collect();
    parsed.windows(2).any(|pair| pair[0].issuer != pair[1].subject)
}

/// A link's target is what counts, so links are followed.
fn is_exposed(key: &Path) -> bool {
    std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn staple(files: &CertificateFiles, leaf: &Certificate) -> Result<(Option<Staple>, Option<Vec<u8>>), Error> {
    let Some(path) = &files.ocsp else { return Ok((None, None)) };
    let response = read(path)?;
    let staple = Staple::parse(&response, &leaf.serial)
        .map_err(|why| Error::malformed(path, "an OCSP response (DER) for the certificate", why))?;
    Ok((Some(staple), Some(response)))
}
