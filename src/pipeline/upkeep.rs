//! Keeps up what is stored with what the origin says of it: its 304s, and its replies to HEAD.

use std::sync::Arc;
use std::time::Duration;

use http::header::VARY;
use http::{HeaderMap, StatusCode};

use super::fetch::Brought;
use super::forward::ClientNames;
use super::settings::CacheSettings;
use super::tags;
use crate::cache::Cache;
use crate::cache::entry::{Entry, EntryHead};
use crate::cache::key::Digest;
use crate::cache::policy::validate::{self, HeadUpdate, Upkeep};
use crate::cache::policy::{self, RequestPolicy, vary};
use crate::cache::store::{EntryId, Freshened, Resource};
use crate::telemetry::Telemetry;

/// What upkeep needs to know of the request that the origin answered.
pub(super) struct Keeper<'a> {
    pub(super) cache: &'a Cache,
    pub(super) telemetry: &'a Telemetry,
    pub(super) settings: &'a CacheSettings,
    /// The origin, as the client names it.
    pub(super) names: &'a ClientNames,
    pub(super) request: &'a RequestPolicy,
    /// How long what can be validated is kept past its freshness.
    pub(super) keep: Duration,
    /// The purge sequence when the request began.
    pub(super) sequence: u64,
}

impl Keeper<'_> {
    /// Merges a 304 into what is stored (RFC 9111 4.3.4); the first entry freshened is the one to send.
    pub(super) fn freshen(&self, resource: &Resource, brought: &Brought) -> Option<Arc<Entry>> {
        let heads: Vec<&EntryHead> = resource.variants.iter().map(|entry| &entry.head).collect();
        let mut answer = None;
        for position in validate::select_freshened(&heads, &brought.head.headers) {
            answer = answer.or(self.update(resource.digest, &resource.variants[position], brought));
        }
        answer
    }

    /// Compares a 200 to HEAD with each variant that a GET would have been answered with (RFC 9111 4.3.5). What it does
    /// not describe is stale at best: it goes.
    pub(super) fn compare(&self, resource: &Resource, brought: &Brought, client: &HeaderMap) {
        for entry in &resource.variants {
            if !vary::matches(&entry.vary, client, self.cache.secret()) {
                continue;
            }
            let update = validate::head_update(&entry.head, entry.complete(), &brought.head.headers);
            if update == HeadUpdate::Freshen && entry.head.status == StatusCode::OK {
                self.update(resource.digest, entry, brought);
            } else {
                self.cache.remove(EntryId::of(resource.digest, entry));
            }
        }
    }

    /// Does with a stored reply what the policy says; the entry to answer from, if it is still there.
    fn update(&self, digest: Digest, stored: &Arc<Entry>, brought: &Brought) -> Option<Arc<Entry>> {
        let update = brought.response_head();
        let validate::Freshened { head, upkeep } =
            validate::freshen(&stored.head, self.request, &update, &self.settings.rules);
        let varies = |headers: &HeaderMap| headers.get_all(VARY).iter().cloned().collect::<Vec<_>>();
        match upkeep {
            // It is now selected by other fields, which the request that stored it may have had differently.
            Upkeep::Replace if varies(&head.headers) != varies(&stored.head.headers) => {
                self.cache.remove(EntryId::of(digest, stored));
            }
            Upkeep::Replace => {
                let keep_until = policy::store::keep_until(&head, self.keep);
                // Fields that say tags and groups may have been among those that were replaced.
                let tags = tags::tags(&head.headers, self.settings, self.names);
                let with = Freshened { head, tags, keep_until, sequence: self.sequence };
                return self.cache.freshen(EntryId::of(digest, stored), &stored.head, with);
            }
            Upkeep::Leave(reason) => self.telemetry.cache_skip(reason.as_str()),
            Upkeep::Remove(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                self.cache.remove(EntryId::of(digest, stored));
            }
        }
        Some(Arc::new(Entry { head, ..(**stored).clone() }))
    }
}
