//! Messages that are framed oddly, broken off, or come in parts (RFC 9111 3, 3.3; RFC 9112 6.3, 8; RFC 9110 6.5, 15.2).

use super::{Table, case, tables};
use crate::support::{Answer, Call, Gate, H2, Origin, Proxy, request, until};

tables!(framing, incomplete, interim, trailers);

const OK: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";

/// RFC 9112 6.3: how a reply ends, and what is stored of it.
fn framing() -> Table {
    const RULE: &str = "RFC 9112 6.3";
    let text = |rest: &str| format!("{OK}{rest}");
    Table::of(vec![
        case(RULE, "chunked")
            .says_bytes(&text("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"))
            .get()
            .misses()
            .body("abcde")
            .get()
            .hits()
            .body("abcde")
            .field("content-length", "5")
            .lacks("transfer-encoding"),
        case(RULE, "until the connection ends")
            .says_and_closes(&text("Connection: close\r\n\r\nabcde"))
            .get()
            .misses()
            .body("abcde")
            .get()
            .hits()
            .body("abcde")
            .field("content-length", "5"),
        case(RULE, "until the connection ends, of version 1.0")
            .says_and_closes("HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nabcde")
            .get()
            .misses()
            .body("abcde")
            .get()
            .hits()
            .body("abcde"),
        case(RULE, "nothing until the connection ends")
            .says_and_closes(&text("\r\n"))
            .get()
            .misses()
            .body("")
            .get()
            .hits()
            .body("")
            .field("content-length", "0"),
        case(RULE, "more than its length says: the surplus ends the connection alone")
            .says_bytes(&text("Content-Length: 5\r\n\r\nabcde and more"))
            .get()
            .misses()
            .body("abcde")
            .get()
            .hits()
            .body("abcde"),
        case(RULE, "a length of zero and a surplus")
            .says_bytes(&text("Content-Length: 0\r\n\r\nmore"))
            .get()
            .misses()
            .body("")
            .get()
            .hits()
            .body(""),
        case(RULE, "a transfer coding that nobody knows: read to the end, neither sent on nor stored")
            .says_and_closes(&text("Transfer-Encoding: strange\r\n\r\nabcde"))
            .get()
            .misses()
            .body("abcde")
            .get()
            .hits()
            .body("abcde")
            .field("content-length", "5")
            .lacks("transfer-encoding"),
        case(RULE, "one length several times is an error, which 6.3 lets us make of it")
            .says_and_closes(&text("Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"))
            .get()
            .status(502),
        case(RULE, "a coding that the client would not be told of is an error")
            .says_and_closes(&text("Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"))
            .get()
            .status(502),
        case("RFC 9110 8.6", "two different lengths are an error")
            .says_and_closes(&text("Content-Length: 5\r\nContent-Length: 4\r\n\r\nabcde"))
            .get()
            .status(502)
            .says(&["Cache-Control: max-age=60"])
            .get()
            .misses()
            .status(200),
        case("RFC 9112 6.3", "a length beside chunked is an error")
            .says_and_closes(&text(
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
            ))
            .get()
            .status(502),
        case("RFC 9110 8.6", "a length that is none is an error")
            .says_and_closes(&text("Content-Length: -1\r\n\r\nabcde"))
            .get()
            .status(502)
            .says_and_closes(&text("Content-Length: 5x\r\n\r\nabcde"))
            .get()
            .status(502),
        case("RFC 9110 15.3.5", "204 has no body and no length")
            .says_bytes("HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n")
            .get()
            .misses()
            .lacks("content-length")
            .get()
            .hits()
            .status(204)
            .lacks("content-length"),
    ])
}

