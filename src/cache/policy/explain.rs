//! Why the policy decides as it does: the rule (RFC section, or a key of the route's policy) and the field that it goes by.
//!
//! The verdicts are those of [`storable`] and [`reuse()`] themselves, so that an explanation can never say anything
//! else; here they only get their grounds. A law holds the grounds to account: without the field that is quoted, the
//! verdict is another one or has other grounds.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_RANGE, COOKIE, EXPIRES, LAST_MODIFIED, PRAGMA, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    Directed, RequestPolicy, ResponseHead, Reuse, Rules, SkipReason, StaleWhy, Storable, ValidateWhy, reuse,
    storable,
};
use crate::cache::entry::{EntryHead, Freshness, Source};
use crate::clock::Timestamp;
use crate::http::token::is_tchar;

/// The longest quotation of a field, in bytes.
const MAX_QUOTE: usize = 200;

/// One ground of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule: a section such as `RFC 9111 5.2.2.5`, or `policy`.
    pub rule: &'static str,
    /// What it comes to here.
    pub says: String,
    /// The field that it goes by.
    pub quote: Option<Quote>,
    /// The key of the route's policy that decides, or would change the decision.
    pub key: Option<&'static str>,
}

/// A field that a decision goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Whose field it is.
    pub of: Side,
    /// Its name.
    pub name: HeaderName,
    /// As people write it, `Cache-Control: max-age=60`; the name alone where the value may be a secret.
    pub text: String,
}

/// Who sent a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Request,
    /// The origin.
    Response,
}

impl Reason {
    const fn new(rule: &'static str, says: String) -> Self {
        Self { rule, says, quote: None, key: None }
    }

    fn quoting(self, quote: Option<Quote>) -> Self {
        Self { quote, ..self }
    }

