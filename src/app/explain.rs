//! `cache explain`: what would happen to a request, told from what the rooms say and from where the config says it.

mod slices;

use http::{HeaderMap, StatusCode};

use super::control::mode_word;
use super::instance::Instance;
use super::routes;
use crate::admin::api::{
    ConfigKey, Explain, Explanation, Ground, GuardStanding, KeyDifference, KeyPart, KeyParts, NearKey,
    Problem, ProblemCode, StoredReply, SupposedOutcome, SupposedReply, TakenRoute, Variant, VariantField,
};
use crate::admin::handlers::entry::{self, Seen};
use crate::cache::entry::Entry;
use crate::cache::key::{Digest, Secret, StoredKey};
use crate::cache::leak::Standing;
use crate::cache::policy::explain::{Reason, secs, stored, title};
use crate::cache::policy::vary::{self, Compared};
use crate::cache::policy::{Answer, Reuse, StaleWhy, Storable};
use crate::cache::store::{Difference, EntryId, Summary};
use crate::clock::Timestamp;
use crate::config::provenance::Provenance;
use crate::http::cache_status::Forward;
use crate::pipeline::explain::{Bypass, Explained, Guarded, Verdict};
use crate::pipeline::key::UserKey;

/// Near keys that are told.
const NEAREST: usize = 5;

/// What would happen to a request now.
pub(super) async fn explain(instance: &Instance, asked: &Explain) -> Result<Explanation, Box<Problem>> {
    let host = routes::own_host(instance);
    let (head, target) = routes::request(&host, &asked.method, &asked.url, &asked.headers).map_err(bad)?;
    let supposed = asked.reply.as_ref().map(supposed_reply).transpose()?;
    let url = format!("{}://{}{}", target.scheme().as_str(), target.authority(), target.path_and_query());
    let verdicts = routes::verdicts(&instance.proxy.site(), &head, &target);
    let blank = Explanation {
        method: head.method.to_string(),
        url,
        at_ms: instance.clock.now().millis(),
        verdicts,
        ..Explanation::default()
    };
    let Some(explained) = instance.proxy.explain(&head, &target).await else {
        return Ok(Explanation {
            verdict: "no_route".into(),
            headline: "NO ROUTE takes it: it would be answered 404".into(),
            ..blank
        });
    };
    let telling = Telling { explained: &explained, provenance: &instance.settings().provenance };
    let has_slices = explained.slices.as_ref().is_some_and(|slices| !slices.stored.is_empty());
    let near = match explained.variants.is_empty() && !has_slices {
        true => instance.cache.nearest(explained.key.clone(), NEAREST).await,
        false => Vec::new(),
    };
    let left = |until: Option<Timestamp>| {
        until.map(|until| u64::try_from(until.since(explained.at).as_millis()).unwrap_or(u64::MAX))
    };
    let conditions = explained.conditions.iter();
    Ok(Explanation {
        verdict: word(explained.verdict).into(),
        headline: telling.headline(),
        at_ms: explained.at.millis(),
        route: Some(telling.route()),
        why: telling.why(),
        key: Some(key_parts(&explained.key, explained.digest, explained.variants.len())),
        entry: explained.selected.as_ref().map(|entry| telling.entry(entry)),
        slices: explained.slices.as_ref().map(|slices| slices::told(slices, explained.at)),
        unsliced_ms: left(explained.plain_until),
        guard: explained.guarded.map(|guarded| telling.guard(guarded)),
        variants: telling.variants(&head.headers, instance.cache.secret()),
        conditions: conditions.map(|(name, value)| (title(name.as_str()), text(value))).collect(),
        flights: explained.flights as u64,
        unshared_ms: left(explained.unshared_until),
        resting_ms: left(explained.resting_until),
        nearest: near.iter().map(|(summary, differs)| near_key(summary, differs, explained.at)).collect(),
        reply: supposed
            .map(|(status, fields)| instance.proxy.suppose(&explained, &head.headers, status, &fields))
            .map(|supposed| telling.supposed(&supposed)),
        ..blank
    })
}

fn bad(why: String) -> Box<Problem> {
    Box::new(Problem::new(ProblemCode::BadRequest, "that can't be a request").detail(why))
}

