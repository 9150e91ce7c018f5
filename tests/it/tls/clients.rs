//! Certificates of clients: who gets in, what upstreams and routes learn, and that no other name is a way round.

use rustls::version;

use super::client::{Caller, Kind, ask_h2};
use super::pki::{Made, Pki, edge};
use crate::support::{Answer, Origin, Proxy, until};

fn with(pki: &Pki, certificate: &Made) -> Caller {
    Caller::of(pki, Kind { certificate: Some(certificate), ..Kind::default() })
}

/// Whether a request gets through; TLS 1.3 tells of a refusal only afterwards.
async fn enters(caller: &Caller, proxy: &Proxy, name: &str) -> bool {
    caller.ask(proxy.address, name).await.is_ok_and(|(_, answer)| answer.status == 200)
}

async fn failed(proxy: &Proxy, reason: &str) {
    let counted = || proxy.instance.telemetry.snapshot().handshakes.failed;
    until(reason, || counted().contains_key(reason)).await;
}

#[tokio::test]
async fn required_means_a_good_one_and_optional_means_good_or_none() {
    let (pki, other, origin) = (Pki::new(), Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let (ann, stranger) = (pki.make(&["ann.test"]), other.make(&["ann.test"]));
    let old = pki.sign(&["ann.test"], rcgen::KeyPair::generate().unwrap(), |params| {
        params.not_after = rcgen::date_time_ymd(2024, 2, 1);
    });
    for (verify, none) in [("required", false), ("optional", true)] {
        let tls = format!("{}client = {{ verify = '{verify}', ca = '{{dir}}/ca.pem' }}\n", edge("a"));
        let proxy = Proxy::of(pki.config(&origin.url(), &tls)).start().await;
        for version in [&version::TLS12, &version::TLS13] {
            let caller = |certificate| {
                Caller::of(&pki, Kind { version: Some(version), certificate, ..Kind::default() })
            };
            assert!(enters(&caller(Some(&ann)), &proxy, "a.test").await, "{verify}");
            assert_eq!(enters(&caller(None), &proxy, "a.test").await, none, "{verify}");
            assert!(!enters(&caller(Some(&stranger)), &proxy, "a.test").await, "{verify}");
            assert!(!enters(&caller(Some(&old)), &proxy, "a.test").await, "{verify}");
        }
        failed(&proxy, "client_certificate").await;
        let event = proxy.finished(1).await[0].clone();
        let identity = event.session.as_ref().unwrap().identity.as_ref().unwrap();
        assert_eq!(identity.name(), "dns:ann.test");
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_once_the_list_says_so_and_its_ticket_too() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let (ann, bob) = (pki.make(&["ann.test"]), pki.make(&["bob.test"]));
    pki.revoke("revoked.pem", &[bob.serial]);
    let tls = format!(
        "{}client = {{ verify = 'required', ca = '{{dir}}/ca.pem', crl = '{{dir}}/revoked.pem' }}\n",
        edge("a")
    );
    let proxy = Proxy::of(pki.config(&origin.url(), &tls)).start().await;
    let (ann_calls, bob_calls) = (with(&pki, &ann), with(&pki, &bob));
    assert!(!enters(&bob_calls, &proxy, "a.test").await);
    failed(&proxy, "client_revoked").await;
    assert!(enters(&ann_calls, &proxy, "a.test").await);
    let (line, _) = ann_calls.ask(proxy.address, "a.test").await.unwrap();
    assert!(line.is_resumed());
    pki.revoke("revoked.pem", &[ann.serial, bob.serial]);
    proxy.instance.refresh_certificates();
    assert!(!enters(&ann_calls, &proxy, "a.test").await, "its ticket is worth nothing now");
}

#[tokio::test]
async fn only_allowed_names_get_in() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let tls = format!(
        "{}[tls.edge.client]\nverify = 'required'\nca = '{{dir}}/ca.pem'\nallow = ['dns:*.svc.test', 'uri:spiffe://test/*']\n",
        edge("a")
    );
    let proxy = Proxy::of(pki.config(&origin.url(), &tls)).start().await;
    for (names, good) in [
        (&["web.svc.test"][..], true),
        (&["uri:spiffe://test/web"], true),
        (&["web.other.test"], false),
        (&["a.b.svc.test"], false),
    ] {
        assert_eq!(enters(&with(&pki, &pki.make(names)), &proxy, "a.test").await, good, "{names:?}");
    }
    failed(&proxy, "client_not_allowed").await;
}

#[tokio::test]
async fn upstreams_and_routes_learn_who_it_is_and_from_nobody_else() {
    let pki = Pki::new();
    let origin = Origin::answering(|head| {
        let of = |name| head.fields.get(name).unwrap_or("-").to_owned();
        Answer::ok(format!("{} {}", head.word(1), of("x-client"))).field("cache-control", "max-age=60")
    })
    .await;
    pki.issue("a", &["a.test"]);
    let config = format!(
        "trusted_proxies = ['127.0.0.0/8']\nclient_cert_headers = {{ x-client = 'dns', client-cert = 'certificate' }}\n{}\n\
         [[routes]]\nname = 'ann'\nmatch = {{ path = '/who', client_cert = 'dns:ann.test' }}\ncache = '60s'\n\
         [[routes]]\nname = 'none'\nmatch = {{ path = '/who', client_cert = false }}\n",
        pki.config(
            &origin.url(),
            &format!("{}client = {{ verify = 'optional', ca = '{{dir}}/ca.pem' }}\n", edge("a"))
        )
        .replace("cache = false\n", "")
    );
    let proxy = Proxy::of(config).start().await;
    let (ann, bob) = (pki.make(&["ann.test"]), pki.make(&["bob.test"]));
    let forged = "GET /who HTTP/1.1\r\nhost: a.test\r\nx-client: root.test\r\nX-Client: root\r\nclient-cert: :AA==:\r\n\r\n";
    let ask = |caller: Caller| async move {
        let mut line = caller.connect(proxy.address, "a.test").await.unwrap();
        line.send(forged).await.unwrap().body
    };
    let ask = &ask;
    // Twice: what one is given is never another's, though all of it is stored.
    for _ in 0..2 {
        assert_eq!(ask(with(&pki, &ann)).await, "/who ann.test");
        assert_eq!(ask(with(&pki, &bob)).await, "/who bob.test");
        assert_eq!(ask(Caller::new(&pki)).await, "/who -");
    }
    assert_eq!(origin.hits(), 3);
    assert!(origin.requests().iter().all(|head| head.fields.get("client-cert") != Some(":AA==:")));
}

#[tokio::test]
async fn the_route_is_chosen_by_the_certificate_and_stored_apart() {
    let pki = Pki::new();
    let origin = Origin::answering(|_| Answer::ok("x").field("cache-control", "max-age=60")).await;
    pki.issue("a", &["a.test"]);
    let config = format!(
        "{}\n[[routes]]\nname = 'ann'\nmatch = {{ client_cert = 'dns:ann.test' }}\n\
         [[routes]]\nname = 'some'\nmatch = {{ client_cert = true }}\n",
        pki.config(
            &origin.url(),
            &format!("{}client = {{ verify = 'optional', ca = '{{dir}}/ca.pem' }}\n", edge("a"))
        )
        .replace("cache = false\n", "")
    );
    let proxy = Proxy::of(config).start().await;
    let (ann, bob, cid) = (pki.make(&["ann.test"]), pki.make(&["bob.test"]), pki.make(&["cid.test"]));
    let callers = [with(&pki, &ann), with(&pki, &bob), with(&pki, &cid), Caller::new(&pki)];
    for caller in &callers {
        assert!(enters(caller, &proxy, "a.test").await);
    }
    let events = proxy.finished(4).await;
    let routes: Vec<_> = events.iter().map(|event| event.route.as_deref().unwrap_or_default()).collect();
    assert_eq!(routes, ["ann", "some", "some", "default"]);
    assert_eq!(origin.hits(), 3, "one for each route");
}

/// All share an address: only their certificates tell them apart, and who has none is counted by the address.
#[tokio::test]
async fn rate_limits_go_by_the_certificate() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let tls = format!("{}client = {{ verify = 'optional', ca = '{{dir}}/ca.pem' }}\n", edge("a"));
    let limit = "[rate_limits.each]\nrate = '1/h'\nkey = 'client-cert'\nevery_route = true\n";
    let proxy = Proxy::of(format!("{}\n{limit}", pki.config(&origin.url(), &tls))).start().await;
    let (ann, bob) = (pki.make(&["ann.test"]), pki.make(&["bob.test"]));
    for (caller, status) in [
        (with(&pki, &ann), 200),
        (with(&pki, &ann), 429),
        (with(&pki, &bob), 200),
        (Caller::new(&pki), 200),
        (Caller::new(&pki), 429),
        (with(&pki, &bob), 429),
    ] {
        let mut line = caller.connect(proxy.address, "a.test").await.unwrap();
        let reply = line.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
        assert_eq!(reply.status, status);
    }
}

