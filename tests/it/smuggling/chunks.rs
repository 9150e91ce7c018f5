//! Chunks, their extensions, and trailers (RFC 9112 7.1).

use super::Case;
use super::run::{Bench, SMUGGLED, counted};

fn chunked(body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[tokio::test]
async fn chunk_sizes() {
    let mut cases = Vec::new();
    for size in [
        "",
        " 5",
        "5 ",
        "5\t",
        "\t5",
        "+5",
        "-5",
        "0x5",
        "0X5",
        "5h",
        "g",
        "5g",
        "5.0",
        "5,5",
        "5 5",
        "_5",
        "5_",
        "\u{ff15}",
        "\"5\"",
        "5\0",
        "\0",
        "5\u{b}",
        "5\u{c}",
        "ffffffffffffffff",
        "fffffffffffffff0",
        "8000000000000000",
        "10000000000000005",
        "100000000000000000000005",
        "00000000000000000000005",
        "ffffffffffffffffffffff",
        "5\r",
        "\r5",
        "5\r\r",
        "x",
        "0x",
        "-0",
        "+0",
    ] {
        cases.push(Case::broken("RFC 9112 7.1", chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}"))));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\n\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhello \r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.push(Case::broken("RFC 9112 7.1", chunked(&format!("{body}{SMUGGLED}"))));
    }
    for (size, zero) in [("5", "0"), ("05", "000"), ("0000000000000005", "0"), ("5", "0000000000000000")] {
        let body = format!("{size}\r\nhello\r\n{zero}\r\n\r\n");
        cases.push(Case::forwarded(
            "RFC 9112 7.1",
            chunked(&body),
            &[("POST /a", &["transfer-encoding: chunked"], "hello")],
        ));
    }
    let hidden = format!("2A\r\n{SMUGGLED}\r\n0\r\n\r\n");
    cases.push(Case::forwarded(
        "TE.CL",
        chunked(&hidden),
        &[("POST /a", &["transfer-encoding: chunked"], SMUGGLED)],
    ));
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn chunk_extensions() {
    let mut cases = Vec::new();
    for extension in [
        ";",
        ";;",
        "; ",
        ";a=",
        ";=b",
        ";a=b c",
        ";a b",
        ";\0",
        ";a=\0",
        ";a=\"b",
        ";a=\"\0\"",
        ";a\n",
        ";\n",
        ";a\nb",
        ";a=\"\n\"",
        ";a\r",
        ";a=\"\r\"",
        ";a\rb",
        ";\u{b}a",
        ";a\u{7f}",
        ",a",
        " a",
        ";a=\"b\"c",
        ";a==b",
        ";\u{e9}",
        ";a/b",
    ] {
        cases.push(Case::broken(
            "RFC 9112 7.1.1",
            chunked(&format!("5{extension}\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        ));
    }
    // TERM.EXT and EXT.TERM: a line end that only one of two takes for one.
    for body in [
        "2;\nxx\r\n4c\r\n0\r\n\r\n",
        "2;a\nxx\r\n0\r\n\r\n",
        "2;\rxx\r\n0\r\n\r\n",
        "0;\n\r\n",
        "0;a\n\r\n\r\n",
        "0\r;\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n\"",
        "0;a=\"\r\n\r\n\"\r\n\r\n",
    ] {
        cases.push(Case::broken("TERM.EXT", chunked(&format!("{body}{SMUGGLED}"))));
    }
    cases.push(Case::broken(
        "RFC 9112 7.1.1",
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1100))),
    ));
    cases
        .push(Case::broken("RFC 9112 7.1.1", chunked(&format!("1;{}\r\nx\r\n", "a".repeat(900)).repeat(20))));
    for extension in [";a", ";a=b", " ; a = b", ";a=\"b c\"", ";a=\"\\\"\";b", "\t;a;b=c"] {
        let body = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        cases.push(Case::forwarded(
            "RFC 9112 7.1.1",
            chunked(&body),
            &[("POST /a", &["transfer-encoding: chunked"], "hello")],
        ));
    }
    let bench = Bench::start("cache = false").await;
    bench.run(&cases).await;
    counted(&bench.proxy, "malformed_chunk_extension", 10).await;
    counted(&bench.proxy, "chunk_extensions_too_large", 2).await;
}

#[tokio::test]
async fn trailers() {
    let mut cases = Vec::new();
    for trailer in [
        "X : y\r\n",
        " X: y\r\n",
        "X: y\r\n z\r\n",
        "X\r\n",
        ": y\r\n",
        "X: \0\r\n",
        "X: a\rb\r\n",
        "X: y\n",
        "\0: y\r\n",
        "X y: z\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n",
    ] {
        cases.push(Case::broken(
            "RFC 9112 7.1.2",
            chunked(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n{SMUGGLED}")),
        ));
    }
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    cases.push(Case::broken("RFC 9112 7.1.2", chunked(&format!("0\r\n{many}\r\n"))));
    cases.push(Case::broken("RFC 9112 7.1.2", chunked(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(9000)))));
    let with = |declared: &str, connection: &str, trailers: &str| {
        format!(
            "POST /a HTTP/1.1\r\nHost: api.test\r\nTrailer: {declared}\r\n{connection}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailers}\r\n"
        )
    };
    cases.push(Case::forwarded(
        "RFC 9110 6.5",
        with("X-Sum", "", "X-Sum: 2\r\n"),
        &[("POST /a", &["trailer: X-Sum", "transfer-encoding: chunked"], "hi|x-sum: 2")],
    ));
    for name in [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Trailer",
        "TE",
        "Authorization",
        "Cookie",
        "Expect",
        "Connection",
        "Range",
        "If-Match",
        "X-Forwarded-For",
        "Forwarded",
        "X-Request-Id",
        "Proxy-Authorization",
        "Content_Length",
        "Upgrade",
        "Max-Forwards",
    ] {
        cases.push(Case::forwarded(
            "RFC 9110 6.5.1",
            with("X-Sum", "", &format!("X-Sum: 2\r\n{name}: 5\r\n")),
            &[("POST /a", &["trailer: X-Sum", "transfer-encoding: chunked"], "hi|x-sum: 2")],
        ));
        cases.push(Case::forwarded(
            "RFC 9110 6.5.1",
            with(&format!("X-Sum, {name}"), "", &format!("X-Sum: 2\r\n{name}: 5\r\n")),
            &[("POST /a", &["trailer: X-Sum", "transfer-encoding: chunked"], "hi|x-sum: 2")],
        ));
    }
    // What `Connection` names concerns this hop in the trailers as well (RFC 9110 7.6.1).
    cases.push(Case::forwarded(
        "RFC 9110 7.6.1",
        with("X-Sum, X-Hop", "Connection: X-Hop\r\n", "X-Sum: 2\r\nX-Hop: 1\r\n"),
        &[("POST /a", &["trailer: X-Sum", "transfer-encoding: chunked"], "hi|x-sum: 2")],
    ));
    Bench::start("cache = false").await.run(&cases).await;
}
