//! An origin over plain sockets, a thread a connection.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::LIMIT;

/// A listening origin; its threads end with their connections.
pub struct Origin {
    pub address: SocketAddr,
    hits: Arc<Mutex<HashMap<String, usize>>>,
}

/// A request as the origin got it, its body still to be read.
pub struct Asked<'c> {
    pub method: String,
    pub target: String,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    body: Body<'c>,
    stream: &'c TcpStream,
}

/// What the origin says.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// Fresh for so many seconds.
    pub fn fresh(body: impl Into<Vec<u8>>, seconds: u32) -> Self {
        Self::new(body).with("Cache-Control", format!("max-age={seconds}"))
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As an origin that serves one range: what is asked for of this, which has a tag.
    pub fn ranged(mut self, asked: &Asked<'_>) -> Self {
        let tag = self.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| &**tag);
        let of_this = asked.header("if-range").is_none_or(|wanted| Some(wanted) == tag);
        let range = asked.header("range").filter(|_| of_this);
        let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        else {
            return self;
        };
        let length = self.body.len();
        let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, last.min(length - 1)),
            (Ok(first), Err(_)) => (first, length - 1),
            (Err(_), Ok(suffix)) => (length - suffix.min(length), length - 1),
            _ => return self,
        };
        if first >= length {
            let headers = vec![("Content-Range", format!("bytes */{length}"))];
            return Self { status: 416, headers, body: Vec::new() };
        }
        self.status = 206;
        self.body = self.body[first..=last].to_vec();
        self.with("Content-Range", format!("bytes {first}-{last}/{length}"))
    }
}

enum Body<'c> {
    Length(&'c mut BufReader<TcpStream>, u64),
    Chunked(&'c mut BufReader<TcpStream>),
}

impl Origin {
    /// Answers each request with what this says, after its body has been read.
    pub fn new(answer: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::raw(move |mut asked| {
            asked.read_body(|_| {})?;
            let answer = answer(&asked);
            asked.answer(&answer)
        })
    }

    /// Lets this do what it likes with the connection.
    pub fn raw(serve: impl Fn(Asked<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::<Mutex<HashMap<String, usize>>>::default();
        let (serve, counted) = (Arc::new(serve), hits.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, counted) = (serve.clone(), counted.clone());
                thread::spawn(move || converse(stream, &*serve, &counted));
            }
        });
        Self { address, hits }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it was asked for this.
    pub fn hits(&self, target: &str) -> usize {
        self.hits.lock().unwrap().get(target).copied().unwrap_or(0)
    }
}

fn converse(
    stream: TcpStream,
    serve: &dyn Fn(Asked<'_>) -> io::Result<()>,
    hits: &Mutex<HashMap<String, usize>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let line = line(&mut reader)?;
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = Vec::new();
        loop {
            let line = self::line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        *hits.lock().unwrap().entry(target.to_owned()).or_default() += 1;
        let field = |name: &str| headers.iter().find(|(field, _)| field == name).map(|(_, value)| value);
        let body = match field("content-length").and_then(|length| length.parse().ok()) {
            None if field("transfer-encoding").is_some() => Body::Chunked(&mut reader),
            length => Body::Length(&mut reader, length.unwrap_or(0)),
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        serve(Asked { method, target, headers, body, stream: &stream })?;
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

impl Asked<'_> {
    /// A field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Passes the body on as it comes.
    pub fn read_body(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        match &mut self.body {
            Body::Length(reader, length) => {
                copy(reader, *length, &mut sink)?;
                *length = 0;
            }
            Body::Chunked(reader) => loop {
                let size = u64::from_str_radix(&line(reader)?, 16).map_err(io::Error::other)?;
                copy(reader, size, &mut sink)?;
                line(reader)?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(())
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(bytes)
    }

    pub fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        let mut head =
            format!("HTTP/1.1 {} Something\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if self.method != "HEAD" {
            bytes.extend_from_slice(&answer.body);
        }
        self.write(&bytes)
    }
}

fn copy(reader: &mut impl BufRead, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut body = reader.take(length);
    loop {
        let bytes = body.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        sink(bytes);
        let taken = bytes.len();
        body.consume(taken);
    }
    if body.limit() > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Holds an origin back until the test lets it go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// For the origin: says that it is here, and waits.
    pub fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        let deadline = Instant::now() + LIMIT;
        while !state.1 && Instant::now() < deadline {
            state = changed.wait_timeout(state, deadline - Instant::now()).unwrap().0;
        }
    }

    /// For the test: waits until so many have come.
    #[track_caller]
    pub fn await_arrivals(&self, wanted: usize) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        let deadline = Instant::now() + LIMIT;
        while state.0 < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {} of {wanted} came", state.0);
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    pub fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }
}
