//! gRPC-Web (gRPC's `PROTOCOL-WEB`): what a browser can say of a call, and how it stands in gRPC's own form.
//!
//! Messages are framed as in gRPC. The trailer section is a last frame of the content, and the text form has all of it in
//! base64, padded wherever a sender had to flush.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use thiserror::Error;

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const TEXT: &str = "application/grpc-web-text";

/// The flag of the frame that holds the trailer section.
const TRAILERS: u8 = 0x80;

/// The head of a frame: flags and a length.
const HEAD: usize = 5;

/// A call as it was asked for, and how its client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebCall {
    /// The request is in base64.
    pub asks_in_text: bool,
    /// The reply is to be.
    pub answered_in_text: bool,
    /// The format of messages as it was named: `+proto`, or nothing.
    format: Box<str>,
}

/// What was to be base64 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the content is not base64")]
pub struct NotBase64;

impl WebCall {
    /// The call that a request makes, if it is of gRPC-Web.
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if *method != Method::POST {
            return None;
        }
        let (asks_in_text, rest) = web_type(headers.get(CONTENT_TYPE)?)?;
        let format = rest.split([';', ' ']).next().unwrap_or_default().into();
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let mut accepted = accepted.flat_map(|line| line.split(',')).filter_map(|one| web_name(one.trim()));
        let answered_in_text = accepted.next().map_or(asks_in_text, |(text, _)| text);
        Some(Self { asks_in_text, answered_in_text, format })
    }

    /// Makes the request's fields those of the call in gRPC.
    pub fn ask(&self, headers: &mut HeaderMap) {
        if let Ok(plain) = HeaderValue::try_from(format!("{GRPC}{}", self.format)) {
            headers.insert(CONTENT_TYPE, plain);
        }
        headers.remove(CONTENT_LENGTH);
    }

    /// Makes the fields of a reply in gRPC those that its client takes; `false`: it is none, and stays as it is.
    pub fn answer(&self, headers: &mut HeaderMap) -> bool {
        let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Some(rest) = given.and_then(|given| after(given, GRPC)).filter(|rest| ends_name(rest)) else {
            return false;
        };
        let name = if self.answered_in_text { TEXT } else { WEB };
        let rest = if rest.starts_with('+') { rest.to_owned() } else { format!("{}{rest}", self.format) };
        if let Ok(value) = HeaderValue::try_from(format!("{name}{rest}")) {
            headers.insert(CONTENT_TYPE, value);
        }
        headers.remove(CONTENT_LENGTH);
        true
    }
}

/// Whether a type is the text form, and what stands behind its name.
fn web_type(value: &HeaderValue) -> Option<(bool, &str)> {
    web_name(value.to_str().ok()?)
}

fn web_name(given: &str) -> Option<(bool, &str)> {
    let text = after(given, TEXT).map(|rest| (true, rest));
    let found = text.filter(|(_, rest)| ends_name(rest)).or_else(|| Some((false, after(given, WEB)?)));
    found.filter(|(_, rest)| ends_name(rest))
}

fn after<'a>(given: &'a str, name: &str) -> Option<&'a str> {
    let (start, rest) = given.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

fn ends_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['+', ';', ' '])
}

/// Reads base64 that comes in whatever pieces, and may be padded in the middle.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of four characters.
    held: Vec<u8>,
}

impl Decoder {
    /// The bytes that these complete.
    ///
    /// # Errors
    /// When they are no base64.
    pub fn decode(&mut self, text: &[u8]) -> Result<Bytes, NotBase64> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(text);
        self.held = all.split_off(all.len() - all.len() % 4);
        let mut bytes = Vec::with_capacity(all.len() / 4 * 3);
        let mut rest = &all[..];
        while !rest.is_empty() {
            // Padding ends a run, and with it four characters.
            let padded = rest.iter().position(|byte| *byte == b'=');
            let run = padded.map_or(rest.len(), |at| at / 4 * 4 + 4);
            BASE64_STANDARD.decode_vec(&rest[..run], &mut bytes).map_err(|_| NotBase64)?;
            rest = &rest[run..];
        }
        Ok(bytes.into())
    }

    /// Whether nothing is missing of what has come.
    pub fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

/// Writes a reply in gRPC as its client takes it.
#[derive(Debug)]
pub struct Encoder {
    text: bool,
    messages: Messages,
    /// Less than three bytes of the message under way, where it is text.
    held: Vec<u8>,
    /// The head has told the end.
    told: bool,
}

impl Encoder {
    /// Of the reply to this call with this head.
    pub fn new(call: &WebCall, headers: &HeaderMap) -> Self {
        Self {
            text: call.answered_in_text,
            messages: Messages::default(),
            held: Vec::new(),
            told: headers.contains_key("grpc-status"),
        }
    }

    /// Content. What ends a message leaves at once; of another up to two bytes may stay, so that padding stands only behind
    /// messages.
    pub fn data(&mut self, data: Bytes) -> Bytes {
        if !self.text {
            self.messages.follow(&data);
            return data;
        }
        let mut out = String::with_capacity(data.len() / 3 * 4 + 8);
        let mut rest = &data[..];
        while !rest.is_empty() {
            let taken = self.messages.take(rest);
            self.write(&rest[..taken], &mut out);
            rest = &rest[taken..];
        }
        out.into()
    }

