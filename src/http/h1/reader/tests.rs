//! Every rule by a table; that no way of splitting the bytes changes a verdict; and that what passes is one thing to
//! hyper.

use std::convert::Infallible;
use std::task::Poll;

use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::*;
use crate::http::h1::mangled::{changed, cut};
use crate::http::h1::{Filled, Inlet};

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };

/// What became of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    stop: Option<Stop>,
    heads: u64,
}

/// Reads `parts` as they would come from a socket.
fn read<'a>(reader: Reader, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    read_into(1 << 16, reader, parts)
}

/// Reads `parts` into buffers of this size.
fn read_into<'a>(space: usize, reader: Reader, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut inlet = Inlet::new(reader);
    let mut parts = parts.into_iter().filter(|part| !part.is_empty()).peekable();
    let mut rest: &[u8] = &[];
    let mut outcome = Outcome { passed: Vec::new(), stop: None, heads: 0 };
    loop {
        let mut space = vec![0; space];
        let mut buffer = ReadBuf::new(&mut space);
        let filled = inlet.poll_fill(&mut buffer, |buffer| {
            if rest.is_empty() {
                rest = parts.next().unwrap_or_default();
            }
            let taken = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..taken]);
            rest = &rest[taken..];
            Poll::Ready(Ok(()))
        });
        outcome.passed.extend_from_slice(buffer.filled());
        match filled {
            Poll::Ready(Ok(Filled::Some)) => assert!(!buffer.filled().is_empty(), "which would be the end"),
            Poll::Ready(Ok(Filled::Stopped(stop))) => {
                outcome.stop = Some(stop);
                break;
            }
            other => {
                assert!(matches!(other, Poll::Ready(Ok(Filled::End))), "{other:?}");
                break;
            }
        }
    }
    outcome.heads = inlet.reader().heads();
    outcome
}

fn requests(text: impl AsRef<[u8]>) -> Outcome {
    read(Reader::new(LIMITS), [text.as_ref()])
}

/// A request line, `Host` and these.
fn post(rest: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{rest}")
}

#[test]
fn what_is_beyond_doubt_passes() {
    let whole = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "M-SEARCH /\u{e9}?{|} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        post("Content-Length: 0\r\n\r\n"),
        post("content-length:5\r\n\r\nhello"),
        post("Content-Length: \t5 \r\nExpect: 100-Continue\r\n\r\nhello"),
        post("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("TRANSFER-ENCODING: Chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n00\r\nX: 1\r\nY:\r\n\r\n"),
    ];
    for text in &whole {
        let outcome = requests(text);
        assert_eq!(outcome, Outcome { passed: text.clone().into(), stop: None, heads: 1 }, "{text:?}");
    }
    let all = whole.concat();
    assert_eq!(requests(&all), Outcome { passed: all.clone().into(), stop: None, heads: whole.len() as u64 });
}

