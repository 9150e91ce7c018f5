//! Parts: stored, combined, completed and answered from, against an origin that serves ranges of a known object.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use crate::support::{Answer, Call, Gate, Head, Origin, Proxy, Reply, numbered, waiting, within};

/// An object that an origin serves, with its tag.
#[derive(Clone)]
pub struct Object {
    pub body: Bytes,
    pub tag: &'static str,
    /// Bytes of bodies that the origin has sent.
    pub sent: Arc<AtomicU64>,
}

impl Object {
    pub fn of(length: usize) -> Self {
        Self { body: numbered(length), tag: "\"v1\"", sent: Arc::default() }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// As RFC 9110 asks of an origin.
    pub fn answer(&self, request: &Head) -> Answer {
        let fields = &request.fields;
        let tagged = |answer: Answer| answer.field("ETag", self.tag).field("Cache-Control", "max-age=60");
        if fields.get("if-none-match").is_some_and(|tags| tags.contains(self.tag)) {
            return tagged(Answer::new(304));
        }
        let length = self.body.len();
        let range = fields.get("range").filter(|_| fields.get("if-range").is_none_or(|tag| tag == self.tag));
        let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        else {
            self.sent.fetch_add(length as u64, Relaxed);
            return tagged(Answer::ok(self.body.clone()));
        };
        let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, last.min(length - 1)),
            (Ok(first), Err(_)) => (first, length - 1),
            (Err(_), Ok(suffix)) => (length - suffix.min(length), length - 1),
            _ => panic!("not a range: {range:?}"),
        };
        if first >= length {
            return Answer::new(416).field("Content-Range", format!("bytes */{length}"));
        }
        self.sent.fetch_add((last + 1 - first) as u64, Relaxed);
        tagged(Answer::new(206).body(self.body.slice(first..=last)))
            .field("Content-Range", format!("bytes {first}-{last}/{length}"))
    }

    pub async fn origin(&self) -> Origin {
        let object = self.clone();
        Origin::answering(move |request| object.answer(request)).await
    }
}

async fn ask(proxy: &Proxy, range: &str) -> Reply {
    proxy.ask("GET", "/", &[&format!("Range: bytes={range}")], "").await
}

/// In RAM, on disk alone, and in both.
async fn tiers(origin: &Origin) -> Vec<Proxy> {
    let config = |more: &str| format!("upstream = \"{}\"{more}", origin.url());
    vec![
        Proxy::of(config("")).start().await,
        Proxy::of(config("\n[store]\nmemory = \"1B\"")).on_disk().start().await,
        Proxy::of(config("")).on_disk().start().await,
    ]
}

#[tokio::test]
async fn random_ranges_never_yield_a_wrong_byte_nor_ask_for_one_twice_too_often() {
    for length in [1000, 300_000] {
        let object = Object::of(length);
        let origin = object.origin().await;
        for proxy in tiers(&origin).await {
            let mut random = fastrand::Rng::with_seed(length as u64);
            for _ in 0..120 {
                let first = random.usize(..length);
                let last = (first + random.usize(..length / 8)).min(length - 1);
                let (range, expected) = match random.u8(..10) {
                    0 => (format!("-{}", length - first), object.body.slice(first..)),
                    1 => (format!("{first}-"), object.body.slice(first..)),
                    2 => (String::new(), object.body.clone()),
                    _ => (format!("{first}-{last}"), object.body.slice(first..=last)),
                };
                let reply = match range.is_empty() {
                    // The whole, at the end, would leave nothing to be found out.
                    true if random.u8(..10) > 0 => continue,
                    true => proxy.get("/").await,
                    false => ask(&proxy, &range).await,
                };
                assert!(
                    reply.whole && reply.body == expected,
                    "{range} of {length}: {}",
                    reply.cache_status()
                );
                assert_eq!(reply.status, if range.is_empty() { 200 } else { 206 });
                if random.u8(..8) == 0 {
                    proxy.written().await;
                }
            }
            proxy.close().await;
        }
    }
}

#[tokio::test]
async fn a_whole_is_completed_with_no_more_than_what_is_missing() {
    for length in [1000, 400_000] {
        let object = Object::of(length);
        let origin = object.origin().await;
        for proxy in tiers(&origin).await {
            let before = object.sent();
            let half = length / 2;
            assert!(ask(&proxy, &format!("0-{}", half - 1)).await.body == object.body.slice(..half));
            proxy.stored(1).await;
            proxy.written().await;
            let whole = proxy.get("/").await;
            assert_eq!((whole.status, whole.field("content-range")), (200, None));
            assert_eq!(whole.field("content-length"), Some(length.to_string().as_str()));
            assert!(whole.whole && whole.body == object.body, "{}", whole.cache_status());
            assert_eq!(whole.cache_status(), "proxy-stone; fwd=partial; fwd-status=206; stored");
            assert_eq!(origin.last().fields.get("range"), Some(format!("bytes={half}-").as_str()));
            assert_eq!(object.sent() - before, length as u64, "each byte was sent once");
            proxy.stored(2).await;
            let again = proxy.get("/").await;
            assert!(again.body == object.body && again.cache_status().starts_with("proxy-stone; hit"));
        }
    }
}

