//! Which certificate answers whom, what is agreed upon, and what replies say of TLS.

use std::time::Duration;

use proxy_stone::clock::{Clock, Timestamp};
use rustls::version;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::client::{Caller, Kind, ask_h2};
use super::pki::{Made, Pki, edge};
use crate::support::{Answer, Client, Origin, Proxy, until};

fn der(made: &Made) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()
}

#[tokio::test]
async fn the_certificate_is_the_name_s_own() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("over TLS")).await);
    let first = pki.issue("first", &["first.test"]);
    let exact = pki.issue("exact", &["a.wild.test"]);
    let wild = pki.issue("wild", &["*.wild.test", "wild.test"]);
    let config = pki.config(
        &origin.url(),
        &format!(
            "{}certificates = [\n{{ cert = '{{dir}}/wild.pem', key = '{{dir}}/wild-key.pem' }},\n\
             {{ cert = '{{dir}}/exact.pem', key = '{{dir}}/exact-key.pem' }}]\n",
            edge("first")
        ),
    );
    let proxy = Proxy::of(config).start().await;
    let caller = Caller::new(&pki);
    for (name, made) in
        [("first.test", &first), ("a.wild.test", &exact), ("b.wild.test", &wild), ("wild.test", &wild)]
    {
        let (line, answer) = caller.ask(proxy.address, name).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "over TLS"), "{name}");
        assert_eq!(line.leaf(), der(made), "{name}");
    }
    // The first one answers what no other is for; it is for the client to object.
    for name in ["other.test", "a.b.wild.test"] {
        let error = caller.connect(proxy.address, name).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    until("it is counted", || {
        proxy.instance.telemetry.snapshot().handshakes.failed.contains_key("our_certificate")
    })
    .await;
    assert!(origin.last().fields.get("x-forwarded-proto") == Some("https"));
}

#[tokio::test]
async fn content_that_is_in_a_file_of_the_store_comes_whole() {
    let body = "0123456".repeat(43_000);
    let answer = Answer::ok(body.clone()).field("Cache-Control", "max-age=60");
    let (pki, origin) = (Pki::new(), Origin::always(answer).await);
    pki.issue("a", &["a.test"]);
    let rest = format!("{}[store]\nmemory = '1KiB'\n", edge("a"));
    let config = pki.config(&origin.url(), &rest).replace("cache = false", "cache = true");
    let proxy = Proxy::of(config).on_disk().start().await;
    let mut line = Caller::new(&pki).connect(proxy.address, "a.test").await.unwrap();
    for round in 0..4 {
        let answer = line.get("a.test", "/").await.unwrap();
        assert!(answer.status == 200 && answer.body == body, "{round}: {}", answer.body.len());
        proxy.stored(1).await;
        proxy.written().await;
    }
    assert_eq!((origin.hits(), proxy.instance.cache.stats().disk_hits), (1, 3));
}

#[tokio::test]
async fn strict_sni_refuses_other_names_and_none() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let proxy =
        Proxy::of(pki.config(&origin.url(), &format!("{}strict_sni = true\n", edge("a")))).start().await;
    let caller = Caller::new(&pki);
    let (mut line, answer) = caller.ask(proxy.address, "a.test").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(line.get("other.test", "/").await.unwrap().status, 421);
    for name in ["b.test", "127.0.0.1"] {
        let error = caller.connect(proxy.address, name).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
}

#[tokio::test]
async fn ecdsa_and_rsa_stand_side_by_side() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let rsa = pki.make_rsa(&["a.test"]);
    pki.put("rsa", &rsa);
    let ecdsa = pki.issue("ecdsa", &["a.test"]);
    let config = pki.config(
        &origin.url(),
        "[tls.edge]\ncertificates = [\n{ cert = '{dir}/rsa.pem', key = '{dir}/rsa-key.pem' },\n\
         { cert = '{dir}/ecdsa.pem', key = '{dir}/ecdsa-key.pem' }]\n",
    );
    let proxy = Proxy::of(config).start().await;
    for version in [&version::TLS12, &version::TLS13] {
        let caller = Caller::of(&pki, Kind { version: Some(version), ..Kind::default() });
        assert_eq!(caller.connect(proxy.address, "a.test").await.unwrap().leaf(), der(&ecdsa));
        let caller = Caller::of(&pki, Kind { version: Some(version), rsa_only: true, ..Kind::default() });
        assert_eq!(caller.connect(proxy.address, "a.test").await.unwrap().leaf(), der(&rsa));
    }
}

