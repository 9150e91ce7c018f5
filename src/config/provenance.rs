//! Where the config says what a route does: file, line and words of each key, kept beside the settings for those who
//! ask why. Nothing that answers requests reads it.

use std::collections::HashMap;

use super::compile::route_name;
use super::file::{Cache, File};
use super::finding::Place;
use super::scalar::CacheText;
use super::tree::{Node, Step, Value, path_text};

/// The longest value that is repeated, in characters.
const MAX_VALUE: usize = 80;

/// What the config says of each route, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    routes: HashMap<String, Vec<Said>>,
}

/// One key of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The key as its route's policy calls it: `ttl`, `key.ignore_query`, `mode`.
    pub key: String,
    /// The key as the whole file calls it: `policies.default.ttl`.
    pub path: String,
    /// File and line: `proxy-stone.toml:12`.
    pub at: String,
    /// What stands there.
    pub value: String,
}

impl Provenance {
    /// Of an expanded tree, and the model that was read from it.
    pub fn of(root: &Node, file: &File) -> Self {
        let routes = file.routes.iter().enumerate();
        Self { routes: routes.map(|(at, route)| (route_name(at, route), keys(root, at, route))).collect() }
    }

    /// What the config says of this key for this route; `None`: nothing, so that the default holds. A key that has
    /// keys of its own is found by the first of them.
    pub fn find(&self, route: &str, key: &str) -> Option<&Said> {
        let said = self.routes.get(route)?;
        let within = |said: &&Said| said.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        said.iter().find(|said| said.key == key).or_else(|| said.iter().find(within))
    }
}

fn keys(root: &Node, index: usize, route: &super::file::Route) -> Vec<Said> {
    let at: Vec<Step> = vec!["routes".into(), index.into()];
    let mut said = Vec::new();
    if let Some(node) = root.at(&at) {
        let name = node.get("name").filter(|name| name.place.is_some()).unwrap_or(node);
        said.extend(told("route", &path_text(&at), name));
    }
    let below = |key: &str| [at.clone(), vec![key.into()]].concat();
    if let Some(node) = root.get("mode").or_else(|| root.at(&below("mode"))) {
        said.extend(told("mode", "mode", node));
    }
    for key in ["respond", "redirect", "maintenance", "compress"] {
        if let Some(node) = root.at(&below(key)) {
            said.extend(told(key, &path_text(&below(key)), node));
        }
    }
    let Some(node) = root.at(&below("cache")) else { return said };
    // A policy for all routes is written at the top.
    let from_top = root.get("cache").is_some_and(|top| top.place.is_some() && top.place == node.place);
    let path = if from_top { "cache".to_owned() } else { path_text(&below("cache")) };
    match &route.cache {
        Some(Cache::Text(CacheText::Policy(name))) => {
            said.extend(told("policy", &path, node));
            if let Some(policy) = root.get("policies").and_then(|policies| policies.get(name)) {
                flatten("", &format!("policies.{name}"), policy, &mut said);
            }
        }
        Some(Cache::Text(CacheText::Time(_))) => said.extend(told("ttl", &path, node)),
        Some(Cache::Switch(_)) => said.extend(told("cache", &path, node)),
        Some(Cache::Inline(_)) => flatten("", &path, node, &mut said),
        None => {}
    }
    said
}

/// Every key within a table that is written somewhere.
fn flatten(key: &str, path: &str, node: &Node, said: &mut Vec<Said>) {
    let Value::Table(entries) = &node.value else {
        said.extend(told(key, path, node));
        return;
    };
    for (name, node) in entries {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        flatten(&key, &format!("{path}.{name}"), node, said);
    }
}

fn told(key: &str, path: &str, node: &Node) -> Option<Said> {
    let place = node.place.as_ref()?;
    Some(Said { key: key.to_owned(), path: path.to_owned(), at: place.to_string(), value: words(place) })
}

/// What stands at a place, on one line.
fn words(place: &Place) -> String {
    let text = place.source.text[place.span.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, Source, load::load_with};

    #[test]
    fn each_key_of_a_route_s_policy_knows_its_line() {
        let text = "upstream = 'http://a'\ncache = '60s'\n[[routes]]\nname = 'users'\nmatch = { path = '/u/*' }\n\
                    cache = 'p'\n[[routes]]\nname = 'inline'\nmatch = { path = '/i' }\n\
                    cache = { ttl = '${TTL:-5s}', key = { ignore_query = ['utm_*'] } }\n\
                    [policies.p]\nheuristics = false\n";
        let source = Source::Text { name: "t.toml".into(), text: text.into() };
        let loaded = load_with(&source, None, &Overrides::default(), &|_| None);
        let provenance = loaded.compiled.unwrap_or_else(|| panic!("{:?}", loaded.findings)).provenance;
        let said = |route: &str, key: &str| {
            provenance.find(route, key).map(|said| format!("{} at {}: {}", said.path, said.at, said.value))
        };
        assert_eq!(said("default", "ttl").as_deref(), Some("cache at t.toml:2: '60s'"));
        assert_eq!(said("users", "heuristics").as_deref(), Some("policies.p.heuristics at t.toml:12: false"));
        assert_eq!(said("users", "policy").as_deref(), Some("routes[0].cache at t.toml:6: 'p'"));
        assert_eq!(said("users", "route").as_deref(), Some("routes[0] at t.toml:4: 'users'"));
        assert_eq!(said("users", "ttl"), None, "a default stands nowhere");
        assert_eq!(said("inline", "ttl").as_deref(), Some("routes[1].cache.ttl at t.toml:10: '${TTL:-5s}'"));
        let ignored = "routes[1].cache.key.ignore_query at t.toml:10: ['utm_*']";
        assert_eq!(said("inline", "key").as_deref(), Some(ignored), "by what stands in it");
        assert_eq!(said("nobody", "ttl"), None);
    }
}