#[tokio::test]
async fn another_host_is_no_way_round() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("all", &["www.test", "admin.test", "shop.test"]);
    let tls = format!(
        "{}[tls.edge.names.\"admin.test\"]\nclient = {{ verify = 'required', ca = '{{dir}}/ca.pem' }}\n",
        edge("all")
    );
    let proxy = Proxy::of(pki.config(&origin.url(), &tls)).start().await;
    let (nobody, ann) = (Caller::new(&pki), with(&pki, &pki.make(&["ann.test"])));
    assert!(!enters(&nobody, &proxy, "admin.test").await);
    assert!(enters(&ann, &proxy, "admin.test").await);
    let (mut line, _) = nobody.ask(proxy.address, "www.test").await.unwrap();
    assert_eq!(line.get("shop.test", "/").await.unwrap().status, 200, "of which the same is asked");
    for host in ["admin.test", "ADMIN.test", "admin.test.", "admin.test:443"] {
        let (mut line, _) = nobody.ask(proxy.address, "www.test").await.unwrap();
        let answer = line.get(host, "/").await.unwrap();
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(answer.field("connection"), Some("close"));
    }
    // The target beats Host (RFC 9112 3.2.2).
    let (mut line, _) = nobody.ask(proxy.address, "www.test").await.unwrap();
    let answer = line.send("GET https://admin.test/ HTTP/1.1\r\nhost: www.test\r\n\r\n").await.unwrap();
    assert_eq!(answer.status, 421);
    // Nor is a certificate for one name shown to another.
    let (mut line, _) = ann.ask(proxy.address, "admin.test").await.unwrap();
    assert_eq!(line.get("www.test", "/").await.unwrap().status, 421);
    // HTTP/2 clients like to put names of one certificate together (RFC 9113 9.1.1).
    let h2 = Caller::of(&pki, Kind { alpn: &["h2"], ..Kind::default() });
    let sender = h2.connect(proxy.address, "www.test").await.unwrap().h2().await;
    assert_eq!(ask_h2(&sender, "https://www.test/").await.0, 200);
    assert_eq!(ask_h2(&sender, "https://admin.test/").await.0, 421);
    assert_eq!(ask_h2(&sender, "https://shop.test/").await.0, 200);
    // Neither is a client without SNI, whose name is an address.
    let (mut line, _) = nobody.ask(proxy.address, "www.test").await.unwrap();
    assert_eq!(line.get("127.0.0.1", "/").await.unwrap().status, 200);
}
