//! HTTP/2 frame by frame (RFC 9113 4), for what no well-behaved peer does.

use std::future::Future as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// The head of a message.
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::new(HEADERS, flags | END_HEADERS, stream, block(fields))
    }

    /// RST_STREAM, GOAWAY: the error code.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("a code"))
    }

    /// GOAWAY: the last stream.
    pub fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("a stream"))
    }

    /// HEADERS of a reply: its status, if it is the first field, as it has to be.
    pub fn status(&self) -> u16 {
        match self.payload[0] {
            0x88 => 200,
            0x89 => 204,
            0x8b => 304,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            0x08 | 0x48 if self.payload[1] & 0x80 == 0 => {
                std::str::from_utf8(&self.payload[2..5]).expect("digits").parse().expect("a status")
            }
            0x08 | 0x48 => huffman_digits(&self.payload[2..]),
            other => panic!("no status: {other:x}"),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = u32::try_from(self.payload.len()).expect("a length").to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Three digits in the code of RFC 7541 B: `0`, `1` and `2` have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut status = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().expect("a bit");
        }
        let digit = if code < 3 { code } else { (code << 1 | bits.next().expect("a bit")) - 0b011001 + 3 };
        status = status * 10 + digit;
    }
    status
}

/// Fields as HPACK literals without indexing.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [name, value] {
            length(&mut block, part.len());
            block.extend(part.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push((length % 128 + 128) as u8);
        length /= 128;
    }
    block.push(length as u8);
}

/// A connection.
pub struct Frames {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Frames {
    /// A client's, which has said the preface and settings, and nothing else.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::bare(address).await;
        frames.raw(PREFACE).await;
        frames.send(&Frame::new(SETTINGS, 0, 0, [])).await;
        frames
    }

    /// A client's, which has said nothing.
    pub async fn bare(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, read: Vec::new() }
    }

    /// A server's, which has taken the preface and said these settings.
    pub async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let (stream, _) = within(listener.accept()).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut frames = Self { stream, read: Vec::new() };
        frames.fill(PREFACE.len()).await.expect("a preface");
        let preface: Vec<u8> = frames.read.drain(..PREFACE.len()).collect();
        assert_eq!(preface, PREFACE);
        frames.settings(settings).await;
        frames
    }

    /// Says settings.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(&Frame::new(SETTINGS, 0, 0, payload)).await;
    }

    /// Sends bytes. That the other side has gone is seen by reading.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> bool {
        self.raw(&frame.to_bytes()).await
    }

    /// Sends a GET on a stream.
    pub async fn get(&mut self, stream: u32, path: &str) -> bool {
        self.send(&Frame::headers(stream, END_STREAM, &request("GET", path))).await
    }

    /// The next frame; `None` once the connection has ended, in order or not.
    pub async fn next(&mut self) -> Option<Frame> {
        self.fill(9).await?;
        let length = u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]) as usize;
        self.fill(9 + length).await?;
        let bytes: Vec<u8> = self.read.drain(..9 + length).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().expect("four bytes")) & 0x7fff_ffff;
        Some(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() })
    }

    /// The next frame of a kind, past all others; settings are acknowledged on the way.
    pub async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind && !(kind == SETTINGS && frame.flags == ACK) {
                return Some(frame);
            }
            if frame.kind == SETTINGS && frame.flags == 0 {
                self.send(&Frame::new(SETTINGS, ACK, 0, [])).await;
            }
        }
    }

    /// Whether an exchange still works.
    pub async fn works(&mut self, stream: u32) -> bool {
        self.get(stream, "/").await;
        while let Some(frame) = self.until(HEADERS).await {
            if frame.stream == stream {
                return frame.status() == 200;
            }
        }
        false
    }

    /// The next frame of a kind among those that have come already: `Some(None)` when the connection has ended.
    pub async fn pending(&mut self, kind: u8) -> Option<Option<Frame>> {
        loop {
            let ready = std::future::poll_fn(|cx| {
                let mut next = std::pin::pin!(self.next());
                std::task::Poll::Ready(match next.as_mut().poll(cx) {
                    std::task::Poll::Ready(frame) => Some(frame),
                    std::task::Poll::Pending => None,
                })
            });
            match ready.await? {
                Some(frame) if frame.kind == kind => return Some(Some(frame)),
                None => return Some(None),
                Some(_) => {}
            }
        }
    }

    async fn fill(&mut self, count: usize) -> Option<()> {
        while self.read.len() < count {
            let read = within(self.stream.read_buf(&mut self.read)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(())
    }
}

/// The pseudo-fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "api.test"), (":path", path)]
}
