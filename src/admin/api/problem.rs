//! What a refused admin request gets (RFC 9457).

use serde::{Deserialize, Serialize};

/// A problem body, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem this is, stable.
    pub code: ProblemCode,
    /// The HTTP status once more (RFC 9457 3.1.2).
    pub status: u16,
    /// What failed, in one sentence.
    pub title: String,
    /// Why, where more is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to try, where something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The findings of a refused config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<serde_json::Value>,
    /// The same findings, as `config lint` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The request can't be understood: an unknown field, a malformed filter.
    BadRequest,
    /// The caller is another user.
    Denied,
    /// What was asked for isn't there.
    NotFound,
    /// The path doesn't know this method.
    MethodNotAllowed,
    /// The config has errors.
    Config,
    /// It can't be done just now, such as while the store opens.
    Unavailable,
    /// It took too long, and was given up.
    TimedOut,
    /// The machine says no: disk full, no permission.
    Machine,
    /// A kind that this version doesn't know.
    #[serde(other)]
    Other,
}

impl ProblemCode {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Config => 422,
            Self::Unavailable => 503,
            Self::TimedOut => 504,
            Self::Machine | Self::Other => 500,
        }
    }
}

impl Problem {
    /// A problem of which only this is known.
    pub fn new(code: ProblemCode, title: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            title: title.into(),
            detail: None,
            help: None,
            findings: Vec::new(),
            rendered: None,
        }
    }

    /// Adds why.
    pub fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Adds what to try.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
