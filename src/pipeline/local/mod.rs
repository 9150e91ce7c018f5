//! Replies that a route gives by itself: fixed ones, redirects, and that it is under maintenance. No origin is asked and
//! nothing is stored.

mod redirect;

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use super::error::Failure;
use super::exchange::Exchange;
use super::reply::Source;
use super::respond::Reply;
use crate::http::cache_status::CacheStatus;
use crate::http::target::Target;

pub use redirect::{BadLocation, Redirect};

/// What a route answers by itself.
#[derive(Clone, Debug)]
pub enum Local {
    /// Always the same.
    Respond(Respond),
    /// Elsewhere.
    Redirect(Redirect),
    /// Later, to all but some.
    Maintenance(Maintenance),
}

/// A fixed reply.
#[derive(Clone, Debug)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// The rest of it.
    pub page: Page,
}

/// The fields and the body of a reply of ours.
#[derive(Clone, Debug, Default)]
pub struct Page {
    headers: HeaderMap,
    body: Bytes,
}

/// Not now (RFC 9110 15.6.4).
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// When to come back, in seconds.
    pub retry_after: u64,
    /// What is said; `None`: problem details.
    pub page: Option<Page>,
    /// Clients who are served all the same.
    pub allow: Vec<IpNet>,
}

impl Page {
    /// A body of a type, and fields of one's own, which come first. A reply that has no body has no length either.
    pub fn new(body: Bytes, media_type: HeaderValue, fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut headers = HeaderMap::with_capacity(fields.len() + 8);
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, media_type);
        }
        for (name, value) in fields {
            headers.insert(name, value);
        }
        Self { headers, body }
    }

    /// The reply; `detail` is what `Cache-Status` says.
    fn reply(&self, status: StatusCode, detail: &'static str) -> Reply {
        let mut headers = self.headers.clone();
        // RFC 9110 8.6: neither of these has one.
        if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        Reply {
            status,
            headers,
            source: if self.body.is_empty() { Source::Empty } else { Source::Full(self.body.clone()) },
            cache_status: CacheStatus { detail: Some(detail), ..CacheStatus::default() },
            deadline: None,
        }
    }
}

impl Local {
    /// The reply to a request; `None`: it is to be served as if nothing were.
    pub(super) fn answer(&self, exchange: &Exchange, target: &Target) -> Option<Result<Reply, Failure>> {
        match self {
            Self::Respond(respond) => Some(Ok(respond.page.reply(respond.status, "respond"))),
            Self::Redirect(redirect) => Some(elsewhere(redirect, target)),
            Self::Maintenance(maintenance) => {
                let client = exchange.client_address.to_canonical();
                (!maintenance.allow.iter().any(|network| network.contains(&client)))
                    .then(|| maintenance.answer())
            }
        }
    }

    /// Whether the route never asks an upstream.
    pub fn needs_no_upstream(&self) -> bool {
        matches!(self, Self::Respond(_) | Self::Redirect(_))
    }

    /// The key of the config that makes it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Respond(_) => "respond",
            Self::Redirect(_) => "redirect",
            Self::Maintenance(_) => "maintenance",
        }
    }
}

impl Maintenance {
    fn answer(&self) -> Result<Reply, Failure> {
        let Some(page) = &self.page else { return Err(Failure::Maintenance(self.retry_after)) };
        let mut reply = page.reply(StatusCode::SERVICE_UNAVAILABLE, "maintenance");
        reply.headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        reply.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(reply)
    }
}

fn elsewhere(redirect: &Redirect, target: &Target) -> Result<Reply, Failure> {
    let location = redirect.location(target)?;
    let mut reply = Page::default().reply(redirect.status, "redirect");
    reply.headers.insert(LOCATION, location);
    Ok(reply)
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(respond) => {
                write!(f, "{} with {} bytes", respond.status.as_u16(), respond.page.body.len())
            }
            Self::Redirect(redirect) => write!(f, "{} to {}", redirect.status.as_u16(), redirect.to),
            Self::Maintenance(maintenance) => {
                write!(f, "503 for maintenance, to be retried after {}s", maintenance.retry_after)
            }
        }
    }
}
