//! HTTP/2 clients that keep the proxy busy with nothing: their connection ends with ENHANCE_YOUR_CALM, which is counted,
//! and the others go on.

use crate::support::frames::{
    CONTINUATION, DATA, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, request,
};
use crate::support::{Answer, Call, Origin, Proxy};

const CALM: u32 = 11;

async fn waiting() -> Origin {
    Origin::start(async |call: &mut Call| match call.target() {
        "/slow" => call.gone().await,
        _ => call.answer(&Answer::ok("x")).await,
    })
    .await
}

fn slow(stream: u32) -> Frame {
    Frame::headers(stream, END_STREAM, &request("GET", "/slow"))
}

/// Sends until the proxy has had enough; its last word.
async fn flood(proxy: &Proxy, opening: &[Frame], mut next: impl FnMut(u32) -> Vec<Frame>) -> Option<Frame> {
    let mut client = Frames::connect(proxy.address).await;
    for frame in opening {
        client.send(frame).await;
    }
    for nth in 0..60_000 {
        let frames: Vec<Frame> = next(nth);
        let mut ok = true;
        for frame in &frames {
            ok &= client.send(frame).await;
        }
        if !ok {
            break;
        }
        if nth % 50 == 49
            && let Some(goaway) = client.pending(GOAWAY).await
        {
            return goaway;
        }
    }
    client.until(GOAWAY).await
}

/// Floods, and looks at what comes of it.
async fn calmed(what: &str, reason: &str, opening: &[Frame], next: impl FnMut(u32) -> Vec<Frame>) {
    let origin = waiting().await;
    let proxy = Proxy::passing(&origin).await;
    let mut bystander = Frames::connect(proxy.address).await;
    assert!(bystander.works(1).await);
    let goaway = flood(&proxy, opening, next).await;
    assert_eq!(goaway.as_ref().map(Frame::code), Some(CALM), "{what}: {goaway:?}");
    assert!(bystander.works(3).await, "{what}");
    let told = || {
        let recent = proxy.instance.telemetry.recent(&proxy_stone::telemetry::Query::default());
        // h2 has bounds of its own, which may be reached first.
        let reasons = [Some(reason), Some("http2_violation")];
        recent.iter().any(|finished| reasons.contains(&finished.error))
    };
    crate::support::until("the flood is told", told).await;
}

#[tokio::test]
async fn cve_2023_44487_rapid_resets() {
    calmed("resets", "http2_resets", &[], |nth| {
        let stream = 2 * nth + 1;
        vec![slow(stream), Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8])]
    })
    .await;
}

#[tokio::test]
async fn cve_2025_8671_resets_that_the_client_makes_us_send() {
    calmed("made resets", "http2_violation", &[], |nth| {
        let stream = 2 * nth + 1;
        let [method, scheme, authority, path] = request("POST", "/slow");
        let head = Frame::headers(stream, 0, &[method, scheme, authority, path, ("content-length", "1")]);
        // More than was promised is an error of the stream, which is ours to reset.
        vec![head, Frame::new(DATA, 0, stream, *b"more")]
    })
    .await;
}

#[tokio::test]
async fn frames_that_carry_nothing() {
    let head = |stream| Frame::headers(stream, 0, &request("POST", "/slow"));
    let floods: &[(&str, Vec<Frame>, Frame)] = &[
        ("pings", vec![], Frame::new(PING, 0, 0, [0; 8])),
        ("settings", vec![], Frame::new(SETTINGS, 0, 0, [0, 4, 0, 0, 0xff, 0xff])),
        ("priorities", vec![], Frame::new(PRIORITY, 0, 1, [0, 0, 0, 0, 1])),
        ("window updates", vec![head(1)], Frame::new(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
        ("empty DATA", vec![head(1)], Frame::new(DATA, 0, 1, [])),
        ("unknown frames", vec![], Frame::new(0xee, 0, 0, [0; 4])),
    ];
    for (what, opening, frame) in floods {
        calmed(what, "http2_flood", opening, |_| vec![frame.clone()]).await;
    }
}

#[tokio::test]
async fn field_blocks_without_end() {
    let head = block(&request("GET", "/"));
    let opening = [Frame::new(HEADERS, END_STREAM, 1, head)];
    calmed("CONTINUATION", "http2_violation", &opening, |_| {
        vec![Frame::new(CONTINUATION, 0, 1, block(&[("x", "y")]))]
    })
    .await;
}

/// RFC 7541 6: one entry of the table, named again and again.
#[tokio::test]
async fn hpack_bombs_are_not_unpacked() {
    let origin = waiting().await;
    let proxy = Proxy::passing(&origin).await;
    let mut client = Frames::connect(proxy.address).await;
    let mut bomb = block(&request("GET", "/"));
    // A literal that is kept: 4,000 bytes at index 62.
    bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    bomb.extend(vec![b'y'; 127 + 0x21 + 0x1e * 128]);
    bomb.extend(vec![0xbe; 12_000]);
    client.send(&Frame::new(HEADERS, 5, 1, bomb)).await;
    let ended = loop {
        match client.next().await {
            None => break true,
            Some(frame) if frame.kind == GOAWAY => break frame.code() == CALM,
            Some(frame) if frame.kind == HEADERS => break frame.status() == 431,
            Some(_) => {}
        }
    };
    assert!(ended);
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn clients_that_cancel_much_and_read_more_are_left_alone() {
    let origin = waiting().await;
    let proxy = Proxy::of(format!(
        "upstream = \"{}\"\ncache = false\n[server]\nhttp2 = {{ max_resets = 20 }}",
        origin.url()
    ));
    let proxy = proxy.start().await;
    let mut client = Frames::connect(proxy.address).await;
    for nth in 0..100 {
        assert!(client.works(4 * nth + 1).await, "{nth}");
        let stream = 4 * nth + 3;
        client.send(&slow(stream)).await;
        client.send(&Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8])).await;
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let origin = waiting().await;
    let proxy = Proxy::of(format!(
        "upstream = \"{}\"\ncache = false\n[server]\nhttp2 = {{ max_streams = 3 }}",
        origin.url()
    ));
    let proxy = proxy.start().await;
    let mut client = Frames::connect(proxy.address).await;
    let settings = client.until(SETTINGS).await.unwrap();
    assert!(settings.payload.windows(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "{settings:?}");
    for stream in [1, 3, 5, 7] {
        client.send(&slow(stream)).await;
    }
    let refused = client.until(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (7, 7));
    client.send(&Frame::new(RST_STREAM, 0, 1, [0, 0, 0, 8])).await;
    assert!(client.works(9).await);
}
