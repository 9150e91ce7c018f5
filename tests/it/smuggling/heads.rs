//! Heads: request lines, line ends, field lines (RFC 9112 2, 3, 5; RFC 9110 5).

use super::Case;
use super::run::{Bench, counted};

fn get(lines: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{lines}\r\n")
}

#[tokio::test]
async fn request_lines() {
    let mut cases = Vec::new();
    for line in [
        "GET",
        "GET ",
        "GET /a",
        "GET /a ",
        " GET /a HTTP/1.1",
        "GET  /a HTTP/1.1",
        "GET /a  HTTP/1.1",
        "GET /a HTTP/1.1 ",
        "GET\t/a HTTP/1.1",
        "GET /a\tHTTP/1.1",
        "GET /a HTTP/1.1 x",
        "GET /a b HTTP/1.1",
        "GET /a HTTP/1.1\t",
        "/a HTTP/1.1",
        "GET HTTP/1.1",
        "GET /a http/1.1",
        "GET /a HTTP/1.10",
        "GET /a HTTP/11.1",
        "GET /a HTTP/01.1",
        "GET /a HTTP/1",
        "GET /a HTTP/1.",
        "GET /a HTTP/.1",
        "GET /a HTTP/1,1",
        "GET /a HTTP/ 1.1",
        "GET /a HTTP/1 .1",
        "GET /a HTTP/+1.1",
        "GET /a HTTP/1.1\u{b}",
        "GET /a HTTP/x.y",
        "GET /a HTTPS/1.1",
        "GET /a ICY/1.1",
        "GET /a HTTP-1.1",
        "GET /a \u{ff28}TTP/1.1",
        "G\u{e9}T /a HTTP/1.1",
        "G@T /a HTTP/1.1",
        "G(T /a HTTP/1.1",
        "GET: /a HTTP/1.1",
        "\"GET\" /a HTTP/1.1",
        "GET/a HTTP/1.1",
        "G\0T /a HTTP/1.1",
        "GET\0 /a HTTP/1.1",
        "GET /a\0 HTTP/1.1",
        "GET /\u{1}a HTTP/1.1",
        "GET /a\u{7f} HTTP/1.1",
        "{} /a HTTP/1.1",
        "GET\u{a0}/a HTTP/1.1",
        "GET\r/a HTTP/1.1",
        "GET /a\r HTTP/1.1",
        "GET /a HTTP/1.1\r",
        "\u{feff}GET /a HTTP/1.1",
        "GET,POST /a HTTP/1.1",
    ] {
        cases.push(Case::refused("RFC 9112 3", format!("{line}\r\nHost: api.test\r\n\r\n"), 400));
    }
    for version in ["0.9", "1.2", "1.9", "2.0", "3.0", "0.0", "9.9"] {
        cases.push(Case::refused(
            "RFC 9110 15.6.6",
            format!("GET /a HTTP/{version}\r\nHost: api.test\r\n\r\n"),
            505,
        ));
    }
    cases.push(Case::refused("RFC 9113 3.4", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505));
    cases.push(Case::refused(
        "RFC 9110 15.5.15",
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)),
        414,
    ));
    for method in ["GET", "QUERY", "M-SEARCH", "!#$%&'*+-.^_`|~", "PATCH"] {
        let fields: &[&str] = if method == "PATCH" { &["content-length: 0"] } else { &[] };
        let raw = format!("{method} /a HTTP/1.1\r\nHost: api.test\r\n\r\n");
        cases.push(Case::forwarded("RFC 9110 9.1", raw, &[(&format!("{method} /a"), fields, "")]));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn field_lines() {
    let mut cases = Vec::new();
    for line in [
        ":",
        ": x",
        "X",
        "X y",
        "X : y",
        "X\t: y",
        "X y: z",
        "X\0: y",
        "\0X: y",
        "X\u{1}: y",
        "X\u{7f}: y",
        "X\u{e9}: y",
        "X(: y",
        "X): y",
        "X<: y",
        "X@: y",
        "X,Y: z",
        "X;: y",
        "X\\: y",
        "X\": y",
        "X/: y",
        "X[: y",
        "X?: y",
        "X=: y",
        "X{: y",
        " X: y",
        "\tX: y",
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X: y\r\n ",
        "X:\r\n y",
        "\r X: y",
        "X\r: y",
        "X\u{b}: y",
        "\u{b}X: y",
        "X\u{a0}: y",
        "=X: y\r\n z",
        "GET / HTTP/1.1",
    ] {
        cases.push(Case::refused("RFC 9112 5.1", get(&format!("{line}\r\n")), 400));
    }
    for value in [
        "\0", "a\0", "\0a", "a\rb", "\ra", "a\r", "\u{b}", "\u{c}a", "a\u{8}", "\u{1b}[m", "a\u{7f}",
        "a\u{1}b", "\u{1f}",
    ] {
        cases.push(Case::refused("RFC 9110 5.5", get(&format!("X: {value}\r\n")), 400));
    }
    let sound = "GET /a HTTP/1.1\r\nHost: api.test\r\nX: y\r\n\r\n";
    // Each line end in turn without its carriage return, or with one too many.
    for (at, _) in sound.match_indices("\r\n") {
        for end in ["\n", "\r", "\r\r\n", "\n\r", "\u{85}"] {
            let raw = format!("{}{end}{}", &sound[..at], &sound[at + 2..]);
            // A line that goes on is no line yet: what follows must end it.
            cases.push(Case::refused("RFC 9112 2.2", format!("{raw}\r\n\r\n"), 400));
        }
    }
    // An end that only some take for one: the head goes on in the value.
    cases.retain(|case| !String::from_utf8_lossy(&case.raw).contains('\u{85}'));
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    cases.push(Case::refused("RFC 6585 5", get(&many), 431));
    cases.push(Case::refused("RFC 6585 5", get(&format!("X: {}\r\n", "y".repeat(9000))), 431));
    cases.push(Case::refused("RFC 6585 5", get(&format!("{}: y\r\n", "X".repeat(9000))), 431));
    for (line, seen) in [
        ("X:", "x: "),
        ("X: \t ", "x: "),
        ("X:y", "x: y"),
        ("X:\t y \t", "x: y"),
        ("X: a\tb  c", "x: a\tb  c"),
        ("x-UP: Y", "x-up: Y"),
        ("X: \u{e9}\u{fffd}", "x: \u{e9}\u{fffd}"),
        ("X: a: b:: c", "x: a: b:: c"),
        ("!#$%&'*+-.^`|~0: y", "!#$%&'*+-.^`|~0: y"),
    ] {
        cases.push(Case::forwarded("RFC 9110 5.5", get(&format!("{line}\r\n")), &[("GET /a", &[seen], "")]));
    }
    let bench = Bench::start("cache = false").await;
    bench.run(&cases).await;
    counted(&bench.proxy, "malformed_field_name", 50).await;
    counted(&bench.proxy, "bare_line_feed", 8).await;
    counted(&bench.proxy, "folded_line", 8).await;
}

#[tokio::test]
async fn fields_of_one_hop_and_expectations() {
    let mut cases = Vec::new();
    for value in [
        "200-ok",
        "100-continue, 200-ok",
        "100-continue, 100-continue",
        "y 100-continue",
        "100-continue y",
        "100-Continue;q=1",
        "",
        "100",
        "\"100-continue\"",
    ] {
        let raw = format!("POST /a HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 2\r\n\r\nhi");
        cases.push(Case::refused("RFC 9110 10.1.1", raw, 417));
    }
    cases.push(Case::refused(
        "RFC 9110 10.1.1",
        get("Expect: 100-continue\r\nexpect: 100-continue\r\n"),
        417,
    ));
    cases.push(Case::refused("RFC 9112 5.2", get("Expect:\r\n 100-continue\r\n"), 417));
    for line in [
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        "Upgrade: h2",
        "Upgrade: TLS/1.3\r\nConnection: Upgrade",
        "Upgrade: ,h2c\r\nConnection: upgrade",
        "Connection: X-Hop\r\nX-Hop: 1",
        "Connection: x-hop , , X-OTHER\r\nX-Hop: 1\r\nX-Other: 2",
        "Keep-Alive: timeout=5\r\nConnection: keep-alive",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: gzip",
        "Keep_Alive: x",
        "Proxy_Connection: x",
    ] {
        cases.push(Case::forwarded("RFC 9110 7.6.1", get(&format!("{line}\r\n")), &[("GET /a", &[], "")]));
    }
    // What frames a message cannot be named away.
    for line in
        ["Connection: content-length", "Connection: Host, Content-Length", "Connection: x, content-length"]
    {
        let raw = format!("POST /a HTTP/1.1\r\nHost: api.test\r\n{line}\r\nContent-Length: 2\r\n\r\nhi");
        cases.push(Case::forwarded("RFC 9110 7.6.1", raw, &[("POST /a", &["content-length: 2"], "hi")]));
    }
    let raw = "POST /a HTTP/1.1\r\nHost: api.test\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    cases.push(Case::forwarded("RFC 9110 7.6.1", raw, &[("POST /a", &["transfer-encoding: chunked"], "hi")]));
    // What came before the answer to an upgrade is read once that is there.
    let raw = get("Connection: upgrade\r\nUpgrade: other\r\n")
        + &get("")
        + "POST /b HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi";
    cases.push(Case::forwarded(
        "RFC 9110 7.8",
        raw,
        &[("GET /a", &[], ""), ("GET /a", &[], ""), ("POST /b", &["content-length: 2"], "hi")],
    ));
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn an_expectation_is_met_once_and_its_body_is_no_request() {
    let bench = Bench::start("cache = false").await;
    let mut client = bench.proxy.connect().await;
    client.say("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 42\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 100);
    client.say(super::run::SMUGGLED).await;
    assert_eq!(client.reply("POST").await.status, 200);
    let seen = bench.seen.lock().clone();
    assert_eq!((seen.len(), &*seen[0].body), (1, super::run::SMUGGLED));
}
