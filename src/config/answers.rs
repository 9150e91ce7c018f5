//! What a route answers by itself: from the config's words, and the files that it names, to whole replies.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::codes::Code;
use super::compile::{Compiler, read_bounded};
use super::file::{Maintenance, MaintenanceTable, Named, Redirect, Respond, Route};
use super::finding::Finding;
use super::scalar::{FieldName, FilePath, Problem, Scalar, Time};
use super::suggest::nearest;
use super::tree::Step;
use crate::pipeline::edit::template::{BadTemplate, Template, Variable};
use crate::pipeline::local::{self, BadLocation, Local, Page};

/// The largest body of a reply of ours.
const MAX_BODY: usize = 1 << 20;

/// When clients are told to come back, where nobody says.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldText(pub HeaderValue);

/// Where a redirect leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub Template);

impl Scalar for FieldText {
    const FORMAT: &'static str = "field-value";
    const EXPECTED: &'static str = "a field's value";

    fn parse(text: &str) -> Result<Self, Problem> {
        match HeaderValue::from_str(text) {
            Ok(value) if text.trim_matches([' ', '\t']) == text => Ok(Self(value)),
            _ => {
                let message = format!("`{}` is not a field's value", text.escape_debug());
                let help = "a value has no line breaks or control characters, and no spaces around it";
                Err(Problem::new(Code::BadFieldValue, message, help))
            }
        }
    }
}

impl Scalar for Location {
    const FORMAT: &'static str = "location";
    const EXPECTED: &'static str = "a URL or path such as \"https://{host}{path}{query}\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        local::Redirect::check(text).map(Self).map_err(|bad| {
            let help = match &bad {
                BadLocation::Template(bad) => template_help(bad),
                BadLocation::Character(_) => "write it as a client would send it, with %XX".to_owned(),
                BadLocation::Form | BadLocation::Host => {
                    "write \"https://www.example.com{path}{query}\", or a path such as \"/new{path}\"".into()
                }
            };
            let message = format!("`{}` is nowhere to redirect to: {bad}", text.escape_debug());
            Problem::new(Code::BadTemplate, message, help)
        })
    }
}

/// What to write instead of something that is no template.
pub fn template_help(bad: &BadTemplate) -> String {
    let names = || Variable::NAMED.into_iter().map(|(_, name)| name);
    match bad {
        BadTemplate::Open | BadTemplate::Close => {
            "a brace that is meant as such is doubled: `{{`, `}}`".into()
        }
        BadTemplate::Unknown(name) => nearest(name, names()).map_or_else(
            || {
                format!(
                    "the variables are {}",
                    names().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
                )
            },
            |name| format!("did you mean `{{{name}}}`?"),
        ),
    }
}

/// Fields that say how a message is framed, or that are for one connection only (RFC 9110 7.6.1, 8.6).
pub fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 7] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        HeaderName::from_static("keep-alive"),
    ];
    RESERVED.contains(name)
}

/// Fields by name.
pub fn fields(named: &Named<FieldText, FieldName>) -> Vec<(HeaderName, HeaderValue)> {
    let pair = |(name, value): &(String, FieldText)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.0.clone()))
    };
    named.0.iter().filter_map(pair).filter(|(name, _)| !is_reserved(name)).collect()
}

/// A body as the config gives it.
struct Given<'a> {
    body: Option<&'a str>,
    file: Option<&'a FilePath>,
    media_type: Option<&'a FieldText>,
}

impl Compiler<'_> {
    /// What a route answers by itself.
    pub(super) fn local(&mut self, index: usize, route: &Route) -> Option<Local> {
        let at = |key: &str| -> Vec<Step> { vec!["routes".into(), index.into(), key.into()] };
        if let Some(respond) = &route.respond {
            return Some(Local::Respond(self.respond(respond, &at("respond"))));
        }
        if let Some(redirect) = &route.redirect {
            return Some(Local::Redirect(elsewhere(redirect)));
        }
        match &route.maintenance {
            None | Some(Maintenance::Switch(false)) => None,
            Some(Maintenance::Switch(true)) => {
                Some(Local::Maintenance(self.maintenance(&MaintenanceTable::default(), &[])))
            }
            Some(Maintenance::Table(table)) => {
                Some(Local::Maintenance(self.maintenance(table, &at("maintenance"))))
            }
        }
    }

    fn respond(&mut self, from: &Respond, at: &[Step]) -> local::Respond {
        let given = Given {
            body: from.body.as_deref(),
            file: from.file.as_ref(),
            media_type: from.media_type.as_ref(),
        };
        let status = from.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
        local::Respond { status, page: self.page(given, fields(&from.headers), at) }
    }

    fn maintenance(&mut self, from: &MaintenanceTable, at: &[Step]) -> local::Maintenance {
        let given = Given {
            body: from.body.as_deref(),
            file: from.file.as_ref(),
            media_type: from.media_type.as_ref(),
        };
        let said = given.body.is_some() || given.file.is_some();
        local::Maintenance {
            retry_after: from.retry_after.map_or(RETRY_AFTER, |Time(after)| after).as_secs(),
            page: said.then(|| self.page(given, Vec::new(), at)),
            allow: from.allow.iter().map(|network| network.0).collect(),
        }
    }

    fn page(&mut self, given: Given<'_>, fields: Vec<(HeaderName, HeaderValue)>, at: &[Step]) -> Page {
        let (body, known) = match (given.body, given.file) {
            (_, Some(FilePath(path))) => {
                let path = self.directory.join(path);
                (self.body_of(&path, at), media_type_of(&path))
            }
            (Some(text), None) => (Bytes::from(text.to_owned()), TEXT),
            (None, None) => (Bytes::new(), TEXT),
        };
        let media_type =
            given.media_type.map_or_else(|| HeaderValue::from_static(known), |given| given.0.clone());
        Page::new(body, media_type, fields)
    }

    /// The bytes of a file; none where it is told what is wrong with it.
    fn body_of(&mut self, path: &Path, at: &[Step]) -> Bytes {
        self.files.push(path.to_owned());
        let why = match read_bounded(path) {
            Ok(bytes) if bytes.len() <= MAX_BODY => return bytes.into(),
            Ok(_) => "is larger than 1 MiB, which is the most that is kept in memory for it".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        let at = [at, &["file".into()]].concat();
        let finding = Finding::new(Code::ReplyFile, format!("`{}` {why}", path.display()));
        self.findings.push(finding.at(self.root.place_of(&at)));
        Bytes::new()
    }
}

fn elsewhere(from: &Redirect) -> local::Redirect {
    let status = match from {
        Redirect::To(_) => None,
        Redirect::Table(table) => table.status,
    };
    local::Redirect {
        status: status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::FOUND),
        to: from.to().0.clone(),
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// What a file's name says of its type.
fn media_type_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/vnd.microsoft.icon",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "txt" | "md" | "" => TEXT,
        _ => "application/octet-stream",
    }
}
