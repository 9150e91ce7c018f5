//! Every rule by a table; that no way of splitting the bytes changes a verdict; and that a reply is the same thing to hyper.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::http::h1::mangled::{changed, cut};

const LIMITS: Limits = Limits { bytes: 4096, fields: 20 };

/// Names and values.
type Fields = Vec<(String, Vec<u8>)>;

/// What became of a reply.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Status and fields, interim ones first.
    heads: Vec<(u16, Fields)>,
    content: Vec<u8>,
    trailers: Fields,
    violation: Option<Violation>,
    /// It is over before the connection is.
    over: bool,
    /// It is whole if the connection ends here.
    whole: bool,
    surplus: usize,
}

fn listed(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

fn mapped(fields: lines::Fields<'_>) -> HeaderMap {
    let name = |name| HeaderName::from_bytes(name).unwrap();
    let value = |value| HeaderValue::from_bytes(value).unwrap();
    fields.fold(HeaderMap::new(), |mut map, (named, valued)| {
        map.append(name(named), value(valued));
        map
    })
}

/// Reads `parts` as they would come from a socket.
fn read<'a>(to_head: bool, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut replies = Replies::new(LIMITS);
    replies.expect(to_head);
    let (mut outcome, mut bytes, mut in_head) = (Outcome::default(), BytesMut::new(), true);
    for part in parts {
        bytes.extend_from_slice(part);
        if let Err(violation) = step(&mut replies, &mut bytes, &mut outcome, &mut in_head) {
            outcome.violation = Some(violation);
            return outcome;
        }
    }
    outcome.over = replies.is_over();
    outcome.surplus = if outcome.over { bytes.len() } else { 0 };
    outcome.whole = !in_head && replies.close();
    outcome
}

fn step(
    replies: &mut Replies,
    bytes: &mut BytesMut,
    outcome: &mut Outcome,
    in_head: &mut bool,
) -> Result<(), Violation> {
    while *in_head {
        let Some(outline) = replies.outline(bytes)? else { return Ok(()) };
        *in_head = outline.is_interim();
        let (mapped, goes_on) = (mapped(replies.fields(bytes)), replies.goes_on());
        let whole = replies.whole(bytes).map(<[u8]>::to_vec);
        let head = replies.head(bytes)?.unwrap();
        assert_eq!((outline.status, outline.version, &mapped), (head.status, head.version, &head.headers));
        assert!(goes_on == replies.goes_on() || outline.is_interim());
        if let Some(whole) = whole {
            assert!(!*in_head && replies.left() == Some(whole.len() as u64) && bytes.starts_with(&whole));
        }
        outcome.heads.push((head.status.as_u16(), listed(&head.headers)));
    }
    while let Some(frame) = replies.content(bytes)? {
        match frame.into_data() {
            Ok(data) => outcome.content.extend_from_slice(&data),
            Err(frame) => outcome.trailers = listed(&frame.into_trailers().unwrap()),
        }
    }
    Ok(())
}

fn reply(to_head: bool, text: &str) -> Outcome {
    read(to_head, [text.as_bytes()])
}

