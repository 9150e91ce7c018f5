//! A stored response as the admin API tells it, and as filters ask it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use http::HeaderMap;

use crate::admin::api::{EntryDetail, EntryRow};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::purge::group;
use crate::cache::store::Summary;
use crate::clock::Timestamp;
use crate::telemetry::filter::{Field, Fields, Kind, Value};

/// An entry, seen at a moment.
pub struct Seen<'e> {
    /// The entry.
    pub entry: &'e Entry,
    /// The moment.
    pub now: Timestamp,
}

impl Seen<'_> {
    /// `fresh`, `stale`, `revalidate` or `purged`.
    pub fn state(&self) -> &'static str {
        match self.entry {
            entry if entry.soft_purged => "purged",
            entry if entry.head.freshness.no_cache => "revalidate",
            entry if entry.head.age(self.now) < entry.head.freshness.lifetime => "fresh",
            _ => "stale",
        }
    }

    /// Seconds until it is stale; below zero: since it is.
    fn ttl(&self) -> i64 {
        let lifetime = i64::try_from(self.entry.head.freshness.lifetime).unwrap_or(i64::MAX);
        lifetime.saturating_sub(i64::try_from(self.entry.head.age(self.now)).unwrap_or(i64::MAX))
    }

    fn content_type(&self) -> Option<Cow<'_, str>> {
        let value = self.entry.head.headers.get(http::header::CONTENT_TYPE)?;
        Some(String::from_utf8_lossy(value.as_bytes()))
    }
}

/// An entry in a list.
pub fn row(summary: &Summary, now: Timestamp) -> EntryRow {
    let entry = &*summary.entry;
    let seen = Seen { entry, now };
    EntryRow {
        key: summary.id.digest.to_string(),
        variant: format!("{:032x}", u128::from_be_bytes(summary.id.variant)),
        url: entry.key.url(),
        status: entry.head.status.as_u16(),
        state: seen.state().to_owned(),
        age_s: entry.head.age(now),
        ttl_s: seen.ttl(),
        lifetime_from: entry.head.freshness.source.as_str().to_owned(),
        size: entry.body.len(),
        part: entry.part.map(|part| place_of(&entry.bytes(), part.complete)),
        body: place(&entry.body).to_owned(),
        content_type: seen.content_type().map(Cow::into_owned),
        coding: coding(entry),
        upstream: entry.key.upstream.to_string(),
        route: entry.route.to_string(),
        tags: group::tags(&entry.tags).map(str::to_owned).collect(),
        groups: group::groups(&entry.tags).map(str::to_owned).collect(),
        vary: entry.vary.fields.iter().map(|(name, _)| name.to_string()).collect(),
        stored_ms: entry.head.response_time.millis(),
        expires_ms: entry.head.fresh_until().millis(),
        keep_until_ms: entry.keep_until.millis(),
    }
}

/// An entry in full.
pub fn detail(summary: &Summary, now: Timestamp) -> EntryDetail {
    let entry = &*summary.entry;
    let freshness = &entry.head.freshness;
    EntryDetail {
        row: row(summary, now),
        lifetime_s: freshness.lifetime,
        initial_age_s: freshness.initial_age,
        stale_while_revalidate_s: freshness.stale_while_revalidate,
        stale_if_error_s: freshness.stale_if_error,
        must_revalidate: freshness.must_revalidate,
        no_cache: freshness.no_cache,
        key_fields: entry.key.fields.iter().map(|(name, _)| name.to_string()).collect(),
        sequence: entry.sequence,
        body_hash: match &entry.body {
            BodyRef::File(file) => Some(blake3::Hash::from_bytes(file.hash).to_hex().to_string()),
            BodyRef::Bytes(_) => None,
        },
        headers: fields(&entry.head.headers),
        trailers: entry.trailers.as_deref().map(fields).unwrap_or_default(),
    }
}

/// How the body is coded. One that was made here of a stored reply always tells.
fn coding(entry: &Entry) -> Option<String> {
    let told = entry.head.headers.get(http::header::CONTENT_ENCODING);
    let told = told.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    told.or_else(|| entry.key.is_coded().then(|| "identity".to_owned()))
}

fn place_of(bytes: &Range<u64>, complete: Option<u64>) -> String {
    let (first, last) = (bytes.start, bytes.end.saturating_sub(1));
    complete.map_or_else(|| format!("{first}-{last}/*"), |complete| format!("{first}-{last}/{complete}"))
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

const fn place(body: &BodyRef) -> &'static str {
    match body {
        BodyRef::Bytes(_) => "record",
        BodyRef::File(_) => "file",
    }
}

impl Fields for Seen<'_> {
    const FIELDS: &'static [Field] = &[
        Field { name: "url", kind: Kind::Text, help: "the whole URL" },
        Field { name: "host", kind: Kind::Text, help: "host, with the port unless it is the scheme's own" },
        Field { name: "path", kind: Kind::Text, help: "path and query" },
        Field { name: "status", kind: Kind::Status, help: "the origin's status; 5xx is a class" },
        Field { name: "state", kind: Kind::Text, help: "fresh, stale, revalidate or purged" },
        Field { name: "age", kind: Kind::Duration, help: "the response's age" },
        Field { name: "ttl", kind: Kind::Duration, help: "time until it is stale; none once it is" },
        Field { name: "size", kind: Kind::Size, help: "the body's length" },
        Field { name: "type", kind: Kind::Text, help: "the media type" },
        Field { name: "upstream", kind: Kind::Text, help: "the upstream's name" },
        Field { name: "route", kind: Kind::Text, help: "the route's name" },
        Field { name: "tags", kind: Kind::Text, help: "its tags, with spaces between" },
    ];

    fn value(&self, field: &'static str) -> Value<'_> {
        let entry = self.entry;
        match field {
            "url" => Value::Text(entry.key.url().into()),
            "host" => Value::Text((&*entry.key.authority).into()),
            "path" => Value::Text((&*entry.key.target).into()),
            "status" => Value::Number(entry.head.status.as_u16().into()),
            "state" => Value::Text(self.state().into()),
            "age" => Value::Duration(Duration::from_secs(entry.head.age(self.now))),
            "ttl" => match u64::try_from(self.ttl()) {
                Ok(seconds) => Value::Duration(Duration::from_secs(seconds)),
                Err(_) => Value::Absent,
            },
            "size" => Value::Number(entry.body.len()),
            "type" => self.content_type().map_or(Value::Absent, Value::Text),
            "upstream" => Value::Text((&*entry.key.upstream).into()),
            "route" => Value::Text((&*entry.route).into()),
            "tags" => Value::Text(group::tags(&entry.tags).collect::<Vec<_>>().join(" ").into()),
            _ => Value::Absent,
        }
    }
}
