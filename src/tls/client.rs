//! Clients' certificates: which are taken.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::error::{Error, read};
use super::identity::Identity;
use super::san::SanPattern;
use super::settings::{ClientAuth, Verify};

/// Authorities that are named to clients at most, so that they can choose among their certificates. Longer lists would
/// cost each handshake a packet, or not fit at all.
const MOST_HINTS: usize = 64;

/// Tells one set of requirements from another.
pub(super) type Digest = [u8; 32];

/// What is asked of clients, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Requirements {
    /// `None`: nothing.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// What is asked for.
    pub(super) policy: Digest,
    /// The same, and what has been revoked: a session that was opened before a revocation is not resumed after it.
    pub(super) tickets: Digest,
}

/// Which of its files a failure is about.
pub(super) enum Part {
    Authorities,
    Revoked,
}

impl Requirements {
    /// Reads the files.
    pub(super) fn load(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, (Part, Error)> {
        let mut digest = Context::new(&SHA256);
        let ca = match (auth.verify, &auth.ca) {
            (Verify::Off, _) | (_, None) => {
                let digest = finish(digest);
                return Ok(Self { verifier: None, policy: digest, tickets: digest });
            }
            (_, Some(ca)) => ca,
        };
        digest.update(&[auth.verify as u8]);
        for pattern in &auth.allow {
            digest.update(pattern.to_string().as_bytes());
            digest.update(b"\n");
        }
        let roots = authorities(ca, &mut digest).map_err(|error| (Part::Authorities, error))?;
        let policy = finish(digest.clone());
        let mut crls = Vec::new();
        for path in &auth.crl {
            crls.extend(revoked(path, &mut digest).map_err(|error| (Part::Revoked, error))?);
        }
        let verifier = Gate::new(auth, Arc::new(roots), crls, provider).map_err(|why| {
            (Part::Authorities, Error::malformed(ca, "a file of certificate authorities", why))
        })?;
        Ok(Self { verifier: Some(Arc::new(verifier)), policy, tickets: finish(digest) })
    }
}

fn finish(digest: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

fn authorities(path: &Path, digest: &mut Context) -> Result<RootCertStore, Error> {
    let malformed = |why: String| Error::malformed(path, "a file of certificate authorities", why);
    let pem = read(path)?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&pem) {
        let authority = authority.map_err(|error| malformed(error.to_string()))?;
        digest.update(&authority);
        roots.add(authority).map_err(|error| malformed(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(malformed("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

/// A list in PEM, which may hold several, or in DER.
fn revoked(path: &Path, digest: &mut Context) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = read(path)?;
    digest.update(&bytes);
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = match found {
        Ok(lists) if !lists.is_empty() => lists,
        _ => vec![CertificateRevocationListDer::from(bytes)],
    };
    use x509_parser::prelude::{CertificateRevocationList, FromDer};
    for list in &lists {
        CertificateRevocationList::from_der(list.as_ref())
            .map_err(|error| Error::malformed(path, "a list of revoked certificates", error))?;
    }
    Ok(lists)
}

/// Takes the certificates of some authorities that are not revoked and have an allowed name.
#[derive(Debug)]
struct Gate {
    /// Path, validity and purpose; with lists of revoked ones also that none on the path is on them.
    path: Arc<dyn ClientCertVerifier>,
    /// With lists: that the client's own certificate is covered by one. Lists of authorities further up are optional.
    covered: Option<Arc<dyn ClientCertVerifier>>,
    allow: Vec<SanPattern>,
    mandatory: bool,
    hints: Vec<DistinguishedName>,
}

impl Gate {
    fn new(
        auth: &ClientAuth,
        roots: Arc<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let builder = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let with_lists = !crls.is_empty();
        // A list that has run out says nothing any more: whoever it covers is refused.
        let covered = with_lists.then(|| {
            let covered = builder().with_crls(crls.clone()).only_check_end_entity_revocation();
            covered.enforce_revocation_expiration().build()
        });
        let path = builder().with_crls(crls).allow_unknown_revocation_status().build();
        let path = path.map_err(|error| error.to_string())?;
        let hints = path.root_hint_subjects().to_vec();
        Ok(Self {
            path,
            covered: covered.transpose().map_err(|error| error.to_string())?,
            allow: auth.allow.clone(),
            mandatory: auth.verify == Verify::Required,
            hints: if hints.len() > MOST_HINTS { Vec::new() } else { hints },
        })
    }
}

impl ClientCertVerifier for Gate {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.path.verify_client_cert(leaf, chain, now)?;
        if let Some(covered) = &self.covered {
            covered.verify_client_cert(leaf, chain, now)?;
        }
        let allowed = self.allow.is_empty()
            || Identity::of(leaf).is_some_and(|identity| identity.is_one_of(&self.allow));
        match allowed {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.path.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.path.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.path.supported_verify_schemes()
    }
}
