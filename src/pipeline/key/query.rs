//! What of a query belongs to the key.
//!
//! The origin gets the query as it came, and only it knows how it reads one: some split at `;` too, some decode
//! names, fold their case, or take `a[]` for `a`. A key that leaves out what the origin reads hands one client's
//! reply to another. So where a rule leaves out or reorders, a parameter counts as another one only if no origin known
//! takes it for the same; where that cannot be told, it stays where it is. That may split keys, and never joins them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::pipeline::settings::QueryPattern;

/// What of a query belongs to the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// The only parameters that do; `None`: all do.
    pub pick: Option<Vec<QueryPattern>>,
    /// Parameters that do not.
    pub ignore: Vec<QueryPattern>,
    /// Whether the order of parameters with different names does not count.
    pub sort: bool,
    /// What of letters' case does not count.
    pub case: QueryCase,
    /// Whether parameters without a value do not count, nor an empty query.
    pub ignore_empty: bool,
}

/// Whether `A=B` and `a=b` are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryCase {
    /// They are not.
    #[default]
    Exact,
    /// `A=B` and `a=B` are.
    Names,
    /// They are.
    All,
}

impl QueryRules {
    /// Path and query for the key. Borrowed where they are the request's own.
    pub fn apply<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        if *self == Self::default() {
            return Cow::Borrowed(path_and_query);
        }
        let Some((path, query)) = path_and_query.split_once('?') else {
            return Cow::Borrowed(path_and_query);
        };
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| self.counts(pair)).collect();
        if self.sort {
            sort(&mut pairs);
        }
        let mut own = String::with_capacity(path_and_query.len());
        own.push_str(path);
        let mut separator = '?';
        for pair in pairs {
            own.push(separator);
            self.push(&mut own, pair);
            separator = '&';
        }
        if own == path_and_query { Cow::Borrowed(path_and_query) } else { Cow::Owned(own) }
    }

    fn counts(&self, pair: &str) -> bool {
        if pair.contains(';') {
            return true;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if self.ignore_empty && value.is_empty() {
            return false;
        }
        let picked = self.pick.as_ref().is_none_or(|picked| is_picked(name, picked));
        // As they stand: an origin that does not decode `utm%5Fsource` sees another parameter than the one ignored.
        picked && !self.ignore.iter().any(|pattern| self.is_named(pattern, name))
    }

    fn is_named(&self, pattern: &QueryPattern, name: &str) -> bool {
        let alike = |a: &str, b: &str| a == b || self.case != QueryCase::Exact && a.eq_ignore_ascii_case(b);
        match pattern {
            QueryPattern::Exact(exact) => alike(exact, name),
            QueryPattern::Prefix(prefix) => {
                name.get(..prefix.len()).is_some_and(|start| alike(prefix, start))
            }
        }
    }

    fn push(&self, own: &mut String, pair: &str) {
        let folded = match self.case {
            QueryCase::Exact => 0,
            QueryCase::Names if pair.contains(';') => 0,
            QueryCase::Names => pair.find('=').unwrap_or(pair.len()),
            QueryCase::All => pair.len(),
        };
        let (fold, rest) = pair.split_at(folded);
        own.extend(fold.chars().map(|c| c.to_ascii_lowercase()));
        own.push_str(rest);
    }
}

/// Whether an origin may take a parameter for one of those picked.
fn is_picked(name: &str, picked: &[QueryPattern]) -> bool {
    let Some(name) = fold(name) else { return true };
    picked.iter().any(|pattern| {
        let (QueryPattern::Exact(text) | QueryPattern::Prefix(text)) = pattern;
        // A `[` that opens nothing is one that a prefix ends in.
        let Some(wanted) = fold(text).or_else(|| fold(text.split('[').next()?)) else { return true };
        match pattern {
            QueryPattern::Exact(_) => wanted == name,
            QueryPattern::Prefix(_) => name.starts_with(&wanted),
        }
    })
}

/// Sorts by name; those that an origin may take for one stay in their order, which it may go by. Left alone where that
/// cannot be told.
fn sort(pairs: &mut [&str]) {
    let name = |pair: &str| fold(pair.split_once('=').map_or(pair, |(name, _)| name));
    if !pairs.iter().any(|pair| pair.contains(';') || name(pair).is_none()) {
        pairs.sort_by_cached_key(|pair| name(pair));
    }
}

/// What origins may make of a name: names that any of them takes for the same come out alike. `None` where that cannot
/// be told.
///
/// Decoded; lower case (ASP.NET); without what follows `[` (PHP, Rails, qs); with `_` for `.` and space, and without
/// spaces in front (PHP).
fn fold(name: &str) -> Option<String> {
    if !has_valid_escapes(name) {
        return None;
    }
    let spaced = name.replace('+', " ");
    let decoded: Cow<'_, [u8]> = percent_decode_str(&spaced).into();
    let odd = |byte: &u8| !(b' '..=b'~').contains(byte) || matches!(byte, b'%' | b';' | b'&' | b'=');
    if decoded.iter().any(odd) {
        return None;
    }
    let text = std::str::from_utf8(&decoded).ok()?.trim_start_matches(' ');
    let base = match text.split_once('[') {
        Some((base, rest)) => rest.contains(']').then_some(base)?,
        None => text,
    };
    Some(base.chars().map(|c| if matches!(c, '.' | ' ') { '_' } else { c.to_ascii_lowercase() }).collect())
}

