//! Content codings: who gets which, and what it costs.

mod origins;
mod stored;
mod streams;

use std::io::Read;

use bytes::Bytes;
use proxy_stone::coding::{Change, Coder, Level};
use proxy_stone::http::accept_encoding::Coding;

use crate::support::{Answer, H2, Origin, Proxy, Reply};

/// Text of this length, that tells where it stands.
pub fn text(length: usize) -> String {
    let mut text = String::new();
    for line in 0.. {
        if text.len() >= length {
            break;
        }
        text.push_str(&format!("{{\"id\":{line},\"name\":\"number {}\"}}\n", line * 7919 % 1000));
    }
    text.truncate(length);
    text
}

fn run(change: Change, bytes: &[u8]) -> Vec<u8> {
    let (mut coder, mut input, mut all) = (Coder::new(change), Bytes::copy_from_slice(bytes), Vec::new());
    while !input.is_empty() || coder.has_more() {
        all.extend_from_slice(&coder.push(&mut input).expect("is what it says"));
    }
    all.extend_from_slice(&coder.finish().expect("is whole"));
    all
}

/// Content in a coding.
pub fn coded(coding: Coding, content: &str) -> Vec<u8> {
    run(Change::Encode(coding, Level::usual(coding)), content.as_bytes())
}

/// The content of a reply, as its fields say that it is coded.
pub fn content(reply: &Reply) -> String {
    assert!(reply.whole, "the reply is whole");
    let bytes = match reply.fields.get("content-encoding") {
        None => reply.body.to_vec(),
        Some("gzip") => {
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut read).expect("gzip");
            read
        }
        Some(name) => {
            let coding = Coding::named(name.as_bytes()).expect("a coding");
            run(Change::Decode(coding, 1 << 30), &reply.body)
        }
    };
    String::from_utf8(bytes).expect("text")
}

/// A text with these fields.
pub fn texts(length: usize) -> Answer {
    Answer::ok(text(length)).field("content-type", "text/plain").field("cache-control", "max-age=60")
}

/// A proxy that compresses.
pub fn config(origin: &Origin) -> String {
    format!("upstream = \"{}\"\ncompress = true", origin.url())
}

/// Asks over HTTP/2 for one coding.
pub async fn ask_h2(client: &H2, target: &str, accept: &str) -> Reply {
    let mut request = H2::request("GET", target, "");
    request.headers_mut().insert("accept-encoding", accept.parse().expect("a value"));
    client.ask(request).await
}

/// Bodies that were encoded.
pub fn encoded(proxy: &Proxy) -> u64 {
    let snapshot = proxy.instance.telemetry.snapshot();
    snapshot.codings.iter().filter(|row| row.way == "encode").map(|row| row.bodies).sum()
}

#[tokio::test]
async fn nothing_is_coded_where_nobody_asks_for_it() {
    let origin = Origin::always(texts(5000).field("etag", "\"a\"")).await;
    let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).start().await;
    for _ in 0..2 {
        let reply = proxy.ask("GET", "/", &["Accept-Encoding: gzip;q=0.7, br"], "").await;
        assert_eq!((reply.fields.get("content-encoding"), reply.fields.get("vary")), (None, None));
        assert_eq!((reply.fields.get("etag"), reply.text()), (Some("\"a\""), &*text(5000)));
    }
    assert_eq!(
        origin.last().fields.get("accept-encoding"),
        Some("gzip;q=0.7, br"),
        "it is passed on as it is"
    );
}

