//! Which stored variant answers a request (RFC 9111 4.1).
//!
//! Values are compared as keyed hashes of a normal form that never changes what they mean: lines of one field become one
//! list, white space around its members goes, and in the fields of content negotiation also what RFC 9110 12.5 declares
//! insignificant (case, the order of weighted members, `q=1`, old names of codings). Fields that are no lists are
//! compared exactly.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::entry::{Entry, VaryKey};
use crate::cache::key::{FieldHash, Secret};
use crate::clock::Timestamp;
use crate::http::vary::{self, Vary};

/// The variant that a response is for this request; `None` for `Vary: *`.
pub fn vary_key(request: &HeaderMap, response: &HeaderMap, secret: &Secret) -> Option<VaryKey> {
    match vary::of(response) {
        Vary::Any => None,
        Vary::Names(names) => {
            let fields =
                names.iter().map(|name| (name.as_str().into(), field_hash(request, name.as_str(), secret)));
            Some(VaryKey { fields: fields.collect() })
        }
    }
}

/// Whether a request asks for this variant.
pub fn matches(key: &VaryKey, request: &HeaderMap, secret: &Secret) -> bool {
    Hashes::new(request, secret).match_all(key)
}

/// How a request's field stands to the one that a variant was selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It means the same, or both lack it.
    Same,
    /// Both have it, and it means something else.
    Differs,
    /// Only the request has it.
    OnlyAsked,
    /// Only the request that stored the variant had it.
    OnlyStored,
}

/// Each field that a variant was selected by, and whether the request's is the same.
pub fn compare<'k>(key: &'k VaryKey, request: &HeaderMap, secret: &Secret) -> Vec<(&'k str, Compared)> {
    let compared = |(name, stored): &'k (Box<str>, Option<FieldHash>)| {
        let compared = match (field_hash(request, name, secret), stored) {
            (asked, stored) if asked == *stored => Compared::Same,
            (Some(_), None) => Compared::OnlyAsked,
            (None, _) => Compared::OnlyStored,
            (Some(_), Some(_)) => Compared::Differs,
        };
        (&**name, compared)
    };
    key.fields.iter().map(compared).collect()
}

/// The variant that answers a request best, of those (they come newest first, by `Date`) that it asks for: a fresh one
/// before a stale one, one that says what it varies on before one that does not (RFC 9111 4.1: some origins forget
/// `Vary` on their default reply), the newest before older ones (RFC 9111 4).
pub fn select<'e>(
    variants: &'e [Arc<Entry>],
    request: &HeaderMap,
    secret: &Secret,
    now: Timestamp,
) -> Option<&'e Arc<Entry>> {
    if let [only] = variants {
        return matches(&only.vary, request, secret).then_some(only);
    }
    let mut hashes = Hashes::new(request, secret);
    let (mut newest, mut plain) = (None, None);
    for entry in variants.iter().filter(|entry| hashes.match_all(&entry.vary)) {
        newest = newest.or(Some(entry));
        if is_fresh(entry, now) {
            if !entry.vary.fields.is_empty() {
                return Some(entry);
            }
            plain = plain.or(Some(entry));
        }
    }
    plain.or(newest)
}

fn is_fresh(entry: &Entry, now: Timestamp) -> bool {
    let freshness = &entry.head.freshness;
    !entry.soft_purged && !freshness.no_cache && entry.head.age(now) < freshness.lifetime
}

/// A request's field hashes, each computed once however many variants are tried.
struct Hashes<'r> {
    request: &'r HeaderMap,
    secret: &'r Secret,
    known: Vec<(Box<str>, Option<FieldHash>)>,
}

impl<'r> Hashes<'r> {
    const fn new(request: &'r HeaderMap, secret: &'r Secret) -> Self {
        Self { request, secret, known: Vec::new() }
    }

    fn match_all(&mut self, key: &VaryKey) -> bool {
        key.fields.iter().all(|(name, stored)| self.hash(name) == *stored)
    }

    fn hash(&mut self, name: &str) -> Option<FieldHash> {
        if let Some((_, hash)) = self.known.iter().find(|(known, _)| **known == *name) {
            return *hash;
        }
        let hash = field_hash(self.request, name, self.secret);
        self.known.push((name.into(), hash));
        hash
    }
}

