//! From text to a checked expression.
//!
//! ```text
//! any   = all *("or" all)
//! all   = one *("and" one)
//! one   = "not" one / "(" any ")" / field [operator value]
//! value = quoted / everything up to white space or a parenthesis
//! ```
//! `&&`, `||` and `!` mean the same as the words; `=` the same as `==`.

use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::nearest::nearest;
use super::{Expression, Field, Kind, Order, Test};

/// The longest expression, in bytes.
const MAX_TEXT: usize = 4096;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// The largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Why a filter could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", position + 1)]
pub struct FilterError {
    /// Where in the text, in characters from 0.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

pub(super) fn parse(text: &str, fields: &'static [Field]) -> Result<Expression, FilterError> {
    let mut parser = Parser { text, at: 0, depth: 0, fields };
    if text.len() > MAX_TEXT {
        return Err(parser.error(0, format!("a filter may have {MAX_TEXT} bytes")));
    }
    let expression = parser.any()?;
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(expression);
    }
    let message = match parser.rest().starts_with(')') {
        true => "`)` without `(`",
        false => "expected `and`, `or` or the end",
    };
    Err(parser.error(parser.at, message))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Compare(Order),
    Regex,
    Glob,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 9] = [
    ("=~", Operator::Regex),
    ("==", Operator::Compare(Order::Equal)),
    ("!=", Operator::Compare(Order::NotEqual)),
    ("<=", Operator::Compare(Order::LessOrEqual)),
    (">=", Operator::Compare(Order::GreaterOrEqual)),
    ("<", Operator::Compare(Order::Less)),
    (">", Operator::Compare(Order::Greater)),
    ("=", Operator::Compare(Order::Equal)),
    ("~", Operator::Glob),
];

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    fields: &'static [Field],
}

impl<'t> Parser<'t> {
    fn any(&mut self) -> Result<Expression, FilterError> {
        let first = self.all()?;
        let mut any = vec![first];
        while self.take_word("or") || self.take_symbol("||") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expression::Or(any) })
    }

    fn all(&mut self) -> Result<Expression, FilterError> {
        let first = self.one()?;
        let mut all = vec![first];
        while self.take_word("and") || self.take_symbol("&&") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::And(all) })
    }

    fn one(&mut self) -> Result<Expression, FilterError> {
        self.skip_space();
        let start = self.at;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(start, format!("nested more than {MAX_DEPTH} deep")));
        }
        let one = if self.take_word("not") || self.take_symbol("!") {
            Expression::Not(Box::new(self.one()?))
        } else if self.take_symbol("(") {
            let inner = self.any()?;
            if !self.take_symbol(")") {
                return Err(self.error(start, "`(` without `)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(one)
    }

    fn comparison(&mut self) -> Result<Expression, FilterError> {
        let field = self.field()?;
        self.skip_space();
        let at = self.at;
        let Some(operator) = self.operator() else {
            if field.kind == Kind::Flag {
                return Ok(Expression::Test { field: field.name, test: Test::Flag(true) });
            }
            let message = format!("expected an operator after `{}`: == != < <= > >= =~ ~", field.name);
            return Err(self.error(at, message));
        };
        self.skip_space();
        let value_at = self.at;
        let value = self.value()?;
        let test = test(field, operator, &value).map_err(|wrong| match wrong {
            Wrong::Operator(message) => self.error(at, message),
            Wrong::Value(message) => self.error(value_at, message),
        })?;
        Ok(Expression::Test { field: field.name, test })
    }

    fn field(&mut self) -> Result<&'static Field, FilterError> {
        self.skip_space();
        let start = self.at;
        let name = self.while_in(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if name.is_empty() {
            return Err(self.error(start, format!("expected a field: {}", self.names())));
        }
        if let Some(field) = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)) {
            return Ok(field);
        }
        let hint = match nearest(name, self.fields.iter().map(|field| field.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", self.names()),
        };
        Err(self.error(start, format!("unknown field `{name}`; {hint}")))
    }

    fn names(&self) -> String {
        self.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
    }

    fn operator(&mut self) -> Option<Operator> {
        let (text, operator) = OPERATORS.iter().find(|(text, _)| self.rest().starts_with(text))?;
        self.at += text.len();
        Some(*operator)
    }

    fn value(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        if let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) {
            self.at += 1;
            return self.quoted(start, quote);
        }
        let value = self.while_in(|c| !c.is_whitespace() && !matches!(c, '(' | ')'));
        match value {
            "" => Err(self.error(start, "expected a value")),
            value => Ok(value.to_owned()),
        }
    }

    /// In quotes a backslash stands for itself (regular expressions are full of them) unless a quote follows.
    fn quoted(&mut self, start: usize, quote: char) -> Result<String, FilterError> {
        let mut value = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error(start, format!("{quote} is never closed")));
            };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(value);
            }
            if c == '\\' && self.rest().starts_with(quote) {
                self.at += quote.len_utf8();
                value.push(quote);
            } else {
                value.push(c);
            }
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.while_in(char::is_whitespace);
    }

    fn while_in(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let start = self.at;
        let found = self.while_in(|c| c.is_alphanumeric() || c == '_' || c == '-').eq_ignore_ascii_case(word);
        if !found {
            self.at = start;
        }
        found
    }

    fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        let position = self.text.get(..at).map_or(0, |before| before.chars().count());
        FilterError { position, message: message.into() }
    }
}

