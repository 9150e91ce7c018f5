//! The short way to an origin: a plain GET that is passed on is written from its fields as they stand, and its reply, if all of
//! it comes together, is written from the lines that the origin sent.
//!
//! It asks the same rooms the same questions as the stages of [`Proxy::handle`] do, sends the same, and has the same said in
//! reply, log and metrics. What it leaves out is what such an exchange does not need: futures, and maps of fields. Routes that
//! look closer at requests, or change replies, go the long way, and so does an exchange that turns out to be out of the common:
//! what was begun of it is not begun again.

mod course;
mod told;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, STRICT_TRANSPORT_SECURITY, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use course::{Course, Hop};
use told::{Of, Written};

use super::Proxy;
use super::error::Failure;
use super::exchange::{Asked, Exchange};
use super::fetch::{self, Bringing};
use super::inbound::{Inbound, InboundBody};
use super::pass::{deadline, names};
use super::reply::{ReplyBody, Source};
use super::respond::{self, CACHE_STATUS, is_bodiless};
use super::settings::RouteSettings;
use super::site::{Routed, Site};
use crate::cache::Mode;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::connection::{concerns_hop, remove_hop_by_hop};
use crate::http::content::COPIED;
use crate::http::decimal::Decimal;
use crate::http::h1::Content;
use crate::http::head::{Form, HeadWriter};
use crate::http::{ClientConn, Interim, RequestContent, date, request_id, via};
use crate::telemetry::AttemptOutcome;
use crate::telemetry::caching::Gathering;
use crate::telemetry::event::{CacheOutcome, End, RequestId};
use crate::upstream::{Ask, Asking, Begun, ReplyLines};

/// The most bytes of interim replies that are written at a time; what comes beyond is dropped, which an interim reply may always
/// be.
const MAX_INTERIM: usize = 64 << 10;

/// The most content that is waited for in no way, but taken as it has come.
const WHOLE: usize = 128 << 10;

/// Whether plain requests of a route with these settings are passed on as they are, and their replies as they come.
pub(super) fn is_open(settings: &RouteSettings, mode: Mode) -> bool {
    mode == Mode::Off && settings.is_plain()
}

/// What a reply says beside what its origin and the cache do.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// `Strict-Transport-Security`, in place of what the origin says of it.
    pub hsts: Option<&'a HeaderValue>,
    /// That its connection ends.
    pub closes: bool,
}

/// Where a reply's head is written.
#[derive(Debug)]
pub struct To<'a> {
    /// How.
    pub form: Form,
    /// Behind what this holds.
    pub out: &'a mut Vec<u8>,
    /// Long content may be taken from the reply in pipes.
    pub pipes: bool,
}

/// An exchange on its short way.
pub struct Relay {
    proxy: Arc<Proxy>,
    site: Arc<Site>,
    client: Arc<ClientConn>,
    course: Arc<Course>,
    hop: Option<Hop>,
    /// `None` once it is over, or somebody else's.
    exchange: Option<Box<Exchange>>,
    stage: Stage,
}

enum Stage {
    /// Nothing has been asked: that is for who waits.
    Ready,
    Asking(Asking),
    /// This is all that has come of it.
    Begun(Begun),
    Over,
}

/// What has become of an exchange.
pub enum Relayed {
    /// An interim reply was written; more is to come.
    Interim,
    /// The head of the reply was written, and of its content what is not here.
    Whole(Bytes),
    /// The same, where the content comes bit by bit, so many bytes in all.
    Content(ReplyBody, u64),
    /// A reply out of the common.
    Response(Response<ReplyBody>),
    /// It has to be waited for.
    Long(Long),
}

/// The rest of an exchange, which may send interim replies.
pub type Long = Box<dyn FnOnce(Option<Interim>) -> LongWay + Send>;

/// See [`Long`].
pub type LongWay = Pin<Box<dyn Future<Output = Response<ReplyBody>> + Send>>;

impl Proxy {
    /// Begins to pass on a request without content, if its way is short; `None`: nothing has been done.
    pub fn relay(self: &Arc<Self>, head: &Parts, client: &Arc<ClientConn>) -> Option<Relay> {
        if head.method != Method::GET {
            return None;
        }
        let (started, at) = (Instant::now(), self.clock.now());
        let site = self.site.load();
        let (course, hop) = Course::of(&site, head, client)?;
        let route = course.route(&site)?;
        let id = RequestId::Own(request_id::new_id(at));
        let request = (head.version, Method::GET, course.sent.clone());
        let telemetry = self.telemetry.clone();
        let mut exchange = Exchange::open_at(telemetry, client, request, (at, started), id);
        exchange.host = course.target.shared_authority();
        exchange.caching.asks = course.asks;
        (exchange.cache, exchange.forward) = (CacheOutcome::Bypass, Some(Forward::Bypass));
        exchange.route = Some(route.clone());
        self.in_flight.come();
        Some(Relay {
            proxy: self.clone(),
            site: Arc::clone(&site),
            client: client.clone(),
            course,
            hop,
            exchange: Some(exchange),
            stage: Stage::Ready,
        })
    }
}

