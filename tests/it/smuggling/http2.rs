//! HTTP/2 from clients that goes on as HTTP/1.1 (RFC 9113 8, 10.3): nothing of it may become a line of its own.

use super::frames::{CONTINUATION, Came, DATA, END_HEADERS, END_STREAM, HEADERS, Raw, block, frame};
use super::run::{Bench, SMUGGLED, Seen};

type Field<'a> = (&'a [u8], &'a [u8]);

const GET: [Field<'static>; 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"api.test"), (b":path", b"/a")];
const POST: [Field<'static>; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"api.test"), (b":path", b"/a")];

/// A request's frames on stream 1; `content`: `None` ends the stream with the head.
fn request(fields: &[Field<'_>], content: Option<&[u8]>) -> Vec<u8> {
    let flags = END_HEADERS | if content.is_none() { END_STREAM } else { 0 };
    let mut frames = frame(HEADERS, flags, 1, &block(fields));
    if let Some(content) = content {
        frames.extend(frame(DATA, END_STREAM, 1, content));
    }
    frames
}

/// Frames of which no origin may see a whole request.
async fn refuse(bench: &Bench, failed: &mut Vec<String>, rule: &str, frames: &[u8]) {
    bench.seen.lock().clear();
    let mut raw = Raw::connect(bench.proxy.address).await;
    raw.say(frames).await;
    let came = raw.came(1).await;
    let refused = matches!(came, Came::Reset(_) | Came::GoAway(_) | Came::Closed)
        || matches!(came, Came::Status(status) if (400..=501).contains(&status) && status != 404);
    let seen = bench.seen.lock().clone();
    if !refused || !seen.is_empty() {
        failed.push(format!(
            "{rule} {:.150?}: {came:?}, the origin got {seen:?}",
            String::from_utf8_lossy(frames)
        ));
    }
}

async fn forward(
    bench: &Bench,
    failed: &mut Vec<String>,
    rule: &str,
    frames: &[u8],
    line: &str,
    fields: &[&str],
    body: &str,
) {
    bench.seen.lock().clear();
    let mut raw = Raw::connect(bench.proxy.address).await;
    raw.say(frames).await;
    let came = raw.came(1).await;
    let fields = fields.iter().map(ToString::to_string).collect();
    let expected = [Seen { line: format!("{line} HTTP/1.1"), fields, body: body.into() }];
    let seen = bench.seen.lock().clone();
    if came != Came::Status(200) || seen != expected {
        failed.push(format!(
            "{rule} {:.150?}: {came:?}, the origin got {seen:?}",
            String::from_utf8_lossy(frames)
        ));
    }
}

fn told(bench: &Bench, failed: &[String]) {
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(
        !bench.origin.requests().iter().any(|head| head.line.contains("smuggled")),
        "a request was smuggled"
    );
}

fn with<'a>(base: &[Field<'a>], more: &[Field<'a>]) -> Vec<Field<'a>> {
    base.iter().chain(more).copied().collect()
}

fn without<'a>(base: &[Field<'a>], name: &[u8]) -> Vec<Field<'a>> {
    base.iter().filter(|(own, _)| *own != name).copied().collect()
}

fn replaced<'a>(base: &[Field<'a>], name: &[u8], value: &'a [u8]) -> Vec<Field<'a>> {
    base.iter().map(|(own, old)| (*own, if *own == name { value } else { *old })).collect()
}

