//! The starter file: every key with its documentation, all but the upstream commented out.

use serde_json::Value as Json;

use super::schema::{resolve, schema};
use super::shape::branches;

/// Lines of documentation are broken at this width.
const WIDTH: usize = 78;

const HEAD: &str = "\
# A config of proxy-stone. Check it with `proxy-stone config lint`, start with
# `proxy-stone serve`. A line that begins with `#` and no space is a key that is
# not set: what it shows is the default or an example.
";

/// What stands for keys that have no default: the section, the key and an example in TOML.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("", "upstream", "\"https://api.example.com\""),
    ("", "cache", "\"60s\""),
    ("", "mode", "\"off\""),
    ("", "maintenance", "false"),
    ("", "compress", "true"),
    ("", "basic_auth", "false"),
    ("", "cors", "\"https://app.example.com\""),
    ("Upstream", "url", "\"http://10.0.0.1:8080\""),
    ("Upstream", "endpoints", "[\"http://10.0.0.1:8080\", { url = \"http://10.0.0.2:8080\", weight = 2 }]"),
    ("Upstream", "ca", "\"ca.pem\""),
    ("Route", "name", "\"users\""),
    (
        "Route",
        "match",
        "{ host = \"api.example.com\", path = \"/v1/users/*\", methods = [\"GET\", \"HEAD\"] }",
    ),
    ("Route", "upstream", "\"api\""),
    ("Route", "cache", "\"default\""),
    ("Route", "timeout", "\"2m\""),
    ("Route", "max_request_body", "\"10MiB\""),
    ("Route", "path", "{ strip_prefix = \"/api\" }"),
    ("Route", "query", "{ remove = [\"utm_*\"] }"),
    ("Route", "request_headers", "{ set = { x-api = \"{route}\" } }"),
    ("Route", "response_headers", "{ remove = [\"server\"] }"),
    ("Route", "allow", "[\"10.0.0.0/8\"]"),
    ("Route", "deny", "[\"10.66.0.0/16\"]"),
    ("Route", "respond", "{ status = 410, body = \"gone\" }"),
    ("Route", "redirect", "\"https://www.example.com{path}{query}\""),
    (
        "Route",
        "basic_auth",
        "{ users = { alice = \"$2y$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\" } }",
    ),
    ("Route", "cors", "{ origins = [\"https://*.example.com\"], credentials = true, max_age = \"10m\" }"),
    ("Route", "maintenance", "{ retry_after = \"10m\" }"),
    ("Route", "compress", "{ codings = [\"br\", \"gzip\"], min_size = \"2KiB\" }"),
    ("Route", "tunnel_timeout", "\"1d\""),
    ("Server", "max_tunnels", "10000"),
    ("Route", "min_request_rate", "\"1KiB\""),
    ("Route", "allow_methods", "[\"GET\", \"HEAD\", \"POST\"]"),
    ("Route", "allow_schemes", "[\"http\", \"https\"]"),
    ("Policy", "ttl", "\"60s\""),
    ("Policy", "override_ttl", "{ 404 = \"10s\" }"),
    ("Policy", "min_ttl", "\"1s\""),
    ("Policy", "max_ttl", "\"1d\""),
    ("Policy", "jitter", "\"10%\""),
    ("Policy", "prefetch", "\"10%\""),
    ("Policy", "keep", "\"1d\""),
    ("Policy", "stale_while_revalidate", "\"30s\""),
    ("Policy", "stale_if_error", "\"1d\""),
    ("Server", "http2", "{ max_streams = 200 }"),
    ("Upstream", "http2", "{ max_streams = 100 }"),
    ("Policy", "key", "{ ignore_query = [\"utm_*\"], headers = [\"accept-language\"] }"),
    ("Policy", "tags", "{ headers = [\"surrogate-key\", \"cache-tag\"], add = [\"users\"] }"),
    ("Policy", "max_body", "\"10MiB\""),
    ("Policy", "slice", "\"1MiB\""),
    ("Policy", "max_memory", "\"64MiB\""),
    ("Policy", "max_disk", "\"1GiB\""),
    ("RateLimit", "rate", "\"100/m\""),
    ("RateLimit", "burst", "20"),
    ("RateLimit", "tiers", "{ gold = { rate = \"1000/m\", headers = { x-plan = \"gold\" } } }"),
    ("RateLimit", "exempt", "[{ clients = [\"10.0.0.0/8\"] }]"),
    ("Server", "max_connections_per_client", "1000"),
    ("Server", "max_requests_per_connection", "100000"),
    ("Purge", "allow", "[\"10.0.0.0/8\"]"),
    ("Purge", "token", "\"env:PURGE_TOKEN\""),
    ("Telemetry", "listen", "\"127.0.0.1:9090\""),
    (
        "Telemetry",
        "access_log",
        "{ format = \"json\", path = \"access.log\", max_size = \"100MiB\", keep = 7 }",
    ),
];