    fn by(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// Whether a response may be stored, and why: for one that may, who gave its lifetime and what may be done with it
/// later. `fields` are the request's.
pub fn storing(
    request: &RequestPolicy,
    fields: &HeaderMap,
    response: &ResponseHead<'_>,
    rules: &Rules,
) -> (Storable, Vec<Reason>) {
    let verdict = storable(request, response, rules);
    let reasons = match &verdict {
        Storable::Store(plan) => stored(response.headers, &plan.freshness, rules),
        Storable::Skip(reason) => vec![skipped(*reason, request, fields, response, rules)],
    };
    (verdict, reasons)
}

/// On whose word a response with these fields was stored: the lifetime first, then what ends or lengthens its use.
pub fn stored(headers: &HeaderMap, freshness: &Freshness, rules: &Rules) -> Vec<Reason> {
    let directed = Directed::of(headers, rules);
    let overridden = !rules.lifetimes.override_ttl.is_empty();
    let mut reasons = vec![lifetime(headers, &directed, freshness, overridden)];
    if rules.lifetimes.jitter > 0 && freshness.source != Source::None {
        let says = format!("of which jitter has taken {} % at most", rules.lifetimes.jitter);
        reasons.push(Reason::new("policy", says).by("jitter"));
    }
    if freshness.no_cache {
        let says = "every use needs validation".to_owned();
        reasons.push(Reason::new("RFC 9111 5.2.2.4", says).quoting(directive(
            headers,
            &directed,
            &["no-cache"],
        )));
    }
    if freshness.must_revalidate {
        reasons.push(no_stale_use(headers, &directed));
    } else {
        reasons.extend(windows(headers, &directed, freshness));
    }
    reasons
}

fn lifetime(headers: &HeaderMap, directed: &Directed, freshness: &Freshness, overridden: bool) -> Reason {
    let seconds = freshness.lifetime;
    let gives = |who: &str| format!("{who} gives it {}", secs(seconds));
    match freshness.source {
        Source::Targeted => Reason::new("RFC 9213 2.2", gives("the field aimed at caches like this one"))
            .quoting(directive(headers, directed, &["s-maxage", "max-age"]))
            .by("targets"),
        Source::SMaxage => Reason::new("RFC 9111 5.2.2.10", gives("the origin's s-maxage"))
            .quoting(directive(headers, directed, &["s-maxage"])),
        Source::MaxAge => Reason::new("RFC 9111 5.2.2.1", gives("the origin's max-age")).quoting(directive(
            headers,
            directed,
            &["max-age"],
        )),
        Source::Expires => Reason::new("RFC 9111 5.3", gives("Expires minus Date")).quoting(line(
            Side::Response,
            headers,
            EXPIRES,
        )),
        Source::Policy => {
            Reason::new("policy", gives("the origin gives no lifetime; the route's policy")).by("ttl")
        }
        Source::Override => Reason::new("policy", gives("in place of the origin's word the route's policy"))
            .by("override_ttl"),
        Source::Floor => Reason::new("policy", gives("the route's floor")).by("min_ttl"),
        Source::Cap => {
            let key = if overridden { "override_ttl" } else { "max_ttl" };
            Reason::new("RFC 9111 4.2", gives("the origin gives more; the route's cap")).by(key)
        }
        Source::Heuristic => {
            let says =
                gives("nobody gives a lifetime; a tenth of the time since Last-Modified, a day at most,");
            Reason::new("RFC 9111 4.2.2", says)
                .quoting(line(Side::Response, headers, LAST_MODIFIED))
                .by("heuristics")
        }
        Source::None => {
            Reason::new("RFC 9111 4.2", "nobody gives a lifetime: it is kept only to be validated".to_owned())
        }
    }
}

/// What forbids every stale use.
fn no_stale_use(headers: &HeaderMap, directed: &Directed) -> Reason {
    let directives = &directed.directives;
    let (rule, word) = if directives.must_revalidate {
        ("RFC 9111 5.2.2.2", "must-revalidate")
    } else if directives.proxy_revalidate {
        ("RFC 9111 5.2.2.8", "proxy-revalidate")
    } else {
        ("RFC 9111 5.2.2.10", "s-maxage")
    };
    let quote = directive(headers, directed, &[word]);
    let asked = directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
    if word == "s-maxage" && asked {
        let says = "s-maxage forbids every stale use, so that the stale-while-revalidate and stale-if-error beside \
                    it do nothing; stale_despite_s_maxage = true lets them win";
        return Reason::new(rule, says.to_owned()).quoting(quote).by("stale_despite_s_maxage");
    }
    Reason::new(rule, format!("{word} forbids every stale use")).quoting(quote)
}

/// How long it may be used past its freshness.
fn windows(headers: &HeaderMap, directed: &Directed, freshness: &Freshness) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut window =
        |seconds: u64, own: bool, rule: &'static str, word: &'static str, key: &'static str, what| {
            let says = format!("{what} for {} past its freshness", secs(seconds));
            let reason = match own {
                true => Reason::new(rule, says).quoting(directive(headers, directed, &[word])),
                false => Reason::new("policy", says).by(key),
            };
            reasons.push(reason);
        };
    if freshness.stale_while_revalidate > 0 {
        let own = directed.directives.stale_while_revalidate.is_some();
        let what = "it may be sent while it is refreshed in the background,";
        let seconds = freshness.stale_while_revalidate;
        window(seconds, own, "RFC 5861 3", "stale-while-revalidate", "stale_while_revalidate", what);
    }
    if let Some(seconds) = freshness.stale_if_error {
        let own = directed.directives.stale_if_error.is_some();
        let what = "it may be sent if the origin fails,";
        window(seconds, own, "RFC 5861 4", "stale-if-error", "stale_if_error", what);
    }
    reasons
}

/// Every reason not to store.
pub const SKIPS: [SkipReason; 16] = [
    SkipReason::Method,
    SkipReason::RequestNoStore,
    SkipReason::NoStore,
    SkipReason::Private,
    SkipReason::Authorization,
    SkipReason::Unauthorized,
    SkipReason::VaryStar,
    SkipReason::Status,
    SkipReason::Partial,
    SkipReason::SetCookie,
    SkipReason::Cookie,
    SkipReason::NoCache,
    SkipReason::NoFreshness,
    SkipReason::TooLarge,
    SkipReason::Stale,
    SkipReason::ServerError,
];