/// The hash of a request field's normal form; `None` where it is absent, which is not the same as empty.
fn field_hash(request: &HeaderMap, name: &str, secret: &Secret) -> Option<FieldHash> {
    let mut lines = request.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let rest: Vec<&[u8]> = lines.collect();
    if is_opaque(name) {
        return Some(secret.hash([first].into_iter().chain(rest).map(<[u8]>::trim_ascii)));
    }
    let value = if rest.is_empty() {
        Cow::Borrowed(first)
    } else {
        Cow::Owned([&[first], &rest[..]].concat().join(&b','))
    };
    Some(secret.hash([&*normal_form(name, &value)]))
}

/// Fields whose values are no lists, so that a comma or a space in them may mean something.
fn is_opaque(name: &str) -> bool {
    const OPAQUE: [HeaderName; 12] = [
        http::header::AUTHORIZATION,
        http::header::COOKIE,
        http::header::PROXY_AUTHORIZATION,
        http::header::USER_AGENT,
        http::header::REFERER,
        http::header::ORIGIN,
        http::header::HOST,
        http::header::FROM,
        http::header::DATE,
        http::header::IF_MODIFIED_SINCE,
        http::header::IF_UNMODIFIED_SINCE,
        http::header::IF_RANGE,
    ];
    OPAQUE.iter().any(|opaque| opaque.as_str() == name)
}

/// A list in its normal form.
fn normal_form<'v>(name: &str, value: &'v [u8]) -> Cow<'v, [u8]> {
    let Some(members) = list_members(value) else { return Cow::Borrowed(value.trim_ascii()) };
    let members: Vec<Cow<'_, [u8]>> = match name {
        // No order is defined among media ranges, codings and charsets, only weights.
        "accept" => {
            unordered(members.iter().filter(|member| !member.is_empty()).map(|range| media_range(range)))
        }
        "accept-encoding" => {
            let codings = unordered(weighted_members(&members).into_iter().map(known_coding));
            // Nothing but `identity` is what an empty field says (RFC 9110 12.5.3).
            if matches!(&codings[..], [only] if **only == *b"identity") { Vec::new() } else { codings }
        }
        "accept-charset" => unordered(weighted_members(&members).into_iter()),
        // Equally weighted languages keep their order: some origins take it for a preference.
        "accept-language" => {
            let mut weighted = weighted_members(&members);
            weighted.sort_by_key(|member| std::cmp::Reverse(member.weight));
            weighted.into_iter().map(|member| Cow::Owned(member.text)).collect()
        }
        _ => members.into_iter().map(Cow::Borrowed).collect(),
    };
    Cow::Owned(members.join(&b','))
}

/// Members in an order of ours, each once.
fn unordered(members: impl Iterator<Item = Weighted>) -> Vec<Cow<'static, [u8]>> {
    let mut members: Vec<Weighted> = members.collect();
    members.sort_unstable();
    members.dedup();
    members.into_iter().map(|member| Cow::Owned(member.text)).collect()
}

/// Members without the white space around them; `None` if a quote stays open.
fn list_members(value: &[u8]) -> Option<Vec<&[u8]>> {
    split(value, b',')
}

