//! The first of several addresses that answers (RFC 8305 in short).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use crate::descriptors;

/// How long one address may stay silent before the next is tried beside it (RFC 8305 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to one of the addresses. They take turns at being first (`turn`), within the family that the resolver
/// put first; the next one is tried when one fails or is slow. The error is the last one's.
pub(crate) async fn dial(addresses: &[SocketAddr], turn: usize) -> io::Result<TcpStream> {
    let mut rest = order(addresses, turn).into_iter();
    let mut dialling = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    dialling.extend(rest.next().map(TcpStream::connect));
    while !dialling.is_empty() {
        let waits = rest.len() > 0;
        tokio::select! {
            Some(done) = dialling.next() => match done {
                Ok(stream) if descriptors::is_reserved(&stream, descriptors::Use::Upstream) => {
                    return Err(io::Error::other("nearly all file descriptors are in use"));
                }
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            },
            () = tokio::time::sleep(STAGGER), if waits => {}
        }
        dialling.extend(rest.next().map(TcpStream::connect));
    }
    Err(last)
}

fn order(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut order, others): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    let by = turn % order.len();
    order.rotate_left(by);
    order.extend(others);
    order
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_take_turns_within_the_preferred_family() {
        let given = addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1"]);
        assert_eq!(order(&given, 0), addresses(&["[::1]:1", "[::2]:1", "127.0.0.1:1"]));
        assert_eq!(order(&given, 3), addresses(&["[::2]:1", "[::1]:1", "127.0.0.1:1"]));
    }

    #[tokio::test]
    async fn a_refusing_address_leads_to_the_next() {
        let closed = crate::upstream::tests::closed();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(&[closed, open.local_addr().unwrap()], 0).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open.local_addr().unwrap());
        let error = dial(&[closed], 0).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// A listener whose queue is full: Linux leaves further connects unanswered.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_next() {
        use socket2::{Domain, Socket, Type};

        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let address = silent.local_addr().unwrap();
        let queued = [(); 4].map(|()| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // "In progress" is all that is to be had.
            let _ = socket.connect(&address);
            socket
        });
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = std::time::Instant::now();
        let addresses = [address.as_socket().unwrap(), open.local_addr().unwrap()];
        let stream = dial(&addresses, 0).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        assert!(begun.elapsed() >= STAGGER);
        drop((silent, queued));
    }
}