/// Why a response is not stored.
pub fn skipped(
    reason: SkipReason,
    request: &RequestPolicy,
    fields: &HeaderMap,
    response: &ResponseHead<'_>,
    rules: &Rules,
) -> Reason {
    let headers = response.headers;
    let directed = Directed::of(headers, rules);
    let own = |word: &str| directive(headers, &directed, &[word]);
    match reason {
        SkipReason::Method => Reason::new("RFC 9111 3", "replies to this method are not stored".to_owned()),
        SkipReason::RequestNoStore => {
            Reason::new("RFC 9111 5.2.1.5", "the request forbids storing its reply".to_owned())
                .quoting(request_directive(fields, "no-store"))
                .by("honor_request_directives")
        }
        SkipReason::NoStore => Reason::new("RFC 9111 5.2.2.5", "the origin forbids storing it".to_owned())
            .quoting(own("no-store")),
        SkipReason::Private => {
            Reason::new("RFC 9111 5.2.2.7", "the origin keeps it from shared caches".to_owned())
                .quoting(own("private"))
        }
        SkipReason::Authorization => {
            let says = "the request has Authorization, and none of public, s-maxage and must-revalidate lets its reply be \
                        shared";
            Reason::new("RFC 9111 3.5", says.to_owned()).quoting(line(Side::Request, fields, AUTHORIZATION))
        }
        SkipReason::Unauthorized => Reason::new(
            "RFC 9110 15.5.2",
            "it denies one token, and other tokens of its user share what is stored".to_owned(),
        )
        .by("key.user"),
        SkipReason::VaryStar => Reason::new("RFC 9111 4.1", "it varies on what no field tells".to_owned())
            .quoting(line(Side::Response, headers, VARY)),
        SkipReason::Status => status_skipped(request, response, &directed),
        SkipReason::Partial => Reason::new("RFC 9111 3.3", "it is a part, not the whole".to_owned())
            .quoting(line(Side::Response, headers, CONTENT_RANGE)),
        SkipReason::SetCookie => {
            let says = "the origin gives no lifetime, and one of ours does not cover replies with Set-Cookie";
            Reason::new("policy", says.to_owned())
                .quoting(line(Side::Response, headers, SET_COOKIE))
                .by("cookies")
        }
        SkipReason::Cookie => {
            let says = "the origin gives no lifetime, and one of ours does not cover requests with Cookie";
            Reason::new("policy", says.to_owned()).quoting(line(Side::Request, fields, COOKIE)).by("cookies")
        }
        SkipReason::NoCache => {
            let says = "every use would need validation, and it has neither ETag nor Last-Modified";
            Reason::new("RFC 9111 5.2.2.4", says.to_owned()).quoting(own("no-cache"))
        }
        SkipReason::NoFreshness => {
            let says =
                "nobody gives it a lifetime, and it has neither ETag nor Last-Modified to validate it with";
            Reason::new("RFC 9111 4.2", says.to_owned()).by("ttl")
        }
        SkipReason::TooLarge => {
            Reason::new("policy", "its body is larger than what is stored".to_owned()).by("max_body")
        }
        SkipReason::ServerError => Reason::new(
            "RFC 9111 4.3.3",
            "it says that the origin fails, and what is stored may still stand in for it".to_owned(),
        ),
        SkipReason::Stale => {
            let freshness = super::freshness::freshness(request, response, &directed, rules);
            let says = format!(
                "it came stale (age {}, lifetime {}), and has neither ETag nor Last-Modified to validate it with",
                secs(freshness.initial_age),
                secs(freshness.lifetime)
            );
            Reason {
                rule: "RFC 9111 4.2",
                says,
                ..lifetime(headers, &directed, &freshness, !rules.lifetimes.override_ttl.is_empty())
            }
        }
    }
}

