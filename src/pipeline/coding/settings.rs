//! What a route compresses, and how.

use crate::coding::Level;
use crate::http::accept_encoding::Coding;

/// What a route compresses, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The codings that clients are offered, the one to prefer first, each with the effort that it takes.
    pub codings: Vec<(Coding, Level)>,
    /// The media types that are compressed.
    pub types: Vec<MediaType>,
    /// Smaller bodies are sent as they are.
    pub min_size: u64,
    /// The most that may come out of a body that is decoded for a client.
    pub max_decoded: u64,
    /// What is done so that compression does not give secrets away.
    pub guard: Guard,
}

/// What is done against those who guess secrets by how well what they put beside them compresses (BREACH).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    #[default]
    Off,
    /// Replies to requests with credentials that may come from a page of somebody else are not compressed.
    Skip,
}

/// A media type, with at most one `*` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// From `type/subtype`, `type/*`, `type/*+suffix` or `*/*`, in any case; `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let subtype_fits = match subtype.strip_prefix('*') {
            None => is_name(subtype),
            Some(rest) => rest.is_empty() || rest.strip_prefix('+').is_some_and(is_name),
        };
        let fits = if kind == "*" { subtype == "*" } else { is_name(kind) && subtype_fits };
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// Whether a `Content-Type` is of this type.
    pub fn takes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
        let given = content_type[..end].trim_ascii();
        let Some((before, after)) = self.0.split_once('*') else {
            return given.eq_ignore_ascii_case(self.0.as_bytes());
        };
        if &*self.0 == "*/*" {
            return given.contains(&b'/');
        }
        given.len() > before.len() + after.len()
            && given[..before.len()].eq_ignore_ascii_case(before.as_bytes())
            && given[given.len() - after.len()..].eq_ignore_ascii_case(after.as_bytes())
    }
}

/// Media types that shrink: text in its many forms, and some that are not compressed by themselves.
pub const DEFAULT_TYPES: [&str; 19] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/jsonl",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/*+xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/sql",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/svg+xml",
    "image/bmp",
];

impl Default for Compression {
    fn default() -> Self {
        let codings = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        Self {
            codings: codings.map(|coding| (coding, Level::usual(coding))).into(),
            types: DEFAULT_TYPES.iter().filter_map(|text| MediaType::parse(text)).collect(),
            min_size: 1024,
            max_decoded: 256 << 20,
            guard: Guard::Off,
        }
    }
}

impl Compression {
    /// What clients are offered.
    pub(super) fn offer(&self) -> Vec<Coding> {
        self.codings.iter().map(|(coding, _)| *coding).collect()
    }

    /// The effort that a coding takes.
    pub(super) fn level(&self, coding: Coding) -> Level {
        let given = self.codings.iter().find(|(given, _)| *given == coding);
        given.map_or(Level::usual(coding), |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_taken_as_they_are_written() {
        for (pattern, given, expected) in [
            ("text/*", "text/plain; charset=utf-8", true),
            ("text/*", "TEXT/HTML", true),
            ("text/*", "text/", false),
            ("text/*", "texture/plain", false),
            ("application/json", "application/json ; a=b", true),
            ("application/json", "application/json5", false),
            ("application/*+json", "application/problem+JSON", true),
            ("application/*+json", "application/+json", false),
            ("application/*+json", "application/json", false),
            ("*/*", "image/png", true),
            ("*/*", "junk", false),
            ("Font/TTF", "font/ttf", true),
        ] {
            let parsed = MediaType::parse(pattern).expect(pattern);
            assert_eq!(parsed.takes(given.as_bytes()), expected, "{pattern} {given}");
        }
        for text in [
            "",
            "text",
            "text/",
            "/plain",
            "text/p*n",
            "*/plain",
            "text/*json",
            "te xt/plain",
            "text/*+",
            "**/*",
        ] {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
        assert_eq!(Compression::default().types.len(), DEFAULT_TYPES.len());
    }
}