#[tokio::test]
async fn field_names_and_values() {
    let bench = Bench::start("cache = false").await;
    let mut failed = Vec::new();
    for name in [
        &b"X"[..],
        b"x-Y",
        b"Transfer-Encoding",
        b"",
        b"x y",
        b"x:",
        b":x",
        b"x: y\r\nz",
        b"x\r\n",
        b"x\n",
        b"x\r",
        b"x\0",
        b"x\t",
        b" x",
        b"x ",
        b"x\x7f",
        b"\xc3\xa9",
        b"x(",
        b"x\"",
        b"x/y",
        b"x@",
        b"x{",
        b"transfer-encoding: chunked\r\nx",
        b"\x80",
    ] {
        refuse(&bench, &mut failed, "RFC 9113 8.2.1", &request(&with(&GET, &[(name, b"y")]), None)).await;
    }
    for value in [
        &b"a\r\nb"[..],
        b"a\nb",
        b"a\rb",
        b"\r\n",
        b"\n",
        b"\r",
        b"a\r\nTransfer-Encoding: chunked",
        b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"a\0b",
        b"\0",
        b"a\x01",
        b"\x1b",
        b"a\x7f",
        b" a",
        b"a ",
        b"\ta",
        b"a\t",
        b" ",
        b"\t",
    ] {
        refuse(&bench, &mut failed, "RFC 9113 8.2.1", &request(&with(&GET, &[(b"x", value)]), None)).await;
    }
    for (name, value) in [
        (&b"connection"[..], &b"close"[..]),
        (b"connection", b"keep-alive"),
        (b"connection", b"x-hop"),
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"upgrade", b"h2c"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        (b"te", b"trailers, chunked"),
        (b"te", b"chunked"),
    ] {
        refuse(&bench, &mut failed, "RFC 9113 8.2.2", &request(&with(&GET, &[(name, value)]), None)).await;
        refuse(
            &bench,
            &mut failed,
            "H2.TE",
            &request(
                &with(&POST, &[(name, value)]),
                Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
            ),
        )
        .await;
    }
    for (name, value, fields) in [
        (&b"x"[..], &b""[..], &["x: "][..]),
        (b"x", b"a\tb  c", &["x: a\tb  c"]),
        (b"te", b"trailers", &["te: trailers"]),
        (b"http2-settings", b"AAMAAABk", &[]),
        (b"transfer_encoding", b"chunked", &[]),
        (b"content_length", b"5", &[]),
        (b"proxy-authorization", b"Basic eA==", &[]),
        (b"x-http-method-override", b"DELETE", &["x-http-method-override: DELETE"]),
    ] {
        forward(
            &bench,
            &mut failed,
            "RFC 9113 8.2.2",
            &request(&with(&GET, &[(name, value)]), None),
            "GET /a",
            fields,
            "",
        )
        .await;
    }
    told(&bench, &failed);
}

/// What no `:method`, `:path`, `:authority` or `:scheme` may say.
const METHODS: &[&[u8]] = &[
    b"",
    b"GET ",
    b" GET",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET",
    b"GET\r\n",
    b"GET\0",
    b"G(T",
    b"GET / HTTP/1.1",
    b"G\xc3\xa9T",
    b"CONNECT",
];

const PATHS: &[&[u8]] = &[
    b"",
    b"a",
    b"a/b",
    b"*",
    b"/a b",
    b"/a HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled",
    b"/\r\n",
    b"/\n",
    b"/\0",
    b"/a\tb",
    b"http://evil.test/",
    b"/<",
    b"/%",
    b"/%00",
    b"/..%2fa",
    b"/..;/a",
    b"/\x7f",
    b" /a",
    b"/a ",
    b"/a\x80",
];

const AUTHORITIES: &[&[u8]] = &[
    b"",
    b"user@api.test",
    b"a b",
    b"a/b",
    b"a:x",
    b"a:65536",
    b"a,b",
    b"a\r\nx: y",
    b"a\0",
    b"[::1",
    b"a@b",
    b"a\t",
    b" a",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"a\xc3\xa9",
];

const SCHEMES: &[&[u8]] =
    &[b"", b"https", b"ftp", b"http ", b"http://a/", b"http\r\n", b"javascript", b"1http", b"ht tp"];