fn status_skipped(request: &RequestPolicy, response: &ResponseHead<'_>, directed: &Directed) -> Reason {
    let status = response.status;
    let code = status.as_u16();
    if status.is_informational() {
        return Reason::new("RFC 9111 3", format!("{code} is not a final reply"));
    }
    if status == StatusCode::NOT_MODIFIED
        || (status == StatusCode::PRECONDITION_FAILED && request.conditional)
    {
        return Reason::new("RFC 9111 3", format!("{code} answers this request's own conditions"));
    }
    if directed.directives.must_understand {
        return Reason::new(
            "RFC 9111 5.2.2.3",
            format!("{code} is not a status that this cache understands"),
        )
        .quoting(directive(response.headers, directed, &["must-understand"]));
    }
    let says = format!("{code} is stored only with a lifetime from the origin, or with public");
    Reason::new("RFC 9110 15.1", says).by("ttl")
}

/// Whether a stored response may answer, and why.
pub fn reusing(
    request: &RequestPolicy,
    fields: &HeaderMap,
    entry: &EntryHead,
    soft_purged: bool,
    rules: &Rules,
    now: Timestamp,
) -> (Reuse, Reason) {
    let verdict = reuse(request, entry, soft_purged, rules, now);
    let lifetime = entry.freshness.lifetime;
    let reason = match verdict {
        Reuse::Fresh { age, .. } => Reason::new(
            "RFC 9111 4.2",
            format!("its age of {} is below its lifetime of {}", secs(age), secs(lifetime)),
        ),
        Reuse::StaleAllowed { age, why, .. } => stale_allowed(fields, entry, age, why),
        Reuse::Validate { age, ttl, why } => must_validate(request, fields, entry, rules, (age, ttl, why)),
        Reuse::Unusable => {
            let says =
                "its lifetime is not the origin's own, and such replies do not answer requests with Cookie";
            Reason::new("policy", says.to_owned()).quoting(line(Side::Request, fields, COOKIE)).by("cookies")
        }
    };
    (verdict, reason)
}

fn stale_allowed(fields: &HeaderMap, entry: &EntryHead, age: u64, why: StaleWhy) -> Reason {
    let staleness = secs(age.saturating_sub(entry.freshness.lifetime));
    match why {
        StaleWhy::MaxStale => {
            Reason::new("RFC 9111 5.2.1.2", format!("stale for {staleness}, which the request accepts"))
                .quoting(request_directive(fields, "max-stale"))
        }
        StaleWhy::WhileRevalidate => {
            let window = secs(entry.freshness.stale_while_revalidate);
            let says = format!(
                "stale for {staleness}, within the {window} in which it is sent and refreshed behind"
            );
            Reason::new("RFC 5861 3", says)
        }
    }
}

