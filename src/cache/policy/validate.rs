//! Asking the origin whether a stored response still holds, and merging its 304 (RFC 9111 4.3).

use http::HeaderMap;

use super::{RequestPolicy, ResponseHead, Rules};
use crate::cache::entry::EntryHead;

/// Sets the conditional fields that validate `candidates` (the entry to be sent first, then other variants) on a
/// request, in place of the client's own (RFC 9111 4.3.1). Returns false if none has a validator: the client's own
/// conditions are then left as they are.
pub fn validation_fields<'e>(
    candidates: impl IntoIterator<Item = &'e EntryHead>,
    request: &mut HeaderMap,
) -> bool {
    let _ = (candidates.into_iter().count(), request);
    false
}

/// Which of the validated entries a 304 freshens, by position (RFC 9111 4.3.4).
pub fn select_freshened(candidates: &[&EntryHead], not_modified: &HeaderMap) -> Vec<usize> {
    let _ = (candidates, not_modified);
    Vec::new()
}

/// The stored head updated from a 304, or from a 200 to HEAD (RFC 9111 3.2).
pub fn freshen(
    stored: &EntryHead,
    request: &RequestPolicy,
    update: &ResponseHead<'_>,
    rules: &Rules,
) -> EntryHead {
    let _ = (request, update, rules);
    stored.clone()
}

/// What a 200 to HEAD does to a stored GET (RFC 9111 4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// It describes the stored response: [`freshen`] it.
    Freshen,
    /// It does not: the stored response is to be considered stale.
    Invalidate,
}

/// What a 200 to HEAD does to a stored GET of `length` bytes (RFC 9111 4.3.5).
pub fn head_update(stored: &EntryHead, length: u64, head: &HeaderMap) -> HeadUpdate {
    let _ = (stored, length, head);
    HeadUpdate::Invalidate
}
