//! Requests put together of their fields (RFC 9113 8.3).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use bytes::Bytes;

use crate::http::hpack::{Broken, Decoder, Field, Text};
use crate::http::upgrade::ExtendedConnect;

/// Reads one field block after the other into the same memory.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The request that was read last.
    pub(super) head: Parts,
    text: Text,
    pseudo: Pseudo,
    length: Option<u64>,
    size: usize,
    /// A field that is no pseudo-field has come.
    regular: bool,
    malformed: bool,
    /// More fields than a map takes.
    too_many: bool,
}

#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Bytes>,
}

/// What a field block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// What it should be; and the length of content that it tells.
    Well(Option<u64>),
    /// Malformed (RFC 9113 8.1.1).
    Malformed,
    /// Larger than we take.
    TooLarge,
}

impl Default for Assembly {
    fn default() -> Self {
        let mut head = http::Request::new(()).into_parts().0;
        head.version = Version::HTTP_2;
        Self {
            head,
            text: Text::default(),
            pseudo: Pseudo::default(),
            length: None,
            size: 0,
            regular: false,
            malformed: false,
            too_many: false,
        }
    }
}

impl Assembly {
    /// Reads the head of a request, of which at most so many bytes are taken (RFC 9113 6.5.2).
    pub(super) fn request(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        most: usize,
    ) -> Result<Read, Broken> {
        self.read(decoder, block, most)?;
        if self.is_too_large(most) {
            return Ok(Read::TooLarge);
        }
        Ok(match self.finish() {
            Some(()) if !self.malformed => Read::Well(self.length),
            _ => Read::Malformed,
        })
    }

    /// Reads a trailer section.
    pub(super) fn trailers(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        most: usize,
    ) -> Result<Option<HeaderMap>, Broken> {
        self.read(decoder, block, most)?;
        let ok = !self.malformed && !self.is_too_large(most) && self.pseudo.is_empty();
        Ok(ok.then(|| std::mem::take(&mut self.head.headers)))
    }

    fn is_too_large(&self, most: usize) -> bool {
        self.too_many || self.size >= most
    }

    fn read(&mut self, decoder: &mut Decoder, block: &[u8], most: usize) -> Result<(), Broken> {
        // Nothing holds on to the last one's text from here on, whose memory is taken again.
        self.head.headers.clear();
        self.head.uri = Uri::default();
        // What was refused may have left some, and the next request is another client's.
        self.head.extensions.clear();
        self.pseudo = Pseudo::default();
        (self.length, self.size) = (None, 0);
        (self.regular, self.malformed, self.too_many) = (false, false, false);
        let mut text = std::mem::take(&mut self.text);
        // All of it, whatever is found: the table must stay what the client takes it for.
        let decoded = decoder.decode(block, &mut text, |field, size| {
            self.size += size;
            if self.size < most {
                self.field(field);
            }
        });
        self.text = text;
        decoded
    }

    fn field(&mut self, field: Field) {
        let pseudo = &mut self.pseudo;
        let again = match field {
            Field::Field(name, value) => return self.regular(name, value),
            Field::Method(method) => pseudo.method.replace(method).is_some(),
            Field::Scheme(scheme) => pseudo.scheme.replace(scheme).is_some(),
            Field::Authority(authority) => pseudo.authority.replace(authority).is_some(),
            Field::Path(path) => pseudo.path.replace(path).is_some(),
            Field::Protocol(protocol) => pseudo.protocol.replace(protocol).is_some(),
            Field::Malformed(_) => true,
        };
        // RFC 9113 8.3: each at most once, and before all others.
        self.malformed |= again || self.regular;
    }

    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        self.regular = true;
        match name {
            // RFC 9113 8.2.2.
            CONNECTION | TRANSFER_ENCODING | UPGRADE => self.malformed = true,
            TE => self.malformed |= value != "trailers",
            CONTENT_LENGTH => self.told(&value),
            HOST => {}
            _ => self.malformed |= matches!(name.as_str(), "keep-alive" | "proxy-connection"),
        }
        self.too_many |= self.head.headers.try_append(name, value).is_err();
    }

    /// A length (RFC 9110 8.6), which several fields may tell if they agree.
    fn told(&mut self, value: &HeaderValue) {
        let digits = value.as_bytes();
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        match number.filter(|_| digits.iter().all(u8::is_ascii_digit)) {
            Some(length) if self.length.is_none_or(|before| before == length) => self.length = Some(length),
            _ => self.malformed = true,
        }
    }

    /// Method and URI, by the rules of what must be there (RFC 9113 8.3.1, 8.5; RFC 8441 4).
    fn finish(&mut self) -> Option<()> {
        let Pseudo { method, scheme, authority, path, protocol } = std::mem::take(&mut self.pseudo);
        let method = method?;
        let is_connect = method == Method::CONNECT;
        if protocol.is_some() && !is_connect {
            return None;
        }
        if is_connect && protocol.is_none() {
            if scheme.is_some() || path.is_some() {
                return None;
            }
        } else if scheme.is_none() || path.is_none() {
            return None;
        }
        self.head.method = method;
        let mut parts = uri::Parts::default();
        // A URI has both or neither.
        parts.scheme = scheme.filter(|_| authority.is_some());
        (parts.authority, parts.path_and_query) = (authority, path);
        self.head.uri = Uri::from_parts(parts).ok()?;
        if let Some(protocol) = protocol {
            self.head.extensions.insert(ExtendedConnect::to(&protocol)?);
        }
        Some(())
    }

    /// The head that was read, to keep.
    pub(super) fn take(&mut self) -> Parts {
        let mut next = http::Request::new(()).into_parts().0;
        next.version = Version::HTTP_2;
        std::mem::replace(&mut self.head, next)
    }
}

