//! Heads of plain requests: GET over HTTP/1.1, without content, and the connection goes on as it is.
//!
//! Most requests are such, and what can be answered at once needs no more of HTTP/1.1 than is here. Only what a
//! [`Reader`](super::Reader) has let pass is read, which has looked at the grammar.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};

use super::field::trimmed;

const METHOD: &[u8] = b"GET ";
const VERSION: &[u8] = b" HTTP/1.1";

/// Reads one head after the other into the same memory. Of those that are alike, only the target is read.
#[derive(Debug)]
pub struct Plain {
    head: Parts,
    text: BytesMut,
    /// The lines of the fields that `head` has, and the empty one.
    fields: Bytes,
}

impl Default for Plain {
    fn default() -> Self {
        let head = http::Request::new(()).into_parts().0;
        Self { head, text: BytesMut::new(), fields: Bytes::new() }
    }
}

impl Plain {
    /// The request that this head makes; `None` if it is not a plain one.
    pub fn read(&mut self, head: &[u8]) -> Option<&Parts> {
        let begin = METHOD.len();
        if !head.starts_with(METHOD) || head.get(begin) != Some(&b'/') {
            return None;
        }
        let end = line_end(head, 0)?;
        let target = begin..end.checked_sub(VERSION.len())?;
        if &head[target.end..end] != VERSION {
            return None;
        }
        if self.fields == head[end + 2..] {
            if self.target() != &head[target.clone()] {
                self.head.uri = Uri::default();
                self.text.extend_from_slice(&head[target]);
                self.head.uri = Uri::from_maybe_shared(self.text.split().freeze()).ok()?;
            }
            return Some(&self.head);
        }
        self.read_anew(head, target, end)
    }

    fn target(&self) -> &[u8] {
        self.head.uri.path_and_query().map_or(b"", |target| target.as_str().as_bytes())
    }

    fn read_anew(&mut self, head: &[u8], target: Range<usize>, mut end: usize) -> Option<&Parts> {
        // Nothing holds on to the last one's text from here on, whose memory is taken again.
        self.head.headers.clear();
        self.head.uri = Uri::default();
        self.fields = Bytes::new();
        self.text.extend_from_slice(head);
        let text = self.text.split().freeze();
        self.head.uri = Uri::from_maybe_shared(text.slice(target)).ok()?;
        let fields = end + 2;
        loop {
            let begin = end + 2;
            end = line_end(&text, begin)?;
            if begin == end {
                if text.len() != end + 2 {
                    return None;
                }
                self.fields = text.slice(fields..);
                return Some(&self.head);
            }
            self.field(&text, begin, end)?;
        }
    }

    fn field(&mut self, text: &Bytes, begin: usize, end: usize) -> Option<()> {
        let line = &text[begin..end];
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = trimmed(&value[1..]);
        let is_plain = match name {
            CONNECTION => value.eq_ignore_ascii_case(b"keep-alive"),
            CONTENT_LENGTH | EXPECT | TE | TRANSFER_ENCODING | UPGRADE => false,
            _ => true,
        };
        let value = HeaderValue::from_maybe_shared(text.slice_ref(value)).ok()?;
        is_plain.then(|| self.head.headers.append(name, value)).map(|_| ())
    }
}

/// Where the line that begins there ends. A carriage return is nowhere else, or no [`Reader`](super::Reader) had let it pass.
fn line_end(text: &[u8], begin: usize) -> Option<usize> {
    memchr::memchr(b'\r', text.get(begin..)?).map(|at| begin + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_requests_are_read_and_others_are_not() {
        let mut plain = Plain::default();
        let fields = "Host: a.example\r\nACCEPT:  x, y \r\nAccept: z\r\nEmpty:\r\n";
        for (head, is_plain) in [
            (format!("GET /a?b HTTP/1.1\r\n{fields}\r\n"), true),
            (format!("GET / HTTP/1.1\r\n{fields}Connection: Keep-Alive\r\n\r\n"), true),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), true),
            (format!("HEAD / HTTP/1.1\r\n{fields}\r\n"), false),
            (format!("GET / HTTP/1.0\r\n{fields}\r\n"), false),
            (format!("GET http://a.example/ HTTP/1.1\r\n{fields}\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Connection: keep-alive, te\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}TE: trailers\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Upgrade: websocket\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}Expect: 100-continue\r\n\r\n"), false),
            (format!("\r\nGET / HTTP/1.1\r\n{fields}\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}\r\nGET / HTTP/1.1\r\n\r\n"), false),
            (format!("GET / HTTP/1.1\r\n{fields}"), false),
        ] {
            let read = plain.read(head.as_bytes());
            assert_eq!(read.is_some(), is_plain, "{head}");
            if let Some(head) = read.filter(|read| read.uri == "/a?b") {
                let values: Vec<_> = head.headers.get_all("accept").iter().collect();
                assert_eq!(values, ["x, y", "z"]);
                assert_eq!(
                    (&head.headers["host"], head.headers["empty"].len()),
                    (&"a.example".parse().unwrap(), 0)
                );
            }
        }
    }

    #[test]
    fn what_is_alike_is_read_once_and_what_is_not_anew() {
        let mut plain = Plain::default();
        let ask = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut longest = String::from("/");
        for (target, host) in
            [("/a", "a"), ("/b?c", "a"), ("/b?c", "a"), ("/b", "b"), ("/", "b"), ("/<", "b"), ("/", "b")]
        {
            longest.push_str(target);
            for target in [target, &longest] {
                let read = plain.read(ask(target, host).as_bytes());
                let told = read.map(|head| (head.uri.to_string(), head.headers["host"].clone()));
                let sound = target.parse::<Uri>().is_ok();
                assert_eq!(told, sound.then(|| (target.to_owned(), host.parse().unwrap())), "{target}");
            }
        }
        let unlike = "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
        assert!(plain.read(unlike.as_bytes()).is_none());
        assert!(plain.read(unlike.as_bytes()).is_none());
    }

    #[test]
    fn memory_is_used_again() {
        let mut plain = Plain::default();
        let head = b"GET /some/path HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let mut place = |head: &[u8]| plain.read(head).unwrap().uri.path().as_ptr();
        let first = place(head);
        assert!((0..10).all(|_| place(head) == first));
    }
}