#[test]
fn heads_that_break_a_rule_do_not_pass() {
    use Violation as V;
    let long = "x".repeat(5000);
    let many = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    for (text, why) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), V::BareLineFeed),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), V::BareLineFeed),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n".into(), V::BareCarriageReturn),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".into(), V::BareCarriageReturn),
        ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n".into(), V::BareCarriageReturn),
        (post("X: a\rb\r\n\r\n"), V::BareCarriageReturn),
        (post("X: a\r\r\n\r\n"), V::BareCarriageReturn),
        (post("X: a\0b\r\n\r\n"), V::ControlCharacter),
        (post("X: \u{1b}\r\n\r\n"), V::ControlCharacter),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), V::ControlCharacter),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n".into(), V::ControlCharacter),
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET /\r\n\r\n".into(), V::RequestLine),
        ("GET\r\n\r\n".into(), V::RequestLine),
        ("GET / \r\n\r\n".into(), V::RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET /  HTTP/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n".into(), V::RequestLine),
        ("GET /a b HTTP/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET\t/\tHTTP/1.1\r\n\r\n".into(), V::Method),
        ("GET /\tHTTP/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET /a\tb HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET / http/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/1.10\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/01.1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/1,1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTPS/1.1\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/1.1x\r\n\r\n".into(), V::RequestLine),
        ("GET / HTTP/0.9\r\n\r\n".into(), V::Version),
        ("GET / HTTP/1.2\r\n\r\n".into(), V::Version),
        ("GET / HTTP/2.0\r\n\r\n".into(), V::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM".into(), V::Version),
        (" GET / HTTP/1.1\r\n\r\n".into(), V::Method),
        ("G@T / HTTP/1.1\r\n\r\n".into(), V::Method),
        ("G\u{e9}T / HTTP/1.1\r\n\r\n".into(), V::Method),
        ("(GET) / HTTP/1.1\r\n\r\n".into(), V::Method),
        ("\u{16}\u{3}\u{1}\u{2}".into(), V::Method),
        ("\r GET / HTTP/1.1\r\n\r\n".into(), V::BareCarriageReturn),
        ("GET /#a HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET /?a#b HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET /<a> HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET /?\" HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET http:// HTTP/1.1\r\n\r\n".into(), V::Target),
        ("GET a/b HTTP/1.1\r\n\r\n".into(), V::Target),
        (post(" X: 1\r\n\r\n"), V::FoldedLine),
        (post("X: 1\r\n\t2\r\n\r\n"), V::FoldedLine),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), V::FoldedLine),
        (post("X : 1\r\n\r\n"), V::FieldName),
        (post("X\t: 1\r\n\r\n"), V::FieldName),
        (post(": 1\r\n\r\n"), V::FieldName),
        (post("X\r\n\r\n"), V::FieldName),
        (post("X Y: 1\r\n\r\n"), V::FieldName),
        (post("X(: 1\r\n\r\n"), V::FieldName),
        (post("X\u{b}: 1\r\n\r\n"), V::FieldName),
        (post("Content-Length: +5\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length: 5 5\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length: 5,5\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length: 0x5\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length:\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length: 18446744073709551621\r\n\r\nhello"), V::ContentLength),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), V::RepeatedLength),
        (post("Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello"), V::RepeatedLength),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), V::LengthAndCoding),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"), V::LengthAndCoding),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), V::TransferCoding),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), V::TransferCoding),
        (post("Transfer-Encoding: identity\r\n\r\n"), V::TransferCoding),
        (post("Transfer-Encoding:\r\n\r\n"), V::TransferCoding),
        (post("Transfer-Encoding: \u{b}chunked\r\n\r\n"), V::ControlCharacter),
        (post("Transfer-Encoding: gzip, chunked\r\n\r\n"), V::UnknownCoding),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), V::MisplacedCoding),
        (post("Expect: 200-ok\r\n\r\n"), V::Expectation),
        (post("Expect: y 100-continue\r\n\r\n"), V::Expectation),
        (post("Expect: 100-continue, 100-continue\r\n\r\n"), V::Expectation),
        (post("Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"), V::Expectation),
        (post("Expect:\r\n\r\n"), V::Expectation),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), V::TargetTooLong),
        (format!("GET /{long}"), V::TargetTooLong),
        (post(&format!("X: {long}\r\n\r\n")), V::HeadTooLarge),
        (post(&format!("X: {long}")), V::HeadTooLarge),
        (post(&format!("{many}\r\n")), V::HeadTooLarge),
    ] {
        assert_eq!(
            requests(&text),
            Outcome { passed: Vec::new(), stop: Some(Stop::Head(why)), heads: 0 },
            "{text:?}"
        );
        let before = post("Content-Length: 1\r\n\r\nx");
        let behind = format!("{before}{text}");
        assert_eq!(
            requests(&behind),
            Outcome { passed: before.into(), stop: Some(Stop::Head(why)), heads: 1 },
            "{behind:?}"
        );
    }
}

