//! TLS to an `https` endpoint, verified by the platform's roots or by the config's own authorities.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::upstream::error::Failure;
use crate::upstream::settings::Protocol;

/// Whom to trust; worked out at the first handshake, off the worker, since the platform's roots take a while to
/// read. Shared by all endpoints that trust the same.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    authorities: Vec<CertificateDer<'static>>,
    control: Handle,
    config: OnceCell<Arc<ClientConfig>>,
}

impl TlsSettings {
    /// Trusts `authorities`; where there are none, what the platform trusts.
    pub(crate) fn new(authorities: Vec<CertificateDer<'static>>, control: Handle) -> Arc<Self> {
        Arc::new(Self { authorities, control, config: OnceCell::new() })
    }

    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let build = || async {
            let authorities = self.authorities.clone();
            let built = self.control.spawn_blocking(move || client_config(&authorities)).await;
            built.map_err(io::Error::other)?.map(Arc::new).map_err(io::Error::other)
        };
        self.config.get_or_try_init(build).await.cloned()
    }
}

fn client_config(authorities: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = if authorities.is_empty() {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone())?;
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    Ok(config)
}

/// How one endpoint is spoken to over TLS.
#[derive(Debug)]
pub(crate) struct TlsClient {
    settings: Arc<TlsSettings>,
    /// What the certificate must be valid for, and SNI says.
    name: ServerName<'static>,
    protocol: Protocol,
    config: OnceCell<Arc<ClientConfig>>,
}

impl TlsClient {
    /// `None` when `name` is neither a host name nor an address.
    pub(crate) fn new(settings: Arc<TlsSettings>, name: &str, protocol: Protocol) -> Option<Self> {
        let name = ServerName::try_from(name.to_owned()).ok()?;
        Some(Self { settings, name, protocol, config: OnceCell::new() })
    }

    /// What everyone shares, with what is offered here (RFC 7301).
    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let offer = || async {
            let mut config = ClientConfig::clone(&*self.settings.config().await?);
            let offered: &[&[u8]] = match self.protocol {
                Protocol::Auto => &[b"h2", b"http/1.1"],
                Protocol::Http1 => &[b"http/1.1"],
                Protocol::Http2 => &[b"h2"],
            };
            config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        self.config.get_or_try_init(offer).await.cloned()
    }

    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let config = self.config().await.map_err(Failure::Tls)?;
        TlsConnector::from(config).connect(self.name.clone(), stream).await.map_err(failure)
    }
}

fn failure(error: io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(certificate @ rustls::Error::InvalidCertificate(_)) => {
            Failure::TlsCertificate(certificate.clone())
        }
        _ => Failure::Tls(error),
    }
}
