//! What is said beforehand of slices and of stored parts is what happens: which are taken from the store, which bytes are
//! fetched, and what the reply says of itself.

use std::collections::BTreeMap;

use proxy_stone::pipeline::explain::{Explained, Verdict};

use super::explain::{explained, happened, word};
use super::partial::Object;
use crate::support::{Answer, Origin, Proxy, noon, pass, until};

const SLICE: u64 = 64 << 10;

/// As `Object` answers, and with a window in which it may be sent while it is refreshed.
async fn windowed(object: &Object) -> Origin {
    let object = object.clone();
    Origin::answering(move |request| {
        object.answer(request).field("Cache-Control", "stale-while-revalidate=30")
    })
    .await
}

/// `PROXY_STONE_SEED` tries other requests.
fn base() -> u64 {
    std::env::var("PROXY_STONE_SEED").map_or(0, |seed| seed.parse().expect("a number"))
}

fn requests(random: &mut fastrand::Rng, length: u64) -> (&'static str, Vec<String>) {
    let first = random.u64(..length);
    let last = first + random.u64(..length / 3);
    let range = match random.u8(..12) {
        0..6 => Some(format!("Range: bytes={first}-{last}")),
        6 => Some(format!("Range: bytes={first}-")),
        7 => Some(format!("Range: bytes=-{}", random.u64(1..length))),
        8 => Some(format!("Range: bytes={}-", length + random.u64(..1000))),
        _ => None,
    };
    let more = match random.u8(..16) {
        0 => Some("If-None-Match: \"v1\""),
        1 => Some("If-Range: \"v1\""),
        2 => Some("If-Range: \"other\""),
        3 => Some("Cache-Control: no-cache"),
        4 => Some("Cache-Control: only-if-cached"),
        5 => Some("Cache-Control: no-store"),
        6 => Some("If-Match: \"v1\""),
        _ => None,
    };
    let method = if random.u8(..12) == 0 { "HEAD" } else { "GET" };
    (method, range.into_iter().chain(more.map(str::to_owned)).collect())
}

#[tokio::test]
async fn what_is_said_of_slices_is_what_happens() {
    let mut seen = BTreeMap::<_, usize>::new();
    for (seed, length) in [(1, 20 * SLICE + 777), (2, 6 * SLICE), (3, SLICE / 2)] {
        let object = Object::of(length as usize);
        let origin = windowed(&object).await;
        let clock = noon();
        let config = format!("upstream = \"{}\"\ncache = {{ slice = \"64KiB\" }}", origin.url());
        let proxy = Proxy::of(config).clock(&clock).start().await;
        let mut random = fastrand::Rng::with_seed(base() + seed);
        for step in 0..150 {
            if random.u8(..6) == 0 {
                pass(&clock, random.u64(5..70));
            }
            let (method, fields) = requests(&mut random, length);
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let before = explained(&proxy, method, "/", &fields).await.unwrap();
            let hits = origin.hits();
            let reply = proxy.ask(method, "/", &fields, "").await;
            until("fetches end", || proxy.instance.proxy.flights() == 0).await;
            let asked = (origin.hits() - hits) as u64;
            let told =
                format!("{length}, {step}: {method} {fields:?}: {} {}", reply.status, reply.cache_status());
            *seen.entry(word(Some(before.verdict))).or_default() += 1;
            agree(&before, happened(&reply), reply.body.len() as u64, asked, method, &told);
        }
    }
    for verdict in ["hit", "stale", "validate", "miss", "refused"] {
        assert!(seen.get(verdict).is_some_and(|times| *times > 3), "{verdict} was not said: {seen:?}");
    }
}

fn agree(before: &Explained, happened: &str, bytes: u64, asked: u64, method: &str, told: &str) {
    let verdict = word(Some(before.verdict));
    let Some(slices) = &before.slices else {
        let same = verdict == happened || verdict == "validate" && happened == "miss";
        assert!(same, "said {verdict}, happened {happened}: {told}");
        return;
    };
    // The reply tells of the slice that it begins with: its head is sent before the others are looked at.
    let first = word(Some(slices.first_verdict));
    let same = first == happened || first == "validate" && happened == "miss";
    assert!(same, "said {first} of the first slice, happened {happened}: {told}");
    let Some(wanted) = &slices.asked else { return };
    // What is stale is refreshed behind the reply.
    assert_eq!(asked, wanted.fetched + wanted.validated + wanted.stale, "{wanted:?}: {told}");
    assert_eq!(matches!(before.verdict, Verdict::Hit), asked == 0, "said {verdict}: {told}");
    if method == "GET" {
        assert_eq!(bytes, wanted.bytes.iter().map(|bytes| bytes.end - bytes.start).sum::<u64>(), "{told}");
    }
}

