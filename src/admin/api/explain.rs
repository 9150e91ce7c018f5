//! What would happen to a request, and why.

use serde::{Deserialize, Serialize};

use super::cache::EntryDetail;
use super::route::RouteVerdict;
use crate::telemetry::LogRecord;

/// A request that nobody sends: what would happen to it now?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// The method.
    pub method: String,
    /// An absolute URL, or a path.
    pub url: String,
    /// Request fields, name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// A reply that the origin might give: would it be stored?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<SupposedReply>,
}

/// A reply that nobody has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupposedReply {
    /// Its status.
    pub status: u16,
    /// Its fields, name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What would happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `hit`, `stale` (sent although stale), `validate` (the origin is asked whether what is stored holds), `miss`,
    /// `bypass`, `refused` (504 to only-if-cached) or `no_route`.
    pub verdict: String,
    /// The same in one line.
    pub headline: String,
    /// The request's method.
    pub method: String,
    /// The request's URL in its normal form.
    pub url: String,
    /// When this was said, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The route that takes it; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<TakenRoute>,
    /// What each route says to it.
    pub verdicts: Vec<RouteVerdict>,
    /// Why it would happen, the ground that decides first.
    pub why: Vec<Ground>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyParts>,
    /// The stored response that the request asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<StoredReply>,
    /// What is stored slice by slice, where the request is answered so; `entry` is the slice that it begins with then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<StoredSlices>,
    /// Milliseconds for which the URL is answered whole, though its route has slices: its origin serves no ranges of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsliced_ms: Option<u64>,
    /// What the leak guard knows of the key, on a guarded route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardStanding>,
    /// All variants that are stored under the key, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// The conditional fields with which the origin would be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<(String, String)>,
    /// Fetches for the key that are under way, and that the request might join.
    pub flights: u64,
    /// Milliseconds for which requests like this do not wait for each other, since the last reply was not for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unshared_ms: Option<u64>,
    /// Milliseconds for which no refresh in the background is tried, since the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting_ms: Option<u64>,
    /// The stored keys that come nearest, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<NearKey>,
    /// What would become of the supposed reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<SupposedOutcome>,
}

/// What is stored of a URL slice by slice, and what of it a request takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSlices {
    /// Bytes of each slice but the last.
    pub size: u64,
    /// Bytes of the whole; absent: no slice is stored that would tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Slices of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Slices that are stored.
    pub stored: u64,
    /// Bytes of these.
    pub stored_bytes: u64,
    /// Slices that are stored and of another representation than the one that the request begins with.
    pub foreign: u64,
    /// What is stored, in runs of slices that stand next to each other and in the same state; the first of them.
    pub runs: Vec<SliceRun>,
    /// Runs that are not told.
    pub more_runs: u64,
    /// Entries of the URL that were not looked at, beyond the first ten thousand.
    pub unseen: u64,
    /// The slice that the request begins with.
    pub first: u64,
    /// The digest of its key.
    pub first_key: String,
    /// What the request takes; absent: that can't be known before the origin is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<TakenSlices>,
    /// What it would take without `Range`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_range: Option<TakenSlices>,
}

/// Stored slices that stand next to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRun {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
    /// How many slices.
    pub slices: u64,
    /// `fresh`, `stale`, `revalidate` or `purged`.
    pub state: String,
}

/// What a request takes of the slices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenSlices {
    /// First and last bytes of its reply, in their order; none where that has no body.
    pub bytes: Vec<(u64, u64)>,
    /// Slices that it needs, with the one by which the length is known.
    pub slices: u64,
    /// Of these, stored and fresh.
    pub fresh: u64,
    /// Stored, and sent although stale.
    pub stale: u64,
    /// Stored, and validated with the origin.
    pub validated: u64,
    /// Fetched.
    pub fetched: u64,
    /// First and last bytes of what is fetched, in runs; the first of them.
    pub fetches: Vec<(u64, u64)>,
    /// Runs that are not told.
    pub more_fetches: u64,
    /// The byte at which the reply would break off, and all that is stored of the URL be purged, since the slice there
    /// is of another representation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_at: Option<u64>,
}

/// What the leak guard knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardStanding {
    /// `free`, `suspect` (its replies are being compared) or `leaking` (they differ by credential).
    pub standing: String,
    /// How long it is left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Whether the stored response may answer the request's credentials: it is theirs, or others got the same; absent:
    /// nothing is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared: Option<bool>,
}

