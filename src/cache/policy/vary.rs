//! Which stored variant answers a request (RFC 9111 4.1).

use std::sync::Arc;

use http::HeaderMap;

use crate::cache::entry::{Entry, VaryKey};
use crate::cache::key::Secret;

/// The variant that a response is for this request; `None` for `Vary: *`.
pub fn vary_key(request: &HeaderMap, response: &HeaderMap, secret: &Secret) -> Option<VaryKey> {
    let _ = (request, response, secret);
    None
}

/// Whether a request asks for this variant.
pub fn matches(key: &VaryKey, request: &HeaderMap, secret: &Secret) -> bool {
    let _ = (request, secret);
    key.fields.is_empty()
}

/// The first variant (they come newest first) that a request asks for.
pub fn select<'e>(
    variants: &'e [Arc<Entry>],
    request: &HeaderMap,
    secret: &Secret,
) -> Option<&'e Arc<Entry>> {
    variants.iter().find(|entry| matches(&entry.vary, request, secret))
}
