//! Content codings of replies: which one a client gets, and where the bytes come from.
//!
//! A route that compresses brings `Accept-Encoding` into one form before anything else is asked: the one coding that the
//! client gets, or `identity`. So there are few variants of what an origin codes by itself, and one of what it does not. What
//! it sends is stored as it came. The last stage before the reply leaves makes what the client takes of it (`decide`, pure),
//! and what was made once is kept beside the stored reply.
//!
//! ```text
//!  request ─negotiate─▶ stages ─▶ reply ─decide─▶ as it is
//!                                           ├──▶ stored in this coding? ─▶ those bytes
//!                                           ├──▶ being coded for others? ─▶ their bytes
//!                                           └──▶ Recoded ─▶ (spool ─▶ store)
//! ```

mod decide;
mod guard;
mod head;
mod recoded;
mod settings;
mod shared;

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};

use super::Proxy;
use super::error::Failure;
use super::exchange::Exchange;
use super::inbound::Inbound;
use super::limiting::Stage;
use super::respond::Reply;
use super::site::Routed;
use crate::cache::Mode;
use crate::http::accept_encoding::{Accepted, Choice};
use crate::http::etag::{self, Comparison, ETag, Matched};
use crate::telemetry::event::Protocol;

pub(super) use recoded::Recoded;
pub use settings::{Compression, Guard, MediaType};
pub(super) use shared::{Coders, Whole};

use decide::Decision;

/// What a client takes, as its request said before that was brought into one form.
#[derive(Debug)]
pub(super) struct Negotiated {
    accepted: Accepted,
    choice: Choice,
    /// The client forbids changes (RFC 9111 5.2.1.6).
    no_transform: bool,
    /// Its condition on entity tags.
    tags: Option<HeaderMap>,
    /// What the reply is all of, where that is stored or about to be.
    pub(super) whole: Option<Whole>,
}

impl Negotiated {
    /// Reads a request, and brings what it says of codings into the form in which it is looked up and forwarded. `known`: its
    /// client was asked for credentials that its fields do not have (any more).
    pub(super) fn of(rules: &Compression, head: &mut request::Parts, authority: &str, known: bool) -> Self {
        let accepted = Accepted::of(&head.headers);
        let mut choice = accepted.choose(&rules.offer());
        let may_be_plain = accepted.takes_identity();
        if head.headers.contains_key(RANGE) {
            // Ranges are of what is stored, not of what is made of it: its bytes would not be the same each time.
            if may_be_plain {
                choice = Choice::Identity;
            } else {
                // A range may be ignored (RFC 9110 14.2), what the client can read may not.
                head.headers.remove(RANGE);
                head.headers.remove(IF_RANGE);
            }
        }
        if may_be_plain && rules.guard == Guard::Skip && guard::is_doubtful(&head.headers, authority, known) {
            choice = Choice::Identity;
        }
        let value = match choice {
            Choice::Identity => Some(HeaderValue::from_static("identity")),
            Choice::By(coding) => Some(coding.value()),
            Choice::Neither => None,
        };
        if let Some(value) = value {
            head.headers.insert(ACCEPT_ENCODING, value);
        }
        let no_transform = decide::forbids_change(&head.headers);
        Self { accepted, choice, no_transform, tags: tags(head), whole: None }
    }

    /// Whether the client's condition names this tag only as we have weakened it.
    fn knows_as_weak(&self, tag: ETag<'_>) -> bool {
        let Some(tags) = &self.tags else { return false };
        let found = |comparison| etag::matched(tags, IF_NONE_MATCH, Some(tag), comparison) == Matched::Tag;
        !tag.weak && found(Comparison::Weak) && !found(Comparison::Strong)
    }
}

/// The tags of a request's `If-None-Match`. Those that we may have weakened are named to the origin in both forms: it compares
/// weakly (RFC 9110 13.1.2), but not every one does.
fn tags(head: &mut request::Parts) -> Option<HeaderMap> {
    if !matches!(head.method, Method::GET | Method::HEAD) || !head.headers.contains_key(IF_NONE_MATCH) {
        return None;
    }
    let mut given = HeaderMap::new();
    let mut strong = Vec::new();
    for line in head.headers.get_all(IF_NONE_MATCH) {
        given.append(IF_NONE_MATCH, line.clone());
        strong.extend(etag::weak_tags(line.as_bytes()).filter_map(|tag| HeaderValue::from_bytes(tag).ok()));
    }
    for tag in strong {
        head.headers.append(IF_NONE_MATCH, tag);
    }
    Some(given)
}

impl Proxy {
    /// Answers on a route that compresses. Boxed by its caller, so that the future of other requests stays small.
    pub(super) async fn coded(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        // What the instance asks itself, it asks for the sake of what is stored.
        let own = inbound.client.protocol == Protocol::Internal;
        let reply = match route.cache.mode {
            Mode::Cache => self.cached(to, exchange, inbound).await?,
            Mode::Off => {
                self.limit(route, exchange, &inbound, target, Stage::Origin)?;
                self.pass(to, exchange, inbound).await?
            }
        };
        Ok(if own { reply } else { self.recoded(exchange, reply).await })
    }

    /// Makes of a reply what the client takes.
    pub(super) async fn recoded(&self, exchange: &mut Exchange, mut reply: Reply) -> Reply {
        let (Some(route), Some(mut negotiated)) = (exchange.route.clone(), exchange.coding.take()) else {
            return reply;
        };
        let Some(rules) = &route.settings.compress else { return reply };
        if reply.status == StatusCode::NOT_MODIFIED {
            not_modified(rules, &negotiated, &mut reply);
            return reply;
        }
        let whole = negotiated.whole.take();
        let length = length(&reply, whole.as_ref());
        let decision = decide::decide(rules, &negotiated, reply.status, &reply.headers, length);
        let changes = match decision {
            Decision::Leave => return reply,
            Decision::Vary => {
                head::vary(&mut reply.headers);
                return reply;
            }
            Decision::Change(changes) => changes,
        };
        head::change(&mut reply.headers, &changes);
        self.supply(exchange, &mut reply, whole, &changes, length.is_none()).await;
        reply
    }
}

/// The length of the content that a GET gets, where that is known.
fn length(reply: &Reply, whole: Option<&Whole>) -> Option<u64> {
    if let Some(length) = whole.and_then(|whole| whole.head().1) {
        return Some(length);
    }
    let told = reply.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    told.or_else(|| reply.source.length())
}

/// A 304 says what the 200 would have said (RFC 9110 15.4.5).
fn not_modified(rules: &Compression, negotiated: &Negotiated, reply: &mut Reply) {
    let of = negotiated.whole.as_ref().map(Whole::head);
    let decision =
        of.map(|(head, length)| decide::decide(rules, negotiated, head.status, &head.headers, length));
    let weakens = match &decision {
        Some(decision) => matches!(decision, Decision::Change(_)),
        // What the origin said to the client's own condition.
        None => ETag::of(&reply.headers).is_some_and(|tag| negotiated.knows_as_weak(tag)),
    };
    if weakens {
        head::weaken(&mut reply.headers);
    }
    if weakens || decision.is_some_and(|decision| decision != Decision::Leave) {
        head::vary(&mut reply.headers);
    }
}
