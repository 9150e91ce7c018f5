//! Certificates of the built binary: `cert dev`, `serve --dev-tls`, `cert ls`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::support::{LIMIT, Place, Proxy};

/// GET over TLS, trusting this authority only; all that comes back.
fn get(address: SocketAddr, ca: &Path, target: &str) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn tls_for_development_takes_one_flag() {
    let place = Place::new();
    let proxy = Proxy::start(&place, &["--demo", "--dev-tls", "-l", "127.0.0.1:0"]);
    let ca = place.state().join("dev-tls/ca.pem");
    let reply = get(proxy.address, &ca, "/plain");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    let rows = place.items(&["cert", "ls"]);
    assert_eq!(rows[0]["names"][0], "localhost", "{rows:?}");
    assert_eq!(rows[0]["state"], "valid");
    assert_eq!(rows[0]["listeners"][0], proxy.address.to_string());
    assert!(rows[0]["days_left"].as_i64().unwrap() > 800);
    let mode = |name: &str| std::fs::metadata(place.state().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("dev-tls/ca-key.pem"), mode("dev-tls")), (0o600, 0o700));
}

#[test]
fn a_certificate_for_development_is_made_where_it_is_wanted() {
    let place = Place::new();
    assert_eq!(place.run(&["cert", "dev", "--uninstall"]).code, 4, "there is none yet");
    assert!(!place.state().join("dev-tls").exists());
    let out = place.path("certs");
    let told = place.print(&["cert", "dev", "app.test", "*.app.test", "--out", out.to_str().unwrap()]);
    assert!(told.contains("NODE_EXTRA_CA_CERTS="), "{told}");
    let (cert, key) = (out.join("app.test+1.pem"), out.join("app.test+1-key.pem"));
    assert!(cert.exists() && key.exists());
    let config = place.write(
        "c.toml",
        &format!(
            "upstream = 'http://127.0.0.1:9'\nlisten = [{{ addr = '127.0.0.1:8443', tls = 'dev' }}]\n\
             [tls.dev]\ncert = '{}'\nkey = '{}'\n",
            cert.display(),
            key.display()
        ),
    );
    let rows = place.items(&["cert", "ls", "--config", config.to_str().unwrap()]);
    assert_eq!(rows[0]["names"], serde_json::json!(["app.test", "*.app.test"]));
    assert_eq!(place.run(&["config", "lint", config.to_str().unwrap()]).code, 0);
    assert_eq!(place.run(&["cert", "dev", "not a name"]).code, 2);
}
