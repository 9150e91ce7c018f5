//! What an entry takes in RAM, beside what it is accounted for. `cargo test --lib store::footprint -- --ignored
//! --nocapture`, with `PROXY_STONE_ENTRIES` for another number than 200 000.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::journeys::{lookup, new};
use super::*;
use crate::cache::Settings;
use crate::cache::spool::SpooledBody;
use crate::clock::Clock;

/// Fields as an API's reply has them, each a slice of what was read from the connection.
fn fields(number: u64) -> HeaderMap {
    let etag = format!("\"{number:x}-5f3e\"");
    let id = format!("{number:032x}");
    let all = [
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "public, max-age=300, stale-while-revalidate=60"),
        ("date", "Sun, 06 Nov 2024 08:49:37 GMT"),
        ("last-modified", "Sun, 06 Nov 2024 08:00:00 GMT"),
        ("etag", &etag),
        ("vary", "Accept-Encoding"),
        ("server", "nginx"),
        ("content-length", "512"),
        ("x-request-id", &id),
        ("x-ratelimit-remaining", "4999"),
    ];
    let mut read = vec![b' '; 8 << 10];
    let mut at = 0;
    for (_, value) in all {
        read[at..at + value.len()].copy_from_slice(value.as_bytes());
        at += value.len();
    }
    let read = Bytes::from(read);
    let mut headers = HeaderMap::new();
    let mut at = 0;
    for (name, value) in all {
        let slice = read.slice(at..at + value.len());
        at += value.len();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_maybe_shared(slice).unwrap());
    }
    headers
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn fill(cache: &Cache, entries: u64) {
    for number in 0..entries {
        let mut new = new(&format!("/v1/users/{number}/profile?fields=all"), cache.sequence());
        new.head.headers = fields(number);
        cache.insert(new, SpooledBody::from_bytes(vec![b'x'; 512].into()));
    }
}

#[tokio::test]
#[ignore = "a measurement, alone in its process"]
async fn memory_per_entry() {
    let entries = std::env::var("PROXY_STONE_ENTRIES").map_or(200_000, |number| number.parse().unwrap());
    let settings = Settings { memory: 16 << 30, min_free: 0, ..Settings::default() };
    let before = resident();
    let cache = Cache::in_memory(settings, Clock::System).unwrap();
    fill(&cache, entries);
    // Every entry is hit once, as a reply copies it.
    let mut sum = 0;
    for number in 0..entries {
        let found = lookup(&cache, &format!("/v1/users/{number}/profile?fields=all")).unwrap();
        sum += found.variants[0].head.headers.clone().len();
    }
    assert_eq!(sum as u64, entries * 10);
    let stats = cache.stats();
    assert_eq!(stats.memory_resources, entries);
    let (accounted, taken) = (stats.memory_bytes / entries, (resident() - before) / entries);
    println!(
        "{entries} entries of 512 bytes and 10 fields: {accounted} bytes accounted, {taken} resident each"
    );
    assert!(taken <= accounted * 5 / 4, "what is accounted is what is taken, but for a quarter");
}
