//! The short way to an origin: the first request on a connection finds none to the origin, and goes the long way; the second, alike,
//! finds one. Whatever can be seen of both must be the same.

use std::fmt::Write as _;
use std::time::Duration;

use proxy_stone::telemetry::event::Finished;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::{Answer, Call, Gate, Head, Origin, Proxy, Reply, numbered, until};

/// What is never the same twice.
fn is_own(name: &str) -> bool {
    name.eq_ignore_ascii_case("x-request-id") || name.eq_ignore_ascii_case("date")
}

/// The fields of a message, in no order.
fn sorted(head: &[(String, String)]) -> Vec<String> {
    let line = |(name, value): &(String, String)| match is_own(name) {
        true => format!("{}: ({})", name.to_lowercase(), value.len()),
        false => format!("{}: {value}", name.to_lowercase()),
    };
    let mut lines: Vec<String> = head.iter().map(line).collect();
    lines.sort();
    lines
}

fn seen(request: &Head) -> (String, Vec<String>) {
    (request.line.clone(), sorted(&request.fields.0))
}

fn told(reply: &Reply) -> String {
    let Reply { status, fields, body, trailers, interim, whole } = reply;
    let interim: Vec<_> = interim.iter().map(seen).collect();
    format!("{status} {:?} {body:?} {trailers:?} {interim:?} {whole}", sorted(&fields.0))
}

/// What log and metrics have of an exchange, but for times.
fn logged(finished: &Finished) -> String {
    let Finished { client, protocol, method, host, target, status, route, upstream, endpoint, .. } = finished;
    let Finished { series, attempts, cache, received, sent, end, lasting, error, caching, reply, .. } =
        finished;
    let mut text = format!(
        "{client} {protocol:?} {method} {host} {target} {status} {route:?} {upstream:?} {endpoint:?}"
    );
    let times = (finished.upstream_first_byte.is_some(), finished.first_byte > Duration::ZERO);
    let _ = write!(
        text,
        " {series:?} {attempts} {cache:?} {received} {sent} {end:?} {lasting} {error:?} {caching:?} {times:?}"
    );
    let told = |(name, value)| (name, if name == "date" { "(then)" } else { value });
    let mut fields: Vec<_> = reply.iter().flat_map(|reply| reply.iter()).map(told).collect();
    fields.sort_unstable();
    let _ = write!(text, " {fields:?}");
    text
}

