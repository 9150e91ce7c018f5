//! Structured Fields (RFC 9651): dictionaries and lists, read strictly and written canonically.
//!
//! Targeted `Cache-Control` (RFC 9213) is a dictionary, `Cache-Groups` (RFC 9875) a list, `Cache-Status` (RFC 9211) a list
//! that we only write. A field that breaks one rule is invalid as a whole, as the RFC wants it.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::AsHeaderName;

/// A bare item (3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BareItem {
    /// At most 15 digits.
    Integer(i64),
    /// In thousandths: a decimal has at most three digits after its point.
    Decimal(i64),
    /// Printable ASCII.
    String(String),
    /// A word.
    Token(String),
    /// The base64 text between the colons, not decoded: nothing here needs the bytes.
    Bytes(String),
    /// `?0`, `?1`
    Boolean(bool),
    /// Seconds since the Unix epoch.
    Date(i64),
    /// Unicode text.
    Display(String),
}

/// Parameters (3.1.2) in their order, each key once.
pub type Parameters = Vec<(String, BareItem)>;

/// A bare item with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub value: BareItem,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A list in parentheses with parameters (3.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerList {
    /// Its items.
    pub items: Vec<Item>,
    /// Its parameters.
    pub parameters: Parameters,
}

/// What a list or dictionary holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// One item.
    Item(Item),
    /// A list in parentheses.
    InnerList(InnerList),
}

/// A dictionary (3.2) in its order, each key once; the last value given counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary(pub Vec<(String, Member)>);

/// A list (3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(pub Vec<Member>);

impl Dictionary {
    /// A field's value over all its lines; `None` if it is absent or invalid.
    pub fn of(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Self> {
        Self::parse(&joined(headers, name)?)
    }

    /// Reads a dictionary; `None` if it is invalid.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut members = Vec::new();
        Parser::whole(value, |parser| {
            let key = parser.key()?;
            let member = if parser.eat(b'=') {
                parser.member()?
            } else {
                Member::Item(Item { value: BareItem::Boolean(true), parameters: parser.parameters()? })
            };
            set(&mut members, key, member);
            Some(())
        })?;
        Some(Self(members))
    }

    /// Writes it.
    pub fn serialise(&self) -> String {
        let mut out = String::new();
        for (at, (key, member)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            out.push_str(key);
            match member {
                Member::Item(Item { value: BareItem::Boolean(true), parameters }) => {
                    write_parameters(&mut out, parameters);
                }
                member => {
                    out.push('=');
                    write_member(&mut out, member);
                }
            }
        }
        out
    }
}

impl List {
    /// A field's value over all its lines; `None` if it is absent or invalid.
    pub fn of(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Self> {
        Self::parse(&joined(headers, name)?)
    }

    /// Reads a list; `None` if it is invalid.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut members = Vec::new();
        Parser::whole(value, |parser| {
            members.push(parser.member()?);
            Some(())
        })?;
        Some(Self(members))
    }

    /// Writes it.
    pub fn serialise(&self) -> String {
        let mut out = String::new();
        for (at, member) in self.0.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            write_member(&mut out, member);
        }
        out
    }
}

fn joined(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut value = lines.next()?.as_bytes().to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line.as_bytes());
    }
    Some(value)
}

fn set<V>(members: &mut Vec<(String, V)>, key: String, value: V) {
    match members.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => members.push((key, value)),
    }
}

