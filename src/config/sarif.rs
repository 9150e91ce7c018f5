//! Findings as SARIF 2.1.0, which code hosts and editors read.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::{Value, json};

use super::codes::{Code, Severity};
use super::finding::{Finding, Place};

/// What a relative reference cannot hold as it is (RFC 3986 3.3; a `:` could be read as a scheme's).
const OUTSIDE_URIS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The whole document.
pub fn document(findings: &[Finding]) -> Value {
    let mut codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "proxy-stone",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().copied().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(|finding| result(finding, &codes)).collect::<Vec<_>>(),
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    severity.as_str()
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "shortDescription": { "text": code.title() },
        "defaultConfiguration": { "level": level(code.severity()) },
    })
}

fn result(finding: &Finding, codes: &[Code]) -> Value {
    let text = match &finding.help {
        Some(help) => format!("{}. {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut result = json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": codes.iter().position(|code| *code == finding.code),
        "level": level(finding.severity()),
        "message": { "text": text },
    });
    if let Some(location) = finding.place.as_ref().and_then(location) {
        result["locations"] = json!([location]);
    }
    let related = finding.related.iter().enumerate().filter_map(|(id, (place, why))| {
        let mut location = location(place)?;
        location["id"] = id.into();
        location["message"] = json!({ "text": why });
        Some(location)
    });
    let related: Vec<Value> = related.collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

/// What stands on the command line has no file to point into.
fn location(place: &Place) -> Option<Value> {
    if !place.source.is_file() {
        return None;
    }
    let (start, end) = (place.start(), place.end());
    Some(json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&place.source.name) },
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        },
    }))
}

/// An absolute path as `file:` URL; a relative one stays relative, as code hosts want it.
fn uri(path: &str) -> String {
    match url::Url::from_file_path(path) {
        Ok(url) => url.into(),
        Err(()) => percent_encoding::utf8_percent_encode(path, OUTSIDE_URIS).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, lint};

    #[test]
    fn findings_become_results() {
        let text = "upstream = 'http://a'\nlisen = 1\n".to_owned();
        let loaded = lint(&Source::Text { name: "dir/my conf.toml".into(), text }, None);
        let document = document(&loaded.findings);
        let result = &document["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "PS0103");
        assert_eq!(result["level"], "error");
        let location = &result["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "dir/my%20conf.toml");
        assert_eq!(
            location["region"],
            json!({"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 6})
        );
        assert_eq!(document["runs"][0]["tool"]["driver"]["rules"][0]["id"], "PS0103");
    }
}
