//! From a host's name to connections: one is tried before anything is measured, so that what can't work is told at once.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Plan;
use super::failure::{self, Failure, Trouble};
use super::http1::Http1;
use super::http2::Http2;
use super::stream::Stream;

/// Whom to trust over TLS.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Whom this machine trusts.
    #[default]
    System,
    /// These authorities only.
    Authorities(Vec<CertificateDer<'static>>),
    /// Whoever answers.
    Anyone,
}

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name leads nowhere.
    #[error("the host {host} can't be looked up")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No connection comes about.
    #[error("no connection to {address} comes about: {}", failure.meaning())]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// Which kind.
        failure: Failure,
        /// In the system's words.
        why: String,
    },
    /// An authority is none, or TLS can't be had here.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
    /// The host's name can't be in a certificate.
    #[error("{0} can't be the name of a TLS server")]
    Name(String),
    /// So many connections are more than this process may open.
    #[error("{wanted} connections need more descriptors than the {limit} that this process may have")]
    Descriptors {
        /// Connections.
        wanted: usize,
        /// The limit of open files.
        limit: u64,
    },
    /// No event loop, no thread.
    #[error("the system gives this command no thread")]
    Thread(#[source] io::Error),
}

/// Opens connections to one address.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http2: bool,
    timeout: Duration,
}

/// A connection of either version.
pub(super) enum Link {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// Looks the host up, and finds the address of it that answers.
pub(super) async fn probe(plan: &Plan) -> Result<Connector, Error> {
    let target = &plan.target;
    let host = || target.host.clone();
    let tls = match target.https {
        true => {
            let name = ServerName::try_from(host()).map_err(|_| Error::Name(host()))?;
            let config = client_config(&plan.trust, target.http2)?;
            Some((TlsConnector::from(Arc::new(config)), name))
        }
        false => None,
    };
    let unresolved = |source| Error::Resolve { host: host(), source };
    let addresses = tokio::net::lookup_host((&*target.host, target.port)).await.map_err(unresolved)?;
    let mut last = unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for address in addresses {
        let tls = tls.clone();
        let connector = Connector { address, tls, http2: target.http2, timeout: plan.timeout };
        match connector.connect().await {
            Ok(_) => return Ok(connector),
            Err((failure, why)) => last = Error::Connect { address, failure, why },
        }
    }
    Err(last)
}

impl Connector {
    /// Opens a connection that can be asked; must run in a `LocalSet`.
    pub(super) async fn open(&self) -> Result<Link, Trouble> {
        let stream = self.connect().await?;
        let opening = async {
            Ok(match self.http2 {
                true => Link::Http2(Http2::open(stream).await?),
                false => Link::Http1(Box::new(Http1::open(stream).await?)),
            })
        };
        self.in_time(opening).await
    }

    /// TCP, and TLS where it is spoken.
    async fn connect(&self) -> Result<Stream, Trouble> {
        let connecting = async {
            let stream =
                TcpStream::connect(self.address).await.map_err(|error| failure::connecting(&error))?;
            stream.set_nodelay(true).map_err(|error| failure::connecting(&error))?;
            let Some((tls, name)) = &self.tls else { return Ok(Stream::Plain(stream)) };
            let stream = tls.connect(name.clone(), stream).await;
            let stream = stream.map_err(|error| (Failure::Tls, error.to_string()))?;
            if self.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err((Failure::Tls, "the server did not agree to speak HTTP/2".to_owned()));
            }
            Ok(Stream::Tls(Box::new(stream)))
        };
        self.in_time(connecting).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let late = |_| Err((Failure::ConnectTimeout, format!("not within {:?}", self.timeout)));
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(late)
    }
}

fn client_config(trust: &Trust, http2: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::System => builder.with_platform_verifier()?.with_no_client_auth(),
        Trust::Authorities(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone())?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

/// Takes every certificate; that its owner is at the other end is checked all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether an address is one of the public Internet: not this machine's, nor of a network of one's own.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is shared address space (RFC 6598).
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let own = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified();
            !own && !shared && !v4.is_documentation()
        }
        IpAddr::V6(v6) => {
            let documentation = matches!(v6.segments(), [0x2001, 0xdb8, ..]);
            let own = v6 == Ipv6Addr::LOCALHOST
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local();
            !own && !documentation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_networks_are_not_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for own in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.9.9",
            "169.254.1.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "192.0.2.1",
            "0.0.0.0",
        ] {
            assert!(!public(own), "{own}");
        }
        for other in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(public(other), "{other}");
        }
    }
}