/// Reads one field value from its front.
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    /// Reads comma-separated members until the value is used up.
    fn whole(value: &'a [u8], mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let mut parser = Self { rest: value };
        parser.skip(b" ");
        while !parser.rest.is_empty() {
            member(&mut parser)?;
            parser.skip(b" \t");
            if parser.rest.is_empty() {
                return Some(());
            }
            if !parser.eat(b',') {
                return None;
            }
            parser.skip(b" \t");
            if parser.rest.is_empty() {
                return None;
            }
        }
        Some(())
    }

    fn skip(&mut self, any_of: &[u8]) {
        let end = self.rest.iter().position(|byte| !any_of.contains(byte)).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The longest run of bytes that `accept` takes, as text (they are ASCII).
    fn run(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.iter().position(|&byte| !accept(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        std::str::from_utf8(run).unwrap_or_default()
    }

    fn key(&mut self) -> Option<String> {
        if !matches!(self.rest.first()?, b'a'..=b'z' | b'*') {
            return None;
        }
        Some(
            self.run(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')).to_owned(),
        )
    }

    fn member(&mut self) -> Option<Member> {
        if !self.eat(b'(') {
            return self.item().map(Member::Item);
        }
        let mut items = Vec::new();
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Member::InnerList(InnerList { items, parameters: self.parameters()? }));
            }
            items.push(self.item()?);
            if !matches!(self.rest.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Item> {
        Some(Item { value: self.bare()?, parameters: self.parameters()? })
    }

    fn parameters(&mut self) -> Option<Parameters> {
        let mut parameters = Vec::new();
        while self.eat(b';') {
            self.skip(b" ");
            let key = self.key()?;
            let value = if self.eat(b'=') { self.bare()? } else { BareItem::Boolean(true) };
            set(&mut parameters, key, value);
        }
        Some(parameters)
    }

    fn bare(&mut self) -> Option<BareItem> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(BareItem::String),
            b'A'..=b'Z' | b'a'..=b'z' | b'*' => Some(BareItem::Token(self.run(is_token).to_owned())),
            b':' => self.bytes(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display(),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<BareItem> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        let whole = self.run(|byte| byte.is_ascii_digit());
        if self.rest.first() != Some(&b'.') {
            let valid = !whole.is_empty() && whole.len() <= 15;
            return valid
                .then(|| whole.parse().ok())
                .flatten()
                .map(|value: i64| BareItem::Integer(sign * value));
        }
        self.eat(b'.');
        let fraction = self.run(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 12 || fraction.is_empty() || fraction.len() > 3 {
            return None;
        }
        let thousandths: i64 = format!("{whole}{fraction:0<3}").parse().ok()?;
        Some(BareItem::Decimal(sign * thousandths))
    }

    fn string(&mut self) -> Option<String> {
        self.eat(b'"');
        let mut out = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(out),
                b'\\' => match self.next()? {
                    byte @ (b'"' | b'\\') => out.push(char::from(byte)),
                    _ => return None,
                },
                byte @ 0x20..=0x7e => out.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    fn bytes(&mut self) -> Option<BareItem> {
        self.eat(b':');
        let text = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.eat(b':').then(|| BareItem::Bytes(text.to_owned()))
    }

    fn boolean(&mut self) -> Option<BareItem> {
        self.eat(b'?');
        match self.next()? {
            b'0' => Some(BareItem::Boolean(false)),
            b'1' => Some(BareItem::Boolean(true)),
            _ => None,
        }
    }

    fn date(&mut self) -> Option<BareItem> {
        self.eat(b'@');
        match self.number()? {
            BareItem::Integer(value) => Some(BareItem::Date(value)),
            _ => None,
        }
    }

    fn display(&mut self) -> Option<BareItem> {
        self.eat(b'%');
        if !self.eat(b'"') {
            return None;
        }
        let mut out = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(out).ok().map(BareItem::Display),
                b'%' => out.push(hex(self.next()?)? << 4 | hex(self.next()?)?),
                byte @ 0x20..=0x7e => out.push(byte),
                _ => return None,
            }
        }
    }
}

/// Lower case only, as RFC 9651 4.2.10 has it.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn is_token(byte: u8) -> bool {
    super::token::TOKEN[usize::from(byte)] || matches!(byte, b':' | b'/')
}

/// Whether a text can be written as a token (3.3.4).
pub fn is_sf_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') && text.bytes().all(is_token)
}

/// Writes a text as a string (3.3.3); what is not printable ASCII becomes `?`.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

/// Writes a text as a token where it can be one, else as a string.
pub fn write_token_or_string(out: &mut String, text: &str) {
    if is_sf_token(text) { out.push_str(text) } else { write_string(out, text) }
}

fn write_member(out: &mut String, member: &Member) {
    match member {
        Member::Item(item) => write_item(out, item),
        Member::InnerList(list) => {
            out.push('(');
            for (at, item) in list.items.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                write_item(out, item);
            }
            out.push(')');
            write_parameters(out, &list.parameters);
        }
    }
}

fn write_item(out: &mut String, item: &Item) {
    write_bare(out, &item.value);
    write_parameters(out, &item.parameters);
}

fn write_parameters(out: &mut String, parameters: &Parameters) {
    for (key, value) in parameters {
        out.push(';');
        out.push_str(key);
        if *value != BareItem::Boolean(true) {
            out.push('=');
            write_bare(out, value);
        }
    }
}