fn must_validate(
    request: &RequestPolicy,
    fields: &HeaderMap,
    entry: &EntryHead,
    rules: &Rules,
    (age, ttl, why): (u64, i64, ValidateWhy),
) -> Reason {
    let freshness = &entry.freshness;
    match why {
        ValidateWhy::Stale => {
            let staleness = secs(age.saturating_sub(freshness.lifetime));
            let says = match freshness.must_revalidate {
                true => format!("stale for {staleness}, and nothing may make it answer stale"),
                false => format!("stale for {staleness}, longer than anybody allows"),
            };
            Reason::new("RFC 9111 4.2.4", says)
        }
        ValidateWhy::Purged => Reason::new("purge", "a soft purge marked it as stale".to_owned()),
        ValidateWhy::NoCache => {
            let directed = Directed::of(&entry.headers, rules);
            let quote = directive(&entry.headers, &directed, &["no-cache"]);
            Reason::new("RFC 9111 5.2.2.4", "every use needs validation".to_owned()).quoting(quote)
        }
        ValidateWhy::RequestNoCache if !fields.contains_key(CACHE_CONTROL) => {
            Reason::new("RFC 9111 5.4", "the request wants it from the origin".to_owned())
                .quoting(line(Side::Request, fields, PRAGMA))
                .by("honor_request_directives")
        }
        ValidateWhy::RequestNoCache => {
            Reason::new("RFC 9111 5.2.1.4", "the request wants it from the origin".to_owned())
                .quoting(request_directive(fields, "no-cache"))
                .by("honor_request_directives")
        }
        ValidateWhy::RequestAge => {
            let too_old = request.max_age.is_some_and(|max_age| age > max_age || max_age == 0);
            let (rule, word, says) = match too_old {
                true => {
                    ("RFC 9111 5.2.1.1", "max-age", format!("its age is {}, older than asked for", secs(age)))
                }
                false => {
                    let left = secs(u64::try_from(ttl).unwrap_or(0));
                    ("RFC 9111 5.2.1.3", "min-fresh", format!("fresh for {left} more, less than asked for"))
                }
            };
            Reason::new(rule, says).quoting(request_directive(fields, word)).by("honor_request_directives")
        }
    }
}

/// The line of the governing field in which one of these directives stands.
fn directive(headers: &HeaderMap, directed: &Directed, words: &[&str]) -> Option<Quote> {
    let name = directed.target.clone().unwrap_or(CACHE_CONTROL);
    line_with(Side::Response, headers, name, words)
}

fn request_directive(fields: &HeaderMap, word: &str) -> Option<Quote> {
    line_with(Side::Request, fields, CACHE_CONTROL, &[word])
}

/// The first line of a field in which one of these words stands; its first line where none does.
fn line_with(of: Side, headers: &HeaderMap, name: HeaderName, words: &[&str]) -> Option<Quote> {
    let has = |value: &&HeaderValue| {
        let mut tokens = value.as_bytes().split(|&byte| !is_tchar(byte));
        tokens.any(|token| words.iter().any(|word| token.eq_ignore_ascii_case(word.as_bytes())))
    };
    let value = headers.get_all(&name).iter().find(has).or_else(|| headers.get(&name))?;
    Some(quote(of, name, value))
}

fn line(of: Side, headers: &HeaderMap, name: HeaderName) -> Option<Quote> {
    headers.get(&name).map(|value| quote(of, name.clone(), value))
}

fn quote(of: Side, name: HeaderName, value: &HeaderValue) -> Quote {
    let mut text = title(name.as_str());
    if !is_secret(&name) {
        text.push_str(": ");
        let end = value.len().min(MAX_QUOTE);
        text.push_str(&String::from_utf8_lossy(&value.as_bytes()[..end]));
        if end < value.len() {
            text.push('…');
        }
    }
    Quote { of, name, text }
}

/// Fields whose values are nobody else's business.
fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, SET_COOKIE].contains(name)
}