/// RFC 9111 3.3, RFC 9112 8: what broke off is never used as if it were whole.
fn incomplete() -> Table {
    const RULE: &str = "RFC 9111 3.3";
    let broken = |name: &str, rest: &str| {
        case(RULE, name)
            .says_and_closes(&format!("{OK}{rest}"))
            .get()
            .breaks()
            .says(&["Cache-Control: max-age=60"])
            .get()
            .misses()
            .body("reply 2")
    };
    Table::of(vec![
        broken("fewer bytes than its length", "Content-Length: 10\r\n\r\nabcde"),
        broken("no byte of its length", "Content-Length: 10\r\n\r\n"),
        broken("no last chunk", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
        broken("half a chunk", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"),
        broken("no end of the trailers", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-A: 1\r\n"),
        broken("a chunk that is none", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n"),
    ])
}

/// RFC 9112 8: a connection that is reset ends no body, not even one that lasts until the connection ends.
#[tokio::test]
async fn rfc_9112_8_a_reset_is_no_end() {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.nth > 1 {
            return call.answer(&Answer::ok("whole").field("Cache-Control", "max-age=60")).await;
        }
        call.say(format!("{OK}\r\nabcde")).await;
        at_origin.pass().await;
        call.reset();
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    let mut client = proxy.connect().await;
    client.say(request("GET", "/", &[], "")).await;
    let head = client.head().await;
    gate.open();
    let reply = client.rest_of(head).await;
    assert!(!reply.whole, "{reply:?}");
    until("the fetch ends", || proxy.instance.proxy.flights() == 0).await;
    assert_eq!((proxy.get("/").await.text(), origin.hits()), ("whole", 2));
}

/// RFC 9110 15.2, RFC 9111 3: interim replies go on and are never stored.
fn interim() -> Table {
    let after = |heads: &str| {
        format!("{heads}HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nabcde")
    };
    let passed = |name: &str, heads: &str, statuses: &[u16]| {
        case("RFC 9110 15.2", name)
            .says_bytes(&after(heads))
            .get()
            .misses()
            .interim(statuses)
            .status(200)
            .body("abcde")
            .get()
            .hits()
            .interim(&[])
            .status(200)
            .body("abcde")
            .lacks("link")
    };
    Table::of(vec![
        passed("102", "HTTP/1.1 102 Processing\r\n\r\n", &[102]),
        passed("103 with fields", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", &[103]),
        passed("an unknown one", "HTTP/1.1 199 Odd\r\n\r\n", &[199]),
        passed(
            "several",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
            &[103, 103],
        ),
        passed(
            "one that would be storable",
            "HTTP/1.1 103 Early Hints\r\nCache-Control: max-age=60\r\n\r\n",
            &[103],
        ),
    ])
}

/// RFC 9110 6.5, RFC 9111 3.1: trailer fields are kept apart, and follow a stored body where they may.
fn trailers() -> Table {
    const RULE: &str = "RFC 9111 3.1";
    const SENT: &str = "RFC 9110 6.5.1";
    const TAKES: &[&str] = &["TE: trailers", "Connection: TE"];
    let says = |head: &str, trailers: &str| {
        format!("{OK}{head}Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n{trailers}\r\n")
    };
    let announced = || says("ETag: \"a\"\r\nTrailer: X-Sum\r\n", "X-Sum: 7\r\n");
    let stored = |rule, name: &str| {
        case(rule, name).says_bytes(&announced()).get_with(TAKES).misses().trailer("x-sum", "7")
    };
    Table::of(vec![
        stored(RULE, "they are not fields of the head")
            .lacks("x-sum")
            .get()
            .hits()
            .lacks("x-sum")
            .body("abcde"),
        stored(SENT, "a client that takes them gets those that were stored, too")
            .get_with(TAKES)
            .hits()
            .body("abcde")
            .trailer("x-sum", "7")
            .field("trailer", "X-Sum")
            .field("transfer-encoding", "chunked")
            .lacks("content-length"),
        stored(SENT, "another gets the length instead")
            .get()
            .hits()
            .body("abcde")
            .lacks_trailer("x-sum")
            .lacks("trailer")
            .field("content-length", "5"),
        stored(SENT, "HEAD has none")
            .asks("HEAD", TAKES)
            .hits()
            .lacks("trailer")
            .field("content-length", "5"),
        stored(SENT, "nor has a part")
            .get_with(&["TE: trailers", "Connection: TE", "Range: bytes=1-2"])
            .hits()
            .status(206)
            .body("bc")
            .lacks("trailer")
            .field("content-length", "2"),
        stored(SENT, "nor what did not change")
            .get_with(&["TE: trailers", "Connection: TE", "If-None-Match: \"a\""])
            .hits()
            .status(304)
            .lacks("trailer"),
        case(SENT, "behind a body of no bytes")
            .says_bytes(&format!(
                "{OK}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 7\r\n\r\n"
            ))
            .get_with(TAKES)
            .misses()
            .trailer("x-sum", "7")
            .get_with(TAKES)
            .hits()
            .body("")
            .trailer("x-sum", "7"),
        case(SENT, "one that was not announced is not sent on over HTTP/1.1")
            .says_bytes(&says("", "X-Sum: 7\r\n"))
            .get_with(TAKES)
            .misses()
            .lacks_trailer("x-sum")
            .get_with(TAKES)
            .hits()
            .lacks_trailer("x-sum")
            .field("content-length", "5"),
        case(RULE, "they decide nothing about the reply")
            .says_bytes(&says("Trailer: Cache-Control\r\n", "Cache-Control: no-store\r\n"))
            .get()
            .misses()
            .get()
            .hits()
            .field("cache-control", "max-age=60"),
    ])
}

#[tokio::test]
async fn rfc_9110_6_5_1_over_http_2_stored_trailers_follow_whether_announced_or_not() {
    let body = "x".repeat(100_000);
    for (announced, size) in [("Trailer: X-Sum\r\n", 5), ("", 5), ("", 100_000)] {
        let text = format!(
            "{OK}{announced}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\nX-Sum: 7\r\n\r\n",
            &body[..size]
        );
        let origin = Origin::start(async move |call: &mut Call| {
            call.say(&text).await;
        })
        .await;
        // Small bodies are in the record, large ones in a file.
        let config = format!("upstream = \"{}\"\n[store]\nmemory = \"1B\"", origin.url());
        let proxy = Proxy::of(config).on_disk().start().await;
        let client = proxy.connect_h2().await;
        for (te, expected) in [("trailers", Some("7")), ("trailers", Some("7")), ("", None)] {
            let mut request = H2::request("GET", "/", "");
            if !te.is_empty() {
                request.headers_mut().insert("te", te.parse().expect("a value"));
            }
            let reply = client.ask(request).await;
            proxy.stored(1).await;
            proxy.written().await;
            assert_eq!(reply.trailers.get("x-sum"), expected, "{announced:?} {size} {te:?}");
            assert!(reply.whole && reply.text() == &body[..size]);
        }
        assert_eq!(origin.hits(), 1);
    }
}