fn has_valid_escapes(name: &str) -> bool {
    name.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(name: &str) -> QueryPattern {
        QueryPattern::Exact(name.into())
    }

    fn picking(names: &[&str]) -> QueryRules {
        QueryRules { pick: Some(names.iter().map(|name| exact(name)).collect()), ..QueryRules::default() }
    }

    fn check(rules: &QueryRules, table: &[(&str, &str)]) {
        for (sent, kept) in table {
            assert_eq!(rules.apply(sent), *kept, "{sent}");
        }
    }

    #[test]
    fn ignored_parameters_leave_the_key_and_the_others_keep_their_order() {
        let ignore = vec![QueryPattern::Prefix("utm_".into()), exact("session")];
        let rules = QueryRules { ignore, ..QueryRules::default() };
        check(
            &rules,
            &[
                ("/a", "/a"),
                ("/a?", "/a?"),
                ("/a?b=1&a=2", "/a?b=1&a=2"),
                ("/a?utm_source=x", "/a"),
                ("/a?b=1&utm_source=x&a=2", "/a?b=1&a=2"),
                ("/a?session", "/a"),
                ("/a?sessions=1", "/a?sessions=1"),
                ("/a?utm%5Fsource=x", "/a?utm%5Fsource=x"),
                ("/a?UTM_source=x", "/a?UTM_source=x"),
                // Parameter cloaking: an origin that splits at `;` sees `id` as well.
                ("/a?utm_source=x;id=1", "/a?utm_source=x;id=1"),
            ],
        );
        check(&QueryRules { case: QueryCase::Names, ..rules }, &[("/a?UTM_source=x&B=C", "/a?b=C")]);
    }

    #[test]
    fn what_is_not_picked_leaves_the_key_unless_an_origin_may_take_it_for_what_is() {
        check(
            &picking(&["id", "user_id"]),
            &[
                ("/a?x=1&id=2&y=3", "/a?id=2"),
                ("/a?x=1", "/a"),
                ("/a?", "/a"),
                ("/a?id=2&id=3", "/a?id=2&id=3"),
                ("/a?i%64=2&x", "/a?i%64=2"),
                ("/a?ID=2&x", "/a?ID=2"),
                ("/a?id[]=2&id%5B1%5D=3&x[id]=4", "/a?id[]=2&id%5B1%5D=3"),
                ("/a?user.id=1&user+id=2&x", "/a?user.id=1&user+id=2"),
                ("/a?x=1;id=2", "/a?x=1;id=2"),
                ("/a?id%00=1&%u0069d=2&id%zz=3&i%2564=4", "/a?id%00=1&%u0069d=2&id%zz=3&i%2564=4"),
            ],
        );
        check(&picking(&[]), &[("/a?x=1&y", "/a"), ("/a", "/a")]);
        let prefix =
            QueryRules { pick: Some(vec![QueryPattern::Prefix("filter[".into())]), ..QueryRules::default() };
        check(&prefix, &[("/a?filter[x]=1&b=2", "/a?filter[x]=1")]);
    }

    #[test]
    fn sorting_keeps_the_order_of_names_that_may_be_one() {
        let rules = QueryRules { sort: true, ..QueryRules::default() };
        check(
            &rules,
            &[
                ("/a?b=1&a=2", "/a?a=2&b=1"),
                ("/a?b=1&a=2&b=0", "/a?a=2&b=1&b=0"),
                ("/a?%61=2&a=1", "/a?%61=2&a=1"),
                ("/a?b&A=2&a=1", "/a?A=2&a=1&b"),
                ("/a?b=1;c=2&a=3", "/a?b=1;c=2&a=3"),
                ("/a?b=1&%zz=2&a=3", "/a?b=1&%zz=2&a=3"),
            ],
        );
    }

    #[test]
    fn case_and_empty_values_count_unless_told_otherwise() {
        let case = |case| QueryRules { case, ..QueryRules::default() };
        check(&case(QueryCase::Names), &[("/A?B=C&D", "/A?b=C&d"), ("/a?B=1;C=2", "/a?B=1;C=2")]);
        check(&case(QueryCase::All), &[("/A?B=C&D", "/A?b=c&d")]);
        let empty = QueryRules { ignore_empty: true, ..QueryRules::default() };
        check(
            &empty,
            &[("/a?", "/a"), ("/a?b=&c&&d=1", "/a?d=1"), ("/a?b;c=", "/a?b;c="), ("/a?=1", "/a?=1")],
        );
    }

    #[test]
    fn nothing_is_copied_where_nothing_changes() {
        let sorting = QueryRules { sort: true, ..picking(&["a", "b"]) };
        for rules in [QueryRules::default(), sorting] {
            assert!(matches!(rules.apply("/a?a=1&b=2"), Cow::Borrowed(_)));
        }
    }

    /// How origins read the parameter `id`.
    type Origin = fn(&str) -> Vec<String>;

    fn values(query: &str, separators: &[char], name: impl Fn(&str) -> String) -> Vec<String> {
        let pairs = query.split(separators).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(own, _)| name(own) == "id").map(|(_, value)| value.to_owned()).collect()
    }

    fn decoded(name: &str) -> String {
        percent_decode_str(&name.replace('+', " ")).decode_utf8_lossy().into_owned()
    }

    const ORIGINS: [Origin; 5] = [
        |query| values(query, &['&'], str::to_owned),
        |query| values(query, &['&'], decoded),
        |query| values(query, &['&', ';'], decoded),
        |query| values(query, &['&'], |name| decoded(name).to_lowercase()),
        |query| {
            values(query, &['&'], |name| {
                let name = decoded(name).trim_start().replace(['.', ' '], "_");
                name.split(['[', '\0']).next().unwrap_or_default().to_owned()
            })
        },
    ];

    /// The rules by the book, on parsed pairs: `None` where a pair is odd, so that all of the query stays as it is.
    fn reference(query: &str, rules: &QueryRules) -> Vec<(String, String)> {
        let pairs = query.split('&').map(|pair| (pair, pair.split_once('=').unwrap_or((pair, ""))));
        let kept = pairs.filter(|(pair, (name, value))| {
            let odd = pair.contains(';');
            let empty = rules.ignore_empty && value.is_empty();
            let foreign = rules.pick.is_some() && fold(name).is_some_and(|name| name != "id");
            let ignored = match rules.case {
                QueryCase::Exact => *name == "x",
                _ => name.eq_ignore_ascii_case("x"),
            };
            odd || !(empty || foreign || (!rules.ignore.is_empty() && ignored))
        });
        let cased = kept.map(|(pair, (name, _))| match rules.case {
            QueryCase::Names if !pair.contains(';') => pair.replacen(name, &name.to_ascii_lowercase(), 1),
            QueryCase::All => pair.to_ascii_lowercase(),
            _ => pair.to_owned(),
        });
        let mut named: Vec<(Option<String>, String)> = cased
            .map(|pair| {
                let odd = pair.contains(';');
                (fold(pair.split('=').next().unwrap_or_default()).filter(|_| !odd), pair)
            })
            .collect();
        if rules.sort && named.iter().all(|(name, _)| name.is_some()) {
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        named
            .into_iter()
            .map(|(name, pair)| (name.filter(|_| rules.sort).unwrap_or_default(), pair))
            .collect()
    }

    fn queries() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "id", "x", "ID", "i%64", "id[]", "i.d", " id", "+id", "%zz", "", "y;id",
        ]);
        let pair = (name, "[=]?[aB]?").prop_map(|(name, rest)| format!("{name}{rest}"));
        prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
    }

    fn rules() -> impl Strategy<Value = QueryRules> {
        let case = prop::sample::select(vec![QueryCase::Exact, QueryCase::Names, QueryCase::All]);
        (any::<bool>(), any::<bool>(), any::<bool>(), case, any::<bool>()).prop_map(
            |(pick, ignore, sort, case, ignore_empty)| QueryRules {
                pick: pick.then(|| vec![exact("id")]),
                ignore: if ignore { vec![exact("x")] } else { Vec::new() },
                sort,
                case,
                ignore_empty,
            },
        )
    }

    proptest! {
        #[test]
        fn two_queries_share_a_key_exactly_when_the_reference_says_so(a in queries(), b in queries(), rules in rules()) {
            let same = rules.apply(&format!("/p?{a}")) == rules.apply(&format!("/p?{b}"));
            prop_assert_eq!(same, reference(&a, &rules) == reference(&b, &rules), "{} {}", a, b);
        }

        /// Whatever is left out or reordered: where keys are the same, no origin reads what was picked differently.
        #[test]
        fn no_origin_reads_a_picked_parameter_differently_under_one_key(a in queries(), b in queries(), sort: bool) {
            let rules = QueryRules { sort, ..picking(&["id"]) };
            if rules.apply(&format!("/p?{a}")) == rules.apply(&format!("/p?{b}")) {
                for (at, origin) in ORIGINS.iter().enumerate() {
                    prop_assert_eq!(origin(&a), origin(&b), "origin {}: {} {}", at, a, b);
                }
            }
        }

        #[test]
        fn a_key_s_target_is_its_own_key(query in queries(), rules in rules()) {
            let target = format!("/p?{query}");
            let once = rules.apply(&target);
            let twice = rules.apply(&once);
            prop_assert_eq!(twice, once.as_ref());
        }
    }
}
