//! Certificates are replaced while connections are open; broken files change nothing.

use super::client::Caller;
use super::pki::{Pki, edge, replace};
use crate::support::{Answer, Client, Origin, Proxy, until};

/// The serial number that new connections see.
fn serial(proxy: &Proxy) -> u64 {
    u64::from_str_radix(&proxy.instance.certificates()[0].serial, 16).unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_taken_over_and_open_connections_go_on() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let old = pki.issue("a", &["a.test"]);
    let proxy = Proxy::of(pki.config(&origin.url(), &edge("a"))).start().await;
    let caller = Caller::new(&pki);
    let (mut line, _) = caller.ask(proxy.address, "a.test").await.unwrap();
    let before = line.leaf();
    assert_eq!(serial(&proxy), old.serial);

    // Nobody is told but by the file itself.
    let new = pki.issue("a", &["a.test"]);
    until("the new one is in use", || serial(&proxy) == new.serial).await;
    let (other, _) = Caller::new(&pki).ask(proxy.address, "a.test").await.unwrap();
    assert_ne!(other.leaf(), before);
    assert_eq!(line.get("a.test", "/").await.unwrap().status, 200, "the old connection goes on");
    // What was begun under the old one is taken up again under the new one.
    let (resumed, _) = caller.ask(proxy.address, "a.test").await.unwrap();
    assert!(resumed.is_resumed());
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_certificate_and_says_so() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let old = pki.issue("a", &["a.test"]);
    let proxy = Proxy::of(pki.config(&origin.url(), &edge("a"))).start().await;
    let problem = || proxy.instance.certificates()[0].problem.clone();
    let new = pki.make(&["a.test"]);
    for (file, text, says) in [
        ("a.pem", new.cert.as_str(), "does not belong to the certificate"),
        ("a.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a certificate"),
        ("a.pem", "", "holds no block"),
    ] {
        replace(&pki.path(file), text);
        until(says, || problem().is_some_and(|problem| problem.contains(says))).await;
        assert_eq!(serial(&proxy), old.serial, "{says}");
        assert_eq!(Caller::new(&pki).ask(proxy.address, "a.test").await.unwrap().1.status, 200);
    }
    let metrics = proxy.instance.telemetry.openmetrics();
    assert!(metrics.contains("proxy_stone_certificate_files_broken{tls=\"edge\"} 1"), "{metrics}");
    pki.put("a", &new);
    until("it is mended", || problem().is_none() && serial(&proxy) == new.serial).await;
}

#[tokio::test]
async fn a_reload_reads_everything_again_or_nothing() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let b = pki.issue("b", &["b.test"]);
    let config = |name: &str| pki.config(&origin.url(), &edge(name));
    let proxy = Proxy::of(config("a")).start().await;
    let mut line = Caller::new(&pki).connect(proxy.address, "a.test").await.unwrap();
    let changes = proxy.reload(&config("b")).unwrap();
    assert_eq!(changes, ["tls `edge` changed"]);
    assert_eq!(serial(&proxy), b.serial);
    assert_eq!(line.get("a.test", "/").await.unwrap().status, 200);
    replace(&pki.path("a-key.pem"), &pki.make(&["a.test"]).key);
    let refused = proxy.reload(&config("a")).unwrap_err();
    assert!(refused.starts_with("PS0507"), "{refused}");
    assert_eq!(serial(&proxy), b.serial);

    // A listener that spoke TLS speaks plainly.
    let plain = config("b").replace(", tls = \"edge\"", "").split("[tls").next().unwrap().to_owned();
    proxy.reload(&plain).unwrap();
    let address = proxy.instance.local_addrs()[0];
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
}
