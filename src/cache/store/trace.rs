//! How well both tiers keep what is hot: a Zipf trace with a crawl in its middle, through the real [`Cache`],
//! beside simulations of LRU and LFU with as many places.
//!
//! `cargo test --release --lib store::trace -- --ignored --nocapture` prints the table of the full size, with
//! `PROXY_STONE_TRACE_PART=10` that of a tenth of everything.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::journeys::{lookup, new, settled, store};
use super::*;
use crate::cache::Settings;
use crate::clock::Clock;

/// A trace: requests that follow Zipf's law, and a crawl of URLs that come once, mixed into the second quarter.
#[derive(Clone, Copy)]
struct Trace {
    keys: usize,
    places: usize,
    requests: usize,
    scan: usize,
}

const QUICK: Trace = Trace { keys: 2_000, places: 200, requests: 6_000, scan: 6_000 };
const FULL: Trace = Trace { keys: 200_000, places: 20_000, requests: 800_000, scan: 1_000_000 };

enum Asked {
    Popular(usize),
    Once(usize),
}

/// Draws ranks with a probability of one over the rank (Zipf's law with exponent 0.9).
struct Zipf {
    cumulative: Vec<f64>,
    random: fastrand::Rng,
}

impl Zipf {
    fn new(keys: usize) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=keys)
            .map(|rank| {
                sum += (rank as f64).powf(-0.9);
                sum
            })
            .collect();
        Self { cumulative, random: fastrand::Rng::with_seed(4) }
    }

    fn draw(&mut self) -> usize {
        let last = self.cumulative.last().copied().unwrap_or(1.0);
        let at = self.random.f64() * last;
        self.cumulative.partition_point(|sum| *sum < at).min(self.cumulative.len() - 1)
    }
}

impl Trace {
    /// The requests of one quarter.
    fn quarter(self, number: usize) -> Range<usize> {
        self.requests / 4 * number..self.requests / 4 * (number + 1)
    }

    fn asked(self) -> impl Iterator<Item = Asked> {
        let mut zipf = Zipf::new(self.keys);
        let crawl = self.quarter(1);
        let (mut crawled, mut crawling) = (0, 0.0);
        (0..self.requests).flat_map(move |number| {
            if crawl.contains(&number) {
                crawling += self.scan as f64 / crawl.len() as f64;
            }
            let from = crawled;
            crawled = crawling as usize;
            (from..crawled).map(Asked::Once).chain([Asked::Popular(zipf.draw())])
        })
    }
}

/// Something that keeps what it is asked for.
trait Places {
    async fn has(&mut self, asked: &Asked) -> bool;
    async fn keep(&mut self, asked: &Asked);
}

/// Hits of popular requests, by the quarter of the trace.
async fn run(trace: Trace, mut places: impl Places) -> [f64; 4] {
    let mut hits = [0_usize; 4];
    let mut popular = 0;
    for asked in trace.asked() {
        let hit = places.has(&asked).await;
        if !hit {
            places.keep(&asked).await;
        }
        if matches!(asked, Asked::Popular(_)) {
            hits[(popular * 4 / trace.requests).min(3)] += usize::from(hit);
            popular += 1;
        }
    }
    hits.map(|hits| hits as f64 / (trace.requests / 4) as f64)
}

/// LRU where every count is the same, LFU otherwise: what goes is the least, then the longest ago.
struct Simulated {
    counts: bool,
    places: usize,
    clock: u64,
    known: HashMap<usize, (u64, u64)>,
    order: BTreeSet<(u64, u64, usize)>,
}

impl Simulated {
    fn new(counts: bool, places: usize) -> Self {
        Self { counts, places, clock: 0, known: HashMap::new(), order: BTreeSet::new() }
    }

    fn number(asked: &Asked) -> usize {
        match asked {
            Asked::Popular(rank) => *rank,
            Asked::Once(number) => usize::MAX / 2 + number,
        }
    }

    fn set(&mut self, key: usize, count: u64) {
        self.clock += 1;
        self.known.insert(key, (count, self.clock));
        self.order.insert((count, self.clock, key));
    }
}

impl Places for Simulated {
    async fn has(&mut self, asked: &Asked) -> bool {
        let key = Self::number(asked);
        let Some((count, at)) = self.known.get(&key).copied() else { return false };
        self.order.remove(&(count, at, key));
        self.set(key, count + u64::from(self.counts));
        true
    }

    async fn keep(&mut self, asked: &Asked) {
        self.set(Self::number(asked), 0);
        if self.known.len() > self.places
            && let Some((_, _, coldest)) = self.order.pop_first()
        {
            self.known.remove(&coldest);
        }
    }
}