impl Pseudo {
    fn is_empty(&self) -> bool {
        let Self { method, scheme, authority, path, protocol } = self;
        method.is_none() && scheme.is_none() && authority.is_none() && path.is_none() && protocol.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            out.extend([0, name.len() as u8]);
            out.extend(name.as_bytes());
            out.push(value.len() as u8);
            out.extend(value.as_bytes());
        }
        out
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x?y")];

    fn read(fields: &[(&str, &str)]) -> Read {
        Assembly::default().request(&mut Decoder::default(), &block(fields), 1000).unwrap()
    }

    #[test]
    fn a_request_is_read() {
        let mut assembly = Assembly::default();
        let mut decoder = Decoder::default();
        for _ in 0..2 {
            let fields = [&GET[..], &[("x", "1"), ("x", "2"), ("content-length", "3")]].concat();
            let read = assembly.request(&mut decoder, &block(&fields), 1000).unwrap();
            assert_eq!(read, Read::Well(Some(3)));
            let head = &assembly.head;
            assert_eq!((head.method.as_str(), head.version), ("GET", Version::HTTP_2));
            assert_eq!(head.uri, "http://a.example/x?y");
            let values: Vec<_> = head.headers.get_all("x").iter().collect();
            assert_eq!(values, ["1", "2"]);
        }
        assert_eq!(assembly.take().headers.len(), 3);
        assert!(assembly.head.headers.is_empty());
    }

    #[test]
    fn nothing_of_a_request_is_left_for_the_next() {
        let mut assembly = Assembly::default();
        let mut decoder = Decoder::default();
        let asks = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ];
        let fields = [&asks[..], &[("x", "1"), ("content-length", "3")]].concat();
        assert_eq!(assembly.request(&mut decoder, &block(&fields), 1000), Ok(Read::Well(Some(3))));
        assert!(!assembly.head.extensions.is_empty());
        assert_eq!(assembly.request(&mut decoder, &block(&GET), 1000), Ok(Read::Well(None)));
        assert!(assembly.head.extensions.is_empty() && assembly.head.headers.is_empty());
    }

    #[test]
    fn what_is_malformed() {
        let without = |name: &str| -> Vec<_> { GET.into_iter().filter(|(of, _)| *of != name).collect() };
        let with = |extra: &[(&'static str, &'static str)]| [&GET[..], extra].concat();
        for fields in [
            without(":method"),
            without(":scheme"),
            with(&[(":path", "/")]),
            with(&[(":status", "200")]),
            with(&[("x", "y"), (":protocol", "websocket")]),
            with(&[(":protocol", "websocket")]),
            with(&[("connection", "close")]),
            with(&[("keep-alive", "1")]),
            with(&[("te", "gzip")]),
            with(&[("content-length", "1"), ("content-length", "2")]),
            with(&[("content-length", "+1")]),
            with(&[("X", "y")]),
            vec![(":method", "CONNECT"), (":scheme", "http"), (":authority", "a")],
            vec![(":method", "CONNECT"), (":protocol", "x"), (":scheme", "http"), (":authority", "a")],
        ] {
            assert_eq!(read(&fields), Read::Malformed, "{fields:?}");
        }
        assert_eq!(read(&[(":method", "CONNECT"), (":authority", "a:1")]), Read::Well(None));
        assert_eq!(read(&with(&[("te", "trailers")])), Read::Well(None));
        let long = "y".repeat(120);
        let fields = [&GET[..], &[("x", long.as_str()); 7]].concat();
        assert_eq!(read(&fields), Read::TooLarge);
    }
}