#[tokio::test]
async fn http_2_is_agreed_upon_where_it_is_offered() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let proxy = Proxy::of(pki.config(&origin.url(), &edge("a"))).start().await;
    let both = Caller::of(&pki, Kind { alpn: &["h2", "http/1.1"], ..Kind::default() });
    let line = both.connect(proxy.address, "a.test").await.unwrap();
    assert_eq!(line.session().alpn_protocol(), Some(&b"h2"[..]));
    let sender = line.h2().await;
    assert_eq!(ask_h2(&sender, "https://a.test/").await, (200, "x".to_owned()));
    let old = Caller::of(&pki, Kind { alpn: &["http/1.1"], ..Kind::default() });
    let (line, answer) = old.ask(proxy.address, "a.test").await.unwrap();
    assert_eq!((line.session().alpn_protocol(), answer.status), (Some(&b"http/1.1"[..]), 200));
    let unknown = Caller::of(&pki, Kind { alpn: &["smtp"], ..Kind::default() });
    assert!(unknown.connect(proxy.address, "a.test").await.is_err());

    let without =
        Proxy::of(pki.config(&origin.url(), &format!("{}http2 = false\n", edge("a")))).start().await;
    let line = both.connect(without.address, "a.test").await.unwrap();
    assert_eq!(line.session().alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn the_modern_profile_is_tls_1_3_only() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let modern =
        Proxy::of(pki.config(&origin.url(), &format!("{}profile = 'modern'\n", edge("a")))).start().await;
    let usual = Proxy::of(pki.config(&origin.url(), &edge("a"))).start().await;
    let old = Caller::of(&pki, Kind { version: Some(&version::TLS12), ..Kind::default() });
    let new = Caller::of(&pki, Kind { version: Some(&version::TLS13), ..Kind::default() });
    assert!(old.connect(modern.address, "a.test").await.is_err());
    assert_eq!(new.ask(modern.address, "a.test").await.unwrap().1.status, 200);
    assert_eq!(old.ask(usual.address, "a.test").await.unwrap().1.status, 200);
    let event = usual.finished(1).await[0].clone();
    let session = event.session.as_ref().expect("it came by TLS");
    assert_eq!(
        (session.version, session.sni.as_deref(), session.resumed),
        ("TLSv1.2", Some("a.test"), false)
    );
    assert!(session.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{}", session.cipher);
    let counted = usual.instance.telemetry.snapshot().handshakes.done;
    assert_eq!((&*counted[0].version, counted[0].count), ("TLSv1.2", 1));
}

#[tokio::test]
async fn hsts_is_said_by_tls_only_and_instead_of_the_origin_s() {
    let pki = Pki::new();
    let origin = Origin::always(Answer::ok("x").field("strict-transport-security", "max-age=1")).await;
    pki.issue("a", &["a.test"]);
    let tls =
        format!("{}hsts = {{ max_age = '365d', include_subdomains = true, preload = true }}\n", edge("a"));
    let config = pki.config(&origin.url(), &tls);
    let config = config.replace("listen = [", "listen = ['127.0.0.1:0', ");
    let proxy = Proxy::of(config).start().await;
    let addresses = proxy.instance.local_addrs();
    let (_, answer) = Caller::new(&pki).ask(addresses[1], "a.test").await.unwrap();
    assert_eq!(
        answer.field("strict-transport-security"),
        Some("max-age=31536000; includesubdomains; preload")
    );
    let plain = Client::connect(addresses[0]).await.get("/").await;
    assert_eq!(plain.field("strict-transport-security"), Some("max-age=1"), "as the origin says it");
}

#[tokio::test]
async fn plain_requests_are_sent_to_https() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let config = pki.config(&origin.url(), &edge("a"));
    let config = config.replace(
        "listen = [",
        "listen = [{ addr = '127.0.0.1:0', https_redirect = { port = 443 } }, \
         { addr = '127.0.0.2:0', https_redirect = { status = 301, port = 8443 } }, ",
    );
    let proxy = Proxy::of(format!("trusted_proxies = ['127.0.0.2']\n{config}")).start().await;
    let addresses = proxy.instance.local_addrs();
    let mut client = Client::connect(addresses[0]).await;
    for (host, location) in
        [("Host: a.test", "https://a.test/x?y"), ("Host: A.test:80", "https://a.test/x?y")]
    {
        let reply = client.ask("POST", "/x?y", &[host], "body").await;
        assert_eq!((reply.status, reply.field("location")), (308, Some(location)));
    }
    let reply = Client::connect(addresses[1]).await.ask("GET", "/x", &["Host: a.test"], "").await;
    assert_eq!((reply.status, reply.field("location")), (301, Some("https://a.test:8443/x")));
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn an_ocsp_response_is_stapled_while_it_holds() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    let made = pki.issue("a", &["a.test"]);
    // Good until 2024-01-08; the same with another serial number is for another certificate.
    let response = |serial: u64| {
        let mut bytes = include_bytes!("ocsp.der").to_vec();
        let at = bytes.windows(8).position(|window| window == [0x41; 8]).unwrap();
        bytes[at..at + 8].copy_from_slice(&serial.to_be_bytes());
        bytes
    };
    let good = response(made.serial);
    std::fs::write(pki.path("a.ocsp"), &good).unwrap();
    let clock = Clock::manual(Timestamp::from_secs(1_704_153_600));
    let config = pki.config(&origin.url(), &format!("{}ocsp = '{{dir}}/a.ocsp'\n", edge("a")));
    let proxy = Proxy::of(config).clock(&clock).start().await;
    let fresh = || async {
        let caller = Caller::new(&pki);
        caller.connect(proxy.address, "a.test").await.unwrap();
        caller.staple()
    };
    assert_eq!(fresh().await, good);
    clock.advance(Duration::from_secs(7 * 86_400));
    proxy.instance.refresh_certificates();
    assert_eq!(fresh().await, Vec::<u8>::new(), "it has run out");
    assert_eq!(proxy.instance.certificates()[0].staple.as_deref(), Some("expired"));
    std::fs::write(pki.path("a.ocsp"), response(7)).unwrap();
    proxy.instance.refresh_certificates();
    let row = proxy.instance.certificates().remove(0);
    assert!(row.problem.unwrap().contains("another certificate"));
}