/// Replies as an origin may make them.
fn replies() -> Vec<String> {
    let long = "x".repeat(9000);
    let ok = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    vec![
        ok("Content-Length: 5\r\n", "hello"),
        ok("content-length: 0\r\n", ""),
        ok("Content-Length: 007\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "is long"),
        ok(&format!("Content-Length: {}\r\n", long.len()), &long),
        ok(&format!("Content-Length: {}\r\nX-Long: 1\r\n", 30 * long.len()), &long.repeat(30)),
        ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ok("Transfer-Encoding: chunked\r\nTrailer: x\r\n", "5\r\nhello\r\n0\r\nx: y\r\n\r\n"),
        ok("Content-Length: 1\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nServer: x/1\r\n", "a"),
        ok("Content-Length: 1\r\nConnection: x-own\r\nX-Own: 1\r\nX-Kept: 2\r\n", "a"),
        ok("Content-Length: 1\r\nCache-Control: no-store\r\nETag: \"a\"\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nVary: accept\r\n", "a"),
        ok("Content-Length: 1\r\nCache-Control: no-store\r\nX: y\r\nCache-Control: max-age=1\r\n", "a"),
        ok("Content-Length: 1\r\nVia: 1.0 fred\r\nCache-Status: Edge; hit\r\nX-Request-Id: theirs\r\nAge: 3\r\n", "a"),
        ok("Content-Length: 1\r\nContent-Location: /here\r\nContent-Type: text/plain\r\n", "a"),
        ok("Content-Length: 3\r\nContent-Type: text/event-stream\r\n", "a\n\n"),
        ok("Content-Length: 1\r\ncontent_length: 9\r\nx_y: 1\r\nProxy-Authenticate: Basic\r\n", "a"),
        ok("Content-Length: 1\r\nX-Empty:\r\nX-Padded: \t a b \t\r\nX-Latin: \u{e9}\r\n", "a"),
        ok("Content-Length: 1\r\nCDN-Cache-Control: max-age=1\r\nExpires: 0\r\nPragma: no-cache\r\nLast-Modified: x\r\n", "a"),
        ok("Content-Length: 1\r\nStrict-Transport-Security: max-age=1\r\n", "a"),
        "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n".into(),
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n".into(),
        "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.1 404 What\r\nContent-Length: 4\r\n\r\nnone".into(),
        "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".into(),
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na".into(),
    ]
}

/// An origin that says the reply of that number.
async fn scripted() -> Origin {
    Origin::start(async |call: &mut Call| {
        let number = call
            .target()
            .trim_start_matches('/')
            .split('?')
            .next()
            .and_then(|path| path.parse::<usize>().ok());
        let said = replies().get(number.unwrap_or_default()).cloned().unwrap_or_default();
        call.say(said).await;
    })
    .await
}

/// How often the same is asked: heads that came twice are known the third time.
const TIMES: usize = 5;

/// Whether clients got the same each time, and the same is told of it.
async fn assert_alike(proxy: &Proxy, got: &[Reply], reply: &str) {
    for next in got {
        assert_eq!(told(&got[0]), told(next), "{reply}");
    }
    let events = proxy.finished(got.len()).await;
    for event in &events {
        assert_eq!(logged(&events[0]), logged(event), "{reply}");
    }
}

#[tokio::test]
async fn the_second_reply_is_as_the_first() {
    for (number, reply) in replies().iter().enumerate() {
        let origin = scripted().await;
        let proxy = Proxy::passing(&origin).await;
        let mut client = proxy.connect().await;
        let mut got = Vec::new();
        for _ in 0..TIMES {
            got.push(client.get(&format!("/{number}")).await);
        }
        assert_alike(&proxy, &got, reply).await;
        assert_eq!(origin.connections(), 1, "{reply}");
    }
}

#[tokio::test]
async fn the_second_reply_is_as_the_first_over_http2() {
    for (number, reply) in replies().iter().enumerate() {
        let origin = scripted().await;
        let proxy = Proxy::passing(&origin).await;
        let client = proxy.connect_h2().await;
        let mut got = Vec::new();
        for _ in 0..TIMES {
            got.push(client.get(&format!("/{number}")).await);
        }
        assert_alike(&proxy, &got, reply).await;
    }
}

#[tokio::test]
async fn the_origin_gets_the_second_request_as_the_first() {
    let origin = Origin::always(Answer::ok("a")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    for (nth, (target, fields)) in [
        ("/", &[][..]),
        ("/a?b=%20c&&", &["Accept: */*", "ACCEPT: text/plain", "User-Agent: x", "X-Empty:"][..]),
        ("/?", &["Connection: keep-alive", "Cookie: a=b; c=d", "Authorization: Bearer x"][..]),
        (
            "/a",
            &[
                "Forwarded: for=6.6.6.6",
                "X-Forwarded-For: 6.6.6.6",
                "x_real_ip: 1.2.3.4",
                "X-Forwarded-Prefix: /a",
            ][..],
        ),
        ("/a", &["Via: 1.0 fred", "X-Request-Id: mine", "Traceparent: 00-a-b-01", "Max-Forwards: 0"][..]),
        (
            "/a",
            &["Range: bytes=0-1", "If-None-Match: \"a\"", "Cache-Control: no-cache", "Pragma: no-cache"][..],
        ),
        ("/a", &["Proxy-Authorization: Basic x", "Keep-Alive: 5", "content_length: 7"][..]),
        ("/a", &["TE: trailers", "Trailer: x"][..]),
        ("/a", &["Content-Length: 0"][..]),
        ("/a", &["Content-Type: application/grpc", "Host_: evil"][..]),
    ]
    .into_iter()
    .enumerate()
    {
        for _ in 0..5 {
            assert_eq!(client.ask("GET", target, fields, "").await.status, 200, "{fields:?}");
        }
        // The very first has no connection; later ones go the long way where they are no plain ones, and are known from the
        // third on where they are.
        let requests = origin.requests();
        let [first, others @ ..] = &requests[5 * nth..] else { panic!("{} requests", requests.len()) };
        assert_eq!(others.len(), 4);
        others.iter().for_each(|other| assert_eq!(seen(first), seen(other), "{fields:?}"));
    }
    // As an origin gets it that closes each connection, so that none is ever at hand.
    let other = Origin::start(async |call: &mut Call| {
        call.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na").await;
        call.cut();
    })
    .await;
    let proxy = Proxy::passing(&other).await;
    let mut client = proxy.connect().await;
    let fields =
        ["Accept: */*", "X-Forwarded-For: 6.6.6.6", "Via: 1.0 fred", "X-Request-Id: mine", "Cookie: a=b"];
    for _ in 0..2 {
        client.ask("GET", "/a?b", &fields, "").await;
    }
    let short = Origin::always(Answer::ok("a")).await;
    let proxy = Proxy::passing(&short).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.ask("GET", "/a?b", &fields, "").await;
    }
    let but_host = |head: &Head| {
        let (line, mut fields) = seen(head);
        fields.retain(|field| !field.starts_with("host: "));
        (line, fields)
    };
    assert_eq!(but_host(&other.last()), but_host(&short.last()));
}

/// A request from that address, to the byte the same each time; its reply.
async fn ask_from(address: [u8; 4], proxy: &Proxy) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    let mut stream = socket.connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\na") {
        assert!(stream.read_buf(&mut reply).await.unwrap() > 0);
    }
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn what_is_known_of_a_head_is_told_of_its_own_peer_and_of_the_site_in_force() {
    let origin = Origin::always(Answer::ok("a")).await;
    let config = |name: &str| {
        let route = format!("[[routes]]\nname = \"{name}\"\nmatch = {{ path = \"/a\" }}");
        format!("name = \"{name}\"\nupstream = \"{}\"\ncache = false\n{route}", origin.url())
    };
    let proxy = Proxy::of(config("first")).start().await;
    let mut asked = 0;
    for name in ["first", "second"] {
        for last in [1, 1, 1, 1, 2, 1, 2, 2, 2] {
            let reply = ask_from([127, 0, 0, last], &proxy).await;
            assert!(reply.contains(&format!("cache-status: {name}; fwd=bypass\r\n")), "{reply}");
            let told = seen(&origin.last()).1.join("\n");
            assert!(told.contains(&format!("forwarded: for=127.0.0.{last};")), "{told}");
            assert!(told.contains(&format!("x-forwarded-for: 127.0.0.{last}\n")), "{told}");
            assert!(told.contains(&format!("via: 1.1 {name}\n")), "{told}");
            asked += 1;
            let event = proxy.finished(asked).await.pop().unwrap();
            assert_eq!((event.client, event.route.as_deref()), ([127, 0, 0, last].into(), Some(name)));
            assert_eq!((&*event.host, &*event.target, event.sent), ("a.example", "/a?b", 1));
        }
        proxy.reload(&config("second")).unwrap();
    }
}

