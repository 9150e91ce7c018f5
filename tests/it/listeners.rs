//! Where clients come in: Unix sockets, and connections that a balancer announces.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{Answer, Call, Client, Origin, Proxy, until, within};

/// An origin that says who the proxy says the client is.
async fn teller() -> Origin {
    Origin::start(async |call: &mut Call| {
        let said = |name: &str| call.request.fields.get(name).unwrap_or("none").to_owned();
        let told = format!("{} {}", said("x-forwarded-for"), said("x-forwarded-port"));
        call.answer(&Answer::ok(told)).await;
    })
    .await
}

fn behind(networks: &str, origin: &Origin, rest: &str) -> String {
    let url = origin.url();
    format!(
        "listen = {{ addr = \"127.0.0.1:0\", proxy_protocol = {networks} }}\nupstream = \"{url}\"\nmode = \"off\"\n{rest}"
    )
}

async fn over_unix(path: &Path, bytes: &[u8]) -> String {
    let mut stream = within(UnixStream::connect(path)).await.expect("connected");
    within(stream.write_all(bytes)).await.expect("sent");
    let mut said = String::new();
    within(stream.read_to_string(&mut said)).await.expect("answered");
    said
}

const LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";

/// How many connections were refused, and why.
fn refused(proxy: &Proxy, why: &str) -> u64 {
    proxy.instance.telemetry.snapshot().connections.refused.get(why).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_unix_socket_is_listened_on_and_its_file_goes_with_the_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let origin = teller().await;
    let url = origin.url();
    let listen = format!("{{ addr = \"unix:{}\", mode = \"0660\" }}", path.display());
    let both =
        format!("workers = 2\nlisten = [\"127.0.0.1:0\", {listen}]\nupstream = \"{url}\"\nmode = \"off\"");
    let proxy = Proxy::of(both).start().await;
    for _ in 0..8 {
        let said = over_unix(&path, LAST).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("127.0.0.1 80"), "{said}");
    }
    assert_eq!(proxy.get("/").await.text().split(' ').next(), Some("127.0.0.1"));
    proxy.reload(&format!("listen = [\"127.0.0.1:0\"]\nupstream = \"{url}\"")).expect("reloaded");
    until("its file is gone", || !path.exists()).await;
}

#[tokio::test]
async fn a_reload_hands_a_unix_socket_over_without_a_refused_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let origin = teller().await;
    let url = origin.url();
    let config = |mode: &str| {
        let unix = path.display();
        format!(
            "listen = [\"127.0.0.1:0\", {{ addr = \"unix:{unix}\", mode = \"{mode}\" }}]\nupstream = \"{url}\""
        )
    };
    let proxy = Proxy::of(config("0600")).start().await;
    for mode in ["0660", "0600", "0666"] {
        proxy.reload(&config(mode)).expect("reloaded");
        assert!(over_unix(&path, LAST).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    assert!(path.exists());
}

#[tokio::test]
async fn a_balancer_says_for_whom_a_connection_is() {
    let origin = teller().await;
    let proxy = Proxy::of(behind("[\"127.0.0.0/8\", \"10.0.0.0/8\"]", &origin, "")).start().await;
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".as_slice(),
        &[203, 0, 113, 9, 198, 51, 100, 7, 0x12, 0x67, 0x01, 0xBB],
    ]
    .concat();
    let cases: &[(&[u8], &str)] = &[
        (b"PROXY TCP4 203.0.113.7 198.51.100.7 4711 80\r\n", "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2, "203.0.113.9"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0", "127.0.0.1"),
    ];
    for (header, client) in cases {
        let mut connection = Client::connect(proxy.address).await;
        // In two pieces, the second of which has the request, too.
        connection.say(&header[..14]).await;
        connection.say(&header[14..]).await;
        for _ in 0..2 {
            let reply = connection.get("/").await;
            assert_eq!(reply.text().split(' ').next(), Some(*client), "{header:?}");
        }
    }
    assert_eq!(refused(&proxy, "proxy_protocol"), 0);
}

#[tokio::test]
async fn what_is_announced_for_is_believed_no_further_than_its_own_address() {
    let origin = teller().await;
    let rest = "trusted_proxies = [\"127.0.0.0/8\"]";
    let proxy = Proxy::of(behind("\"127.0.0.0/8\"", &origin, rest)).start().await;
    let forged = ["x-forwarded-for: 192.0.2.66"];
    let mut client = Client::connect(proxy.address).await;
    client.say("PROXY TCP4 203.0.113.7 198.51.100.7 4711 80\r\n").await;
    let reply = client.ask("GET", "/", &forged, "").await;
    assert_eq!(reply.text().split(' ').next(), Some("203.0.113.7"), "its own word is not believed");
    let mut balancer = Client::connect(proxy.address).await;
    balancer.say("PROXY UNKNOWN\r\n").await;
    let reply = balancer.ask("GET", "/", &forged, "").await;
    assert!(reply.text().starts_with("192.0.2.66, 127.0.0.1"), "{}", reply.text());
}

#[tokio::test]
async fn who_does_not_say_so_is_not_answered() {
    let origin = teller().await;
    let rest = "[server]\nheader_timeout = \"200ms\"";
    let proxy = Proxy::of(behind("\"127.0.0.0/8\"", &origin, rest)).start().await;
    let cases: &[&[u8]] = &[LAST, b"PROXY TCP4 999.0.0.1 1.1.1.1 1 1\r\n", b"PROXY TCP4 1.1.1.1 2.2", b""];
    for (count, said) in cases.iter().enumerate() {
        let mut client = Client::connect(proxy.address).await;
        client.say(said).await;
        assert!(client.closed().await.is_empty(), "{said:?}");
        let refusals = count as u64 + 1;
        until("it is counted", || refused(&proxy, "proxy_protocol") == refusals).await;
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_stranger_s_word_is_not_even_read() {
    let origin = teller().await;
    let proxy = Proxy::of(behind("\"10.0.0.0/8\"", &origin, "")).start().await;
    let mut client = Client::connect(proxy.address).await;
    assert!(client.closed().await.is_empty());
    until("it is counted", || refused(&proxy, "proxy_protocol") == 1).await;
}

#[tokio::test]
async fn an_end_does_not_wait_for_a_header_that_never_comes() {
    let origin = teller().await;
    let proxy = Proxy::of(behind("\"127.0.0.0/8\"", &origin, "")).start().await;
    let mut client = Client::connect(proxy.address).await;
    client.say("PROXY TCP4 ").await;
    let connections = || proxy.instance.connections() == 1;
    until("it is accepted", connections).await;
    proxy.instance.drain();
    assert_eq!(within(proxy.instance.drained(std::time::Duration::from_secs(20))).await, 0);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn every_address_of_the_machine_is_one_of_both_families() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        eprintln!("this machine has no IPv6: dual stack was not tested");
        return;
    };
    drop(probe);
    let origin = teller().await;
    let url = origin.url();
    let config = format!("listen = \"[::]:0\"\nupstream = \"{url}\"\nmode = \"off\"");
    let proxy = Proxy::of(config).start().await;
    let port = proxy.address.port();
    for (address, client) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let address = std::net::SocketAddr::new(address.parse().expect("an address"), port);
        let reply = Client::connect(address).await.get("/").await;
        assert_eq!(reply.text().split(' ').next(), Some(client), "not as an IPv6 form of it");
    }
}
