//! A request without content on a connection that is at hand: the exchange as a thing that its owner polls, with neither the
//! request's fields nor the reply's in a map.
//!
//! Where there is no such connection, or the exchange fails, a [`fetch`](Upstream::fetch) goes on from what was [`Begun`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::body::{Incoming, Lease, RequestBody, UpstreamBody};
use super::connect::{Conn, Framing, Http1};
use super::error::{Failure, FetchError};
use super::exchange::{self, Arrived, Waits};
use super::fetch::{Member, Upstream};
use super::request::{Fetched, OriginName};
use super::retry::{Missed, Sent};
use crate::http::connection::TrailerRules;
use crate::http::h1::{Content, Fields, Outline};

/// A request without content.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// A method that may be sent twice and whose requests have no content: GET or HEAD.
    pub method: &'a Method,
    /// The client's target; the upstream's base path is joined before it here.
    pub target: &'a PathAndQuery,
    /// What the client sent as `Host` or `:authority`; used where the upstream says `host = "client"`.
    pub client_host: &'a HeaderValue,
    /// When the whole exchange must have ended, the reply's content included.
    pub deadline: Option<Instant>,
    /// Whether long content will be taken [in pipes](UpstreamBody::pipe).
    pub pipes: bool,
}

/// What was begun of a fetch: whose turn it is, since a turn that was taken and left would be lost to its endpoint; or the first
/// attempt, which failed.
pub struct Begun(Beginning);

enum Beginning {
    /// This endpoint's turn has come; nothing was asked.
    Turn(Option<usize>),
    /// Boxed: rare, and large.
    Failed(usize, Box<Missed>),
}

/// An exchange. Dropping it before it has [finished](Self::finish) closes its connection, which cancels the request.
#[derive(Debug)]
pub struct Asking {
    upstream: Arc<Upstream>,
    index: usize,
    /// `None` once it has gone back, or the exchange has failed.
    conn: Option<Http1>,
    started: Instant,
    deadline: Option<Instant>,
    first_byte: Duration,
    /// The reply's, once its head is there.
    outline: Option<Outline>,
}

/// A reply's head by its lines.
#[derive(Clone, Debug)]
pub struct ReplyLines<'a> {
    outline: Outline,
    fields: Fields<'a>,
}

impl Upstream {
    /// Begins an exchange with the endpoint whose turn it is, if this worker has an idle HTTP/1.1 connection to it. Fields are
    /// written by `write_fields`, all but `Host`; those that frame content have no place among them.
    pub fn ask(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        now: Instant,
        write_fields: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Asking, Begun> {
        let turn = self.pick(&[], now);
        let found = turn.and_then(|index| Some((index, self.members.get(index)?.at_hand(now)?)));
        let Some((index, mut conn)) = found else { return Err(Begun(Beginning::Turn(turn))) };
        let member = &self.members[index];
        let host = self.host_for(member, ask.client_host);
        conn.begin_usable(*ask.method == Method::HEAD, Framing::None, RequestBody::Empty, |out| {
            exchange::write_beginning(ask.method, ask.target, host, &self.settings.base_path, out);
            write_fields(out);
            out.extend_from_slice(b"\r\n");
        });
        if ask.pipes {
            conn.expect_pipes();
        }
        let counters = &member.endpoint.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.reused.fetch_add(1, Ordering::Relaxed);
        Ok(Asking {
            upstream: Arc::clone(self),
            index,
            conn: Some(conn),
            started: now,
            deadline: ask.deadline,
            first_byte: Duration::ZERO,
            outline: None,
        })
    }
}

impl Member {
    fn at_hand(&self, now: Instant) -> Option<Http1> {
        self.endpoint.addresses.touch(now);
        self.endpoint.at_hand(now)
    }
}

impl Asking {
    /// Sends the request, and is ready once the final reply's head has come, to be looked at by [`reply`](Self::reply). Interim
    /// heads go to `on_interim` before. After an error there is nothing left of this: a fetch goes on.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Poll<Result<(), Begun>> {
        if self.outline.is_some() {
            return Poll::Ready(Ok(()));
        }
        let outline = ready!(self.poll_outline(cx, on_interim));
        Poll::Ready(match outline {
            Ok(outline) => {
                self.first_byte = self.started.elapsed();
                self.outline = Some(outline);
                Ok(())
            }
            Err(failure) => Err(self.failed(failure)),
        })
    }

