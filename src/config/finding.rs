//! What is wrong (or odd) in a config: where, why, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

use super::codes::{Code, Severity};

/// The text that findings point into: a file, or a flag's value.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// What people call it: the path as it was given, or `--listen`.
    pub name: Box<str>,
    /// The whole text.
    pub text: Box<str>,
}

impl SourceText {
    /// A text under a name.
    pub fn new(name: &str, text: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Whether it is a file, rather than a word of the command line.
    pub fn is_file(&self) -> bool {
        !self.name.starts_with("--") && &*self.name != "URL"
    }
}

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<SourceText>,
    /// Bytes of it; always on character boundaries and within it.
    pub span: Range<usize>,
}

/// A position as editors count: from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Place {
    /// A place; the span is cut to what the text has.
    pub fn new(source: &Arc<SourceText>, span: Range<usize>) -> Self {
        let end = floor_boundary(&source.text, span.end);
        let start = floor_boundary(&source.text, span.start).min(end);
        Self { source: Arc::clone(source), span: start..end }
    }

    /// Where it starts.
    pub fn start(&self) -> Position {
        position(&self.source.text, self.span.start)
    }

    /// Where it ends (exclusive).
    pub fn end(&self) -> Position {
        position(&self.source.text, self.span.end)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.start().line)
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn position(text: &str, at: usize) -> Position {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// One thing that is wrong or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is; gives the severity.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where; `None` where no text is to blame.
    pub place: Option<Place>,
    /// What the caret says, where that adds something.
    pub label: Option<String>,
    /// Other places that matter, each with its reason.
    pub related: Vec<(Place, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    /// A finding with no more than a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: None, label: None, related: Vec::new(), help: None }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Says something beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn related(mut self, place: Option<Place>, why: impl Into<String>) -> Self {
        if let Some(place) = place {
            self.related.push((place, why.into()));
        }
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// As people read it: message, file:line:column, the lines with carets, and help. No final newline.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(printable(&self.message)).id(self.code.as_str());
        let mut group = annotate_snippets::Group::with_title(title);
        let mut related: Vec<&(Place, String)> = self.related.iter().collect();
        if let Some(place) = &self.place {
            let mut snippet = snippet(place)
                .annotation(AnnotationKind::Primary.span(place.span.clone()).label(self.label.as_deref()));
            related.retain(|(other, why)| {
                let same = Arc::ptr_eq(&other.source, &place.source);
                if same {
                    let note = AnnotationKind::Context.span(other.span.clone()).label(why.as_str());
                    snippet = std::mem::replace(&mut snippet, Snippet::source("")).annotation(note);
                }
                !same
            });
            group = group.element(snippet);
        }
        for (other, why) in related {
            let note = AnnotationKind::Context.span(other.span.clone()).label(why.as_str());
            group = group.element(snippet(other).annotation(note));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }

    /// As programs read it.
    pub fn report(&self) -> Report {
        let start = self.place.as_ref().map(Place::start);
        let end = self.place.as_ref().map(Place::end);
        Report {
            code: self.code.as_str().into(),
            title: self.code.title().into(),
            severity: self.severity(),
            message: self.message.clone(),
            file: self.place.as_ref().map(|place| place.source.name.to_string()),
            line: start.map(|at| at.line),
            column: start.map(|at| at.column),
            end_line: end.map(|at| at.line),
            end_column: end.map(|at| at.column),
            help: self.help.clone(),
            related: self.related.iter().map(Related::new).collect(),
            rendered: self.render(false),
        }
    }
}

/// Terminals obey control characters, and a config may quote any: show them instead.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn snippet(place: &Place) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(without_credentials(&place.source.text)).path(&*place.source.name)
}

/// The text with stars for what stands before the `@` of a URL, byte for byte: findings end in logs, secrets may not.
fn without_credentials(text: &str) -> Cow<'_, str> {
    let mut hidden = Cow::Borrowed(text);
    for (at, slashes) in text.match_indices("://") {
        let start = at + slashes.len();
        let rest = &text[start..];
        let authority = rest.find(['/', '"', '\'', ' ', '\n', '\r', '\t']).map_or(rest, |end| &rest[..end]);
        if let Some(length) = authority.rfind('@') {
            hidden.to_mut().replace_range(start..start + length, &"*".repeat(length));
        }
    }
    hidden
}

/// A finding as JSON: what `-o json` prints and the admin socket sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Stable code.
    pub code: String,
    /// What the code means.
    pub title: String,
    /// `error` or `warning`.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// File as it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_line: Option<usize>,
    /// From 1, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<usize>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// As people read it, without colour.
    pub rendered: String,
}

/// Another place that matters to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// File as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Why it matters.
    pub message: String,
}

impl Related {
    fn new((place, why): &(Place, String)) -> Self {
        let start = place.start();
        Self {
            file: place.source.name.to_string(),
            line: start.line,
            column: start.column,
            message: why.clone(),
        }
    }
}

/// Errors first to last as they stand in the files, those without a place at the front; each only once.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by_cached_key(|finding| {
        let place = finding.place.as_ref();
        let at = place.map(|place| (place.source.name.clone(), place.span.start));
        (at, finding.severity(), finding.code)
    });
    findings.dedup();
}

/// How many errors and warnings there are.
pub fn count(findings: &[Finding]) -> (usize, usize) {
    let errors = findings.iter().filter(|finding| finding.severity() == Severity::Error).count();
    (errors, findings.len() - errors)
}
