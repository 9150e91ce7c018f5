//! What journey tests are made of: origins that say exactly what a test wants, a proxy in this very process, and
//! clients that see every byte. Everything listens on port 0 of the loopback; whoever waits has a deadline.

mod client;
pub mod frames;
mod gate;
mod h2;
mod h2_origin;
mod message;
mod origin;
mod proxy;
mod time;
mod tokens;
mod wire;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, Reply, request};
pub use gate::Gate;
pub use h2::{H2, Sent};
pub use h2_origin::{H2Call, H2Origin};
pub use message::{Fields, Framing, Head};
pub use origin::{Answer, Call, Origin};
pub use proxy::Proxy;
pub use time::{http_date, noon, pass};
pub use tokens::{Issuer, KeyFile};

/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits, but not for ever.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not come in time")
}

/// Looks again and again until it holds: for what tells nobody when it changes.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "it never came to hold: {what}");
}

/// Waits until so many exchanges wait for the head of their reply, all of them in fetches that they share.
pub async fn waiting(proxy: &Proxy, count: u64) {
    let proxy = &proxy.instance.proxy;
    until("so many wait", || proxy.in_flight() == count && proxy.sharing() as u64 == count).await;
}

/// An address of this machine where nobody listens, nor will as long as the tests run: a port that was given back would soon
/// be another test's.
pub fn closed_address() -> std::net::SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a port");
    let kept = Box::leak(Box::new(socket));
    kept.local_addr().expect("its address").as_socket().expect("of IPv4")
}

/// So many bytes, each of which tells where it stands.
pub fn numbered(length: usize) -> bytes::Bytes {
    (0..length).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect::<Vec<u8>>().into()
}
