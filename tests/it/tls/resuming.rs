//! Sessions are taken up again, as long as what is asked of clients is what it was.

use std::time::Duration;

use proxy_stone::clock::{Clock, Timestamp};
use rustls::version;

use super::client::{Caller, Kind};
use super::pki::{Pki, edge};
use crate::support::{Answer, Origin, Proxy};

#[tokio::test]
async fn both_versions_resume_with_tickets_and_their_keys_are_forgotten() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let clock = Clock::manual(Timestamp::from(std::time::SystemTime::now()));
    let config = pki.config(&origin.url(), &format!("{}ticket_rotation = '1h'\n", edge("a")));
    let proxy = Proxy::of(config).clock(&clock).start().await;
    for (version, name) in [(&version::TLS12, "TLSv1.2"), (&version::TLS13, "TLSv1.3")] {
        let caller = Caller::of(&pki, Kind { version: Some(version), ..Kind::default() });
        let resumed = || async { caller.ask(proxy.address, "a.test").await.unwrap().0.is_resumed() };
        assert!(!resumed().await, "{name}");
        assert!(resumed().await, "{name}");
        clock.advance(Duration::from_secs(3700));
        assert!(resumed().await, "{name}: by the key before");
        clock.advance(Duration::from_secs(2 * 3700));
        assert!(!resumed().await, "{name}: no key is left");
    }
    let counted = proxy.instance.telemetry.snapshot().handshakes.done;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let count = |resumed| {
            let of = |row: &&proxy_stone::telemetry::snapshot::HandshakeRow| {
                row.version == version && row.resumed == resumed
            };
            counted.iter().find(of).map_or(0, |row| row.count)
        };
        assert_eq!((count(false), count(true)), (2, 2), "{version}");
    }
}

#[tokio::test]
async fn nothing_is_resumed_where_tickets_are_off() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let config = pki.config(&origin.url(), &format!("{}ticket_rotation = '0s'\n", edge("a")));
    let proxy = Proxy::of(config).start().await;
    for version in [&version::TLS12, &version::TLS13] {
        let caller = Caller::of(&pki, Kind { version: Some(version), ..Kind::default() });
        for _ in 0..2 {
            assert!(!caller.ask(proxy.address, "a.test").await.unwrap().0.is_resumed());
        }
    }
}

#[tokio::test]
async fn a_ticket_from_before_certificates_were_asked_for_opens_nothing() {
    let (pki, origin) = (Pki::new(), Origin::always(Answer::ok("x")).await);
    pki.issue("a", &["a.test"]);
    let open = pki.config(&origin.url(), &edge("a"));
    let closed =
        format!("{open}client = {{ verify = 'required', ca = '{}' }}\n", pki.path("ca.pem").display());
    let proxy = Proxy::of(open).start().await;
    for version in [&version::TLS12, &version::TLS13] {
        let caller = Caller::of(&pki, Kind { version: Some(version), ..Kind::default() });
        assert!(!caller.ask(proxy.address, "a.test").await.unwrap().0.is_resumed());
        let (mut line, _) = caller.ask(proxy.address, "a.test").await.unwrap();
        assert!(line.is_resumed());
        proxy.reload(&closed).unwrap();
        assert!(caller.ask(proxy.address, "a.test").await.is_err(), "it has no certificate");
        // Nor does a connection from before lead to it.
        assert_eq!(line.get("a.test", "/").await.unwrap().status, 421);
        proxy.reload(&pki.config(&origin.url(), &edge("a"))).unwrap();
    }
}
