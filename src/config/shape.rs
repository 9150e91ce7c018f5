//! Holds a tree against the schema: unknown keys, wrong types, strings that do not parse. What is wrong is told
//! and dropped, so that the rest can still be checked.

use serde_json::Value as Json;

use super::codes::Code;
use super::finding::Finding;
use super::scalar::{Problem, check_format, expected_of};
use super::schema::{resolve, schema};
use super::suggest::{did_you_mean, nearest};
use super::tree::{Node, Origin, Value, path_text};

/// Checks a whole config.
pub fn check(root: &mut Node, findings: &mut Vec<Finding>) {
    Walk { findings }.visit(schema(), root, &mut Vec::new());
}

/// Checks a profile that is not put over anything.
pub fn check_profile(name: &str, node: &mut Node, findings: &mut Vec<Finding>) {
    let Some(profile) = schema().pointer("/$defs/Profile") else { return };
    Walk { findings }.visit(profile, node, &mut vec!["profiles".into(), name.into()]);
}

struct Walk<'a> {
    findings: &'a mut Vec<Finding>,
}

type Path = Vec<super::tree::Step>;

impl Walk<'_> {
    /// Whether the node may stay.
    fn visit(&mut self, schema: &'static Json, node: &mut Node, path: &mut Path) -> bool {
        if node.unresolved {
            return false;
        }
        let branches = branches(schema);
        convert_variable(&branches, node);
        let fitting: Vec<_> =
            branches.iter().copied().filter(|branch| accepts(branch, &node.value)).collect();
        let Some(first) = fitting.first().copied() else {
            let finding = type_finding(&branches, node, path);
            self.findings.push(finding);
            return false;
        };
        match &mut node.value {
            Value::String(text) => match string_problem(&fitting, &branches, text) {
                Some(problem) => {
                    self.push(problem, node);
                    false
                }
                None => true,
            },
            Value::Integer(number) => match range_problem(first, *number, path) {
                Some(problem) => {
                    self.push(problem, node);
                    false
                }
                None => true,
            },
            Value::Array(_) => {
                self.visit_array(first, node, path);
                true
            }
            Value::Table(_) => self.visit_table(first, node, path),
            Value::Boolean(_) | Value::Float(_) | Value::Datetime(_) => true,
        }
    }

    fn push(&mut self, problem: Problem, node: &Node) {
        self.findings.push(finding_of(problem, node));
    }

    fn visit_array(&mut self, schema: &'static Json, node: &mut Node, path: &mut Path) {
        let Value::Array(items) = &mut node.value else { return };
        let Some(item_schema) = schema.get("items") else { return };
        let before = items.len();
        let mut index = 0;
        items.retain_mut(|item| {
            path.push(index.into());
            index += 1;
            let keep = self.visit(item_schema, item, path);
            path.pop();
            keep
        });
        node.damaged |= items.len() != before;
    }

    fn visit_table(&mut self, schema: &'static Json, node: &mut Node, path: &mut Path) -> bool {
        let missing = self.missing_keys(schema, node, path);
        let Value::Table(entries) = &mut node.value else { return true };
        let before = entries.len();
        entries.retain_mut(|(key, value)| {
            let Some(value_schema) = self.schema_of(schema, key, value) else { return false };
            path.push(key.as_str().into());
            let keep = self.visit(value_schema, value, path);
            path.pop();
            keep
        });
        let dropped = entries.len() != before;
        node.damaged |= dropped;
        // A required key that was there and has been told of is no less missing for serde.
        let lost = dropped && required(schema).any(|key| node.get(key).is_none());
        !missing && !lost
    }

    fn missing_keys(&mut self, schema: &'static Json, node: &Node, path: &Path) -> bool {
        let missing: Vec<&str> = required(schema).filter(|key| node.get(key).is_none()).collect();
        for key in &missing {
            let message = format!("`{key}` is missing in `{}`", path_text(path));
            self.findings.push(Finding::new(Code::MissingKey, message).at(node.place.clone()));
        }
        !missing.is_empty()
    }

    /// The schema of a table's key; tells of an unknown one.
    fn schema_of(&mut self, schema: &'static Json, key: &str, value: &Node) -> Option<&'static Json> {
        if let Some(known) = schema.get("properties").and_then(|properties| properties.get(key)) {
            return Some(known);
        }
        match schema.get("additionalProperties") {
            Some(Json::Bool(false)) | None => {
                self.findings.push(unknown_key(schema, key, value));
                None
            }
            Some(any) => {
                let names =
                    schema.pointer("/propertyNames/format").and_then(Json::as_str).unwrap_or_default();
                match check_format(names, key) {
                    Ok(()) => Some(any),
                    Err(problem) => {
                        let finding = finding_of(problem, value).at(value.key.clone());
                        self.findings.push(finding);
                        None
                    }
                }
            }
        }
    }
}

