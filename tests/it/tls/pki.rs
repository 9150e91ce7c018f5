//! Authorities and certificates for tests.

use std::path::{Path, PathBuf};

use proxy_stone::clock::{Clock, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize,
    SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// An authority, and a directory for what it signs.
pub struct Pki {
    pub dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub ca: CertificateDer<'static>,
}

/// A certificate with its key, in PEM.
pub struct Made {
    pub cert: String,
    pub key: String,
    pub serial: u64,
}

impl Made {
    /// For a client of rustls.
    pub fn for_client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect();
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        std::thread::yield_now();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self { dir, ca: ca.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for these names; `uri:...` makes a URI of one.
    pub fn make(&self, names: &[&str]) -> Made {
        self.sign(names, KeyPair::generate().unwrap(), |_| {})
    }

    /// The same with an RSA key.
    pub fn make_rsa(&self, names: &[&str]) -> Made {
        self.sign(names, KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(), |_| {})
    }

    pub fn sign(&self, names: &[&str], key: KeyPair, with: impl FnOnce(&mut CertificateParams)) -> Made {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("uri:"));
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI(uri[4..].try_into().unwrap())));
        let serial = fastrand::u64(1 << 56..1 << 62);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        with(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Made { cert: cert.pem(), key: key.serialize_pem(), serial }
    }

    /// Writes `NAME.pem` and `NAME-key.pem`.
    pub fn put(&self, name: &str, made: &Made) {
        put(self.dir.path(), name, made);
    }

    /// Makes and writes it.
    pub fn issue(&self, name: &str, names: &[&str]) -> Made {
        let made = self.make(names);
        self.put(name, &made);
        made
    }

    /// Writes a list of these revoked certificates.
    pub fn revoke(&self, file: &str, serials: &[u64]) {
        let now = Clock::System.now();
        let day = |days: i64| {
            let at = Timestamp::from_secs((now.secs() as i64 + days * 86_400) as u64);
            std::time::SystemTime::from(at).into()
        };
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: day(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: day(-1),
            next_update: day(7),
            crl_number: SerialNumber::from(now.millis()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).unwrap().pem().unwrap();
        replace(&self.path(file), &list);
    }

    /// A config of one listener with `tls`, in front of `upstream`; `{dir}` stands for this directory.
    pub fn config(&self, upstream: &str, tls: &str) -> String {
        let tls = tls.replace("{dir}", &self.dir.path().display().to_string());
        format!(
            "listen = [{{ addr = \"127.0.0.1:0\", tls = \"edge\" }}]\nupstream = \"{upstream}\"\ncache = false\n{tls}"
        )
    }
}

fn put(dir: &Path, name: &str, made: &Made) {
    replace(&dir.join(format!("{name}-key.pem")), &made.key);
    replace(&dir.join(format!("{name}.pem")), &made.cert);
}

/// As deployments do: another file takes the place of the old one.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A `[tls.edge]` with this certificate.
pub fn edge(name: &str) -> String {
    format!("[tls.edge]\ncert = \"{{dir}}/{name}.pem\"\nkey = \"{{dir}}/{name}-key.pem\"\n")
}
