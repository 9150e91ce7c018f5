//! Where a plain request leads that is passed on, and what its origin is told: of heads that came before, to the byte, this
//! is known as long as the site stands. What is known of hits is kept alike (`at_once/alike`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, VIA};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version};

use crate::cache::policy::RequestPolicy;
use crate::http::connection::concerns_hop;
use crate::http::forwarded::{self, Received};
use crate::http::h1::{Heads, write_field};
use crate::http::target::Target;
use crate::http::{ClientConn, Scheme, request_id, via};
use crate::pipeline::at_once::alike::with_text;
use crate::pipeline::exchange::asks;
use crate::pipeline::inbound::joined;
use crate::pipeline::site::{Route, Site};
use crate::pipeline::{doubt, forward};
use crate::telemetry::caching::Asks;
use crate::telemetry::event::{Protocol, RequestId};

/// By the site and the head alone, unless its client is told apart.
pub(super) struct Course {
    tls: bool,
    /// Weak, so that it is not kept by being known.
    site: Weak<Site>,
    /// The route's place among the site's.
    pub(super) position: usize,
    /// The request, should it have to go the long way.
    pub(super) head: Parts,
    pub(super) target: Target,
    /// Path and query as they came.
    pub(super) sent: Arc<str>,
    /// What the client has for a host.
    pub(super) host: HeaderValue,
    pub(super) asks: Asks,
    /// The fields of the request that go on as they are, where they are written already.
    written: Option<Vec<u8>>,
}

/// What is known of a head.
struct Known {
    course: Arc<Course>,
    /// Who sent it last.
    peer: IpAddr,
    /// What its origin is told of that, once the same peer has sent it again.
    hop: Option<Hop>,
}

/// What an origin is told of the hop to us and the one to it, but for the request's id.
pub(super) type Hop = Arc<[u8]>;

thread_local! {
    /// Of HTTP/1.1 and of HTTP/2, where other things are beyond doubt.
    static KNOWN: RefCell<[Heads<Known>; 2]> = const { RefCell::new([Heads::new(), Heads::new()]) };
}

impl Course {
    /// The course of a GET; `None`: its way is not short.
    pub(super) fn of(
        site: &Arc<Site>,
        head: &Parts,
        client: &ClientConn,
    ) -> Option<(Arc<Self>, Option<Hop>)> {
        let like_others = site.takes_for_anybody(client) && !is_peculiar(head);
        if !like_others {
            return Some((Arc::new(Self::anew(site, head, client)?), None));
        }
        with_text(head, |text| {
            KNOWN.with_borrow_mut(|known| {
                let known = &mut known[usize::from(client.protocol == Protocol::Http2)];
                if let Some(known) = known.find(text).filter(|known| known.course.holds(site, client.tls)) {
                    return known.told(site, client);
                }
                let course = Arc::new(Self::anew(site, head, client)?);
                known.learn(text, || Some(Known::new(&course, client)));
                Some((course, None))
            })
        })
    }

    /// Whether it is known of this site, and over TLS or not.
    fn holds(&self, site: &Arc<Site>, tls: bool) -> bool {
        self.tls == tls && std::ptr::eq(self.site.as_ptr(), Arc::as_ptr(site))
    }

    fn anew(site: &Arc<Site>, head: &Parts, client: &ClientConn) -> Option<Self> {
        // Those of HTTP/1.1 that come here are such by their form.
        let in_frames = client.protocol == Protocol::Http2;
        if in_frames && doubt::check(head).is_err() {
            return None;
        }
        let head = if in_frames { joined(head) } else { Cow::Borrowed(head) };
        let head = site.identified(client, &head);
        site.bounds(&head).ok()?;
        if site.believes(client) {
            return None;
        }
        let target = site.target_at_once(&head, client, false)?;
        let position = site.position_by(&target, &head.method, &head.headers, client.identity())?;
        let route = &site.routes[position];
        let is_plain = |name: &HeaderName| *name == CONNECTION || (*name != EXPECT && !concerns_hop(name));
        if !route.relays || via::loops(&head.headers, &site.name) || !head.headers.keys().all(is_plain) {
            return None;
        }
        let policy = RequestPolicy::of(&head.method, &head.headers, &route.cache.rules);
        Some(Self {
            tls: client.tls,
            site: Arc::downgrade(site),
            position,
            sent: head.uri.path_and_query().map_or("", |target| target.as_str()).into(),
            host: target.authority_value(),
            asks: asks(&policy, target.scheme() == Scheme::Https),
            target,
            head: head.into_owned(),
            written: None,
        })
    }