#[tokio::test]
async fn pseudo_fields() {
    let bench = Bench::start("cache = false").await;
    let mut failed = Vec::new();
    let rule = "RFC 9113 8.3";
    for name in [&b":method"[..], b":scheme", b":path"] {
        refuse(&bench, &mut failed, rule, &request(&without(&GET, name), None)).await;
    }
    for (name, value) in GET {
        refuse(&bench, &mut failed, rule, &request(&with(&GET, &[(name, value)]), None)).await;
    }
    for more in [
        (&b":status"[..], &b"200"[..]),
        (b":protocol", b"websocket"),
        (b":foo", b"bar"),
        (b":", b"x"),
        (b":host", b"a"),
        (b":Path", b"/b"),
    ] {
        refuse(&bench, &mut failed, rule, &request(&with(&GET, &[more]), None)).await;
    }
    for at in 0..4 {
        let mut fields = GET.to_vec();
        let last = fields.remove(at);
        refuse(&bench, &mut failed, rule, &request(&with(&fields, &[(b"x", b"y"), last]), None)).await;
    }
    for (rule, name, values) in [
        ("H2 request line injection", &b":method"[..], METHODS),
        ("H2 request line injection", b":path", PATHS),
        ("RFC 9113 8.3.1", b":authority", AUTHORITIES),
        ("RFC 9113 8.3.1", b":scheme", SCHEMES),
    ] {
        for value in values {
            refuse(&bench, &mut failed, rule, &request(&replaced(&GET, name, value), None)).await;
        }
    }
    for hosts in [
        &[(&b"host"[..], &b"evil.test"[..])][..],
        &[(b"host", b"api.test:81")],
        &[(b"host", b"api.test"), (b"host", b"api.test")],
        &[(b"host", b"")],
        &[(b"host", b"a b")],
    ] {
        refuse(&bench, &mut failed, "RFC 9113 8.3.1", &request(&with(&GET, hosts), None)).await;
    }
    refuse(&bench, &mut failed, "RFC 9113 8.3.1", &request(&without(&GET, b":authority"), None)).await;
    for (fields, line) in [
        (with(&GET, &[(b"host", b"API.test:80")]), "GET /a"),
        (with(&without(&GET, b":authority"), &[(b"host", b"api.test")]), "GET /a"),
        (replaced(&GET, b":path", b"/a/../b?c"), "GET /b?c"),
        (replaced(&GET, b":path", b"/a%2fb"), "GET /a%2Fb"),
        (replaced(&replaced(&GET, b":method", b"OPTIONS"), b":path", b"*"), "OPTIONS *"),
    ] {
        forward(&bench, &mut failed, "RFC 9113 8.3.1", &request(&fields, None), line, &[], "").await;
    }
    told(&bench, &failed);
}