#[tokio::test]
async fn clients_get_what_they_take() {
    let origin = Origin::answering(|request| match request.word(1) {
        "/small" => texts(1000),
        "/image" => Answer::ok(text(5000)).field("content-type", "image/png"),
        "/asis" => texts(5000).field("cache-control", "no-transform"),
        "/own" => texts(5000).field("content-encoding", "aws-chunked"),
        "/error" => Answer::new(404).body(text(5000)).field("content-type", "application/problem+json"),
        "/empty" => Answer::new(204).field("content-type", "text/plain"),
        _ => texts(5000)
            .field("etag", "\"a\"")
            .field("accept-ranges", "bytes")
            .field("content-md5", "x")
            .field("repr-digest", "sha-256=:AA==:"),
    })
    .await;
    for cache in ["true", "false"] {
        let proxy = Proxy::of(format!("{}\ncache = {cache}", config(&origin))).start().await;
        for (target, accept, coding, vary) in [
            ("/", "gzip", Some("gzip"), true),
            ("/", "x-gzip", Some("gzip"), true),
            ("/", "br", Some("br"), true),
            ("/", "gzip, deflate, br, zstd", Some("zstd"), true),
            ("/", "gzip;q=0.9, br;q=0.1", Some("gzip"), true),
            ("/", "gzip;q=0", None, true),
            ("/", "", None, true),
            ("/", "identity;q=0", None, true),
            ("/", "identity;q=0, gzip;q=0.1", Some("gzip"), true),
            ("/", "*", Some("zstd"), true),
            ("/small", "gzip", None, false),
            ("/image", "gzip", None, false),
            ("/asis", "gzip", None, false),
            ("/own", "gzip", Some("aws-chunked"), false),
            ("/error", "gzip", Some("gzip"), true),
            ("/empty", "gzip", None, false),
        ] {
            let accept = format!("Accept-Encoding: {accept}");
            let reply = proxy.ask("GET", target, &[&accept], "").await;
            let told = (reply.fields.get("content-encoding"), reply.fields.get("vary"));
            assert_eq!(told, (coding, vary.then_some("Accept-Encoding")), "{target} {accept} {cache}");
            if target == "/" {
                assert_eq!(content(&reply), text(5000));
                let (etag, ranges) =
                    if coding.is_some() { ("W/\"a\"", None) } else { ("\"a\"", Some("bytes")) };
                assert_eq!(
                    (reply.fields.get("etag"), reply.fields.get("accept-ranges")),
                    (Some(etag), ranges)
                );
                assert_eq!(reply.fields.has("content-md5"), coding.is_none(), "{accept}");
                assert_eq!(reply.fields.has("repr-digest"), coding.is_none(), "{accept}");
            }
        }
        let forbidden = ["Accept-Encoding: gzip", "Cache-Control: no-transform"];
        let reply = proxy.ask("GET", "/", &forbidden, "").await;
        assert_eq!((reply.fields.get("content-encoding"), reply.fields.has("vary")), (None, true));
        let posted = proxy.ask("POST", "/", &["Accept-Encoding: br"], "some").await;
        assert_eq!((posted.fields.get("content-encoding"), content(&posted)), (Some("br"), text(5000)));
        let two = proxy.ask("GET", "/", &["Accept-Encoding: gzip;q=0.1", "Accept-Encoding: br"], "").await;
        assert_eq!(two.fields.get("content-encoding"), Some("br"), "several lines are one list");
    }
}

#[tokio::test]
async fn a_head_is_that_of_a_get() {
    let origin = Origin::always(texts(5000).field("etag", "\"a\"")).await;
    let proxy = Proxy::of(config(&origin)).start().await;
    const SAME: [&str; 6] =
        ["content-encoding", "etag", "vary", "content-type", "accept-ranges", "cache-control"];
    for stored in [false, true] {
        for accept in ["Accept-Encoding: gzip", "Accept-Encoding: identity"] {
            if stored {
                proxy.ask("GET", "/", &[accept], "").await;
                proxy.stored(if accept.ends_with("gzip") { 1 } else { 2 }).await;
            }
            let head = proxy.ask("HEAD", "/", &[accept], "").await;
            let get = proxy.ask("GET", if stored { "/" } else { "/else" }, &[accept], "").await;
            for name in SAME {
                assert_eq!(head.fields.get(name), get.fields.get(name), "{name} {accept} {stored}");
            }
            let length = head.fields.get("content-length");
            assert!(length.is_none() || length == Some(&*get.body.len().to_string()), "{accept} {stored}");
        }
    }
}

