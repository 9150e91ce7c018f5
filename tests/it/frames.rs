//! RFC 9113 frame by frame: what a client may not send, and what becomes of it.

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::support::{Answer, Call, Origin, Proxy};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// The connection ends, with a GOAWAY of one of these codes if there is one.
    Ends(&'static [u32]),
    /// The stream is reset with one of these codes, or the connection ends with one.
    Resets(&'static [u32]),
    /// The request is refused: a reset, or a status of the client's fault.
    Refused,
    /// Nothing: the connection goes on.
    GoesOn,
}

use Then::{Ends, GoesOn, Refused, Resets};

fn get(stream: u32) -> Frame {
    Frame::headers(stream, END_STREAM, &request("GET", "/"))
}

/// A request whose body is still to come, and whose reply waits for that.
fn post(stream: u32) -> Frame {
    Frame::headers(stream, 0, &request("POST", "/"))
}

fn with(extra: &[(&str, &str)]) -> Vec<Frame> {
    let fields: Vec<_> = request("GET", "/").into_iter().chain(extra.iter().copied()).collect();
    vec![Frame::headers(1, END_STREAM, &fields)]
}

fn only(fields: &[(&str, &str)]) -> Vec<Frame> {
    vec![Frame::headers(1, END_STREAM, fields)]
}

fn posted(extra: &[(&str, &str)], rest: Vec<Frame>) -> Vec<Frame> {
    let fields: Vec<_> = request("POST", "/").into_iter().chain(extra.iter().copied()).collect();
    [vec![Frame::headers(1, 0, &fields)], rest].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

fn setting(id: u16, value: u32) -> Vec<Frame> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    vec![Frame::new(SETTINGS, 0, 0, payload)]
}

fn update(stream: u32, by: u32) -> Frame {
    Frame::new(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

fn cases() -> Vec<(&'static str, Vec<Frame>, Then)> {
    let head = block(&request("GET", "/"));
    let (first, rest) = head.split_at(10);
    let split = |between: Frame| {
        vec![frame(HEADERS, END_STREAM, 1, first), between, frame(CONTINUATION, END_HEADERS, 1, rest)]
    };
    let closed = |late: Frame| vec![post(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), late];
    let half_closed = |late: Frame| vec![get(1), late];
    vec![
        ("4.1 an unknown frame is ignored", vec![frame(0xfa, 0xff, 0, b"what")], GoesOn),
        ("4.1 an unknown frame on a stream is ignored", vec![frame(0xfb, 0, 77, b"")], GoesOn),
        ("4.1 undefined flags are ignored", vec![frame(PING, 0xfe, 0, &[0; 8])], GoesOn),
        ("4.1 the reserved bit is ignored", vec![frame(PING, 0, 0x8000_0000, &[0; 8])], GoesOn),
        (
            "4.2 DATA above the frame size",
            vec![post(1), frame(DATA, 0, 1, &[0; 16_385])],
            Resets(&[FRAME_SIZE]),
        ),
        (
            "4.2 HEADERS above the frame size",
            vec![frame(HEADERS, END_HEADERS, 1, &[0; 16_385])],
            Ends(&[FRAME_SIZE]),
        ),
        (
            "4.3 a field block that cannot be decoded",
            vec![frame(HEADERS, OK, 1, &[0x40])],
            Ends(&[COMPRESSION]),
        ),
        (
            "4.3 an index that is not there",
            vec![frame(HEADERS, OK, 1, &[0xff, 0xff, 0x01])],
            Ends(&[COMPRESSION]),
        ),
        ("4.3 index zero", vec![frame(HEADERS, OK, 1, &[0x80])], Ends(&[COMPRESSION])),
        (
            "4.3 a table larger than allowed",
            vec![frame(HEADERS, OK, 1, &[0x3f, 0xff, 0xff, 0x7f])],
            Ends(&[COMPRESSION]),
        ),
        (
            "4.3 padding of a Huffman string that is too long",
            vec![frame(HEADERS, OK, 1, &[0x00, 0x81, 0xff, 0x81, 0xff])],
            Ends(&[COMPRESSION]),
        ),
        ("4.3 another frame amid a field block", split(frame(PING, 0, 0, &[0; 8])), Ends(&[PROTOCOL])),
        ("4.3 another stream's frame amid a field block", split(post(3)), Ends(&[PROTOCOL])),
        ("4.3 an unknown frame amid a field block", split(frame(0xfa, 0, 0, b"")), Ends(&[PROTOCOL])),
        ("5.1 DATA on an idle stream", vec![frame(DATA, END_STREAM, 1, b"x")], Ends(&[PROTOCOL])),
        ("5.1 RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])], Ends(&[PROTOCOL])),
        ("5.1 WINDOW_UPDATE on an idle stream", vec![update(1, 1)], Ends(&[PROTOCOL])),
        (
            "5.1 CONTINUATION on an idle stream",
            vec![frame(CONTINUATION, END_HEADERS, 1, &head)],
            Ends(&[PROTOCOL]),
        ),
        ("5.1 PRIORITY on an idle stream", vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])], GoesOn),
        (
            "5.1 DATA behind END_STREAM",
            half_closed(frame(DATA, END_STREAM, 1, b"x")),
            Resets(&[STREAM_CLOSED]),
        ),
        ("5.1 HEADERS behind END_STREAM", half_closed(get(1)), Resets(&[STREAM_CLOSED])),
        (
            "5.1 CONTINUATION behind END_STREAM",
            half_closed(frame(CONTINUATION, END_HEADERS, 1, &head)),
            Ends(&[STREAM_CLOSED, PROTOCOL]),
        ),
        ("5.1 WINDOW_UPDATE behind END_STREAM", half_closed(update(1, 1)), GoesOn),
        ("5.1 PRIORITY behind END_STREAM", half_closed(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])), GoesOn),
        ("5.1 RST_STREAM behind END_STREAM", half_closed(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])), GoesOn),
        ("5.1 HEADERS behind RST_STREAM", closed(get(1)), Resets(&[STREAM_CLOSED])),
        (
            "5.1 CONTINUATION behind RST_STREAM",
            closed(frame(CONTINUATION, END_HEADERS, 1, &head)),
            Ends(&[STREAM_CLOSED, PROTOCOL]),
        ),
        ("5.1 PRIORITY behind RST_STREAM", closed(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])), GoesOn),
        ("5.1.1 a stream of the server's kind", vec![get(2)], Ends(&[PROTOCOL])),
        ("5.1.1 a stream below one that was opened", vec![get(5), get(3)], Ends(&[PROTOCOL])),
        ("5.1.1 HEADERS on stream 0", vec![get(0)], Ends(&[PROTOCOL])),
        (
            "5.3.1 a stream that depends on itself",
            vec![frame(HEADERS, OK | 0x20, 1, &[&[0, 0, 0, 1, 16][..], &head].concat())],
            Resets(&[PROTOCOL]),
        ),
        (
            "5.3 a priority in HEADERS is ignored",
            vec![frame(HEADERS, OK | 0x20, 1, &[&[0, 0, 0, 0, 16][..], &head].concat())],
            GoesOn,
        ),
        ("5.5 an unknown setting is ignored", setting(0xff, 1), GoesOn),
        ("6.1 DATA on stream 0", vec![frame(DATA, END_STREAM, 0, b"x")], Ends(&[PROTOCOL])),
        (
            "6.1 DATA padded beyond its end",
            vec![post(1), frame(DATA, PADDED | END_STREAM, 1, &[6, 1, 2, 3])],
            Ends(&[PROTOCOL]),
        ),
        (
            "6.1 padded DATA without a pad length",
            vec![post(1), frame(DATA, PADDED | END_STREAM, 1, b"")],
            Ends(&[FRAME_SIZE]),
        ),
        (
            "6.1 padded DATA",
            posted(&[("content-length", "1")], vec![frame(DATA, PADDED | END_STREAM, 1, &[2, 1, 0, 0])]),
            GoesOn,
        ),
        ("6.1 empty DATA", vec![post(1), frame(DATA, 0, 1, b""), frame(DATA, END_STREAM, 1, b"")], GoesOn),
        (
            "6.2 HEADERS padded beyond their end",
            vec![frame(HEADERS, OK | PADDED, 1, &[200, 0x82])],
            Ends(&[PROTOCOL]),
        ),
        (
            "6.2 padded HEADERS without a pad length",
            vec![frame(HEADERS, OK | PADDED, 1, b"")],
            Ends(&[FRAME_SIZE]),
        ),
        ("6.3 PRIORITY on stream 0", vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1])], Ends(&[PROTOCOL])),
        ("6.3 PRIORITY of another length", vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 1])], Resets(&[FRAME_SIZE])),
        ("6.4 RST_STREAM on stream 0", vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])], Ends(&[PROTOCOL])),
        (
            "6.4 RST_STREAM of another length",
            vec![post(1), frame(RST_STREAM, 0, 1, &[0, 0, 8])],
            Ends(&[FRAME_SIZE]),
        ),
        (
            "6.4 RST_STREAM with an unknown code",
            vec![post(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff])],
            GoesOn,
        ),
        ("6.5 SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, b"")], Ends(&[PROTOCOL])),
        ("6.5 SETTINGS of another length", vec![frame(SETTINGS, 0, 0, &[0, 3, 0])], Ends(&[FRAME_SIZE])),
        (
            "6.5 an acknowledgement with a payload",
            vec![frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1])],
            Ends(&[FRAME_SIZE]),
        ),
        ("6.5.2 ENABLE_PUSH of 2", setting(2, 2), Ends(&[PROTOCOL])),
        ("6.5.2 INITIAL_WINDOW_SIZE of 2^31", setting(4, 1 << 31), Ends(&[FLOW_CONTROL])),
        ("6.5.2 MAX_FRAME_SIZE below 2^14", setting(5, 16_383), Ends(&[PROTOCOL])),
        ("6.5.2 MAX_FRAME_SIZE above 2^24-1", setting(5, 1 << 24), Ends(&[PROTOCOL])),
        ("6.5.3 SETTINGS are acknowledged", setting(3, 100), GoesOn),
        (
            "6.6 PUSH_PROMISE from a client",
            vec![post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &head].concat())],
            Ends(&[PROTOCOL]),
        ),
        ("6.7 PING on a stream", vec![frame(PING, 0, 1, &[0; 8])], Ends(&[PROTOCOL])),
        ("6.7 PING of another length", vec![frame(PING, 0, 0, &[0; 6])], Ends(&[FRAME_SIZE])),
        ("6.7 a PING acknowledged that was not sent", vec![frame(PING, ACK, 0, &[9; 8])], GoesOn),
        ("6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], Ends(&[PROTOCOL])),
        ("6.8 GOAWAY of another length", vec![frame(GOAWAY, 0, 0, &[0; 4])], Ends(&[FRAME_SIZE])),
        ("6.9 WINDOW_UPDATE by 0", vec![update(0, 0)], Ends(&[PROTOCOL])),
        ("6.9 WINDOW_UPDATE by 0 on a stream", vec![post(1), update(1, 0)], Resets(&[PROTOCOL])),
        (
            "6.9 WINDOW_UPDATE of another length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            Ends(&[FRAME_SIZE]),
        ),
        (
            "6.9.1 a window above 2^31-1",
            vec![update(0, i32::MAX as u32), update(0, 1)],
            Ends(&[FLOW_CONTROL]),
        ),
        (
            "6.9.1 a stream's window above 2^31-1",
            vec![post(1), update(1, i32::MAX as u32)],
            Resets(&[FLOW_CONTROL]),
        ),
        (
            "6.9.2 settings that take a window above 2^31-1",
            [vec![post(1), update(1, 1 << 30)], setting(4, i32::MAX as u32)].concat(),
            Ends(&[FLOW_CONTROL]),
        ),
        (
            "6.9.1 more DATA than the window",
            [vec![post(1)], (0..17).map(|_| frame(DATA, 0, 1, &[0; 16_384])).collect()].concat(),
            Resets(&[FLOW_CONTROL]),
        ),
        (
            "6.10 a field block in several frames",
            vec![
                frame(HEADERS, END_STREAM, 1, first),
                frame(CONTINUATION, 0, 1, b""),
                frame(CONTINUATION, END_HEADERS, 1, rest),
            ],
            GoesOn,
        ),
        (
            "6.10 CONTINUATION behind END_HEADERS",
            vec![post(1), frame(CONTINUATION, END_HEADERS, 1, &head)],
            Ends(&[PROTOCOL]),
        ),
        (
            "6.10 CONTINUATION on stream 0",
            vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 0, rest)],
            Ends(&[PROTOCOL]),
        ),
        (
            "6.10 CONTINUATION of another stream",
            vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 3, rest)],
            Ends(&[PROTOCOL]),
        ),
        (
            "8.1 trailers without END_STREAM",
            vec![post(1), Frame::headers(1, 0, &[("x", "1")])],
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1 a pseudo-field in trailers",
            vec![post(1), Frame::headers(1, END_STREAM, &[(":method", "GET")])],
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1 a pseudo-field in trailers behind a field",
            vec![post(1), Frame::headers(1, END_STREAM, &[("x", "1"), (":method", "GET")])],
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1 an indexed pseudo-field in trailers",
            vec![post(1), frame(HEADERS, OK, 1, &[0x82])],
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1 trailers",
            vec![post(1), frame(DATA, 0, 1, b"x"), Frame::headers(1, END_STREAM, &[("x-sum", "1")])],
            GoesOn,
        ),
        (
            "8.1.1 a length above the content",
            posted(&[("content-length", "3")], vec![frame(DATA, END_STREAM, 1, b"x")]),
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1.1 a length below the content",
            posted(&[("content-length", "1")], vec![frame(DATA, END_STREAM, 1, b"xyz")]),
            Resets(&[PROTOCOL]),
        ),
        ("8.1.1 a length, and no content", with(&[("content-length", "1")]), Resets(&[PROTOCOL])),
        (
            "8.1.1 a length above the content of several frames",
            posted(
                &[("content-length", "9")],
                vec![frame(DATA, 0, 1, b"x"), frame(DATA, END_STREAM, 1, b"y")],
            ),
            Resets(&[PROTOCOL]),
        ),
        (
            "8.1.1 several lengths",
            posted(
                &[("content-length", "1"), ("content-length", "2")],
                vec![frame(DATA, END_STREAM, 1, b"x")],
            ),
            Refused,
        ),
        (
            "8.1.1 a length that is none",
            posted(&[("content-length", "+1")], vec![frame(DATA, END_STREAM, 1, b"x")]),
            Refused,
        ),
        (
            "8.1.1 a length with a comma",
            posted(&[("content-length", "1, 1")], vec![frame(DATA, END_STREAM, 1, b"x")]),
            Refused,
        ),
        ("8.2 upper case in a name", with(&[("X-Up", "1")]), Refused),
        ("8.2.1 a space in a name", with(&[("x y", "1")]), Refused),
        ("8.2.1 a colon in a name", with(&[("x:y", "1")]), Refused),
        ("8.2.1 a line break in a name", with(&[("x\r\ny", "1")]), Refused),
        ("8.2.1 an empty name", with(&[("", "1")]), Refused),
        ("8.2.1 a byte outside ASCII in a name", with(&[("x\u{fc}", "1")]), Refused),
        ("8.2.1 CRLF in a value", with(&[("x", "1\r\ny: 2")]), Refused),
        ("8.2.1 LF in a value", with(&[("x", "1\n")]), Refused),
        ("8.2.1 CR in a value", with(&[("x", "\r1")]), Refused),
        ("8.2.1 NUL in a value", with(&[("x", "1\0")]), Refused),
        ("8.2.2 connection", with(&[("connection", "close")]), Refused),
        ("8.2.2 keep-alive", with(&[("keep-alive", "1")]), Refused),
        ("8.2.2 proxy-connection", with(&[("proxy-connection", "close")]), Refused),
        ("8.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")]), Refused),
        ("8.2.2 upgrade", with(&[("upgrade", "h2c")]), Refused),
        ("8.2.2 te of another value", with(&[("te", "gzip")]), Refused),
        ("8.2.2 te: trailers", with(&[("te", "trailers")]), GoesOn),
        ("8.3 an unknown pseudo-field", with(&[(":test", "1")]), Refused),
        ("8.3 a pseudo-field of replies", with(&[(":status", "200")]), Refused),
        (
            "8.3 a pseudo-field behind a field",
            only(&[(":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/")]),
            Refused,
        ),
        ("8.3 :method twice", with(&[(":method", "GET")]), Refused),
        ("8.3 :path twice", with(&[(":path", "/")]), Refused),
        ("8.3 :scheme twice", with(&[(":scheme", "http")]), Refused),
        ("8.3 :authority twice", with(&[(":authority", "other.test")]), Refused),
        (
            "8.3.1 no :method",
            only(&[(":scheme", "http"), (":authority", "api.test"), (":path", "/")]),
            Refused,
        ),
        (
            "8.3.1 no :scheme",
            only(&[(":method", "GET"), (":authority", "api.test"), (":path", "/")]),
            Refused,
        ),
        (
            "8.3.1 no :path",
            only(&[(":method", "GET"), (":scheme", "http"), (":authority", "api.test")]),
            Refused,
        ),
        (
            "8.3.1 an empty :path",
            only(&[(":method", "GET"), (":scheme", "http"), (":authority", "api.test"), (":path", "")]),
            Refused,
        ),
        (
            "8.3.1 a :path that does not begin with a slash",
            only(&[(":method", "GET"), (":scheme", "http"), (":authority", "api.test"), (":path", "a")]),
            Refused,
        ),
        (
            "8.3.1 a space in :path",
            only(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "api.test"),
                (":path", "/ HTTP/1.1"),
            ]),
            Refused,
        ),
        (
            "8.3.1 CRLF in :path",
            only(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "api.test"),
                (":path", "/ HTTP/1.1\r\nhost: x\r\n\r\n"),
            ]),
            Refused,
        ),
        (
            "8.3.1 CRLF in :method",
            only(&[
                (":method", "GET / HTTP/1.1\r\nx: y"),
                (":scheme", "http"),
                (":authority", "api.test"),
                (":path", "/"),
            ]),
            Refused,
        ),
        (
            "8.3.1 CRLF in :authority",
            only(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "api.test\r\nx: y"),
                (":path", "/"),
            ]),
            Refused,
        ),
        (
            "8.3.1 userinfo in :authority",
            only(&[(":method", "GET"), (":scheme", "http"), (":authority", "me@api.test"), (":path", "/")]),
            Refused,
        ),
        ("8.3.1 Host beside another :authority", with(&[("host", "other.test")]), Refused),
        ("8.5 CONNECT", only(&[(":method", "CONNECT"), (":authority", "api.test:443")]), Refused),
        (
            "8.5 CONNECT with :path",
            only(&[
                (":method", "CONNECT"),
                (":scheme", "http"),
                (":authority", "api.test:443"),
                (":path", "/"),
            ]),
            Refused,
        ),
        (
            "RFC 8441 4 :protocol of a request that is no CONNECT",
            only(&[
                (":method", "GET"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "api.test"),
                (":path", "/"),
            ]),
            Refused,
        ),
    ]
}

