//! Where a message ends: `Content-Length`, `Transfer-Encoding`, both, and neither (RFC 9112 6).

use super::Case;
use super::run::{Bench, SMUGGLED};

/// POST with these framing lines, and a body that hides a request from one of two readers.
fn post(framing: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: api.test\r\n{framing}\r\n{body}")
}

#[tokio::test]
async fn content_length() {
    let mut cases = Vec::new();
    for value in [
        "",
        " ",
        "+5",
        "-5",
        "-0",
        "+0",
        "5 5",
        "5 ,5",
        "5,5",
        "5, 5",
        ",5",
        "5,",
        "5;5",
        "0x5",
        "0X5",
        "5x",
        "x5",
        "5.0",
        "5.",
        "5e0",
        "1_0",
        "\"5\"",
        "'5'",
        "(5)",
        "five",
        "\u{661}",
        "\u{ff15}",
        "0b1",
        "0o5",
        "5\u{a0}",
        "18446744073709551616",
        "18446744073709551621",
        "9223372036854775808",
        "99999999999999999999999999",
        "4294967301x",
        "5\t5",
        "NaN",
        "null",
        "*",
        "5 chunked",
    ] {
        cases.push(Case::refused(
            "RFC 9112 6.3",
            post(&format!("Content-Length: {value}\r\n"), &format!("hello{SMUGGLED}")),
            400,
        ));
    }
    for value in ["\0", "5\0", "\u{b}5", "5\u{b}", "\u{c}5", "5\r", "\r5", "5\u{7f}", "\u{8}5"] {
        cases.push(Case::refused(
            "RFC 9110 5.5",
            post(&format!("Content-Length: {value}\r\n"), SMUGGLED),
            400,
        ));
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n",
        "Content-Length: 44\r\ncontent-length: 0\r\n",
        "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 5\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length: 5\r\nContent-Length: +5\r\n",
        "Content-Length: 5\r\n 6\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5\r\n\t\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length\u{b}: 5\r\n",
        "Content-Length\0: 5\r\n",
        "Content\0-Length: 5\r\n",
        "Content Length: 5\r\n",
        "Content-Length 5\r\n",
        "\u{1}Content-Length: 5\r\n",
        "Content-Length\u{a0}: 5\r\n",
        "Content-Length;: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\r\r\nContent-Length: 5\r\n",
    ] {
        cases.push(Case::refused("CL.CL", post(lines, &format!("hello{SMUGGLED}")), 400));
    }
    for (value, length) in
        [("5", "5"), ("5 ", "5"), ("\t5\t", "5"), ("005", "5"), ("0000000000000000000005", "5")]
    {
        let length = format!("content-length: {length}");
        cases.push(Case::forwarded(
            "RFC 9110 8.6",
            post(&format!("Content-Length: {value}\r\n"), "hello"),
            &[("POST /a", &[&length], "hello")],
        ));
    }
    // A request in the content is content.
    let length = SMUGGLED.len();
    cases.push(Case::forwarded(
        "CL.0",
        post(&format!("Content-Length: {length}\r\n"), SMUGGLED),
        &[("POST /a", &[&format!("content-length: {length}")], SMUGGLED)],
    ));
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "FOO", "get"] {
        let raw =
            format!("{method} /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        cases.push(Case::forwarded(
            "CL.0",
            raw,
            &[(&format!("{method} /a"), &[&format!("content-length: {length}")], SMUGGLED)],
        ));
    }
    for (method, fields) in [("GET", &[][..]), ("POST", &["content-length: 0"]), ("DELETE", &[])] {
        let raw = format!("{method} /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n");
        cases.push(Case::forwarded("0.CL", raw, &[(&format!("{method} /a"), fields, "")]));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn transfer_encoding() {
    let mut cases = Vec::new();
    let body = format!("0\r\n\r\n{SMUGGLED}");
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunk",
        "chunked, chunked",
        "chunked,chunked",
        "chunked, identity",
        "identity",
        "gzip",
        "deflate",
        "chunked, gzip",
        "identity;q=0",
        "chunked;q=1",
        "chunked; a=b",
        "chunked;",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked ,",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "chunKed\u{212a}",
        "cow",
        "chun\tked",
        "gzip chunked",
        "gzip;a=b, chunked",
        "chunked, gzip, chunked",
        "x\u{e9}, chunked",
        "nothing, , chunked",
        "=?utf-8?q?chunked?=",
        "c\u{fb}hunked",
        "[chunked]",
        "chunked\\",
    ] {
        cases.push(Case::refused(
            "RFC 9112 6.1",
            post(&format!("Transfer-Encoding: {value}\r\n"), &body),
            400,
        ));
    }
    for value in [
        "gzip, chunked",
        "deflate,chunked",
        "identity, chunked",
        "cow, chunked",
        "gzip, deflate, CHUNKED",
        "xchunked, chunked",
    ] {
        cases.push(Case::refused(
            "RFC 9112 6.1",
            post(&format!("Transfer-Encoding: {value}\r\n"), &body),
            501,
        ));
    }
    for value in [
        "\u{b}chunked",
        "chunked\u{b}",
        "\u{c}chunked",
        "\0chunked",
        "chunked\0",
        "\rchunked",
        "chunked\r",
        "\u{1}chunked",
        "chunked\u{7f}",
    ] {
        cases.push(Case::refused("TE.TE", post(&format!("Transfer-Encoding: {value}\r\n"), &body), 400));
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\tTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding:\n chunked\r\n",
        "X: X\nTransfer-Encoding: chunked\r\n",
        "X: X\rTransfer-Encoding: chunked\r\n",
        "X: X\r\rTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\nX: y\r\n",
        "Transfer\0-Encoding: chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "\u{b}Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Transfer-Encoding:: chunked\r\n",
        "\"Transfer-Encoding\": chunked\r\n",
    ] {
        cases.push(Case::refused("TE.TE", post(lines, &body), 400));
        cases.push(Case::refused("TE.TE", post(&format!("{lines}Content-Length: 5\r\n"), &body), 400));
    }
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "content-length: 49\r\nTRANSFER-ENCODING: CHUNKED\r\n",
        "Content-Length: 5\r\nX: y\r\nTransfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length:\r\n",
    ] {
        cases.push(Case::refused("CL.TE", post(lines, &body), 400));
        cases.push(Case::refused("TE.CL", post(lines, &format!("3c\r\n{SMUGGLED}\r\n0\r\n\r\n")), 400));
        cases.push(Case::refused("TE.0", post(lines, "").replacen("POST", "OPTIONS", 1) + &body, 400));
    }
    let raw = post("Transfer-Encoding: chunked\r\n", &body).replacen("HTTP/1.1", "HTTP/1.0", 1);
    cases.push(Case::refused("RFC 9112 6.1", raw, 400));
    let raw = post("Connection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", &body);
    cases.push(Case::refused("RFC 9112 6.1", raw.replacen("HTTP/1.1", "HTTP/1.0", 1), 400));
    for value in ["chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked\t"] {
        cases.push(Case::forwarded(
            "RFC 9112 7.1",
            post(&format!("Transfer-Encoding: {value}\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
            &[("POST /a", &["transfer-encoding: chunked"], "hello")],
        ));
    }
    // Fields that look like it to some are no framing, and do not go on (RFC 9112 6.1).
    for line in [
        "Transfer_Encoding: chunked",
        "TRANSFER_ENCODING: chunked",
        "Content_Length: 5",
        "content_length: 44",
        "Transfer_encoding: x",
    ] {
        cases.push(Case::forwarded(
            "header name with an underscore",
            post(&format!("{line}\r\nContent-Length: 2\r\n"), "hi"),
            &[("POST /a", &["content-length: 2"], "hi")],
        ));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn what_follows_a_message() {
    let mut cases = Vec::new();
    // What is no request ends the connection, after the reply to what was one.
    for surplus in [
        "x",
        "hello\r\n\r\n",
        "0\r\n\r\n",
        "\0",
        "\n",
        " GET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "x\r\n",
    ] {
        cases.push(Case::refused("RFC 9112 2.2", surplus, 400));
    }
    cases.retain(|case| case.raw != b"x" && case.raw != b"\0x");
    cases.push(Case::forwarded(
        "RFC 9112 2.2",
        "\r\n\r\nGET /a HTTP/1.1\r\nHost: api.test\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: api.test\r\n\r\n",
        &[("GET /a", &[], ""), ("GET /b", &[], "")],
    ));
    cases.push(Case::refused(
        "RFC 9112 2.2",
        "\r\n".repeat(9) + "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n",
        400,
    ));
    cases.push(Case::forwarded(
        "RFC 9112 9.3.2",
        post("Content-Length: 2\r\n", "hi")
            + &post("Transfer-Encoding: chunked\r\n", "2\r\nho\r\n0\r\n\r\n")
            + "GET /c HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            ("POST /a", &["content-length: 2"], "hi"),
            ("POST /a", &["transfer-encoding: chunked"], "ho"),
            ("GET /c", &[], ""),
        ],
    ));
    // RFC 9112 9.6: nothing after the last request is read.
    for last in [
        "Connection: close\r\n",
        "Connection: x, CLOSE\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
    ] {
        cases.push(Case::forwarded(
            "RFC 9112 9.6",
            format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{last}\r\n{SMUGGLED}").replace("CLOSE", "close"),
            &[("GET /a", &[], "")],
        ));
    }
    cases.push(Case::forwarded(
        "RFC 9112 9.3",
        format!("GET /a HTTP/1.0\r\nHost: a\r\n\r\n{SMUGGLED}"),
        &[("GET /a", &[], "")],
    ));
    // The content of an error's request is not the next request.
    for head in [
        "POST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n",
    ] {
        let status = if head.starts_with("CONNECT") { 501 } else { 400 };
        cases.push(Case::refused(
            "requests after an error",
            format!("{head}Content-Length: {}\r\n\r\n{SMUGGLED}{SMUGGLED}", SMUGGLED.len()),
            status,
        ));
        cases.push(Case::refused("requests after an error", format!("{head}\r\n{SMUGGLED}"), status));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn a_pause_changes_nothing() {
    let bench = Bench::start("cache = false").await;
    for (first, second, seen) in [
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 49\r\n\r\n",
            format!("hello\r\n{SMUGGLED}").as_str(),
            1,
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2a\r\n",
            &format!("{SMUGGLED}\r\n0\r\n\r\n"),
            1,
        ),
        ("GET /a HTTP/1.1\r\nHost: a\r\n\r", "\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", 2),
    ] {
        bench.seen.lock().clear();
        let mut client = bench.proxy.connect().await;
        client.say(first).await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        client.say(second).await;
        for _ in 0..seen {
            assert_eq!(client.reply("GET").await.status, 200, "{first:?}");
        }
        let got = bench.seen.lock().clone();
        assert_eq!(got.len(), seen, "{got:?}");
        assert!(got.iter().all(|seen| !seen.line.contains("smuggled")), "{got:?}");
    }
}
