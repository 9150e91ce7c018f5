//! `Cache-Control` (RFC 9111 5.2, RFC 5861): directives of requests and responses.
//!
//! Names are read in any case and over any number of lines; unknown directives are ignored. Where a response is
//! odd, the answer is the careful one: a lifetime that is signed, fractional, empty, spaced or repeated with another
//! value counts as zero (RFC 9111 4.2.1 encourages that); of what conflicts the most restrictive holds; a member that is no
//! directive at all still restricts if a restricting word stands in it.

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::age::{MAX_SECONDS, delta_seconds};
use super::structured::{BareItem, Dictionary, Member};
use super::token::is_tchar;

/// A response's directives. Lifetimes are in seconds, at most [`MAX_SECONDS`]; invalid ones are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `max-age` (5.2.2.1).
    pub max_age: Option<u64>,
    /// `s-maxage` (5.2.2.10).
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate` (RFC 5861 3).
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error` (RFC 5861 4).
    pub stale_if_error: Option<u64>,
    /// `no-store` (5.2.2.5).
    pub no_store: bool,
    /// `private` without field names (5.2.2.7).
    pub private: bool,
    /// `public` (5.2.2.9).
    pub public: bool,
    /// `no-cache` without field names (5.2.2.4).
    pub no_cache: bool,
    /// `must-revalidate` (5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (5.2.2.3).
    pub must_understand: bool,
    /// The fields that a qualified `private` or `no-cache` names: they are not stored.
    pub withheld: Vec<HeaderName>,
}

/// A request's directives (RFC 9111 5.2.1, RFC 5861 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`; invalid: zero.
    pub max_age: Option<u64>,
    /// `max-stale`; without a value `u64::MAX`; invalid: absent.
    pub max_stale: Option<u64>,
    /// `min-fresh`; invalid: [`MAX_SECONDS`].
    pub min_fresh: Option<u64>,
    /// `stale-if-error`; invalid: absent.
    pub stale_if_error: Option<u64>,
}

impl ResponseDirectives {
    /// Reads a response's `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for member in members(headers) {
            match member {
                RawMember::Directive { name, argument } => directives.take(name, argument),
                RawMember::Broken(text) => directives.take_broken(text),
            }
        }
        directives
    }

    /// Reads a targeted field (RFC 9213 2.1): a Structured Fields dictionary. `None` if it is absent, empty or invalid,
    /// which means that it is to be ignored.
    pub fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let dictionary = Dictionary::of(headers, name)?;
        if dictionary.0.is_empty() {
            return None;
        }
        let mut directives = Self::default();
        for (name, member) in &dictionary.0 {
            let digits;
            let argument = match member {
                Member::Item(item) => match &item.value {
                    BareItem::Boolean(true) => Argument::None,
                    BareItem::Boolean(false) => continue,
                    BareItem::Integer(value) => {
                        digits = value.to_string();
                        Argument::Value(digits.as_bytes())
                    }
                    // Strings hold lists of field names; a lifetime in one has the wrong type.
                    BareItem::String(value) if matches!(name.as_str(), "private" | "no-cache") => {
                        Argument::Value(value.as_bytes())
                    }
                    _ => Argument::Invalid,
                },
                Member::InnerList(_) => Argument::Invalid,
            };
            directives.take(name.as_bytes(), argument);
        }
        Some(directives)
    }

    fn take(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            set_lifetime(&mut self.max_age, argument);
        } else if is("s-maxage") {
            set_lifetime(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            set_lifetime(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            set_lifetime(&mut self.stale_if_error, argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("private") {
            self.private |= !withhold(&mut self.withheld, argument);
        } else if is("no-cache") {
            self.no_cache |= !withhold(&mut self.withheld, argument);
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("public") {
            // What permits must be written as it should be.
            self.public |= argument == Argument::None;
        } else if is("must-understand") {
            self.must_understand |= argument == Argument::None;
        }
    }

    /// Text that is no directive: `private; max-age=0`, `no-store public`, an open quote.
    fn take_broken(&mut self, text: &[u8]) {
        for word in text.split(|&byte| !is_tchar(byte)) {
            if !word.eq_ignore_ascii_case(b"public") && !word.eq_ignore_ascii_case(b"must-understand") {
                self.take(word, if takes_seconds(word) { Argument::Invalid } else { Argument::None });
            }
        }
    }
}

impl RequestDirectives {
    /// Reads a request's `Cache-Control`; where it has none, its `Pragma` (RFC 9111 5.4).
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            directives.no_cache = headers.get_all(PRAGMA).iter().any(pragma_has_no_cache);
            return directives;
        }
        for member in members(headers) {
            match member {
                RawMember::Directive { name, argument } => directives.take(name, argument),
                RawMember::Broken(text) => {
                    let mut words = text.split(|&byte| !is_tchar(byte));
                    directives.no_cache |= words.any(|word| word.eq_ignore_ascii_case(b"no-cache"));
                }
            }
        }
        directives
    }

    fn take(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let seconds = argument.seconds();
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            let seconds = seconds.unwrap_or(0);
            self.max_age = Some(self.max_age.map_or(seconds, |known| known.min(seconds)));
        } else if is("min-fresh") {
            let seconds = seconds.unwrap_or(MAX_SECONDS);
            self.min_fresh = Some(self.min_fresh.map_or(seconds, |known| known.max(seconds)));
        } else if is("max-stale") {
            let seconds = if argument == Argument::None { Some(u64::MAX) } else { seconds };
            take_least(&mut self.max_stale, seconds);
        } else if is("stale-if-error") {
            take_least(&mut self.stale_if_error, seconds);
        }
    }
}