/// The parts between separators that stand outside quotes, trimmed; `None` if a quote stays open.
fn split(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut members, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                members.push(value[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(value[start..].trim_ascii());
    (!quoted).then_some(members)
}

/// A member of a weighted list (RFC 9110 12.4.2): lower case, no white space, its weight in one form.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Weighted {
    text: Vec<u8>,
    /// In thousandths.
    weight: u16,
}

fn weighted_members(members: &[&[u8]]) -> Vec<Weighted> {
    members.iter().filter(|member| !member.is_empty()).map(|member| weighted(member)).collect()
}

fn weighted(member: &[u8]) -> Weighted {
    let mut text: Vec<u8> =
        member.iter().filter(|byte| !b" \t".contains(byte)).map(u8::to_ascii_lowercase).collect();
    let parameter = text.iter().position(|&byte| byte == b';');
    let Some(at) = parameter else { return Weighted { text, weight: 1000 } };
    // An odd weight is left as it is written.
    let Some(weight) = text[at..].strip_prefix(b";q=").and_then(thousandths) else {
        return Weighted { text, weight: 0 };
    };
    text.truncate(at);
    if weight < 1000 {
        text.extend_from_slice(format!(";q={weight}").as_bytes());
    }
    Weighted { text, weight }
}

/// A coding under its own name: `x-gzip` and `x-compress` are the same as those without `x-` (RFC 9110 8.4.1).
fn known_coding(mut member: Weighted) -> Weighted {
    let end = member.text.iter().position(|&byte| byte == b';').unwrap_or(member.text.len());
    if matches!(&member.text[..end], b"x-gzip" | b"x-compress") {
        member.text.drain(..2);
    }
    member
}

/// A media range with its parameters and weight (RFC 9110 12.5.1): types and names of parameters in lower case, no
/// white space around what separates them. Values stay as they are: some tell upper case from lower.
fn media_range(member: &[u8]) -> Weighted {
    let Some(parts) = split(member, b';') else { return Weighted { text: member.to_vec(), weight: 0 } };
    let mut text = parts[0].to_ascii_lowercase();
    let mut weight = None;
    for part in &parts[1..] {
        let at = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        let (name, value) = (part[..at].to_ascii_lowercase(), &part[at..]);
        if name == b"q" && weight.is_none() {
            // An odd weight is left as it is written.
            let Some(told) = value.strip_prefix(b"=").and_then(thousandths) else {
                return Weighted { text: member.to_vec(), weight: 0 };
            };
            weight = Some(told);
            if told < 1000 {
                text.extend_from_slice(format!(";q={told}").as_bytes());
            }
            continue;
        }
        text.push(b';');
        text.extend_from_slice(&name);
        text.extend_from_slice(value);
    }
    Weighted { text, weight: weight.unwrap_or(1000) }
}

/// `0`, `0.25`, `1.000`
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, fraction) = match weight {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut value = u16::from(whole - b'0');
    for at in 0..3 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::map;
    use super::*;

    const SECRET: Secret = Secret::new([3; 32]);

    /// Whether a response to the first request, varying on `foo` and the others named, answers the second.
    fn same(vary: &[(&str, &str)], one: &[(&str, &str)], other: &[(&str, &str)]) -> bool {
        let key = vary_key(&map(one), &map(vary), &SECRET).unwrap();
        matches(&key, &map(other), &SECRET)
    }

    fn equal(name: &str, one: &str, other: &str) -> bool {
        same(&[("vary", name)], &[(name, one)], &[(name, other)])
    }

    #[test]
    fn rfc_9111_4_1_every_named_field_must_match() {
        let vary = [("vary", "Foo, bar"), ("vary", "BAZ")];
        let all = [("foo", "1"), ("bar", "2"), ("baz", "3")];
        assert!(same(&vary, &all, &[("baz", "3"), ("foo", "1"), ("bar", "2"), ("other", "4")]));
        assert!(!same(&vary, &all, &all[..2]));
        assert!(!same(&vary, &all, &[("foo", "1"), ("bar", "2"), ("baz", "4")]));
        assert!(same(&[], &all, &[]));
        assert!(vary_key(&map(&all), &map(&[("vary", "foo, *")]), &SECRET).is_none());
    }

    #[test]
    fn absent_is_not_empty() {
        let vary = [("vary", "foo")];
        assert!(same(&vary, &[], &[]));
        assert!(same(&vary, &[("foo", "")], &[("foo", " ")]));
        assert!(!same(&vary, &[], &[("foo", "")]));
        assert!(!same(&vary, &[("foo", "")], &[]));
    }

    #[test]
    fn lines_and_white_space_do_not_matter() {
        assert!(equal("foo", "1,2", " 1 , 2 "));
        assert!(same(&[("vary", "foo")], &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(!equal("foo", "1,2", "2,1"));
        assert!(!equal("foo", "1 2", "12"));
        assert!(!equal("foo", "a", "A"));
        assert!(!equal("foo", "\"a, b\"", "\"a,b\""));
        assert!(!equal("foo", "\"a, b", "\"a,b"));
        assert!(!equal("cookie", "a=1, 2", "a=1,2"));
        assert!(!equal("user-agent", "(KHTML, like Gecko)", "(KHTML,like Gecko)"));
    }

    #[test]
    fn rfc_9110_12_5_negotiation_fields() {
        assert!(equal("accept-encoding", "gzip, br", "BR,GZip;q=1.0"));
        assert!(!equal("accept-encoding", "gzip, br;q=0.5", "gzip;q=0.5, br"));
        assert!(equal("accept-encoding", "br;q=0.50", "br; q=0.5"));
        assert!(!equal("accept-encoding", "br;q=0", "br"));
        assert!(!equal("accept-encoding", "", "gzip"));
        assert!(equal("accept-language", "en;q=0.5, de", "DE, en;q=.5".replace(".5", "0.5").as_str()));
        assert!(!equal("accept-language", "en, de", "de, en"));
        assert!(equal("accept-language", "en-GB,de", "EN-gb , de"));
        assert!(!equal("accept-language", "en;q=x", "en"));
        assert!(equal("accept-encoding", "x-gzip;q=0.5, br", "br, gzip;q=0.5"));
        assert!(equal("accept-encoding", "identity", ""));
        assert!(!equal("accept-encoding", "identity, gzip", "gzip"));
        assert!(equal("accept", "a/b, c/d", "C/D , A/b"));
        assert!(equal("accept", "a/b;Level=1;q=0.50, */*;q=0", "*/*; q=0.0, a/b; level=1; Q=0.5"));
        assert!(!equal("accept", "a/b;q=0.5, c/d", "a/b, c/d;q=0.5"));
        assert!(!equal("accept", "a/b;x=Y", "a/b;x=y"));
        assert!(!equal("accept", "a/b;x=\"1, c/d\"", "c/d\", a/b;x=\"1"));
        assert!(!equal("accept", "a/b;q=x", "a/b"));
        assert!(equal("accept-charset", "UTF-8, x;q=0.5", "x; q=0.5,utf-8"));
    }

    #[test]
    fn rfc_9111_4_1_which_of_several_matching_variants_is_chosen() {
        let variant = |vary: &[(&str, &str)], lifetime: u64| {
            let request = map(&[("foo", "1"), ("bar", "1")]);
            let mut entry = crate::cache::store::tests::entry("/", b"x");
            entry.vary = vary_key(&request, &map(vary), &SECRET).unwrap();
            entry.head.freshness.lifetime = lifetime;
            entry.head.response_time = super::super::tests::NOW;
            Arc::new(entry)
        };
        let (foo, bar, plain) = ([("vary", "foo")], [("vary", "bar")], []);
        let chosen = |variants: &[Arc<Entry>], request: &[(&str, &str)]| {
            let chosen = select(variants, &map(request), &SECRET, super::super::tests::NOW)?;
            variants.iter().position(|variant| Arc::ptr_eq(variant, chosen))
        };
        let both = [("foo", "1"), ("bar", "1")];
        for (variants, request, expected) in [
            (vec![variant(&foo, 9), variant(&bar, 9)], &both[..], Some(0)),
            (vec![variant(&foo, 9), variant(&bar, 9)], &both[1..], Some(1)),
            (vec![variant(&plain, 9), variant(&bar, 9)], &both, Some(1)),
            (vec![variant(&plain, 9), variant(&bar, 9)], &both[..1], Some(0)),
            (vec![variant(&foo, 0), variant(&bar, 9)], &both, Some(1)),
            (vec![variant(&plain, 9), variant(&bar, 0)], &both, Some(0)),
            (vec![variant(&plain, 0), variant(&bar, 0)], &both, Some(0)),
            (vec![variant(&foo, 9), variant(&bar, 9)], &[], None),
            (vec![variant(&foo, 9)], &[], None),
            (vec![], &both, None),
        ] {
            assert_eq!(chosen(&variants, request), expected);
        }
    }

    proptest! {
        #[test]
        fn a_request_always_matches_its_own_variant(name in "(foo|accept|accept-language|accept-encoding|cookie)", lines in proptest::collection::vec("[ -~]{0,20}", 0..4)) {
            let fields: Vec<_> = lines.iter().map(|line| (name.as_str(), line.as_str())).collect();
            prop_assert!(same(&[("vary", name.as_str())], &fields, &fields));
        }

        #[test]
        fn other_words_never_match(one in "[a-z]{1,4}(,[a-z]{1,4}){0,3}", other in "[a-z]{1,4}(,[a-z]{1,4}){0,3}") {
            prop_assert_eq!(equal("foo", &one, &other), one == other);
        }
    }
}
