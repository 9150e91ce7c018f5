//! The small expression of `--filter`: `status >= 500 and route == users and path =~ "^/v1" and duration > 200ms`.
//!
//! It is checked whole when it is parsed (fields, kinds of values, regular expressions), so that asking it
//! cannot fail; and it knows nothing of what it is asked about but the [`Fields`] trait.

mod nearest;
mod parse;
mod value;

use std::borrow::Cow;
use std::time::Duration;

use regex::Regex;

pub use parse::FilterError;

/// A field that a filter may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in expressions.
    pub name: &'static str,
    /// What it is compared with.
    pub kind: Kind,
    /// One line for help texts.
    pub help: &'static str,
}

/// What a field is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: `==`, `!=`, `=~` (regular expression), `~` (glob).
    Text,
    /// Text whose case does not matter.
    Word,
    /// A status code or a class of them (`5xx`).
    Status,
    /// A number.
    Number,
    /// A number of bytes: `10KiB`, `1MB`.
    Size,
    /// A duration: `200ms`, `1h`.
    Duration,
    /// `true` or `false`; the bare name means `true`.
    Flag,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(Cow<'a, str>),
    /// Of [`Kind::Status`], [`Kind::Number`] and [`Kind::Size`].
    Number(u64),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// There is none: every comparison but `!=` is false.
    Absent,
}

/// Something that a filter can be asked about.
pub trait Fields {
    /// The fields it has.
    const FIELDS: &'static [Field];

    /// The value of one of [`Self::FIELDS`].
    fn value(&self, field: &'static str) -> Value<'_>;
}

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Expression,
}

#[derive(Clone, Debug)]
enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Test { field: &'static str, test: Test },
}

#[derive(Clone, Debug)]
enum Test {
    Equal { wanted: Box<str>, ignore_case: bool, negated: bool },
    Matches(Regex),
    Number(Order, u64),
    Class(Order, u64),
    Duration(Order, Duration),
    Flag(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Compare(Order),
    Regex,
    Glob,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Parses an expression over the fields of `T`.
    ///
    /// # Errors
    /// A [`FilterError`] with the position in `text` and, where a name is unknown, the nearest that is.
    pub fn parse<T: Fields>(text: &str) -> Result<Self, FilterError> {
        parse::parse(text, T::FIELDS).map(|root| Self { root })
    }

    /// Whether `subject` is what was asked for.
    pub fn matches(&self, subject: &impl Fields) -> bool {
        self.root.holds(subject)
    }
}

impl Expression {
    fn holds(&self, subject: &impl Fields) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(subject)),
            Self::Or(any) => any.iter().any(|one| one.holds(subject)),
            Self::Not(one) => !one.holds(subject),
            Self::Test { field, test } => test.holds(&subject.value(field)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Equal { wanted, ignore_case, negated }, Value::Text(text)) => {
                let equal = if *ignore_case { text.eq_ignore_ascii_case(wanted) } else { **wanted == **text };
                equal != *negated
            }
            (Self::Matches(regex), Value::Text(text)) => regex.is_match(text),
            (Self::Number(order, wanted), Value::Number(number)) => order.holds(number, wanted),
            (Self::Class(order, wanted), Value::Number(number)) => order.holds(&(number / 100), wanted),
            (Self::Duration(order, wanted), Value::Duration(duration)) => order.holds(duration, wanted),
            (Self::Flag(wanted), Value::Flag(flag)) => flag == wanted,
            (
                Self::Equal { negated: true, .. }
                | Self::Number(Order::NotEqual, _)
                | Self::Class(Order::NotEqual, _)
                | Self::Duration(Order::NotEqual, _),
                Value::Absent,
            ) => true,
            _ => false,
        }
    }
}

impl Order {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Subject;

    impl Fields for Subject {
        const FIELDS: &'static [Field] = &[
            Field { name: "status", kind: Kind::Status, help: "" },
            Field { name: "path", kind: Kind::Text, help: "" },
            Field { name: "method", kind: Kind::Word, help: "" },
            Field { name: "route", kind: Kind::Word, help: "" },
            Field { name: "upstream", kind: Kind::Word, help: "" },
            Field { name: "duration", kind: Kind::Duration, help: "" },
            Field { name: "age", kind: Kind::Duration, help: "" },
            Field { name: "bytes", kind: Kind::Size, help: "" },
            Field { name: "attempts", kind: Kind::Number, help: "" },
            Field { name: "fresh", kind: Kind::Flag, help: "" },
        ];