fn supposed_reply(reply: &SupposedReply) -> Result<(StatusCode, HeaderMap), Box<Problem>> {
    let refused =
        |why: String| Box::new(Problem::new(ProblemCode::BadRequest, "that can't be a reply").detail(why));
    let status = StatusCode::from_u16(reply.status)
        .map_err(|_| refused(format!("{} is no status: they go from 100 to 999", reply.status)))?;
    Ok((status, routes::fields(&reply.headers).map_err(refused)?))
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The words of `verdict`.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Hit => "hit",
        Verdict::Stale => "stale",
        Verdict::Validate => "validate",
        Verdict::Miss(_) => "miss",
        Verdict::Bypass(_) => "bypass",
        Verdict::Refused => "refused",
    }
}

/// What was found, and where the config speaks of it.
struct Telling<'a> {
    explained: &'a Explained,
    provenance: &'a Provenance,
}

impl Telling<'_> {
    fn headline(&self) -> String {
        let left = |ttl: i64| secs(ttl.unsigned_abs());
        let stale = || match self.explained.reuse {
            Some(Reuse::Validate { ttl, .. }) if ttl <= 0 => format!("stale for {}", left(ttl)),
            _ => "not to be sent as it is".to_owned(),
        };
        if let Some(headline) =
            self.explained.slices.as_ref().and_then(|told| slices::headline(told, self.explained.verdict))
        {
            return headline;
        }
        match self.explained.verdict {
            Verdict::Hit => match self.explained.reuse {
                Some(Reuse::Fresh { ttl, .. }) => format!("HIT: fresh for {} more", left(ttl)),
                _ => "HIT".to_owned(),
            },
            Verdict::Stale => match self.explained.reuse {
                Some(Reuse::StaleAllowed { ttl, why: StaleWhy::WhileRevalidate, .. }) => {
                    format!("STALE for {}, and sent all the same; refreshed in the background", left(ttl))
                }
                Some(Reuse::StaleAllowed { ttl, .. }) => {
                    format!("STALE for {}, and sent all the same", left(ttl))
                }
                _ => "STALE".to_owned(),
            },
            Verdict::Validate => {
                format!("VALIDATE: {}; the origin is asked whether it still holds", stale())
            }
            Verdict::Miss(Forward::VaryMiss) => "MISS: stored, but no variant for this request".to_owned(),
            Verdict::Miss(Forward::Stale) => format!("MISS: {}; the origin is asked anew", stale()),
            Verdict::Miss(Forward::Partial) if self.explained.missing.is_some() => {
                "MISS: a part is stored, and the rest is fetched".to_owned()
            }
            Verdict::Miss(Forward::Partial) => "MISS: a part is stored, and more is asked for".to_owned(),
            Verdict::Miss(Forward::Request) => "MISS: what is stored may not answer this request".to_owned(),
            Verdict::Miss(_) => "MISS: nothing is stored under its key".to_owned(),
            Verdict::Bypass(why) => format!("BYPASS: {}", bypass(why)),
            Verdict::Refused => "REFUSED with 504: only-if-cached, and nothing stored may answer".to_owned(),
        }
    }

    /// The ground that decides, then what else is to be known of it.
    fn why(&self) -> Vec<Ground> {
        let explained = self.explained;
        let mut why = Vec::new();
        let ground =
            |rule: &str, says: &str| Ground { rule: rule.into(), says: says.into(), ..Ground::default() };
        match explained.verdict {
            Verdict::Bypass(Bypass::Local) => {
                let local = explained.route.settings.local.as_ref();
                let says = local.map(|local| format!("it answers {local}")).unwrap_or_default();
                let key = local.map_or("respond", |local| local.key());
                why.push(Ground { config: Some(self.config_key(key)), ..ground("route", &says) });
            }
            Verdict::Bypass(Bypass::Mode) => why.push(Ground {
                config: Some(self.mode_key()),
                ..ground("route", "the route neither stores nor reuses replies")
            }),
            Verdict::Bypass(Bypass::Method) => {
                why.push(ground("RFC 9111 4", "only GET and HEAD are answered from what is stored"));
            }
            Verdict::Bypass(Bypass::Body) => {
                why.push(ground(
                    "RFC 9110 9.3.1",
                    "a body gives the request a meaning that its key does not tell",
                ));
            }
            Verdict::Bypass(Bypass::Doubtful(doubt)) => {
                let (rule, says) = doubt.ground();
                let says = format!("users have replies of their own, and {says}");
                why.push(Ground { config: Some(self.config_key("key.user")), ..ground(rule, &says) });
            }
            Verdict::Bypass(Bypass::Unseen) => why.push(Ground {
                config: Some(self.config_key("leak_guard")),
                ..ground("leak guard", "other credentials have not been seen to get the same")
            }),
            Verdict::Bypass(Bypass::Suspect) => why.push(Ground {
                config: Some(self.config_key("leak_guard")),
                ..ground(
                    "leak guard",
                    "two credentials got two replies: nothing is stored or shared until it is settled",
                )
            }),
            Verdict::Bypass(Bypass::Leaking(until)) => {
                let left = secs(until.since(explained.at).as_secs());
                let says =
                    format!("its replies differ by credential: nothing is stored or shared for {left} more");
                why.push(Ground {
                    config: Some(self.config_key("leak_guard")),
                    ..ground("leak guard", &says)
                });
            }
            Verdict::Bypass(Bypass::Precondition) => {
                why.push(ground("RFC 9110 13.1", "its precondition is about the state at the origin"));
            }
            Verdict::Refused => {
                why.push(ground("RFC 9111 5.2.1.7", "the request wants nothing but what is stored"))
            }
            Verdict::Miss(Forward::UriMiss) if explained.slices.is_none() => {
                why.push(ground("RFC 9111 4", "no stored response has this key"));
            }
            Verdict::Miss(Forward::VaryMiss) => {
                why.push(ground("RFC 9111 4.1", "no variant was stored for fields like these"));
            }
            Verdict::Miss(Forward::Partial) if explained.slices.is_none() => {
                why.push(ground(
                    "RFC 9111 3.3",
                    "what is stored answers only ranges that lie wholly within it",
                ));
            }
            _ => {}
        }
        if explained.slices.is_some() || explained.plain_until.is_some() {
            let says = match explained.plain_until {
                None => "it is answered slice by slice, each stored under a key of its own",
                Some(_) => {
                    "it is answered whole for now: its origin served no ranges of it that can be joined"
                }
            };
            why.push(Ground { config: Some(self.config_key("slice")), ..ground("policy", says) });
        }
        if explained.slices.is_some() && explained.route.cache.leak_guard {
            why.push(Ground {
                config: Some(self.config_key("leak_guard")),
                ..ground(
                    "leak guard",
                    "replies that are parts are not stored on a guarded route, and slices are parts",
                )
            });
        }
        why.extend(explained.reason.as_ref().map(|reason| self.ground(reason)));
        why.extend(self.user());
        if explained.request.no_store && matches!(explained.verdict, Verdict::Miss(_)) {
            why.push(ground(
                "RFC 9111 5.2.1.5",
                "the request's no-store: its reply is passed on and not stored",
            ));
        }
        why
    }

    fn guard(&self, guarded: Guarded) -> GuardStanding {
        let (standing, left_ms) = match guarded.standing {
            Standing::Free => ("free", None),
            Standing::Suspect => ("suspect", None),
            Standing::Leaking(until) => ("leaking", Some(until.since(self.explained.at).as_millis())),
        };
        GuardStanding {
            standing: standing.into(),
            left_ms: left_ms.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
            cleared: guarded.cleared,
        }
    }

    fn route(&self) -> TakenRoute {
        let route = &self.explained.route;
        TakenRoute {
            name: route.name.to_string(),
            upstream: route.upstream_name.to_string(),
            mode: mode_word(route.cache.mode).to_owned(),
            policy: route.cache.policy.as_ref().map(ToString::to_string),
            at: self.provenance.find(&route.name, "route").map(|said| said.at.clone()),
        }
    }

    /// How its user is known, where that took verifying a token: by what of it, never who it is.
    fn user(&self) -> Option<Ground> {
        let UserKey::Claim(claim) = self.explained.route.cache.key.user.as_ref()? else { return None };
        let (tokens, verified) = (claim.tokens.as_ref()?, self.explained.verified.as_ref()?);
        let names: Vec<String> = claim.names.iter().map(|name| format!("`{name}`")).collect();
        let key = verified.key.as_ref().map_or_else(String::new, |id| format!(" with key `{id}`"));
        let left = verified.expires.map(|until| secs(until.since(self.explained.at).as_secs()));
        let left =
            left.map_or_else(|| "it does not expire".to_owned(), |left| format!("it expires in {left}"));
        let says = format!(
            "[tokens.{}] verified its token by {}{key}, and {left}: all tokens with the same {} share",
            tokens.name(),
            verified.algorithm.as_str(),
            names.join(", "),
        );
        let config = Some(self.config_key("key.user"));
        Some(Ground { rule: "RFC 7519 7.2".into(), says, config, ..Ground::default() })
    }

    fn ground(&self, reason: &Reason) -> Ground {
        Ground {
            rule: reason.rule.to_owned(),
            says: reason.says.clone(),
            field: reason.quote.as_ref().map(|quote| quote.text.clone()),
            config: reason.key.map(|key| self.config_key(key)),
        }
    }

    fn config_key(&self, key: &str) -> ConfigKey {
        config_key(self.provenance, &self.explained.route.name, key)
    }

    /// `mode = "off"`, or `cache = false`.
    fn mode_key(&self) -> ConfigKey {
        let route = &self.explained.route.name;
        let key = if self.provenance.find(route, "mode").is_some() { "mode" } else { "cache" };
        self.config_key(key)
    }

    fn entry(&self, stored_entry: &std::sync::Arc<Entry>) -> StoredReply {
        let explained = self.explained;
        let (head, now) = (&stored_entry.head, explained.at);
        let rules = &explained.route.cache.rules;
        let freshness = &head.freshness;
        let past = |seconds: u64| {
            let end = freshness.lifetime.saturating_add(seconds).saturating_sub(freshness.initial_age);
            head.response_time.plus(std::time::Duration::from_secs(end)).millis()
        };
        let allowed = !freshness.must_revalidate && !freshness.no_cache;
        let summary = summary(explained.digest, stored_entry);
        StoredReply {
            detail: entry::detail(&summary, now),
            resident_s: now.since(head.response_time).as_secs(),
            grounds: stored(&head.headers, freshness, rules)
                .iter()
                .map(|reason| self.ground(reason))
                .collect(),
            stale_while_revalidate_until_ms: (allowed && freshness.stale_while_revalidate > 0)
                .then(|| past(freshness.stale_while_revalidate)),
            stale_if_error_until_ms: freshness.stale_if_error.filter(|_| allowed).map(past),
            stands_in: explained.stands_in,
            soft_purged: stored_entry.soft_purged,
            parts: explained.places.iter().map(slices::first_and_last).collect(),
            missing: explained.missing.as_ref().map(|missing| slices::first_and_last(&missing.gap)),
            answer: explained.answer.as_ref().map(|answer| answer_word(answer).to_owned()),
        }
    }

    fn variants(&self, request: &HeaderMap, secret: &Secret) -> Vec<Variant> {
        let explained = self.explained;
        let told = explained.variants.iter().map(|entry| {
            let row = entry::row(&summary(explained.digest, entry), explained.at);
            let selected = explained.selected.as_ref();
            Variant {
                variant: row.variant,
                selected: selected.is_some_and(|selected| std::sync::Arc::ptr_eq(selected, entry)),
                state: row.state,
                stored_ms: row.stored_ms,
                fields: vary::compare(&entry.vary, request, secret)
                    .into_iter()
                    .map(|(name, compared)| VariantField {
                        name: name.to_owned(),
                        compared: compared_word(compared).to_owned(),
                    })
                    .collect(),
            }
        });
        told.collect()
    }

    fn supposed(&self, supposed: &crate::pipeline::explain::Hypothesis) -> SupposedOutcome {
        let grounds: Vec<Ground> = supposed.reasons.iter().map(|reason| self.ground(reason)).collect();
        match &supposed.verdict {
            Storable::Store(plan) => {
                let left = plan.freshness.lifetime.saturating_sub(plan.freshness.initial_age);
                SupposedOutcome {
                    stored: true,
                    skip: None,
                    headline: match left {
                        0 => "it would be stored, and validated at every use".to_owned(),
                        left => format!("it would be stored, fresh for {}", secs(left)),
                    },
                    lifetime_s: Some(plan.freshness.lifetime),
                    lifetime_from: Some(plan.freshness.source.as_str().to_owned()),
                    keep_until_ms: supposed.keep_until.map(Timestamp::millis),
                    grounds,
                }
            }
            Storable::Skip(reason) => SupposedOutcome {
                skip: Some(reason.as_str().to_owned()),
                headline: "it would not be stored".to_owned(),
                grounds,
                ..SupposedOutcome::default()
            },
        }
    }
}