fn finding_of(problem: Problem, node: &Node) -> Finding {
    let finding =
        Finding::new(problem.code, problem.message).at(node.place.clone().or_else(|| node.key.clone()));
    match problem.help {
        Some(help) => finding.help(help),
        None => finding,
    }
}

fn required(schema: &'static Json) -> impl Iterator<Item = &'static str> {
    schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// The alternatives of a schema, references followed.
pub fn branches(schema: &'static Json) -> Vec<&'static Json> {
    let schema = resolve(schema);
    match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
        Some(alternatives) => alternatives.iter().flat_map(branches).collect(),
        None => vec![schema],
    }
}

fn accepts(branch: &Json, value: &Value) -> bool {
    let kind = match value {
        Value::String(_) => "string",
        Value::Integer(_) => "integer",
        Value::Boolean(_) => "boolean",
        Value::Array(_) => "array",
        Value::Table(_) => "object",
        Value::Float(_) | Value::Datetime(_) => return false,
    };
    branch.get("type").is_some_and(|kinds| kinds == kind)
}

/// What a variable gives is text: where a number or boolean is wanted, it is read as one.
fn convert_variable(branches: &[&Json], node: &mut Node) {
    let from_variable = matches!(node.origin, Origin::Environment(_));
    let Value::String(text) = &node.value else { return };
    if !from_variable || branches.iter().any(|branch| accepts(branch, &node.value)) {
        return;
    }
    let number = text.parse().ok().map(Value::Integer);
    let Some(value) = number.or_else(|| text.parse().ok().map(Value::Boolean)) else { return };
    if branches.iter().any(|branch| accepts(branch, &value)) {
        node.value = value;
    }
}

fn string_problem(fitting: &[&'static Json], all: &[&'static Json], text: &str) -> Option<Problem> {
    let words: Vec<&str> = fitting.iter().filter_map(|branch| word(branch)).collect();
    if words.contains(&text) {
        return None;
    }
    let free = fitting.iter().find(|branch| word(branch).is_none());
    let Some(free) = free else {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let help = nearest(text, words.iter().copied()).map_or_else(
            || match all.iter().any(|branch| branch.get("type").is_some_and(|kind| kind == "object")) {
                true => format!("write {}, or a table", quoted.join(" or ")),
                false => format!("write {}", quoted.join(" or ")),
            },
            |word| format!("did you mean \"{word}\"?"),
        );
        return Some(Problem::new(
            Code::UnknownWord,
            format!("`{text}` is not among the words known here"),
            help,
        ));
    };
    let format = free.get("format").and_then(Json::as_str).unwrap_or_default();
    check_format(format, text).err()
}

fn word(branch: &'static Json) -> Option<&'static str> {
    branch.get("const").and_then(Json::as_str)
}

fn range_problem(schema: &Json, number: i64, path: &Path) -> Option<Problem> {
    let bound = |key: &str| schema.get(key).and_then(Json::as_i64);
    let name = path_text(path);
    let wrong = |how: String| Problem {
        code: Code::OutOfRange,
        message: format!("`{name}` must be {how}"),
        help: None,
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) if number < least => Some(wrong(format!("at least {least}"))),
        (_, Some(most)) if number > most => Some(wrong(format!("at most {most}"))),
        _ => None,
    }
}

fn unknown_key(schema: &'static Json, key: &str, value: &Node) -> Finding {
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Json::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let help = did_you_mean(key, known.iter().copied())
        .or_else(|| belongs(key))
        .unwrap_or_else(|| format!("the keys known here are {}", known.join(", ")));
    Finding::new(Code::UnknownKey, format!("unknown key `{key}`")).at(value.key.clone()).help(help)
}

/// Where a key that is not known here is known.
fn belongs(key: &str) -> Option<String> {
    const PLACES: [(&str, &str); 21] = [
        ("Tokens", "a table of tokens (`[tokens.NAME]`)"),
        ("User", "a policy's `key.user`"),
        ("Purge", "`[purge]`"),
        ("Route", "a route (`[[routes]]`)"),
        ("Match", "a route's `match`"),
        ("PathEdit", "a route's `path`"),
        ("QueryChanges", "a route's `query`"),
        ("FieldChanges", "a route's `request_headers` or `response_headers`"),
        ("Respond", "a route's `respond`"),
        ("RouteRedirect", "a route's `redirect`"),
        ("MaintenanceTable", "`maintenance`"),
        ("CompressTable", "`compress`"),
        ("Policy", "a policy (`[policies.NAME]`)"),
        ("Key", "a policy's `key`"),
        ("Tags", "a policy's `tags`"),
        ("Upstream", "an upstream (`[upstreams.NAME]`)"),
        ("EndpointTable", "one of an upstream's `endpoints`"),
        ("Store", "`[store]`"),
        ("Server", "`[server]`"),
        ("Telemetry", "`[telemetry]`"),
        ("LogTable", "`telemetry.access_log`"),
    ];
    let has = |def: &str| {
        schema().pointer(&format!("/$defs/{def}/properties")).is_some_and(|p| p.get(key).is_some())
    };
    if schema().get("properties").is_some_and(|properties| properties.get(key).is_some()) {
        return Some(format!("`{key}` belongs at the top of the file, before the first table"));
    }
    PLACES.iter().find(|(def, _)| has(def)).map(|(_, place)| format!("`{key}` is a key of {place}"))
}

fn type_finding(branches: &[&'static Json], node: &Node, path: &Path) -> Finding {
    if let Some(problem) = number_problem(branches, &node.value) {
        return finding_of(problem, node);
    }
    let expected: Vec<String> = branches.iter().filter_map(|branch| expected(branch)).collect();
    let message = format!("`{}` is {}, not {}", path_text(path), node.value.type_name(), either(expected));
    let finding = Finding::new(Code::WrongType, message).at(node.place.clone().or_else(|| node.key.clone()));
    match type_help(branches, node, path) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

/// A bare number where a unit or an address is wanted.
fn number_problem(branches: &[&Json], value: &Value) -> Option<Problem> {
    let number = match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.clone(),
        _ => return None,
    };
    let formats =
        ["duration", "positive-duration", "policy-or-duration", "size", "address", "listen-address"];
    let format = branches
        .iter()
        .filter_map(|branch| branch.get("format")?.as_str())
        .find(|format| formats.contains(format))?;
    match number.strip_prefix('-').filter(|_| format.contains("duration")) {
        Some(number) => Some(Problem::new(
            Code::NegativeDuration,
            format!("`-{number}` is below zero and has no unit"),
            format!("did you mean \"{number}s\"?"),
        )),
        None => check_format(format, &number).err(),
    }
}

fn type_help(branches: &[&Json], node: &Node, path: &Path) -> Option<String> {
    let wants = |kind: &str| branches.iter().any(|branch| branch.get("type").is_some_and(|t| t == kind));
    let name = path_text(path);
    match &node.value {
        Value::String(text) if wants("integer") && text.parse::<i64>().is_ok() => {
            Some("leave out the quotes".into())
        }
        Value::String(text) if wants("boolean") && text.parse::<bool>().is_ok() => {
            Some("leave out the quotes".into())
        }
        Value::Integer(number) if wants("string") => Some(format!("put it in quotes: \"{number}\"")),
        Value::Table(_) if wants("array") && !wants("string") => {
            Some(format!("write `[[{name}]]` with two brackets: each one is an item of the list"))
        }
        Value::Array(_) if wants("object") => Some(format!("write `[{name}.NAME]`: each has a name")),
        _ => None,
    }
}

fn expected(branch: &'static Json) -> Option<String> {
    if let Some(word) = word(branch) {
        return Some(format!("\"{word}\""));
    }
    let format = branch.get("format").and_then(Json::as_str).and_then(expected_of);
    let kind = branch.get("type").and_then(Json::as_str)?;
    Some(format.map_or_else(
        || match kind {
            "string" => "a string".into(),
            "integer" => "an integer".into(),
            "boolean" => "true or false".into(),
            "array" => "a list".into(),
            "object" => "a table".into(),
            other => other.to_owned(),
        },
        str::to_owned,
    ))
}

fn either(mut alternatives: Vec<String>) -> String {
    match alternatives.pop() {
        Some(last) if alternatives.is_empty() => last,
        Some(last) => format!("{} or {last}", alternatives.join(", ")),
        None => "what is allowed here".into(),
    }
}