    /// The end, with these trailers; `None`: there are none, and need not be.
    pub fn end(&mut self, trailers: Option<&HeaderMap>) -> Option<Bytes> {
        let lost;
        let trailers = match trailers {
            Some(trailers) => trailers,
            None if self.told => return None,
            None => {
                lost = super::grpc::end(UNKNOWN, "The service did not say how the call ended");
                &lost
            }
        };
        let block = block(trailers);
        self.messages = Messages::default();
        match self.text {
            false => Some(block),
            true => {
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(&block);
                Some(BASE64_STANDARD.encode(held).into())
            }
        }
    }

    /// Whether the reply's head has told how the call ended.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Whether no message is under way.
    pub fn is_between(&self) -> bool {
        self.messages.at_boundary()
    }

    fn write(&mut self, bytes: &[u8], out: &mut String) {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        if !self.messages.at_boundary() {
            self.held = all.split_off(all.len() - all.len() % 3);
        }
        BASE64_STANDARD.encode_string(all, out);
    }
}

/// gRPC's `UNKNOWN`.
const UNKNOWN: u8 = 2;

/// The frame that holds a trailer section: lines as in HTTP/1.1, without the empty one.
fn block(trailers: &HeaderMap) -> Bytes {
    let mut frame = BytesMut::with_capacity(128);
    frame.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_u8(b':');
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    // A header list has a bound that is far below.
    let length = u32::try_from(frame.len() - HEAD).unwrap_or(u32::MAX);
    frame[1..HEAD].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// Where gRPC's messages end.
#[derive(Clone, Copy, Debug, Default)]
struct Messages {
    head: [u8; HEAD],
    filled: usize,
    left: usize,
}

impl Messages {
    fn at_boundary(&self) -> bool {
        self.filled == 0 && self.left == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.take(bytes)..];
        }
    }

    /// How many of these bytes there are to the end of the message under way, or of the one that they begin.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.left == 0 {
            at = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + at].copy_from_slice(&bytes[..at]);
            self.filled += at;
            if self.filled < HEAD {
                return at;
            }
            let [_, length @ ..] = self.head;
            self.left = u32::from_be_bytes(length) as usize;
            self.filled = 0;
        }
        let more = self.left.min(bytes.len() - at);
        self.left -= more;
        at + more
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::test_headers::{headers, lines};

    #[test]
    fn which_requests_are_calls_of_it() {
        let of = |method: Method, fields: &[&str]| {
            let call = WebCall::of(&method, &headers(fields))?;
            Some((call.asks_in_text, call.answered_in_text, call.format.to_string()))
        };
        for (fields, expected) in [
            (&["content-type: application/grpc-web"][..], Some((false, false, ""))),
            (&["content-type: application/grpc-web+proto"], Some((false, false, "+proto"))),
            (&["content-type: Application/gRPC-Web+json; charset=utf-8"], Some((false, false, "+json"))),
            (&["content-type: application/grpc-web-text"], Some((true, true, ""))),
            (&["content-type: application/grpc-web-text+proto"], Some((true, true, "+proto"))),
            (
                &["content-type: application/grpc-web-text", "accept: */*, application/grpc-web-text"],
                Some((true, true, "")),
            ),
            (
                &["content-type: application/grpc-web+proto", "accept: application/grpc-web-text+proto"],
                Some((false, true, "+proto")),
            ),
            (
                &["content-type: application/grpc-web-text", "accept: application/grpc-web"],
                Some((true, false, "")),
            ),
            (&["content-type: application/grpc-web", "accept: text/html"], Some((false, false, ""))),
            (&["content-type: application/grpc-webby"], None),
            (&["content-type: application/grpc-web-texts"], None),
            (&["content-type: application/grpc"], None),
            (&["accept: application/grpc-web"], None),
        ] {
            let expected = expected.map(|(asks, answered, format)| (asks, answered, format.to_owned()));
            assert_eq!(of(Method::POST, fields), expected, "{fields:?}");
            assert_eq!(of(Method::GET, fields), None);
        }
    }

    #[test]
    fn types_there_and_back() {
        for (asked, sent, given, answered) in [
            ("application/grpc-web", "application/grpc", "application/grpc", "application/grpc-web"),
            (
                "application/grpc-web+proto",
                "application/grpc+proto",
                "application/grpc",
                "application/grpc-web+proto",
            ),
            (
                "application/grpc-web-text+proto",
                "application/grpc+proto",
                "application/grpc+proto",
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web-text",
                "application/grpc",
                "application/grpc+json; a=b",
                "application/grpc-web-text+json; a=b",
            ),
            (
                "application/grpc-web+proto",
                "application/grpc+proto",
                "application/grpc;a=b",
                "application/grpc-web+proto;a=b",
            ),
        ] {
            let mut fields = headers(&[&format!("content-type: {asked}"), "content-length: 8"]);
            let call = WebCall::of(&Method::POST, &fields).unwrap();
            call.ask(&mut fields);
            assert_eq!(lines(&fields), [format!("content-type: {sent}")]);
            let mut fields = headers(&[&format!("content-type: {given}"), "content-length: 8"]);
            assert!(call.answer(&mut fields));
            assert_eq!(lines(&fields), [format!("content-type: {answered}")]);
            for other in ["text/html", "application/grpc-web+proto", "application/grpcs"] {
                let mut fields = headers(&[&format!("content-type: {other}"), "content-length: 8"]);
                assert!(!call.answer(&mut fields), "{other}");
                assert_eq!(fields.len(), 2);
            }
        }
    }

    fn encoder(text: bool, told: bool) -> Encoder {
        let call = WebCall { asks_in_text: text, answered_in_text: text, format: "".into() };
        Encoder::new(&call, &headers(if told { &["grpc-status: 0"] } else { &[] }))
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        [&[0][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
    }

    fn decoded(text: &[u8]) -> Vec<u8> {
        let mut decoder = Decoder::default();
        let bytes = decoder.decode(text).unwrap();
        assert!(decoder.is_whole());
        bytes.to_vec()
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let trailers = headers(&["grpc-status: 0", "grpc-message: fine", "x-Own: a", "x-own: b"]);
        let block = b"\x80\0\0\0\x34grpc-status:0\r\ngrpc-message:fine\r\nx-own:a\r\nx-own:b\r\n";
        assert_eq!(encoder(false, false).end(Some(&trailers)).unwrap(), &block[..]);
        assert_eq!(decoded(&encoder(true, false).end(Some(&trailers)).unwrap()), block);
        assert_eq!(encoder(true, true).end(None), None, "the head has told it");
        let unsaid = encoder(false, false).end(None).unwrap();
        assert!(unsaid.starts_with(b"\x80\0\0\0") && unsaid[HEAD..].starts_with(b"grpc-status:2\r\n"));
    }

    #[test]
    fn what_is_no_base64() {
        for text in ["A===", "====", "AA=A", "AAA\n", "A-_A", "\u{e4}\u{e4}", "AB=="] {
            assert_eq!(Decoder::default().decode(text.as_bytes()), Err(NotBase64), "{text}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"AAA"), Ok(Bytes::new()));
        assert!(!decoder.is_whole());
        assert_eq!(decoder.decode(b"=QUJD"), Ok(Bytes::from_static(b"\0\0ABC")));
        assert!(decoder.is_whole());
    }

    /// Cuts `bytes` at places that these numbers tell.
    fn cut<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, rest) = bytes.split_at((*cut).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces.push(bytes);
        pieces
    }

    proptest! {
        /// However the pieces are cut, the client reads the same messages, and each is there as soon as it has come.
        #[test]
        fn replies_in_whatever_pieces(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in prop::collection::vec(0_usize..30, 0..20),
            text in any::<bool>(),
        ) {
            let sent: Vec<u8> = payloads.iter().flat_map(|payload| message(payload)).collect();
            let ends: Vec<usize> = payloads.iter().scan(0, |end, payload| {
                *end += HEAD + payload.len();
                Some(*end)
            }).collect();
            let mut encoder = encoder(text, false);
            let mut decoder = Decoder::default();
            let mut heard = Vec::new();
            let mut come = 0;
            for piece in cut(&sent, &cuts) {
                let out = encoder.data(Bytes::copy_from_slice(piece));
                heard.extend(if text { decoder.decode(&out).unwrap() } else { out });
                come += piece.len();
                let whole = ends.iter().copied().filter(|end| *end <= come).max().unwrap_or(0);
                prop_assert!(heard.len() >= whole);
                prop_assert_eq!(encoder.is_between(), whole == come);
            }
            prop_assert_eq!(&heard, &sent);
            let end = encoder.end(Some(&headers(&["grpc-status: 0"]))).unwrap();
            let end = if text { decoder.decode(&end).unwrap() } else { end };
            prop_assert!(decoder.is_whole());
            prop_assert_eq!(&end[..], &b"\x80\0\0\0\x0fgrpc-status:0\r\n"[..]);
        }

        /// Requests may be padded wherever their sender flushed, and cut anywhere.
        #[test]
        fn requests_in_whatever_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            cuts in prop::collection::vec(0_usize..9, 0..40),
        ) {
            let text: String = parts.iter().map(|part| BASE64_STANDARD.encode(part)).collect();
            let mut decoder = Decoder::default();
            let mut heard = Vec::new();
            for piece in cut(text.as_bytes(), &cuts) {
                heard.extend(decoder.decode(piece).unwrap());
            }
            prop_assert!(decoder.is_whole());
            prop_assert_eq!(heard, parts.concat());
        }

        /// Nothing that a client sends is more than refused.
        #[test]
        fn whatever_comes(text in prop::collection::vec(any::<u8>(), 0..60), cuts in prop::collection::vec(0_usize..9, 0..20)) {
            let mut decoder = Decoder::default();
            for piece in cut(&text, &cuts) {
                if decoder.decode(piece).is_err() {
                    break;
                }
            }
        }
    }
}
