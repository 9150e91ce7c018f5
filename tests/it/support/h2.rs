//! An HTTP/2 client with prior knowledge.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::client::Reply;
use super::message::Fields;
use super::within;

/// A body to send.
pub type Sent = BoxBody<Bytes, Infallible>;

/// A connection to the proxy; clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<Sent>,
}

impl H2 {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("connected");
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within(handshake).await.expect("HTTP/2 spoken");
        tokio::spawn(connection);
        Self { sender }
    }

    /// GET.
    pub async fn get(&self, target: &str) -> Reply {
        self.ask(Self::request("GET", target, "")).await
    }

    /// A request for `http://api.test`.
    pub fn request(method: &str, target: &str, body: &'static str) -> Request<Sent> {
        let body = match body {
            "" => Empty::new().boxed(),
            body => Full::new(Bytes::from_static(body.as_bytes())).boxed(),
        };
        let uri = format!("http://api.test{target}");
        Request::builder().method(method).uri(uri).body(body).expect("a request")
    }

    /// A whole exchange.
    pub async fn ask(&self, request: Request<Sent>) -> Reply {
        let response = self.begin(request).await.expect("a reply");
        Self::rest_of(response).await
    }

    /// Up to the reply's head.
    ///
    /// # Errors
    /// When the stream or the connection ends before.
    pub async fn begin(&self, request: Request<Sent>) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        within(sender.ready()).await?;
        within(sender.send_request(request)).await
    }

    /// The rest of a reply whose head has come.
    pub async fn rest_of(response: Response<Incoming>) -> Reply {
        let (head, mut body) = response.into_parts();
        let mut reply = Reply {
            status: head.status.as_u16(),
            fields: Fields::from(&head.headers),
            whole: true,
            ..Reply::default()
        };
        let mut bytes = Vec::new();
        while let Some(frame) = within(body.frame()).await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        reply.trailers = Fields::from(trailers);
                    }
                }
                Err(_) => {
                    reply.whole = false;
                    break;
                }
            }
        }
        reply.body = bytes.into();
        reply
    }
}