#[tokio::test]
async fn ranges_are_of_what_is_stored() {
    let origin = Origin::always(texts(5000).field("etag", "\"a\"")).await;
    let proxy = Proxy::of(config(&origin)).start().await;
    let gzip = "Accept-Encoding: gzip";
    let whole = proxy.ask("GET", "/", &[gzip], "").await;
    assert_eq!(
        (whole.fields.get("content-encoding"), whole.fields.get("etag")),
        (Some("gzip"), Some("W/\"a\""))
    );
    let part = proxy.ask("GET", "/", &[gzip, "Range: bytes=100-199"], "").await;
    assert_eq!((part.status, part.fields.get("content-encoding")), (206, None));
    assert_eq!((part.text(), part.fields.get("etag")), (&text(5000)[100..200], Some("\"a\"")));
    assert_eq!(
        (part.fields.get("vary"), part.fields.get("content-range")),
        (Some("Accept-Encoding"), Some("bytes 100-199/5000"))
    );
    // What begins compressed does not go on with bytes of something else.
    let rest = proxy.ask("GET", "/", &[gzip, "Range: bytes=100-", "If-Range: W/\"a\""], "").await;
    assert_eq!((rest.status, content(&rest)), (200, text(5000)));
    // Who cannot read it otherwise gets no range.
    let only = proxy.ask("GET", "/", &["Accept-Encoding: gzip, *;q=0", "Range: bytes=100-199"], "").await;
    assert_eq!((only.status, only.fields.get("content-encoding")), (200, Some("gzip")));
    assert_eq!(content(&only), text(5000));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn our_tags_validate() {
    let origin = Origin::answering(|request| {
        let tags = request.fields.all("if-none-match").join(",");
        // It compares bytes, as it should not.
        match tags.split(',').any(|tag| tag.trim() == "\"a\"") {
            true => Answer::new(304).field("etag", "\"a\"").field("cache-control", "max-age=60"),
            false => texts(5000).field("etag", "\"a\""),
        }
    })
    .await;
    let gzip = "Accept-Encoding: gzip";
    for cache in ["true", "false"] {
        let proxy = Proxy::of(format!("{}\ncache = {cache}", config(&origin))).start().await;
        // Of which nothing is stored, and then from what is.
        for _ in 0..2 {
            let weak = proxy.ask("GET", "/", &[gzip, "If-None-Match: W/\"b\", W/\"a\""], "").await;
            let told = (weak.status, weak.fields.get("etag"), weak.fields.get("vary"));
            assert_eq!(told, (304, Some("W/\"a\""), Some("Accept-Encoding")), "{cache}");
            let plain = proxy.ask("GET", "/", &["If-None-Match: \"a\""], "").await;
            assert_eq!((plain.status, plain.fields.get("etag")), (304, Some("\"a\"")), "{cache}");
            let other = proxy.ask("GET", "/", &[gzip, "If-None-Match: W/\"b\""], "").await;
            assert_eq!((other.status, content(&other)), (200, text(5000)), "{cache}");
        }
        // What the client has is not what the origin has: that is for the origin to say.
        proxy.ask("PUT", "/", &[gzip, "If-Match: W/\"a\""], "some").await;
        assert_eq!(origin.last().fields.all("if-match"), ["W/\"a\""]);
        assert!(!origin.last().fields.has("if-none-match"));
    }
}

#[tokio::test]
async fn requests_that_may_be_forged_are_not_compressed() {
    let origin = Origin::always(texts(5000)).await;
    let config = format!("upstream = \"{}\"\ncompress = {{ breach = \"skip\" }}", origin.url());
    let proxy = Proxy::of(config).start().await;
    for (fields, coding) in [
        (&[][..], Some("gzip")),
        (&["Cookie: s=1"], None),
        (&["Cookie: s=1", "Sec-Fetch-Site: cross-site"], None),
        (&["Cookie: s=1", "Sec-Fetch-Site: same-origin"], Some("gzip")),
        (&["Cookie: s=1", "Referer: http://api.test/page"], Some("gzip")),
        (&["Cookie: s=1", "Referer: http://evil.test/page"], None),
        (&["Authorization: Bearer x"], None),
    ] {
        let fields = [&["Accept-Encoding: gzip", "Host: api.test"], fields].concat();
        let reply = proxy.ask("GET", "/", &fields, "").await;
        let told = (reply.fields.get("content-encoding"), reply.fields.get("vary"));
        assert_eq!(told, (coding, Some("Accept-Encoding")), "{fields:?}");
    }
}

/// Browsers send them from pages of other sites as they send cookies; that they end here makes the reply no less secret.
#[tokio::test]
async fn passwords_that_end_here_are_credentials_of_requests_that_may_be_forged() {
    let origin = Origin::always(texts(5000)).await;
    let config = format!(
        "upstream = \"{}\"\ncompress = {{ breach = \"skip\" }}\n\
         basic_auth = {{ users = {{ alice = '$2y$04$NSobeDxQ.NcAavhVBT2H8OFIUl5TSvCtPW0DkS2/WoA/9cLEaPg2i' }} }}",
        origin.url()
    );
    let proxy = Proxy::of(config).start().await;
    for (field, coding) in
        [("Sec-Fetch-Site: cross-site", None), ("Sec-Fetch-Site: same-origin", Some("gzip")), ("A: b", None)]
    {
        let fields = ["Accept-Encoding: gzip", "Authorization: Basic YWxpY2U6cmlnaHQ=", field];
        let reply = proxy.ask("GET", "/", &fields, "").await;
        assert_eq!((reply.status, reply.fields.get("content-encoding")), (200, coding), "{field}");
    }
}

/// RFC 9111 5.2.1.6, 5.2.2.6: whoever says it, and whether the content would be coded or decoded.
#[tokio::test]
async fn rfc_9111_5_2_2_6_no_transform_leaves_content_as_it_is() {
    const FORBIDS: &str = "max-age=60, No-Transform";
    let fields = |answer: Answer| answer.field("etag", "\"a\"").field("content-digest", "sha-256=:AA==:");
    let origin = Origin::answering(move |request| match request.word(1) {
        "/plain" => fields(texts(5000)),
        "/coded" => {
            fields(texts(5000).body(coded(Coding::Gzip, &text(5000)))).field("content-encoding", "gzip")
        }
        "/plain-forbidden" => fields(texts(5000)).field("cache-control", FORBIDS),
        _ => fields(texts(5000).body(coded(Coding::Gzip, &text(5000))))
            .field("content-encoding", "gzip")
            .field("cache-control", FORBIDS),
    })
    .await;
    for cache in ["true", "false"] {
        let proxy = Proxy::of(format!("{}\ncache = {cache}", config(&origin))).start().await;
        let h2 = proxy.connect_h2().await;
        for (target, accept, asked, coding) in [
            ("/plain-forbidden", "gzip", None, None),
            ("/coded-forbidden", "identity", None, Some("gzip")),
            ("/plain", "gzip", Some("no-transform"), None),
            ("/coded", "identity", Some("no-transform"), Some("gzip")),
        ] {
            for round in 0..2 {
                let mut request = H2::request("GET", target, "");
                request.headers_mut().insert("accept-encoding", accept.parse().unwrap());
                if let Some(asked) = asked {
                    request.headers_mut().insert("cache-control", asked.parse().unwrap());
                }
                let mut lines = vec![format!("Accept-Encoding: {accept}")];
                lines.extend(asked.map(|asked| format!("Cache-Control: {asked}")));
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                for reply in [proxy.ask("GET", target, &lines, "").await, h2.ask(request).await] {
                    let told =
                        ["content-encoding", "etag", "content-digest"].map(|name| reply.fields.get(name));
                    assert_eq!(
                        told,
                        [coding, Some("\"a\""), Some("sha-256=:AA==:")],
                        "{target} {cache} {round}"
                    );
                    let sent =
                        if coding.is_some() { coded(Coding::Gzip, &text(5000)) } else { text(5000).into() };
                    assert!(reply.body == sent, "{target} {cache} {round}");
                }
            }
        }
        assert_eq!(encoded(&proxy), 0);
    }
}
