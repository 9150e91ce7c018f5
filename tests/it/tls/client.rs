//! A client that speaks TLS and sees what is agreed upon.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pki::{Made, Pki};
use crate::support::within;

/// How a client speaks TLS. Clones share their sessions.
#[derive(Clone)]
pub struct Caller {
    config: Arc<ClientConfig>,
    seen: Arc<Seen>,
}

/// What a client is to be like.
#[derive(Default)]
pub struct Kind<'a> {
    pub version: Option<&'static SupportedProtocolVersion>,
    pub alpn: &'a [&'a str],
    pub certificate: Option<&'a Made>,
    /// It verifies RSA signatures only.
    pub rsa_only: bool,
}

/// Verifies as usual, and keeps the OCSP response.
#[derive(Debug)]
struct Seen {
    inner: Arc<WebPkiServerVerifier>,
    rsa_only: bool,
    staple: Mutex<Vec<u8>>,
}

impl Caller {
    pub fn new(pki: &Pki) -> Self {
        Self::of(pki, Kind::default())
    }

    pub fn of(pki: &Pki, kind: Kind<'_>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(pki.ca.clone()).unwrap();
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let seen = Arc::new(Seen { inner, rsa_only: kind.rsa_only, staple: Mutex::default() });
        let versions = kind.version.map_or_else(|| vec![&version::TLS13, &version::TLS12], |one| vec![one]);
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(seen.clone());
        let mut config = match kind.certificate {
            Some(made) => {
                let (chain, key) = made.for_client();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = kind.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        Self { config: Arc::new(config), seen }
    }

    /// A handshake for a name. What the server says of the client comes with the first reply only (TLS 1.3).
    pub async fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Line> {
        let socket = within(TcpStream::connect(address)).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = within(TlsConnector::from(self.config.clone()).connect(name, socket)).await?;
        Ok(Line { stream, read: Vec::new() })
    }

    /// A request on a connection of its own, for the name that the connection is for.
    pub async fn ask(&self, address: SocketAddr, name: &str) -> std::io::Result<(Line, Answer)> {
        let mut line = self.connect(address, name).await?;
        let answer = line.get(name, "/").await?;
        Ok((line, answer))
    }

    /// The OCSP response of the last whole handshake.
    pub fn staple(&self) -> Vec<u8> {
        self.seen.staple.lock().clone()
    }
}

/// A connection.
pub struct Line {
    pub stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// A reply.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and fields, in lower case.
    pub head: String,
    pub body: String,
}

impl Line {
    pub fn session(&self) -> &ClientConnection {
        self.stream.get_ref().1
    }

    pub fn is_resumed(&self) -> bool {
        self.session().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The server's own certificate.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.session().peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub async fn get(&mut self, host: &str, path: &str) -> std::io::Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
    }

    /// Sends a request and reads its reply, which has a length.
    pub async fn send(&mut self, request: &str) -> std::io::Result<Answer> {
        within(self.stream.write_all(request.as_bytes())).await?;
        let end = loop {
            match self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.fill().await?,
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let length: usize = length.trim().parse().unwrap();
        while self.read.len() < end + length {
            self.fill().await?;
        }
        let body = String::from_utf8_lossy(&self.read[end..end + length]).into_owned();
        self.read.drain(..end + length);
        Ok(Answer { status: head[9..12].parse().unwrap(), head, body })
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        let mut more = [0; 4096];
        match within(self.stream.read(&mut more)).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.read.extend_from_slice(&more[..read]);
                Ok(())
            }
        }
    }

    /// HTTP/2 from here on.
    pub async fn h2(self) -> SendRequest<Empty<bytes::Bytes>> {
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(self.stream));
        let (sender, connection) = within(handshake).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// A request over HTTP/2; status and body.
pub async fn ask_h2(sender: &SendRequest<Empty<bytes::Bytes>>, url: &str) -> (u16, String) {
    let request = http::Request::builder().uri(url).body(Empty::new()).unwrap();
    let response = within(sender.clone().send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.staple.lock() = staple.to_vec();
        self.inner.verify_server_cert(leaf, chain, name, &[], now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let rsa = |scheme: &SignatureScheme| scheme.as_str().is_some_and(|name| name.starts_with("RSA"));
        self.inner
            .supported_verify_schemes()
            .into_iter()
            .filter(|scheme| !self.rsa_only || rsa(scheme))
            .collect()
    }
}
