//! RFC 9111 as functions: no I/O, no clock, no randomness.
//!
//! What they decide, in the order of an exchange: `request` reads the request once; `vary` picks the stored
//! variant; `reuse` says whether it answers, must be validated, or may answer stale; `conditional` applies the
//! client's own preconditions and ranges to it, `partial` to parts of it; `validate` asks the origin and merges a 304;
//! `store` says whether a new response may be kept, `freshness` for how long, and `lifetimes` what a route makes of
//! that; `invalidate` says what an unsafe request ends; `explain` gives the grounds of those decisions.
//! They never look anything up and never change anything: the pipeline does what they say.

pub mod conditional;
pub mod explain;
pub mod freshness;
pub mod invalidate;
pub mod lifetimes;
pub mod partial;
pub mod request;
pub mod reuse;
pub mod store;
pub mod validate;
pub mod vary;

pub use conditional::Answer;
pub use freshness::Directed;
pub use lifetimes::{ByStatus, Lead, Lifetimes, Prefetch};
pub use request::RequestPolicy;
pub use reuse::{Failure, Reuse, StaleWhy, ValidateWhy, on_error, outlives, reuse};
pub use store::{Plan, ResponseHead, SkipReason, Storable, storable, storable_post};
pub use validate::{Freshened, Upkeep};

use crate::http::HeaderList;

/// A route's rules for its stored responses, on top of RFC 9111.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Seconds of freshness for replies whose origin says nothing; `None`: no lifetime of ours.
    pub ttl: Option<u64>,
    /// RFC 5861 3, where the origin says nothing.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 4, where the origin says nothing.
    pub stale_if_error: Option<u64>,
    /// Whether a tenth of the time since `Last-Modified` may stand in for a missing lifetime (RFC 9111 4.2.2).
    pub heuristics: bool,
    /// Whether request directives (`Cache-Control: no-cache` and the like, RFC 9111 5.2.1) are honoured.
    pub honor_request_directives: bool,
    /// Targeted fields in order of precedence (RFC 9213), lower case.
    pub targets: HeaderList,
    /// Whether the policy's TTL and heuristics also cover requests with `Cookie`, and replies with `Set-Cookie`.
    pub cookies: bool,
    /// Whether the policy's TTL also covers 5xx replies.
    pub cache_errors: bool,
    /// Whether the origin's own `stale-while-revalidate` and `stale-if-error` hold beside `s-maxage`, which
    /// otherwise forbids every stale use (RFC 9111 5.2.2.10).
    pub stale_despite_s_maxage: bool,
    /// What becomes of lifetimes: by status, override, floor, cap, jitter, prefetch.
    pub lifetimes: Lifetimes,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            heuristics: true,
            honor_request_directives: true,
            targets: vec![http::HeaderName::from_static("cdn-cache-control")],
            cookies: false,
            cache_errors: false,
            stale_despite_s_maxage: false,
            lifetimes: Lifetimes::default(),
        }
    }
}

#[cfg(test)]
mod laws;

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    //! What the tests of this room share.

    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    use super::request::MethodKind;
    use super::{Directed, RequestPolicy, ResponseHead, Rules, freshness, store};
    use crate::cache::entry::EntryHead;
    use crate::clock::Timestamp;
    use crate::http::date;

    /// The time at which everything in the tests happens.
    pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// An HTTP date that many seconds from [`NOW`].
    pub(super) fn http_date(offset: i64) -> String {
        let secs = NOW.secs().checked_add_signed(offset).unwrap();
        String::from_utf8(date::format(Timestamp::from_secs(secs)).to_vec()).unwrap()
    }

    pub(super) fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    /// A stored 200 with these fields, received at [`NOW`].
    pub(super) fn entry(fields: &[(&str, &str)]) -> EntryHead {
        entry_of(200, fields, &Rules::default())
    }

    pub(super) fn entry_of(status: u16, fields: &[(&str, &str)], rules: &Rules) -> EntryHead {
        let headers = map(fields);
        let request = RequestPolicy::plain(MethodKind::Get);
        let status = StatusCode::from_u16(status).unwrap();
        let response = ResponseHead { status, headers: &headers, request_time: NOW, response_time: NOW };
        let freshness = freshness::freshness(&request, &response, &Directed::of(&headers, rules), rules);
        store::Plan { freshness, withheld: Vec::new(), validator: false }.entry_head(&response)
    }
}
