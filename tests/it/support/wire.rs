//! One end of a TCP connection, read and written as HTTP/1.1 has it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Fields, Framing, Head};
use super::within;

/// A body as it came.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Its bytes.
    pub bytes: Bytes,
    /// What followed the last chunk.
    pub trailers: Fields,
    /// Whether it came to its end; `false`: the connection broke off before.
    pub whole: bool,
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

/// How a streamed body ended.
pub struct Ended {
    pub trailers: Fields,
    pub whole: bool,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, read: BytesMut::new() }
    }

    /// Writes all of it; the other side may be gone.
    pub async fn say(&mut self, text: &[u8]) -> io::Result<()> {
        within(self.stream.write_all(text)).await
    }

    /// Says that this was all.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Writes what the socket takes now or soon.
    pub async fn try_say(&mut self, text: &[u8]) -> io::Result<usize> {
        self.stream.write(text).await
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a TCP socket");
    }

    /// Reads more; `false` at the end.
    async fn fill(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0
    }

    /// What has come, or comes next; nothing at the end.
    pub async fn some(&mut self) -> Bytes {
        if self.read.is_empty() {
            within(self.fill()).await;
        }
        self.read.split().freeze()
    }

    /// Whatever comes until the other side closes.
    pub async fn rest(&mut self) -> Bytes {
        while within(self.fill()).await {}
        self.read.split().freeze()
    }

    /// Waits until the other side has closed, whatever it says before.
    pub async fn gone(&mut self) {
        while within(self.fill()).await {
            self.read.clear();
        }
    }

    /// What was read but belongs to no message yet.
    pub fn surplus(&self) -> &[u8] {
        &self.read
    }

    /// A head; `None`: the connection ended before. No deadline of its own.
    pub async fn head(&mut self) -> Option<Head> {
        let text = self.through(b"\r\n\r\n").await?;
        Some(Head::parse(&String::from_utf8_lossy(&text)))
    }

    async fn through(&mut self, end: &[u8]) -> Option<Bytes> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                let part = self.read.split_to(at).freeze();
                self.read.advance(end.len());
                return Some(part);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads a body to its end.
    pub async fn body(&mut self, framing: Framing) -> Body {
        let mut bytes = BytesMut::new();
        let Ended { trailers, whole } = self.each(framing, |part| bytes.extend_from_slice(part)).await;
        Body { bytes: bytes.freeze(), trailers, whole }
    }

    /// Hands on the parts of a body as they come.
    pub async fn each(&mut self, framing: Framing, mut take: impl FnMut(&[u8])) -> Ended {
        let ended = |whole| Ended { trailers: Fields::default(), whole };
        match framing {
            Framing::None => ended(true),
            Framing::Length(length) => ended(self.count(length, &mut take).await),
            Framing::Close => loop {
                take(&self.read.split());
                match within(self.stream.read_buf(&mut self.read)).await {
                    Ok(0) => return ended(true),
                    Ok(_) => {}
                    Err(_) => return ended(false),
                }
            },
            Framing::Chunked => self.chunks(&mut take).await.unwrap_or_else(|| ended(false)),
        }
    }

    async fn count(&mut self, mut left: u64, take: &mut impl FnMut(&[u8])) -> bool {
        while left > 0 {
            if self.read.is_empty() && !within(self.fill()).await {
                return false;
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.read.len());
            take(&self.read.split_to(now));
            left -= now as u64;
        }
        true
    }

    async fn chunks(&mut self, take: &mut impl FnMut(&[u8])) -> Option<Ended> {
        loop {
            let size = self.chunk_size().await?;
            if size == 0 {
                break;
            }
            if !self.count(size, take).await {
                return None;
            }
            within(self.through(b"\r\n")).await?;
        }
        let mut lines = Vec::new();
        loop {
            let line = within(self.through(b"\r\n")).await?;
            if line.is_empty() {
                break;
            }
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        Some(Ended { trailers: Fields::parse(lines.iter().map(String::as_str)), whole: true })
    }

    async fn chunk_size(&mut self) -> Option<u64> {
        let line = within(self.through(b"\r\n")).await?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let size = text.split(';').next().unwrap_or_default().trim();
        Some(u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a chunk size: {text:?}")))
    }

    /// The data of one chunk.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        let size = self.chunk_size().await?;
        let mut bytes = BytesMut::new();
        if !self.count(size, &mut |part: &[u8]| bytes.extend_from_slice(part)).await {
            return None;
        }
        within(self.through(b"\r\n")).await?;
        Some(bytes.freeze())
    }
}

/// Bytes as a chunk.
pub fn chunked(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