/// Where the config says this of a route; the default where it does not.
pub(super) fn config_key(provenance: &Provenance, route: &str, key: &str) -> ConfigKey {
    match provenance.find(route, key) {
        Some(said) => {
            ConfigKey { key: said.path.clone(), at: Some(said.at.clone()), value: Some(said.value.clone()) }
        }
        None => ConfigKey { key: key.to_owned(), at: None, value: None },
    }
}

fn summary(digest: Digest, entry: &std::sync::Arc<Entry>) -> Summary {
    Summary { id: EntryId::of(digest, entry), entry: entry.clone() }
}

const fn bypass(why: Bypass) -> &'static str {
    match why {
        Bypass::Local => "the route answers by itself",
        Bypass::Mode => "the route is off",
        Bypass::Method => "the method is not answered from a cache",
        Bypass::Body => "the request has a body",
        Bypass::Precondition => "only the origin can judge its precondition",
        Bypass::Doubtful(_) => "its user is not to be believed",
        Bypass::Unseen => "what is stored is another credential's",
        Bypass::Suspect => "replies under its key are being compared",
        Bypass::Leaking(_) => "replies under its key differ by credential",
    }
}

const fn answer_word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Full => "whole",
        Answer::NotModified => "not_modified",
        Answer::Partial(_) => "partial",
        Answer::Unsatisfiable => "unsatisfiable",
        Answer::Forward => "forward",
    }
}

