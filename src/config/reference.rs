//! The manual page of the config file, `proxy-stone.toml(5)`, from the schema's documentation.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value as Json;

use super::codes::Code;
use super::scalar::expected_of;
use super::schema::schema;
use super::shape::branches;

const DESCRIPTION: [&str; 3] = [
    "proxy-stone reads its configuration from one TOML file: the one that --config names, else ./proxy-stone.toml, \
     $XDG_CONFIG_HOME/proxy-stone/proxy-stone.toml or /etc/proxy-stone/proxy-stone.toml, whichever is there first.",
    "An unknown key is an error. proxy-stone config lint tells everything that is wrong with a file at once; \
     proxy-stone config show prints what is in effect, with --origin also where each value comes from. A running \
     instance takes a changed file over on proxy-stone reload, on SIGHUP, or by itself with serve --watch; a file \
     with errors is refused and the old config goes on serving.",
    "The short file is whole: an upstream alone is a proxy that caches as RFC 9111 and the origin say.",
];

const EXAMPLE: &str = "\
listen = \":8080\"
upstream = \"https://api.example.com\"
cache = \"60s\"

[[routes]]
name = \"users\"
match = { path = \"/v1/users/*\", methods = [\"GET\", \"HEAD\"] }
upstream = \"users\"
cache = \"careful\"

[upstreams.users]
endpoints = [\"http://10.0.0.1:8080\", \"http://10.0.0.2:8080\"]

[policies.careful]
ttl = \"5s\"
stale_if_error = \"1d\"
";

const VALUES: [(&str, &str); 8] = [
    (
        "duration",
        "A string of numbers with units: \"250ms\", \"60s\", \"1h30m\", \"1d\". Units are ms, s, m, h, d, w and y.",
    ),
    (
        "size",
        "A string of a number and a unit: \"64MiB\", \"10GB\", \"4k\". KiB, MiB, GiB, TiB, k, M and G are powers of \
         1024; KB, MB, GB and TB are powers of 1000.",
    ),
    (
        "address",
        "\"127.0.0.1:8080\", \"[::1]:8080\", or \":8080\" for every address of the machine, IPv4 and IPv6.",
    ),
    (
        "variables",
        "In every string ${VAR} stands for an environment variable, ${VAR:-default} for one that may be unset or \
         empty, and $${ for a plain ${. Where a number or boolean is wanted, the variable's text is read as one.",
    ),
    (
        "secret",
        "Where a secret is, never the secret: \"env:NAME\" for an environment variable, \"file:PATH\" for a file, of which \
         a final line break does not count. It is read when the config is loaded.",
    ),
    (
        "rate",
        "A number of requests, a slash and a time of whole seconds, of which a unit alone is one: \"10/s\", \"100/m\", \
         \"30/10s\".",
    ),
    ("paths", "A relative path of a file starts at the directory of the config file."),
    (
        "names",
        "Upstreams, routes, policies, tokens, TLS and profiles have names of 1 to 128 characters without spaces. A policy may not \
         be named like a duration.",
    ),
];

/// Heading, how a table of it is written, and its definition in the schema.
const SECTIONS: [(&str, &str, &str); 35] = [
    ("UPSTREAMS", "[upstreams.NAME]", "Upstream"),
    ("ENDPOINTS", "Items of upstreams.NAME.endpoints that are tables.", "EndpointTable"),
    ("HTTP/2", "The table http2 of an upstream.", "Http2"),
    ("LISTENERS", "Items of listen that are tables.", "Listener"),
    ("HTTPS REDIRECT", "The table https_redirect of a listener.", "RedirectTable"),
    ("TLS", "[tls.NAME]", "Tls"),
    ("CERTIFICATES", "Items of tls.NAME.certificates.", "CertificateEntry"),
    ("HSTS", "The table hsts of a tls.NAME.", "HstsTable"),
    ("SERVER NAMES", "[tls.NAME.names.\"www.example.com\"]", "TlsName"),
    (
        "CLIENT CERTIFICATES",
        "[tls.NAME.client] and [tls.NAME.names.\"www.example.com\".client]",
        "ClientCertificates",
    ),
    ("ROUTES", "[[routes]]", "Route"),
    ("MATCH", "The table match of a route.", "Match"),
    ("PATH", "The table path of a route.", "PathEdit"),
    ("QUERY", "The table query of a route.", "QueryChanges"),
    ("FIELDS", "The tables request_headers and response_headers of a route.", "FieldChanges"),
    ("RESPOND", "The table respond of a route.", "Respond"),
    ("REDIRECT", "The table redirect of a route.", "RouteRedirect"),
    ("MAINTENANCE", "The table maintenance of a route, or of the top level.", "MaintenanceTable"),
    ("COMPRESS", "The table compress of a route, or of the top level.", "CompressTable"),
    ("POLICIES", "[policies.NAME], or a table in place of a policy's name.", "Policy"),
    ("KEY", "The table key of a policy.", "Key"),
    ("USER", "The table user of a policy's key.", "User"),
    ("TAGS", "The table tags of a policy.", "Tags"),
    ("TOKENS", "[tokens.NAME]", "Tokens"),
    ("CROSS-ORIGIN REQUESTS", "The table cors of a route, or of the top level.", "CorsTable"),
    ("USERS WITH PASSWORDS", "The table basic_auth of a route, or of the top level.", "BasicAuthTable"),
    ("RATE LIMITS", "[rate_limits.NAME]", "RateLimit"),
    ("TIERS", "Tables tiers.NAME of a rate limit.", "Tier"),
    ("CLIENTS", "Items of exempt of a rate limit.", "Who"),
    ("PURGE", "[purge]", "Purge"),
    ("STORE", "[store]", "Store"),
    ("SERVER", "[server]", "Server"),
    ("HTTP/2 OF CLIENTS", "The table http2 of server.", "ServerHttp2"),
    ("TELEMETRY", "[telemetry]", "Telemetry"),
    ("ACCESS LOG", "The table telemetry.access_log.", "LogTable"),
];

/// The page, as roff. The same binary always writes the same page.
pub fn page() -> String {
    let mut roff = Roff::new();
    let source = concat!("proxy-stone ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["PROXY-STONE.TOML", "5", "", source, "proxy-stone manual"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("proxy-stone.toml - the configuration of proxy-stone")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    example(&mut roff);
    values(&mut roff);
    roff.control("SH", ["TOP LEVEL"]);
    keys(&mut roff, schema());
    for (heading, form, definition) in SECTIONS {
        roff.control("SH", [heading]);
        roff.text([roman(form)]);
        keys(&mut roff, &schema()["$defs"][definition]);
    }
    findings(&mut roff);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("proxy-stone"), roman("(1), "), bold("proxy-stone-config"), roman("(1)")]);
    roff.to_roff()
}

fn example(roff: &mut Roff) {
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn values(roff: &mut Roff) {
    roff.control("SH", ["VALUES"]);
    for (name, text) in VALUES {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}

fn keys(roff: &mut Roff, definition: &'static Json) {
    let properties = definition.get("properties").and_then(Json::as_object);
    for (key, property) in properties.into_iter().flatten() {
        roff.control("TP", []);
        let mut line: Vec<Inline> = vec![bold(key.as_str()), roman(" ("), italic(kind(property))];
        if let Some(default) = property.get("default") {
            line.push(roman(format!(", default {default}")));
        }
        line.push(roman(")"));
        roff.text(line);
        roff.text([roman(property.get("description").and_then(Json::as_str).unwrap_or_default())]);
    }
}

/// The type of a key in words.
fn kind(property: &'static Json) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for branch in branches(property) {
        let kind = branch_kind(branch);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" or ")
}

fn branch_kind(branch: &'static Json) -> String {
    if let Some(word) = branch.get("const").and_then(Json::as_str) {
        return format!("\"{word}\"");
    }
    let format = branch.get("format").and_then(Json::as_str).unwrap_or_default();
    match branch.get("type").and_then(Json::as_str).unwrap_or_default() {
        "string" => {
            // "a duration such as ...": the example is for findings.
            let words = expected_of(format).unwrap_or("a string");
            let words = words.split(" such as ").next().unwrap_or(words);
            words.trim_start_matches("a ").trim_start_matches("an ").trim_end_matches(',').to_owned()
        }
        "integer" => range(branch),
        "boolean" => "boolean".into(),
        "array" => match branch.get("items") {
            Some(items) => format!("list of: {}", kind(items)),
            None => "list".into(),
        },
        _ => "table".into(),
    }
}

fn range(branch: &Json) -> String {
    match (branch.get("minimum"), branch.get("maximum")) {
        (Some(least), Some(most)) => format!("integer from {least} to {most}"),
        _ => "integer".into(),
    }
}

fn findings(roff: &mut Roff) {
    roff.control("SH", ["FINDINGS"]);
    roff.text([roman("What proxy-stone config lint may tell. Codes are stable.")]);
    for code in Code::ALL {
        roff.control("TP", []);
        roff.text([bold(code.as_str()), roman(format!(" ({})", code.severity().as_str()))]);
        roff.text([roman(format!("{}.", code.title()))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, lint};

    #[test]
    fn the_page_names_every_key_and_code() {
        let page = page();
        for (_, definition) in schema()["$defs"].as_object().into_iter().flatten() {
            for (key, _) in definition.get("properties").and_then(Json::as_object).into_iter().flatten() {
                assert!(page.contains(&format!("\\fB{key}\\fR")), "{key}");
            }
        }
        for code in Code::ALL {
            assert!(page.contains(code.as_str()), "{code}");
        }
        assert!(page.contains("default \"1m15s\""));
        assert_eq!(page, super::page());
    }

    #[test]
    fn its_example_lints_clean() {
        let loaded = lint(&Source::Text { name: "example.toml".into(), text: EXAMPLE.into() }, None);
        assert_eq!(loaded.findings, []);
    }
}