    /// The reply's head. It has no fields, and means nothing, before it has come; its fields are gone once the exchange has
    /// finished.
    pub fn reply(&self) -> ReplyLines<'_> {
        let outline = self.outline.unwrap_or_default();
        let fields = match &self.conn {
            Some(conn) if self.outline.is_some() => conn.fields(),
            _ => Fields::default(),
        };
        ReplyLines { outline, fields }
    }

    /// The reply's content, where its length is known and at most `most`, and all of it has come. A reply without content has
    /// none of it here at once.
    pub fn content(&self, most: usize) -> Option<&[u8]> {
        self.conn.as_ref()?.whole().filter(|content| content.len() <= most)
    }

    /// The same, with which the exchange has finished.
    pub fn take_content(&mut self, most: usize) -> Option<Bytes> {
        self.content(most)?;
        let content = self.conn.as_mut()?.take_whole()?;
        self.give_back();
        Some(content)
    }

    /// The reply's [content](Self::content) was seen: the connection serves the next request. Closes it where there is more to
    /// come.
    pub fn finish(&mut self) {
        if self.conn.as_mut().is_some_and(Http1::finish_whole) {
            self.give_back();
        }
        self.conn = None;
    }

    /// The reply's content, with which the exchange goes on; its head was seen. `None`, and the exchange is as it was: the
    /// request is still being sent.
    pub fn take_body(&mut self) -> Option<UpstreamBody> {
        let mut conn = self.conn.take_if(|conn| conn.is_sent() && conn.skip_head())?;
        let alarm = std::mem::take(conn.alarm());
        let lease = Lease::new(Some(Conn::Http1(conn)), self.member().endpoint.clone(), None, None);
        let idle = self.upstream.settings.idle_timeout;
        Some(UpstreamBody::new(Incoming::Http1, TrailerRules::default(), lease, alarm, idle, self.deadline))
    }

    /// What a fetch would have come to: the head as a map, and content that streams. Only once the head has come, and until the
    /// exchange has finished.
    pub fn into_fetched(mut self) -> Result<Fetched, FetchError> {
        let Some(mut conn) = self.conn.take() else { return Err(self.error(gone())) };
        let head = match conn.take_head() {
            Ok(head) => head,
            Err(failure) => return Err(self.error(failure)),
        };
        let alarm = std::mem::take(conn.alarm());
        let arrived = Arrived { response: exchange::response(head), sending: None };
        let Self { upstream, index, deadline, first_byte, .. } = self;
        let (response, switched) = upstream.receive(index, arrived, Conn::Http1(conn), None, alarm, deadline);
        Ok(upstream.fetched(index, response, switched, 1, first_byte))
    }

    /// The endpoint that was asked, as `host:port`.
    pub fn endpoint(&self) -> &Arc<str> {
        &self.member().endpoint.name
    }

    /// How it names itself, to map a `Location` back.
    pub fn origin(&self) -> &Arc<OriginName> {
        &self.member().origin
    }

    /// The upstream that was asked.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// From the request to the reply's head.
    pub fn first_byte(&self) -> Duration {
        self.first_byte
    }

    fn member(&self) -> &Member {
        &self.upstream.members[self.index]
    }

    fn poll_outline(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: &mut dyn FnMut(StatusCode, &HeaderMap),
    ) -> Poll<Result<Outline, Failure>> {
        let Some(conn) = &mut self.conn else { return Poll::Ready(Err(gone())) };
        // What the origin says comes first: it may refuse what it has not read to its end.
        let sent = conn.poll_send(cx);
        while let Poll::Ready(outline) = conn.poll_outline(cx)? {
            if outline.status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(Failure::InvalidResponse(exchange::UNASKED_SWITCH.into())));
            }
            if !outline.is_interim() {
                return Poll::Ready(Ok(outline));
            }
            let head = conn.take_head()?;
            on_interim(head.status, &head.headers);
        }
        if let Poll::Ready(Err(broken)) = sent {
            return Poll::Ready(Err(broken.into()));
        }
        let waits = Waits { first_byte: self.upstream.settings.first_byte_timeout, deadline: self.deadline };
        exchange::poll_overdue(cx, conn.alarm(), self.started, None, waits).map(Err)
    }

    fn failed(&mut self, failure: Failure) -> Begun {
        self.conn = None;
        self.member().endpoint.counters.failed(failure.as_str());
        Begun(Beginning::Failed(self.index, Box::new(Missed { failure, sent: Sent::Reused })))
    }

    fn give_back(&mut self) {
        if let Some(conn) = self.conn.take()
            && !conn.is_over()
        {
            // Not read anew: the clock has hardly moved since the head came.
            self.member().endpoint.pool.put_at(Conn::Http1(conn), self.started + self.first_byte);
        }
    }

    fn error(&self, failure: Failure) -> FetchError {
        self.member().endpoint.counters.failed(failure.as_str());
        FetchError { failure, endpoint: Some(Arc::clone(self.endpoint())), attempts: 1 }
    }
}

/// What is said to who asks on after the end.
fn gone() -> Failure {
    Failure::reset("the exchange is over")
}

impl<'a> ReplyLines<'a> {
    /// Its status: never 1xx.
    pub fn status(&self) -> StatusCode {
        self.outline.status
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.outline.version
    }

    /// How its content ends. To HEAD there is none, nor is there where its length is zero.
    pub fn content(&self) -> Content {
        self.outline.content
    }

    /// What `Content-Length` says, by number, whether such content follows or not.
    pub fn length(&self) -> Option<u64> {
        self.outline.length
    }

    /// The whole head, as it came.
    pub fn text(&self) -> &'a [u8] {
        self.fields.section()
    }

    /// Names as they were written, in any case; values without the white space around them.
    pub fn fields(&self) -> Fields<'a> {
        self.fields.clone()
    }
}

impl Begun {
    /// Whose turn it is, and how the attempt there failed if there was one.
    pub(super) fn into_parts(self) -> (Option<usize>, Option<Missed>) {
        match self.0 {
            Beginning::Turn(turn) => (turn, None),
            Beginning::Failed(index, missed) => (Some(index), Some(*missed)),
        }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Beginning::Turn(turn) => f.debug_tuple("Turn").field(turn).finish(),
            Beginning::Failed(index, missed) => f.debug_tuple("Failed").field(index).field(missed).finish(),
        }
    }
}
