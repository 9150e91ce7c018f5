//! The configs in `examples/` start as they stand, but for addresses and paths of the test's own.

use std::path::Path;

use crate::support::Proxy;
use crate::tls::pki::Pki;

/// Those that examples name.
const CERTIFICATES: [(&str, &[&str]); 2] =
    [("www.example.com", &["www.example.com"]), ("admin.example.com", &["admin.example.com"])];

#[tokio::test]
async fn every_example_config_serves() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut served = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        for (name, names) in CERTIFICATES {
            pki.issue(name, names);
        }
        std::fs::copy(pki.path("ca.pem"), pki.path("clients-ca.pem")).unwrap();
        pki.put("www.example.com-rsa", &pki.make_rsa(&["www.example.com"]));
        let keys = path.with_file_name("accounts.pem");
        let config = std::fs::read_to_string(&path)
            .unwrap()
            .replace("https://api.example.com", "http://127.0.0.1:9")
            .replace("https://www.example.com", "http://127.0.0.1:9")
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace(", \"[::1]:8080\"", "")
            .replace("127.0.0.1:9190", "127.0.0.1:0")
            .replace("accounts.pem", keys.to_str().unwrap())
            .replace("127.0.0.1:8443", "127.0.0.1:0")
            .lines()
            .map(|line| {
                let there = |part: &str| match part.ends_with(".pem") && !part.contains('/') {
                    true => pki.path(part).display().to_string(),
                    false => part.to_owned(),
                };
                line.split('"').map(there).collect::<Vec<_>>().join("\"")
            })
            .collect::<Vec<_>>()
            .join("\n")
            .replace("access.log", dir.path().join("access.log").to_str().unwrap());
        let proxy = Proxy::of(config).on_disk().start().await;
        // Answered by the proxy itself: no origin is asked.
        let reply = proxy.ask("GET", "/", &["Cache-Control: only-if-cached"], "").await;
        let status = if path.ends_with("tls.toml") { 308 } else { 504 };
        assert_eq!(reply.status, status, "{}", path.display());
        served += 1;
    }
    assert!(served >= 4);
}