impl Relay {
    /// Goes on, and writes what there is of the reply's head. Not to be asked again once there is anything but an interim reply.
    pub fn poll(&mut self, cx: &mut Context<'_>, to: To<'_>, own: Own<'_>) -> Poll<Relayed> {
        let To { form, out, pipes } = to;
        self.ask(pipes);
        if let Stage::Asking(asking) = &mut self.stage {
            let mut told = false;
            let mut interim = |status, headers: &HeaderMap| {
                // More than that nobody waits for.
                if out.len() < MAX_INTERIM {
                    told |= write_interim(status, headers, form, out);
                }
            };
            match asking.poll_head(cx, &mut interim) {
                Poll::Pending if !told => return Poll::Pending,
                Poll::Ready(Ok(())) if !told => return Poll::Ready(self.reply(form, out, own)),
                Poll::Pending | Poll::Ready(Ok(())) => return Poll::Ready(Relayed::Interim),
                Poll::Ready(Err(begun)) => self.stage = Stage::Begun(begun),
            }
            if told {
                return Poll::Ready(Relayed::Interim);
            }
        }
        Poll::Ready(self.go_long(own.hsts))
    }

    /// Asks the origin, the first time.
    fn ask(&mut self, pipes: bool) {
        let (Stage::Ready, Some(exchange)) = (&self.stage, &self.exchange) else { return };
        let Some(route) = exchange.route.as_deref() else { return };
        let Self { course, hop, client, site, .. } = &*self;
        let ask = Ask {
            method: &Method::GET,
            target: course.target.path_and_query(),
            client_host: &course.host,
            deadline: deadline(route, exchange),
            pipes,
        };
        let write = |out: &mut Vec<u8>| course.write(hop.as_ref(), (client, &site.name, &exchange.id), out);
        let asked = route.upstream.ask(&ask, exchange.started(), write);
        self.stage = asked.map_or_else(Stage::Begun, Stage::Asking);
    }

    /// The reply, of which the head is there.
    fn reply(&mut self, form: Form, out: &mut Vec<u8>, own: Own<'_>) -> Relayed {
        let begin = out.len();
        if let Some(relayed) = self.write_reply(form, out, own) {
            return relayed;
        }
        out.truncate(begin);
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let (Stage::Asking(asking), Some(mut exchange)) = (stage, self.exchange.take()) else {
            return self.go_long(own.hsts);
        };
        let Some(route) = exchange.route.clone() else { return self.go_long(own.hsts) };
        let bringing = Bringing::begin(&route, exchange.began(), &self.proxy.telemetry);
        let brought =
            bringing.end(asking.into_fetched(), &self.proxy.clock, &names(&self.site, &self.course.target));
        let answered = match brought {
            Ok(brought) => {
                Ok(self.proxy.direct_reply(&route, &mut exchange, brought, CacheStatus::default()))
            }
            Err(error) => {
                exchange.asked = Some(Asked::of_error(&error));
                Err(Failure::from(error))
            }
        };
        Relayed::Response(self.proxy.respond(&self.site, exchange, answered))
    }