        fn value(&self, field: &'static str) -> Value<'_> {
            match field {
                "status" => Value::Number(503),
                "path" => Value::Text("/v1/users/7".into()),
                "method" => Value::Text("GET".into()),
                "route" => Value::Text("users".into()),
                "duration" => Value::Duration(Duration::from_millis(250)),
                "bytes" => Value::Number(2048),
                "attempts" => Value::Number(2),
                "fresh" => Value::Flag(true),
                _ => Value::Absent,
            }
        }
    }

    #[test]
    fn expressions_say_what_they_mean() {
        for (text, wanted) in [
            (r#"status >= 500 and route == users and path =~ "^/v1" and duration > 200ms"#, true),
            ("status=5xx", true),
            ("status!=5xx", false),
            ("status<5XX", false),
            ("status >=4xx", true),
            ("status == 503", true),
            ("method=get", true),
            ("path == /V1/users/7", false),
            ("path ~ /v1/*/7", true),
            ("path ~ /v1/*/8", false),
            ("path ~ '/v1/users/?'", true),
            (r#"path =~ "/\d+$""#, true),
            (r"path =~ '/\d+$'", true),
            ("not status=5xx", false),
            ("!(status=5xx or route=other)", false),
            ("status=404 or route=users and fresh", true),
            ("(status=404 or route=users) and not fresh", false),
            ("status=404 || route=users && !fresh", false),
            ("fresh=false", false),
            ("fresh != false", true),
            ("bytes >= 2KiB and bytes<2.1kb", true),
            ("duration<=0.25s", true),
            ("duration < 1m", true),
            ("attempts=2", true),
            ("upstream == api", false),
            ("upstream != api", true),
            ("age > 1h", false),
            ("age != 1h", true),
            ("STATUS=503 AND Route=USERS", true),
        ] {
            let filter = Filter::parse::<Subject>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.matches(&Subject), wanted, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, position, part) in [
            ("", 0, "expected a field"),
            ("statsu=500", 0, "did you mean `status`?"),
            ("route=ü and zebra=1", 12, "there are: status, path"),
            ("status", 6, "expected an operator after `status`"),
            ("status =", 8, "expected a value"),
            ("status = abc", 9, "write 404 or 5xx"),
            ("status = 12xx", 9, "write 404 or 5xx"),
            ("duration > 5", 11, "write 200ms"),
            ("bytes > 5x", 8, "10KiB"),
            ("path > /a", 5, "is text"),
            ("status =~ 5", 7, "is no text"),
            ("fresh=1", 6, "`true` or `false`"),
            ("fresh < true", 6, "compare it by == or !="),
            ("path =~ '['", 8, "not a regular expression: unclosed character class"),
            ("path = 'a", 7, "' is never closed"),
            ("(status=1", 0, "`(` without `)`"),
            ("status=1)", 8, "`)` without `(`"),
            ("status=1 route=2", 9, "expected `and`, `or` or the end"),
            ("status=1 and", 12, "expected a field"),
        ] {
            let error = Filter::parse::<Subject>(text).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn bounds_hold() {
        Filter::parse::<Subject>(&"(".repeat(4000)).unwrap_err();
        Filter::parse::<Subject>(&"!".repeat(4000)).unwrap_err();
        Filter::parse::<Subject>(&format!("path == {}", "a".repeat(5000))).unwrap_err();
        Filter::parse::<Subject>(r"path =~ '\w{1000}{1000}'").unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
            let _ = Filter::parse::<Subject>(&text).map(|filter| filter.matches(&Subject));
        }

        #[test]
        fn any_mix_of_tokens_is_parsed_or_refused(
            tokens in prop::collection::vec(
                prop::sample::select(vec![
                    "status", "path", "fresh", "duration", "bytes", "=", "=~", "~", "<", "!=", "5xx", "'", "\"", "(",
                    ")", "and", "or", "not", "!", "200ms", "1e9", "99999999999999999999", "*", "[", "\\", "ü", "µs",
                ]),
                0..20,
            ),
        ) {
            for separator in ["", " "] {
                let _ = Filter::parse::<Subject>(&tokens.join(separator)).map(|filter| filter.matches(&Subject));
            }
        }
    }
}