/// A directive's argument, unquoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument<'a> {
    None,
    /// A token, or what stands between the quotes (a backslash in it is left: no argument of ours needs one).
    Value(&'a [u8]),
    Invalid,
}

/// A list member of the field.
enum RawMember<'a> {
    Directive { name: &'a [u8], argument: Argument<'a> },
    Broken(&'a [u8]),
}

impl Argument<'_> {
    fn seconds(&self) -> Option<u64> {
        match self {
            Self::Value(value) => delta_seconds(value),
            _ => None,
        }
    }
}

fn members(headers: &HeaderMap) -> impl Iterator<Item = RawMember<'_>> {
    headers.get_all(CACHE_CONTROL).iter().flat_map(|line| {
        let mut rest = line.as_bytes();
        std::iter::from_fn(move || next_member(&mut rest))
    })
}

/// Splits off the next member that is not empty. Commas within quotes belong to it.
fn next_member<'a>(rest: &mut &'a [u8]) -> Option<RawMember<'a>> {
    loop {
        if rest.is_empty() {
            return None;
        }
        let (end, closed) = member_end(rest);
        let (member, after) = rest.split_at(end);
        if !closed {
            // Nobody knows what an open quote was to enclose: its words are taken for their restrictions.
            *rest = &[];
            return Some(RawMember::Broken(member));
        }
        *rest = after.get(1..).unwrap_or_default();
        let member = member.trim_ascii();
        if !member.is_empty() {
            return Some(split_directive(member));
        }
    }
}

/// Where a member ends, and whether its quotes are closed.
fn member_end(list: &[u8]) -> (usize, bool) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (at, true),
            _ => {}
        }
    }
    (list.len(), !quoted)
}

fn split_directive(member: &[u8]) -> RawMember<'_> {
    let (name, argument) = match member.iter().position(|&byte| byte == b'=') {
        None => (member, Argument::None),
        Some(equals) => (&member[..equals], argument(&member[equals + 1..])),
    };
    // `max-age =1` names its directive, but not as the grammar has it.
    let trimmed = name.trim_ascii_end();
    if trimmed.is_empty() || !trimmed.iter().all(|&byte| is_tchar(byte)) {
        return RawMember::Broken(member);
    }
    let argument = if trimmed.len() == name.len() { argument } else { Argument::Invalid };
    if argument == Argument::Invalid && member.iter().any(|byte| b"; \t".contains(byte)) {
        return RawMember::Broken(member);
    }
    RawMember::Directive { name: trimmed, argument }
}

fn argument(value: &[u8]) -> Argument<'_> {
    match value {
        [b'"', quoted @ .., b'"'] => Argument::Value(quoted),
        token if !token.is_empty() && token.iter().all(|&byte| is_tchar(byte)) => Argument::Value(token),
        _ => Argument::Invalid,
    }
}