#[tokio::test]
async fn what_breaks_on_the_way_is_asked_for_again_or_told() {
    let origin = Origin::start(async |call: &mut Call| match call.nth {
        // A kept connection that closes under the second request.
        2 => call.cut(),
        _ => call.answer(&Answer::ok("a")).await,
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "a");
    assert_eq!(client.get("/").await.text(), "a");
    let events = proxy.finished(2).await;
    let mut attempts: Vec<_> = events.iter().map(|event| (event.status, event.attempts)).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [(200, 1), (200, 2)]);
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_it() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.nth == 1 {
            return call.answer(&Answer::ok("a")).await;
        }
        pass.open();
        call.gone().await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "a");
    client.say("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    gate.pass().await;
    drop(client);
    let events = proxy.finished(2).await;
    assert!(events.iter().any(|event| format!("{:?}", event.end) == "ClientAborted"), "{events:?}");
}

#[tokio::test]
async fn what_does_not_come_at_once_streams() {
    let gate = Gate::new();
    let pass = gate.clone();
    let body = numbered(300_000);
    let sent = body.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        call.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())).await;
        call.say(&sent[..100_000]).await;
        if call.nth == 2 {
            pass.pass().await;
        }
        call.say(&sent[100_000..]).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.body, body);
    client.say("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    // The head comes before the rest does.
    let head = client.head().await;
    gate.open();
    assert_eq!(client.rest_of(head).await.body, body);
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let origin = Origin::answering(|head| Answer::ok(head.word(1).to_owned())).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/0").await.text(), "/0");
    for round in 0..3 {
        let ask = |nth: usize| format!("GET /{round}/{nth} HTTP/1.1\r\nHost: api.test\r\n\r\n");
        // The first comes alone, the others while it is under way, the last in two pieces.
        client.say(ask(1)).await;
        client.say(ask(2) + &ask(3) + &ask(4)[..9]).await;
        client.say(&ask(4)[9..]).await;
        for nth in 1..=4 {
            assert_eq!(client.reply("GET").await.text(), format!("/{round}/{nth}"));
        }
    }
}

