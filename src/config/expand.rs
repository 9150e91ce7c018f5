//! Turns the short forms into the long ones, and fills in what is built in, so that one form is compiled and
//! `config show` tells the whole of it.

use serde_json::Value as Json;

use super::address::Target;
use super::schema::{resolve, schema};
use super::shape::branches;
use super::tree::{Node, Origin, Value};

/// The name of the upstream and the route that a top-level `upstream` makes.
pub const DEFAULT: &str = "default";

/// Keys of the top level that hold for every route which does not say otherwise, and asks an upstream.
const FROM_TOP: [&str; 3] = ["cache", "maintenance", "compress"];

/// Those that hold for every other route, too.
const FOR_ALL: [&str; 2] = ["cors", "basic_auth"];

/// Expands a checked tree.
pub fn expand(root: &mut Node) {
    let catch_all = root.get("upstream").cloned().map(|target| name_target(root, target, DEFAULT));
    if let Some(target) = &catch_all {
        root.set("upstream", target.clone());
    }
    let keys = FROM_TOP.iter().chain(&FOR_ALL);
    let from_top: Vec<_> = keys.filter_map(|key| Some((*key, root.get(key).cloned()?))).collect();
    let mut routes =
        root.remove("routes").unwrap_or_else(|| Node::made(Value::Array(Vec::new()), Origin::Default));
    if let Value::Array(items) = &mut routes.value {
        for (index, route) in items.iter_mut().enumerate() {
            expand_route(root, route, index, catch_all.as_ref(), &from_top);
        }
        if let Some(target) = catch_all {
            let route = default_route(items, target, from_top);
            items.push(route);
        }
    }
    root.set("routes", routes);
    fill(schema(), root);
}

