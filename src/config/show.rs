//! The effective config, short forms spelled out and everything built in filled in, as TOML; on request with the
//! origin of each value.

use super::tree::{Node, Origin, Value};

/// Writes an expanded tree as TOML that loads to the same settings.
pub fn show(tree: &Node, origins: bool) -> String {
    let mut writer = Writer { out: String::new(), origins };
    writer.table(&mut Vec::new(), &without_short_forms(tree));
    writer.out
}

/// Both stand in the routes by now; left at the top they would be put there once more.
fn without_short_forms(tree: &Node) -> Node {
    let mut root = tree.clone();
    root.remove("upstream");
    root.remove("cache");
    root
}

/// One line per value: its path, the value as JSON and its origin.
pub fn values(tree: &Node) -> Vec<(String, serde_json::Value, String)> {
    let mut found = Vec::new();
    collect(&without_short_forms(tree), &mut Vec::new(), &mut found);
    found
}

type Found = Vec<(String, serde_json::Value, String)>;

fn collect(node: &Node, path: &mut Vec<super::tree::Step>, found: &mut Found) {
    match &node.value {
        Value::Table(entries) => {
            for (key, value) in entries {
                path.push(key.as_str().into());
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) if items.iter().any(is_table) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.into());
                collect(item, path, found);
                path.pop();
            }
        }
        _ => found.push((super::tree::path_text(path), node.to_json(), origin_text(node))),
    }
}

/// Who gave a value, and where.
pub fn origin_text(node: &Node) -> String {
    match (&node.origin, &node.place) {
        (Origin::File, Some(place)) => place.to_string(),
        (Origin::Profile(_) | Origin::Environment(_), Some(place)) => format!("{place} ({})", node.origin),
        (origin, _) => origin.to_string(),
    }
}

fn is_table(node: &Node) -> bool {
    matches!(node.value, Value::Table(_))
}

struct Writer {
    out: String,
    origins: bool,
}

impl Writer {
    /// A table's own values first: what follows a header belongs to that header.
    fn table(&mut self, path: &mut Vec<String>, node: &Node) {
        let top = path.is_empty();
        let own = |(_, value): &&(String, Node)| !(is_table(value) || top && is_list_of_sections(value));
        for (key, value) in node.entries().iter().filter(own) {
            self.entry(key, value);
        }
        for (key, value) in node.entries().iter().filter(|entry| !own(entry)) {
            path.push(key_text(key));
            match &value.value {
                Value::Array(items) => {
                    for item in items {
                        self.header("[[", path, "]]");
                        self.table(path, item);
                    }
                }
                _ => {
                    // A table of tables needs no header of its own.
                    if value.entries().is_empty() || value.entries().iter().any(|(_, value)| !is_table(value))
                    {
                        self.header("[", path, "]");
                    }
                    self.table(path, value);
                }
            }
            path.pop();
        }
    }

    fn header(&mut self, open: &str, path: &[String], close: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&format!("{open}{}{close}\n", path.join(".")));
    }

    fn entry(&mut self, key: &str, value: &Node) {
        let key = key_text(key);
        match &value.value {
            Value::Array(items) if items.len() > 1 || items.iter().any(is_table) => {
                self.out.push_str(&format!("{key} = [\n"));
                for item in items {
                    self.line(&format!("    {},", inline(item)), item);
                }
                self.out.push_str("]\n");
            }
            _ => self.line(&format!("{key} = {}", inline(value)), value),
        }
    }

    fn line(&mut self, text: &str, node: &Node) {
        self.out.push_str(text);
        if self.origins {
            self.out.push_str(&format!("  # {}", origin_text(node)));
        }
        self.out.push('\n');
    }
}

/// Routes; other lists that hold tables (endpoints, listeners) are written in place.
fn is_list_of_sections(value: &Node) -> bool {
    !value.items().is_empty() && value.items().iter().all(|item| item.get("name").is_some())
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        // No key takes these, so that none is in a tree that compiles.
        Value::Float(text) | Value::Datetime(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) => {
            let entry = |(key, value): &(String, Node)| format!("{} = {}", key_text(key), inline(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn key_text(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !key.is_empty() && key.bytes().all(bare) {
        true => key.to_owned(),
        false => toml::Value::String(key.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::provenance::Provenance;
    use crate::config::{Overrides, Source, load};

    fn loaded(text: &str) -> crate::config::Loaded {
        let source = Source::Text { name: "t.toml".into(), text: text.into() };
        load(&source, None, &Overrides { workers: Some(2), ..Overrides::default() })
    }

    #[test]
    fn what_is_shown_loads_to_the_same() {
        let configs = [
            "upstream = 'https://api.example.com/v1'\ncache = '60s'",
            "listen = [':80', { addr = '127.0.0.1:81' }]\nupstream = 'a'\n[upstreams.a]\nendpoints = ['http://a', \
             { url = 'http://b', weight = 3 }]\n[[routes]]\nname='x \\\"y'\n",
            "[[routes]]\nname = 'r'\nmatch = { headers = { x-a = true, \"x.b\" = '~ \"q\"' } }\n\
             upstream = 'http://c'\ncache = { ttl = '1s', tags = { add = ['a', 'b'] } }\n\
             [telemetry]\naccess_log = { format = 'json' }",
        ];
        for config in configs {
            let first = loaded(config);
            let Some(mut compiled) = first.compiled else { continue };
            let shown = show(&first.tree, true);
            let second = loaded(&shown);
            let mut again = second.compiled.unwrap_or_else(|| panic!("{shown}\n{:?}", second.findings));
            // Where it was said differs, what was said does not.
            compiled.provenance = Provenance::default();
            again.provenance = Provenance::default();
            assert_eq!(format!("{compiled:?}"), format!("{again:?}"), "{shown}");
        }
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let text = show(&loaded("upstream = 'http://a'\n[store]\nmemory = '1GiB'").tree, true);
        for line in [
            "listen = \"127.0.0.1:8080\"  # default",
            "workers = 2  # --workers",
            "url = \"http://a\"  # t.toml:1",
            "memory = \"1GiB\"  # t.toml:3",
            "disk = \"10GiB\"  # default",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