enum Wrong {
    Operator(String),
    Value(String),
}

fn test(field: &Field, operator: Operator, value: &str) -> Result<Test, Wrong> {
    let order = match (field.kind, operator) {
        (Kind::Text | Kind::Word, Operator::Regex) => return regex(value, field.kind).map(Test::Matches),
        (Kind::Text | Kind::Word, Operator::Glob) => return glob(value, field.kind).map(Test::Matches),
        (Kind::Text | Kind::Word, Operator::Compare(order)) => return text(field, order, value),
        (_, Operator::Regex | Operator::Glob) => {
            return Err(Wrong::Operator(format!(
                "`{}` is no text: compare it by == != < <= > >=",
                field.name
            )));
        }
        (_, Operator::Compare(order)) => order,
    };
    let name = field.name;
    match field.kind {
        Kind::Status => status(order, value),
        Kind::Duration => duration(value).map(|wanted| Test::Duration(order, wanted)),
        Kind::Size => size(value).map(|wanted| Test::Number(order, wanted)),
        Kind::Flag => return flag(name, order, value),
        Kind::Number | Kind::Text | Kind::Word => {
            value.parse().ok().map(|wanted| Test::Number(order, wanted))
        }
    }
    .ok_or_else(|| Wrong::Value(format!("`{value}` is not {}", expected(field.kind))))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Status => "a status: write 404 or 5xx",
        Kind::Duration => "a duration: write 200ms, 1.5s, 10m, 2h or 1d",
        Kind::Size => "a size: write 512, 10KiB or 1MB",
        Kind::Flag => "`true` or `false`",
        Kind::Number | Kind::Text | Kind::Word => "a whole number",
    }
}

fn text(field: &Field, order: Order, value: &str) -> Result<Test, Wrong> {
    let ignore_case = field.kind == Kind::Word;
    match order {
        Order::Equal => Ok(Test::Equal { wanted: value.into(), ignore_case, negated: false }),
        Order::NotEqual => Ok(Test::Equal { wanted: value.into(), ignore_case, negated: true }),
        _ => Err(Wrong::Operator(format!("`{}` is text: compare it by ==, !=, =~ or ~", field.name))),
    }
}

fn flag(name: &str, order: Order, value: &str) -> Result<Test, Wrong> {
    let wanted = value.parse().map_err(|_| Wrong::Value(format!("`{value}` is not `true` or `false`")))?;
    match order {
        Order::Equal => Ok(Test::Flag(wanted)),
        Order::NotEqual => Ok(Test::Flag(!wanted)),
        _ => Err(Wrong::Operator(format!("`{name}` is true or false: compare it by == or !="))),
    }
}

fn status(order: Order, value: &str) -> Option<Test> {
    match value.strip_suffix("xx").or_else(|| value.strip_suffix("XX")) {
        Some(class) => class.parse().ok().filter(|class| *class < 10).map(|class| Test::Class(order, class)),
        None => value.parse().ok().map(|wanted| Test::Number(order, wanted)),
    }
}

fn regex(value: &str, kind: Kind) -> Result<Regex, Wrong> {
    let mut builder = RegexBuilder::new(value);
    builder.size_limit(MAX_REGEX).case_insensitive(kind == Kind::Word);
    builder.build().map_err(|error| {
        let text = error.to_string();
        // The regex crate draws its own picture; its last line says what is wrong.
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Wrong::Value(format!("not a regular expression: {reason}"))
    })
}

/// `*` is any text, `?` any one character.
fn glob(value: &str, kind: Kind) -> Result<Regex, Wrong> {
    let mut pattern = String::from("(?s)^");
    let mut utf8 = [0; 4];
    for c in value.chars() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut utf8))),
        }
    }
    pattern.push('$');
    regex(&pattern, kind)
}

/// A number and its unit.
fn split_unit(value: &str) -> Option<(f64, &str)> {
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    number.parse().ok().map(|number| (number, unit))
}

fn duration(value: &str) -> Option<Duration> {
    let (number, unit) = split_unit(value)?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

fn size(value: &str) -> Option<u64> {
    let (number, unit) = split_unit(value)?;
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    let bytes = number * scale as f64;
    // Beyond 2^64 the cast saturates; no such size exists.
    bytes.is_finite().then_some(bytes as u64)
}
