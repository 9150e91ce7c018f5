//! From text to a checked expression.
//!
//! ```text
//! any   = all *("or" all)
//! all   = one *("and" one)
//! one   = "not" one / "(" any ")" / field [operator value]
//! value = quoted / everything up to white space or a parenthesis
//! ```
//! `&&`, `||` and `!` mean the same as the words; `=` the same as `==`.

use super::nearest::nearest;
use super::value::{Wrong, test};
use super::{Expression, Field, Kind, Operator, Order, Test};

/// The longest expression, in bytes.
const MAX_TEXT: usize = 4096;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// Why a filter could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", position + 1)]
pub struct FilterError {
    /// Where in the text, in characters from 0.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl FilterError {
    /// The filter with a caret under where it went wrong, two lines without a final line break.
    pub fn point(&self, filter: &str) -> String {
        let shown: String = filter.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("  {shown}\n  {:>1$}", '^', self.position + 1)
    }
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
