//! The JSON Schema of the config file, made from the doc-commented model: what editors complete with, what
//! `shape` checks against, and what the reference and the defaults are read from.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::file::File;

/// Where the schema says it lives.
const ID: &str = "proxy-stone.toml.schema.json";

static SCHEMA: LazyLock<Value> = LazyLock::new(build);

/// The schema as JSON (draft 2020-12). The same for every run.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema as text, with a final newline.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn build() -> Value {
    let mut root = schemars::schema_for!(File).to_value();
    drop_nulls(&mut root);
    add_profiles(&mut root);
    if let Some(object) = root.as_object_mut() {
        object.insert("$id".into(), ID.into());
        object.insert("title".into(), "proxy-stone.toml".into());
    }
    root
}

/// TOML has no null: an optional key is left out. What serde calls null must not be offered by editors.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Object(object) => {
            object.values_mut().for_each(drop_nulls);
            drop_null_type(object);
            join_lines(object);
            drop_null_branch(object);
            // serde's own defaults (empty lists, empty structs) say nothing that the docs do not.
            if object.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                object.remove("default");
            }
        }
        _ => {}
    }
}

/// Doc comments are wrapped for the source; readers of the schema wrap for themselves.
fn join_lines(object: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

fn drop_null_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get_mut("type") else { return };
    types.retain(|kind| kind != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        object.insert("type".into(), only);
    }
}

fn drop_null_branch(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// A profile takes every key of the top level but `profiles` itself.
fn add_profiles(root: &mut Value) {
    let Some(properties) = root.get("properties").cloned() else { return };
    let profile = json!({
        "description": "A profile: any of the top level's keys, put over them when it is chosen.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    root["$defs"]["Profile"] = profile;
    root["properties"]["profiles"] = json!({
        "description": "Profiles by name, chosen with --profile. What a profile says is put over the top level: \
                        tables key by key, everything else by value.",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/Profile" },
    });
}

/// Follows references to what is meant.
pub fn resolve(mut schema: &'static Value) -> &'static Value {
    while let Some(name) = reference(schema) {
        match SCHEMA.get("$defs").and_then(|defs| defs.get(name)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_whole() {
        let text = text();
        assert!(!text.contains("\"null\""), "{text}");
        assert!(text.contains("\"$id\""));
        assert!(schema()["properties"]["profiles"].is_object());
        documented("", schema());
    }

    /// Every key says what it is for.
    fn documented(path: &str, schema: &Value) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                assert!(property.get("description").is_some(), "{path}.{name} has no description");
            }
        }
        if let Some(defs) = schema.get("$defs").and_then(Value::as_object) {
            defs.iter().for_each(|(name, def)| documented(name, def));
        }
    }
}
