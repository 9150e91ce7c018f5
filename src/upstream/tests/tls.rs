use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::discover::Resolver;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An origin with a certificate for `origin.test`; answers with the SNI name that it was asked for.
async fn secure(authority: &Authority) -> SocketAddr {
    speaking(authority, &[]).await
}

/// One that speaks these protocols (ALPN).
async fn speaking(authority: &Authority, protocols: &[&str]) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["origin.test".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    showing(certificate.der().clone(), &key, protocols).await
}

/// One that shows this certificate.
async fn showing(certificate: CertificateDer<'static>, key: &KeyPair, protocols: &[&str]) -> SocketAddr {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(format!("h2 {name}").into(), true).unwrap();
                    }
                    return;
                }
                let mut read = [0; 1024];
                while stream.read(&mut read).await.unwrap_or(0) > 0 {
                    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                    stream.write_all(reply.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    address
}

fn https(host: &str, address: SocketAddr, ca: Vec<CertificateDer<'static>>) -> Arc<Upstream> {
    secured(Settings { ca, ..settings(&[address]) }, host, address)
}

fn secured(mut settings: Settings, host: &str, address: SocketAddr) -> Arc<Upstream> {
    settings.endpoints[0].tls = true;
    settings.endpoints[0].host = host.into();
    let control = Handle::current();
    let resolver = Resolver::with(control.clone(), move |_, _| Ok(vec![address]));
    let upstreams = Upstreams::with_resolver(resolver, control);
    upstreams.apply(&[settings]);
    upstreams.get("api").unwrap()
}

#[tokio::test]
async fn a_certificate_of_the_configured_authority_is_trusted_and_the_connection_kept() {
    let authority = authority();
    let address = secure(&authority).await;
    let upstream = https("origin.test", address, vec![authority.der().clone()]);
    for _ in 0..3 {
        let fetched = upstream.fetch(get()).await.unwrap();
        assert_eq!((fetched.origin.scheme, fetched.attempts), ("https", 1));
        assert_eq!(text(fetched).await.unwrap(), "origin.test");
    }
    assert_eq!(only(&upstream).connects, 1);
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_an_unknown_authority_is_not() {
    let authority = authority();
    let address = secure(&authority).await;
    let own = vec![authority.der().clone()];
    let other = vec![self::authority().der().clone()];
    for upstream in [
        https("other.test", address, own),
        https("origin.test", address, other),
        // What the platform trusts.
        https("origin.test", address, Vec::new()),
    ] {
        let error = upstream.fetch(get()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::TlsCertificate(_)), "{error}");
        assert_eq!(error.failure.as_str(), "tls_certificate_error");
    }
}

/// What `openssl req -x509` makes without being told otherwise.
#[tokio::test]
async fn a_certificate_that_is_an_authoritys_own_is_told_with_what_to_do() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["origin.test".to_owned()]).unwrap();
    let plain = params.self_signed(&key).unwrap().der().clone();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().der().clone();

    let address = showing(authority.clone(), &key, &[]).await;
    let error = https("origin.test", address, vec![authority]).fetch(get()).await.unwrap_err();
    assert!(error.to_string().contains("CA:FALSE"), "{error}");

    let address = showing(plain.clone(), &key, &[]).await;
    let error = https("origin.test", address, Vec::new()).fetch(get()).await.unwrap_err();
    assert!(error.to_string().contains("`ca`"), "{error}");
    assert!(https("origin.test", address, vec![plain]).fetch(get()).await.is_ok());
}

#[tokio::test]
async fn a_fixed_host_is_what_the_certificate_must_be_for() {
    let authority = authority();
    let address = secure(&authority).await;
    let host = HostPolicy::Fixed(HeaderValue::from_static("origin.test:8443"));
    let ca = vec![authority.der().clone()];
    let upstream = secured(Settings { ca, host, ..settings(&[address]) }, "127.0.0.1", address);
    assert_eq!(ask(&upstream, get()).await, "origin.test");
}

#[tokio::test]
async fn what_speaks_no_tls_is_a_handshake_failure() {
    let origin = origin(async |mut peer: Peer| peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await).await;
    let upstream = https("origin.test", origin.address, Vec::new());
    let error = upstream.fetch(get()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Tls(_)), "{error}");
}

#[tokio::test]
async fn over_tls_the_endpoint_chooses_the_version() {
    use crate::upstream::settings::Protocol;

    let authority = authority();
    let ca = vec![authority.der().clone()];
    for (spoken, protocol, answer, connections) in [
        (&["h2", "http/1.1"][..], Protocol::Auto, "h2 origin.test", 1),
        (&["http/1.1"], Protocol::Auto, "origin.test", 6),
        (&[], Protocol::Auto, "origin.test", 6),
        (&["h2", "http/1.1"], Protocol::Http1, "origin.test", 6),
        (&["h2", "http/1.1"], Protocol::Http2, "h2 origin.test", 1),
    ] {
        let address = speaking(&authority, spoken).await;
        let settings = Settings { ca: ca.clone(), protocol, ..settings(&[address]) };
        let upstream = secured(settings, "origin.test", address);
        let replies: Vec<_> = (0..6).map(|_| upstream.fetch(get())).collect();
        let replies = futures_util::future::join_all(replies).await;
        assert_eq!(only(&upstream).connections, connections, "{spoken:?} {protocol:?}");
        for reply in replies {
            assert_eq!(text(reply.unwrap()).await.unwrap(), answer, "{spoken:?} {protocol:?}");
        }
    }
    for spoken in [&["http/1.1"][..], &[]] {
        let address = speaking(&authority, spoken).await;
        let settings = Settings { ca: ca.clone(), protocol: Protocol::Http2, ..settings(&[address]) };
        let error = secured(settings, "origin.test", address).fetch(get()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Tls(_)), "{error}");
    }
}