#[tokio::test]
async fn lengths_and_trailers() {
    let bench = Bench::start("cache = false").await;
    let mut failed = Vec::new();
    for value in [
        &b"0"[..],
        b"4",
        b"6",
        b"+5",
        b"-5",
        b"5,5",
        b"5, 5",
        b"0x5",
        b"5x",
        b"",
        b"18446744073709551621",
        b"99999999999999999999999",
        b"5\r\n",
        b" 5",
        b"5 ",
    ] {
        let body = [b"hello", SMUGGLED.as_bytes()].concat();
        let body = if value == b"6" { &b"hello"[..] } else { &body };
        refuse(
            &bench,
            &mut failed,
            "H2.CL",
            &request(&with(&POST, &[(b"content-length", value)]), Some(body)),
        )
        .await;
    }
    for lengths in [["5", "5"], ["5", "6"], ["6", "5"], ["0", "5"], ["5", "0"]] {
        let fields = with(
            &POST,
            &[(b"content-length", lengths[0].as_bytes()), (b"content-length", lengths[1].as_bytes())],
        );
        refuse(&bench, &mut failed, "H2.CL", &request(&fields, Some(b"hello"))).await;
    }
    refuse(&bench, &mut failed, "H2.CL", &request(&with(&POST, &[(b"content-length", b"5")]), None)).await;
    refuse(&bench, &mut failed, "H2.CL", &request(&with(&GET, &[(b"content-length", b"5")]), None)).await;
    for value in [&b"200-ok"[..], b"100-continue, x", b"y 100-continue"] {
        refuse(
            &bench,
            &mut failed,
            "RFC 9110 10.1.1",
            &request(&with(&POST, &[(b"expect", value)]), Some(b"hi")),
        )
        .await;
    }
    let body = SMUGGLED.as_bytes();
    let length = body.len().to_string();
    let line = format!("content-length: {length}");
    let chunked = ["transfer-encoding: chunked"];
    forward(
        &bench,
        &mut failed,
        "H2.CL",
        &request(&with(&POST, &[(b"content-length", length.as_bytes())]), Some(body)),
        "POST /a",
        &[&line],
        SMUGGLED,
    )
    .await;
    forward(&bench, &mut failed, "H2.TE", &request(&POST, Some(body)), "POST /a", &chunked, SMUGGLED).await;
    forward(&bench, &mut failed, "H2.0", &request(&GET, Some(body)), "GET /a", &chunked, SMUGGLED).await;
    forward(
        &bench,
        &mut failed,
        "H2.CL",
        &request(&with(&POST, &[(b"content-length", b"005")]), Some(b"hello")),
        "POST /a",
        &["content-length: 5"],
        "hello",
    )
    .await;
    forward(
        &bench,
        &mut failed,
        "H2.CL",
        &request(&with(&GET, &[(b"content-length", b"0")]), None),
        "GET /a",
        &[],
        "",
    )
    .await;

    let with_trailers = |trailers: &[Field<'_>], flags: u8| {
        let mut frames = frame(HEADERS, END_HEADERS, 1, &block(&with(&POST, &[(b"trailer", b"x-sum")])));
        frames.extend(frame(DATA, 0, 1, b"hi"));
        frames.extend(frame(HEADERS, flags, 1, &block(trailers)));
        frames
    };
    let ends = END_HEADERS | END_STREAM;
    for trailers in [
        &[(&b"X"[..], &b"y"[..])][..],
        &[(b"x", b"a\r\nb")],
        &[(b"connection", b"close")],
        &[(b"transfer-encoding", b"chunked")],
        &[(b"x\r\n", b"y")],
    ] {
        refuse(&bench, &mut failed, "RFC 9113 8.1", &with_trailers(trailers, ends)).await;
    }
    refuse(&bench, &mut failed, "RFC 9113 8.1", &with_trailers(&[(b"x-sum", b"2")], END_HEADERS)).await;
    for pseudo in [(&b":path"[..], &b"/smuggled"[..]), (b":method", b"GET")] {
        refuse(&bench, &mut failed, "RFC 9113 8.1", &with_trailers(&[(b"x-sum", b"2"), pseudo], ends)).await;
    }
    for more in [
        &[][..],
        &[(&b"content-length"[..], &b"5"[..])],
        &[(b"host", b"evil")],
        &[(b"authorization", b"x")],
        &[(b"x-forwarded-for", b"x")],
    ] {
        let trailers = with(&[(b"x-sum", b"2")], more);
        let fields = ["trailer: x-sum", "transfer-encoding: chunked"];
        forward(
            &bench,
            &mut failed,
            "RFC 9110 6.5.1",
            &with_trailers(&trailers, ends),
            "POST /a",
            &fields,
            "hi|x-sum: 2",
        )
        .await;
    }
    told(&bench, &failed);
}

#[tokio::test]
async fn frames_out_of_order() {
    let bench = Bench::start("cache = false").await;
    let mut failed = Vec::new();
    let head = block(&GET);
    let (one, two) = head.split_at(head.len() / 2);
    for frames in [
        // RFC 9113 6.10: nothing may stand between the parts of a head.
        [
            frame(HEADERS, END_STREAM, 1, one),
            frame(DATA, 0, 1, b"x"),
            frame(CONTINUATION, END_HEADERS, 1, two),
        ]
        .concat(),
        [frame(HEADERS, END_STREAM, 1, one), frame(CONTINUATION, END_HEADERS, 3, two)].concat(),
        frame(CONTINUATION, END_HEADERS, 1, &head),
        // RFC 9113 5.1: content before a head, on the connection, or on a server's stream.
        frame(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        frame(DATA, END_STREAM, 0, b"x"),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &head),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &head),
        // RFC 9113 6.2: padding beyond the frame.
        frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[&[255][..], &head].concat()),
        // RFC 7541: an index that is not there, a length that is not there, an integer without end.
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0x0f]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 0x7f]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        refuse(&bench, &mut failed, "RFC 9113", &frames).await;
    }
    let split = [frame(HEADERS, END_STREAM, 1, one), frame(CONTINUATION, END_HEADERS, 1, two)].concat();
    forward(&bench, &mut failed, "RFC 9113 6.10", &split, "GET /a", &[], "").await;
    told(&bench, &failed);
}