#[tokio::test]
async fn what_a_part_needs_at_both_ends_comes_in_one_piece() {
    let object = Object::of(10_000);
    let origin = object.origin().await;
    let proxy = Proxy::caching(&origin).await;
    ask(&proxy, "4000-5999").await;
    proxy.stored(1).await;
    let over = ask(&proxy, "3000-4999").await;
    assert!(over.status == 206 && over.body == object.body.slice(3000..5000));
    assert_eq!(origin.last().fields.get("range"), Some("bytes=3000-3999"));
    let whole = proxy.get("/").await;
    assert!(whole.status == 200 && whole.body == object.body);
    assert_eq!(origin.last().fields.get("range"), Some("bytes=0-"));
}

#[tokio::test]
async fn several_ranges_come_as_multipart_with_an_exact_length() {
    let object = Object::of(200_000);
    let origin = object.origin().await;
    for proxy in tiers(&origin).await {
        // From the whole, and from two parts.
        for target in ["/whole", "/parts"] {
            let ask =
                async |range: &str| proxy.ask("GET", target, &[&format!("Range: bytes={range}")], "").await;
            match target {
                "/whole" => {
                    proxy.get(target).await;
                    proxy.stored(1).await;
                }
                _ => {
                    ask("0-99999").await;
                    ask("100000-149999").await;
                    proxy.stored(3).await;
                }
            }
            let ranges = [(0, 1), (99_000, 101_000), (5, 5)];
            let hits = origin.hits();
            let reply = ask("0-1,99000-101000,5-5").await;
            assert_eq!((reply.status, origin.hits()), (206, hits), "{target}: {}", reply.cache_status());
            assert_eq!(reply.field("content-length"), Some(reply.body.len().to_string().as_str()));
            let kind = reply.field("content-type").expect("a type");
            let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
            let mut expected = Vec::new();
            for (at, (first, last)) in ranges.into_iter().enumerate() {
                let start = if at == 0 { "--" } else { "\r\n--" };
                let head = format!("{start}{boundary}\r\nContent-Range: bytes {first}-{last}/200000\r\n\r\n");
                expected.extend_from_slice(head.as_bytes());
                expected.extend_from_slice(&object.body[first..=last]);
            }
            expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            assert!(reply.whole && reply.body == expected, "{target}");
        }
    }
}

#[tokio::test]
async fn parts_survive_a_restart_and_their_purge_does_not_fail() {
    let object = Object::of(50_000);
    let origin = object.origin().await;
    let config = format!("upstream = \"{}\"", origin.url());
    let proxy = Proxy::of(config.clone()).on_disk().start().await;
    ask(&proxy, "0-29999").await;
    ask(&proxy, "30000-30010").await;
    proxy.stored(2).await;
    proxy.close().await;
    let proxy = Proxy::of(config).on_disk_of(&proxy).start().await;
    let reply = ask(&proxy, "29990-30009").await;
    assert!(reply.body == object.body.slice(29_990..30_010), "{}", reply.cache_status());
    assert_eq!(origin.hits(), 2);
    let all = proxy_stone::cache::purge::Criterion::All;
    within(proxy.instance.cache.purge(all, false)).await.expect("purged");
    ask(&proxy, "0-9").await;
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn the_same_range_is_fetched_once_and_others_do_not_wait_for_it() {
    let object = Object::of(10_000);
    let (gate, served) = (Gate::new(), object.clone());
    let (opened, waits) = (gate.clone(), "bytes=0-99");
    let origin = Origin::start(async move |call: &mut Call| {
        if call.request.fields.get("range") == Some(waits) {
            opened.pass().await;
        }
        call.answer(&served.answer(&call.request)).await;
    })
    .await;
    let proxy = Arc::new(Proxy::caching(&origin).await);
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let proxy = proxy.clone();
            tokio::spawn(async move { ask(&proxy, "0-99").await })
        })
        .collect();
    origin.hit(1).await;
    assert_eq!(ask(&proxy, "200-299").await.status, 206);
    assert_eq!(origin.hits(), 2);
    waiting(&proxy, 4).await;
    gate.open();
    let mut collapsed = 0;
    for reply in slow {
        let reply = reply.await.unwrap();
        assert!(reply.status == 206 && reply.body == object.body.slice(..100));
        assert_eq!(reply.field("content-range"), Some("bytes 0-99/10000"));
        collapsed += usize::from(reply.cache_status().contains("collapsed"));
    }
    assert_eq!(origin.requests().iter().filter(|head| head.fields.get("range") == Some(waits)).count(), 1);
    assert!(collapsed > 0);
}

#[tokio::test]
async fn a_part_that_broke_off_is_not_stored() {
    let object = Object::of(10_000);
    let served = object.clone();
    let origin = Origin::start(async move |call: &mut Call| {
        if call.nth > 1 {
            return call.answer(&served.answer(&call.request)).await;
        }
        let head = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-99/10000\r\nContent-Length: 100\r\n";
        call.say(format!("{head}ETag: \"v1\"\r\nCache-Control: max-age=60\r\n\r\nshort")).await;
        call.cut();
    })
    .await;
    let proxy = Proxy::caching(&origin).await;
    assert!(!ask(&proxy, "0-99").await.whole);
    assert!(ask(&proxy, "0-3").await.body == object.body.slice(..4));
    assert_eq!(origin.hits(), 2);
}
