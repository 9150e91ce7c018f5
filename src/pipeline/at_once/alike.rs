//! Requests that came before, to the byte: where they lead and what they ask is known, as long as the site stands.
//!
//! Of such a request nothing is read anew: not its fields, nor its target, its route and its key. What is stored is looked up
//! each time, and judged by the time that it is.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::Leads;
use crate::cache::entry::Entry;
use crate::cache::store::Resource;
use crate::http::h1::{Heads, Plain};
use crate::pipeline::site::Site;

/// What a thread knows.
#[derive(Default)]
pub(super) struct Alike {
    heads: Heads<Known>,
    /// Reads the others.
    plain: Plain,
}

/// What is known of a head.
pub(super) struct Known {
    tls: bool,
    site: Weak<Site>,
    pub(super) plain: Plain,
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
}

/// Runs `answer` with what this thread knows.
pub(super) fn with<R>(answer: impl FnOnce(&mut Alike) -> R) -> R {
    ALIKE.with_borrow_mut(answer)
}

impl Alike {
    /// What is known of this head, on a site and over TLS or not.
    pub(super) fn find(&mut self, text: &[u8], site: &Arc<Site>, tls: bool) -> Option<&mut Known> {
        let known = self.heads.find(text)?;
        (known.tls == tls && std::ptr::eq(known.site.as_ptr(), Arc::as_ptr(site))).then_some(known)
    }

    /// Reads heads that are not known.
    pub(super) fn reader(&mut self) -> &mut Plain {
        &mut self.plain
    }

    /// A head leads there.
    pub(super) fn learn(&mut self, text: &[u8], site: &Arc<Site>, tls: bool, leads: Leads) {
        self.heads.learn(text, || {
            let mut plain = Plain::default();
            plain.read(text)?;
            Some(Known { tls, site: Arc::downgrade(site), plain, leads, found: Weak::new(), told: None })
        });
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
