//! Which certificate answers a client.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::material::Material;
use super::names::ByName;
use super::x509::KeyKind;
use crate::clock::Timestamp;

/// All certificates of one `[tls.NAME]`, by name.
#[derive(Debug)]
pub(super) struct Resolver {
    certificates: Vec<(KeyKind, Arc<CertifiedKey>)>,
    /// Positions of the certificates of a name; the one that is cheaper to sign with goes first.
    names: ByName<Vec<usize>>,
    /// For clients that ask for no name, or for one that is not here.
    default: Vec<usize>,
}

impl Resolver {
    pub(super) fn new(materials: &[Arc<Material>], now: Timestamp) -> Self {
        let certificates: Vec<_> =
            materials.iter().map(|material| (material.leaf.key, material.certified(now))).collect();
        let mut names: ByName<Vec<usize>> = ByName::default();
        for (index, material) in materials.iter().enumerate() {
            for name in material.leaf.server_names() {
                let found = names.entry(&name);
                if !found.contains(&index) {
                    found.push(index);
                }
            }
        }
        // Stable: of two of a kind the first in the config goes first.
        let prefer = |found: &mut Vec<usize>| found.sort_by_key(|index| certificates[*index].0);
        names.values_mut().for_each(prefer);
        let mut default: Vec<usize> = alike(materials).collect();
        default.sort_by_key(|index| certificates[*index].0);
        Self { certificates, names, default }
    }

    /// Whether a certificate is for this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.get(name).is_some()
    }
}

/// The first certificate, and those of other kinds for one of its names.
fn alike(materials: &[Arc<Material>]) -> impl Iterator<Item = usize> {
    let first: Vec<_> = materials.first().into_iter().flat_map(|first| first.leaf.server_names()).collect();
    materials.iter().enumerate().filter_map(move |(index, material)| {
        let shares = material.leaf.server_names().any(|name| first.contains(&name));
        (index == 0 || shares).then_some(index)
    })
}

impl ResolvesServerCert for Resolver {
    /// The first of the name's certificates that the client can verify. rustls has left out the signature schemes that
    /// do not go with the cipher suites that a TLS 1.2 client offers.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.names.get(name)).unwrap_or(&self.default);
        let fits = |index: &&usize| {
            self.certificates[**index].1.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        // Where none fits, rustls says so to the client.
        let chosen = found.iter().find(fits).or(found.first())?;
        Some(self.certificates[*chosen].1.clone())
    }
}
