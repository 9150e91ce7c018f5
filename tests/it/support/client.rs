//! An HTTP/1.1 client that sends what it is told and sees every byte.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::message::{Fields, Framing, Head};
use super::wire::{Body, Wire};
use super::within;

/// A reply, read to its end.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub fields: Fields,
    pub body: Bytes,
    pub trailers: Fields,
    /// Interim replies that came before it.
    pub interim: Vec<Head>,
    /// Whether its body came to its end; `false`: it broke off, and the client can tell.
    pub whole: bool,
}

impl Reply {
    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    /// What the cache says it did.
    pub fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap_or_default()
    }
}

/// A connection to the proxy.
pub struct Client {
    pub wire: Wire,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::new(within(TcpStream::connect(address)).await.expect("connected")) }
    }

    /// Connects with as small a receive buffer as the system allows, so that not much fits between the two ends.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a size");
        Self { wire: Wire::new(within(socket.connect(address)).await.expect("connected")) }
    }

    /// Sends these bytes.
    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.wire.say(text.as_ref()).await.expect("the proxy takes it");
    }

    /// GET.
    pub async fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, &[], "").await
    }

    /// A whole exchange; `fields` are whole lines, `host` is added where it is missing.
    pub async fn ask(&mut self, method: &str, target: &str, fields: &[&str], body: &str) -> Reply {
        self.say(request(method, target, fields, body)).await;
        self.reply(method).await
    }

    /// The next interim or final head.
    pub async fn head(&mut self) -> Head {
        within(self.wire.head()).await.expect("the proxy closed without a reply")
    }

    /// The reply to a request of this method.
    pub async fn reply(&mut self, method: &str) -> Reply {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await;
            if (100..200).contains(&head.status()) {
                interim.push(head);
                continue;
            }
            let framing = head.reply_framing(method);
            return self.finish_reply(head, framing, interim).await;
        }
    }

    /// The rest of a reply whose head was read.
    pub async fn rest_of(&mut self, head: Head) -> Reply {
        let framing = head.reply_framing("GET");
        self.finish_reply(head, framing, Vec::new()).await
    }

    async fn finish_reply(&mut self, head: Head, framing: Framing, interim: Vec<Head>) -> Reply {
        let Body { bytes, trailers, whole } = self.wire.body(framing).await;
        let status = head.status();
        Reply { status, fields: head.fields, body: bytes, trailers, interim, whole }
    }

    /// Waits until the proxy closes; what it said before that.
    pub async fn closed(&mut self) -> Bytes {
        self.wire.rest().await
    }
}

/// A request with its body's length, where it has one.
pub fn request(method: &str, target: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    let named = |name: &str| fields.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
    if !named("host:") {
        text += "host: api.test\r\n";
    }
    for line in fields {
        text += line;
        text += "\r\n";
    }
    if !body.is_empty() && !named("content-length:") && !named("transfer-encoding:") {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}
