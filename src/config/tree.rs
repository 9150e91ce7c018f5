//! The config as values that know where they came from: what profiles merge over, checks point into, and
//! `config show --origin` tells.

use std::fmt;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::finding::{Finding, Place, SourceText};

/// A value, where it stands and who gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where the value stands.
    pub place: Option<Place>,
    /// Where its key stands.
    pub key: Option<Place>,
    /// Who gave it.
    pub origin: Origin,
    /// It still holds a variable that has no value, so that its text means nothing yet.
    pub unresolved: bool,
    /// Something within was wrong and has been dropped, so what is missing proves nothing.
    pub damaged: bool,
}

/// A TOML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A float, or an integer beyond 64 bits: as it is written, since no key takes one.
    Float(String),
    /// A boolean.
    Boolean(bool),
    /// A date or time, as it is written; no key takes one.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<(String, Node)>),
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file's top level.
    File,
    /// A profile of the file.
    Profile(Arc<str>),
    /// The file, by way of this environment variable.
    Environment(Box<str>),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nobody: it is built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One step of a path into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A table's key.
    Key(String),
    /// An array's index, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Writes a path as people do: `routes[2].match.path`.
pub fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl Value {
    /// What TOML calls the type, with its article.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// A value that no file holds.
    pub fn made(value: Value, origin: Origin) -> Self {
        Self { value, place: None, key: None, origin, unresolved: false, damaged: false }
    }

    /// An empty table.
    pub fn empty_table(origin: Origin) -> Self {
        Self::made(Value::Table(Vec::new()), origin)
    }

    /// The string it is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of the table it is; none for anything else.
    pub fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The items of the list it is; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The value under a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(entries) => entries.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Takes a key out of the table.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(at).1)
    }

    /// Sets a key of the table, in place of what it was.
    pub fn set(&mut self, key: &str, node: Node) {
        let Value::Table(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = node,
            None => entries.push((key.to_owned(), node)),
        }
    }

    /// The value at a path.
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        })
    }

    /// Where the value at a path stands, or what holds it where it is itself not in the text.
    pub fn place_of(&self, path: &[Step]) -> Option<Place> {
        (0..=path.len())
            .rev()
            .filter_map(|len| self.at(&path[..len]))
            .find_map(|node| node.place.clone().or_else(|| node.key.clone()))
    }

    /// Where the key at a path stands, or what is nearest to it.
    pub fn key_place(&self, path: &[Step]) -> Option<Place> {
        self.at(path).and_then(|node| node.key.clone()).or_else(|| self.place_of(path))
    }

    /// Puts `over` in: tables key by key, everything else by value.
    pub fn merge(&mut self, over: Node) {
        if matches!((&self.value, &over.value), (Value::Table(_), Value::Table(_))) {
            self.merge_entries(over);
        } else {
            *self = over;
        }
    }

    /// Puts the entries of the table `over` in; this stays where it is.
    pub fn merge_entries(&mut self, over: Node) {
        let Value::Table(entries) = over.value else { return };
        for (name, node) in entries {
            match self.get_mut(&name) {
                Some(old) => old.merge(node),
                None => self.set(&name, node),
            }
        }
    }

    /// Says of this and everything within who gave it.
    pub fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.set_origin(origin)),
            Value::Table(entries) => entries.iter_mut().for_each(|(_, node)| node.set_origin(origin)),
            _ => {}
        }
    }

    /// As JSON, for serde.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(text) | Value::Float(text) | Value::Datetime(text) => text.clone().into(),
            Value::Integer(number) => (*number).into(),
            Value::Boolean(yes) => (*yes).into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                serde_json::Value::Object(entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
            }
        }
    }
}

/// Reads TOML. With findings the tree holds what could be read.
pub fn parse(source: &Arc<SourceText>) -> (Node, Vec<Finding>) {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let mut findings: Vec<Finding> = errors.iter().map(|error| syntax_finding(source, error)).collect();
    // Where one line has several, the first is what is meant and the others follow from it.
    let line = |finding: &Finding| finding.place.as_ref().map(|place| place.start().line);
    findings.dedup_by(|later, first| later.code == Code::Syntax && line(later) == line(first));
    let span = table.span();
    let mut root = Node::made(convert_table(source, table.into_inner()), Origin::File);
    root.place = Some(Place::new(source, span.start..span.start));
    (root, findings)
}

fn syntax_finding(source: &Arc<SourceText>, error: &toml::de::Error) -> Finding {
    let place = error.span().map(|span| Place::new(source, span));
    let message = error.message().trim().trim_end_matches(", expected nothing");
    if message.starts_with("duplicate key") {
        let key = place.as_ref().map_or("", |place| &source.text[place.span.clone()]);
        let finding = Finding::new(Code::DuplicateKey, format!("`{key}` is given twice")).at(place.clone());
        return finding.help("a key, or a table's header, may stand only once: merge the two");
    }
    Finding::new(Code::Syntax, format!("this is not valid TOML: {message}")).at(place)
}

fn convert_table(source: &Arc<SourceText>, table: DeTable<'_>) -> Value {
    let mut entries: Vec<(usize, String, Node)> = table
        .into_iter()
        .map(|(key, value)| {
            let span = key.span();
            let start = span.start;
            let mut node = convert(source, value);
            node.key = Some(Place::new(source, span));
            (start, key.into_inner().into_owned(), node)
        })
        .collect();
    entries.sort_by_key(|(start, ..)| *start);
    Value::Table(entries.into_iter().map(|(_, key, node)| (key, node)).collect())
}

fn convert(source: &Arc<SourceText>, value: toml::Spanned<DeValue<'_>>) -> Node {
    let place = Place::new(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(number.to_string()),
        },
        DeValue::Float(number) => Value::Float(number.to_string()),
        DeValue::Boolean(yes) => Value::Boolean(yes),
        DeValue::Datetime(when) => Value::Datetime(when.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| convert(source, item)).collect()),
        DeValue::Table(table) => convert_table(source, table),
    };
    Node { place: Some(place), ..Node::made(value, Origin::File) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Node, Vec<Finding>) {
        parse(&SourceText::new("t.toml", text))
    }

    #[test]
    fn values_know_their_place() {
        let (root, findings) =
            read("listen = \":80\"\n[upstreams.api]\nurl = 'http://a'\n[[routes]]\nname='r'\n");
        assert_eq!(findings, []);
        let place = root.place_of(&["upstreams".into(), "api".into(), "url".into()]).unwrap();
        assert_eq!((place.start().line, place.start().column), (3, 7));
        let place = root.place_of(&["routes".into(), 0.into(), "upstream".into()]).unwrap();
        assert_eq!(place.start().line, 4);
        assert_eq!(path_text(&["routes".into(), 0.into(), "name".into()]), "routes[0].name");
    }

    #[test]
    fn every_syntax_error_is_told() {
        let (_, findings) = read("a = \nb = 1\nb = 2\nc = [1,,2]\n");
        let codes: Vec<_> =
            findings.iter().map(|f| (f.code, f.place.as_ref().unwrap().start().line)).collect();
        assert!(codes.contains(&(Code::DuplicateKey, 3)), "{codes:?}");
        assert!(codes.contains(&(Code::Syntax, 1)), "{codes:?}");
    }

    #[test]
    fn merging_goes_key_by_key() {
        let (mut base, _) = read("a = 1\n[t]\nx = 1\ny = [1, 2]\n");
        let (over, _) = read("t = { y = [3], z = 4 }\n");
        base.merge(over);
        assert_eq!(base.to_json(), serde_json::json!({"a": 1, "t": {"x": 1, "y": [3], "z": 4}}));
    }
}