#[tokio::test]
async fn what_a_request_takes_with_and_without_its_range_is_told() {
    let object = Object::of((10 * SLICE + 5) as usize);
    let origin = object.origin().await;
    let config = format!("upstream = \"{}\"\ncache = {{ slice = \"64KiB\" }}", origin.url());
    let proxy = Proxy::of(config).on_disk().start().await;
    let nothing = explained(&proxy, "GET", "/", &[]).await.unwrap().slices.unwrap();
    assert!(nothing.stored.is_empty() && nothing.asked.is_none() && nothing.length.is_none());
    proxy.ask("GET", "/", &["Range: bytes=200000-300000"], "").await;
    proxy.stored(2).await;
    proxy.written().await;
    let told = explained(&proxy, "GET", "/", &["Range: bytes=210000-400000"]).await.unwrap();
    let slices = told.slices.unwrap();
    let numbers: Vec<_> = slices.stored.iter().map(|slice| slice.number).collect();
    assert_eq!((numbers, slices.length), (vec![3, 4], Some(10 * SLICE + 5)));
    let (asked, whole) = (slices.asked.unwrap(), slices.whole.unwrap());
    assert_eq!((asked.slices, asked.fresh, asked.fetches.len()), (4, 2, 1));
    assert_eq!(asked.fetches[0], 5 * SLICE..7 * SLICE);
    assert_eq!((whole.slices, whole.fetched), (11, 9));
    assert_eq!(whole.fetches, [0..3 * SLICE, 5 * SLICE..10 * SLICE + 5]);
    // Of the suffix the length is not known before the first slice is there.
    let suffix = explained(&proxy, "GET", "/", &["Range: bytes=-5"]).await.unwrap();
    assert!(matches!(suffix.verdict, Verdict::Miss(_)), "{:?}", suffix.verdict);
    assert_eq!(suffix.slices.unwrap().asked.unwrap().fetched, 2);
    assert_eq!(origin.hits(), 2, "nothing of all this asked the origin");
}

#[tokio::test]
async fn a_range_beyond_the_end_does_not_end_the_slices() {
    let object = Object::of((3 * SLICE) as usize);
    let origin = object.origin().await;
    let config = format!("upstream = \"{}\"\ncache = {{ slice = \"64KiB\" }}", origin.url());
    let proxy = Proxy::of(config).start().await;
    let beyond = proxy.ask("GET", "/", &["Range: bytes=999999-"], "").await;
    assert_eq!(beyond.status, 416);
    let told = explained(&proxy, "GET", "/", &["Range: bytes=0-9"]).await.unwrap();
    assert!(told.plain_until.is_none() && told.slices.is_some());
    let before = object.sent();
    assert_eq!(proxy.ask("GET", "/", &["Range: bytes=0-9"], "").await.body, object.body.slice(..10));
    until("fetches end", || proxy.instance.proxy.flights() == 0).await;
    assert_eq!(object.sent() - before, SLICE);
}

#[tokio::test]
async fn an_origin_without_ranges_and_slices_of_two_representations_are_told() {
    let plain = Origin::answering(|_| Answer::ok("whole").field("Cache-Control", "no-store")).await;
    let config =
        |origin: &Origin| format!("upstream = \"{}\"\ncache = {{ slice = \"64KiB\" }}", origin.url());
    let proxy = Proxy::of(config(&plain)).start().await;
    proxy.get("/").await;
    let told = explained(&proxy, "GET", "/", &[]).await.unwrap();
    assert!(told.plain_until.is_some() && told.slices.is_none(), "{told:?}");

    let object = Object::of((3 * SLICE) as usize);
    let (one, other) = (object.clone(), Object { tag: "\"v2\"", ..object.clone() });
    let origin = Origin::answering(move |request| {
        let second = request.fields.get("range").is_some_and(|range| range.starts_with("bytes=65536-"));
        if second { other.answer(request) } else { one.answer(request) }
    })
    .await;
    let proxy = Proxy::of(config(&origin)).start().await;
    for range in ["Range: bytes=0-9", "Range: bytes=65536-65540"] {
        proxy.ask("GET", "/", &[range], "").await;
        until("fetches end", || proxy.instance.proxy.flights() == 0).await;
    }
    let told = explained(&proxy, "GET", "/", &[]).await.unwrap();
    let wanted = told.slices.unwrap().asked.unwrap();
    assert_eq!((wanted.cut_at, wanted.fresh, wanted.fetched), (Some(SLICE), 2, 1));
    let reply = proxy.get("/").await;
    assert!(!reply.whole && reply.body.len() as u64 == SLICE, "{}", reply.body.len());
}

#[tokio::test]
async fn what_is_said_of_stored_parts_is_what_happens() {
    let mut seen = BTreeMap::<_, usize>::new();
    for seed in base()..base() + 4 {
        let object = Object::of(50_000);
        let origin = object.origin().await;
        let clock = noon();
        let proxy = Proxy::of(format!("upstream = \"{}\"", origin.url())).clock(&clock).start().await;
        let mut random = fastrand::Rng::with_seed(seed);
        for step in 0..80 {
            if random.u8(..10) == 0 {
                pass(&clock, random.u64(5..70));
            }
            let (method, mut fields) = requests(&mut random, 50_000);
            if random.u8(..8) > 0 && fields.iter().all(|field| !field.starts_with("Range")) {
                // The whole, early, would leave nothing to be found out.
                fields.push("Range: bytes=100-200".to_owned());
            }
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let before = explained(&proxy, method, "/", &fields).await.unwrap();
            let (hits, sent) = (origin.hits(), object.sent());
            let reply = proxy.ask(method, "/", &fields, "").await;
            until("fetches end", || proxy.instance.proxy.flights() == 0).await;
            let (said, happened) = (word(Some(before.verdict)), happened(&reply));
            let told =
                format!("{seed}, {step}: {method} {fields:?}: {} {}", reply.status, reply.cache_status());
            let same = said == happened || said == "validate" && happened == "miss";
            assert!(same, "said {said}, happened {happened}: {told}");
            assert_eq!(matches!(said, "hit" | "refused"), origin.hits() == hits, "said {said}: {told}");
            if let Some(missing) = &before.missing {
                let gap = missing.gap.end - missing.gap.start;
                assert_eq!(object.sent() - sent, gap, "{missing:?}: {told}");
                *seen.entry("gap").or_default() += 1;
            }
            *seen.entry(said).or_default() += 1;
        }
    }
    for verdict in ["hit", "validate", "miss", "gap"] {
        assert!(seen.contains_key(verdict), "{verdict} was not said: {seen:?}");
    }
}