/// A field's name as people write it.
pub fn title(name: &str) -> String {
    if name == "etag" {
        return "ETag".to_owned();
    }
    let word = |word: &str| match word {
        "cdn" => "CDN".to_owned(),
        word => {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                .unwrap_or_default()
        }
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Seconds with their unit, also in the larger ones where that helps: `90 s`, `86400 s (1d)`.
pub fn secs(seconds: u64) -> String {
    let unit = |size: u64, name: &str| {
        (seconds >= size && seconds.is_multiple_of(size))
            .then(|| format!("{seconds} s ({}{name})", seconds / size))
    };
    unit(86_400, "d")
        .or_else(|| unit(3600, "h"))
        .or_else(|| unit(60, "m").filter(|_| seconds > 120))
        .unwrap_or_else(|| format!("{seconds} s"))
}

#[cfg(test)]
mod tests {
    use super::super::request::MethodKind;
    use super::super::tests::{NOW, entry_of, http_date, map};
    use super::*;

    const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);

    /// Rule, quotation and policy key of the first ground.
    fn why(
        status: u16,
        fields: &[(&str, &str)],
        rules: &Rules,
    ) -> (&'static str, Option<String>, Option<&'static str>) {
        let headers = map(fields);
        let response = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            request_time: NOW,
            response_time: NOW,
        };
        let (_, reasons) = storing(&GET, &HeaderMap::new(), &response, rules);
        let first = reasons.into_iter().next().unwrap();
        (first.rule, first.quote.map(|quote| quote.text), first.key)
    }

    #[test]
    fn storing_names_the_rule_and_quotes_the_line() {
        let rules = Rules { ttl: Some(60), ..Rules::default() };
        let none = Rules::default();
        let modified = http_date(-1000);
        let control = |value| vec![("cache-control", value)];
        type Case<'a> = (u16, Vec<(&'a str, &'a str)>, &'a Rules, &'a str, Option<&'a str>, Option<&'a str>);
        let table: [Case<'_>; 10] = [
            (200, control("max-age=60"), &rules, "RFC 9111 5.2.2.1", Some("Cache-Control: max-age=60"), None),
            (
                200,
                control("s-maxage=9, max-age=60"),
                &rules,
                "RFC 9111 5.2.2.10",
                Some("Cache-Control: s-maxage=9, max-age=60"),
                None,
            ),
            (
                200,
                vec![("cdn-cache-control", "max-age=9"), ("cache-control", "no-store")],
                &none,
                "RFC 9213 2.2",
                Some("CDN-Cache-Control: max-age=9"),
                Some("targets"),
            ),
            (200, vec![], &rules, "policy", None, Some("ttl")),
            (200, vec![("last-modified", &modified)], &none, "RFC 9111 4.2.2", None, Some("heuristics")),
            (200, control("NO-STORE"), &none, "RFC 9111 5.2.2.5", Some("Cache-Control: NO-STORE"), None),
            (200, control("private"), &none, "RFC 9111 5.2.2.7", Some("Cache-Control: private"), None),
            (
                200,
                vec![("vary", "*"), ("cache-control", "max-age=1")],
                &none,
                "RFC 9111 4.1",
                Some("Vary: *"),
                None,
            ),
            (200, vec![("set-cookie", "secret")], &none, "policy", Some("Set-Cookie"), Some("cookies")),
            (302, vec![], &none, "RFC 9110 15.1", None, Some("ttl")),
        ];
        for (status, fields, rules, rule, quote, key) in table {
            let (found, text, by) = why(status, &fields, rules);
            assert_eq!((found, by), (rule, key), "{status} {fields:?}");
            if let Some(quote) = quote {
                assert_eq!(text.as_deref(), Some(quote), "{status} {fields:?}");
            }
        }
    }

    #[test]
    fn s_maxage_beside_an_rfc_5861_directive_is_told() {
        let fields = [("cache-control", "s-maxage=9, stale-while-revalidate=60")];
        let entry = entry_of(200, &fields, &Rules::default());
        let reasons = stored(&entry.headers, &entry.freshness, &Rules::default());
        let told = reasons.iter().find(|reason| reason.key == Some("stale_despite_s_maxage"));
        assert!(told.is_some_and(|reason| reason.says.contains("do nothing")), "{reasons:?}");
        let bold = Rules { stale_despite_s_maxage: true, ..Rules::default() };
        let entry = entry_of(200, &fields, &bold);
        let reasons = stored(&entry.headers, &entry.freshness, &bold);
        assert!(reasons.iter().any(|reason| reason.rule == "RFC 5861 3"), "{reasons:?}");
    }

    #[test]
    fn names_and_seconds_are_written_as_people_write_them() {
        assert_eq!(title("cdn-cache-control"), "CDN-Cache-Control");
        assert_eq!(title("etag"), "ETag");
        assert_eq!(
            [secs(1), secs(60), secs(600), secs(601), secs(86_400)],
            ["1 s", "60 s", "600 s (10m)", "601 s", "86400 s (1d)"]
        );
    }
}