#[test]
fn content_that_breaks_a_rule_ends_there() {
    use Violation as V;
    let long = "x".repeat(2000);
    let many = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let head = post("Transfer-Encoding: chunked\r\n\r\n");
    let extended = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(17);
    for (sound, broken, why) in [
        ("", "\r\n".to_owned(), V::ChunkSize),
        ("", "g\r\n".into(), V::ChunkSize),
        ("", "-1\r\n".into(), V::ChunkSize),
        ("", "0x5\r\nhello\r\n0\r\n\r\n".into(), V::ChunkSize),
        ("", "5 \r\nhello\r\n".into(), V::ChunkSize),
        ("", " 5\r\nhello\r\n".into(), V::ChunkSize),
        ("", "ffffffffffffffff\r\n".into(), V::ChunkSize),
        ("", "10000000000000005\r\nhello\r\n".into(), V::ChunkSize),
        ("", "5\nhello\r\n".into(), V::BareLineFeed),
        ("", "5;a\nhello\r\n".into(), V::BareLineFeed),
        ("", "5\r\rhello\r\n".into(), V::ChunkSize),
        ("", "5;\r\nhello\r\n".into(), V::ChunkExtension),
        ("", "5;a\rb\r\nhello\r\n".into(), V::ChunkSize),
        ("", format!("5;{long}\r\nhello\r\n"), V::ChunkExtensionsTooLarge),
        ("", format!("5;{long}"), V::ChunkExtensionsTooLarge),
        (&extended[..16 * 1007], extended[16 * 1007..].to_owned(), V::ChunkExtensionsTooLarge),
        ("5\r\nhello", "\n0\r\n\r\n".into(), V::ChunkEnd),
        ("5\r\nhello", "0\r\n\r\n".into(), V::ChunkEnd),
        ("5\r\nhello", "\r0\r\n\r\n".into(), V::ChunkEnd),
        ("5\r\nhello\r\n", "\r\n0\r\n\r\n".into(), V::ChunkSize),
        ("0\r\n", "\n".into(), V::BareLineFeed),
        ("0\r\n", "GET / HTTP/1.1\r\n".into(), V::FieldName),
        ("0\r\n", " X: 1\r\n\r\n".into(), V::FoldedLine),
        ("0\r\n", "X : 1\r\n\r\n".into(), V::FieldName),
        ("0\r\nX: 1\r\n", "\tY: 1\r\n\r\n".into(), V::FoldedLine),
        ("0\r\n", "X: \0\r\n\r\n".into(), V::ControlCharacter),
        ("0\r\n", "X: 1\n\r\n".into(), V::BareLineFeed),
        ("0\r\n", format!("X: {}\r\n\r\n", long.repeat(3)), V::TrailersTooLarge),
        (&format!("0\r\n{}", &many[..many.len() - 9]), "x-20: 1\r\n\r\n".into(), V::TrailersTooLarge),
    ] {
        let text = format!("{head}{sound}{broken}");
        let passed = format!("{head}{sound}");
        let outcome = requests(&text);
        assert_eq!(outcome.stop, Some(Stop::Content(why)), "{text:?}");
        assert_eq!(outcome.passed, passed.as_bytes(), "{text:?}");
    }
}

#[test]
fn what_follows_a_request_for_another_protocol_waits_for_the_answer() {
    for ask in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nupgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ] {
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        let outcome = requests(format!("{ask}{next}"));
        assert_eq!(outcome, Outcome { passed: ask.into(), stop: Some(Stop::Undecided), heads: 1 }, "{ask:?}");
        for (switched, follows, stop) in [
            (true, "\u{81}\0\r\n any\n", None),
            (false, next, None),
            (false, "G@T / HTTP/1.1\r\n\r\n", Some(Stop::Head(Violation::Method))),
        ] {
            let mut reader = Reader::new(LIMITS);
            assert_eq!(reader.feed(ask.as_bytes()), (ask.len(), None));
            assert!(reader.is_undecided());
            reader.resume(switched);
            let passed = if stop.is_none() { follows.len() } else { 0 };
            assert_eq!(reader.feed(follows.as_bytes()), (passed, stop), "{follows:?}");
        }
    }
    let old = "GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(requests(format!("{old}{old}")).heads, 2, "HTTP/1.0 has no upgrade (RFC 9110 7.8)");
}

/// Requests, sound ones mostly, with the ways of breaking them that attacks are made of.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "OPTIONS", "get", "PRI", "X-Y"]);
    let target = prop::sample::select(vec![
        "/",
        "/a?b=c",
        "/a%20b",
        "http://b.test/x",
        "*",
        "/\u{e9}",
        "/a#b",
        "a:1",
        "/a\"b",
        "/{}",
        "http://[::1]:8/?q",
        "/a|b\\c",
    ]);
    let line = prop::sample::select(vec![
        "Host: a",
        "Accept: */*",
        "X:",
        "X: a\tb ",
        "Content-Length: 5",
        "Content-Length: 0",
        "Content-Length: 05",
        "Content-Length: 5 ",
        "Content-Length: 5,5",
        "Content-Length: +5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked ",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        " Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "X-Odd: \u{e9}",
        "X-Bad: \0",
        "\u{e9}: x",
        ": x",
        "x",
    ]);
    let end = || prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n"), 1 => Just("")];
    let chunk = (
        prop::sample::select(vec![
            "5",
            "05",
            "5;a=b",
            "5;a=\"\\\"\"",
            "5 ",
            "0x5",
            "5;",
            "+5",
            "6",
            "4",
            "a",
        ]),
        end(),
        end(),
    )
        .prop_map(|(size, one, two)| format!("{size}{one}hello{two}"));
    let body = prop_oneof![
        4 => Just(String::new()),
        4 => Just("hello".to_owned()),
        4 => (prop::collection::vec(chunk, 0..3), end(), prop::option::of("X: [a-z]{1,3}\r\n"), end()).prop_map(|(chunks, one, trailer, two)| {
            format!("{}0{one}{}{two}", chunks.concat(), trailer.unwrap_or_default())
        }),
    ];
    let version = prop_oneof![20 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2"), 1 => Just("http/1.1")];
    let message = (method, target, version, end(), prop::collection::vec((line, end()), 0..4), end(), body)
        .prop_map(|(method, target, version, one, lines, two, body)| {
            let lines: String = lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect();
            format!("{method} {target} {version}{one}{lines}{two}{body}").into_bytes()
        });
    let change =
        (any::<prop::sample::Index>(), prop::sample::select(b"\0\t\n\r :;,0a\x0b\x7f\xff".to_vec()), 0..3_u8);
    (prop::collection::vec(message, 1..4), prop::option::weighted(0.4, change))
        .prop_map(|(messages, change)| changed(messages.concat(), change))
}