/// The first value stands; an invalid or different second one makes the lifetime zero (RFC 9111 4.2.1).
fn set_lifetime(slot: &mut Option<u64>, argument: Argument<'_>) {
    let seconds = argument.seconds().unwrap_or(0);
    *slot = match *slot {
        Some(known) if known != seconds => Some(0),
        _ => Some(seconds),
    };
}

fn take_least(slot: &mut Option<u64>, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        *slot = Some(slot.map_or(seconds, |known| known.min(seconds)));
    }
}

/// Takes the field names of a qualified directive; false if there are none, or something else stands there: then the
/// directive counts as unqualified.
fn withhold(withheld: &mut Vec<HeaderName>, argument: Argument<'_>) -> bool {
    let Argument::Value(list) = argument else { return false };
    let mut any = false;
    for name in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        let Ok(name) = HeaderName::from_bytes(name) else { return false };
        withheld.push(name);
        any = true;
    }
    any
}

fn takes_seconds(name: &[u8]) -> bool {
    ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a `Pragma` says `no-cache` (RFC 9111 5.4).
pub fn pragma_has_no_cache(pragma: &HeaderValue) -> bool {
    pragma
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn response(line: &str) -> ResponseDirectives {
        ResponseDirectives::of(&headers("cache-control", &[line]))
    }

    fn request(line: &str) -> RequestDirectives {
        RequestDirectives::of(&headers("cache-control", &[line]))
    }

    #[test]
    fn every_odd_max_age_has_its_answer() {
        for (line, expected) in [
            ("", None),
            ("max-age=60", Some(60)),
            ("MAX-AGE=60", Some(60)),
            ("  Max-Age=60  , public", Some(60)),
            (",,max-age=60,", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("max-age=060", Some(60)),
            ("max-age=0", Some(0)),
            ("max-age=2147483647", Some(2_147_483_647)),
            ("max-age=2147483648", Some(MAX_SECONDS)),
            ("max-age=99999999999999999999999999", Some(MAX_SECONDS)),
            ("max-age", Some(0)),
            ("max-age=", Some(0)),
            ("max-age=\"\"", Some(0)),
            ("max-age=-60", Some(0)),
            ("max-age=+60", Some(0)),
            ("max-age=60.5", Some(0)),
            ("max-age=60s", Some(0)),
            ("max-age=0x60", Some(0)),
            ("max-age=sixty", Some(0)),
            ("max-age='60'", Some(0)),
            ("max-age =60", Some(0)),
            ("max-age= 60", Some(0)),
            ("max-age=60 1", Some(0)),
            ("max-age=60; public", Some(0)),
            ("max-age:60", Some(0)),
            ("max-age=60, max-age=60", Some(60)),
            ("max-age=60, max-age=70", Some(0)),
            ("max-age=60, max-age=x", Some(0)),
            ("xmax-age=60", None),
            ("max-age_=60", None),
            ("foo=\"max-age=60\"", None),
            ("foo=\"a, max-age=60\"", None),
            ("foo=\"a\\\", max-age=60\"", None),
            ("foo=\"a, max-age=60", Some(0)),
            ("foo=bar, max-age=60", Some(60)),
            ("foo=\"a, no-store\", max-age=60", Some(60)),
        ] {
            assert_eq!(response(line).max_age, expected, "{line}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let directives = ResponseDirectives::of(&headers(
            "cache-control",
            &["max-age=60", "s-maxage=5, PUBLIC", "must-revalidate"],
        ));
        let expected = ResponseDirectives {
            max_age: Some(60),
            s_maxage: Some(5),
            public: true,
            must_revalidate: true,
            ..ResponseDirectives::default()
        };
        assert_eq!(directives, expected);
    }

    #[test]
    fn restrictions_hold_however_they_are_written() {
        for line in [
            "no-store",
            "No-Store",
            "no-store=1",
            "no-store=\"x\"",
            "public; no-store",
            "no-store public",
            "a=\"b, no-store",
        ] {
            assert!(response(line).no_store, "{line}");
        }
        for line in
            ["private", "private=", "private=\"\"", "private=\"a b\"", "PRIVATE", "private; max-age=60"]
        {
            assert!(response(line).private, "{line}");
        }
        for line in ["no-cache", "no-cache=\"\"", "no-cache=\"set-cookie\", no-cache"] {
            assert!(response(line).no_cache, "{line}");
        }
        for line in ["no-stor", "no_store", "x-no-store", "foo=\"no-store\"", "nostore"] {
            assert_eq!(response(line), ResponseDirectives::default(), "{line}");
        }
    }

    #[test]
    fn qualified_forms_name_fields() {
        let directives = response("private=\"X-User, x-b\", no-cache=Set-Cookie, max-age=60");
        assert!(!directives.private && !directives.no_cache);
        assert_eq!(directives.withheld, ["x-user", "x-b", "set-cookie"]);
    }

    #[test]
    fn what_permits_must_be_well_formed() {
        assert!(response("public").public);
        assert!(!response("public=1").public);
        assert!(!response("public private").public);
        assert!(response("must-understand, no-store").must_understand);
        assert!(!response("must-understand=1, no-store").must_understand);
    }

    #[test]
    fn targeted_fields_are_dictionaries() {
        let targeted = |line: &str| {
            let name = HeaderName::from_static("cdn-cache-control");
            ResponseDirectives::targeted(&headers("cdn-cache-control", &[line]), &name)
        };
        for (line, expected) in [
            ("max-age=60", Some(Some(60))),
            ("max-age=60;a=b", Some(Some(60))),
            ("max-age=60.5", Some(Some(0))),
            ("max-age=\"60\"", Some(Some(0))),
            ("max-age=-60", Some(Some(0))),
            ("max-age", Some(Some(0))),
            ("max-age=1, max-age=60", Some(Some(60))),
            ("no-cache", Some(None)),
            ("", None),
            ("MAX-AGE=60", None),
            ("max-age=60, &", None),
            ("max-age=60,", None),
            ("max-age=6000000000000000", None),
        ] {
            assert_eq!(targeted(line).map(|directives| directives.max_age), expected, "{line}");
        }
        assert!(targeted("no-store").unwrap().no_store);
        assert!(!targeted("no-store=?0").unwrap().no_store);
        assert_eq!(targeted("private=\"a, b\"").unwrap().withheld, ["a", "b"]);
    }

    #[test]
    fn request_directives() {
        let none = RequestDirectives::default();
        for (line, expected) in [
            ("no-cache", RequestDirectives { no_cache: true, ..none }),
            ("No-Store, ONLY-IF-CACHED", RequestDirectives { no_store: true, only_if_cached: true, ..none }),
            ("max-age=5, max-age=3", RequestDirectives { max_age: Some(3), ..none }),
            ("max-age=x", RequestDirectives { max_age: Some(0), ..none }),
            ("max-stale", RequestDirectives { max_stale: Some(u64::MAX), ..none }),
            ("max-stale=5", RequestDirectives { max_stale: Some(5), ..none }),
            ("max-stale=", none),
            ("min-fresh=5, min-fresh=9", RequestDirectives { min_fresh: Some(9), ..none }),
            ("min-fresh=x", RequestDirectives { min_fresh: Some(MAX_SECONDS), ..none }),
            ("stale-if-error=9", RequestDirectives { stale_if_error: Some(9), ..none }),
            ("foo=\"no-cache\", bar", none),
        ] {
            assert_eq!(request(line), expected, "{line}");
        }
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = headers("pragma", &["foo, No-Cache"]);
        assert!(RequestDirectives::of(&headers).no_cache);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::of(&headers).no_cache);
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~\\t]{0,80}") {
            response(&value);
            request(&value);
        }

        #[test]
        fn mangled_directives_do_not_panic(value in "((no-cache|private|max-age|foo)[=\" ,;\\\\a0-9-]{0,6}){0,6}") {
            response(&value);
            request(&value);
        }

        #[test]
        fn lifetimes_round_trip(age: u64, shared: u64) {
            let directives = response(&format!("s-maxage={shared}, foo=\"1,2\" ,Max-Age=\"{age}\""));
            prop_assert_eq!(directives.max_age, Some(age.min(MAX_SECONDS)));
            prop_assert_eq!(directives.s_maxage, Some(shared.min(MAX_SECONDS)));
        }

        #[test]
        fn no_store_is_never_lost_by_what_stands_before(before in "[a-z=\"; 0-9-]{0,20}") {
            // Whatever precedes it: only a closed quoted string could hide it, and none spans to the end here.
            let line = format!("{before}, no-store");
            prop_assert!(response(&line).no_store);
        }
    }
}