    /// Writes the reply, if it is a common one; what of its content is not copied behind its head is returned. With `None`
    /// nothing has been done, though something may have been written.
    fn write_reply(&mut self, form: Form, out: &mut Vec<u8>, own: Own<'_>) -> Option<Relayed> {
        let hsts = own.hsts;
        let Stage::Asking(asking) = &mut self.stage else { return None };
        let (exchange, site) = (self.exchange.as_mut()?, &self.site);
        let lines = asking.reply();
        let status = lines.status();
        let length = match lines.content() {
            Content::None => 0,
            Content::Length(length) => length,
            Content::Chunked | Content::UntilClose => return None,
        };
        if is_bodiless(status) {
            return None;
        }
        let mut head = HeadWriter::new(form, out);
        let route = exchange.route.as_deref()?;
        let said = CacheStatus { forward: exchange.forward, ..CacheStatus::default() };
        let of = Of { site, route: self.course.position, secured: hsts.is_some() };
        let written = told::write(lines.text(), &of, &mut head, |head| {
            head.status(status);
            let gathering = write_lines(&lines, &route.cache.rules.targets, hsts, head)?;
            if let Some(member) = via::member(lines.version(), &site.name) {
                head.field(&VIA, member.as_bytes());
            }
            head.field(&CONTENT_LENGTH, Decimal::of(length).as_bytes());
            head.field(&CACHE_STATUS, said.to_shared_value(&site.name).as_bytes());
            let dated = gathering.has(DATE.as_str());
            Some(Written { gathering, dated })
        })?;
        let Written { mut gathering, dated } = written;
        let arrived = exchange.started() + asking.first_byte();
        if !dated {
            // Whoever has a clock says when a reply without it came (RFC 9110 6.6.1).
            let now = date::header_value(self.proxy.clock.later(exchange.at, asking.first_byte()));
            head.field(&DATE, now.as_bytes());
            gathering.tell(DATE.as_str(), now.as_bytes());
        }
        let mut id = [0; request_id::LENGTH];
        head.field(&request_id::NAME, request_id::text(&exchange.id, &mut id).as_bytes());
        if let Some(hsts) = hsts {
            head.field(&STRICT_TRANSPORT_SECURITY, hsts.as_bytes());
        }
        if own.closes {
            head.field(&CONNECTION, b"close");
        }
        let out = head.end();
        let (endpoint, first_byte) = (asking.endpoint().clone(), asking.first_byte());
        let deadline = deadline(route, exchange);
        let rest = match asking.content(COPIED).filter(|_| form == Form::Http1) {
            Some(content) => {
                out.extend_from_slice(content);
                asking.finish();
                Ok(Bytes::new())
            }
            None => match asking.take_content(WHOLE) {
                Some(content) => Ok(content),
                None => Err(asking.take_body()?),
            },
        };
        fetch::count(&self.proxy.telemetry, route, Some(&endpoint), 1, AttemptOutcome::Ok, Some(first_byte));
        exchange.asked = Some(Asked { endpoint: Some(endpoint), attempts: 1, first_byte: Some(first_byte) });
        exchange.caching.replied(&said);
        (exchange.gathered, exchange.arrived) = (Some(gathering), Some(arrived));
        exchange.replied(status);
        self.stage = Stage::Over;
        let mut exchange = self.exchange.take()?;
        Some(match rest {
            Ok(content) => {
                (exchange.sent, exchange.end) = (length, End::Complete);
                // Not read anew: all of it was there with its head.
                exchange.took = Some(exchange.first_byte);
                Relayed::Whole(content)
            }
            Err(body) => {
                let source = Source::Upstream(Box::new(body));
                Relayed::Content(ReplyBody::new(source, exchange, deadline), length)
            }
        })
    }

    /// Leaves the rest to the stages.
    fn go_long(&mut self, hsts: Option<&HeaderValue>) -> Relayed {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let (Some(mut exchange), Stage::Begun(begun)) = (self.exchange.take(), stage) else {
            // Only after the end, when nobody asks any more.
            let gone = StatusCode::INTERNAL_SERVER_ERROR;
            return Relayed::Response(respond::respond(gone, HeaderMap::new(), ReplyBody::none()));
        };
        let (proxy, site, client) = (self.proxy.clone(), self.site.clone(), self.client.clone());
        let (course, hsts) = (self.course.clone(), hsts.cloned());
        Relayed::Long(Box::new(move |interim| {
            Box::pin(async move {
                let _counted = proxy.in_flight.count();
                let inbound = Inbound {
                    head: course.head.clone(),
                    body: InboundBody::Client(RequestContent::None),
                    client,
                    interim: interim.clone(),
                    trusted: false,
                    refresh: false,
                    slice: None,
                    begun: Some(begun),
                };
                let Some(route) = exchange.route.clone() else {
                    return proxy.respond(&site, exchange, Err(Failure::NoRoute));
                };
                let to = Routed { site: &site, route: &route, target: &course.target };
                let answered = proxy.pass_as(&to, &mut exchange, Box::new(inbound), Forward::Bypass).await;
                let mut reply = proxy.respond(&site, exchange, answered);
                if let Some(hsts) = hsts {
                    reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                }
                if let Some(interim) = interim {
                    interim.drained().await;
                }
                reply
            })
        }))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.proxy.in_flight.left();
        // As nobody waits for it any more.
        if let (Stage::Asking(_) | Stage::Begun(_), Some(exchange)) = (&self.stage, &self.exchange)
            && let Some(route) = &exchange.route
        {
            fetch::count(&self.proxy.telemetry, route, None, 1, AttemptOutcome::Cancelled, None);
        }
    }
}

/// An interim reply; `false` where it is none that goes on.
fn write_interim(status: StatusCode, headers: &HeaderMap, form: Form, out: &mut Vec<u8>) -> bool {
    // 100 and 101 are the connection's own.
    if form != Form::Http1 || status.as_u16() <= 101 {
        return false;
    }
    let mut headers = headers.clone();
    remove_hop_by_hop(&mut headers);
    let mut head = HeadWriter::new(form, out);
    head.status(status);
    headers.iter().for_each(|(name, value)| head.field(name, value.as_bytes()));
    head.end();
    true
}

