//! Heads of replies that came before, to the byte: what was written of each, and what of it is told afterwards.
//!
//! Replies to what is popular are often alike for as long as their `Date` is. What was written is the same then, as long as the site
//! stands, but for what is every exchange's own.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::http::h1::Heads;
use crate::http::head::{Form, HeadWriter};
use crate::pipeline::site::Site;
use crate::telemetry::caching::Gathering;

/// What the head of a reply depends on beside the origin's.
pub(super) struct Of<'a> {
    pub(super) site: &'a Arc<Site>,
    /// The route's place among the site's.
    pub(super) route: usize,
    /// Whether `Strict-Transport-Security` is ours to say.
    pub(super) secured: bool,
}

struct Known {
    /// Weak, so that it is not kept by being known.
    site: Weak<Site>,
    route: usize,
    secured: bool,
    text: Box<[u8]>,
    gathered: Gathered,
}

/// What is told of it.
struct Gathered {
    lines: Box<str>,
    dated: bool,
}

/// The same, to go on with.
pub(super) struct Written {
    pub(super) gathering: Gathering,
    /// The origin says when it made it.
    pub(super) dated: bool,
}

thread_local! {
    static KNOWN: RefCell<[Heads<Known>; 2]> = const { RefCell::new([Heads::new(), Heads::new()]) };
}

/// Writes what `anew` writes of a head, or what it wrote of the same before.
pub(super) fn write(
    origins: &[u8],
    of: &Of<'_>,
    out: &mut HeadWriter<'_>,
    anew: impl FnOnce(&mut HeadWriter<'_>) -> Option<Written>,
) -> Option<Written> {
    KNOWN.with_borrow_mut(|known| {
        let known = &mut known[usize::from(out.form() == Form::Http2)];
        if let Some(Known { text, gathered, .. }) = known.find(origins).filter(|known| known.holds(of)) {
            out.again(text);
            return Some(Written { gathering: Gathering::again(&gathered.lines), dated: gathered.dated });
        }
        let written = anew(out)?;
        known.learn(origins, || Some(Known::new(of, out.written(), &written)));
        Some(written)
    })
}

impl Known {
    fn new(of: &Of<'_>, text: &[u8], Written { gathering, dated }: &Written) -> Self {
        Self {
            site: Arc::downgrade(of.site),
            route: of.route,
            secured: of.secured,
            text: text.into(),
            gathered: Gathered { lines: gathering.as_lines().into(), dated: *dated },
        }
    }

    fn holds(&self, of: &Of<'_>) -> bool {
        let is_same_site = std::ptr::eq(self.site.as_ptr(), Arc::as_ptr(of.site));
        is_same_site && self.route == of.route && self.secured == of.secured
    }
}