const OK: u8 = END_STREAM | END_HEADERS;

/// Answers what has ended; keeps uploads that have not waiting.
async fn origin() -> Origin {
    Origin::start(async |call: &mut Call| {
        if call.body().await.whole {
            call.answer(&Answer::ok("x")).await;
        } else {
            call.cut();
        }
    })
    .await
}

/// What the proxy says until it has answered a PING that stands behind it all, or has gone.
async fn said(client: &mut Frames) -> (Vec<Frame>, bool) {
    const MARK: [u8; 8] = *b"the end.";
    client.send(&Frame::new(PING, 0, 0, MARK)).await;
    let mut frames = Vec::new();
    while let Some(frame) = client.next().await {
        if frame.kind == PING && frame.payload == MARK {
            return (frames, true);
        }
        frames.push(frame);
    }
    (frames, false)
}

async fn check(proxy: &Proxy, sent: &[Frame], then: Then) -> Result<(), String> {
    let mut client = Frames::connect(proxy.address).await;
    let mut bytes = true;
    for frame in sent {
        bytes &= client.send(frame).await;
    }
    let (mut frames, lives) = said(&mut client).await;
    let reset = |frames: &[Frame], codes: &[u32]| {
        frames
            .iter()
            .any(|frame| frame.kind == RST_STREAM && (codes.is_empty() || codes.contains(&frame.code())))
    };
    let ends = |frames: &[Frame], codes: &[u32]| {
        let goaway = frames.iter().find(|frame| frame.kind == GOAWAY);
        !lives && goaway.is_none_or(|frame| codes.contains(&frame.code()))
    };
    let ok = match then {
        Ends(codes) => ends(&frames, codes),
        Resets(_) if lives && !reset(&frames, &[]) => {
            // A PING is answered before streams have their say.
            let late = client.until(RST_STREAM).await;
            late.is_some_and(|frame| matches!(then, Resets(codes) if codes.contains(&frame.code())))
        }
        Resets(codes) => (lives && reset(&frames, codes)) || ends(&frames, codes),
        GoesOn => lives && client.works(101).await,
        Refused if lives => {
            // Our own word may come a moment later.
            while !frames.iter().any(|frame| matches!(frame.kind, RST_STREAM | HEADERS)) {
                let Some(frame) = client.next().await else { break };
                frames.push(frame);
            }
            let status = frames.iter().find(|frame| frame.kind == HEADERS).map(Frame::status);
            reset(&frames, &[]) || status.is_some_and(|status| (400..502).contains(&status) && status != 404)
        }
        Refused => ends(&frames, &[PROTOCOL, COMPRESSION]),
    };
    if ok { Ok(()) } else { Err(format!("{then:?}: lives: {lives}, sent: {bytes}, {frames:?}")) }
}