/// An origin that says its target; one of them waits for the gate.
async fn echoing(waits: &'static str) -> (Origin, Gate) {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.target() == waits {
            pass.pass().await;
        }
        let target = call.target().to_owned();
        call.answer(&Answer::ok(target)).await;
    })
    .await;
    (origin, gate)
}

/// What is refused behind a request that waits is refused once that is answered, whatever comes then.
#[tokio::test]
async fn what_is_refused_behind_it_stays_refused() {
    const NEXT: &str = "GET /next HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for refused in [
        "GET /x HTTP/1.1\nHost: a\n\n",
        "G\u{1}T /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\rHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        for warm in [false, true] {
            let (origin, gate) = echoing("/slow").await;
            let proxy = Proxy::passing(&origin).await;
            let mut client = proxy.connect().await;
            if warm {
                assert_eq!(client.get("/warm").await.text(), "/warm");
            }
            client.say(format!("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n{refused}")).await;
            origin.hit(1 + usize::from(warm)).await;
            client.say(NEXT).await;
            gate.open_for(2);
            assert_eq!(client.reply("GET").await.text(), "/slow", "{refused:?}");
            let refusal = client.reply("GET").await;
            assert!(matches!(refusal.status, 400 | 501), "{refused:?}: {}", refusal.status);
            client.closed().await;
            assert_eq!(origin.hits(), 1 + usize::from(warm), "{refused:?}");
        }
    }
}

/// Who leaves is not waited for, whatever came behind what is refused.
#[tokio::test]
async fn who_leaves_behind_what_is_refused_cancels_it() {
    for warm in [0, 1] {
        let gate = Gate::new();
        let pass = gate.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            if call.nth <= warm {
                return call.answer(&Answer::ok("a")).await;
            }
            pass.open();
            call.gone().await;
        })
        .await;
        let proxy = Proxy::passing(&origin).await;
        let mut client = proxy.connect().await;
        for _ in 0..warm {
            assert_eq!(client.get("/").await.text(), "a");
        }
        client.say("GET / HTTP/1.1\r\nHost: api.test\r\n\r\nGET / HTTP/1.1\nHost: a\n\n").await;
        gate.pass().await;
        client.say("GET /next HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        drop(client);
        let events = proxy.finished(warm + 1).await;
        assert!(events.iter().any(|event| format!("{:?}", event.end) == "ClientAborted"), "{events:?}");
    }
}

/// Beside `lifecycle`, whose requests find no connection at hand.
#[tokio::test]
async fn a_reply_that_is_the_last_says_so() {
    let gate = Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.nth == 2 {
            pass.pass().await;
        }
        call.answer(&Answer::ok("held")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    assert_eq!(client.get("/").await.text(), "held");
    client.say("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    origin.hit(2).await;
    proxy.instance.drain();
    gate.open();
    let reply = client.reply("GET").await;
    assert_eq!((reply.text(), reply.field("connection")), ("held", Some("close")));
    assert!(client.closed().await.is_empty());
    proxy.close().await;
}

/// Who has just connected when it begins to end has the time to ask.
#[tokio::test]
async fn who_has_just_connected_is_answered() {
    let origin = Origin::always(Answer::ok("here")).await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    until("it is accepted", || proxy.instance.connections() == 1).await;
    proxy.instance.drain();
    let reply = client.get("/").await;
    assert_eq!((reply.text(), reply.field("connection")), ("here", Some("close")));
    assert!(client.closed().await.is_empty());
}

/// Who says that a request was the last one waits for the replies to those before.
#[tokio::test]
async fn who_has_asked_for_more_and_says_that_it_was_all_is_answered() {
    let (origin, gate) = echoing("/1").await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("GET /1 HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    origin.hit(1).await;
    client.say("GET /2 HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    client.wire.end().await;
    gate.open();
    assert_eq!(client.reply("GET").await.text(), "/1");
}

/// Nor is who waits to be accepted then forgotten, though nobody else is connected.
#[tokio::test]
async fn who_waits_to_be_accepted_is_answered() {
    let origin = Origin::always(Answer::ok("here")).await;
    for _ in 0..20 {
        let proxy = Proxy::passing(&origin).await;
        let mut client = proxy.connect().await;
        proxy.instance.drain();
        let ended = proxy.instance.drained(Duration::from_secs(10));
        let (left, reply) = tokio::join!(ended, client.get("/"));
        assert_eq!((left, reply.text()), (0, "here"));
    }
}