fn expand_route(
    root: &mut Node,
    route: &mut Node,
    index: usize,
    catch_all: Option<&Node>,
    from_top: &[(&'static str, Node)],
) {
    let answers_itself = ["respond", "redirect"].iter().any(|key| route.get(key).is_some());
    if let Some(target) = route.get("upstream").cloned() {
        let url = target.as_str().unwrap_or_default().to_owned();
        let named = name_target(root, target, &url);
        route.set("upstream", named);
    } else if let (Some(target), false) = (catch_all, route.damaged || answers_itself) {
        route.set("upstream", target.clone());
    }
    if route.get("name").is_none() {
        let name = format!("route-{}", index + 1);
        route.set("name", Node::made(Value::String(name), Origin::Default));
    }
    for (key, value) in from_top.iter().filter(|(key, _)| !answers_itself || FOR_ALL.contains(key)) {
        if route.get(key).is_none() {
            route.set(key, value.clone());
        }
    }
}

fn default_route(routes: &[Node], target: Node, from_top: Vec<(&'static str, Node)>) -> Node {
    let taken =
        |name: &str| routes.iter().any(|route| route.get("name").and_then(Node::as_str) == Some(name));
    let name = if taken(DEFAULT) { "default-upstream" } else { DEFAULT };
    let mut route = Node::empty_table(target.origin.clone());
    route.place = target.place.clone();
    route.set("name", Node::made(Value::String(name.into()), Origin::Default));
    route.set("upstream", target);
    for (key, value) in from_top {
        route.set(key, value);
    }
    route
}

/// The name of what a target means; a URL becomes an upstream of that name, or of its own text where the name is
/// taken.
fn name_target(root: &mut Node, target: Node, name: &str) -> Node {
    let Some(url) = target.as_str().filter(|text| Target::is_url(text)).map(str::to_owned) else {
        return target;
    };
    if root.get("upstreams").is_none() {
        root.set("upstreams", Node::empty_table(target.origin.clone()));
    }
    let Some(upstreams) = root.get_mut("upstreams") else { return target };
    let name = if upstreams.get(name).is_some() { url.as_str() } else { name };
    if upstreams.get(name).is_none() {
        let mut upstream = Node::empty_table(target.origin.clone());
        upstream.place = target.place.clone();
        upstream.key = target.key.clone();
        upstream.set("url", target.clone());
        upstreams.set(name, upstream);
    }
    Node { value: Value::String(name.to_owned()), ..target }
}

/// Sections that there are even if nothing is written of them.
const SECTIONS: [&str; 5] = ["store", "server", "telemetry", "key", "tags"];

/// Puts the schema's defaults where nothing is written.
fn fill(schema: &'static Json, node: &mut Node) {
    match &mut node.value {
        Value::Array(items) => {
            let item_schema = branches(schema).into_iter().find_map(|branch| branch.get("items"));
            if let Some(item_schema) = item_schema {
                items.iter_mut().for_each(|item| fill(item_schema, item));
            }
        }
        Value::Table(_) => {
            if let Some(table) = branches(schema).into_iter().find(is_object) {
                fill_table(table, node);
            }
        }
        _ => {}
    }
}

fn is_object(branch: &&Json) -> bool {
    branch.get("type").is_some_and(|kind| kind == "object")
}

fn fill_table(schema: &'static Json, node: &mut Node) {
    if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
        for (key, property) in properties.iter().filter(|(key, _)| *key != "profiles") {
            if node.get(key).is_none() {
                if let Some(default) = property.get("default") {
                    node.set(key, from_json(default));
                } else if SECTIONS.contains(&key.as_str()) && branches(property).iter().any(is_object) {
                    node.set(key, Node::empty_table(Origin::Default));
                }
            }
            if let Some(value) = node.get_mut(key) {
                fill(property, value);
            }
        }
    } else if let (Some(values), Value::Table(entries)) =
        (schema.get("additionalProperties"), &mut node.value)
    {
        entries.iter_mut().for_each(|(_, value)| fill(resolve(values), value));
    }
}

fn from_json(json: &Json) -> Node {
    let value = match json {
        Json::Bool(yes) => Value::Boolean(*yes),
        Json::Number(number) => Value::Integer(number.as_i64().unwrap_or_default()),
        Json::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        Json::String(text) => Value::String(text.clone()),
        // The schema holds no other defaults: `schema` drops them.
        Json::Null | Json::Object(_) => return Node::empty_table(Origin::Default),
    };
    Node::made(value, Origin::Default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::finding::SourceText;
    use crate::config::tree::parse;

    fn expanded(text: &str) -> Json {
        let (mut root, findings) = parse(&SourceText::new("t.toml", text));
        assert_eq!(findings, []);
        expand(&mut root);
        root.to_json()
    }

    #[test]
    fn a_url_makes_an_upstream_and_a_route() {
        let json = expanded("upstream = 'http://a'\ncache = '60s'");
        assert_eq!(json["upstreams"]["default"]["url"], "http://a");
        assert_eq!(json["upstreams"]["default"]["retries"], 2);
        assert_eq!(json["routes"][0]["name"], "default");
        assert_eq!(json["routes"][0]["upstream"], "default");
        assert_eq!(json["routes"][0]["cache"], "60s");
        assert_eq!(json["listen"], "127.0.0.1:8080");
        assert_eq!(json["store"]["memory"], "256MiB");
    }

    #[test]
    fn routes_take_what_they_do_not_say_from_the_top() {
        let json = expanded(
            "upstream = 'http://a'\ncache = 'p'\n[upstreams.default]\nurl='http://b'\n[[routes]]\n[[routes]]\n\
             name = 'default'\nupstream = 'http://c'\ncache = { ttl = '1s' }\n",
        );
        assert_eq!(json["routes"][0]["upstream"], "http://a");
        assert_eq!(json["routes"][0]["name"], "route-1");
        assert_eq!(json["routes"][0]["cache"], "p");
        assert_eq!(json["routes"][1]["upstream"], "http://c");
        assert_eq!(json["routes"][1]["cache"]["heuristics"], true);
        assert_eq!(json["routes"][2]["name"], "default-upstream");
        assert_eq!(json["upstreams"]["http://a"]["url"], "http://a");
        assert_eq!(json["upstreams"]["default"]["url"], "http://b");
    }
}