#[tokio::test]
async fn rfc_9113_what_clients_may_not_send() {
    let origin = origin().await;
    let proxy = Proxy::passing(&origin).await;
    let mut bystander = Frames::connect(proxy.address).await;
    let mut wrong = Vec::new();
    for (at, (what, sent, then)) in cases().into_iter().enumerate() {
        if let Err(why) = check(&proxy, &sent, then).await {
            wrong.push(format!("{what}: {why}"));
        }
        if at % 20 == 0 {
            assert!(bystander.works(2 * at as u32 + 1).await, "another connection: {what}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn rfc_9113_3_4_settings_come_first() {
    let origin = origin().await;
    let proxy = Proxy::passing(&origin).await;
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, b""), get(1)] {
        let mut client = Frames::bare(proxy.address).await;
        client.raw(crate::support::frames::PREFACE).await;
        client.send(&first).await;
        assert_eq!(client.until(GOAWAY).await.unwrap().code(), PROTOCOL, "{first:?}");
        assert_eq!(client.next().await, None);
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn errors_of_streams_are_counted() {
    let origin = origin().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = Frames::connect(proxy.address).await;
    let fields: Vec<_> = request("GET", "/").into_iter().chain([("connection", "close")]).collect();
    for stream in [1, 3] {
        client.send(&Frame::headers(stream, END_STREAM, &fields)).await;
        assert_eq!(client.until(RST_STREAM).await.unwrap().code(), PROTOCOL);
    }
    assert!(client.works(5).await, "the connection goes on");
    let counted = || {
        let recent = proxy.instance.telemetry.recent(&proxy_stone::telemetry::Query::default());
        recent.iter().filter(|event| event.error == Some("http2_stream")).count() == 2
    };
    crate::support::until("both are counted", counted).await;
}

#[tokio::test]
async fn rfc_9113_3_4_prefaces_that_are_none() {
    let origin = origin().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = proxy.connect().await;
    client.say("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    let said = client.closed().await;
    assert!(said.starts_with(b"HTTP/1.1 505 "), "{said:?}");
    assert!(Frames::connect(proxy.address).await.works(1).await);
}

#[tokio::test]
async fn rfc_9113_6_8_a_drain_is_told_twice_and_lets_streams_finish() {
    let gate = crate::support::Gate::new();
    let pass = gate.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        pass.pass().await;
        call.answer(&Answer::ok("x")).await;
    })
    .await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = Frames::connect(proxy.address).await;
    client.get(1, "/").await;
    origin.hit(1).await;
    proxy.instance.drain();
    let first = client.until(GOAWAY).await.unwrap();
    assert_eq!((first.last_stream(), first.code()), (i32::MAX as u32, 0));
    let ping = client.until(PING).await.unwrap();
    // What was on its way is still taken.
    client.get(3, "/").await;
    client.send(&Frame::new(PING, ACK, 0, ping.payload)).await;
    let second = client.until(GOAWAY).await.unwrap();
    assert_eq!((second.last_stream(), second.code()), (3, 0));
    gate.open_for(2);
    for _ in 0..2 {
        assert_eq!(client.until(HEADERS).await.unwrap().status(), 200);
    }
    while client.next().await.is_some() {}
    assert_eq!(proxy.instance.drained(crate::support::PATIENCE).await, 0);
}
