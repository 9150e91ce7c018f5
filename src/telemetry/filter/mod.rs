//! The small expression of `--filter`: `status >= 500 and route == users and path =~ "^/v1" and duration > 200ms`.
//!
//! It is checked whole when it is parsed (fields, kinds of values, regular expressions), so that asking it
//! cannot fail; and it knows nothing of what it is asked about but the [`Fields`] trait.

mod parse;

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
    /// Of [`Kind::Text`].
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
    Equal(Box<str>),
    NotEqual(Box<str>),
    Matches(Regex),
    Number(Order, u64),
    Class(Order, u64),
    Duration(Order, Duration),
    Flag(bool),
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
            (Self::Equal(wanted), Value::Text(text)) => text.eq_ignore_ascii_case(wanted),
            (Self::NotEqual(wanted), Value::Text(text)) => !text.eq_ignore_ascii_case(wanted),
            (Self::Matches(regex), Value::Text(text)) => regex.is_match(text),
            (Self::Number(order, wanted), Value::Number(number)) => order.holds(number, wanted),
            (Self::Class(order, wanted), Value::Number(number)) => order.holds(&(number / 100), wanted),
            (Self::Duration(order, wanted), Value::Duration(duration)) => order.holds(duration, wanted),
            (Self::Flag(wanted), Value::Flag(flag)) => flag == wanted,
            (
                Self::NotEqual(_)
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
