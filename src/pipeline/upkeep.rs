//! Keeps up what is stored with what the origin says of it: its 304s, and its replies to HEAD.

use std::sync::Arc;
use std::time::Duration;

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
    /// Its fields as the client sent them.
    pub(super) client: &'a HeaderMap,
    /// How long what can be validated is kept past its freshness.
    pub(super) keep: Duration,
    /// The purge sequence when the request began.
    pub(super) sequence: u64,
}

/// What is stored, with what a 304 says of it.
#[derive(Debug)]
pub(super) struct Validated {
    pub(super) entry: Arc<Entry>,
    /// It stands so in the store. Otherwise it is an answer for this request alone: others may not see what the 304 said.
    pub(super) kept: bool,
}

impl Keeper<'_> {
    /// Merges a 304 into what is stored (RFC 9111 4.3.4): into those entries that the request could have been answered
    /// with, else into a copy of the one that the 304 names by a strong tag. The first one is to be sent.
    pub(super) fn freshen(&self, resource: &Resource, brought: &Brought) -> Option<Validated> {
        let not_modified = &brought.head.headers;
        let (own, others): (Vec<&Arc<Entry>>, Vec<&Arc<Entry>>) =
            resource.variants.iter().partition(|entry| self.suits(entry));
        let mut answer = None;
        for position in validate::select_freshened(&heads(&own), not_modified, others.is_empty()) {
            answer = answer.or(self.update(resource.digest, own[position], brought));
        }
        answer.or_else(|| {
            let named = others[validate::select_named(&heads(&others), not_modified)?];
            self.update(resource.digest, named, brought)
        })
    }

    /// Compares a 200 to HEAD with each variant that a GET would have been answered with (RFC 9111 4.3.5). What it does
    /// not describe is stale.
    pub(super) fn compare(&self, resource: &Resource, brought: &Brought) {
        for entry in resource.variants.iter().filter(|entry| self.suits(entry)) {
            let update = validate::head_update(&entry.head, entry.complete(), &brought.head.headers);
            if update == HeadUpdate::Freshen && entry.head.status == StatusCode::OK {
                self.update(resource.digest, entry, brought);
            } else {
                self.cache.expire(EntryId::of(resource.digest, entry));
            }
        }
    }

    fn suits(&self, entry: &Entry) -> bool {
        vary::matches(&entry.vary, self.client, self.cache.secret())
    }

    /// Does with a stored reply what the policy says; the entry to answer from, if it is still there.
    fn update(&self, digest: Digest, stored: &Arc<Entry>, brought: &Brought) -> Option<Validated> {
        let update = brought.response_head();
        let validate::Freshened { head, upkeep } =
            validate::freshen(&stored.head, self.request, &update, &self.settings.rules);
        match upkeep {
            Upkeep::Replace => {
                let entry = self.replace(digest, stored, head)?;
                return Some(Validated { entry, kept: true });
            }
            Upkeep::Leave(reason) => self.telemetry.cache_skip(reason.as_str()),
            Upkeep::Remove(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                self.cache.remove(EntryId::of(digest, stored));
            }
        }
        Some(Validated { entry: Arc::new(Entry { head, ..(**stored).clone() }), kept: false })
    }

    /// Gives a stored reply its new head. Where that makes it another variant (its `Vary` changed, or another request
    /// stored it), it stands under this request's fields from now on.
    fn replace(&self, digest: Digest, stored: &Arc<Entry>, head: EntryHead) -> Option<Arc<Entry>> {
        let keep_until = policy::store::keep_until(&head, self.keep);
        let vary = vary::vary_key(self.client, &head.headers, self.cache.secret())?;
        // Fields that say tags and groups may have been among those that were replaced.
        let tags = tags::tags(&head.headers, self.settings, self.names);
        let with = Freshened { head, tags, keep_until, sequence: self.sequence };
        if vary == stored.vary {
            return self.cache.freshen(EntryId::of(digest, stored), &stored.head, with);
        }
        let derived = self.cache.derive(stored, vary, with);
        if self.suits(stored) {
            // As it stood, it must not be chosen any more.
            self.cache.remove(EntryId::of(digest, stored));
        }
        derived
    }
}

fn heads<'e>(entries: &[&'e Arc<Entry>]) -> Vec<&'e EntryHead> {
    entries.iter().map(|entry| &entry.head).collect()
}
