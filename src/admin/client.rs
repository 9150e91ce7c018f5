//! Asks a running instance over its admin socket.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::api::{self, Problem};
use super::paths;

/// The longest line of a stream in bytes; a longer one breaks the stream off.
const MAX_LINE: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no socket.
    #[error("no instance is running: {0} is not there")]
    NotRunning(PathBuf),
    /// There is a socket, and nobody listens on it.
    #[error("no instance is running: {0} was left behind by one that ended")]
    Stale(PathBuf),
    /// The socket or the instance refuses this user.
    #[error("{socket} refuses this user: {why}")]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// The reason, as far as known.
        why: String,
    },
    /// No answer in time.
    #[error("the instance did not answer within {0:?}")]
    TimedOut(Duration),
    /// The instance speaks another version of the interface.
    #[error(
        "the instance speaks version {theirs} of the admin interface, this command version {}",
        api::VERSION
    )]
    Version {
        /// Its version, or what it says instead.
        theirs: String,
    },
    /// The instance refused the request.
    #[error("{}", .0.title)]
    Problem(Box<Problem>),
    /// The instance went away in the middle of its answer.
    #[error("the connection to the instance broke: {0}")]
    Broken(String),
}

/// A client of one instance.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the instance on `socket`; nothing is connected yet.
    ///
    /// # Errors
    /// When the socket's directory could be another user's, so that who answers there cannot be trusted.
    pub fn new(socket: &Path, timeout: Duration) -> Result<Self, Error> {
        if let Some(directory) = socket.parent()
            && directory == paths::Surroundings::of_process().socket_dir()
            && directory.exists()
        {
            paths::check_private(directory)
                .map_err(|error| Error::Denied { socket: socket.to_owned(), why: error.to_string() })?;
        }
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            // Nothing here is TLS: reading the platform's roots would only cost time.
            .tls_certs_only([])
            .no_proxy()
            .http1_only()
            .build()
            .map_err(|error| Error::Broken(innermost(&error)))?;
        Ok(Self { http, socket: socket.to_owned(), timeout })
    }

    /// The socket that is asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a value.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Error> {
        let request = self.request(Method::GET, path).query(query);
        self.in_time(async { value(self.send(request).await?).await }).await
    }

    /// Asks for text.
    pub async fn text(&self, path: &str, query: &impl Serialize) -> Result<String, Error> {
        let request = self.request(Method::GET, path).query(query);
        self.in_time(async { self.send(request).await?.text().await.map_err(|error| broken(&error)) }).await
    }

    /// Asks the instance to do something.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let request = self.request(Method::POST, path).json(body);
        self.in_time(async { value(self.send(request).await?).await }).await
    }

    /// Asks for a stream of values; only its beginning has to come in time.
    pub async fn lines(&self, path: &str, query: &impl Serialize) -> Result<Lines, Error> {
        let request = self.request(Method::GET, path).query(query);
        let response = self.in_time(self.send(request)).await?;
        Ok(Lines { response, buffer: BytesMut::new() })
    }

    /// Asks the instance to do something that it tells of as it goes; only the beginning has to come in time.
    pub async fn work(&self, path: &str, body: &impl Serialize) -> Result<Lines, Error> {
        let request = self.request(Method::POST, path).json(body);
        let response = self.in_time(self.send(request)).await?;
        Ok(Lines { response, buffer: BytesMut::new() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://proxy-stone{path}"))
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(Error::TimedOut(self.timeout)))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let theirs = response.headers().get(api::VERSION_HEADER).and_then(|value| value.to_str().ok());
        if theirs != Some(api::VERSION.to_string().as_str()) {
            return Err(Error::Version { theirs: theirs.unwrap_or("(none)").to_owned() });
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let problem: Problem = value(response).await?;
        Err(match problem.code {
            api::ProblemCode::Denied => Error::Denied { socket: self.socket.clone(), why: problem.title },
            _ => Error::Problem(Box::new(problem)),
        })
    }

    /// What a failed connect means.
    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let socket = self.socket.clone();
        match cause(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Error::NotRunning(socket),
            Some(io::ErrorKind::ConnectionRefused) => Error::Stale(socket),
            Some(io::ErrorKind::PermissionDenied) => {
                Error::Denied { socket, why: "permission denied".to_owned() }
            }
            _ => broken(error),
        }
    }
}

/// The values of a stream, as they come.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    buffer: BytesMut,
}

impl Lines {
    /// The next value; `None` at the stream's end. May be cancelled and called again.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(line) = self.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return parse(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Error::Broken("a line has no end".to_owned()));
            }
            match self.response.chunk().await.map_err(|error| broken(&error))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Error::Broken("the last line is cut off".to_owned())),
            }
        }
    }

    /// Whether a whole value is here already.
    pub fn is_ready(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        Some(self.buffer.split_to(end + 1))
    }
}

async fn value<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let body: Bytes = response.bytes().await.map_err(|error| broken(&error))?;
    parse(&body)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Broken(format!("its answer can't be read: {error}")))
}

fn broken(error: &reqwest::Error) -> Error {
    Error::Broken(innermost(error))
}

/// An error and what caused it, outermost first.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The system's own error at the root of another.
fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e io::Error> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}
