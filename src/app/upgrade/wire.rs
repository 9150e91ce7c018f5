//! What two processes say to each other while one takes over from the other: a line of JSON each, over a pair of sockets
//! that the new one finds as its standard input. Behind the first line come the descriptors.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::admin::api::Problem;
use crate::server::inherited::Purpose;

/// The version of this conversation; another one is refused.
pub(super) const PROTOCOL: u32 = 1;

/// Descriptors in one message; the kernel takes 253.
const CHUNK: usize = 64;

/// The most descriptors: more than any config opens.
const MOST: usize = 16_384;

/// The longest line in bytes.
pub(super) const MAX_LINE: usize = 4 << 20;

/// What the old process begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) protocol: u32,
    pub(super) pid: u32,
    /// What each of the descriptors is that follow.
    pub(super) descriptors: Vec<Purpose>,
}

/// What the old process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum FromOld {
    /// The store is closed: open it.
    Store,
    /// Accept.
    Go,
    /// A purge that holds there, and must hold here; answered when it does.
    Purge { number: u64, rule: String },
}

/// What the new process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum FromNew {
    /// It understands what it is there for.
    Hello { version: String },
    /// Its config is in order, and it has all sockets.
    Checked,
    /// How its store stands; it could accept now.
    Opened { is_open: bool, store: String },
    /// It accepts, and answers on the admin socket.
    Serving,
    /// A purge holds here.
    Purged { number: u64 },
    /// It gives up.
    Failed { problem: Problem },
}

/// Greets the new process, descriptors and all. Blocking.
pub(super) fn greet(mut stream: &UnixStream, greeting: &Greeting, descriptors: &[OwnedFd]) -> io::Result<()> {
    let mut line = serde_json::to_vec(greeting)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for chunk in descriptors.chunks(CHUNK) {
        let borrowed: Vec<BorrowedFd<'_>> = chunk.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        sendmsg(stream, &[IoSlice::new(b"+")], &mut control, SendFlags::empty())?;
    }
    Ok(())
}

/// Reads what the old process begins with. Blocking.
pub(super) fn greeted(stream: &UnixStream) -> io::Result<(Greeting, Vec<OwnedFd>)> {
    let mut line = Vec::new();
    // A byte at a time: what comes behind it must not be read without its descriptors.
    while receive(stream, &mut Vec::new())?.is_some_and(|byte| {
        line.push(byte);
        byte != b'\n' && line.len() < MAX_LINE
    }) {}
    let greeting: Greeting = serde_json::from_slice(&line)?;
    let wanted = greeting.descriptors.len();
    if wanted > MOST {
        return Err(io::Error::other("more descriptors than there can be"));
    }
    let mut descriptors = Vec::new();
    while descriptors.len() < wanted {
        if receive(stream, &mut descriptors)?.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((greeting, descriptors))
}

/// One byte, and the descriptors that come with it.
fn receive(stream: &UnixStream, descriptors: &mut Vec<OwnedFd>) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    Ok((got.bytes > 0).then_some(byte[0]))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn descriptors_arrive_in_their_order_however_many_they_are() {
        let (old, new) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptors: Vec<OwnedFd> = (0..150).map(|_| listener.try_clone().unwrap().into()).collect();
        let purposes = (0..150).map(|n| Purpose::Given(n.to_string())).collect();
        let greeting = Greeting { protocol: PROTOCOL, pid: 7, descriptors: purposes };
        let sender = std::thread::spawn(move || greet(&old, &greeting, &descriptors));
        let (greeting, got) = greeted(&new).unwrap();
        sender.join().unwrap().unwrap();
        assert_eq!((greeting.pid, got.len()), (7, 150));
        assert_eq!(greeting.descriptors[149], Purpose::Given("149".to_owned()));
        for one in got {
            let address = TcpListener::from(one).local_addr().unwrap();
            assert_eq!(address, listener.local_addr().unwrap());
        }
    }

    #[test]
    fn who_says_something_else_is_not_understood() {
        let (mut old, new) = UnixStream::pair().unwrap();
        old.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        drop(old);
        assert!(greeted(&new).is_err());
    }
}
