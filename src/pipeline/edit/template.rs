//! Texts with variables: `https://{host}{path}{query}`. Parsed once, when the config is read.

use thiserror::Error;

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

/// What a request gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `http` or `https`, as the client came.
    Scheme,
    /// The host without its port.
    Host,
    /// The host, with its port where that is not the scheme's own.
    Authority,
    /// The path in normal form.
    Path,
    /// The query with its `?`; empty where there is none.
    Query,
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
    /// Every variable and its name.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Scheme, "scheme"),
        (Self::Host, "host"),
        (Self::Authority, "authority"),
        (Self::Path, "path"),
        (Self::Query, "query"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(variable, _)| *variable)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(own, _)| *own == self).map_or("", |(_, name)| name)
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

    /// Its pieces, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text with what each variable stands for, which `put` writes.
    pub fn expand(&self, mut put: impl FnMut(Variable, &mut String)) -> String {
        let mut text = String::with_capacity(128);
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(variable) => put(*variable, &mut text),
            }
        }
        text
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(literal) => f.write_str(&literal.replace('{', "{{").replace('}', "}}"))?,
                Part::Variable(variable) => write!(f, "{{{}}}", variable.name())?,
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
        let put = |variable: Variable, to: &mut String| to.push_str(&variable.name().to_uppercase());
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
