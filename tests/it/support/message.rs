//! Message heads as they stand on the wire.

/// Fields in their order, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// From the lines of a head.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let fields = lines.filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect())
    }

    /// The only value of a field; `None` where it is not there. More than one is a test's failure.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(own, _)| own == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a field is there.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

impl From<&http::HeaderMap> for Fields {
    fn from(map: &http::HeaderMap) -> Self {
        let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self(map.iter().map(pair).collect())
    }
}

/// A head: its first line and its fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Request line or status line.
    pub line: String,
    /// What follows it.
    pub fields: Fields,
}

impl Head {
    /// From the text up to the empty line.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Self { line, fields: Fields::parse(lines) }
    }

    /// A word of the first line.
    pub fn word(&self, index: usize) -> &str {
        self.line.split(' ').nth(index).unwrap_or_default()
    }

    /// The status of a reply.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_else(|_| panic!("not a status line: {:?}", self.line))
    }

    /// How the body of a request is framed.
    pub fn request_framing(&self) -> Framing {
        self.framing(Framing::None)
    }

    /// How the body of a reply to `method` is framed.
    pub fn reply_framing(&self, method: &str) -> Framing {
        match self.status() {
            100..=199 | 204 | 304 => Framing::None,
            _ if method == "HEAD" => Framing::None,
            _ => self.framing(Framing::Close),
        }
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self.fields.get("transfer-encoding").is_some() {
            return Framing::Chunked;
        }
        let length = self.fields.get("content-length");
        length.map_or(otherwise, |length| Framing::Length(length.parse().expect("a length")))
    }
}

/// How a body ends (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk and the trailers.
    Chunked,
    /// With the connection.
    Close,
}
