//! Requests of the instance's own: warming, refreshing. They take the same way through the pipeline as a client's, so
//! that what they store is keyed as clients' requests are; in logs their protocol is `internal`, and metrics do not
//! count them as traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;

pub use super::key::ANY_HOST;

use super::Proxy;
use super::exchange::Exchange;
use super::explain::edited;
use super::inbound::{Inbound, InboundBody};
use super::key::{Facts, Keyed};
use super::reply::ReplyBody;
use super::respond;
use super::site::Site;
use crate::cache::Mode;
use crate::cache::entry::Entry;
use crate::cache::policy::vary;
use crate::http::cache_status::CacheStatus;
use crate::http::target::Target;
use crate::http::{ClientConn, forwarded};
use crate::telemetry::event::{CacheOutcome, Protocol};

/// A GET of the instance's own.
#[derive(Clone, Debug)]
pub struct InternalRequest {
    /// Whether clients would come over TLS: it is part of the key.
    pub secure: bool,
    /// As clients would name the host.
    pub authority: HeaderValue,
    /// Path and query.
    pub target: PathAndQuery,
    /// Fields beside `Host`.
    pub headers: HeaderMap,
    /// The origin is to be asked even if what is stored is fresh.
    pub refresh: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct InternalReply {
    /// The reply's status.
    pub status: StatusCode,
    /// What the cache did.
    pub cache: CacheOutcome,
    /// What `Cache-Status` says.
    pub cache_status: CacheStatus<'static>,
    /// The error type told in `Proxy-Status`, where there was no reply from the origin.
    pub error: Option<&'static str>,
    /// Bytes of the body.
    pub bytes: u64,
    /// BLAKE3 of the body.
    pub hash: [u8; 32],
    /// The body's beginning, as much of it as was to be kept.
    pub body: Vec<u8>,
    /// Why the body broke off.
    pub broken: Option<String>,
    /// From the request to the end of the reply.
    pub took: Duration,
}

/// Why a request would not come to a stored reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Its target is not understood.
    BadTarget,
    /// No route takes it now.
    NoRoute,
    /// The route that takes it stores nothing now.
    Off,
    /// It is only a part, which a whole reply would replace.
    Part,
    /// It has another key: the route has changed, or these request fields belong to the key.
    OtherKey(Vec<Box<str>>),
    /// It asks for another variant: the stored one varies on these fields.
    OtherVariant(Vec<Box<str>>),
}

impl Proxy {
    /// Asks itself, and reads the reply to its end; `keep` is how much of the body is handed back. Dropping the future
    /// ends the exchange.
    pub async fn ask_itself(self: Arc<Self>, request: InternalRequest, keep: usize) -> InternalReply {
        let began = Instant::now();
        let site = self.site();
        let (inbound, mut exchange) = self.open_internal(&site, request);
        let answer = Box::pin(self.answer(&site, &mut exchange, inbound)).await;
        let (cache, error) =
            (exchange.cache, answer.as_ref().err().map(|failure| failure.kind().unwrap_or("refused")));
        let (cache_status, response) = match answer {
            Ok(reply) => (reply.cache_status, reply.into_response(&site, exchange)),
            Err(failure) => (CacheStatus::default(), respond::failed(&failure, &site, exchange)),
        };
        let status = response.status();
        let mut read = Read::new(keep);
        let broken = read.all(response.into_body()).await.err();
        InternalReply {
            status,
            cache,
            cache_status,
            error,
            bytes: read.bytes,
            hash: *read.hasher.finalize().as_bytes(),
            body: read.kept,
            broken,
            took: began.elapsed(),
        }
    }

    /// Whether a request would be looked up as this entry.
    pub fn would_find(&self, request: &InternalRequest, entry: &Entry) -> Result<(), Elsewhere> {
        if entry.part.is_some() {
            return Err(Elsewhere::Part);
        }
        let site = self.site();
        let head = request.head();
        let trusted = site.trusts(Ipv4Addr::LOCALHOST.into());
        let secure = forwarded::is_secure(request.secure, &head.headers, trusted);
        let target = Target::of(&head, secure).map_err(|_| Elsewhere::BadTarget)?;
        let route = site.route(&target, &head, None).ok_or(Elsewhere::NoRoute)?;
        if route.cache.mode == Mode::Off {
            return Err(Elsewhere::Off);
        }
        let target = route.forwarded(&target).map_err(|_| Elsewhere::BadTarget)?;
        let head = edited(&route, &head, &target);
        let secret = self.cache.secret();
        let facts =
            Facts { method: &head.method, headers: &head.headers, body: None, user: None, slice: None };
        let keyed = Keyed::of(&route, &target, facts, secret);
        if !keyed.parts(&head.headers).matches(&entry.key, secret) {
            return Err(Elsewhere::OtherKey(entry.key.fields.iter().map(|(name, _)| name.clone()).collect()));
        }
        if !vary::matches(&entry.vary, &head.headers, secret) {
            return Err(Elsewhere::OtherVariant(
                entry.vary.fields.iter().map(|(name, _)| name.clone()).collect(),
            ));
        }
        Ok(())
    }

    fn open_internal(&self, site: &Site, request: InternalRequest) -> (Box<Inbound>, Box<Exchange>) {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let client = ClientConn {
            peer: own,
            local: own,
            tls: request.secure,
            session: None,
            redirect: None,
            protocol: Protocol::Internal,
        };
        let (mut inbound, exchange) =
            self.open(site, request.head(), InboundBody::None, Arc::new(client), None);
        inbound.refresh = request.refresh;
        (inbound, exchange)
    }
}

impl InternalRequest {
    fn head(&self) -> http::request::Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::GET;
        head.uri = self.target.clone().into();
        head.headers = self.headers.clone();
        head.headers.insert(header::HOST, self.authority.clone());
        head
    }
}

/// A body that is read to its end.
struct Read {
    bytes: u64,
    hasher: blake3::Hasher,
    kept: Vec<u8>,
    keep: usize,
}

impl Read {
    fn new(keep: usize) -> Self {
        Self { bytes: 0, hasher: blake3::Hasher::new(), kept: Vec::new(), keep }
    }

    async fn all(&mut self, body: ReplyBody) -> Result<(), String> {
        let mut body = Pin::from(Box::new(body));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(data) = frame.data_ref() else { continue };
            self.bytes += data.len() as u64;
            self.hasher.update(data);
            let room = self.keep.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok(())
    }
}