/// The sections after the top level: header, definition.
const SECTIONS: [(&str, &str, &str); 8] = [
    ("upstreams", "[upstreams.api]", "Upstream"),
    ("routes", "[[routes]]", "Route"),
    ("policies", "[policies.default]", "Policy"),
    ("rate_limits", "[rate_limits.per-client]", "RateLimit"),
    ("purge", "[purge]", "Purge"),
    ("store", "[store]", "Store"),
    ("server", "[server]", "Server"),
    ("telemetry", "[telemetry]", "Telemetry"),
];

/// The text of the starter file. It lints without a finding.
pub fn starter() -> String {
    let mut text = HEAD.to_owned();
    for (key, property) in properties(schema()) {
        let section = SECTIONS.iter().any(|(section, ..)| *section == key) || key == "profiles";
        if !section {
            push_key(&mut text, "", key, property, key == "upstream");
        }
    }
    for (key, header, definition) in SECTIONS {
        text.push('\n');
        text.push_str(&"#".repeat(WIDTH));
        text.push('\n');
        push_doc(&mut text, &schema()["properties"][key]);
        text.push_str(&format!("#{header}\n"));
        for (key, property) in properties(&schema()["$defs"][definition]) {
            push_key(&mut text, definition, key, property, false);
        }
    }
    text.push('\n');
    text.push_str(&"#".repeat(WIDTH));
    text.push('\n');
    push_doc(&mut text, &schema()["properties"]["profiles"]);
    text.push_str("#[profiles.development]\n#mode = \"off\"\n");
    text
}

fn properties(schema: &'static Json) -> impl Iterator<Item = (&'static str, &'static Json)> {
    let properties = resolve(schema).get("properties").and_then(Json::as_object);
    properties.into_iter().flatten().map(|(key, property)| (key.as_str(), property))
}

fn push_key(text: &mut String, definition: &str, key: &str, property: &'static Json, set: bool) {
    let example = EXAMPLES.iter().find(|(of, name, _)| *of == definition && *name == key);
    let value = match (example, property.get("default")) {
        (Some((.., example)), _) => (*example).to_owned(),
        (None, Some(default)) => default.to_string(),
        // A key with neither would show nothing; a test holds that there is none.
        (None, None) => return,
    };
    text.push('\n');
    push_doc(text, property);
    text.push_str(&format!("{}{key} = {value}\n", if set { "" } else { "#" }));
}

fn push_doc(text: &mut String, property: &'static Json) {
    let doc = property.get("description").and_then(Json::as_str).unwrap_or_default();
    for line in wrap(&format!("{doc}{}", words(property)), WIDTH - 2) {
        text.push_str(&format!("# {line}\n"));
    }
}

/// What a word among several means is said nowhere else.
fn words(property: &'static Json) -> String {
    let words: Vec<String> = branches(property)
        .into_iter()
        .filter_map(|branch| {
            let word = branch.get("const")?.as_str()?;
            let doc = branch.get("description")?.as_str()?;
            Some(format!(" \"{word}\": {}", lower_first(doc)))
        })
        .collect();
    words.concat()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Breaks a text into lines of whole words.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Code, Severity, Source, lint};

    #[test]
    fn the_starter_lints_clean() {
        let loaded = lint(&Source::Text { name: "starter.toml".into(), text: starter() }, None);
        assert_eq!(loaded.findings, []);
        assert!(loaded.compiled.is_some());
        assert!(starter().lines().all(|line| line.chars().count() <= 110), "{}", starter());
    }

    #[test]
    fn every_commented_key_works_once_it_is_set() {
        let set = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        };
        let text: String = starter().lines().map(set).collect();
        let loaded = lint(&Source::Text { name: "all.toml".into(), text: text.clone() }, None);
        // A URL and a list of endpoints exclude each other, as do a fixed reply and a redirect, and there is no such
        // certificate file or secret.
        let errors = loaded.findings.iter().filter(|finding| finding.severity() == Severity::Error);
        let mut codes: Vec<_> = errors.map(|finding| finding.code).collect();
        codes.sort_unstable();
        let expected = [Code::ExclusiveKeys, Code::ExclusiveKeys, Code::CaUnreadable, Code::SecretUnreadable];
        assert_eq!(codes, expected, "{text}");
        for (_, _, definition) in SECTIONS {
            for (key, _) in properties(&schema()["$defs"][definition]) {
                assert!(
                    starter().contains(&format!("#{key} = ")),
                    "{definition}.{key} is not in the starter"
                );
            }
        }
    }
}