#[test]
fn rfc_9112_6_3_where_replies_end() {
    for (to_head, whole, content, ends) in [
        (false, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
        (false, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", true),
        (false, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "", true),
        (
            false,
            "HTTP/1.1 200 Gr\u{fc}n\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n",
            "hi",
            true,
        ),
        (
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nh\r\n01\r\ni\r\n0\r\n\r\n",
            "hi",
            true,
        ),
        (false, "HTTP/1.1 204 No Content\r\n\r\n", "", true),
        (false, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", true),
        (false, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "", true),
        (false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", true),
        (false, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "", true),
        (true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", true),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", true),
        (true, "HTTP/1.1 200 OK\r\n\r\n", "", true),
        (
            false,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "",
            true,
        ),
        (false, "HTTP/1.0 200 OK\r\n\r\nuntil the end\n", "until the end\n", false),
        (false, "HTTP/1.1 200 OK\r\n\r\n", "", false),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: strange\r\n\r\nuntil\n", "until\n", false),
        (
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: strange,\r\nTransfer-Encoding: other\r\n\r\nuntil\n",
            "until\n",
            false,
        ),
    ] {
        let outcome = reply(to_head, whole);
        assert_eq!((outcome.violation, outcome.over, outcome.surplus), (None, ends, 0), "{whole:?}");
        assert_eq!((outcome.content.as_slice(), outcome.whole), (content.as_bytes(), true), "{whole:?}");
        let next = "HTTP/1.1 200 OK\r\n\r\n";
        let outcome = reply(to_head, &format!("{whole}{next}"));
        assert_eq!(outcome.surplus, if ends { next.len() } else { 0 }, "{whole:?}");
    }
}

#[test]
fn what_is_cut_short_is_not_whole() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ] {
        for end in 0..text.len() {
            let outcome = reply(false, &text[..end]);
            assert_eq!(
                (outcome.violation, outcome.over, outcome.whole),
                (None, false, false),
                "{:?}",
                &text[..end]
            );
        }
    }
}

#[test]
fn what_follows_a_101_is_left_alone() {
    let outcome = reply(false, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\u{81}\0\n");
    assert_eq!((outcome.heads.len(), outcome.violation, outcome.over), (1, None, false));
    assert!(outcome.content.is_empty());
}

#[test]
fn fields_keep_their_values_and_their_order() {
    let outcome = reply(
        false,
        "HTTP/1.1 200 OK\r\nA:b\tc  d \r\nb:\r\nC: \t \r\na: \t2\r\nD: \u{e9}\r\nContent-Length: 0\r\n\r\n",
    );
    let fields: Vec<_> = outcome.heads[0].1.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("a", b"b\tc  d"),
        ("a", b"2"),
        ("b", b""),
        ("c", b""),
        ("d", "\u{e9}".as_bytes()),
        ("content-length", b"0"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn rfc_9112_9_3_whether_a_connection_goes_on() {
    for (head, goes_on) in [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: closed, x-close\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: Close\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: a, close ,b\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: a\r\nConnection: close\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", false),
    ] {
        let mut replies = Replies::new(LIMITS);
        replies.expect(false);
        let mut bytes = BytesMut::from(&*format!("{head}Content-Length: 0\r\n\r\n"));
        replies.outline(&bytes).unwrap().unwrap();
        assert_eq!(replies.goes_on(), goes_on, "{head:?}");
        replies.head(&mut bytes).unwrap().unwrap();
        assert_eq!(replies.goes_on(), goes_on, "{head:?}");
    }
}

#[test]
fn fields_are_had_by_their_lines_as_they_were_written() {
    let mut replies = Replies::new(LIMITS);
    replies.expect(false);
    let text = "HTTP/1.0 404 Gone?\r\nA:b\tc \r\nCONTENT-Length: 007\r\na:\r\n\r\ncontent";
    let mut bytes = BytesMut::from(text);
    assert_eq!(replies.fields(&bytes).len(), 0);
    let outline = replies.outline(&bytes).unwrap().unwrap();
    let (status, content) = (StatusCode::NOT_FOUND, Content::Length(7));
    let expected = Outline { status, version: Version::HTTP_10, content, length: Some(7) };
    assert_eq!((outline, replies.outline(&bytes).unwrap()), (expected, Some(expected)));
    let fields: Vec<_> = replies.fields(&bytes).collect();
    let expected: [(&[u8], &[u8]); 3] = [(b"A", b"b\tc"), (b"CONTENT-Length", b"007"), (b"a", b"")];
    assert_eq!(fields, expected);
    assert!(replies.finish(&mut bytes) && replies.is_over() && bytes.is_empty());
    assert_eq!(replies.fields(&bytes).len(), 0);
}

#[test]
fn what_is_whole_is_taken_at_once_and_nothing_behind_it() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (to_head, text, whole, length) in [
        (false, format!("{ok}Content-Length: 2\r\n\r\nhi"), Some("hi"), Some(2)),
        (false, format!("{ok}Content-Length: 3\r\n\r\nhi"), None, Some(3)),
        (false, format!("{ok}Content-Length: 9223372036854775807\r\n\r\nhi"), None, Some(i64::MAX as u64)),
        (false, format!("{ok}Content-Length: 0\r\n\r\n"), Some(""), Some(0)),
        (true, format!("{ok}Content-Length: 2\r\n\r\n"), Some(""), Some(2)),
        (true, format!("{ok}Transfer-Encoding: chunked\r\n\r\n"), Some(""), None),
        (false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".into(), Some(""), Some(5)),
        (false, "HTTP/1.1 204 No Content\r\n\r\n".into(), Some(""), None),
        (false, format!("{ok}\r\n"), None, None),
        (false, format!("{ok}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), None, None),
        (false, "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), None, None),
        (false, "HTTP/1.1 103 Early Hints\r\n\r\n".into(), None, None),
    ] {
        let next = if whole.is_some() { "HTTP/1.1" } else { "" };
        let begun = |bytes: &BytesMut| {
            let mut replies = Replies::new(LIMITS);
            replies.expect(to_head);
            assert_eq!(replies.outline(bytes).unwrap().unwrap().length, length, "{text:?}");
            replies
        };
        let bytes = BytesMut::from(&*format!("{text}{next}"));
        let (mut taken, mut finished) = (bytes.clone(), bytes.clone());
        let mut replies = begun(&bytes);
        assert_eq!(replies.whole(&bytes), whole.map(str::as_bytes), "{text:?}");
        assert_eq!(replies.take_whole(&mut taken).as_deref(), whole.map(str::as_bytes), "{text:?}");
        assert_eq!(begun(&bytes).finish(&mut finished), whole.is_some(), "{text:?}");
        let rest = if whole.is_some() { BytesMut::from(next) } else { bytes };
        assert_eq!((taken, finished, replies.is_over()), (rest.clone(), rest, whole.is_some()), "{text:?}");
    }
}

#[test]
fn a_name_that_no_map_could_hold_is_refused_by_its_line() {
    let limits = Limits { bytes: 1 << 17, fields: 20 };
    for (length, judged) in [(u16::MAX as usize, Ok(true)), (1 << 16, Err(Violation::FieldName))] {
        let text = format!("HTTP/1.1 200 OK\r\n{}: 1\r\n\r\n", "x".repeat(length));
        let (mut by_lines, mut as_map) = (Replies::new(limits), Replies::new(limits));
        by_lines.expect(false);
        as_map.expect(false);
        let mut bytes = BytesMut::from(&*text);
        assert_eq!(by_lines.outline(&bytes).map(|outline| outline.is_some()), judged);
        assert_eq!(as_map.head(&mut bytes).map(|head| head.is_some()), judged);
    }
}

#[test]
fn replies_that_break_a_rule_are_refused() {
    use Violation as V;
    let long = "x".repeat(5000);
    let many = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let ok = "HTTP/1.1 200 OK\r\n";
    for (text, why) in [
        ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n".to_owned(), V::BareLineFeed),
        (format!("{ok}Content-Length: 0\n\r\n"), V::BareLineFeed),
        (format!("{ok}Content-Length: 0\r\n\n"), V::BareLineFeed),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), V::StatusLine),
        ("ICY 200 OK\r\n\r\n".into(), V::StatusLine),
        ("http/1.1 200 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 200OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1\t200 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n".into(), V::StatusLine),
        ("HTTP/1.1 200 \0\r\n\r\n".into(), V::ControlCharacter),
        ("HTTP/1.1 200 a\rb\r\n\r\n".into(), V::BareCarriageReturn),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), V::Version),
        (format!("{ok}X : 1\r\n\r\n"), V::FieldName),
        (format!("{ok}X: 1\r\n 2\r\n\r\n"), V::FoldedLine),
        (format!("{ok}X: \0\r\n\r\n"), V::ControlCharacter),
        (format!("{ok}Content-Length: 5, 5\r\n\r\nhello"), V::ContentLength),
        (format!("{ok}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), V::RepeatedLength),
        (format!("{ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), V::LengthAndCoding),
        (format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"), V::UnknownCoding),
        (format!("{ok}Transfer-Encoding: gzip\r\n\r\n"), V::TransferCoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), V::MisplacedCoding),
        (format!("{ok}Transfer-Encoding: strange\r\nTransfer-Encoding: chunked\r\n\r\n"), V::TransferCoding),
        (format!("{ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: strange\r\n\r\n"), V::TransferCoding),
        (format!("HTTP/1.1 200 {long}\r\n\r\n"), V::HeadTooLarge),
        (format!("HTTP/1.1 200 {long}"), V::HeadTooLarge),
        (format!("{ok}X: {long}\r\n\r\n"), V::HeadTooLarge),
        (format!("{ok}X: {long}"), V::HeadTooLarge),
        (format!("{ok}{many}\r\n"), V::HeadTooLarge),
    ] {
        for to_head in [false, true] {
            let outcome = reply(to_head, &text);
            assert_eq!((outcome.violation, outcome.heads.len()), (Some(why), 0), "{text:?}");
            // An interim reply is one like any other.
            let outcome = reply(to_head, &format!("HTTP/1.1 103 Early Hints\r\n\r\n{text}"));
            assert_eq!((outcome.violation, outcome.heads.len()), (Some(why), 1), "{text:?}");
        }
    }
}

#[test]
fn content_that_breaks_a_rule_ends_there() {
    use Violation as V;
    let long = "x".repeat(2000);
    let many = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let extended = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(17);
    for (text, content, why) in [
        ("\r\n".to_owned(), "", V::ChunkSize),
        ("g\r\n".into(), "", V::ChunkSize),
        ("-1\r\n".into(), "", V::ChunkSize),
        ("5 \r\nhello\r\n".into(), "", V::ChunkSize),
        ("ffffffffffffffff\r\n".into(), "", V::ChunkSize),
        ("5\nhello\r\n".into(), "", V::BareLineFeed),
        ("5;\r\nhello\r\n".into(), "", V::ChunkExtension),
        (format!("5;{long}\r\nhello\r\n"), "", V::ChunkExtensionsTooLarge),
        (format!("5;{long}"), "", V::ChunkExtensionsTooLarge),
        (extended, "xxxxxxxxxxxxxxxx", V::ChunkExtensionsTooLarge),
        ("5\r\nhello\n0\r\n\r\n".into(), "hello", V::ChunkEnd),
        ("5\r\nhello0\r\n\r\n".into(), "hello", V::ChunkEnd),
        ("5\r\nhello\r0\r\n\r\n".into(), "hello", V::ChunkEnd),
        ("5\r\nhello\r\n\r\n0\r\n\r\n".into(), "hello", V::ChunkSize),
        ("0\r\n\n".into(), "", V::BareLineFeed),
        ("0\r\nHTTP/1.1 200 OK\r\n".into(), "", V::FieldName),
        ("0\r\n X: 1\r\n\r\n".into(), "", V::FoldedLine),
        ("0\r\nX : 1\r\n\r\n".into(), "", V::FieldName),
        ("0\r\nX: \0\r\n\r\n".into(), "", V::ControlCharacter),
        (format!("0\r\nX: {}\r\n\r\n", long.repeat(3)), "", V::TrailersTooLarge),
        (format!("0\r\n{many}\r\n"), "", V::TrailersTooLarge),
    ] {
        let outcome = reply(false, &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}"));
        assert_eq!((outcome.violation, outcome.heads.len()), (Some(why), 1), "{text:?}");
        assert_eq!(outcome.content, content.as_bytes(), "{text:?}");
    }
}

/// Replies, sound ones mostly, with the ways of breaking them that attacks are made of.
fn any_reply() -> impl Strategy<Value = Vec<u8>> {
    let statuses = vec![
        "1.1 200 OK",
        "1.1 200 OK",
        "1.1 404 ",
        "1.0 200 OK",
        "1.1 204 No",
        "1.1 304 Not",
        "1.1 100 C",
        "1.1 103 E",
        "1.1 200",
        "1.1 20 OK",
        "1.1 200OK",
        "2.0 200 OK",
    ];
    let fields = vec![
        "Content-Length: 5",
        "Content-Length: 0",
        "content-length: 05",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: strange",
        "X: 1",
        "X:",
        "X : 1",
        " folded",
        "Connection: close",
        "Connection: keep-alive",
        "Trailer: X",
    ];
    let contents = vec![
        "",
        "hello",
        "hello, world",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "0\r\n\r\n",
        "5;a\r\nhello\r\n1\r\n!\r\n00\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ];
    let one = (
        prop::sample::select(statuses),
        prop::collection::vec(prop::sample::select(fields), 0..4),
        prop::sample::select(contents),
    )
        .prop_map(|(status, fields, content)| {
            let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            format!("HTTP/{status}\r\n{fields}\r\n{content}").into_bytes()
        });
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8));
    (prop::collection::vec(one, 1..3), broken).prop_map(|(replies, broken)| changed(replies.concat(), broken))
}

/// Status, fields and content as hyper's client reads them; `None`: it finds fault with them.
fn heard(to_head: bool, bytes: &[u8]) -> Option<(u16, Fields, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut origin, client) = tokio::io::duplex(1 << 20);
        let shaken = hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(client)).await;
        let (mut sender, connection) = shaken.ok()?;
        let asked = async {
            let method = if to_head { http::Method::HEAD } else { http::Method::GET };
            let request = hyper::Request::builder().method(method).header("host", "a").body(Empty::new());
            let (head, body) = sender.send_request(request.unwrap()).await.ok()?.into_parts();
            let content = body.collect().await.ok()?.to_bytes().to_vec();
            Some((head.status.as_u16(), listed(&head.headers), content))
        };
        let said = async {
            let _ = origin.read(&mut [0; 512]).await;
            let _ = origin.write_all(bytes).await;
            let _ = origin.shutdown().await;
        };
        let driven = async {
            let _ = connection.await;
        };
        tokio::join!(asked, said, driven).0
    })
}

fn cases() -> u32 {
    std::env::var("PROXY_STONE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(512)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn no_way_of_splitting_changes_a_verdict(bytes in any_reply(), to_head: bool, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let whole = read(to_head, [&bytes[..]]);
        prop_assert_eq!(&read(to_head, cut(&bytes, &cuts).iter().map(Vec::as_slice)), &whole);
        prop_assert_eq!(&read(to_head, bytes.chunks(1)), &whole);
    }

    #[test]
    fn any_bytes_at_all_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(read(false, bytes.chunks(1)), read(false, [&bytes[..]]));
    }

    /// What is whole here is the same to hyper.
    #[test]
    fn a_reply_is_one_thing_to_hyper(bytes in any_reply(), to_head: bool) {
        let read = read(to_head, [&bytes[..]]);
        if read.whole && read.violation.is_none() {
            let (status, fields) = read.heads.last().unwrap().clone();
            prop_assert_eq!(heard(to_head, &bytes), Some((status, fields, read.content)));
        }
    }
}

/// What is said of a head that came before is what was said when it came first.
#[test]
fn a_head_that_comes_again_is_read_as_before() {
    let first = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nA: b\r\n\r\n";
    let other = "HTTP/1.0 404 No\r\nContent-Length: 3\r\nA: c\r\n\r\n";
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let mut kept = Replies::new(LIMITS);
    for (to_head, texts) in [
        (false, vec![first]),
        (false, vec![first]),
        (true, vec![first]),
        (false, vec![interim, first]),
        (false, vec![other]),
        (false, vec![first]),
        (false, vec![other]),
        (false, vec![interim, other]),
    ] {
        let mut fresh = Replies::new(LIMITS);
        let content = if to_head {
            ""
        } else if texts.ends_with(&[first]) {
            "ab"
        } else {
            "abc"
        };
        let all = format!("{}{content}", texts.concat());
        for cut in [all.len(), 0, 20, texts.concat().len() - 1] {
            let read = |replies: &mut Replies| {
                replies.expect(to_head);
                let mut bytes = BytesMut::from(&all.as_bytes()[..cut]);
                let mut said = Vec::new();
                while said.len() < texts.len() {
                    let Some(outline) = replies.outline(&bytes).unwrap() else {
                        bytes.extend_from_slice(&all.as_bytes()[cut..]);
                        continue;
                    };
                    let fields = format!("{:?}", mapped(replies.fields(&bytes)));
                    let whole = replies.whole(&bytes).map(<[u8]>::to_vec);
                    let text = (format!("{outline:?}"), fields, whole, replies.goes_on());
                    if outline.is_interim() {
                        replies.head(&mut bytes).unwrap().unwrap();
                    } else {
                        assert!(replies.finish(&mut bytes));
                    }
                    said.push(text);
                }
                said
            };
            assert_eq!(read(&mut kept), read(&mut fresh), "{all:?} {cut}");
        }
    }
}