/// Asks for an exchange that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastQuery {
    /// Its request id.
    pub id: String,
}

/// What was decided for an exchange that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastExplanation {
    /// The outcome in one line.
    pub headline: String,
    /// When this was said, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The exchange as the log tells it: outcome, key, numbers, attempts.
    pub exchange: LogRecord,
    /// Why it came so, and what became of the reply.
    pub grounds: Vec<Ground>,
    /// What is stored under its key now.
    pub stored: Vec<EntryDetail>,
}

/// One ground of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// The rule: a section such as `RFC 9111 5.2.2.5`, or `policy`, `route`, `purge`.
    pub rule: String,
    /// What it comes to here, in one sentence.
    pub says: String,
    /// The field that it goes by, as it was sent: `Cache-Control: max-age=60`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What of the config decides, or would change the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigKey>,
}

/// A key of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Its path: `policies.default.ttl`; the policy's own name for it where the file does not say it.
    pub key: String,
    /// File and line; absent: it stands nowhere, and the default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The route that takes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenRoute {
    /// Its name.
    pub name: String,
    /// The upstream that answers.
    pub upstream: String,
    /// `cache` or `off`.
    pub mode: String,
    /// The name of its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// File and line of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A key, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyParts {
    /// Its digest, 32 hexadecimal digits.
    pub digest: String,
    /// Its parts, in order.
    pub parts: Vec<KeyPart>,
    /// How many variants are stored under it.
    pub stored: u64,
}

/// One part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// `upstream`, `scheme`, `host`, `target`, a request field's name, or a computed part.
    pub name: String,
    /// Its value; absent where only its hash is kept, or where the request has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Only a hash of its value is kept.
    #[serde(default)]
    pub hashed: bool,
}

/// A stored response, and on whose word it is as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredReply {
    /// As `cache show` tells it.
    #[serde(flatten)]
    pub detail: EntryDetail,
    /// Seconds since its head arrived: its age is `initial_age_s` and this together.
    pub resident_s: u64,
    /// Who gave its lifetime, and what forbids or allows its use when it is stale.
    pub grounds: Vec<Ground>,
    /// Until when it may be sent while it is refreshed, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate_until_ms: Option<u64>,
    /// Until when it may be sent if the origin fails, milliseconds since the Unix epoch; absent: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_if_error_until_ms: Option<u64>,
    /// Whether it would answer if the origin could not be reached now.
    pub stands_in: bool,
    /// A soft purge marked it as stale.
    pub soft_purged: bool,
    /// The first and last bytes of what is stored, where that is not the whole representation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(u64, u64)>,
    /// The first and last byte that would be fetched for this request, the rest of the reply coming from the parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<(u64, u64)>,
    /// How the request's own conditions and range would shape the answer: `whole`, `not_modified`, `partial`,
    /// `unsatisfiable`, `forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// A variant of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Which one, 32 hexadecimal digits.
    pub variant: String,
    /// Whether the request asks for it.
    pub selected: bool,
    /// `fresh`, `stale`, `revalidate` or `purged`.
    pub state: String,
    /// When it arrived, milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// The fields it varies on, and how the request's stand to them.
    pub fields: Vec<VariantField>,
}

/// A field that a variant was selected by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantField {
    /// Its name.
    pub name: String,
    /// `same`, `differs`, `only_asked` or `only_stored`.
    pub compared: String,
}

/// A stored key that comes near.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearKey {
    /// Its digest.
    pub key: String,
    /// Its URL.
    pub url: String,
    /// `fresh`, `stale`, `revalidate` or `purged`.
    pub state: String,
    /// The parts in which it differs from the one asked for.
    pub differs: Vec<KeyDifference>,
}

/// A part in which two keys differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// `upstream`, `scheme`, `host`, `path`, `query NAME`, a request field's name, or a computed part.
    pub part: String,
    /// As asked for; absent where the request has none, or where it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// As stored; absent where the stored key has none, or where it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// Only hashes are kept: `differs`, `only_asked` or `only_stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
}

/// What would become of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupposedOutcome {
    /// Whether it would be stored.
    pub stored: bool,
    /// Why not, in the word of logs and `Cache-Status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// The same in one line.
    pub headline: String,
    /// Seconds of freshness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
    /// Who gives the lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_from: Option<String>,
    /// Until when it would be kept, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until_ms: Option<u64>,
    /// Why.
    pub grounds: Vec<Ground>,
}
