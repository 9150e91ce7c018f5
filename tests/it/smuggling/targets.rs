//! For whom a request is: `Host`, the forms of a target, and the normal form of paths (RFC 9112 3.2, RFC 3986 3, 6).

use super::Case;
use super::run::{Bench, SMUGGLED};

#[tokio::test]
async fn hosts() {
    let mut cases = Vec::new();
    for lines in [
        "",
        "X-Host: a\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nX: y\r\nhOST: b\r\n",
        "Host:\r\n",
        "Host: \t \r\n",
    ] {
        cases.push(Case::refused("RFC 9112 3.2", format!("GET /a HTTP/1.1\r\n{lines}\r\n{SMUGGLED}"), 400));
    }
    for lines in [
        "Host: a\r\n b\r\n",
        "Host:\r\n a\r\n",
        " Host: a\r\n",
        "Host : a\r\n",
        "X: y\r\n Host: a\r\nHost: b\r\n",
        "Host: a\r\n\tHost: b\r\n",
        "Host\0: a\r\n",
    ] {
        cases.push(Case::refused("RFC 9112 5.2", format!("GET /a HTTP/1.1\r\n{lines}\r\n{SMUGGLED}"), 400));
    }
    for host in [
        "a b",
        "a,b",
        "a, b",
        "a/b",
        "a/",
        "/a",
        "a?b",
        "a#b",
        "a\\b",
        "user@a",
        "user:pass@a",
        "@a",
        "a@",
        "a:x",
        "a:80:80",
        "a:-80",
        "a:+80",
        "a:65536",
        "a:99999999999",
        ":80",
        ":",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "[::1",
        "::1]",
        "::1",
        "[::1]x",
        "[::g]",
        "[fe80::1%25eth0]",
        "[]",
        "a[b]",
        "http://a",
        "a%20b",
        "a%00",
        "%61",
        "a\u{e9}",
        "a|b",
        "a<b>",
        "a\"b",
        "a;b",
        "a'b",
        "a(b)",
        "a=b",
        "a&b",
        "*",
        "a b:80",
        "a:80 b",
        "a:80, b:80",
        "127.0.0.1:80x",
        "a\u{a0}",
    ] {
        cases.push(Case::refused("RFC 9110 7.2", format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400));
    }
    for host in [
        "a",
        "A",
        "a:80",
        "a:",
        "a.",
        "a \t",
        "\ta",
        "a:8080",
        "[::1]",
        "[::1]:80",
        "127.0.0.1",
        "a_b",
        "xn--bcher-kva.example",
    ] {
        cases.push(Case::forwarded(
            "RFC 9110 4.2.3",
            format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &[("GET /a", &[], "")],
        ));
    }
    cases.push(Case::forwarded("RFC 9112 3.2", "GET /a HTTP/1.0\r\n\r\n", &[("GET /a", &[], "")]));
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn forms_of_targets() {
    let mut cases = Vec::new();
    for target in [
        "*",
        "a",
        "a/b",
        "a:80",
        "?a",
        "api.test",
        "api.test:80",
        "http:",
        "http:/a",
        "http://",
        "http:///a",
        "http://user@a/b",
        "http://user:pass@a/",
        "http://a:x/",
        "http://a b/",
        "http://[::1/",
        "//",
        "#",
        "/a#b",
        "/#",
        "/a?b#c",
        "http://a/b#c",
        "/a<b",
        "/a>b",
        "/`",
        "/?a\"b",
        "/?<x>",
        "\\a",
        "http://a\\b/",
        "http://a,b/",
        "http://a%00/",
    ] {
        // `//` is an empty segment and has a path.
        if target != "//" {
            cases.push(Case::refused(
                "RFC 9112 3.2",
                format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                400,
            ));
        }
    }
    for target in [
        "https://api.test/a",
        "ftp://a/b",
        "ws://a/b",
        "HTTPS://a/",
        "file://a/etc/passwd",
        "gopher://a/",
        "x://a/",
    ] {
        cases.push(Case::refused(
            "RFC 9110 7.4",
            format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
            421,
        ));
    }
    for target in ["a:1", "api.test:80", "http://a/", "/a", "*"] {
        cases.push(Case::refused(
            "RFC 9110 9.3.6",
            format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"),
            501,
        ));
    }
    for (target, line) in [
        ("http://api.test/a", "GET /a"),
        ("HTTP://API.TEST:80/a?b", "GET /a?b"),
        ("http://api.test", "GET /"),
        ("http://api.test?b", "GET /?b"),
        ("http://api.test/../a", "GET /a"),
        ("//evil.test/a", "GET //evil.test/a"),
        ("/http://evil.test/", "GET /http://evil.test/"),
        ("/a?http://evil.test/#".trim_end_matches('#'), "GET /a?http://evil.test/"),
        ("/@evil.test", "GET /@evil.test"),
        ("/a:80", "GET /a:80"),
    ] {
        cases.push(Case::forwarded(
            "RFC 9112 3.2.2",
            format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
            &[(line, &[], "")],
        ));
    }
    cases.push(Case::forwarded(
        "RFC 9112 3.2.4",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("OPTIONS *", &[], "")],
    ));
    // An absolute form that names one host beside a field that names another: the form wins, a malformed field does not.
    cases.push(Case::forwarded(
        "RFC 9112 3.2.2",
        "GET http://api.test/a HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        &[("GET /a", &[], "")],
    ));
    for lines in ["", "Host: a b\r\n", "Host: a\r\nHost: api.test\r\n", "Host:\r\n"] {
        cases.push(Case::refused(
            "RFC 9112 3.2.2",
            format!("GET http://api.test/a HTTP/1.1\r\n{lines}\r\n"),
            400,
        ));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

#[tokio::test]
async fn paths() {
    let mut cases = Vec::new();
    for (path, line) in [
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E./b", "/b"),
        ("/a/.%2e", "/"),
        ("/%61%7E", "/a~"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/a\\b", "/a%5Cb"),
        ("/a//b", "/a//b"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a%3Bb", "/a%3Bb"),
        ("/a%252e%252e%252fb", "/a%252e%252e%252fb"),
        ("/a%20b", "/a%20b"),
        ("/a%e2%80%ae", "/a%E2%80%AE"),
        ("/\u{e9}", "/%C3%A9"),
        ("/...", "/..."),
        ("/a..b", "/a..b"),
        ("/a?../b%2f..", "/a?../b%2f.."),
        ("/{a}|\"", "/%7Ba%7D%7C%22"),
    ] {
        cases.push(Case::forwarded(
            "RFC 3986 6.2.2",
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            &[(&format!("GET {line}"), &[], "")],
        ));
    }
    for path in ["/%", "/%2", "/%2g", "/%%41", "/a%", "/%u0041", "/% 2f".trim_end_matches(" 2f"), "/%-1"] {
        cases.push(Case::refused("RFC 3986 2.1", format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), 400));
    }
    for path in
        ["/a%00", "/%00", "/a%00.css", "/a%0a", "/a%0D%0aX:y", "/%09", "/a%1f", "/%7f", "/a%0a.css", "/a%0b"]
    {
        cases.push(Case::refused(
            "control characters in a path",
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
        ));
    }
    for path in [
        "/a/..%2fb",
        "/static/..%2faccount",
        "/static/%2e%2e%2faccount",
        "/static/..%2Faccount%3Fx",
        "/a%2f..",
        "/a%2F../b",
        "/%2e%2e%5cb",
        "/a\\..\\b",
        "/..\\b",
        "/a%5c..%5cb",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/..;",
        "/a/.;/b",
        "/a%2f.%2fb",
        "/a/%2e%2e;/b",
        "/a/..%3b/b",
        "/%2F..%2F..%2Fetc%2Fpasswd",
        "/a/..%5c..%5cb",
    ] {
        cases.push(Case::refused(
            "dot segments in disguise",
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
        ));
    }
    Bench::start("cache = false").await.run(&cases).await;
}

/// What is routed by is what the origin hears.
#[tokio::test]
async fn the_form_s_host_is_the_request_s() {
    let bench = Bench::start("cache = false").await;
    let mut client = bench.proxy.connect().await;
    client
        .say("GET http://API.test:80/a HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: evil.test\r\n\r\n")
        .await;
    assert_eq!(client.reply("GET").await.status, 200);
    let last = bench.origin.last();
    assert_eq!(last.fields.get("x-forwarded-host"), Some("api.test"));
    assert!(!last.fields.0.iter().any(|(_, value)| value.contains("evil")), "{last:?}");
}
