//! Who is served: networks that a route allows and denies, by the client's address as far as it is believed.

use crate::support::{Answer, Origin, Proxy};

#[tokio::test]
async fn who_is_not_allowed_gets_403_even_where_something_is_stored() {
    let origin = Origin::always(Answer::ok("origin").field("cache-control", "max-age=60")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blocked.txt");
    std::fs::write(&file, "# known to be bad\n10.9.0.0/16\n").unwrap();
    let config = |trusted: &str| {
        format!(
            "upstream = \"{}\"\ntrusted_proxies = [{trusted}]\n[[routes]]\nmatch = {{ path = '/in/*' }}\n\
             allow = ['10.0.0.0/8', '2001:db8::/32', '127.0.0.1']\ndeny = ['10.1.2.3', 'file:{}']",
            origin.url(),
            file.display(),
        )
    };
    let proxy = Proxy::of(config("'127.0.0.1'")).start().await;
    for (client, status) in [
        ("10.0.0.1", 200),
        ("10.1.2.3", 403),
        ("10.9.8.7", 403),
        ("192.0.2.1", 403),
        ("[2001:db8::7]", 200),
        ("[2001:db9::7]", 403),
    ] {
        let reply = proxy.ask("GET", "/in/x", &[&format!("Forwarded: for=\"{client}\"")], "").await;
        assert_eq!(reply.status, status, "{client}");
        if status == 403 {
            assert_eq!(reply.fields.get("content-type"), Some("application/problem+json"));
        }
        let other = proxy.ask("GET", "/out", &[&format!("Forwarded: for=\"{client}\"")], "").await;
        assert_eq!(other.status, 200);
    }
    assert_eq!(proxy.get("/in/y").await.status, 200);

    // Whose word is not believed is its own address.
    std::fs::write(&file, "127.0.0.0/8\n").unwrap();
    proxy.reload(&config("")).unwrap();
    let forged = proxy.ask("GET", "/in/x", &["X-Forwarded-For: 10.0.0.1"], "").await;
    assert_eq!(forged.status, 403, "the file was read anew");
}