/// The real cache; `in_memory` says which tier has the places.
struct Real {
    cache: std::sync::Arc<Cache>,
    on_disk: bool,
}

impl Real {
    async fn in_memory(places: usize) -> Self {
        let cache = Cache::in_memory(Settings::default(), Clock::System).unwrap();
        store(&cache, new(&target(&Asked::Popular(0)), 0), BODY).await;
        let each = cache.stats().memory_bytes;
        drop(cache);
        let memory = each * places as u64;
        Self {
            cache: Cache::in_memory(Settings { memory, ..Settings::default() }, Clock::System).unwrap(),
            on_disk: false,
        }
    }

    async fn on_disk(places: usize, dir: &Path) -> Self {
        // RAM for next to nothing.
        let settings =
            Settings { memory: 64 << 10, max_entries: places as u64, min_free: 0, ..Settings::default() };
        let cache = Cache::open(settings, Some(dir.to_owned()), Clock::System).unwrap();
        assert_eq!(cache.wait_open().await, State::Open);
        Self { cache, on_disk: true }
    }
}

const BODY: &[u8] = &[b'x'; 1000];

fn target(asked: &Asked) -> String {
    match asked {
        Asked::Popular(rank) => format!("/popular/{rank:08}"),
        Asked::Once(number) => format!("/crawled/{number:08}"),
    }
}

impl Places for Real {
    async fn has(&mut self, asked: &Asked) -> bool {
        lookup(&self.cache, &target(asked)).is_some()
    }

    async fn keep(&mut self, asked: &Asked) {
        let new = new(&target(asked), self.cache.sequence());
        let body = crate::cache::spool::SpooledBody::from_bytes(Bytes::from_static(BODY));
        self.cache.insert(new, body);
        // A queue that is never long: every entry gets to the disk, and what is over goes.
        if self.on_disk && self.cache.stats().queue_depth > 256 {
            settled(&self.cache).await;
        }
    }
}

fn row(name: &str, scan: [f64; 4], without: [f64; 4]) -> String {
    let percent = |ratio: f64| format!("{:>9.1}", ratio * 100.0);
    let mut row = format!("{name:<12}");
    scan.into_iter().for_each(|ratio| row += &percent(ratio));
    row += &percent(without[3]);
    row
}

/// Prints the table and hands back ours in RAM, ours on disk, LRU.
async fn table(trace: Trace) -> [[f64; 4]; 3] {
    let calm = Trace { scan: 0, ..trace };
    println!(
        "{} keys, {} places, {} requests, {} crawled\n{:<12}{:>9}{:>9}{:>9}{:>9}{:>9}",
        trace.keys,
        trace.places,
        trace.requests,
        trace.scan,
        "hits in %",
        "before",
        "crawl",
        "after",
        "later",
        "no crawl"
    );
    let memory = run(trace, Real::in_memory(trace.places).await).await;
    println!("{}", row("RAM", memory, run(calm, Real::in_memory(trace.places).await).await));
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disk = run(trace, Real::on_disk(trace.places, first.path()).await).await;
    println!("{}", row("disk", disk, run(calm, Real::on_disk(trace.places, second.path()).await).await));
    let lru = run(trace, Simulated::new(false, trace.places)).await;
    println!("{}", row("LRU", lru, run(calm, Simulated::new(false, trace.places)).await));
    let lfu = run(trace, Simulated::new(true, trace.places)).await;
    println!("{}", row("LFU", lfu, run(calm, Simulated::new(true, trace.places)).await));
    [memory, disk, lru]
}

#[tokio::test]
async fn a_crawl_does_not_flush_what_is_hot() {
    let [memory, disk, lru] = table(QUICK).await;
    for (name, ours) in [("RAM", memory), ("disk", disk)] {
        assert!(ours[1] > lru[1] + 0.1, "{name}: while it is crawled");
        assert!(ours[1] > ours[0] * 0.85, "{name}: nearly as before");
        assert!(ours[2] > lru[2] && ours[3] > lru[3], "{name}: afterwards");
    }
}

#[tokio::test]
#[ignore = "minutes; prints the table that ARCHITECTURE.md cites"]
async fn a_crawl_of_a_million_urls() {
    let part = std::env::var("PROXY_STONE_TRACE_PART").map_or(1, |part| part.parse().unwrap());
    let Trace { keys, places, requests, scan } = FULL;
    let part =
        Trace { keys: keys / part, places: places / part, requests: requests / part, scan: scan / part };
    let [memory, disk, lru] = table(part).await;
    for ours in [memory, disk] {
        assert!(ours[1] > lru[1] && ours[2] > ours[0] * 0.95);
    }
}