fn write_bare(out: &mut String, value: &BareItem) {
    // Writing to a string cannot fail.
    let _ = match value {
        BareItem::Integer(value) => write!(out, "{value}"),
        BareItem::Date(value) => write!(out, "@{value}"),
        BareItem::Decimal(value) => {
            let (sign, whole, fraction) =
                (if *value < 0 { "-" } else { "" }, value.abs() / 1000, value.abs() % 1000);
            let fraction = format!("{fraction:03}");
            let trimmed = fraction.trim_end_matches('0');
            write!(out, "{sign}{whole}.{}", if trimmed.is_empty() { "0" } else { trimmed })
        }
        BareItem::Boolean(value) => write!(out, "?{}", u8::from(*value)),
        BareItem::Bytes(text) => write!(out, ":{text}:"),
        BareItem::Token(text) => out.write_str(text),
        BareItem::String(text) => {
            write_string(out, text);
            Ok(())
        }
        BareItem::Display(text) => write_display(out, text),
    };
}

fn write_display(out: &mut String, text: &str) -> std::fmt::Result {
    out.push_str("%\"");
    for byte in text.bytes() {
        match byte {
            b'%' | b'"' | 0..=0x1f | 0x7f.. => write!(out, "%{byte:02x}")?,
            byte => out.push(char::from(byte)),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_rfc_9651_read_and_write_back() {
        for value in [
            "en=\"Applepie\", da=:w4ZibGV0w6ZydGU=:",
            "a=?0, b, c;foo=bar",
            "rating=1.5, feelings=(joy sadness)",
            "a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid",
            "a=@1659578233, b=%\"f%c3%bc\", c=*x/y:z, d=-0.125",
        ] {
            assert_eq!(
                Dictionary::parse(value.as_bytes()).map(|parsed| parsed.serialise()).as_deref(),
                Some(value)
            );
        }
        for value in
            ["sugar, tea, rum", "(\"foo\" \"bar\"), (\"baz\"), ()", "abc;a=1;b=2;c, (ghi;jk=4 l);q=\"9\";r=w"]
        {
            assert_eq!(
                List::parse(value.as_bytes()).map(|parsed| parsed.serialise()).as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let parsed = Dictionary::parse(b"a=1,b=2\t,  a=3;x;x=?0").unwrap();
        assert_eq!(parsed.serialise(), "a=3;x=?0, b=2");
        assert_eq!(Dictionary::parse(b"  ").unwrap(), Dictionary::default());
    }

    #[test]
    fn one_broken_rule_spoils_the_field() {
        for value in [
            "a=1,",
            ",a=1",
            "a=1 b=2",
            "A=1",
            "1=1",
            "a=",
            "a=1;",
            "a=1;B",
            "a=\"x",
            "a=\"\\x\"",
            "a=1.",
            "a=1.2345",
            "a=.5",
            "a=-",
            "a=1234567890123456",
            "a=1234567890123.1",
            "a=(1",
            "a=(1,2)",
            "a=(\"x\"\"y\")",
            "a=?2",
            "a=?",
            "a=:x",
            "a=@1.5",
            "a=%x",
            "a=%\"%C3%BC\"",
            "a=%\"%ff\"",
            "a=&",
            "\ta=1",
            "a=\u{e9}",
            "a= 1",
            "a =1",
        ] {
            assert_eq!(Dictionary::parse(value.as_bytes()), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            Dictionary::parse(&bytes);
            List::parse(&bytes);
        }

        #[test]
        fn what_is_read_is_written_and_read_the_same(value in "([a-c][=;]{0,2}[-?:@%\"(a0-9. )]{0,6},? ?){0,4}") {
            if let Some(parsed) = Dictionary::parse(value.as_bytes()) {
                prop_assert_eq!(Dictionary::parse(parsed.serialise().as_bytes()), Some(parsed));
            }
            if let Some(parsed) = List::parse(value.as_bytes()) {
                prop_assert_eq!(List::parse(parsed.serialise().as_bytes()), Some(parsed));
            }
        }

        #[test]
        fn any_text_is_written_as_a_string_that_reads_back(text in "[ -~]{0,30}") {
            let mut out = String::new();
            write_token_or_string(&mut out, &text);
            let parsed = List::parse(out.as_bytes()).unwrap();
            let Member::Item(item) = &parsed.0[0] else { panic!("an item was written") };
            let (BareItem::String(read) | BareItem::Token(read)) = &item.value else { panic!("a text was written") };
            prop_assert_eq!(read, &text);
        }
    }
}
