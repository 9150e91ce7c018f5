//! HTTP/2 written by hand (RFC 9113 4, RFC 7541): what no client library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const SETTINGS: u8 = 4;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals without indexing, never compressed (RFC 7541 6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A connection with the preface and settings sent.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = within(TcpStream::connect(address)).await.expect("connected");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        stream.write_all(&hello).await.expect("sent");
        Self { stream, read: Vec::new() }
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        // The other side may have had enough.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next final status, reset or end that concerns this stream.
    pub async fn came(&mut self, stream: u32) -> Came {
        loop {
            let Some((kind, flags, on, payload)) = within(self.next()).await else { return Came::Closed };
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                HEADERS if on == stream => match status(&payload, flags) {
                    100..=199 => {}
                    status => return Came::Status(status),
                },
                3 if on == stream => return Came::Reset(number(0)),
                7 if number(4) != 0 => return Came::GoAway(number(4)),
                SETTINGS if flags & 1 == 0 => self.say(&frame(SETTINGS, 1, 0, &[])).await,
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        while self.read.len() < 9 || self.read.len() < 9 + self.length() {
            let mut more = [0; 4096];
            match self.stream.read(&mut more).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.read.extend_from_slice(&more[..count]),
            }
        }
        let rest = self.read.split_off(9 + self.length());
        let frame = std::mem::replace(&mut self.read, rest);
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some((frame[3], frame[4], stream, frame[9..].to_vec()))
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]) as usize
    }
}

/// The status, which comes first: indexed, or a literal of digits (RFC 7541 6.1, 6.2, appendices A and B).
fn status(mut block: &[u8], _: u8) -> u16 {
    // A change of the table's size may stand before it.
    while block[0] & 0xe0 == 0x20 {
        block = &block[1..];
    }
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        first => {
            assert!(matches!(first, 0x48 | 0x08 | 0x18), "not a status: {first:x}");
            let count = usize::from(block[1] & 0x7f);
            let text = &block[2..2 + count];
            if block[1] & 0x80 == 0 {
                std::str::from_utf8(text).unwrap().parse().unwrap()
            } else {
                digits(text)
            }
        }
    }
}

fn digits(coded: &[u8]) -> u16 {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let mut rest = &bits[..];
    (0..3).fold(0, |sum, _| {
        let number = |count: usize| rest[..count].iter().fold(0_u16, |sum, bit| sum * 2 + u16::from(*bit));
        let (digit, count) = if number(5) < 3 { (number(5), 5) } else { (number(6) - 0x19 + 3, 6) };
        rest = &rest[count..];
        sum * 10 + digit
    })
}
