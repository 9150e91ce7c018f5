//! Texts with variables: `https://{host}{path}{query}`. Parsed once, when the config is read.

use std::fmt;

use http::HeaderName;
use thiserror::Error;

use crate::http::target::Target;

/// A text with variables in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What stands there.
    Text(Box<str>),
    /// What stands for something else.
    Variable(Variable),
}

/// What an exchange gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `http` or `https`, as the client came.
    Scheme,
    /// The host without its port.
    Host,
    /// The host, with its port where that is not the scheme's own.
    Authority,
    /// The path in normal form, as it is forwarded.
    Path,
    /// The query with its `?`; empty where there is none.
    Query,
    /// The client's address.
    Client,
    /// The user who has given the right password.
    User,
    /// The exchange's id.
    RequestId,
    /// The method.
    Method,
    /// The route's name.
    Route,
    /// The upstream's name.
    Upstream,
    /// The reply's status.
    Status,
    /// A field of the request: `header.NAME`.
    Header(HeaderName),
    /// A field of the reply: `reply.NAME`.
    Reply(HeaderName),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadTemplate {
    /// A brace opens, and none closes.
    #[error("a `{{` is not closed")]
    Open,
    /// A brace closes, and none is open.
    #[error("a `}}` closes nothing")]
    Close,
    /// A name that is no variable's.
    #[error("there is no variable `{{{0}}}`")]
    Unknown(Box<str>),
}

impl Variable {
    /// Every variable that has one name, and those that a redirect may have first.
    pub const NAMED: [(Self, &str); 12] = [
        (Self::Scheme, "scheme"),
        (Self::Host, "host"),
        (Self::Authority, "authority"),
        (Self::Path, "path"),
        (Self::Query, "query"),
        (Self::Client, "client"),
        (Self::User, "user"),
        (Self::RequestId, "request_id"),
        (Self::Method, "method"),
        (Self::Route, "route"),
        (Self::Upstream, "upstream"),
        (Self::Status, "status"),
    ];

    fn named(name: &str) -> Option<Self> {
        let field = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        match name.split_once('.') {
            Some(("header", name)) => field(name).map(Self::Header),
            Some(("reply", name)) => field(name).map(Self::Reply),
            _ => Self::NAMED.into_iter().find(|(_, own)| *own == name).map(|(variable, _)| variable),
        }
    }

    /// Whether it is a part of the target.
    pub fn is_of_target(&self) -> bool {
        matches!(self, Self::Scheme | Self::Host | Self::Authority | Self::Path | Self::Query)
    }

    /// Whether it is known of a request.
    pub fn is_of_requests(&self) -> bool {
        !matches!(self, Self::Status | Self::Reply(_))
    }

    /// Whether it is known of a reply.
    pub fn is_of_replies(&self) -> bool {
        !matches!(self, Self::Path | Self::Query | Self::Header(_))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Reply(name) => write!(f, "reply.{name}"),
            named => {
                f.write_str(Self::NAMED.iter().find(|(own, _)| own == named).map_or("", |(_, name)| name))
            }
        }
    }
}

impl Template {
    /// Reads one; `{{` and `}}` are plain braces.
    ///
    /// # Errors
    /// When braces do not pair, or name nothing known.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(BadTemplate::Close);
            }
            let (name, after) = rest.split_once('}').ok_or(BadTemplate::Open)?;
            let variable = Variable::named(name).ok_or_else(|| BadTemplate::Unknown(name.into()))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Variable(variable));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Its variables, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(variable) => Some(variable),
        })
    }

    /// What stands between its variables.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            Part::Variable(_) => None,
        })
    }

    /// The text with what each variable stands for, which `put` writes.
    pub fn expand(&self, mut put: impl FnMut(&Variable, &mut String)) -> String {
        let mut text = String::with_capacity(128);
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(variable) => put(variable, &mut text),
            }
        }
        text
    }
}

impl Target {
    /// Writes what a variable stands for; nothing, where it is no part of a target.
    pub fn put(&self, variable: &Variable, to: &mut String) {
        match variable {
            Variable::Scheme => to.push_str(self.scheme().as_str()),
            Variable::Host => to.push_str(self.host()),
            Variable::Authority => to.push_str(self.authority()),
            // `OPTIONS *` asks for no path.
            Variable::Path => to.push_str(if self.path() == "*" { "/" } else { self.path() }),
            Variable::Query => {
                if let Some(query) = self.query() {
                    to.push('?');
                    to.push_str(query);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(literal) => f.write_str(&literal.replace('{', "{{").replace('}', "}}"))?,
                Part::Variable(variable) => write!(f, "{{{variable}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(text: &str) -> String {
        let put = |variable: &Variable, to: &mut String| to.push_str(&variable.to_string().to_uppercase());
        Template::parse(text).unwrap().expand(put)
    }

    #[test]
    fn variables_stand_in_braces() {
        for (text, becomes) in [
            ("", ""),
            ("plain", "plain"),
            ("{host}", "HOST"),
            ("https://{host}{path}{query}", "https://HOSTPATHQUERY"),
            ("{{host}}{{", "{host}{"),
            ("a{{{scheme}}}b", "a{SCHEME}b"),
            ("{header.X-A}{reply.etag}", "HEADER.X-AREPLY.ETAG"),
        ] {
            assert_eq!(expanded(text), becomes, "{text}");
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (text, why) in [
            ("{host", BadTemplate::Open),
            ("a}", BadTemplate::Close),
            ("{hots}", BadTemplate::Unknown("hots".into())),
            ("{}", BadTemplate::Unknown("".into())),
            ("{header.}", BadTemplate::Unknown("header.".into())),
            ("{header.a b}", BadTemplate::Unknown("header.a b".into())),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "[a-z/{}]{0,12}(\\{(host|path|query)\\})?[a-z{}]{0,4}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(Template::parse(&template.to_string()).unwrap().to_string(), template.to_string());
            }
        }
    }
}