const fn compared_word(compared: Compared) -> &'static str {
    match compared {
        Compared::Same => "same",
        Compared::Differs => "differs",
        Compared::OnlyAsked => "only_asked",
        Compared::OnlyStored => "only_stored",
    }
}

/// The key as people may see it: fields and computed parts are kept as keyed hashes.
pub(super) fn key_parts(key: &StoredKey, digest: Digest, stored: usize) -> KeyParts {
    let open = [
        ("upstream", &key.upstream),
        ("scheme", &key.scheme),
        ("host", &key.authority),
        ("target", &key.target),
    ];
    let open = open.map(|(name, value)| KeyPart {
        name: name.to_owned(),
        value: Some(value.to_string()),
        hashed: false,
    });
    let hidden = key.fields.iter().map(|(name, hash)| KeyPart {
        name: name.to_string(),
        value: None,
        hashed: hash.is_some(),
    });
    KeyParts {
        digest: digest.to_string(),
        parts: open.into_iter().chain(hidden).collect(),
        stored: stored as u64,
    }
}

fn near_key(near: &Summary, differs: &[Difference], now: Timestamp) -> NearKey {
    NearKey {
        key: near.id.digest.to_string(),
        url: near.entry.key.url(),
        state: Seen { entry: &near.entry, now }.state().to_owned(),
        differs: differs.iter().map(difference).collect(),
    }
}

fn difference(difference: &Difference) -> KeyDifference {
    match difference {
        Difference::Part { name, asked, stored } => {
            KeyDifference { part: name.clone(), asked: asked.clone(), stored: stored.clone(), hidden: None }
        }
        Difference::Hidden { name, asked, stored } => KeyDifference {
            part: name.clone(),
            hidden: Some(
                match (asked, stored) {
                    (true, false) => "only_asked",
                    (false, true) => "only_stored",
                    _ => "differs",
                }
                .to_owned(),
            ),
            ..KeyDifference::default()
        },
    }
}