/// A method, a target and a body; `None`: it broke off.
type Served = (String, String, Option<Vec<u8>>);

/// What hyper makes of these bytes, and whether it came to their end without an error.
fn served(bytes: &[u8]) -> (Vec<Served>, bool) {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
                seen.borrow_mut().push((head.method.to_string(), head.uri.to_string(), body));
                Ok::<_, Infallible>(hyper::Response::new(Empty::<bytes::Bytes>::new()))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.half_close(true).max_header_size(LIMITS.bytes);
        let ended = builder.serve_connection(TokioIo::new(server), service).await.is_ok();
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said).await;
        ended
    });
    (seen.take(), ended)
}

/// The messages in bytes that all passed, each by itself; the last one may not be whole.
fn messages(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut reader = Reader::new(LIMITS);
    let (mut messages, mut from, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let Ok(Some(taken)) = reader.step(&bytes[at..]) else { break };
        let heads = messages.len() as u64;
        at += taken;
        if reader.heads == heads + 1 && reader.state == State::Start {
            messages.push(bytes[from..at].to_vec());
            from = at;
        }
    }
    let whole = from == bytes.len();
    if !whole {
        messages.push(bytes[from..].to_vec());
    }
    (messages, whole)
}

fn cases() -> u32 {
    std::env::var("PROXY_STONE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(512)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn no_way_of_splitting_changes_a_verdict(bytes in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let whole = requests(&bytes);
        let parts = cut(&bytes, &cuts);
        let split = read_into(97, Reader::new(LIMITS), parts.iter().map(Vec::as_slice));
        let single = read_into(7, Reader::new(LIMITS), bytes.chunks(1));
        for other in [split, single] {
            prop_assert_eq!((other.stop, other.heads), (whole.stop, whole.heads));
            // Of a head that is refused, lines that came before may have gone on.
            prop_assert!(other.passed.starts_with(&whole.passed));
            prop_assert!(bytes.starts_with(&other.passed));
            if !matches!(whole.stop, Some(Stop::Head(_))) {
                prop_assert_eq!(other.passed.len(), whole.passed.len());
            }
        }
    }

    /// hyper sees as many messages, which begin and end where we say, and nothing that passed is malformed to it.
    #[test]
    fn what_passes_is_one_thing_to_hyper(bytes in streams()) {
        let passed = requests(&bytes).passed;
        let (messages, whole) = messages(&passed);
        let (all, ended) = served(&passed);
        // HTTP/1.0 closes after a reply, as does hyper with what it reads behind a head of ours that is not whole.
        let mut alone = Vec::new();
        for message in &messages {
            let (mut one, _) = served(message);
            prop_assert!(one.len() <= 1, "{one:?}");
            alone.append(&mut one);
            if memchr::memmem::find(message, b" HTTP/1.0\r\n").is_some() {
                break;
            }
        }
        prop_assert_eq!(&all, &alone);
        if whole && alone.len() == messages.len() {
            prop_assert!(ended);
            prop_assert!(all.iter().all(|(_, _, body)| body.is_some()), "{all:?}");
        }
        if alone.len() < messages.len() {
            let closed = messages.iter().take(alone.len()).any(|message| memchr::memmem::find(message, b" HTTP/1.0\r\n").is_some());
            prop_assert!(closed || !whole, "{all:?}");
        }
    }

    #[test]
    fn any_bytes_at_all_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let whole = read(Reader::new(LIMITS), [&bytes[..]]);
        let single = read(Reader::new(LIMITS), bytes.chunks(1));
        prop_assert_eq!((whole.stop, whole.heads), (single.stop, single.heads));
    }
}
