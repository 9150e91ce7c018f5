//! What is told of a finished exchange, by reference to whoever knows it.
//!
//! It is written down at once (in a batch of its thread's), so nobody has to keep for it what an exchange has borrowed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use uuid::Uuid;

use super::caching::{Caching, ReplyFields};
use super::event::{CacheOutcome, End, Finished, Protocol, RequestId, Series};
use crate::clock::Timestamp;
use crate::tls::Session;

/// What a [`Finished`] has; its fields mean the same.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Account<'a> {
    pub id: Id<'a>,
    pub at: Timestamp,
    pub duration: Duration,
    pub first_byte: Duration,
    pub client: IpAddr,
    pub session: Option<&'a Arc<Session>>,
    pub user: Option<&'a str>,
    pub protocol: Protocol,
    pub method: &'a str,
    pub host: &'a str,
    pub target: &'a str,
    pub status: u16,
    pub route: Option<&'a str>,
    pub series: Series,
    pub upstream: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub attempts: u32,
    pub upstream_first_byte: Option<Duration>,
    pub cache: CacheOutcome,
    pub received: u64,
    pub sent: u64,
    pub end: End,
    pub lasting: bool,
    pub error: Option<&'static str>,
    pub limit: Option<&'a str>,
    pub limit_dry_run: Option<&'a str>,
    pub caching: Caching,
    /// The lines of [`ReplyFields`].
    pub reply: Option<&'a str>,
}

/// A [`RequestId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id<'a> {
    /// Made here.
    Own(Uuid),
    /// Taken over from a trusted peer.
    Given(&'a str),
}

impl Account<'_> {
    /// The same, to be kept.
    pub fn to_finished(&self) -> Finished {
        let kept = |text: Option<&str>| text.map(Arc::from);
        Finished {
            id: match self.id {
                Id::Own(id) => RequestId::Own(id),
                Id::Given(id) => RequestId::Given(id.into()),
            },
            at: self.at,
            duration: self.duration,
            first_byte: self.first_byte,
            client: self.client,
            session: self.session.cloned(),
            user: kept(self.user),
            protocol: self.protocol,
            // It was one.
            method: Method::from_bytes(self.method.as_bytes()).unwrap_or_default(),
            host: self.host.into(),
            target: self.target.into(),
            status: self.status,
            route: kept(self.route),
            series: self.series,
            upstream: kept(self.upstream),
            endpoint: kept(self.endpoint),
            attempts: self.attempts,
            upstream_first_byte: self.upstream_first_byte,
            cache: self.cache,
            received: self.received,
            sent: self.sent,
            end: self.end,
            lasting: self.lasting,
            error: self.error,
            limit: kept(self.limit),
            limit_dry_run: kept(self.limit_dry_run),
            caching: self.caching,
            reply: self.reply.map(ReplyFields::of_lines),
        }
    }
}

impl<'a> From<&'a Finished> for Account<'a> {
    fn from(finished: &'a Finished) -> Self {
        Self {
            id: Id::from(&finished.id),
            at: finished.at,
            duration: finished.duration,
            first_byte: finished.first_byte,
            client: finished.client,
            session: finished.session.as_ref(),
            user: finished.user.as_deref(),
            protocol: finished.protocol,
            method: finished.method.as_str(),
            host: &finished.host,
            target: &finished.target,
            status: finished.status,
            route: finished.route.as_deref(),
            series: finished.series,
            upstream: finished.upstream.as_deref(),
            endpoint: finished.endpoint.as_deref(),
            attempts: finished.attempts,
            upstream_first_byte: finished.upstream_first_byte,
            cache: finished.cache,
            received: finished.received,
            sent: finished.sent,
            end: finished.end,
            lasting: finished.lasting,
            error: finished.error,
            limit: finished.limit.as_deref(),
            limit_dry_run: finished.limit_dry_run.as_deref(),
            caching: finished.caching,
            reply: finished.reply.as_ref().map(ReplyFields::as_lines),
        }
    }
}

impl<'a> From<&'a RequestId> for Id<'a> {
    fn from(id: &'a RequestId) -> Self {
        match id {
            RequestId::Own(id) => Self::Own(*id),
            RequestId::Given(id) => Self::Given(id),
        }
    }
}

impl Id<'_> {
    /// Whether it is written so.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::Own(id) => Uuid::try_parse(text).is_ok_and(|other| other == *id),
            Self::Given(id) => *id == text,
        }
    }
}
