//! Long content that is taken in pipes: by whom it is read must not show.

use std::future::poll_fn;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::task::Poll;
use std::thread::JoinHandle;

use http_body::Body;

use super::*;
use crate::piped::Piped;

/// A socket, and what has been sent to it once it is closed.
fn sink() -> (TcpStream, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut there = listener.accept().unwrap().0;
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        there.read_to_end(&mut read).unwrap();
        read
    });
    (socket, reader)
}

/// Takes a body as the server does; all of it, how much of that came in pipes, and how it ended.
async fn take(mut body: UpstreamBody) -> (Vec<u8>, usize, Result<(), BodyError>) {
    let (socket, reader) = sink();
    let (mut piped, mut ended) = (0, Ok(()));
    let send = |mut some: Piped| {
        let before = some.len();
        while !some.is_empty() {
            some.send(socket.as_fd()).unwrap();
        }
        before
    };
    while !body.is_end_stream() {
        let next = poll_fn(|cx| match body.pipe() {
            Some(some) => {
                piped += send(some);
                Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::new()))))
            }
            None => std::pin::Pin::new(&mut body).poll_frame(cx),
        });
        match next.await {
            Some(Ok(frame)) => std::io::Write::write_all(&mut &socket, &frame.into_data().unwrap()).unwrap(),
            Some(Err(error)) => {
                ended = Err(error);
                break;
            }
            None => break,
        }
    }
    drop(socket);
    (reader.join().unwrap(), piped, ended)
}

/// So many bytes that are not all the same.
fn content(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + (at % 23) as u8 + (at >> 13) as u8 % 3)).collect()
}

/// An origin that says all of that after a head that promises so much.
async fn saying(said: usize, promised: usize) -> Origin {
    origin(async move |mut peer: Peer| {
        while peer.head().await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {promised}\r\n\r\n");
            peer.say(&(head + &content(said))).await;
            if said < promised {
                break;
            }
        }
    })
    .await
}

async fn fetched(upstream: &Upstream) -> UpstreamBody {
    upstream.fetch(get()).await.unwrap().response.into_body()
}

#[tokio::test]
async fn long_content_comes_in_pipes_but_for_its_beginning() {
    let length = 300_000;
    let origin = saying(length, length).await;
    let upstream = upstream(settings(&[origin.address]));
    for _ in 0..3 {
        let (taken, piped, ended) = take(fetched(&upstream).await).await;
        assert!(taken == content(length).into_bytes());
        assert!(ended.is_ok());
        // Not what is read with the head, and what is short at the end.
        assert!(cfg!(not(target_os = "linux")) || piped > length / 3, "{piped}");
    }
    let seen = only(&upstream);
    assert_eq!((seen.connects, seen.idle), (1, 1));
}

#[tokio::test]
async fn short_content_does_not() {
    let origin = saying(20_000, 20_000).await;
    let upstream = upstream(settings(&[origin.address]));
    let (taken, piped, ended) = take(fetched(&upstream).await).await;
    assert_eq!((taken.len(), piped, ended.is_ok()), (20_000, 0, true));
}

#[tokio::test]
async fn what_is_cut_short_is_told() {
    let origin = saying(100_000, 200_000).await;
    let upstream = upstream(settings(&[origin.address]));
    let (taken, _, ended) = take(fetched(&upstream).await).await;
    assert!(taken == content(100_000).into_bytes());
    assert!(matches!(ended, Err(BodyError::Incomplete(_))), "{ended:?}");
    assert_eq!(only(&upstream).connections, 0);
}

#[tokio::test]
async fn what_comes_behind_it_is_nobodys() {
    let origin = saying(200_003, 200_000).await;
    let upstream = upstream(settings(&[origin.address]));
    for asked in 1..4 {
        let (taken, _, ended) = take(fetched(&upstream).await).await;
        assert!(taken == content(200_003).as_bytes()[..200_000]);
        assert!(ended.is_ok());
        assert_eq!(origin.connections(), asked, "a connection that says more is not asked again");
    }
}
