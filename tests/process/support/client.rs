//! A client over a plain socket: what it reads is what the proxy wrote.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::LIMIT;

/// The authority that requests name, whatever port the proxy has this time.
const HOST: &str = "stone.test";

/// A connection that is kept.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A reply, whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A field's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the store answered.
    pub fn is_hit(&self) -> bool {
        self.header("cache-status").contains("; hit")
    }
}

/// One GET on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Reply {
    Client::connect(address)
        .and_then(|mut client| client.get(target))
        .unwrap_or_else(|error| panic!("GET {target}: {error}"))
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// To the admin socket.
    pub fn admin(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    pub fn get(&mut self, target: &str) -> io::Result<Reply> {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
    }

    /// Sends a POST of JSON.
    pub fn post(&mut self, target: &str, json: &serde_json::Value) -> io::Result<Reply> {
        let body = json.to_string();
        self.ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Sends these bytes and reads a reply.
    pub fn ask(&mut self, request: &str) -> io::Result<Reply> {
        self.send(request.as_bytes())?;
        self.reply()
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads a reply, its body whole.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut body = Vec::new();
        let mut reply = self.stream_reply(|bytes| body.extend_from_slice(bytes))?;
        reply.body = body;
        Ok(reply)
    }

    /// Reads a reply whose body goes elsewhere as it comes.
    pub fn stream_reply(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<Reply> {
        let reply = self.head()?;
        self.stream_body(&reply, &mut sink)?;
        Ok(reply)
    }

    /// Reads the body that follows this head.
    pub fn stream_body(&mut self, reply: &Reply, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        if matches!(reply.status, 204 | 304) {
            return Ok(());
        }
        let length = reply.header("content-length").parse().ok();
        if reply.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                let size = self.line()?;
                let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(|_| broken("a chunk's size"))?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Ok(());
                }
                self.body(size, &mut sink)?;
                self.line()?;
            }
        }
        match length {
            Some(length) => self.body(length, &mut sink)?,
            None => while self.some(usize::MAX, &mut sink)? > 0 {},
        }
        Ok(())
    }

    /// Reads a head, interim ones left out.
    pub fn head(&mut self) -> io::Result<Reply> {
        loop {
            let line = self.line()?;
            let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status: u16 = status.ok_or_else(|| broken(&line))?;
            let mut headers = Vec::new();
            loop {
                let line = self.line()?;
                let Some((name, value)) = line.split_once(':') else { break };
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status >= 200 {
                return Ok(Reply { status, headers, body: Vec::new() });
            }
        }
    }

    /// A line without its end; the end of the stream is an error.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| broken("a line that is not UTF-8"))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn body(&mut self, mut left: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            let taken = self.some(usize::try_from(left).unwrap_or(usize::MAX), sink)?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= taken as u64;
        }
        Ok(())
    }

    /// Passes on what is there, `most` bytes at most.
    fn some(&mut self, most: usize, sink: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let bytes = self.stream.fill_buf()?;
        let taken = bytes.len().min(most);
        sink(&bytes[..taken]);
        self.stream.consume(taken);
        Ok(taken)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