    /// The same, as it is kept.
    fn to_known(&self) -> Self {
        let mut written = Vec::new();
        write_own(&self.head, &mut written);
        Self {
            tls: self.tls,
            site: self.site.clone(),
            position: self.position,
            head: self.head.clone(),
            target: self.target.clone(),
            sent: self.sent.clone(),
            // Nothing of what others are written to is kept.
            host: HeaderValue::from_bytes(self.host.as_bytes()).unwrap_or_else(|_| self.host.clone()),
            asks: self.asks,
            written: Some(written),
        }
    }

    /// Where it leads, within the site that it is known of.
    pub(super) fn route<'s>(&self, site: &'s Site) -> Option<&'s Arc<Route>> {
        site.routes.get(self.position)
    }

    /// The fields of the request as [`forward::upstream_request_headers`] makes them, where its peer is not believed.
    pub(super) fn write(
        &self,
        hop: Option<&Hop>,
        (client, proxy, id): (&ClientConn, &str, &RequestId),
        out: &mut Vec<u8>,
    ) {
        match &self.written {
            Some(written) => out.extend_from_slice(written),
            None => write_own(&self.head, out),
        }
        match hop {
            Some(hop) => out.extend_from_slice(hop),
            None => self.write_hop(client, proxy, out),
        }
        write_field(&request_id::NAME, request_id::text(id, &mut [0; request_id::LENGTH]).as_bytes(), out);
    }

    fn write_hop(&self, client: &ClientConn, proxy: &str, out: &mut Vec<u8>) {
        forwarded::write(&Received { peer: client.peer.ip(), tls: client.tls, target: &self.target }, out);
        if let Some(member) = via::member(forward::version(client.protocol), proxy) {
            write_field(&VIA, member.as_bytes(), out);
        }
    }
}

impl Known {
    fn new(course: &Course, client: &ClientConn) -> Self {
        Self { course: Arc::new(course.to_known()), peer: client.peer.ip(), hop: None }
    }

    /// It again, for this client.
    fn told(&mut self, site: &Site, client: &ClientConn) -> Option<(Arc<Course>, Option<Hop>)> {
        let Self { course, peer, hop } = self;
        if Site::is_misdirected(client, &course.target) {
            return None;
        }
        if *peer != client.peer.ip() {
            (*peer, *hop) = (client.peer.ip(), None);
            return Some((course.clone(), None));
        }
        let hop = hop.get_or_insert_with(|| {
            let mut written = Vec::new();
            course.write_hop(client, &site.name, &mut written);
            written.into()
        });
        Some((course.clone(), Some(hop.clone())))
    }
}

/// The client's own fields.
fn write_own(head: &Parts, out: &mut Vec<u8>) {
    for (name, value) in &head.headers {
        let is_ours = matches!(*name, HOST | CONNECTION | CONTENT_LENGTH) || *name == request_id::NAME;
        if !is_ours && !forwarded::is_claim(name.as_str()) {
            write_field(name, value.as_bytes(), out);
        }
    }
}

/// Whether there is more to a head than its text says.
fn is_peculiar(head: &Parts) -> bool {
    let is_usual = matches!(head.version, Version::HTTP_11 | Version::HTTP_2) && head.extensions.is_empty();
    !is_usual || head.headers.values().any(HeaderValue::is_sensitive)
}