/// Writes the origin's own fields, and says what of them is told afterwards; `None`: they are out of the common.
fn write_lines(
    lines: &ReplyLines<'_>,
    targets: &[HeaderName],
    hsts: Option<&HeaderValue>,
    head: &mut HeadWriter<'_>,
) -> Option<Gathering> {
    let mut gathering = Gathering::begin();
    for (name, value) in lines.fields() {
        match Kind::of(name, value) {
            Kind::Left => continue,
            Kind::Secured if hsts.is_some() => continue,
            Kind::Uncommon => return None,
            Kind::Told(told) => gathering.tell(told, value)?,
            Kind::Named(told) => gathering.name(told),
            Kind::Secured | Kind::Plain if is_one_of(targets, name) => return None,
            Kind::Secured | Kind::Plain => {}
        }
        head.line(name, value);
    }
    if let Some(length) = lines.length() {
        gathering.tell(CONTENT_LENGTH.as_str(), Decimal::of(length).as_bytes())?;
    }
    Some(gathering)
}

fn is_one_of(names: &[HeaderName], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_str().as_bytes().eq_ignore_ascii_case(name))
}

/// What a field of a reply is to whoever passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It goes on.
    Plain,
    /// As well, and what it says is told afterwards; or only that it was there.
    Told(&'static str),
    Named(&'static str),
    /// It goes on unless we say the same.
    Secured,
    /// It is this hop's, or made anew.
    Left,
    /// It needs to be looked at closer.
    Uncommon,
}

impl Kind {
    fn of(name: &[u8], value: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            3 if is("age") => Self::Told("age"),
            4 if is("date") => Self::Told("date"),
            4 if is("vary") => Self::Told("vary"),
            4 if is("etag") => Self::Named("etag"),
            6 if is("pragma") => Self::Told("pragma"),
            7 if is("expires") => Self::Told("expires"),
            8 if is("location") => Self::Uncommon,
            10 if is("connection") => {
                let common =
                    value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close");
                if common { Self::Left } else { Self::Uncommon }
            }
            10 if is("keep-alive") => Self::Left,
            10 if is("set-cookie") => Self::Named("set-cookie"),
            12 if is("content-type") => {
                if respond::is_event_stream(value) {
                    Self::Uncommon
                } else {
                    Self::Plain
                }
            }
            12 if is("x-request-id") => Self::Left,
            13 if is("cache-control") => Self::Told("cache-control"),
            13 if is("last-modified") => Self::Told("last-modified"),
            14 if is("content-length") => Self::Left,
            16 if is("content-location") => Self::Uncommon,
            25 if is("strict-transport-security") => Self::Secured,
            // As long as those that concern the connection, or in their disguise.
            2 | 7 | 10 | 14 | 16 | 17 | 18 | 19 | 25 => Self::of_other(name),
            _ if name.contains(&b'_') => Self::of_other(name),
            _ => Self::Plain,
        }
    }

    fn of_other(name: &[u8]) -> Self {
        match HeaderName::from_bytes(name) {
            Ok(name) if !concerns_hop(&name) => Self::Plain,
            _ => Self::Uncommon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field that is taken out, or looked at, on the long way is known here.
    #[test]
    fn fields_are_known_by_their_kind() {
        for name in [
            "te",
            "trailer",
            "upgrade",
            "proxy-connection",
            "transfer-encoding",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-authentication-info",
            "http2-settings",
            "Location",
            "content-location",
            "content_length",
            "Transfer_Encoding",
            "keep_alive",
        ] {
            assert_eq!(Kind::of(name.as_bytes(), b"x"), Kind::Uncommon, "{name}");
        }
        for (name, value, kind) in [
            ("Connection", "Keep-Alive", Kind::Left),
            ("connection", "close", Kind::Left),
            ("connection", "x-own", Kind::Uncommon),
            ("Keep-Alive", "timeout=5", Kind::Left),
            ("Content-Length", "5", Kind::Left),
            ("X-Request-Id", "theirs", Kind::Left),
            ("Content-Type", "text/plain", Kind::Plain),
            ("Content-Type", "Text/Event-Stream; charset=utf-8", Kind::Uncommon),
            ("Cache-Control", "no-store", Kind::Told("cache-control")),
            ("Set-Cookie", "a=b", Kind::Named("set-cookie")),
            ("Strict-Transport-Security", "max-age=1", Kind::Secured),
            ("Server", "x", Kind::Plain),
            ("x_own", "x", Kind::Plain),
            ("Via", "1.0 fred", Kind::Plain),
        ] {
            assert_eq!(Kind::of(name.as_bytes(), value.as_bytes()), kind, "{name}: {value}");
        }
    }
}
