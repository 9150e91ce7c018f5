//! Requests that came before, to the byte: where they lead and what they ask is known, as long as the site stands.
//!
//! Of such a request nothing is read anew: not its fields, nor its target, its route and its key. What is stored is looked up
//! each time, and judged by the time that it is.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use http::request::Parts;
use http::uri::{Authority, PathAndQuery};

use super::Leads;
use crate::cache::entry::Entry;
use crate::cache::store::Resource;
use crate::http::h1::{Heads, Plain};
use crate::pipeline::site::Site;

/// What a thread knows.
#[derive(Default)]
pub(super) struct Alike {
    pub(super) heads: Heads<Known>,
    /// Reads the others.
    pub(super) plain: Plain,
}

/// What is known of a head.
pub(super) struct Known {
    tls: bool,
    site: Weak<Site>,
    pub(super) head: Parts,
    pub(super) leads: Leads,
    /// What was found under its key last, which has that key.
    pub(super) found: Weak<Resource>,
    pub(super) told: Option<Told>,
}

/// The head of a reply as it was told last, up to what is every exchange's own.
pub(super) struct Told {
    entry: Weak<Entry>,
    of: Telling,
    text: Vec<u8>,
}

/// What the head of a reply depends on beside its entry and what is every exchange's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    /// In seconds.
    pub(super) at: u64,
    pub(super) age: u64,
    pub(super) ttl: i64,
    /// Whether `Strict-Transport-Security` is ours to say.
    pub(super) secured: bool,
}

thread_local! {
    static ALIKE: RefCell<Alike> = RefCell::default();
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `answer` with what this thread knows.
pub(super) fn with<R>(answer: impl FnOnce(&mut Alike) -> R) -> R {
    ALIKE.with_borrow_mut(answer)
}

/// Runs `answer` with the text by which a GET over HTTP/2 is known. No head of HTTP/1.1 is written so, and no other head
/// is: neither names nor values have line feeds in them.
pub(in crate::pipeline) fn with_text<R>(head: &Parts, answer: impl FnOnce(&[u8]) -> R) -> R {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        let uri = &head.uri;
        let authority = uri.authority().map_or("", Authority::as_str);
        let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
        for part in [uri.scheme_str().unwrap_or(""), authority, target] {
            text.push(b'\n');
            text.extend_from_slice(part.as_bytes());
        }
        for (name, value) in &head.headers {
            text.push(b'\n');
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
        }
        answer(text)
    })
}

impl Known {
    pub(super) fn new(site: &Arc<Site>, tls: bool, head: Parts, leads: Leads) -> Self {
        // Two workers would count to and fro who refers to the route's own.
        let leads = Leads { name: Arc::from(&*leads.name), ..leads };
        Self { tls, site: Arc::downgrade(site), head, leads, found: Weak::new(), told: None }
    }

    /// Whether it is known of this site, and over TLS or not.
    pub(super) fn holds(&self, site: &Arc<Site>, tls: bool) -> bool {
        self.tls == tls && std::ptr::eq(self.site.as_ptr(), Arc::as_ptr(site))
    }
}

impl Told {
    /// What was told of an entry.
    pub(super) fn new(entry: &Arc<Entry>, of: Telling, text: &[u8]) -> Self {
        Self { entry: Arc::downgrade(entry), of, text: text.to_vec() }
    }

    /// It again, where it is still the same.
    pub(super) fn again(&self, entry: &Arc<Entry>, of: Telling) -> Option<&[u8]> {
        let is_same = std::ptr::eq(self.entry.as_ptr(), Arc::as_ptr(entry)) && self.of == of;
        is_same.then_some(&self.text)
    }
}
